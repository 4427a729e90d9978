//! In which order scenarios run, how many of them, and how often.

use std::fs;
use std::io::{BufRead, BufReader, Lines, PipeReader, Read, pipe};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use regex::Regex;
use serde_json::{Value, json};

use crate::common::small::{capture, datagrams};
use crate::common::{Run, User, both, fresh_folder, restage, run, users};
use crate::interrupting::{asked, signal};

/// A folder with scenarios of two packets, each with a check that runs this shell script in the folder.
pub(crate) fn folder(scenarios: &[(&str, &str, &str)]) -> PathBuf {
    let folder = fresh_folder("turns");
    fs::write(folder.join("in.pcap"), capture(&datagrams(2), 10)).expect("it can be written");
    for (name, head, script) in scenarios {
        let check = format!("[[expect.command]]\nrun = [\"sh\", \"-c\", '''cd {{scenario}}; {script}''']\n");
        let text = format!("format = 1\n{head}\n[capture]\nfile = \"in.pcap\"\n{check}");
        fs::write(folder.join(format!("{name}.toml")), text).expect("it can be written");
    }
    folder
}

/// A check that passes at its third try.
const THIRD: &str = "echo >> tries; test $(wc -l < tries) -ge 3";

fn text(run: &Run, folder: &Path) -> String {
    plain(&run.text, folder)
}

/// What was printed, without times, how the frames were sent, and the folder's path.
pub(crate) fn plain(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "FOLDER");
    let text = Regex::new(r"(?s) +sent in .*?\n\n").expect("a pattern").replace_all(&text, "\n").into_owned();
    Regex::new(r" *\b\d[\d.]* (ns|µs|ms|s|min)\b").expect("a pattern").replace_all(&text, " TIME").into_owned()
}

fn verdicts(run: &Run) -> Vec<(&str, &str)> {
    let scenarios = run.report["scenarios"].as_array().unwrap_or_else(|| panic!("{}", run.text));
    scenarios
        .iter()
        .map(|one| (one["name"].as_str().expect("a name"), one["verdict"].as_str().expect("a verdict")))
        .collect()
}

#[test]
fn a_scenario_that_passes_at_a_retry_is_flaky_and_passes() {
    for user in users() {
        let folder = folder(&[("flaky", "", THIRD), ("steady", "", "true")]);
        let junit = folder.join("junit.xml");
        let arguments = ["--retries", "3", "--jobs", "1", "--report-junit"].map(Into::into);
        let run = run(
            *user,
            [vec![folder.clone().into_os_string()], arguments.to_vec(), vec![junit.clone().into()]].concat(),
        );
        assert_eq!(run.status, 0, "as {user:?}: {}", run.text);
        insta::assert_snapshot!("a_flaky_scenario", text(&run, &folder));
        assert_eq!(verdicts(&run), [("flaky", "pass"), ("steady", "pass")]);
        let [flaky, steady] = run.report["scenarios"].as_array().expect("a list").as_slice() else {
            panic!("{}", run.report)
        };
        let tries = flaky["earlier-tries"].as_array().expect("a list");
        assert_eq!(tries.iter().map(|one| &one["verdict"]).collect::<Vec<_>>(), ["fail", "fail"]);
        assert_eq!((&tries[0]["ledger"]["sent"], &steady["earlier-tries"]), (&json!(2), &Value::Null));
        let junit = fs::read_to_string(junit).expect("a report");
        assert_eq!((junit.matches("<flakyFailure ").count(), junit.matches("<failure").count()), (2, 0), "{junit}");
        assert!(junit.contains("failures=\"0\" errors=\"0\""), "{junit}");
    }
}

#[test]
fn a_scenario_that_fails_at_each_try_fails() {
    let Some(user) = users().last() else { return };
    let folder = folder(&[("broken", "", "false")]);
    let junit = folder.join("junit.xml");
    let arguments = ["--retries", "1", "--retry-delay", "1ms", "--report-junit"].map(Into::into);
    let run =
        run(*user, [vec![folder.clone().into_os_string()], arguments.to_vec(), vec![junit.clone().into()]].concat());
    assert_eq!((run.status, verdicts(&run)), (1, vec![("broken", "fail")]));
    insta::assert_snapshot!(text(&run, &folder));
    let junit = fs::read_to_string(junit).expect("a report");
    assert_eq!((junit.matches("<failure ").count(), junit.matches("<rerunFailure ").count()), (1, 1), "{junit}");
}

#[test]
fn what_can_not_be_used_is_not_tried_again() {
    let folder = folder(&[("invalid", "timeuot = \"1s\"", "false")]);
    let run = run(User::Caller, [folder.as_os_str(), "--retries".as_ref(), "5".as_ref()]);
    assert_eq!((run.status, verdicts(&run)), (2, vec![("invalid", "invalid")]));
    assert_eq!(run.report["scenarios"][0]["earlier-tries"], Value::Null);
}

#[test]
fn retries_wait_and_an_interruption_ends_the_wait() {
    let Some(user) = users().last() else { return };
    let folder = folder(&[("broken", "", "false")]);
    let mut command = restage(*user);
    command.arg("run").arg(&folder).args(["--retries", "1", "--retry-delay", "10min"]);
    command.arg("--report-json").arg(folder.join("report.json")).process_group(0);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("restage runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert!(line.starts_with("again    broken") && line.contains("try 1: fail: "), "{line}");
    asked(&mut child, |line| line == "broken: delay");
    signal(child.id(), "INT");
    lines.read_to_string(&mut line).expect("the rest");
    assert_eq!(child.wait().expect("it ends").code(), Some(4), "{line}");
    let report = fs::read_to_string(folder.join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let scenario = &report["scenarios"][0];
    assert_eq!((&scenario["verdict"], &scenario["interrupted"]), (&"error".into(), &true.into()), "{scenario}");
    assert_eq!(scenario["earlier-tries"][0]["verdict"], "fail");
}

#[test]
fn enough_failures_end_the_run() {
    let Some(user) = users().last() else { return };
    let folder =
        folder(&[("a", "", "true"), ("b", "", "false"), ("c", "", "true"), ("d", "", "false"), ("e", "", "true")]);
    let run = |arguments: &[&str]| {
        let folder = folder.to_str().expect("a path in UTF-8");
        run(*user, [&[folder, "--jobs", "1"], arguments].concat())
    };
    let all = [("a", "pass"), ("b", "fail"), ("c", "pass"), ("d", "fail"), ("e", "pass")];
    let with =
        |not_run: &[&str]| all.map(|(name, verdict)| (name, if not_run.contains(&name) { "not run" } else { verdict }));
    let fast = run(&["--fail-fast"]);
    assert_eq!((fast.status, verdicts(&fast)), (1, with(&["c", "d", "e"]).to_vec()), "{}", fast.text);
    insta::assert_snapshot!(text(&fast, &folder));
    for (arguments, not_run) in [
        (&["--max-fail", "2"][..], &["e"][..]),
        (&["--fail-fast", "--max-fail", "2"], &["e"]),
        (&["--max-fail", "2", "--no-fail-fast"], &[]),
        (&["--max-fail", "3"], &[]),
    ] {
        let run = run(arguments);
        assert_eq!((run.status, verdicts(&run)), (1, with(not_run).to_vec()), "{arguments:?}: {}", run.text);
    }
}

#[test]
fn exclusive_scenarios_run_alone_after_those_that_run_side_by_side() {
    let Some(user) = users().last() else { return };
    // Each waits until the other one has begun.
    let together = |me: &str, other: &str| {
        format!(
            "touch inside-{me} begun-{me}; for i in $(seq 400); do test -e begun-{other} && break; sleep 0.05; done; test -e begun-{other}; s=$?; rm inside-{me}; echo {me} >> order; exit $s"
        )
    };
    let alone = |me: &str| {
        format!(
            "test -z \"$(ls | grep inside)\" || exit 1; touch inside-{me}; sleep 0.2; rm inside-{me}; echo {me} >> order"
        )
    };
    let (a, b, c, d, e) = (alone("a"), together("b", "c"), together("c", "b"), alone("d"), together("e", "b"));
    let folder = folder(&[
        ("a", "exclusive = true", &a),
        ("b", "", &b),
        ("c", "", &c),
        ("d", "", &d),
        ("e", "exclusive = false", &e),
    ]);
    for (name, expect) in [("d", "[expect]\nwithin = \"1min\"\n"), ("e", "[expect]\nlateness = { max = \"1min\" }\n")] {
        let path = folder.join(name).with_extension("toml");
        let text = fs::read_to_string(&path).expect("it is there").replace("[[expect", &format!("{expect}[[expect"));
        fs::write(path, text).expect("it can be written");
    }
    let run = run(*user, [folder.as_os_str(), "--jobs".as_ref(), "8".as_ref()]);
    assert_eq!(run.status, 0, "{}", run.text);
    let order = fs::read_to_string(folder.join("order")).expect("it was written");
    assert!(order.ends_with("a\nd\n") && order.lines().count() == 5, "{order}");
}

/// A run that is read while it goes on, and ended with the test.
struct Watching {
    child: Child,
    lines: Lines<BufReader<PipeReader>>,
    said: String,
}

impl Watching {
    fn new(user: User, folder: &Path, arguments: &[&str]) -> Self {
        let (reader, writer) = pipe().expect("a pipe");
        let mut command = restage(user);
        command.args(["run", "--watch", "--jobs", "1"]).args(arguments).current_dir(folder).process_group(0);
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let child = command.spawn().expect("restage runs");
        Self { child, lines: BufReader::new(reader).lines(), said: String::new() }
    }

    /// Reads until it waits for changes.
    fn until_it_waits(&mut self) {
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            self.said.push_str(&line);
            self.said.push('\n');
            if line.starts_with("watching ") {
                return;
            }
        }
        panic!("it ended: {}", self.said);
    }

    /// Interrupts it while it waits; what it said.
    fn end(mut self) -> String {
        // A shell starts what is in its background with SIGINT ignored.
        signal(self.child.id(), "TERM");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.signal(), Some(15), "{}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It has ended, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_has_changed_is_run_again() {
    for user in users() {
        let folder = folder(&[("a", "", "true"), ("b", "", "sh check.sh")]);
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("it can be written");
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it is there");
        write("check.sh", "exit 0\n");
        let check = read("b.toml").split("run = ").next().expect("the beginning").to_owned();
        write("b.toml", &format!("{check}run = [\"sh\", \"{{scenario}}/check.sh\"]\n"));
        let mut watching = Watching::new(*user, &folder, &["."]);
        watching.until_it_waits();
        // A file that an argument names, a scenario (replaced, as editors do), the capture of both, and a new scenario.
        write("check.sh", "exit 3\n");
        watching.until_it_waits();
        let a = read("a.toml");
        write(".a.toml.swp", &a.replace("file =", "fiel ="));
        fs::rename(folder.join(".a.toml.swp"), folder.join("a.toml")).expect("it can be renamed");
        watching.until_it_waits();
        write("a.toml", &a);
        watching.until_it_waits();
        fs::write(folder.join("in.pcap"), capture(&datagrams(3), 10)).expect("it can be written");
        watching.until_it_waits();
        write("other.txt", "no file of a scenario");
        fs::create_dir(folder.join("new")).expect("a new folder");
        write("new/c.toml", &a.replace("in.pcap", "../in.pcap"));
        watching.until_it_waits();
        insta::assert_snapshot!("what_has_changed_is_run_again", plain(&watching.end(), &folder));
    }
}

#[test]
fn what_a_run_writes_is_no_reason_for_another_one() {
    let Some(user) = users().last() else { return };
    let folder = folder(&[("a", "", "true")]);
    fs::write(folder.join("log"), "").expect("it can be written");
    fs::set_permissions(folder.join("log"), fs::Permissions::from_mode(0o666)).expect("it is there");
    let text = fs::read_to_string(folder.join("a.toml")).expect("it is there");
    let text = text.replace("cd {scenario}; true'''", "echo >> $0''', \"{scenario}/log\"");
    fs::write(folder.join("a.toml"), format!("{text}[expect]\nrewritten = \"a.snap\"\n")).expect("it can be written");
    let mut watching = Watching::new(*user, &folder, &["a.toml", "--update-snapshots", "--report-json", "report.json"]);
    watching.until_it_waits();
    fs::write(folder.join("in.pcap"), capture(&datagrams(3), 10)).expect("it can be written");
    watching.until_it_waits();
    watching.end();
    assert_eq!(fs::read_to_string(folder.join("log")).expect("it is there"), "\n\n");
    let report: Value = serde_json::from_slice(&fs::read(folder.join("report.json")).expect("a report")).expect("JSON");
    assert_eq!(report["scenarios"][0]["ledger"]["sent"], 3, "the report is that of the last run");
}

#[test]
fn standard_input_is_not_watched() {
    let output =
        restage(User::Caller).args(["run", "-", "--watch"]).stdin(Stdio::null()).output().expect("restage runs");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(both(&output));
}
