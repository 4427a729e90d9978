//! A process for each scenario: its limits, crashes, interruptions, its parent's death, and its folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::diagnostic::{Kind, Result};
use crate::host::namespace;
use crate::host::program;
use crate::outcome::{Event, Outcome, Verdict};
use crate::process::NAME;
use crate::process::application::{Application, Around, Start};
use crate::process::inside::Inside;
use crate::process::order::Rights;
use crate::process::parent::watch_parent;
use crate::process::work::{self, WorkFolder};
use crate::process::worker::{Job, News, Next, Notice, WorkerEnd};
use crate::testbed::network::{LabNetwork, LabPlan};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Case, cases, lab};

cases![
    workers_report_events_in_order_and_end,
    no_more_workers_run_at_once_than_allowed,
    nothing_more_is_started_after_start_no_more,
    a_worker_crash_is_reported_with_signal_and_stderr,
    a_worker_that_takes_too_long_is_killed,
    a_line_that_is_no_event_ends_the_worker,
    an_interruption_lets_workers_end_in_order,
    a_second_interruption_kills_at_once,
    sigusr1_is_forwarded_to_the_worker,
    a_killed_parent_leaves_no_worker_no_application_and_no_folder,
    a_killed_worker_leaves_no_application_and_no_folder,
    a_work_folder_is_private_and_gone_when_dropped,
    sweep_removes_unlocked_folders,
    a_folder_may_be_removed_by_its_owner_and_a_sweep_at_once,
    a_folder_of_another_user_is_refused,
    a_read_only_proc_sys_gets_a_writable_one_or_a_remedy,
];

/// Cases that others start as processes of their own.
pub(super) const ACTORS: &[Case] = &[("supervisor", supervisor), ("bare-lab", bare_lab)];

const PATIENCE: Duration = Duration::from_secs(20);

/// What a worker of these tests does: the words after the verb.
pub(crate) fn worker_main(arguments: &[OsString]) -> i32 {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
    match words.as_slice() {
        ["finish"] => {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let blocked = status.lines().find(|line| line.starts_with("SigBlk:"));
            assert_eq!(blocked, Some("SigBlk:\t0000000000000000"));
            tell(&planned(5.0));
            tell(&ended());
        }
        ["crash"] => {
            std::io::stderr().write_all(b"last words\n").unwrap();
            std::process::abort();
        }
        ["status"] => return 7,
        ["garble"] => println!("Hello!"),
        ["plan-and-hang"] => {
            tell(&planned(0.0));
            hang();
        }
        ["hang"] => hang(),
        ["end-when-told"] => {
            let watch = watch_parent().unwrap();
            tell(&planned(60.0));
            tell(&Event::Phase { name: "replay".into() });
            let mut told = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&watch), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut told, nix::poll::PollTimeout::NONE).unwrap();
            assert!(watch.parent_is_gone());
            tell(&ended());
        }
        // Never looks at its parent again.
        ["application"] => {
            let (lab, _) = lab(&LabPlan::default());
            let _watch = watch_parent().unwrap();
            let folder = WorkFolder::create("application").unwrap();
            fs::write(folder.work().join("flows"), "x").unwrap();
            let inside = Inside::new(folder.surroundings(), &lab.receiver).unwrap();
            let stream = || File::from(std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned().unwrap());
            let _application = Application::start(
                &Start {
                    program: &program::find("sh").unwrap(),
                    arguments: &["-c".into(), "setsid sleep 1000 & exec sleep 1000".into()],
                    folder: folder.work(),
                    environment: &[],
                    rights: &Rights::default(),
                    most_output: None,
                    surroundings: Around::In(&inside),
                    stdout: stream(),
                    stderr: stream(),
                },
                &lab.receiver,
            )
            .unwrap();
            tell(&Event::Phase { name: "application".into() });
            hang();
        }
        _ => panic!("{words:?}"),
    }
    0
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn tell(event: &Event) {
    let mut line = serde_json::to_string(event).unwrap();
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

fn planned(timeout: f64) -> Event {
    Event::Planned { frames: 3, seconds: None, timeout }
}

fn ended() -> Event {
    Event::Ended {
        outcome: Box::new(Outcome { seconds: 0.5, ..Outcome::blank("test", Path::new("test.toml"), Verdict::Pass) }),
    }
}

fn jobs(words: &[&str]) -> Vec<Job> {
    let job = |(place, word): (usize, &&str)| Job {
        index: place + 10,
        arguments: vec![OsString::from(word)],
        input: String::new(),
        limit: Some(PATIENCE),
    };
    words.iter().enumerate().map(job).collect()
}

/// Runs workers one after the other; gives what was told, and how they ended.
fn run(words: &[&str]) -> (Vec<(usize, News)>, Vec<WorkerEnd>) {
    let mut notices = Vec::new();
    let ends = supervise(jobs(words), 1, &mut |notice| {
        if let Notice::Job(index, news) = notice {
            notices.push((index, news));
        }
        Next::GoOn
    });
    (notices, ends.unwrap())
}

fn workers_report_events_in_order_and_end() {
    let (notices, ends) = run(&["finish", "finish"]);
    let of = |wanted: usize| notices.iter().filter(move |(index, _)| *index == wanted).map(|(_, news)| news);
    let all = [News::Started, News::Event(planned(5.0)), News::Event(ended()), News::Ended(WorkerEnd::Finished)];
    for index in [10, 11] {
        assert!(of(index).eq(&all), "{index}: {notices:?}");
    }
    // The second one is started when the first one has an outcome.
    let at = |wanted: &(usize, News)| notices.iter().position(|notice| notice == wanted);
    assert!(at(&(10, News::Event(ended()))) < at(&(11, News::Started)), "{notices:?}");
    assert_eq!(ends, [WorkerEnd::Finished, WorkerEnd::Finished]);
}

fn no_more_workers_run_at_once_than_allowed() {
    let (mut running, mut most) = (0, 0);
    let ends = supervise(jobs(&["finish"; 7]), 3, &mut |notice| {
        match notice {
            Notice::Job(_, News::Started) => running += 1,
            // What is left to a worker that has an outcome is to close what it has.
            Notice::Job(_, News::Event(Event::Ended { .. })) => running -= 1,
            Notice::Job(_, News::Event(_) | News::Ended(_)) | Notice::StatusAsked => {}
        }
        most = most.max(running);
        Next::GoOn
    });
    assert_eq!(ends.unwrap(), vec![WorkerEnd::Finished; 7]);
    assert_eq!(most, 3);
}

fn nothing_more_is_started_after_start_no_more() {
    let ends = supervise(jobs(&["finish", "crash", "finish"]), 1, &mut |notice| match notice {
        Notice::Job(10, News::Event(Event::Ended { .. })) => Next::StartNoMore,
        _ => Next::GoOn,
    });
    assert_eq!(ends.unwrap(), [WorkerEnd::Finished, WorkerEnd::NotStarted, WorkerEnd::NotStarted]);
}

fn a_worker_crash_is_reported_with_signal_and_stderr() {
    let (_, ends) = run(&["crash", "status"]);
    let [WorkerEnd::Crashed { how, stderr }, second] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!((how.as_str(), stderr.as_str()), ("signal 6 (SIGABRT)", "last words\n"));
    assert_eq!(*second, WorkerEnd::Crashed { how: "exit status 7".into(), stderr: String::new() });
}

fn a_worker_that_takes_too_long_is_killed() {
    let start = Instant::now();
    let mut jobs = jobs(&["plan-and-hang", "hang"]);
    jobs[1].limit = Some(Duration::from_millis(50));
    let ends = supervise(jobs, 2, &mut |_| Next::GoOn).unwrap();
    let timed_out = |ms| WorkerEnd::TimedOut { limit: Duration::from_millis(ms) };
    assert_eq!(ends, [timed_out(0), timed_out(50)]);
    // The first was given its own limit, 0 s, and 2 s to judge.
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

fn a_line_that_is_no_event_ends_the_worker() {
    let (notices, ends) = run(&["garble"]);
    assert_eq!(notices.len(), 2);
    let [WorkerEnd::Crashed { how, .. }] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!(how, "it wrote a line that is no event: expected value at line 1 column 1");
}

/// The supervisor interrupts itself as soon as both workers run.
fn an_interruption_lets_workers_end_in_order() {
    let mut phases = 0;
    let ends = supervise(jobs(&["end-when-told", "end-when-told", "finish"]), 2, &mut |notice| {
        if matches!(notice, Notice::Job(_, News::Event(Event::Phase { .. }))) {
            phases += 1;
            if phases == 2 {
                nix::sys::signal::raise(Signal::SIGINT).unwrap();
            }
        }
        Next::GoOn
    });
    assert_eq!(ends.unwrap(), [WorkerEnd::Finished, WorkerEnd::Finished, WorkerEnd::NotStarted]);
}

fn a_second_interruption_kills_at_once() {
    let start = Instant::now();
    let ends = supervise(jobs(&["hang"]), 1, &mut |notice| {
        if matches!(notice, Notice::Job(_, News::Started)) {
            // Two different signals: two of one kind may become one.
            nix::sys::signal::raise(Signal::SIGINT).unwrap();
            nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        }
        Next::GoOn
    });
    assert_eq!(ends.unwrap(), [WorkerEnd::Interrupted]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// The supervisor asks itself while a worker runs, and is interrupted once it has heard.
fn sigusr1_is_forwarded_to_the_worker() {
    let mut asked = 0;
    let ends = supervise(jobs(&["end-when-told", "finish"]), 1, &mut |notice| {
        match notice {
            Notice::Job(_, News::Event(Event::Phase { .. })) => nix::sys::signal::raise(Signal::SIGUSR1).unwrap(),
            Notice::StatusAsked => {
                asked += 1;
                nix::sys::signal::raise(Signal::SIGINT).unwrap();
            }
            Notice::Job(..) => {}
        }
        Next::GoOn
    });
    assert_eq!(ends.unwrap(), [WorkerEnd::Finished, WorkerEnd::NotStarted]);
    assert_eq!(asked, 1);
}

/// Runs jobs under a supervisor of their own.
fn supervise(jobs: Vec<Job>, at_once: usize, on_notice: &mut dyn FnMut(Notice) -> Next) -> Result<Vec<WorkerEnd>> {
    crate::process::worker::Supervisor::new()?.run(jobs, at_once, on_notice)
}

/// Supervises a worker with an application, and says so.
fn supervisor() {
    let ends = supervise(jobs(&["application"]), 1, &mut |notice| {
        if matches!(notice, Notice::Job(_, News::Event(Event::Phase { .. }))) {
            println!("running");
        }
        Next::GoOn
    });
    println!("{:?}", ends.unwrap());
}

/// A supervisor with its own folder for temporary files.
struct Supervisor {
    child: Child,
    output: BufReader<ChildStdout>,
    /// A pipe whose other end it holds, and everything below it: ends when all of them are gone.
    alive: File,
    temporary: PathBuf,
}

impl Supervisor {
    fn start() -> Self {
        super::enter();
        let temporary = std::env::temp_dir().join(format!("restage-test-worker-{}", std::process::id()));
        fs::create_dir(&temporary).unwrap();
        // Not closed on exec: inherited by every process from here on.
        let (alive, held) = nix::unistd::pipe().unwrap();
        let mut child =
            super::case_command("supervisor").env("TMPDIR", &temporary).stdout(Stdio::piped()).spawn().unwrap();
        drop(held);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "running\n");
        let supervisor = Self { child, output, alive: File::from(alive), temporary };
        assert_eq!(supervisor.folders(), 1);
        supervisor
    }

    fn folders(&self) -> usize {
        let base = self.temporary.join(format!("restage-{}", nix::unistd::geteuid()));
        fs::read_dir(base).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    }

    fn wait_until_all_are_gone(&mut self) {
        assert_eq!(self.alive.read_to_end(&mut Vec::new()).unwrap(), 0);
        self.child.wait().unwrap();
    }

    /// The processes below the supervisor: worker, init, shell, sleep …
    fn below(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
            for task in tasks {
                let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
                found.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
            }
        }
        found.remove(0);
        found
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.wait_until_all_are_gone();
        fs::remove_dir_all(&self.temporary).unwrap();
    }
}

fn a_killed_parent_leaves_no_worker_no_application_and_no_folder() {
    let mut supervisor = Supervisor::start();
    assert!(supervisor.below().len() >= 3, "worker, init, shell: {:?}", supervisor.below());
    supervisor.child.kill().unwrap();
    supervisor.wait_until_all_are_gone();
    assert_eq!(supervisor.folders(), 0);
}

fn a_killed_worker_leaves_no_application_and_no_folder() {
    let mut supervisor = Supervisor::start();
    kill(Pid::from_raw(supervisor.below()[0].cast_signed()), Signal::SIGKILL).unwrap();
    supervisor.wait_until_all_are_gone();
    let mut said = String::new();
    supervisor.output.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("[Crashed { how: \"signal 9 (SIGKILL)\""), "{said}");
    assert_eq!(supervisor.folders(), 0);
}

fn a_work_folder_is_private_and_gone_when_dropped() {
    let folder = WorkFolder::create("../odd name/ä").unwrap();
    let above = folder.work().parent().unwrap().to_path_buf();
    let name = above.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("_odd_name__-"), "{name}");
    assert_eq!(fs::metadata(&above).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(folder.work()).unwrap().count(), 0);
    assert!([folder.stdout(), folder.stderr()].iter().all(|file| file.parent() == Some(&above)));
    let other = WorkFolder::create("../odd name/ä").unwrap();
    assert_ne!(other.work(), folder.work());
    // What an application may leave: a folder that its own user may not change.
    fs::create_dir_all(folder.work().join("a/b")).unwrap();
    fs::set_permissions(folder.work().join("a"), fs::Permissions::from_mode(0o500)).unwrap();
    folder.remove().unwrap();
    assert!(!above.exists());
    let other_above = other.work().parent().unwrap().to_path_buf();
    drop(other);
    assert!(!other_above.exists());
}

fn own_tmpdir(run: impl FnOnce(&Path)) {
    // A case is a process of its own, with one thread: but setting its environment is unsafe, so that a copy is started.
    if let Some(temporary) = std::env::var_os("RESTAGE_TEST_TMPDIR") {
        return run(Path::new(&temporary));
    }
    let temporary = std::env::temp_dir().join(format!("restage-test-tmp-{}", std::process::id()));
    fs::create_dir(&temporary).unwrap();
    let status = Command::new("/proc/self/exe")
        .arg0(NAME)
        .args(std::env::args_os().skip(1))
        .envs([("TMPDIR", &temporary), ("RESTAGE_TEST_TMPDIR", &temporary)])
        .status()
        .unwrap();
    fs::remove_dir_all(&temporary).unwrap();
    assert!(status.success());
}

fn sweep_removes_unlocked_folders() {
    own_tmpdir(|temporary| {
        assert_eq!(work::sweep().unwrap(), 0, "nothing there yet");
        let held = WorkFolder::create("held").unwrap();
        let base = temporary.join(format!("restage-{}", nix::unistd::geteuid()));
        for debris in ["dead-1-0/work", "never-locked-2-0"] {
            fs::create_dir_all(base.join(debris)).unwrap();
        }
        fs::write(base.join("dead-1-0/lock"), "").unwrap();
        assert_eq!(work::sweep().unwrap(), 2);
        assert!(held.work().exists());
        assert_eq!(work::sweep().unwrap(), 0);
    });
}

fn a_folder_may_be_removed_by_its_owner_and_a_sweep_at_once() {
    own_tmpdir(|_| {
        let filled = |_| {
            let folder = WorkFolder::create("many").unwrap();
            (0..50).for_each(|number: u32| fs::write(folder.work().join(number.to_string()), "").unwrap());
            folder
        };
        let folders: Vec<_> = (0..20).map(filled).collect();
        std::thread::scope(|scope| {
            let sweeps = scope.spawn(|| (0..50).try_for_each(|_| work::sweep().map(drop)));
            drop(folders);
            sweeps.join().unwrap().unwrap();
        });
    });
}

fn a_folder_of_another_user_is_refused() {
    own_tmpdir(|temporary| {
        let base = temporary.join(format!("restage-{}", nix::unistd::geteuid()));
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).unwrap();
        let failure = WorkFolder::create("x").unwrap_err();
        assert_eq!(failure.kind, Kind::Blocked);
        assert_eq!(
            failure.problems[0].why.as_deref(),
            Some("others may enter it: its mode is 777, and the files of applications must be safe from others")
        );
        fs::remove_dir(&base).unwrap();
        std::os::unix::fs::symlink(temporary, &base).unwrap();
        let failure = work::sweep().unwrap_err();
        assert!(failure.problems[0].why.as_ref().unwrap().starts_with("it is not a folder"));
        fs::remove_file(&base).unwrap();
    });
}

fn bare_lab() {
    match namespace::enter().and_then(|_| Ok(LabNetwork::up(&LabPlan::default())?)) {
        Ok(_) => println!("up"),
        Err(failure) => println!("{:?} {:?}", failure.kind, failure.problems[0].fix),
    }
}

/// As Docker mounts it. Only root can make it so.
fn a_read_only_proc_sys_gets_a_writable_one_or_a_remedy() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root can mount /proc/sys read-only");
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("/proc/sys"), "/proc/sys", nothing, MsFlags::MS_BIND, nothing).unwrap();
    mount(nothing, "/proc/sys", nothing, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, nothing).unwrap();
    let outcome = |user: u32| {
        let output = super::case_command("bare-lab").uid(user).gid(user).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(outcome(0), "up\n");
    assert_eq!(
        outcome(super::ORDINARY_USER),
        "Blocked Some(\"start the container with `--security-opt systempaths=unconfined`, or with `--privileged`\")\n"
    );
}
