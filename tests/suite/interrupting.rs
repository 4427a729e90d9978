//! Runs that are cut short by a signal, and runs that are asked how far they are.

#![expect(clippy::zombie_processes, reason = "a runner that was signalled is waited for by its test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;

use crate::common::small::{capture, datagrams, scenario};
use crate::common::{User, both, restage, run, users};

/// Work folders that the caller's runs left.
fn left_over(user: User) -> Vec<PathBuf> {
    let uid = match user {
        User::Ordinary => 65534,
        User::Caller => {
            fs::metadata("/proc/self").map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata)).expect("proc")
        }
    };
    let base = std::env::temp_dir().join(format!("restage-{uid}"));
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Processes whose command line holds `word`.
fn processes_with(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}

/// The same command with the default action for SIGHUP: under nohup the tests ignore it, and what they start would, too.
fn listening_to_hup(inner: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(inner.get_program()).args(inner.get_args());
    command.current_dir(inner.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A replay of minutes, with an application whose command line holds `word`.
fn long_run(user: User, word: &str) -> (std::process::Child, PathBuf) {
    let receiver = format!("[receiver]\ncommand = [\"sh\", \"-c\", \"sleep 987.6 & wait # {word}\"]\nlistens = []\n");
    let folder = scenario(
        &capture(&datagrams(100), 3_000_000),
        &format!("{receiver}[pacing]\nrate = \"captured\"\n[expect]\narrived = \"all\"\n"),
    );
    let mut command = listening_to_hup(&restage(user));
    fs::copy(folder.join("s.toml"), folder.join("t.toml")).expect("it can be copied");
    command.args(["run", "--jobs", "1"]).args(["s.toml", "t.toml"].map(|name| folder.join(name)));
    command.arg("--report-json").arg(folder.join("report.json")).arg("--report-junit").arg(folder.join("report.xml"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().expect("restage runs");
    // The application runs when a process has its word; a bounded wait for that, not a sleep of a guessed length.
    for _ in 0..2000 {
        if processes_with(word).iter().any(|line| line.split(' ').next().is_some_and(|program| program.ends_with("sh")))
        {
            return (child, folder);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the application never ran as {user:?}");
}

/// Waits, at most 10 s, until no process has the word.
fn gone(word: &str) -> bool {
    (0..2000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        processes_with(word).is_empty()
    })
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill runs");
    assert!(status.success());
}

/// Waits, at most 10 s, until the run says by SIGUSR1 that it has sent something.
fn has_sent(child: &mut std::process::Child) {
    asked(child, |line| line.contains(" sent (") && !line.contains("  0/"));
}

#[test]
fn an_interrupted_run_reports_what_was_seen_and_what_was_not_run() {
    for user in users() {
        for name in ["INT", "TERM", "HUP"] {
            let word = format!("word-{name}-{user:?}-{}", std::process::id());
            let (mut child, folder) = long_run(*user, &word);
            has_sent(&mut child);
            signal(child.id(), name);
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(4), "SIG{name} as {user:?}: {}", both(&output));
            assert!(gone(&word), "processes are left after SIG{name} as {user:?}: {:?}", processes_with(&word));
            let report = fs::read(folder.join("report.json")).expect("a report");
            let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
            let [seen, not_run] = report["scenarios"].as_array().expect("a list").as_slice() else {
                panic!("{report}")
            };
            assert_eq!((&seen["verdict"], &seen["problems"][0]["what"]), (&"error".into(), &"interrupted".into()));
            let ledger = &seen["ledger"];
            assert_eq!((&ledger["read"], &ledger["sent"], &ledger["arrived"]), (&100.into(), &1.into(), &1.into()));
            assert_eq!(
                (&ledger["losses"][0]["cause"], &ledger["losses"][0]["frames"]),
                (&"NOT_SENT".into(), &99.into())
            );
            assert_eq!((&not_run["verdict"], &not_run["ledger"]), (&"not run".into(), &serde_json::Value::Null));
            let junit = fs::read_to_string(folder.join("report.xml")).expect("a report");
            assert!(junit.contains("<skipped type=\"not run\" message=\"the run was interrupted"), "{junit}");
        }
    }
}

#[test]
fn a_run_under_nohup_goes_on_when_the_terminal_is_closed() {
    let Some(user) = users().last() else { return };
    let folder = scenario(&capture(&datagrams(10), 10), "[pacing]\nrate = \"every 100ms\"\n");
    let inner = restage(*user);
    let words: Vec<_> =
        std::iter::once(inner.get_program()).chain(inner.get_args()).map(std::ffi::OsStr::to_owned).collect();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).args(words).args(["run", "s.toml"]);
    command.current_dir(&folder).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().expect("sh runs");
    has_sent(&mut child);
    signal(child.id(), "HUP");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
}

#[test]
fn an_interruption_at_start_up_is_no_failure_of_the_application() {
    for user in users() {
        let word = format!("word-start-{user:?}-{}", std::process::id());
        let receiver = format!("[receiver]\ncommand = [\"sh\", \"-c\", \"sleep 987.6 & wait # {word}\"]\n");
        let folder = scenario(&capture(&datagrams(1), 10), &receiver);
        let mut command = restage(*user);
        command.arg("run").arg(folder.join("s.toml")).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().expect("restage runs");
        let runs = |line: &String| line.starts_with("sh ") || line.contains("/sh ");
        let up = (0..2000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            processes_with(&word).iter().any(runs)
        });
        assert!(up, "the application never ran as {user:?}");
        signal(child.id(), "INT");
        let output = child.wait_with_output().expect("it ends");
        let text = both(&output);
        assert_eq!(output.status.code(), Some(4), "as {user:?}: {text}");
        assert!(text.contains("error: interrupted") && !text.contains("never listened"), "as {user:?}: {text}");
        assert!(gone(&word));
    }
}

#[test]
fn sigkill_of_the_runner_leaves_no_process_and_the_next_run_no_file() {
    for user in users() {
        let word = format!("word-KILL-{user:?}-{}", std::process::id());
        let (mut child, _folder) = long_run(*user, &word);
        signal(child.id(), "KILL");
        child.wait().expect("it ends");
        assert!(gone(&word), "processes are left as {user:?}: {:?}", processes_with(&word));
        let folder = scenario(&capture(&datagrams(1), 10), "");
        assert_eq!(run(*user, [folder.join("s.toml")]).status, 0);
        let mine = left_over(*user).into_iter().filter(|path| path.to_string_lossy().contains("/s-")).filter(|path| {
            // Another test of this file may be in the middle of a run: its folder is locked by a living process.
            let pid = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.split('-').nth(1))
                .unwrap_or("0")
                .to_owned();
            !Path::new("/proc").join(pid).exists()
        });
        assert_eq!(mine.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    }
}

/// The verdicts in a JSON report, which is valid whenever it is read.
fn verdicts(report: &Path) -> Vec<String> {
    let Ok(text) = fs::read(report) else { return Vec::new() };
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let outcomes = report["scenarios"].as_array().expect("a list").iter();
    outcomes.filter_map(|outcome| outcome["verdict"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_killed_run_leaves_reports_of_what_was_done() {
    for user in users() {
        let word = format!("word-left-{user:?}-{}", std::process::id());
        let folder = scenario(&capture(&datagrams(1), 10), "");
        let receiver = format!("[receiver]\ncommand = [\"sh\", \"-c\", \"sleep 987.6 & wait # {word}\"]\n");
        let text = fs::read_to_string(folder.join("s.toml")).expect("it is there");
        let waits = format!("{text}{receiver}[receiver.ready]\nwithin = \"10min\"\n");
        for (name, text) in [("a", &text), ("b", &text), ("c", &waits), ("d", &text)] {
            fs::write(folder.join(name).with_extension("toml"), text).expect("it can be written");
        }
        fs::remove_file(folder.join("s.toml")).expect("it can be removed");
        // Of another run.
        fs::write(folder.join("report.json"), "{ \"scenarios\": [] }").expect("it can be written");
        fs::set_permissions(folder.join("report.json"), fs::Permissions::from_mode(0o666)).expect("it is ours");
        let [json, junit, tap, html] =
            ["json", "xml", "tap", "html"].map(|ending| folder.join("report").with_extension(ending));
        let mut command = restage(*user);
        command.args(["run", "--jobs", "1"]).arg(&folder);
        for (option, file) in [("json", &json), ("junit", &junit), ("tap", &tap), ("html", &html)] {
            command.arg(format!("--report-{option}")).arg(file);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("restage runs");
        // The files are written one after the other.
        let left = || {
            let page = fs::read_to_string(&html).unwrap_or_default();
            (verdicts(&json), page.matches("data-verdict=\"pass\"").count())
        };
        let wanted = (["pass", "pass", "not run", "not run"].map(str::to_owned).to_vec(), 2);
        let written = (0..4000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            left() == wanted
        });
        signal(child.id(), "KILL");
        child.wait().expect("it ends");
        assert!(written, "as {user:?}: {:?}", left());
        assert!(gone(&word), "processes are left as {user:?}: {:?}", processes_with(&word));
        assert_eq!(left(), wanted);
        let junit = fs::read_to_string(&junit).expect("a report");
        assert!(junit.ends_with("</testsuites>\n"), "{junit}");
        assert_eq!(junit.matches("<testcase ").count(), 4, "{junit}");
        let not_run = "<skipped type=\"not run\" message=\"this scenario had not ended when the report was written";
        assert_eq!(junit.matches(not_run).count(), 2, "{junit}");
        assert!(fs::read_to_string(&tap).expect("a report").contains("1..4"));
    }
}

/// Whether the process blocks SIGUSR1: before its first steps it would end it.
fn takes_questions(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    blocked.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << 9) != 0)
}

/// The processes that this one has started and that run.
fn children(pid: u32) -> impl Iterator<Item = u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().expect("a number")).collect::<Vec<_>>().into_iter()
}

/// Sends SIGUSR1, to its workers too, until a line on standard error is `wanted`, for 20 s at most; that line.
pub(crate) fn asked(child: &mut std::process::Child, wanted: impl Fn(&str) -> bool) -> String {
    let ready = (0..2000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        takes_questions(child.id())
    });
    assert!(ready, "it never blocked SIGUSR1");
    let (tell, told) = std::sync::mpsc::channel();
    let errors = BufReader::new(child.stderr.take().expect("a pipe"));
    // It reads to the end, so that nothing that is written later finds the pipe closed.
    std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    for _ in 0..400 {
        signal(child.id(), "USR1");
        // As `pkill -USR1 -f restage` does.
        for worker in children(child.id()).filter(|worker| takes_questions(*worker)) {
            // It may have ended in between.
            let _ = Command::new("kill").arg("-USR1").arg(worker.to_string()).stderr(Stdio::null()).status();
        }
        match told.recv_timeout(std::time::Duration::from_millis(50)) {
            Ok(line) if wanted(&line) => return line,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("it ended and never told"),
        }
    }
    panic!("it never told");
}

#[test]
fn sigusr1_prints_progress_and_the_run_goes_on() {
    for user in users() {
        let folder =
            scenario(&capture(&datagrams(12), 10), "[pacing]\nrate = \"every 100ms\"\n[expect]\narrived = \"all\"\n");
        let mut command = restage(*user);
        command.arg("run").arg(folder.join("s.toml")).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("restage runs");
        let line = asked(&mut child, |line| line.contains(" sent (") && !line.contains("  0/"));
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "as {user:?}: {}", both(&output));
        let (sent, rest) = line
            .strip_prefix("s: replay  ")
            .and_then(|line| line.split_once("/12 sent ("))
            .unwrap_or_else(|| panic!("as {user:?}: {line}"));
        let sent: u64 = sent.parse().expect("a number");
        assert!((1..=12).contains(&sent), "{line}");
        assert!(rest.starts_with(&format!("{} %)  ", sent * 100 / 12)), "{line}");
        assert!(rest.contains(" arrived") && !rest.contains(" lost"), "{line}");
        assert!(!both(&output).contains(" sent ("), "standard output has none of it: {}", both(&output));
    }
}
