//! Containers of a real Docker engine, which is started for the test, with folders of its own and without a network. Start at [`trials`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::application;
use crate::common::{User, both, fresh_folder, is_root, restage, stage};
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
                "--ip-forward=false",
                "--ip6tables=false",
                // It would switch forwarding on for the whole machine, and for namespaces that are made from then on.
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

    /// Makes the image `receiver`: this program, and the libraries that it needs.
    fn import(&self) {
        let program = std::env::current_exe().expect("this program has a file");
        let script = "mkdir image; cp \"$1\" image/program; for library in $(ldd \"$1\" | grep -o '/[^ ]*'); do
            mkdir -p image/$(dirname $library); cp -L $library image/$library; done; tar -C image -c . | docker import - receiver:test";
        let output = self.command("sh").args(["-ec", script, "sh"]).arg(program).output().expect("sh runs");
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
