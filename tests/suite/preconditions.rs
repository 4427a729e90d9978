//! `[require]` where it depends on who runs restage: capabilities, and what an application changes meanwhile.

use std::fs;

use crate::common::{Run, User, fresh_folder, is_root, run, stage, users};

/// Runs a scenario of the checked-in capture at top speed, and these words.
fn replay(user: User, words: &str) -> Run {
    let folder = fresh_folder("preconditions");
    let scenario = folder.join("s.toml");
    let capture = stage().join("scenarios/captures/appflow.pcapng");
    let head =
        format!("format = 1\n[capture]\nfile = {:?}\n[pacing]\nrate = \"topspeed\"\n", capture.display().to_string());
    fs::write(&scenario, head + words).expect("it can be written");
    let run = run(user, [&scenario]);
    fs::remove_dir_all(&folder).expect("it can be removed");
    run
}

/// What, why and fix of every problem.
fn told(run: &Run) -> String {
    let problems = run.report["scenarios"][0]["problems"].as_array().cloned().unwrap_or_default();
    let line = |problem: &serde_json::Value| {
        let [what, why, fix] = ["what", "why", "fix"].map(|key| problem[key].as_str().unwrap_or_default().to_owned());
        format!("{what}\nwhy: {why}\nfix: {fix}\n")
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_user_namespace_gives_an_ordinary_user_no_capability_over_the_machine() {
    if !users().contains(&User::Ordinary) {
        return;
    }
    let run = replay(User::Ordinary, "[require]\ncapabilities = [\"CAP_BPF\", \"CAP_NET_ADMIN\"]\n");
    assert_eq!((run.status, run.report["scenarios"][0]["verdict"].as_str()), (3, Some("blocked")), "{}", run.text);
    insta::assert_snapshot!(told(&run));
}

#[test]
fn the_capabilities_that_restage_has_are_found() {
    let status = fs::read_to_string("/proc/self/status").expect("every process has one");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("every kernel tells");
    let effective = u64::from_str_radix(effective.trim(), 16).expect("a number in base 16");
    // CAP_NET_RAW
    if !users().contains(&User::Caller) || effective >> 13 & 1 == 0 {
        return;
    }
    let run = replay(User::Caller, "[require]\ncapabilities = [\"CAP_NET_RAW\"]\n");
    assert_eq!(run.status, 0, "{}", run.text);
}

#[test]
fn a_sysctl_that_the_application_changes_is_reported_with_both_values() {
    if !is_root() || !users().contains(&User::Caller) {
        return;
    }
    let words = r#"
[lab]
sysctl = { "net.ipv4.conf.{receiver}.log_martians" = 0 }
[require]
commands = ["nfcapd"]
sysctl = { "net.ipv4.conf.{receiver}.log_martians" = "< 1" }
[receiver]
command = ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/{receiver}/log_martians; exec nfcapd -p 4739 -w {work}"]
"#;
    let run = replay(User::Caller, words);
    if run.report["scenarios"][0]["verdict"] == "skipped" {
        return;
    }
    assert_eq!(run.status, 1, "{}", run.text);
    insta::assert_snapshot!(told(&run));
}
