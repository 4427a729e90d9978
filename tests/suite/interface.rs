//! `restage plan --interface` and `restage doctor --interface`: what would become of frames that came in on an interface of this machine.
//! Nothing is sent, and no privilege is needed.

use std::fs::{self, File};
use std::io::Read;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{User, both, fresh_folder, is_root, restage, stage};
use nix::pty::openpty;
use serde_json::Value;

const SCENARIO: &str = "scenarios/an-unrewritten-capture-finds-its-collector.toml";

fn run(arguments: &[&str]) -> Output {
    restage(User::Caller).args(arguments).output().expect("restage runs")
}

#[test]
fn a_plan_for_an_interface_predicts_this_machine() {
    let output = run(&["plan", SCENARIO, "--interface", "lo", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["interface"], "lo");
    assert_eq!(plan["mac"], "00:00:00:00:00:00");
    assert!(plan["filter"].as_str().is_some_and(|filter| filter.starts_with("not looked at: ")), "{plan:#}");
    let fates = plan["predictions"].as_array().expect("a list");
    let other_host = |fate: &&Value| fate["cause"] == "OTHERHOST";
    assert!(fates.iter().any(|fate| other_host(&fate)), "the capture's MAC is none of lo's: {plan:#}");
    for fate in fates.iter().filter(other_host) {
        assert_eq!(fate["stage"], "accepted");
        let why = fate["why"].as_str().unwrap_or_default();
        assert!(why.ends_with("lo has 00:00:00:00:00:00"), "{why}");
    }
}

#[test]
fn a_plan_for_an_interface_fails_on_loss_and_names_the_receiver() {
    let output = run(&["plan", SCENARIO, "--interface", "lo", "--fail-on-loss"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("receiver  lo of this machine, "), lines("filter    not looked at: "), lines("lab ")), (1, 1, 0));
}

#[test]
fn an_interface_that_is_not_there_is_refused_with_those_that_are() {
    for arguments in [
        &["plan", SCENARIO, "--interface", "nowhere0"][..],
        &["doctor", "--interface", "nowhere0", "--listen", "udp:9"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", both(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("error: there is no interface `nowhere0`\n") && said.contains("`lo`"), "{said}");
    }
}

/// The finding of this name, as it is printed.
fn finding<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let start = text.find(&format!("  {what}\n"))?.checked_sub(4)?;
    let found = text.get(start..)?;
    let next = ["\ngood  ", "\nbad   ", "\n?     "].into_iter().filter_map(|state| found.find(state)).min();
    found.get(..next.unwrap_or(found.len()))
}

#[test]
fn doctor_reports_whether_a_socket_would_receive() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = socket.local_addr().expect("it is bound").port();
    let listen = format!("udp:{port}");
    let output = run(&["doctor", "--interface", "lo", "--listen", &listen, "--from", "127.0.0.1"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let told = finding(&text, &format!("UDP from 127.0.0.1 to 127.0.0.1 port {port}"));
    assert!(told.is_some_and(|told| told.starts_with("good") && told.contains("bound there: 127.0.0.1")), "{text}");
    assert!(finding(&text, &format!("the receive buffer of udp:127.0.0.1:{port}")).is_some(), "{text}");
    assert!(finding(&text, "the packet filter").is_some(), "{text}");
    drop(socket);
    let output = run(&["doctor", "--interface", "lo", "--listen", &listen, "--from", "127.0.0.1"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{}", both(&output));
    let told = finding(&text, &format!("UDP from 127.0.0.1 to 127.0.0.1 port {port}")).unwrap_or_default();
    let expected = format!("NO_SOCKET: nothing listens on UDP port {port}");
    assert!(told.starts_with("bad") && told.contains(&expected) && told.contains("\n      fix: "), "{text}");
}

#[test]
fn what_is_asked_about_needs_an_interface_and_can_be_read() {
    for arguments in [
        &["doctor", "--listen", "udp:9"][..],
        &["doctor", "--interface", "lo", "--listen", "9"],
        &["doctor", "--interface", "lo", "--listen", "udp:9", "--from", "everywhere"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", both(&output));
    }
}

#[test]
fn a_target_run_reports_its_limits_and_the_neighbour_mac() {
    if !is_root() {
        println!("skipped: making a namespace with `unshare -n` takes root");
        return;
    }
    let table = "[target]\ninterface = \"rst0\"\n[pacing]\nrate = \"topspeed\"\n";
    let all = "[rewrite.destination]\nmac = \"02:00:00:00:00:77\"\n";
    let gateway = "[rewrite.destination]\nmac = \"gateway\"\n";
    let router = "ip route add default via 192.0.2.1 && ip neigh add 192.0.2.1 lladdr 52:54:00:00:00:01 dev rst0 && ip route del 10.44.20.0/24";
    let neighbour = "ip neigh add 10.44.20.9 lladdr 52:54:00:12:34:56 dev rst0";
    let behind = "ip route add 10.44.0.0/16 via 192.0.2.1 && ip neigh add 192.0.2.1 lladdr 52:54:00:00:00:01 dev rst0";
    for (name, rewrite, more, mac) in [
        ("the neighbour itself", "", neighbour, Some("10.44.20.9 has 52:54:00:12:34:56")),
        ("a gateway", "", behind, Some("10.44.20.9 is behind 192.0.2.1, which has 52:54:00:00:00:01")),
        ("a MAC that the scenario names", all, neighbour, None),
        ("the gateway of other networks", gateway, router, None),
        ("no such neighbour", "", "true", None),
    ] {
        let folder = fresh_folder("target");
        let capture = stage().join("scenarios/captures/syslog.pcap");
        let text = format!("format = 1\n[capture]\nfile = \"{}\"\n{rewrite}{table}", capture.display());
        fs::write(folder.join("s.toml"), text).expect("it can be written");
        let up = "ip link add rst0 type veth peer name rst1 && ip link set rst0 up && ip link set rst1 up && \
                  ip addr add 192.0.2.2/24 dev rst0 && ip route add 10.44.20.0/24 dev rst0";
        let up =
            if name == "a gateway" { up.replace(" && ip route add 10.44.20.0/24 dev rst0", "") } else { up.to_owned() };
        for verb in ["run --allow-interface rst0", "plan"] {
            let script = format!("{up} && {more} && exec ./restage {verb} \"$0\"");
            let mut command = Command::new("unshare");
            let command = command.args(["-n", "sh", "-c", &script]).arg(folder.join("s.toml")).current_dir(stage());
            let output = command.stdin(Stdio::null()).output().expect("unshare runs");
            let text = both(&output);
            assert!(output.status.success(), "{name}: {text}");
            assert!(text.contains("only sending is observed"), "{name}: {text}");
            assert!(text.contains("`tcpdump -ni INTERFACE 'udp port 514'`"), "{name}: {text}");
            assert!(text.contains("--listen udp:514 --from 10.44.20.1"), "{name}: {text}");
            assert_eq!(text.contains("this machine knows another one"), mac.is_some(), "{name}: {text}");
            assert!(mac.is_none_or(|mac| text.contains(mac)), "{name}: {text}");
        }
    }
}

/// A scenario that replays syslog (10.44.20.9) by a real interface.
fn target(more: &str) -> PathBuf {
    let folder = fresh_folder("target");
    let capture = stage().join("scenarios/captures/syslog.pcap");
    let text =
        format!("format = 1\n[capture]\nfile = \"{}\"\n[target]\ninterface = \"rst0\"\n{more}", capture.display());
    fs::write(folder.join("s.toml"), text).expect("it can be written");
    folder.join("s.toml")
}

/// restage in a namespace of its own that has the interface.
fn in_namespace(arguments: &str, scenario: &Path) -> Command {
    let up = "ip link add rst0 type veth peer name rst1 && ip link set rst0 up && ip link set rst1 up";
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &format!("{up} && exec ./restage {arguments} \"$0\"")]).arg(scenario);
    command.current_dir(stage()).stdin(Stdio::null()).env_remove("CI");
    command
}

#[test]
fn frames_on_a_real_interface_stay_within_limits_unless_allowed() {
    if !is_root() {
        println!("skipped: making a namespace with `unshare -n` takes root");
        return;
    }
    let away = "[rewrite.destination]\nip = { \"0.0.0.0/0\" = \"8.8.4.4\" }\n";
    let host = "which may be a host of others";
    let many = "[pacing]\nrate = \"topspeed\"\nrepeat = 1000\n";
    let rate = "in one second are too many for a real interface";
    for (more, allowing, refusal) in [
        (away, "--allow-destination 8.8.0.0/16", host),
        (away, "--allow-destination 8.8.4.4", host),
        (many, "--allow-rate 1000000", rate),
        ("[pacing]\nrate = \"20 kpps\"\nrepeat = 1000\nlimit = \"12000 packets\"\n", "--allow-rate 20000", rate),
    ] {
        let scenario = target(more);
        let run = |arguments: &str| in_namespace(arguments, &scenario).output().expect("unshare runs");
        let refused = run("run --allow-interface rst0");
        assert_eq!(refused.status.code(), Some(3), "{}", both(&refused));
        let option = allowing.split(' ').next().expect("a word");
        assert!(both(&refused).contains(refusal) && both(&refused).contains(option), "{}", both(&refused));
        let allowed = run(&format!("run --allow-interface rst0 {allowing}"));
        assert_eq!(allowed.status.code(), Some(0), "{}", both(&allowed));
        let planned = run("plan");
        assert_eq!(planned.status.code(), Some(0), "{}", both(&planned));
        assert!(both(&planned).contains("warning: ") && both(&planned).contains(refusal), "{}", both(&planned));
    }
    for within in
        ["[pacing]\nrate = \"10 kpps\"\nrepeat = 1000\nlimit = \"12000 packets\"\n", "[pacing]\nrate = \"topspeed\"\n"]
    {
        let output = in_namespace("run --allow-interface rst0", &target(within)).output().expect("unshare runs");
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    }
}

#[test]
fn a_person_at_a_terminal_can_stop_frames_for_a_real_interface() {
    if !is_root() {
        println!("skipped: making a namespace with `unshare -n` takes root");
        return;
    }
    let scenario = target("[pacing]\nrate = \"topspeed\"\n");
    let terminal = openpty(None, None).expect("a pseudo-terminal");
    let begun = Instant::now();
    let child = in_namespace("run --allow-interface rst0", &scenario)
        .env("TERM", "xterm")
        .stdout(Stdio::null())
        .stderr(terminal.slave)
        .spawn()
        .expect("unshare runs");
    let mut shown = String::new();
    // Its end is an error of the device.
    let _ = File::from(terminal.master).read_to_string(&mut shown);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("frames leave by `rst0` soon; Ctrl-C ends this: 3 2 1"), "{shown}");
    assert!(begun.elapsed() >= Duration::from_secs(3));
}
