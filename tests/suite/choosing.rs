//! Which scenarios of a folder run, on which share of machines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::small::{capture, datagrams};
use crate::common::{User, both, fresh_folder, restage, users};

/// A folder of small scenarios with tags and summaries, beside one that is no TOML and one that has a mistake.
fn folder() -> PathBuf {
    let folder = fresh_folder("choosing");
    for below in ["flows", "names/slow"] {
        fs::create_dir_all(folder.join(below)).expect("a new folder");
    }
    fs::write(folder.join("in.pcap"), capture(&datagrams(2), 10)).expect("it can be written");
    for (name, head) in [
        ("flows/appflow", "summary = \"AppFlow reaches its collector\"\ntags = [\"ipfix\", \"smoke\"]\n"),
        ("flows/netflow-v9", "tags = [\"netflow\"]\n"),
        ("names/dns", "summary = \"Queries are answered\"\ntags = [\"dns\", \"smoke\"]\n"),
        ("names/slow/zone-transfer", "tags = [\"dns\"]\n"),
    ] {
        let up = "../".repeat(name.matches('/').count());
        write(&folder, name, &format!("format = 1\n{head}[capture]\nfile = \"{up}in.pcap\"\n"));
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(format!("{name}.toml")), text).expect("it can be written");
}

/// Adds a scenario whose TOML can't be read, and one with tags and a mistake.
fn spoil(folder: &Path) {
    write(folder, "flows/broken", "format = 1\ntags = [\"ipfix\"\n[[[\n");
    write(
        folder,
        "names/mistaken",
        "format = 1\nsummary = \"It has a mistake\"\ntags = [\"dns\"]\n[capture]\nfiel = \"in.pcap\"\n",
    );
}

fn output(user: User, folder: &Path, arguments: &[&str]) -> Output {
    restage(user).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("restage runs")
}

/// Status, standard output and standard error of `restage run --list .`.
fn list(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = output(User::Caller, folder, &[&["run", "--list", "."], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The names of the scenarios that are chosen.
fn chosen(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let (_, json, errors) = list(folder, &[&["--json"], arguments].concat());
    let list: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}{errors}"));
    let scenarios = list["scenarios"].as_array().expect("a list");
    scenarios.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_list_shows_path_tags_and_summary() {
    let folder = folder();
    spoil(&folder);
    let (status, text, errors) = list(&folder, &[]);
    assert_eq!(status, 2);
    insta::assert_snapshot!(format!("{text}\n{errors}"));
    let (status, json, errors) = list(&folder, &["--json", "--exclude", "flows"]);
    assert_eq!(status, 2);
    insta::assert_snapshot!(format!("{json}\n{errors}"));
    let (status, text, errors) = list(&folder, &["-E", "tag(netflow) or name(zone)", "--exclude", "broken.toml"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(text, "./flows/netflow-v9.toml          netflow\n./names/slow/zone-transfer.toml  dns\n");
}

#[test]
fn expressions_and_globs_choose() {
    let folder = folder();
    let cases: [(&[&str], &[&str]); 10] = [
        (&[], &["appflow", "netflow-v9", "dns", "zone-transfer"]),
        (&["-E", "tag(smoke) and not tag(dns)"], &["appflow"]),
        (&["-E", "name(/^d|9$/)"], &["netflow-v9", "dns"]),
        (&["-E", "path(names)"], &["dns", "zone-transfer"]),
        (&["-E", "path(names/*.toml)"], &["dns"]),
        (&["--filterset", "tag(netflow)", "--filterset", "name(=dns)"], &["netflow-v9", "dns"]),
        (&["--exclude", "slow"], &["appflow", "netflow-v9", "dns"]),
        (&["--exclude", "./names/", "--exclude", "net*"], &["appflow"]),
        (&["-E", "tag(dns)", "--exclude", "**/slow"], &["dns"]),
        (&["-E", "all() - tag(/./)  or  name(zone)"], &["zone-transfer"]),
    ];
    for (arguments, names) in cases {
        assert_eq!(chosen(&folder, arguments), names, "{arguments:?}");
    }
    let absolute =
        output(User::Caller, &folder, &["run", "--list", &folder.display().to_string(), "-E", "path(names/*.toml)"]);
    assert!(both(&absolute).contains("names/dns.toml"), "{}", both(&absolute));
}

#[test]
fn a_scenario_that_can_not_be_used_is_left_out_only_by_what_is_known_of_it() {
    let folder = folder();
    spoil(&folder);
    assert_eq!(chosen(&folder, &["-E", "tag(smoke)"]), ["appflow", "broken", "dns"]);
    assert_eq!(chosen(&folder, &["-E", "tag(dns)", "--exclude", "broken*"]), ["dns", "mistaken", "zone-transfer"]);
    assert_eq!(chosen(&folder, &["-E", "tag(smoke) and not name(broken)"]), ["appflow", "dns"]);
}

#[test]
fn a_choice_of_nothing_says_what_there_is_to_choose_from() {
    let folder = folder();
    let mut text = String::new();
    for arguments in [
        &["-E", "tag(smok)"][..],
        &["-E", "tag(ssh) or tag(/sip/)"],
        &["-E", "name(x) and tag(dns)"],
        &["-E", "tag(dns) and tag(ipfix)"],
        &["--exclude", "*"],
        &["-E", "tag(dns)", "--exclude", "names"],
        &["-E", "tag(dns", "-E", "flows"],
        &["--exclude", "a[b"],
        &["--partition", "3/1"],
        &["--partition", "slice:0/3"],
        &["--partition", "hash:4/3"],
        &["-E"],
    ] {
        let (status, stdout, errors) = list(&folder, arguments);
        assert_eq!((status, stdout.as_str()), (2, ""), "{errors}");
        let _infallible = writeln!(text, "$ restage run --list . {}\n{errors}", arguments.join(" "));
    }
    let refused = output(User::Caller, &folder, &["run", ".", "--json"]);
    let _infallible = writeln!(text, "$ restage run . --json\n{}", both(&refused));
    insta::assert_snapshot!(text);
}

#[test]
fn shares_add_up_to_all_scenarios() {
    let folder = folder();
    let all = chosen(&folder, &[]);
    for by in ["slice", "hash"] {
        let shares = (1..=3).map(|share| chosen(&folder, &["--partition", &format!("{by}:{share}/3")]));
        let mut together = shares.collect::<Vec<_>>().concat();
        together.sort();
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(together, sorted, "{by}");
    }
    assert_eq!(chosen(&folder, &["--partition", "slice:2/2"]), ["netflow-v9", "zone-transfer"]);
    assert_eq!(chosen(&folder, &["--partition", "slice:2/2", "-E", "tag(smoke)"]), ["dns"]);
}

#[test]
fn an_empty_share_passes() {
    let folder = folder();
    let output =
        output(User::Caller, &folder, &["run", ".", "--partition", "slice:5/5", "--report-json", "report.json"]);
    assert_eq!(output.status.code(), Some(0));
    let text = regex::Regex::new(r" in [0-9.]+ \S+;")
        .expect("a regular expression")
        .replace(&both(&output), " in TIME;")
        .into_owned();
    insta::assert_snapshot!(text);
    let report = fs::read_to_string(folder.join("report.json")).expect("a report");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).expect("JSON")["scenarios"], serde_json::json!([]));
}

#[test]
fn only_what_is_chosen_runs_and_is_checked() {
    for user in users() {
        let folder = folder();
        spoil(&folder);
        let output = output(*user, &folder, &["run", ".", "-E", "tag(smoke)", "--exclude", "broken.toml"]);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(0), "as {user:?}: {text}");
        assert!(
            text.contains("2 scenarios: 2 passed in ") && text.ends_with("; 4 not chosen\n"),
            "as {user:?}: {text}"
        );
    }
    let folder = folder();
    spoil(&folder);
    let text = both(&output(User::Caller, &folder, &["check", ".", "-E", "tag(ipfix)"]));
    assert!(
        text.starts_with("valid    ./flows/appflow.toml\ninvalid  ./flows/broken.toml\n1 valid, 1 invalid\n"),
        "{text}"
    );
}

/// The last line of a run, without its time.
fn summary(output: &Output) -> String {
    let text = both(output);
    let is_it = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" scenario");
    let line = text.lines().rfind(is_it).unwrap_or_else(|| panic!("{text}"));
    regex::Regex::new(r" in [0-9.]+ \S+?(;|$)").expect("a pattern").replace(line, "$1").into_owned()
}

#[test]
fn what_failed_is_run_again_until_it_passes() {
    for user in users() {
        let folder = folder();
        let cache = fresh_folder("cache");
        let bad = folder.join("names/bad.toml");
        let text = "format = 1\n[capture]\nfile = \"../in.pcap\"\n[expect]\nconsumed = 1\n";
        fs::write(&bad, text).expect("it can be written");
        spoil(&folder);
        let rerun = |arguments: &[&str]| {
            let mut command = restage(*user);
            command.args(["run", "."]).args(arguments).env("XDG_CACHE_HOME", &cache).current_dir(&folder);
            command.stdin(Stdio::null()).output().expect("restage runs")
        };
        let first = rerun(&["--rerun", "failed"]);
        assert!(
            both(&first).contains("note: no scenario failed when it was last run"),
            "as {user:?}: {}",
            both(&first)
        );
        assert_eq!(summary(&first), "7 scenarios: 4 passed, 1 failed, 2 invalid", "as {user:?}");
        assert_eq!(summary(&rerun(&["--rerun", "failed"])), "3 scenarios: 1 failed, 2 invalid; 4 not chosen");
        let listed = both(&rerun(&["--rerun", "failed", "--list", "-E", "name(bad)"]));
        assert_eq!(listed, "./names/bad.toml\n");
        for broken in ["flows/broken.toml", "names/mistaken.toml"] {
            fs::remove_file(folder.join(broken)).expect("it is there");
        }
        fs::write(&bad, text.replace("consumed = 1", "consumed = 2")).expect("it can be written");
        assert_eq!(summary(&rerun(&["--rerun", "failed"])), "1 scenario: 1 passed; 4 not chosen");
        assert_eq!(summary(&rerun(&["--rerun", "failed"])), "5 scenarios: 5 passed");
    }
}

#[test]
fn without_a_cache_scenarios_run_and_are_not_rerun() {
    let folder = folder();
    let without = |arguments: &[&str]| {
        let mut command = restage(User::Caller);
        command
            .args(["run", "names"])
            .args(arguments)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("HOME")
            .current_dir(&folder);
        command.stdin(Stdio::null()).output().expect("restage runs")
    };
    let refused = without(&["--rerun", "failed"]);
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(both(&refused));
    if !users().is_empty() {
        assert_eq!(without(&[]).status.code(), Some(0));
    }
}
