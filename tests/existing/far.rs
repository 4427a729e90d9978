//! A receiver on another machine shows what one in the lab shows: `[require] firewall`, packet sockets, replies, the file of what arrived. Two network
//! namespaces that the test makes are the machines, a third one the switch between them; the agent is started by `ip netns exec`.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::common::small::{capture, datagram_from};
use crate::common::{both, copy_program, fresh_folder, is_root, stage};
use crate::frames::MARK;
use crate::place::{OTHERS, await_that, awaits_lines};
use crate::{application, trial};

/// So many datagrams each run sends.
const FRAMES: u32 = 60;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a probe shows what the packet filter of another machine does", firewall),
        trial("packet sockets of another machine are counted", packet_sockets),
        trial("packet sockets that are there already are counted", running_packet_sockets),
        trial("what arrived on another machine is kept here", saved),
        trial("replies are seen where they leave another machine", replies),
        trial("why the connection to another machine was lost is said", lost),
    ]
}

/// The machine that sends, and the receiver's.
struct Network {
    folder: PathBuf,
    /// The receiver's program, and what it notes.
    far: PathBuf,
    others: Vec<Child>,
}

fn done(script: &str) -> Output {
    let script = format!("export PATH=$PATH:/usr/sbin:/sbin; {script}");
    let output = Command::new("sh").args(["-ec", &script]).stdin(Stdio::null()).output().expect("sh runs");
    assert!(output.status.success(), "{script}: {}", both(&output));
    output
}

impl Network {
    /// 198.18.0.1 sends, 198.18.0.2 receives by `rx0`, and answers to 203.0.113.0/24 go back; `None` where that takes root.
    fn up(test: &str) -> Option<Self> {
        if !is_root() {
            println!("skipped: it takes root");
            return None;
        }
        let folder = fresh_folder(test);
        let far = fresh_folder("far");
        copy_program(&std::env::current_exe().expect("this program has a file"), &far.join("program"));
        let network = Self { folder, far, others: Vec::new() };
        let (near, far, switch) = (network.name("near"), network.name("far"), network.name("switch"));
        done(&format!(
            "ip netns add {near}; ip netns add {far}; ip -n {near} link set lo up; ip -n {far} link set lo up
             ip netns add {switch}; ip -n {switch} link add br0 type bridge; ip -n {switch} link set br0 up
             ip -n {near} link add tx0 type veth peer name p1 netns {switch}; ip -n {switch} link set p1 master br0 up
             ip -n {far} link add rx0 type veth peer name p2 netns {switch}; ip -n {switch} link set p2 master br0 up
             ip -n {near} address add 198.18.0.1/24 dev tx0; ip -n {near} link set tx0 up
             ip -n {far} address add 198.18.0.2/24 dev rx0; ip -n {far} link set rx0 up
             ip -n {far} route add 203.0.113.0/24 via 198.18.0.1"
        ));
        let frames = (0..FRAMES).map(|number| {
            let payload = [&MARK[..], &number.to_be_bytes()].concat();
            datagram_from(([203, 0, 113, 7], 4000), ([203, 0, 113, 100], 4739), &payload)
        });
        fs::write(network.folder.join("in.pcap"), capture(&frames.collect::<Vec<_>>(), 2000))
            .expect("it can be written");
        Some(network)
    }

    fn name(&self, machine: &str) -> String {
        let test = self.folder.file_name().expect("a name").to_string_lossy();
        format!("restage-{}-{test}-{machine}", std::process::id())
    }

    fn on(&self, machine: &str, script: &str) -> String {
        let output = done(&format!("ip netns exec {} sh -ec '{script}'", self.name(machine)));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The words that start a program on a machine.
    fn start_on(&self, machine: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(machine)]).current_dir(&self.folder).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Others begin to send to another port of the receiver's, and to it from there.
    fn others_send(&mut self) {
        let program = self.far.join("program");
        for (machine, to) in [("near", "198.18.0.2:9"), ("far", "198.18.0.1:4739")] {
            let mut command = self.start_on(machine);
            self.others.push(command.arg(&program).args([OTHERS, "200", to]).spawn().expect("ip runs"));
        }
    }

    fn stop_others(&mut self) {
        for mut child in self.others.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What the receiver reads is noted there.
    fn truth(&self) -> PathBuf {
        self.far.join("truth")
    }

    /// The words of `[receiver]` that start the program of the test.
    fn application(&self, behaviour: &str) -> String {
        let (program, truth) = (self.far.join("program"), self.truth());
        let words = [program.display().to_string(), application::VERB.to_owned(), truth.display().to_string()];
        format!("command = [\"{}\", \"{behaviour}\"]\nexit = \"any\"\n", words.join("\", \""))
    }

    /// The words that reach the receiver's machine.
    fn way(&self) -> Vec<String> {
        let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", stage().display());
        ["ip", "netns", "exec", &self.name("far"), "env", &path].map(str::to_owned).into()
    }

    /// Runs a scenario with these words of `[receiver]`, and more tables; its status, its outcome, what it prints.
    fn run(&self, receiver: &str, more: &str) -> (Option<i32>, Value, String) {
        let output = self.command(&self.way(), receiver, more).output().expect("ip runs");
        let text = both(&output);
        (output.status.code(), self.outcome(&text), text)
    }

    /// What runs it, where these words reach the receiver's machine.
    fn command(&self, way: &[String], receiver: &str, more: &str) -> Command {
        let via = format!("via = {way:?}\n");
        let text = format!(
            "format = 1\n[capture]\nfile = \"in.pcap\"\n[rewrite.destination]\nip = \"receiver\"\nmac = \"receiver\"\n\
             [target]\ninterface = \"tx0\"\n[receiver]\n{via}{receiver}{more}"
        );
        fs::write(self.folder.join("s.toml"), text).expect("it can be written");
        let _ = fs::remove_file(self.truth());
        let mut command = self.start_on("near");
        command.arg(stage().join("restage")).args(["run", "--allow-interface", "tx0", "s.toml"]);
        command.args(["--report-json", "report.json"]);
        command
    }

    fn outcome(&self, text: &str) -> Value {
        let report = fs::read_to_string(self.folder.join("report.json")).unwrap_or_else(|_| panic!("{text}"));
        let report: Value = serde_json::from_str(&report).expect("JSON");
        report["scenarios"][0].clone()
    }

    /// How many datagrams the receiver noted.
    fn noted(&self) -> usize {
        fs::read_to_string(self.truth()).unwrap_or_default().lines().count()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop_others();
        for machine in ["near", "far", "switch"] {
            let script = format!("PATH=$PATH:/sbin:/usr/sbin ip netns delete {}", self.name(machine));
            let _ = Command::new("sh").args(["-c", &script]).output();
        }
        let _ = fs::remove_dir_all(&self.far);
    }
}

/// Whether a program is there; says so where it is not.
fn is_there(program: &str) -> bool {
    let there = ["/usr/sbin", "/sbin", "/usr/bin"].iter().any(|folder| PathBuf::from(folder).join(program).exists());
    if !there {
        println!("skipped: there is no {program}");
    }
    there
}

fn firewall() {
    if !is_there("nft") {
        return;
    }
    let Some(mut network) = Network::up("far-firewall") else { return };
    network.others_send();
    let receiver = format!("{}listens = [\"udp:4739\"]\n", network.application("reads"));
    let more = "[require]\nfirewall = [\"udp:4739\"]\n[expect]\nconsumed = \"all\"\n";
    let refused = |network: &mut Network, problem_and_fix: [&str; 2]| {
        let (status, _, text) = network.run(&receiver, more);
        assert_eq!(status, Some(3), "{text}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(problem_and_fix.iter().all(|said| text.contains(said)), "{text}");
    };
    let (status, scenario, text) = network.run(&receiver, more);
    assert_eq!((status, &scenario["ledger"]["consumed"]), (Some(0), &Value::from(FRAMES)), "{text}");
    network.on(
        "far",
        "nft add table inet t; nft \"add chain inet t c { type filter hook input priority 0; }\"; nft add rule inet t c udp dport 4739 drop",
    );
    refused(
        &mut network,
        [
            "the packet filter does not let packets to `udp:4739` through",
            "nft insert rule inet t c udp dport 4739 accept",
        ],
    );
    assert_eq!(network.noted(), 0);
    // What does not get there says nothing of the filter.
    network.on("far", "nft delete table inet t");
    network.on(
        "switch",
        "nft add table netdev t; nft \"add chain netdev t c { type filter hook ingress device p1 priority 0; }\"; nft add rule netdev t c udp dport 4739 drop",
    );
    refused(&mut network, ["a probe to `udp:4739` did not arrive", "look for what takes it between the two machines"]);
}

fn packet_sockets() {
    let Some(mut network) = Network::up("far-sniffers") else { return };
    network.others_send();
    let sniffs = |behaviour: &str| {
        format!(
            "{}listens = [\"packet:{{receiver}}\"]\ncapabilities = [\"CAP_NET_RAW\"]\n",
            network.application(behaviour)
        )
    };
    // It is stopped when it has noted so many, whatever else the machine does.
    let expect = |count| format!("[expect]\ncaptured = \"all\"\n{}", awaits_lines(&network.truth(), count));
    let (_, scenario, text) = network.run(&sniffs("sniffs"), &expect(FRAMES));
    let ledger = &scenario["ledger"];
    assert_eq!((&scenario["verdict"], &ledger["captured"]), (&"pass".into(), &FRAMES.into()), "{text}");
    assert!(ledger["delivered"].is_null() && ledger["foreign"].as_u64() > Some(0), "{text}");
    assert_eq!(network.noted(), FRAMES as usize, "{text}");
    // A filter of its own.
    let (_, scenario, text) = network.run(&sniffs("sniffs-even-ones"), &expect(FRAMES / 2));
    assert_eq!(
        (&scenario["verdict"], &scenario["ledger"]["captured"]),
        (&"fail".into(), &(FRAMES / 2).into()),
        "{text}"
    );
    assert_eq!(network.noted(), FRAMES as usize / 2, "{text}");
    if !is_there("tcpdump") {
        return;
    }
    // A ring, on all interfaces and on one.
    for interface in ["any", "rx0"] {
        let receiver = format!(
            "command = [\"tcpdump\", \"-i\", \"{interface}\", \"-U\", \"-w\", \"{{work}}/out.pcap\"]\nlistens = [\"packet:{{receiver}}\"]\n\
             capabilities = [\"CAP_NET_RAW\", \"CAP_NET_ADMIN\", \"CAP_SETUID\", \"CAP_SETGID\"]\nexit = \"any\"\n"
        );
        let more = "[expect]\ncaptured = \"all\"\n[[expect.command]]\n\
                    run = [\"tcpdump\", \"-n\", \"-r\", \"{work}/out.pcap\", \"inbound and udp port 4739 and host 203.0.113.7\"]\nstdout = { lines = 60 }\n";
        let more = if interface == "any" { more.to_owned() } else { more.replace("inbound and ", "") };
        let (_, scenario, text) = network.run(&receiver, &more);
        assert_eq!((&scenario["verdict"], &scenario["ledger"]["captured"]), (&"pass".into(), &FRAMES.into()), "{text}");
    }
}

fn running_packet_sockets() {
    if !is_there("tcpdump") {
        return;
    }
    let Some(mut network) = Network::up("far-running") else { return };
    let listens = "listens = [\"packet:{receiver}\"]\n";
    let expect = "[expect]\ncaptured = \"all\"\n";
    let (status, _, text) = network.run(listens, expect);
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("no packet socket takes frames of `rx0` where the receiver is"), "{text}");
    let file = network.far.join("out.pcap");
    let start = |network: &mut Network, interface: &str| {
        let mut command = network.start_on("far");
        command.args(["tcpdump", "-i", interface, "-U", "-Z", "root", "-w"]).arg(&file).args(["udp", "port", "4739"]);
        network.others.push(command.spawn().expect("ip runs"));
        await_that("tcpdump", || file.exists());
    };
    start(&mut network, "rx0");
    let (_, scenario, text) = network.run(listens, expect);
    network.stop_others();
    assert_eq!((&scenario["verdict"], &scenario["ledger"]["captured"]), (&"pass".into(), &FRAMES.into()), "{text}");
    // In a namespace of this machine, on all interfaces.
    fs::remove_file(&file).expect("it is there");
    start(&mut network, "any");
    let others =
        network.start_on("far").args(["tcpdump", "-i", "any", "-Z", "root", "-w", "/dev/null", "udp port 9"]).spawn();
    network.others.push(others.expect("ip runs"));
    let run = |at: String| {
        let text = format!("format = 1\n[capture]\nfile = \"in.pcap\"\n[receiver]\nat = \"{at}\"\n{listens}{expect}");
        fs::write(network.folder.join("here.toml"), text).expect("it can be written");
        let mut command = Command::new(stage().join("restage"));
        command.arg("run").arg(network.folder.join("here.toml")).env("NO_COLOR", "1");
        both(&command.output().expect("restage runs"))
    };
    let named = run(format!("pid:{}", network.others[0].id()));
    let unnamed = run(format!("netns:{}", network.name("far")));
    assert!(named.starts_with("pass     here") && named.contains("60 captured"), "{named}");
    // Which of the two is the receiver is not known.
    let unnamed = unnamed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unnamed.starts_with("fail here") && unnamed.contains("0..60 captured"), "{unnamed}");
    let why = "packet sockets of several programs are there, and which one is the receiver is not known: tcpdump (";
    assert!(unnamed.contains(why), "{unnamed}");
}

fn saved() {
    let Some(mut network) = Network::up("far-saved") else { return };
    network.others_send();
    let receiver =
        format!("{}listens = [\"udp:4739\"]\nsave-capture = \"arrived.pcapng\"\n", network.application("reads"));
    let (_, scenario, text) = network.run(&receiver, "[expect]\nconsumed = \"all\"\n");
    assert_eq!(scenario["verdict"], "pass", "{text}");
    let bytes = fs::read(network.folder.join("arrived.pcapng")).expect("it was brought");
    let find = |wanted: &[u8]| bytes.windows(wanted.len()).filter(|window| *window == wanted).count();
    assert_eq!((find(MARK), find(b"sent frame "), find(b"not sent")), (FRAMES as usize, FRAMES as usize, 0), "{text}");
    assert_eq!(find(b"sent frame 60"), 1);
}

fn replies() {
    let Some(mut network) = Network::up("far-replies") else { return };
    network.others_send();
    let expect = |count: &str| format!("[expect]\nconsumed = \"all\"\n[expect.replies]\ncount = {count}\n");
    let answers = |behaviour: &str| format!("{}listens = [\"udp:4739\"]\n", network.application(behaviour));
    let (_, scenario, text) = network.run(&answers("answers"), &expect("60"));
    let replies = &scenario["replies"];
    assert_eq!((&scenario["verdict"], &replies["datagrams"]), (&"pass".into(), &FRAMES.into()), "{text}\n{replies:#}");
    assert!(replies["kernel"].is_null(), "{replies:#}");
    // Each call sends three, which the packet socket sees as one.
    let (_, scenario, text) = network.run(&answers("answers-in-segments"), &expect("180"));
    let replies = &scenario["replies"];
    assert_eq!((&scenario["verdict"], &replies["datagrams"]), (&"pass".into(), &(3 * FRAMES).into()), "{text}");
    let (status, scenario, text) = network.run(&answers("answers-every-other"), &expect("60"));
    assert_eq!((status, &scenario["replies"]["datagrams"]), (Some(1), &(FRAMES / 2).into()), "{text}");
}

fn lost() {
    let Some(network) = Network::up("far-lost") else { return };
    let says = "\"$@\"; echo the line was cut >&2; exit 1";
    let way = [["sh", "-c", says, "sh"].map(str::to_owned).to_vec(), network.way()].concat();
    let receiver = format!("{}listens = [\"udp:4739\"]\n", network.application("reads"));
    // It sends for 30 s.
    let mut run = network.command(&way, &receiver, "[pacing]\nrate = \"2 pps\"\n").spawn().expect("ip runs");
    await_that("a datagram", || network.noted() > 0);
    done(&format!("for pid in $(ip netns pids {}); do kill -9 $pid || :; done", network.name("far")));
    assert!(run.try_wait().expect("it can be waited for").is_none(), "it ended too early");
    let output = run.wait_with_output().expect("it ends");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(network.outcome(&text)["ledger"]["arrived"].is_null(), "{text}");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in ["it said: the line was cut", "what was seen there is lost with it", "what ended the agent"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}
