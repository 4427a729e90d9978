//! What a run shows: less, more, the slowest, and what takes long.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::common::{User, both, restage, users};
use crate::turns::{folder, plain};

/// What is printed by a run of a folder.
fn shown(user: User, folder: &Path, arguments: &[&str]) -> String {
    let mut command = restage(user);
    command.args(["run", ".", "--jobs", "1"]).args(arguments).current_dir(folder).stdin(Stdio::null());
    plain(&both(&command.output().expect("restage runs")), folder)
}

#[test]
fn quiet_shows_only_what_did_not_pass_and_verbose_all_stories() {
    let Some(user) = users().last() else { return };
    let folder = folder(&[
        ("bad", "", "false"),
        ("good", "", "true"),
        ("skipped", "require.commands = [\"no-such-program\"]", "true"),
    ]);
    let mut text = String::new();
    for arguments in [&["-q"][..], &["-q", "-E", "name(good)"], &["-v"], &["-v", "-E", "name(good)"], &["--list", "-q"]]
    {
        let shown = shown(*user, &folder, arguments);
        let _infallible = writeln!(text, "$ restage run . {}\n{shown}", arguments.join(" "));
    }
    insta::assert_snapshot!(text);
    let refused = restage(User::Caller).args(["run", ".", "-q", "-v"]).output().expect("restage runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(both(&refused).contains("`--quiet` and `--verbose` exclude each other"), "{}", both(&refused));
}

#[test]
fn the_slowest_are_named_in_their_order() {
    let Some(user) = users().last() else { return };
    let folder = folder(&[("fast", "", "true"), ("slow", "", "sleep 0.7"), ("slower", "", "sleep 1.4")]);
    let text = shown(*user, &folder, &["--durations", "2", "--report-json", "report.json"]);
    let report = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    // On a busy machine another one may be slow.
    let mut scenarios = report["scenarios"].as_array().expect("a list").clone();
    scenarios.sort_by(|one, two| two["seconds"].as_f64().partial_cmp(&one["seconds"].as_f64()).expect("numbers"));
    let [first, second] = [0, 1].map(|place| scenarios[place]["name"].as_str().expect("a name"));
    let end = text.split("\n\n").collect::<Vec<_>>()[1..].join("\n\n");
    let slowest = format!("the slowest 2 of 3 scenarios:\n TIME  {first}\n TIME  {second}\n\n");
    assert_eq!(end, format!("{slowest}3 scenarios: 3 passed in TIME\n"), "{text}");
    let text = shown(*user, &folder, &["--durations", "0", "-q", "-E", "name(fast)"]);
    assert_eq!(text, "the slowest 1 of 1 scenario:\n TIME  fast\n\n1 scenario: 1 passed in TIME; 2 not chosen\n");
}

#[test]
fn what_takes_long_is_named_while_it_runs() {
    for user in users() {
        let folder = folder(&[("patient", "", "for i in $(seq 400); do test -e go && exit; sleep 0.05; done; false")]);
        let mut command = restage(*user);
        command.args(["run", ".", "--slow-after", "100ms"]).current_dir(&folder).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("restage runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut named = || lines.next().expect("it is named").expect("text");
        let (first, second) = (named(), named());
        fs::write(folder.join("go"), "").expect("it can be written");
        // The pipe is read to its end, so that nothing that is written later finds it closed.
        lines.for_each(drop);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "as {user:?}: {}", both(&output));
        assert!(first.starts_with("slow     patient  > 100 ms  "), "as {user:?}: {first}");
        assert!(second.starts_with("slow     patient  > 200 ms  "), "as {user:?}: {second}");
    }
}
