//! Network namespaces for a receiver and for others who send to it, of root or of an ordinary user. Start at [`Place`].

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::application;
use crate::common::{User, copy_program, fresh_folder, is_root};

/// The first argument of the sender of other traffic; then come datagrams a second, and addresses with ports.
pub(crate) const OTHERS: &str = "--others";
/// The receiver's own address, by which others reach it.
pub(crate) const OWN: &str = "10.99.0.2";
/// Theirs.
pub(crate) const THEIRS: &str = "10.99.0.1";

const LIMIT: Duration = Duration::from_secs(20);

/// A receiver's network namespace, which a process holds, and one beside it, of a host that it has as its gateway.
pub(crate) struct Place {
    user: User,
    inside: Child,
    outside: Option<Child>,
    /// Programs that run there.
    programs: Vec<Child>,
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn new(user: User) -> Self {
        let folder = fresh_folder("place");
        let program = folder.join("program");
        copy_program(&std::env::current_exe().expect("this program has a file"), &program);
        let how = if is_plain_root(user) { "-n" } else { "-Urn" };
        let inside = as_user(user, "unshare").args([how, "sleep", "infinity"]).spawn().expect("unshare runs");
        let mut place = Self { user, inside, outside: None, programs: Vec::new(), folder };
        await_sleep(place.pid());
        let outside = place.inside("unshare").args(["-n", "sleep", "infinity"]).spawn().expect("unshare runs");
        let out = outside.id();
        place.outside = Some(outside);
        await_sleep(out);
        place.shell(&format!(
            "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up
             ip link add eth0 type veth peer name f0 netns {out}
             ip addr add {OWN}/24 dev eth0; ip link set eth0 up"
        ));
        place.shell_outside(&format!("ip addr add {THEIRS}/24 dev f0; ip link set f0 up; ip link set lo up"));
        place.shell(&format!("ip route add default via {THEIRS}"));
        place
    }

    /// The process that holds the namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.inside.id()
    }

    /// A program in the receiver's namespace.
    pub(crate) fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(self.inside.id(), program.as_ref())
    }

    fn outside(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(self.outside.as_ref().expect("it was started").id(), program.as_ref())
    }

    fn enter(&self, pid: u32, program: &OsStr) -> Command {
        let mut command = as_user(self.user, "nsenter");
        command.args(["-t", &pid.to_string(), "-n"]);
        if !is_plain_root(self.user) {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// Runs a script in the receiver's namespace; what it prints.
    pub(crate) fn shell(&self, script: &str) -> String {
        output(self.inside("sh").args(["-ec", script]))
    }

    fn shell_outside(&self, script: &str) -> String {
        output(self.outside("sh").args(["-ec", script]))
    }

    /// Starts a receiver that writes the numbers of the datagrams that it reads to a file, and waits until a socket is on `port`.
    pub(crate) fn start(&mut self, behaviour: &str, port: u16) -> PathBuf {
        let truth = self.folder.join(format!("truth-{}", self.programs.len()));
        let program = self.folder.join("program");
        let receiver = self.inside(&program).arg(application::VERB).arg(&truth).arg(behaviour).spawn();
        let pid = receiver.as_ref().expect("it runs").id();
        self.programs.push(receiver.expect("it runs"));
        // As /proc/net/udp has it.
        let wanted = format!(":{port:04X} ");
        await_that("a socket of the receiver", || {
            ["udp", "udp6"].iter().any(|table| {
                fs::read_to_string(format!("/proc/{pid}/net/{table}")).is_ok_and(|text| text.contains(&wanted))
            })
        });
        truth
    }

    /// Others begin to send so many datagrams a second to each of these, as `ADDRESS:PORT`.
    pub(crate) fn others_send(&mut self, pps: u32, to: &[String]) {
        let program = self.folder.join("program");
        let sender = self.outside(&program).arg(OTHERS).arg(pps.to_string()).args(to).spawn().expect("it runs");
        self.programs.push(sender);
    }

    /// Everything of the namespace that a run could change and leave behind.
    pub(crate) fn state(&self) -> String {
        self.shell(
            "ip -d link | sed 's/ qlen [0-9]*//'; ip -j addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule
             ip -j neigh show nud permanent; if command -v nft >/dev/null; then nft list ruleset; fi
             cd /proc/sys/net; for name in ipv4/conf ipv6/conf ipv4/ip_forward ipv4/ipfrag_time; do grep -r . $name 2>/dev/null | sort; done",
        )
    }

    /// Waits until the namespace is as it was.
    pub(crate) fn await_state(&self, before: &str) {
        let begun = Instant::now();
        loop {
            let now = self.state();
            if now == before {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "it is not as it was.\nbefore:\n{before}\nnow:\n{now}");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in self.programs.iter_mut().chain(&mut self.outside).chain([&mut self.inside]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether that user needs no user namespace.
pub(crate) fn is_plain_root(user: User) -> bool {
    is_root() && user == User::Caller
}

fn as_user(user: User, program: &str) -> Command {
    let mut command = match user {
        User::Caller => Command::new(program),
        User::Ordinary => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--", program]);
            command
        }
    };
    command.stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn await_sleep(pid: u32) {
    await_that("a namespace", || {
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).is_ok_and(|name| name == "sleep\n")
    });
}

pub(crate) fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what} is not there after {LIMIT:?}");
        sleep(Duration::from_millis(2));
    }
}

/// The check that waits until the receiver has noted so many datagrams.
pub(crate) fn awaits_lines(truth: &Path, count: u32) -> String {
    format!(
        "[[expect.command]]\nrun = [\"grep\", \"-c\", \"\", \"{}\"]\nwhen = \"running\"\nwithin = \"20s\"\nstdout = {{ contains = \"{count}\" }}\n",
        truth.display()
    )
}

/// The sender of other traffic.
pub(crate) fn send(arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let (Some((pps, to)), Ok(socket)) = (words.split_first(), UdpSocket::bind("0.0.0.0:0")) else {
        eprintln!("usage: {OTHERS} PPS ADDRESS:PORT…");
        return ExitCode::FAILURE;
    };
    let pause = Duration::from_secs_f64(1.0 / pps.parse().unwrap_or(1.0));
    loop {
        for address in to {
            // To a closed port every other call fails.
            let _ = socket.send_to(&[b'o'; 200], *address);
        }
        sleep(pause);
    }
}
