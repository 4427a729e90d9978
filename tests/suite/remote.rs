//! A receiver on another machine: three network namespaces that the test makes stand for the sender's machine, a router and the receiver's
//! machine, which is reached by a real OpenSSH server.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{both, fresh_folder, is_root};

/// The machines, and what runs on them.
struct Network {
    folder: PathBuf,
    ssh: Child,
}

const MACHINES: [&str; 3] = ["near", "router", "far"];

fn sh(script: &str) -> Output {
    Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).output().expect("sh runs")
}

fn done(script: &str) -> String {
    let output = sh(script);
    assert!(output.status.success(), "{script}: {}", both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The name of a machine's namespace: two tests at once have their own.
fn name(folder: &Path, machine: &str) -> String {
    let test = folder.file_name().expect("a name").to_string_lossy();
    format!("restage-{}-{test}-{machine}", std::process::id())
}

impl Network {
    /// Near 198.18.1.2, far 198.18.2.2, a router between them; `None` where that takes root or a program that isn't there.
    #[expect(clippy::print_stdout, reason = "says why it skips")]
    fn up(test: &str) -> Option<Self> {
        let missing = ["ip", "ssh", "sshd", "nfcapd"].into_iter().find(|program| {
            let script = format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}");
            !sh(&script).status.success()
        });
        if let Some(why) =
            missing.map(|program| format!("there is no {program}")).or((!is_root()).then(|| "it takes root".to_owned()))
        {
            println!("skipped: {why}");
            return None;
        }
        let folder = fresh_folder(test);
        let [near, router, far] = MACHINES.map(|machine| name(&folder, machine));
        done(&format!(
            "export PATH=$PATH:/usr/sbin:/sbin
             for n in {near} {router} {far}; do ip netns add $n; ip -n $n link set lo up; done
             ip -n {near} link add a0 address 02:00:00:00:0a:02 type veth peer name r0 netns {router} address 02:00:00:00:0a:01
             ip -n {router} link add r1 address 02:00:00:00:0b:01 type veth peer name b0 netns {far} address 02:00:00:00:0b:02
             ip -n {near} address add 198.18.1.2/24 dev a0; ip -n {router} address add 198.18.1.1/24 dev r0
             ip -n {router} address add 198.18.2.1/24 dev r1; ip -n {far} address add 198.18.2.2/24 dev b0
             ip -n {near} link set a0 up; ip -n {router} link set r0 up; ip -n {router} link set r1 up; ip -n {far} link set b0 up
             ip -n {near} route add default via 198.18.1.1; ip -n {far} route add default via 198.18.2.1
             ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.r0.rp_filter=0
             ip netns exec {far} sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.b0.rp_filter=0"
        ));
        let ssh = serve(&folder);
        Some(Self { folder, ssh })
    }

    fn name(&self, machine: &str) -> String {
        name(&self.folder, machine)
    }

    /// Runs a script of a shell on a machine.
    fn on(&self, machine: &str, script: &str) -> String {
        done(&format!("ip netns exec {} sh -ec '{script}'", self.name(machine)))
    }

    /// Writes the scenario; `more` is behind it.
    fn scenario(&self, source: &str, mac: &str, more: &str) {
        let here = env!("CARGO_MANIFEST_DIR");
        let folder = self.folder.display();
        let text = format!(
            "format = 1\n[capture]\nfile = \"{here}/scenarios/captures/appflow.pcapng\"\nfilter = \"udp dst port 4739\"\n\
             [rewrite]\nchecksums = \"fix\"\n[rewrite.source]\nip = {{ \"10.44.1.0/24\" = \"{source}\" }}\n\
             [rewrite.destination]\nip = \"receiver\"\nmac = \"{mac}\"\n[target]\ninterface = \"a0\"\n\
             [pacing]\nrate = \"1000 pps\"\n[receiver]\nvia = [\"ssh\", \"-F\", \"{folder}/config\", \"far\"]\n\
             command = [\"nfcapd\", \"-p\", \"4739\", \"-B\", \"1000000\", \"-w\", \"{{work}}\"]\nlistens = [\"udp:4739\"]\n{more}"
        );
        fs::write(self.folder.join("story.toml"), text).expect("the folder can be written to");
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.name("near"),
            env!("CARGO_BIN_EXE_restage"),
            "run",
            "--allow-interface",
            "a0",
        ]);
        command.args(["story.toml", "--report-json", "report.json"]).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the scenario; its exit status and its report.
    fn run(&self) -> (Option<i32>, Value) {
        let output = self.command().output().expect("ip runs");
        let report =
            fs::read_to_string(self.folder.join("report.json")).unwrap_or_else(|_| panic!("{}", both(&output)));
        let report: Value = serde_json::from_str(&report).expect("JSON");
        (output.status.code(), report["scenarios"][0].clone())
    }

    /// What runs on the receiver's machine, beside the server that listens.
    fn left(&self) -> Vec<String> {
        let server = self.ssh.id().to_string();
        let pids = done(&format!("ip netns pids {}", self.name("far")));
        pids.lines()
            .filter(|pid| *pid != server)
            .map(|pid| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&words).replace('\0', " ")
            })
            .filter(|line| !line.is_empty())
            .collect()
    }

    /// Waits until nothing of a run is left on the receiver's machine.
    fn assert_clean(&self) {
        let begun = Instant::now();
        while !self.left().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "left: {:?}", self.left());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
        for machine in MACHINES {
            sh(&format!("PATH=$PATH:/sbin:/usr/sbin ip netns delete {}", self.name(machine)));
        }
    }
}

/// A server on the receiver's machine with keys of its own, once it listens.
fn serve(folder: &Path) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_restage")).parent().expect("a folder").display().to_string();
    let here = folder.display();
    done(&format!(
        "cd {here} && ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f user && mkdir -p /run/sshd"
    ));
    let server = format!(
        "ListenAddress 198.18.2.2\nHostKey {here}/host\nAuthorizedKeysFile {here}/user.pub\nPidFile none\nStrictModes no\nUsePAM no\n\
         PermitRootLogin prohibit-password\nSetEnv PATH={program}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    );
    let client = format!(
        "Host far\nHostName 198.18.2.2\nUser root\nIdentityFile {here}/user\nIdentitiesOnly yes\nBatchMode yes\n\
         StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
    );
    fs::write(folder.join("sshd_config"), server).expect("the folder can be written to");
    fs::write(folder.join("config"), client).expect("the folder can be written to");
    let mut child = Command::new("ip")
        .args(["netns", "exec", &name(folder, "far"), "/usr/sbin/sshd", "-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ip runs");
    let stderr = child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("listening")), "sshd does not listen");
    // Its further lines are read, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn causes(scenario: &Value) -> Vec<(String, u64)> {
    let losses = scenario["ledger"]["losses"].as_array().cloned().unwrap_or_default();
    losses
        .iter()
        .map(|loss| {
            (loss["cause"].as_str().unwrap_or_default().to_owned(), loss["frames"].as_u64().unwrap_or_default())
        })
        .collect()
}

#[test]
fn the_ledger_of_a_receiver_behind_a_router_is_that_of_the_lab() {
    let Some(network) = Network::up("remote-story") else { return };
    network.scenario(
        "198.18.1.0/24",
        "receiver",
        "[require.sysctl]\n\"net.ipv4.conf.{receiver}.rp_filter\" = 0\n\
         [[expect.command]]\nrun = [\"nfdump\", \"-R\", \"{work}\", \"-q\", \"-o\", \"csv\"]\nstdout = { lines = 1401 }\n\
         [[expect.command]]\nrun = [\"echo\", \"given to the agent\"]\nstdout = { equals-file = \"given.txt\" }\n",
    );
    fs::write(network.folder.join("given.txt"), "given to the agent\n").expect("the folder can be written to");
    let (status, story) = network.run();
    assert_eq!(status, Some(0), "{story:#}");
    for stage in ["sent", "arrived", "accepted", "delivered", "consumed"] {
        assert_eq!(story["ledger"][stage], 720, "{stage}: {story:#}");
    }
    // The connection's own packets.
    assert!(story["ledger"]["foreign"].as_u64() > Some(10), "{story:#}");
    network.assert_clean();
}

#[test]
fn what_is_wrong_on_the_far_side_or_between_has_its_cause() {
    let Some(network) = Network::up("remote-causes") else { return };
    let run = |cause: &str, frames: u64, before: [&str; 2], after: [&str; 2], source: &str, mac: &str| {
        let [machine, script] = before;
        network.on(machine, script);
        network.scenario(source, mac, "");
        let (status, story) = network.run();
        let [machine, script] = after;
        network.on(machine, script);
        assert_eq!(status, Some(1), "{cause}: {story:#}");
        assert_eq!(causes(&story), [(cause.to_owned(), frames)], "{story:#}");
    };
    let nothing = ["far", "true"];
    let own = "198.18.1.0/24";
    let drop = "nft add table inet t; nft \"add chain inet t c { type filter hook input priority 0; }\"; nft add rule inet t c udp dport 4739 drop";
    run("NETFILTER_DROP", 720, ["far", drop], ["far", "nft delete table inet t"], own, "receiver");
    let strict =
        "sysctl -qw net.ipv4.conf.b0.rp_filter=1; ip route del default; ip route add 198.18.1.0/24 via 198.18.2.1";
    let loose =
        "sysctl -qw net.ipv4.conf.b0.rp_filter=0; ip route del 198.18.1.0/24; ip route add default via 198.18.2.1";
    run("IP_RPFILTER", 720, ["far", strict], ["far", loose], "198.18.77.0/24", "receiver");
    run("LOST_IN_NETWORK", 720, nothing, nothing, own, "02:00:00:00:99:99");
    let filter = "nft add table inet t; nft \"add chain inet t c { type filter hook forward priority 0; }\"; nft add rule inet t c udp dport 4739 drop";
    run("LOST_IN_NETWORK", 720, ["router", filter], ["router", "nft delete table inet t"], own, "receiver");
    network.assert_clean();
}

#[test]
fn a_lost_connection_ends_the_run_with_the_ledger_so_far() {
    let Some(network) = Network::up("remote-lost") else { return };
    network.scenario("198.18.1.0/24", "receiver", "");
    let mut run = network.command().spawn().expect("ip runs");
    // Sending takes 0.7 s, and begins when the application is there.
    while !network.left().iter().any(|line| line.contains("nfcapd")) {
        assert!(run.try_wait().expect("it can be waited for").is_none(), "it ended too early");
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(300));
    let server = network.ssh.id();
    let sessions = done(&format!("ip netns pids {}", network.name("far")));
    for pid in sessions.lines().filter(|pid| **pid != *server.to_string()) {
        sh(&format!("grep -q sshd /proc/{pid}/comm && kill -9 {pid}"));
    }
    let status = run.wait().expect("it ends");
    let report = fs::read_to_string(network.folder.join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let story = &report["scenarios"][0];
    assert_eq!((status.code(), story["verdict"].as_str()), (Some(4), Some("error")), "{story:#}");
    assert!(story["ledger"]["arrived"].is_null(), "{story:#}");
    let problems = story["problems"].to_string();
    assert!(problems.contains("was lost"), "{problems}");
    network.assert_clean();
}

#[test]
fn what_others_send_to_a_receiver_is_watched_and_accounted_for() {
    let Some(network) = Network::up("remote-watch") else { return };
    network.scenario("198.18.1.0/24", "02:00:00:00:0a:01", "");
    let text = fs::read_to_string(network.folder.join("story.toml")).expect("it was written");
    let sent = text
        .split("[receiver]")
        .next()
        .expect("the beginning")
        .replace("ip = \"receiver\"", "ip = { \"0.0.0.0/0\" = \"198.18.2.2\" }");
    fs::write(network.folder.join("story.toml"), sent).expect("the folder can be written to");
    let on_far = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.name("far"), program]).args(arguments).current_dir(&network.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ip runs")
    };
    let flows = network.folder.join("flows");
    fs::create_dir(&flows).expect("the folder can be written to");
    let mut collector = on_far("nfcapd", &["-p", "4739", "-B", "1000000", "-w", &flows.display().to_string()]);
    let listens = || network.on("far", "ss -lnu").contains(":4739 ");
    let begun = Instant::now();
    while !listens() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the collector does not listen");
        sleep(Duration::from_millis(20));
    }
    let drop = "nft add table inet t; nft \"add chain inet t c { type filter hook input priority 0; }\"; \
                nft add rule inet t c udp dport 4739 ip saddr 198.18.1.12 drop";
    network.on("far", drop);
    let rules = network.on("far", "nft list ruleset");
    // What the router takes is known from what was sent.
    let filter = "nft add table inet t; nft \"add chain inet t c { type filter hook forward priority 0; }\"; \
                  nft add rule inet t c udp dport 4739 ip saddr 198.18.1.13 drop";
    network.on("router", filter);
    let watch = "watch --interface b0 --listen udp:4739 --fail-on-loss --sent sent.json --report-json watched.json";
    let mut watching = on_far(env!("CARGO_BIN_EXE_restage"), &watch.split(' ').collect::<Vec<_>>());
    let mut line = String::new();
    BufReader::with_capacity(1, watching.stderr.as_mut().expect("it is piped"))
        .read_line(&mut line)
        .expect("it is UTF-8");
    assert_eq!(line, "watching udp:4739 on b0; Ctrl-C ends it\n");
    assert_eq!(network.on("far", "nft list ruleset"), rules, "it changes nothing");
    let sent = network.command().args(["--sent", "sent.json"]).output().expect("ip runs");
    assert!(sent.status.success(), "{}", both(&sent));
    // What no one sent from there is foreign.
    network.on("router", "bash -c \"for i in {1..100}; do echo other > /dev/udp/198.18.2.2/4739; done\"");
    done(&format!("kill -INT {}", watching.id()));
    let ended = watching.wait_with_output().expect("it ends");
    let _ = collector.kill();
    let _ = collector.wait();
    assert_eq!(ended.status.code(), Some(1), "{}", both(&ended));
    let report = fs::read_to_string(network.folder.join("watched.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let watched = &report["scenarios"][0];
    let lost = [("LOST_IN_NETWORK".to_owned(), 240), ("NETFILTER_DROP".to_owned(), 240)];
    assert_eq!(causes(watched), lost, "{watched:#}");
    let stages = ["sent", "arrived", "accepted", "consumed"].map(|stage| watched["ledger"][stage].as_u64());
    assert_eq!(stages, [720, 480, 240, 240].map(Some), "{watched:#}");
    // With what else came in by that interface, such as ARP.
    assert!(watched["ledger"]["foreign"].as_u64() >= Some(100), "{watched:#}");
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(text.contains("720  read, selected, rewritten, sent"), "{text}");
}

#[test]
fn nothing_is_left_there_when_the_run_is_killed() {
    let Some(network) = Network::up("remote-killed") else { return };
    network.scenario("198.18.1.0/24", "receiver", "");
    for moment in 0..20 {
        let mut run = network.command().spawn().expect("ip runs");
        sleep(Duration::from_millis(moment * 75));
        // `ip netns exec` has become restage.
        let _ = run.kill();
        let _ = run.wait();
    }
    network.assert_clean();
}
