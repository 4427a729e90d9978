//! What a run reports to programs: the JSON report, the lines of events.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::small::{capture, datagrams, scenario};
use crate::common::{User, both, fresh_folder, restage, users};

const TOP: &str = "[pacing]\nrate = \"topspeed\"\n";

/// A repository with scenarios that pass, fail, can't be used, and are skipped; its folder.
fn repository() -> PathBuf {
    let folder = scenario(&capture(&datagrams(3), 10), TOP);
    let text = fs::read_to_string(folder.join("s.toml")).expect("it is there");
    fs::create_dir(folder.join(".git")).expect("it can be made");
    fs::create_dir(folder.join("scenarios")).expect("it can be made");
    fs::rename(folder.join("in.pcap"), folder.join("scenarios/in.pcap")).expect("it can be moved");
    fs::remove_file(folder.join("s.toml")).expect("it can be removed");
    let labels = "format = 1\nsummary = \"Three datagrams\"\ntags = [\"udp\", \"smoke\"]\n";
    for (name, text) in [
        ("a-pass", text.replacen("format = 1\n", labels, 1)),
        ("b-fail", format!("{text}[expect]\narrived = 7\n")),
        ("c-skipped", format!("{text}[require]\ncommands = [\"no-such-program\"]\n")),
        ("d-invalid", text.replace("in.pcap", "gone.pcap")),
        ("e-unreadable", "format = 1\ntags = [\"udp\"]\n".to_owned()),
    ] {
        fs::write(folder.join(format!("scenarios/{name}.toml")), text).expect("it can be written");
    }
    folder
}

fn run_in(user: User, folder: &Path, arguments: &[&str]) -> Output {
    restage(user).current_dir(folder).arg("run").args(arguments).output().expect("restage runs")
}

/// An object's values of these keys.
fn fields(value: &Value, keys: &[&str]) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), value[*key].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(text.to_vec()).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn the_json_report_says_what_was_run_where_and_when() {
    for user in users() {
        let folder = repository();
        let output = run_in(*user, &folder, &["scenarios", "--report-json", "-"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!((output.status.code(), &report["format"]), (Some(2), &1.into()), "{}", both(&output));
        let run = &report["runs"][0];
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("it can be read");
        assert_eq!(
            (run["kernel"].as_str(), run["version"].as_str()),
            (Some(kernel.trim()), Some(env!("CARGO_PKG_VERSION")))
        );
        let started: jiff::Timestamp = run["started"].as_str().expect("a time").parse().expect("RFC 3339");
        let age = jiff::Timestamp::now().duration_since(started).as_secs_f64();
        assert!(run["seconds"].as_f64().expect("seconds") <= age && age < 600.0, "{run}");
        let digest = Sha256::digest(fs::read(folder.join("scenarios/in.pcap")).expect("it is there"));
        let digest = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let mut shown: Vec<_> = report["scenarios"].as_array().expect("scenarios").clone();
        for scenario in &mut shown {
            let was_started = scenario["started"].is_string();
            let keys = ["name", "file", "id", "summary", "tags", "captures", "verdict"];
            *scenario = fields(scenario, &keys);
            scenario["was-started"] = was_started.into();
            for capture in scenario["captures"].as_array_mut().expect("captures") {
                if capture["sha256"] == digest {
                    capture["sha256"] = "that of the file".into();
                }
            }
        }
        let text = serde_json::to_string_pretty(&(&report["counts"], shown)).expect("JSON");
        insta::assert_snapshot!("the_json_report", text);
    }
}

/// Only what can't be used is run: nothing is sent, so that it is quick.
#[test]
fn a_class_name_is_the_same_whatever_path_was_given() {
    let folder = repository();
    std::os::unix::fs::symlink(folder.join("scenarios"), folder.join("link")).expect("it can be made");
    let absolute = folder.join("scenarios/e-unreadable.toml");
    let ways = [
        (folder.clone(), "scenarios/e-unreadable.toml"),
        (folder.clone(), "./scenarios/../link/e-unreadable.toml"),
        (folder.join("scenarios"), "e-unreadable.toml"),
        (std::env::temp_dir(), absolute.to_str().expect("UTF-8")),
    ];
    for (current, path) in ways {
        let output = run_in(User::Caller, &current, &[path, "--report-junit", "-"]);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let case = "<testcase name=\"e-unreadable\" classname=\"scenarios.e-unreadable\" ";
        assert!(report.contains(case) && report.contains("<error type=\"invalid\" "), "{path}: {report}");
    }
}

#[test]
fn github_gets_annotations_relative_to_its_workspace_and_a_job_summary() {
    let folder = repository();
    let summary = folder.join("summary.md");
    fs::write(&summary, "from another program\n").expect("it can be written");
    let mut command = restage(User::Caller);
    command.current_dir(folder.join("scenarios")).args(["run", "e-unreadable.toml", "c-skipped.toml"]);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", &folder).env("GITHUB_STEP_SUMMARY", &summary);
    let output = command.output().expect("restage runs");
    let text = both(&output);
    let annotation = text.lines().find(|line| line.starts_with("::error")).expect("an annotation");
    let summary = fs::read_to_string(&summary).expect("it is there");
    assert_eq!(output.status.code(), Some(2), "{text}");
    let (head, rest) = summary.split_once("skipped in ").expect("the counts");
    let rest = rest.split_once('\n').expect("a line end").1;
    insta::assert_snapshot!("github", format!("{annotation}\n\n{head}skipped in TIME\n{rest}"));
}

#[test]
fn a_tap_report_counts_every_scenario() {
    let folder = repository();
    let arguments = ["scenarios/c-skipped.toml", "scenarios/e-unreadable.toml", "--report-tap", "-"];
    let output = run_in(User::Caller, &folder, &arguments);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let points: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with([' ', '#'])).collect();
    assert_eq!(
        points,
        [
            "TAP version 14",
            "1..2",
            "ok 1 - c-skipped # SKIP `no-such-program` is not installed",
            "not ok 2 - e-unreadable"
        ]
    );
}

#[test]
fn events_are_a_line_each_and_nothing_else_is_on_standard_output() {
    let Some(user) = users().last() else { return };
    let folder = repository();
    let output = run_in(*user, &folder, &["scenarios", "--message-format", "json", "--jobs", "1"]);
    let lines = lines(&output.stdout);
    let shown = lines.iter().map(|line| match line["event"].as_str() {
        Some("run-started") => format!("run-started: {} scenarios", line["scenarios"]),
        Some("scenario-started") => format!("scenario-started: {} {}", line["name"], line["id"]),
        Some("scenario-ended") => format!("scenario-ended: {} {}", line["outcome"]["name"], line["outcome"]["verdict"]),
        Some("run-ended") => format!("run-ended: {}", line["counts"]),
        _ => line.to_string(),
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
    assert!(lines.iter().all(|line| line["event"] != "scenario-started" || line["started"].is_string()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("5 scenarios: 1 passed"), "{}", both(&output));
}

#[test]
fn an_event_is_written_when_it_happens() {
    let Some(user) = users().last() else { return };
    let folder = scenario(&capture(&datagrams(3), 10), "[pacing]\nrate = \"every 500ms\"\n");
    let mut command = restage(*user);
    command.arg("run").arg(folder.join("s.toml")).args(["--message-format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("restage runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut events = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        if event["event"] == "scenario-started" {
            assert!(
                child.try_wait().expect("it can be asked").is_none(),
                "the line comes before the scenario has ended"
            );
        }
        events.push(event["event"].as_str().expect("a word").to_owned());
    }
    assert!(child.wait().expect("it ends").success());
    assert_eq!(events, ["run-started", "scenario-started", "scenario-ended", "run-ended"]);
}

#[test]
fn only_one_output_can_go_to_standard_output() {
    let folder = fresh_folder("stdout");
    let mut told = String::new();
    for arguments in
        [["--report-json", "-", "--message-format", "json"], ["--report-json", "-", "--report-junit", "/dev/stdout"]]
    {
        let output = run_in(User::Caller, &folder, &[&["gone.toml"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        told.push_str(&both(&output));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_strict_run_blocks_what_would_be_skipped_in_every_report() {
    let folder = fresh_folder("strict");
    let text = "format = 1\n[capture]\nfile = \"none.pcap\"\n[require]\ncommands = [\"no-such-program\"]\n";
    std::fs::write(folder.join("strict.toml"), text).expect("it can be written");
    let run = |options: &[&str]| {
        let arguments = ["run", "strict.toml"].iter().chain(options);
        let output = restage(User::Caller).args(arguments).current_dir(&folder).output().expect("restage runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("a report is UTF-8"))
    };
    let (status, junit) = run(&["--report-junit", "-"]);
    assert!(status == Some(0) && junit.contains("skipped=\"1\""), "{junit}");
    let (status, junit) = run(&["--strict", "--report-junit", "-"]);
    assert!(status == Some(3) && junit.contains("errors=\"1\"") && junit.contains("skipped=\"0\""), "{junit}");
    let (status, tap) = run(&["--strict", "--report-tap", "-"]);
    assert!(status == Some(3) && tap.contains("not ok 1 - strict") && tap.contains("strict.toml:5"), "{tap}");
}
