//! Containers of a real Docker engine, which is started for the test, with folders of its own and without a network. Start at [`trials`].

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::application;
use crate::common::small::{capture, datagram};
use crate::common::{User, both, fresh_folder, is_root, restage, stage};
use crate::frames::MARK;
use crate::place::await_that;
use crate::trial;
use crate::words::scenario_in;

/// So long the engine may take to start.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a container is found, and left as it was", containers)]
}

/// A Docker engine.
struct Engine {
    folder: PathBuf,
    daemon: Child,
}

impl Engine {
    /// `None`, with the reason printed, where there can be none.
    fn start() -> Option<Self> {
        if !is_root() {
            println!("skipped: a Docker engine is started by root only");
            return None;
        }
        let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok();
        if !is_there("dockerd") || !is_there("docker") {
            println!("skipped: there is no dockerd or no docker: run `.ci/install applications`");
            return None;
        }
        let folder = fresh_folder("docker");
        let log = fs::File::create(folder.join("log")).expect("it can be made");
        // What it mounts goes with its namespace, and the sysctls that it sets are not the machine's.
        let daemon = Command::new("unshare")
            .args([
                "-mn",
                "dockerd",
                "--iptables=false",
                "--ip6tables=false",
                // It would switch forwarding on for the whole machine, and for namespaces that are made from then on.
                "--ip-forward=false",
                "--bridge=none",
                "--storage-driver=vfs",
                "--data-root",
            ])
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .args(["-H", &format!("unix://{}/socket", folder.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare runs");
        let mut engine = Self { folder, daemon };
        let begun = Instant::now();
        while !engine.docker(&["version"]).status.success() {
            let has_ended = engine.daemon.try_wait().expect("it can be asked").is_some();
            if has_ended || begun.elapsed() > LIMIT {
                let log = fs::read_to_string(engine.folder.join("log")).unwrap_or_default();
                println!("skipped: dockerd does not run here: {}", log.lines().last().unwrap_or("it says nothing"));
                return None;
            }
            sleep(Duration::from_millis(100));
        }
        engine.import();
        Some(engine)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", format!("unix://{}/socket", self.folder.display())).current_dir(&self.folder);
        command
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        self.command("docker").args(arguments).output().expect("docker runs")
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes the image `receiver`: this program, restage, and the libraries that they need.
    fn import(&self) {
        let program = std::env::current_exe().expect("this program has a file");
        let script = "mkdir -p image/usr/bin image/tmp; cp \"$1\" image/program; cp \"$2\" image/usr/bin/restage
            for library in $(ldd \"$1\" \"$2\" | grep -o '/[^ ]*\\.so[^ ]*' | sort -u); do mkdir -p image/$(dirname $library); cp -L $library image/$library; done; tar -C image -c . | docker import - receiver:test";
        let output = self
            .command("sh")
            .args(["-ec", script, "sh"])
            .arg(program)
            .arg(stage().join("restage"))
            .output()
            .expect("sh runs");
        assert!(output.status.success(), "{}", both(&output));
    }

    /// Starts a receiver in a container; the file that has the numbers of what it read.
    fn receiver(&self, name: &str, network: &str) -> PathBuf {
        let (folder, truth) = (self.folder.display().to_string(), format!("truth-{name}"));
        let (mount, file) = (format!("{folder}:/out"), format!("/out/{truth}"));
        let words = ["run", "-d", "--network", network, "--name", name, "-v", &mount, "receiver:test", "/program"];
        self.done(&[&words[..], &[application::VERB, &file, "reads"]].concat());
        self.await_socket(name);
        self.folder.join(truth)
    }

    fn await_socket(&self, name: &str) {
        let pid = self.done(&["inspect", "--format", "{{.State.Pid}}", name]);
        let table = Path::new("/proc").join(pid).join("net/udp");
        await_that("a socket in the container", || {
            fs::read_to_string(&table).is_ok_and(|text| text.contains(":1283 "))
        });
    }

    /// Everything of a container's network namespace that a run could change.
    fn state(&self, name: &str) -> String {
        let pid = self.done(&["inspect", "--format", "{{.State.Pid}}", name]);
        let script = "ip -j addr; ip route show table all; ip -6 route show table all; nft list ruleset";
        both(&Command::new("nsenter").args(["-t", &pid, "-n", "sh", "-c", script]).output().expect("nsenter runs"))
    }

    /// What a run prints.
    fn run(&self, at: &str, arguments: &[&str]) -> String {
        self.run_by(restage(User::Caller), at, arguments)
    }

    /// The same of one in the network namespace of the engine.
    fn run_beside(&self, at: &str) -> String {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.daemon.id().to_string(), "-n", "--"]).arg(stage().join("restage"));
        command.env("NO_COLOR", "1");
        self.run_by(command, at, &[])
    }

    fn run_by(&self, mut restage: Command, at: &str, arguments: &[&str]) -> String {
        let path = scenario_in(&self.folder, "s", at, "[expect]\nconsumed = \"all\"\n");
        restage.env("DOCKER_HOST", format!("unix://{}/socket", self.folder.display())).current_dir(&self.folder);
        both(&restage.arg("run").args(arguments).arg(path).output().expect("restage runs"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let names = String::from_utf8_lossy(&self.docker(&["ps", "-aq"]).stdout).into_owned();
        let names: Vec<&str> = names.split_whitespace().collect();
        if !names.is_empty() {
            let _ = self.docker(&[&["rm", "-f"], &names[..]].concat());
        }
        let pid = i32::try_from(self.daemon.id()).expect("it is small");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn containers() {
    let Some(engine) = Engine::start() else { return };
    let truth = engine.receiver("collector", "none");
    let before = engine.state("collector");
    let ran = engine.run("container:collector", &[]);
    assert!(ran.starts_with("pass     s") && ran.contains("30 consumed"), "{ran}");
    // Its datagrams are not of those that it counts.
    assert!(truth.exists());
    assert_eq!(engine.state("collector"), before);
    let id = engine.done(&["inspect", "--format", "{{.Id}}", "collector"]);
    let ran = engine.run(&format!("container:{id}"), &[]);
    assert!(ran.starts_with("pass     s"), "{ran}");

    engine.done(&["stop", "-t", "0", "collector"]);
    let ran = engine.run("container:collector", &[]);
    assert!(ran.contains("the container `collector` does not run") && ran.contains("docker start collector"), "{ran}");
    let ran = engine.run("container:none", &[]);
    assert!(ran.contains("there is no container `none`"), "{ran}");
    // The network of the host is the host's, whatever it is called: here that of the engine, in which restage is started then.
    engine.done(&[
        "run",
        "-d",
        "--network",
        "host",
        "--name",
        "on-the-host",
        "receiver:test",
        "/program",
        application::VERB,
        "/truth",
        "reads",
    ]);
    let ran = engine.run_beside("container:on-the-host");
    assert!(ran.contains("is in the network namespace of the host") && ran.contains("--allow-host"), "{ran}");
    composed(&engine);
    shared(&engine);
}

/// Four containers send to a fifth, each its share; agents are started in all of them.
fn shared(engine: &Engine) {
    const SENDERS: usize = 4;
    let names: Vec<String> = (1..=SENDERS).map(|number| format!("sender{number}")).collect();
    for name in &names {
        // A container that does nothing of its own, with no more rights than any.
        let words = ["run", "-d", "--network", "none", "--name", name, "receiver:test", "/program"];
        engine.done(&[&words[..], &[application::VERB, "/truth", "reads"]].concat());
    }
    let folder = engine.folder.display().to_string();
    let mount = format!("{folder}:/out");
    let words = [
        "run",
        "-d",
        "--cap-add",
        "SYS_ADMIN",
        "--network",
        "none",
        "--name",
        "receives",
        "-v",
        &mount,
        "receiver:test",
    ];
    engine.done(&[&words[..], &["/program", application::VERB, "/out/truth-receives", "reads"]].concat());
    engine.await_socket("receives");
    // A network of the test's own between them: the engine has none.
    let daemon = engine.daemon.id();
    let on_the_engine = |script: &str| {
        let mut command = Command::new("nsenter");
        command.args(["-t", &daemon.to_string(), "-n", "sh", "-ec", script]);
        let output = command.output().expect("nsenter runs");
        assert!(output.status.success(), "{script}: {}", both(&output));
    };
    on_the_engine("ip link add br0 type bridge; ip link set br0 up");
    for (number, name) in names.iter().map(String::as_str).chain(["receives"]).enumerate() {
        let pid = engine.done(&["inspect", "--format", "{{.State.Pid}}", name]);
        let number = number + 1;
        on_the_engine(&format!(
            "ip link add p{number} type veth peer name eth0 netns {pid}; ip link set p{number} master br0 up
             nsenter -t {pid} -n ip address add 198.18.0.{number}/24 dev eth0; nsenter -t {pid} -n ip link set eth0 up"
        ));
    }
    let mut frames = Vec::new();
    for number in 0..120_u32 {
        let source = [203, 0, 113, u8::try_from(number % 8 + 1).expect("it is small")];
        frames.push(datagram(source, [203, 0, 113, 100], 4739, &[&MARK[..], &number.to_be_bytes()].concat()));
    }
    fs::write(engine.folder.join("in.pcap"), capture(&frames, 1000)).expect("it can be written");
    let mut text =
        "format = 1\n[capture]\nfile = \"in.pcap\"\n[rewrite.destination]\nip = \"receiver\"\nmac = \"receiver\"\n\
         [receiver]\nat = \"docker-exec:receives\"\nlistens = [\"udp:4739\"]\n[expect]\nconsumed = \"all\"\n"
            .to_owned();
    for name in &names {
        write!(text, "[[sender]]\nat = \"docker-exec:{name}\"\ninterface = \"eth0\"\nshare = \"exporters\"\n")
            .expect("a string takes it");
    }
    fs::write(engine.folder.join("shared.toml"), text).expect("it can be written");
    let mut restage = engine.command(stage().join("restage"));
    restage
        .args(["run", "--allow-interface", "eth0", "shared.toml", "--report-json", "shared.json"])
        .env("NO_COLOR", "1");
    let text = both(&restage.output().expect("restage runs"));
    assert!(text.starts_with("pass     shared") && text.contains("120 consumed"), "{text}");
    let report = fs::read_to_string(engine.folder.join("shared.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    for sender in report["scenarios"][0]["replay"]["senders"].as_array().expect("a list") {
        assert_eq!(sender["sent"], 30, "{report:#}");
    }
    let truth = fs::read_to_string(engine.folder.join("truth-receives")).expect("the receiver writes it");
    assert_eq!(truth.lines().count(), 120);
}

/// The same by Docker Compose.
fn composed(engine: &Engine) {
    if Command::new("docker-compose").arg("--version").output().is_err() {
        println!("skipped in part: there is no docker-compose: run `.ci/install applications`");
        return;
    }
    let text = format!(
        "version: \"2.4\"\nservices:\n  collector:\n    image: receiver:test\n    network_mode: none\n    command: [\"/program\", \"{}\", \"/truth\", \"reads\"]\n",
        application::VERB
    );
    fs::write(engine.folder.join("docker-compose.yml"), text).expect("it can be written");
    let compose = |words: &[&str]| {
        let output = engine.command("docker-compose").args(words).output().expect("docker-compose runs");
        assert!(output.status.success(), "{}", both(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    compose(&["up", "-d"]);
    engine.await_socket(&compose(&["ps", "-q", "collector"]));
    let ran = engine.run("compose:collector", &[]);
    assert!(ran.starts_with("pass     s"), "{ran}");
    compose(&["stop", "-t", "0"]);
    compose(&["rm", "-f"]);
    let ran = engine.run("compose:collector", &[]);
    assert!(ran.contains("the service `collector` does not run"), "{ran}");
    let ran = engine.run("compose:other", &[]);
    assert!(ran.contains("can't ask Docker Compose for the service `other`"), "{ran}");
}
