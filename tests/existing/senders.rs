//! Several machines that send to one receiver: network namespaces that the test makes, on a bridge in another one. Agents are started there by
//! `ip netns exec`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use libtest_mimic::Trial;

use crate::application;
use crate::common::small::{capture, datagram_from};
use crate::common::{both, copy_program, fresh_folder, is_root, stage};
use crate::frames::MARK;
use crate::place::{await_that, awaits_lines};
use crate::trial;

/// So many exporters, with so many flows each, of so many datagrams.
const EXPORTERS: u64 = 8;
const FLOWS: u64 = 5;
const DATAGRAMS: u64 = 10;
const ALL: u64 = EXPORTERS * FLOWS * DATAGRAMS;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("eight machines send their shares, and the ledger is one", shares),
        trial("what several machines lose has its cause", losses),
        trial("what the receiver answers to several machines is counted", replies),
        trial("a packet socket gets what several machines send", packet_socket),
        trial("what arrives from several machines is kept", saved),
        trial("a machine that sends and is lost ends the run without a ledger", lost),
        trial("a machine that takes no more of its share ends the run", frozen),
        trial("an interface of a machine that sends must be there, and allowed", interfaces),
    ]
}

/// Machines that send, and one that receives.
struct Network {
    folder: PathBuf,
    /// The receiver.
    program: PathBuf,
    machines: usize,
}

fn done(script: &str) -> Output {
    let output = Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).output().expect("sh runs");
    assert!(output.status.success(), "{script}: {}", both(&output));
    output
}

impl Network {
    /// The receiver has 198.18.0.100, the first machine 198.18.0.1; `None` where that takes root.
    fn up(test: &str, machines: usize) -> Option<Self> {
        if !is_root() {
            println!("skipped: it takes root");
            return None;
        }
        let folder = fresh_folder(test);
        // Not below the scenario's folder: what is there is given to the agent.
        let program = fresh_folder("receiver").join("program");
        copy_program(&std::env::current_exe().expect("this program has a file"), &program);
        let network = Self { folder, program, machines };
        let switch = network.name("switch");
        let mut script = format!(
            "export PATH=$PATH:/usr/sbin:/sbin; ip netns add {switch}; ip -n {switch} link add br0 type bridge; ip -n {switch} link set br0 up\n"
        );
        for (machine, number) in network.all() {
            let name = network.name(&machine);
            write!(
                script,
                "ip netns add {name}; ip -n {name} link set lo up
                 ip -n {name} link add eth0 type veth peer name p{number} netns {switch}
                 ip -n {switch} link set p{number} master br0 up
                 ip -n {name} address add 198.18.0.{number}/24 dev eth0; ip -n {name} link set eth0 up\n"
            )
            .expect("a string takes it");
        }
        done(&script);
        Some(network)
    }

    /// The machines on the switch, with the last byte of their addresses.
    fn all(&self) -> Vec<(String, usize)> {
        let senders = (1..=self.machines).map(|number| (format!("s{number}"), number));
        senders.chain([("receiver".to_owned(), 100)]).collect()
    }

    fn name(&self, machine: &str) -> String {
        let test = self.folder.file_name().expect("a name").to_string_lossy();
        format!("restage-{}-{test}-{machine}", std::process::id())
    }

    /// The numbers of the datagrams that the receiver read.
    fn truth(&self) -> PathBuf {
        self.program.with_file_name("truth")
    }

    fn via(&self, machine: &str) -> String {
        let program = stage().display().to_string();
        let path = format!("PATH={program}:/usr/sbin:/usr/bin:/sbin:/bin");
        format!("via = [\"ip\", \"netns\", \"exec\", \"{}\", \"env\", \"{path}\"]\n", self.name(machine))
    }

    /// Writes the scenario: what the machines send, and `more`.
    fn scenario(&self, share: &str, more: &str) {
        let frames = (0..ALL).map(|number| {
            let exporter = u8::try_from(number % EXPORTERS + 1).expect("it is small");
            let flow = u16::try_from(number / EXPORTERS % FLOWS).expect("it is small");
            let payload = [&MARK[..], &u32::try_from(number).expect("it is small").to_be_bytes()].concat();
            datagram_from(([203, 0, 113, exporter], 4000 + flow), ([203, 0, 113, 100], 4739), &payload)
        });
        fs::write(self.folder.join("in.pcap"), capture(&frames.collect::<Vec<_>>(), 500)).expect("it can be written");
        let mut text = format!(
            "format = 1\n[capture]\nfile = \"in.pcap\"\n[rewrite.destination]\nip = \"receiver\"\nmac = \"receiver\"\n\
             [rewrite.source]\nmac = \"sender\"\n[receiver]\n{}command = [\"{}\", \"{}\", \"{}\", \"reads\"]\n\
             listens = [\"udp:4739\"]\n{more}",
            self.via("receiver"),
            self.program.display(),
            application::VERB,
            self.truth().display()
        );
        for number in 1..=self.machines {
            write!(
                text,
                "\n[[sender]]\n{}interface = \"eth0\"\nshare = \"{share}\"\n",
                self.via(&format!("s{number}"))
            )
            .expect("a string takes it");
        }
        fs::write(self.folder.join("s.toml"), text).expect("it can be written");
    }

    /// Writes other words in the place of some of the scenario's.
    fn edit(&self, words: &[(&str, &str)]) {
        let path = self.folder.join("s.toml");
        let text = fs::read_to_string(&path).expect("it was written");
        let edited = words.iter().fold(text, |text, (old, new)| text.replace(old, new));
        fs::write(path, edited).expect("it can be written");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(stage().join("restage"));
        command.args(["run", "--allow-interface", "eth0", "s.toml", "--report-json", "report.json"]);
        command.current_dir(&self.folder).env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// How many datagrams the receiver read.
    fn read(&self) -> u64 {
        fs::read_to_string(self.truth()).unwrap_or_default().lines().count() as u64
    }

    /// Runs the scenario; its exit status, its report, what it prints.
    fn run(&self) -> (Option<i32>, Value, String) {
        let _ = fs::remove_file(self.truth());
        let output = self.command().output().expect("restage runs");
        let text = both(&output);
        (output.status.code(), self.report(&text), text)
    }

    fn report(&self, text: &str) -> Value {
        let report = fs::read_to_string(self.folder.join("report.json")).unwrap_or_else(|_| panic!("{text}"));
        let report: Value = serde_json::from_str(&report).expect("JSON");
        report["scenarios"][0].clone()
    }

    fn pids(&self, machine: &str) -> String {
        String::from_utf8_lossy(&done(&format!("ip netns pids {}", self.name(machine))).stdout).into_owned()
    }

    /// Waits until nothing of a run is left on any machine.
    fn assert_clean(&self) {
        for (machine, _) in self.all() {
            await_that("the end of what runs on a machine", || self.pids(&machine).is_empty());
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let machines = self.all().into_iter().map(|(machine, _)| machine);
        for machine in machines.chain(["switch".to_owned()]) {
            let script = format!("PATH=$PATH:/sbin:/usr/sbin ip netns delete {}", self.name(&machine));
            let _ = Command::new("sh").args(["-c", &script]).output();
        }
        let _ = self.program.parent().map(fs::remove_dir_all);
    }
}

/// How many frames each machine sent.
fn sent(scenario: &Value) -> Vec<u64> {
    let senders = scenario["replay"]["senders"].as_array().cloned().unwrap_or_default();
    senders.iter().map(|sender| sender["sent"].as_u64().unwrap_or_default()).collect()
}

fn assert_stages(network: &Network, scenario: &Value, frames: u64, text: &str) {
    assert_eq!(scenario["verdict"], "pass", "{text}");
    for stage in ["read", "selected", "sent", "arrived", "accepted", "delivered", "consumed"] {
        assert_eq!(scenario["ledger"][stage], frames, "{stage}: {text}");
    }
    assert_eq!(network.read(), frames, "{text}");
    assert!(scenario["ledger"]["reordered"].is_null(), "{text}");
}

fn shares() {
    let Some(network) = Network::up("senders", 8) else { return };
    let expect = "[expect]\nconsumed = \"all\"\n";
    network.scenario("exporters", expect);
    let (_, scenario, text) = network.run();
    assert_stages(&network, &scenario, ALL, &text);
    assert_eq!(sent(&scenario), [ALL / 8; 8], "{text}");
    network.scenario("flows", &format!("{expect}[pacing]\nrepeat = 2\nrate = \"400 pps\"\n"));
    let (_, scenario, text) = network.run();
    assert_stages(&network, &scenario, 2 * ALL, &text);
    assert_eq!(sent(&scenario), [ALL / 4; 8], "{text}");
    network.scenario("copies", &format!("{expect}[pacing]\nrate = \"200 pps\"\n"));
    let (_, scenario, text) = network.run();
    assert_stages(&network, &scenario, 8 * ALL, &text);
    assert_eq!(sent(&scenario), [ALL; 8], "{text}");
    network.assert_clean();
}

fn losses() {
    let Some(network) = Network::up("senders-lose", 3) else { return };
    let filter = |machine: &str, chain: &str, rule: &str| {
        let name = network.name(machine);
        let rules = format!("add table {chain} t; add chain {chain} t c {rule}");
        done(&format!("PATH=$PATH:/usr/sbin; ip netns exec {name} nft \"{rules}\""));
    };
    // The receiver's firewall takes what two exporters sent, whichever machine sends for them.
    let rule = "{ type filter hook input priority 0; }; add rule inet t c ip saddr 203.0.113.1-203.0.113.2 udp dport 4739 drop";
    filter("receiver", "inet", rule);
    network.scenario("exporters", "");
    let (status, scenario, text) = network.run();
    assert_eq!((status, causes(&scenario)), (Some(1), vec![("NETFILTER_DROP".to_owned(), ALL / 4)]), "{text}");
    let numbers = scenario["ledger"]["losses"][0]["frame-numbers"].as_str().unwrap_or_default();
    assert!(numbers.starts_with("1-2,9-10,17-18,"), "{numbers}: {text}");
    let fix = scenario["ledger"]["losses"][0]["fix"].as_str().unwrap_or_default();
    assert!(fix.contains("nft insert rule inet t c udp dport 4739 accept"), "{fix}");
    // What a switch takes is lost in the network between.
    let rule = "{ type filter hook ingress device p2 priority 0; }; add rule netdev t c ip saddr 203.0.113.5 drop";
    filter("switch", "netdev", rule);
    let (_, scenario, text) = network.run();
    let both = vec![("LOST_IN_NETWORK".to_owned(), ALL / 8), ("NETFILTER_DROP".to_owned(), ALL / 4)];
    assert_eq!(causes(&scenario), both, "{text}");
    assert_eq!(network.read(), ALL * 5 / 8);
    network.assert_clean();
}

fn causes(scenario: &Value) -> Vec<(String, u64)> {
    let losses = scenario["ledger"]["losses"].as_array().cloned().unwrap_or_default();
    let cause = |loss: &Value| {
        (loss["cause"].as_str().unwrap_or_default().to_owned(), loss["frames"].as_u64().unwrap_or_default())
    };
    losses.iter().map(cause).collect()
}

fn lost() {
    let Some(network) = Network::up("senders-lost", 2) else { return };
    network.scenario("flows", "[pacing]\nrate = \"20 pps\"\n");
    let mut run = network.command().spawn().expect("restage runs");
    // It sends for 20 s.
    await_that("a datagram", || network.read() > 0);
    done(&format!("for pid in $(ip netns pids {}); do kill -9 $pid || :; done", network.name("s1")));
    assert!(run.try_wait().expect("it can be waited for").is_none(), "it ended too early");
    let output = run.wait_with_output().expect("it ends");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    let scenario = network.report(&text);
    assert!(scenario["ledger"].is_null() && text.contains("was lost"), "{text}");
    network.assert_clean();
    // The other end of a run that is killed cleans up as well.
    for moment in 0..10 {
        let mut run = network.command().spawn().expect("restage runs");
        sleep(Duration::from_millis(moment * 120));
        let _ = run.kill();
        let _ = run.wait();
    }
    network.assert_clean();
}

fn replies() {
    let Some(network) = Network::up("senders-replies", 2) else { return };
    done(&format!("PATH=$PATH:/sbin ip -n {} route add default via 198.18.0.1", network.name("receiver")));
    network.scenario("flows", &format!("[expect]\nconsumed = \"all\"\n[expect.replies]\ncount = {ALL}\n"));
    network.edit(&[("\"reads\"", "\"answers\"")]);
    let (_, scenario, text) = network.run();
    assert_stages(&network, &scenario, ALL, &text);
    assert_eq!(scenario["replies"]["datagrams"], ALL, "{text}");
    network.assert_clean();
}

fn packet_socket() {
    let Some(network) = Network::up("senders-sniffed", 2) else { return };
    let receiver = network.name("receiver");
    // As the receiver of the tests wants it.
    done(&format!(
        "export PATH=$PATH:/sbin; ip -n {receiver} link set eth0 down; ip -n {receiver} link set eth0 name rx0; ip -n {receiver} link set rx0 up"
    ));
    let more = format!(
        "capabilities = [\"CAP_NET_RAW\"]\n[expect]\ncaptured = \"all\"\n{}",
        awaits_lines(&network.truth(), 200)
    );
    network.scenario("copies", &more);
    // The socket has room for all of them, however late it is read.
    let few = "\"in.pcap\"\nframes = \"1-100\"";
    network.edit(&[("\"reads\"", "\"sniffs\""), ("udp:4739", "packet:{receiver}"), ("\"in.pcap\"", few)]);
    let (_, scenario, text) = network.run();
    assert_eq!((&scenario["verdict"], &scenario["ledger"]["captured"]), (&"pass".into(), &200.into()), "{text}");
    assert_eq!((sent(&scenario), network.read()), (vec![100; 2], 200), "{text}");
    network.assert_clean();
}

fn saved() {
    let Some(network) = Network::up("senders-saved", 2) else { return };
    network.scenario("copies", "save-capture = \"arrived.pcapng\"\n[expect]\nconsumed = \"all\"\n");
    let (_, scenario, text) = network.run();
    assert_stages(&network, &scenario, 2 * ALL, &text);
    let bytes = fs::read(network.folder.join("arrived.pcapng")).expect("it was brought");
    let find = |wanted: &[u8]| bytes.windows(wanted.len()).filter(|window| *window == wanted).count() as u64;
    assert_eq!((find(MARK), find(b"sent frame "), find(b"not sent")), (2 * ALL, 2 * ALL, 0), "{text}");
    network.assert_clean();
}

fn frozen() {
    let Some(network) = Network::up("senders-frozen", 2) else { return };
    network.scenario("flows", "[pacing]\nrate = \"topspeed\"\nrepeat = 1000\n");
    let long = [&MARK[..], &[b'x'; 1200]].concat();
    let frames = [4000, 4001].map(|port| datagram_from(([203, 0, 113, 7], port), ([203, 0, 113, 100], 4739), &long));
    let frames: Vec<_> = frames.into_iter().cycle().take(400).collect();
    fs::write(network.folder.join("in.pcap"), capture(&frames, 500)).expect("it can be written");
    let mut run = network.command().args(["--allow-rate", "400000"]).spawn().expect("restage runs");
    // Of some 300 MB.
    let has_read = |pid: &str| {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<u64>().ok());
        read.is_some_and(|read| read > 1 << 20)
    };
    await_that("a part of the share", || network.pids("s1").split_whitespace().any(has_read));
    done(&format!("kill -STOP $(ip netns pids {})", network.name("s1")));
    let ended = (0..1200).any(|_| {
        sleep(Duration::from_millis(100));
        !matches!(run.try_wait(), Ok(None))
    });
    let _ = run.kill();
    let output = run.wait_with_output().expect("it ends");
    let text = both(&output);
    assert!(ended && output.status.code() == Some(4), "{text}");
    assert!(text.contains("was lost") && text.contains("it does not answer any more"), "{text}");
    network.assert_clean();
}

fn interfaces() {
    let Some(network) = Network::up("senders-interface", 1) else { return };
    network.scenario("flows", "");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(stage().join("restage"));
        command.args(["run", "s.toml"]).args(arguments).current_dir(&network.folder);
        both(&command.output().expect("restage runs"))
    };
    let text = run(&[]);
    assert!(text.contains("sending on the real interface `eth0` is not allowed"), "{text}");
    network.edit(&[("interface = \"eth0\"", "interface = \"eth9\"")]);
    let text = run(&["--allow-interface", "eth9"]);
    assert!(text.contains("there is no interface `eth9`"), "{text}");
    network.assert_clean();
}
