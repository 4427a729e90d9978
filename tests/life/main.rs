//! The life of the receiver's application: it starts late, goes into the background, gives up root, prints without end, ends too early,
//! crashes when it is stopped; as root and as an ordinary user.
//!
//! This program has its own `main`, since it is the application under test as well. Start reading at [`CASES`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test, but without `#[test]`")]

mod application;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod processes;
mod steps;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

use cases::{CASES, Case};
use common::{User, copy_program, fresh_folder, is_root, run, stage, users};

/// The first argument of the application; what it does, word by word, comes next: see [`application::act`].
const VERB: &str = "--application";
/// Frames in the capture.
const FRAMES: u64 = 40;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == VERB) {
        let words: Vec<&str> = words.iter().skip(1).filter_map(|word| word.to_str()).collect();
        return application::act(&words);
    }
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = CASES
        .iter()
        .chain(processes::CASES)
        .chain(steps::CASES)
        .map(|case| Trial::test(case.name, || check(case)))
        .collect();
    trials.push(Trial::test("TCP reaches no application, and that is said", tcp_reaches_no_application));
    trials.push(Trial::test("output takes no memory", output_takes_no_memory));
    trials.push(Trial::test("root starts it as another user", it_runs_as_another_user));
    trials.push(Trial::test("root starts a process as another user", a_process_runs_as_another_user));
    trials.push(Trial::test("its files are kept and its output is shown, where that is asked for", kept_and_shown));
    trials.push(Trial::test("its clock is the capture's", its_clock_is_the_captures));
    trials.push(Trial::test("nothing is left in the machine's folders", nothing_is_left));
    trials.push(Trial::test("a secret is in no report", secrets_are_in_no_report));
    trials.push(Trial::test("whoever it becomes reaches its folder, and nobody else", privileges_are_given_up));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The copy of this program that every user can run.
fn application() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = stage().join("application");
        copy_program(&std::env::current_exe().expect("this program has a file"), &program);
        program
    })
}

/// A folder with `s.toml`.
fn scenario(words: &str, rest: &str) -> std::path::PathBuf {
    let folder = fresh_folder("life");
    let stage = stage().display();
    let rest = in_full(rest);
    let command =
        if rest.starts_with("command") { String::new() } else { in_full(&format!("command = APP({words})\n")) };
    let text = format!(
        "format = 1\ntimeout = \"60s\"\n[capture]\nfile = \"{stage}/scenarios/captures/syslog.pcap\"\nframes = \"1-{FRAMES}\"\n\
         [pacing]\nrate = \"topspeed\"\n[expect]\nconsumed = \"all\"\n[receiver]\n{command}{rest}"
    );
    fs::write(folder.join("s.toml"), text).expect("it can be written");
    fs::write(folder.join("looked-up"), "looked up\n").expect("it can be written");
    fs::write(folder.join("production.conf"), "folder /etc/app; interface eth0 {work}\n").expect("it can be written");
    folder
}

/// Each `APP(words)` as the command of the application with these words, and `PROGRAM` as its program.
fn in_full(text: &str) -> String {
    let program = application().display();
    let command = |part: &str| {
        let (words, rest) = part.split_once(')').expect("it ends");
        format!("[\"{program}\", \"{VERB}\", \"{}\"]{rest}", words.replace(' ', "\", \""))
    };
    let mut parts = text.split("APP(");
    let first = parts.next().unwrap_or_default().to_owned();
    [first].into_iter().chain(parts.map(command)).collect::<String>().replace("PROGRAM", &program.to_string())
}

fn check(case: &Case) -> Result<(), Failed> {
    for user in users() {
        let folder = scenario(case.words, case.rest);
        let begun = Instant::now();
        let run = run(*user, [folder.join("s.toml")]);
        let took = begun.elapsed();
        let outcome = &run.report["scenarios"][0];
        let first_line = run.text.lines().next().unwrap_or_default();
        let problem = outcome["problems"][0]["what"].as_str().unwrap_or_default();
        let at_first = first_line.contains(case.first) || problem.contains(case.first);
        let everything = format!("{}{outcome:#}", run.text);
        let also = case.also.iter().all(|also| everything.contains(also));
        if outcome["verdict"] != case.verdict || !at_first || !also {
            return Err(format!("as {user:?}: {first_line}\n{}\n{outcome:#}", run.text).into());
        }
        if took > Duration::from_secs(30) {
            return Err(format!("as {user:?}: it took {took:?}").into());
        }
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// A server that only TCP is sent to gets nothing: said by `run` and `plan`, and its output can't be expected.
fn tcp_reaches_no_application() -> Result<(), Failed> {
    const SAID: &str = "a replayed TCP stream reaches no application";
    let capture = stage().join("scenarios/captures/dns-over-tcp.pcap");
    for (rest, status) in [
        ("", 0),
        ("listens = [\"tcp:514\"]\n", 0),
        ("listens = [\"tcp:53\"]\n[[expect.output]]\nfrom = \"stdout\"\ncontains = \"query\"\n", 2),
        ("listens = [\"tcp:443\"]\n[[expect.output]]\nfrom = \"stdout\"\nlines = 0\n", 0),
        ("[expect]\nconsumed = \"all\"\n", 2),
    ] {
        let folder = fresh_folder("life");
        let program = application().display();
        let text = format!(
            "format = 1\n[capture]\nfile = \"{}\"\nfilter = \"tcp dst port 53\"\n[pacing]\nrate = \"topspeed\"\n\
             [receiver]\ncommand = [\"{program}\", \"{VERB}\", \"listen\", \"wait\", \"60000\"]\n{rest}",
            capture.display()
        );
        fs::write(folder.join("s.toml"), text)?;
        let run = run(User::Caller, [folder.join("s.toml")]);
        if run.status != status || !run.text.contains(SAID) {
            return Err(format!("{rest}: {}\n{}", run.status, run.text).into());
        }
        let plan = common::both(&common::restage(User::Caller).arg("plan").arg(folder.join("s.toml")).output()?);
        if !plan.contains(SAID) {
            return Err(format!("{rest}: {plan}").into());
        }
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// `user` as root: it is that user, with the capabilities that are written, and `{work}` is its own.
fn it_runs_as_another_user() -> Result<(), Failed> {
    as_daemon(
        "write {work}/own 10 bind read-on",
        "user = \"daemon\"\ncapabilities = [\"CAP_NET_RAW\", \"CAP_NET_BIND_SERVICE\"]\n[receiver.files]\nconf = \"mine\"\n",
        "[[expect.command]]\nrun = [\"sh\", \"-c\", \"id -un; stat -c %U . conf own; grep CapEff /proc/self/status\"]\n\
         stdout = { matches = '\\A(daemon\\n){4}CapEff:.0000000000002400\\n\\z' }\n",
        "the application did not run as `daemon`, but as this user",
    )
}

/// `user` of a process as root: it is that user, its files are its own, and the application is none the less root.
fn a_process_runs_as_another_user() -> Result<(), Failed> {
    as_daemon(
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\nuser = \"daemon\"\ncommand = APP(write {work}/own 10 say up wait 60000)\n\
         ready = { output = \"up\" }\ncwd = \"{work}/db\"\n[receiver.process.files]\nconf = \"mine\"\n",
        "[[expect.command]]\nrun = [\"sh\", \"-c\", \"id -un; stat -c %U . conf own db\"]\n\
         stdout = { matches = '\\A(root\\n){2}(daemon\\n){3}\\z' }\n",
        "the process `db` did not run as `daemon`, but as this user",
    )
}

/// As root, `check` holds. An ordinary user can't become another one, and a note says so.
fn as_daemon(words: &str, rest: &str, check: &str, note: &str) -> Result<(), Failed> {
    for user in users() {
        let is_root = is_root() && *user == User::Caller;
        let folder = scenario(words, &format!("{rest}{}", if is_root { check } else { "" }));
        let run = run(*user, [folder.join("s.toml")]);
        let has_note = run.report["scenarios"][0]["problems"].to_string().contains(note);
        if run.status != 0 || has_note == is_root {
            return Err(format!("as {user:?}: {}\n{:#}", run.text, run.report).into());
        }
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// `--keep-work` and `--show-output`, of an application that is ready and of one that never is; the secret stays one.
fn kept_and_shown() -> Result<(), Failed> {
    for (words, more, verdict) in [
        ("say hello variable TOKEN write {work}/own 10 bind read-on", "", "pass"),
        ("say hello variable TOKEN write {work}/own 10 wait 60000", "ready = { within = \"200ms\" }\n", "blocked"),
    ] {
        for user in users() {
            let token = "env = { TOKEN = { from-env = \"RESTAGE_LIFE\" } }\n";
            let beside = "[[receiver.process]]\nname = \"beside\"\ncommand = APP(say hello variable TOKEN wait 60000)\n\
                          ready = { output = \"TOKEN\" }\n";
            let folder = scenario(words, &format!("{token}{more}{beside}{token}"));
            let mut restage = common::restage(*user);
            restage.arg("run").arg(folder.join("s.toml")).args(["--keep-work", "--show-output", "--report-json", "-"]);
            let output = restage.env("RESTAGE_LIFE", "correct-horse").output()?;
            let said = common::both(&output);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let after = said.split_once("s: the application's files are kept in ").map(|(_, after)| after);
            let kept = after.and_then(|after| after.split(';').next()).unwrap_or("/nowhere");
            let shown = [
                "s stdout | helloTOKEN=***",
                "s stderr | hello",
                "s beside stdout | helloTOKEN=***",
                "s beside stderr | hello",
            ];
            let is_shown = shown.iter().all(|line| said.contains(line)) && !said.contains("correct-horse");
            if report["scenarios"][0]["verdict"] != verdict || !is_shown {
                return Err(format!("as {user:?}: {said}").into());
            }
            // The next run leaves it alone.
            run(*user, [folder.join("no-such-scenario.toml")]);
            let content = fs::read_to_string(Path::new(kept).join("work/own"));
            let said =
                ["stdout", "stdout-beside", "stderr-beside"].map(|name| fs::read_to_string(Path::new(kept).join(name)));
            let is_said = said.iter().all(|text| text.as_ref().is_ok_and(|text| text.starts_with("hello")));
            if content.as_deref().ok() != Some("yyyyyyyyyyz") || !is_said {
                return Err(format!("as {user:?}: {kept}: {content:?}").into());
            }
            fs::remove_dir_all(kept)?;
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Its clock begins at the first frame's time, and so does that of the commands; skipped where there is no libfaketime.
fn its_clock_is_the_captures() -> Result<(), Failed> {
    let rest = "clock = \"captured\"\n[[expect.output]]\nfrom = \"stdout\"\nmatches = \"^17953946[5-9][0-9]$\"\n\
         [[expect.command]]\nrun = [\"date\", \"-u\", \"+%F %H:%M\"]\nstdout = { matches = \"^2026-11-23 00:4[45]\" }\n";
    for user in users() {
        let folder = scenario("clock bind read-on", rest);
        let run = run(*user, [folder.join("s.toml")]);
        let outcome = &run.report["scenarios"][0];
        let is_skipped = outcome["skipped"] == "`libfaketime` is not installed";
        if is_skipped {
            println!("skipped: {}", outcome["skipped"]);
        } else if outcome["verdict"] != "pass" {
            return Err(format!("as {user:?}: {}\n{outcome:#}", run.text).into());
        }
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// What it wrote into folders of its own is not in those of the machine, nor are the files that it found in `/etc`.
fn nothing_is_left() -> Result<(), Failed> {
    const NAMES: [&str; 3] =
        ["/tmp/restage-nothing-left", "/dev/shm/restage-nothing-left", "/run/restage-nothing-left"];
    let rest = "private = [\"/run\"]\n[receiver.files]\n\"/etc/restage-nothing-left/a\" = \"\"\n";
    for user in users() {
        let words: Vec<String> = NAMES.iter().map(|name| format!("write {name} 10")).collect();
        let folder = scenario(&format!("{} bind read-on", words.join(" ")), rest);
        let run = run(*user, [folder.join("s.toml")]);
        let left: Vec<_> =
            NAMES.iter().chain(&["/etc/restage-nothing-left"]).filter(|name| Path::new(name).exists()).collect();
        if run.status != 0 || !left.is_empty() {
            return Err(format!("as {user:?}: left {left:?}; {}", run.text).into());
        }
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// The application gets a secret and prints it; neither the terminal nor a report has it, whatever the verdict.
fn secrets_are_in_no_report() -> Result<(), Failed> {
    const SECRET: &str = "hunter2/correct-horse";
    for (words, more) in [
        ("variable TOKEN bind read-on", "[[expect.output]]\nfrom = \"stdout\"\nlines = 99\n"),
        ("variable TOKEN bind read 5 kill 11", ""),
        ("variable TOKEN exit 3", ""),
        ("variable TOKEN wait 60000", "ready = { within = \"200ms\" }\n"),
    ] {
        let rest = "env = { TOKEN = { from-env = \"RESTAGE_LIFE\" } }\n";
        let rest = if more.starts_with('r') {
            format!("{rest}{more}")
        } else {
            format!(
                "{rest}[[expect.command]]\nrun = [\"sh\", \"-c\", \"echo $TOKEN\"]\nstdout = {{ contains = \"horses\" }}\n{more}"
            )
        };
        for user in users() {
            let folder = scenario(words, &rest);
            let mut restage = common::restage(*user);
            restage.arg("run").arg(folder.join("s.toml")).env("RESTAGE_LIFE", SECRET);
            restage.arg("--report-json").arg(folder.join("r.json")).arg("--report-junit").arg(folder.join("r.xml"));
            let mut said = common::both(&restage.output()?);
            for report in ["r.json", "r.xml"] {
                said.push_str(&fs::read_to_string(folder.join(report))?);
            }
            if said.contains("correct-horse") || !said.contains("TOKEN=***") {
                return Err(format!("as {user:?}: {words}: {said}").into());
            }
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// restage judges more than it may hold, of the application, of a file and of a command.
fn output_takes_no_memory() -> Result<(), Failed> {
    const BYTES: u64 = 40_000_000;
    for user in users() {
        let rest = "[[expect.output]]\nfrom = \"stdout\"\nmatches = \"^y+$\"\nlines = 1\n\
             [[expect.output]]\nfrom = \"{work}/long\"\ncontains = \"yyz\"\n\
             [[expect.command]]\nrun = [\"cat\", \"{work}/long\"]\nstdout = { contains = \"yyz\", equals-file = \"no-such-file\" }\n";
        let folder = scenario(&format!("print {BYTES} write {{work}}/long {BYTES} bind read-on"), rest);
        let mut restage = common::restage(*user);
        restage.arg("run").arg(folder.join("s.toml")).arg("--report-json").arg("-");
        // Of memory that it writes to; what it runs gets the same limit, and holds nothing.
        let limited = format!("--data={}", 34_000_000);
        let mut command = Command::new("prlimit");
        command.arg(limited).arg("--").arg(restage.get_program()).args(restage.get_args()).current_dir(stage());
        let output = command.stdin(Stdio::null()).output()?;
        let text = common::both(&output);
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {text}"))?;
        let checks = report["scenarios"][0]["checks"].as_array().cloned().unwrap_or_default();
        let failed: Vec<&str> =
            checks.iter().filter(|check| check["passed"] == false).filter_map(|check| check["what"].as_str()).collect();
        if failed != ["command cat stdout equals-file"] || checks.len() != 7 {
            return Err(format!("as {user:?}: {failed:?}\n{text}").into());
        }
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// A server that root starts and that becomes another user writes to `{work}`; the other user, who did not start it, sees nothing.
fn privileges_are_given_up() -> Result<(), Failed> {
    if !is_root() || !users().contains(&User::Ordinary) {
        println!("skipped: only root can become another user");
        return Ok(());
    }
    let rest = "[[expect.output]]\nfrom = \"{work}/own\"\ncontains = \"yyz\"\n";
    let folder = scenario("bind become 65534 write {work}/own 100 show {work} read-on", rest);
    let mut restage = common::restage(User::Caller);
    restage.arg("run").arg(folder.join("s.toml")).arg("--report-json").arg("-");
    let output = restage.output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let outcome = &report["scenarios"][0];
    if outcome["verdict"] != "pass" {
        return Err(format!("{}\n{outcome:#}", common::both(&output)).into());
    }
    // While a run is on, its folder is closed to that user outside.
    let base = std::env::temp_dir().join("restage-0");
    let look = |path: &Path| {
        Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "ls"]).arg(path).output()
    };
    if look(&base)?.status.success() {
        return Err("another user sees the folders of root's runs".into());
    }
    Ok(())
}
