//! The application under test: starting, stopping, dying, and leaving nothing behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::host::namespace::Privilege;
use crate::host::program;
use crate::process::application::{Application, Around, Ended, Start, Stopped};
use crate::process::inside::Inside;
use crate::process::order::Rights;
use crate::process::surroundings::Surroundings;
use crate::testbed::network::{LabNetwork, LabPlan};

use super::{Case, cases, lab};

cases![
    a_program_starts_in_milliseconds,
    stop_ends_a_program_by_its_signal,
    a_program_may_handle_its_stop_signal,
    a_program_that_doesnt_stop_is_killed_after_the_grace,
    an_early_exit_is_reported_with_its_status,
    a_program_that_cannot_start_is_blocked_with_the_reason,
    what_a_program_leaves_behind_is_killed,
    a_program_that_goes_into_the_background_is_followed,
    a_program_sees_its_own_processes_and_interfaces_only,
    a_program_of_an_ordinary_user_has_no_capabilities_and_binds_port_53,
    killing_the_runner_leaves_no_process,
];

/// Cases that others start as processes of their own.
pub(super) const ACTORS: &[Case] = &[("runner", runner)];

const PATIENCE: Duration = Duration::from_secs(10);

struct Site {
    lab: LabNetwork,
    privilege: Privilege,
}

fn site() -> Site {
    let plan = LabPlan { addresses: vec!["10.9.0.2/32".parse().unwrap()], ..LabPlan::default() };
    let (lab, privilege) = lab(&plan);
    Site { lab, privilege }
}

impl Site {
    /// Starts a program whose output can be read from what is given back.
    fn start(&self, program: &Path, arguments: &[&str]) -> (Application, BufReader<File>) {
        let (read, write) = nix::unistd::pipe().unwrap();
        let write = File::from(write);
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let inside = Inside::new(&Surroundings::default(), &self.lab.receiver).unwrap();
        let application = Application::start(
            &Start {
                program,
                arguments: &arguments,
                folder: Path::new("/tmp"),
                environment: &[],
                rights: &Rights::default(),
                most_output: None,
                surroundings: Around::In(&inside),
                stdout: write.try_clone().unwrap(),
                stderr: write,
            },
            &self.lab.receiver,
        );
        (application.unwrap(), BufReader::new(File::from(read)))
    }

    fn shell(&self, script: &str) -> (Application, BufReader<File>) {
        self.start(&sh(), &["-c", script])
    }

    /// Runs a script to its end; gives all that it wrote.
    fn output(&self, script: &str) -> String {
        let (mut application, mut output) = self.shell(script);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(application.wait(PATIENCE).unwrap(), Some(Ended::Exited(0)), "{text}");
        text
    }
}

fn sh() -> PathBuf {
    program::find("sh").unwrap()
}

fn line(output: &mut BufReader<File>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_string()
}

fn a_program_starts_in_milliseconds() {
    let site = site();
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let start = Instant::now();
            let (mut application, _) = site.start(&program::find("true").unwrap(), &[]);
            assert_eq!(application.wait(PATIENCE).unwrap(), Some(Ended::Exited(0)));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("started, ended and gone: median {:?}, all {times:?}", times[5]);
    assert!(times[5] < Duration::from_secs(1));
}

fn stop_ends_a_program_by_its_signal() {
    let (mut application, mut output) = site().shell("echo ready; exec sleep 1000");
    assert_eq!(line(&mut output), "ready");
    assert_eq!(application.ended().unwrap(), None);
    assert_eq!(application.pids().len(), 1);
    let stopped = application.stop(15, PATIENCE).unwrap();
    assert_eq!(stopped, Stopped { ended: Ended::Signalled(15), killed: false });
    assert_eq!(stopped.ended.to_string(), "signal 15 (SIGTERM)");
    assert_eq!(application.stop(15, PATIENCE).unwrap(), stopped, "once more changes nothing");
    assert!(application.pids().is_empty());
}

fn a_program_may_handle_its_stop_signal() {
    let (mut application, mut output) =
        site().shell("trap 'echo bye; exit 3' USR1; echo ready; while :; do read x; done");
    assert_eq!(line(&mut output), "ready");
    let stopped = application.stop(10, PATIENCE).unwrap();
    assert_eq!(stopped, Stopped { ended: Ended::Exited(3), killed: false });
    assert_eq!(stopped.ended.to_string(), "exit status 3");
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(said.contains("bye"), "{said}");
}

fn a_program_that_doesnt_stop_is_killed_after_the_grace() {
    let (mut application, mut output) = site().shell("trap '' TERM; echo ready; sleep 1000; sleep 1000");
    assert_eq!(line(&mut output), "ready");
    let start = Instant::now();
    let grace = Duration::from_millis(100);
    let stopped = application.stop(15, grace).unwrap();
    assert_eq!(stopped, Stopped { ended: Ended::Signalled(9), killed: true });
    assert!(start.elapsed() >= grace);
    assert_eq!(output.read_to_string(&mut String::new()).unwrap(), 0, "nobody holds its output any more");
}

fn an_early_exit_is_reported_with_its_status() {
    let (mut application, mut output) = site().shell("echo oh; exit 7");
    assert_eq!(line(&mut output), "oh");
    assert_eq!(application.wait(PATIENCE).unwrap(), Some(Ended::Exited(7)));
    assert_eq!(application.ended().unwrap(), Some(Ended::Exited(7)));
    let (mut application, _) = site().shell("kill -34 $$");
    assert_eq!(application.wait(PATIENCE).unwrap().unwrap().to_string(), "signal 34");
}

fn a_program_that_cannot_start_is_blocked_with_the_reason() {
    let site = site();
    for (path, why) in [
        ("/nonexistent/program", "No such file or directory (os error 2)"),
        ("/tmp", "Permission denied (os error 13)"),
    ] {
        let (mut application, _) = site.start(Path::new(path), &[]);
        assert_eq!(application.ended().unwrap(), Some(Ended::NotStarted(why.into())));
    }
}

fn what_a_program_leaves_behind_is_killed() {
    let (mut application, mut output) =
        site().shell("sleep 1000 & setsid sh -c 'echo ready; exec sleep 1000' & read x; wait; exit 0");
    assert_eq!(line(&mut output), "ready");
    application.stop(9, PATIENCE).unwrap();
    assert_eq!(output.read_to_string(&mut String::new()).unwrap(), 0, "nobody holds its output any more");
    // Of one that is waited for by itself, the rest doesn't matter.
    let (mut application, mut output) = site().shell("setsid sleep 1000 & exit 0");
    assert_eq!(application.wait_for_program(PATIENCE).unwrap(), Some(Ended::Exited(0)));
    assert_eq!(output.read_to_string(&mut String::new()).unwrap(), 0);
}

fn a_program_that_goes_into_the_background_is_followed() {
    let (mut application, mut output) = site().shell("setsid sh -c 'sleep 0.05; exit 4' & echo ready; exit 0");
    assert_eq!(line(&mut output), "ready");
    assert_eq!(application.wait(PATIENCE).unwrap(), Some(Ended::Exited(4)));
    assert!(application.has_left_others());
    // It is ready when the program that started it is gone.
    let daemon = "setsid sh -c 'trap \"exit 3\" TERM; while [ $PPID -ne 1 ] && kill -0 $PPID 2>/dev/null; do sleep 0.01; done; echo ready; while :; do sleep 0.01; done' & exit 0";
    let (mut application, mut output) = site().shell(daemon);
    assert_eq!(line(&mut output), "ready");
    let stopped = application.stop(15, PATIENCE).unwrap();
    assert_eq!(stopped, Stopped { ended: Ended::Exited(3), killed: false });
    // A process that it leaves when it is stopped is stopped as well, and its end says nothing.
    let (mut application, mut output) =
        site().shell("sh -c 'trap \"echo bye; exit 3\" TERM; echo ready; while :; do sleep 0.01; done' & wait");
    assert_eq!(line(&mut output), "ready");
    assert_eq!(application.stop(15, PATIENCE).unwrap(), Stopped { ended: Ended::Signalled(15), killed: false });
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(said.contains("bye"), "{said}");
}

fn a_program_sees_its_own_processes_and_interfaces_only() {
    let site = site();
    let (application, _output) = site.shell("exec sleep 1000");
    assert!(application.notes().is_empty(), "{:?}", application.notes());
    assert_eq!(
        site.output("echo $PPID; ls /sys/class/net; pwd; readlink /proc/self/fd/0"),
        "1\nlo\nrx0\n/tmp\n/dev/null\n"
    );
    assert_eq!(site.output("echo /proc/[0-9]*").split_whitespace().count(), 2, "the init and the shell");
    let signals = site.output("grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2");
    for mask in signals.lines() {
        // Bits 31 and 32 are the C library's own two signals, which its posix_spawn ignores.
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !(3 << 31), 0, "{signals}");
    }
}

fn a_program_of_an_ordinary_user_has_no_capabilities_and_binds_port_53() {
    let site = site();
    let effective = site.output("grep CapEff /proc/self/status | cut -f2");
    match site.privilege {
        Privilege::UserNamespace => assert_eq!(effective, "0000000000000000\n"),
        Privilege::Root => assert_ne!(effective, "0000000000000000\n"),
    }
    let identity = format!("{} {}\n", nix::unistd::geteuid(), nix::unistd::getegid());
    assert_eq!(site.output("echo $(id -u) $(id -g)"), identity);
    if let Some(python) = program::find("python3") {
        let bind = "import socket; socket.socket(2, 2).bind(('10.9.0.2', 53)); print('bound')";
        let (_application, mut output) = site.start(&python, &["-c", bind]);
        assert_eq!(line(&mut output), "bound");
    }
}

/// Starts a tree of processes and waits until it is killed.
fn runner() {
    let site = site();
    let stdout = || File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    let script = "sleep 1000 & setsid sleep 1000 & echo ready; wait".to_string();
    let inside = Inside::new(&Surroundings::default(), &site.lab.receiver).unwrap();
    let application = Application::start(
        &Start {
            program: &sh(),
            arguments: &["-c".into(), script],
            folder: Path::new("/tmp"),
            environment: &[],
            rights: &Rights::default(),
            most_output: None,
            surroundings: Around::In(&inside),
            stdout: stdout(),
            stderr: stdout(),
        },
        &site.lab.receiver,
    )
    .unwrap();
    let _held = application;
    std::thread::park();
}

fn killing_the_runner_leaves_no_process() {
    super::enter();
    let mut runner = super::case_command("runner").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(runner.stdout.take().unwrap());
    let mut ready = String::new();
    output.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    runner.kill().unwrap();
    runner.wait().unwrap();
    // All of them hold this pipe: its end is theirs.
    assert_eq!(output.read_to_string(&mut ready).unwrap(), 0);
}
