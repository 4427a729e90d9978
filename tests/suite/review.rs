//! Snapshots that a run proposes, and `restage review`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::small::{capture, datagrams};
use crate::common::{User, both, fresh_folder, restage, users};

const SNAPSHOT: &str = "snapshots/frames.snap";
const PROPOSED: &str = "snapshots/frames.snap.new";

fn folder() -> PathBuf {
    let folder = fresh_folder("review");
    fs::write(folder.join("in.pcap"), capture(&datagrams(3), 10)).expect("it can be written");
    let text = format!("format = 1\n[capture]\nfile = \"in.pcap\"\n[expect]\nrewritten = \"{SNAPSHOT}\"\n");
    fs::write(folder.join("s.toml"), text).expect("it can be written");
    folder
}

fn output(folder: &Path, arguments: &[&str], in_ci: bool) -> Output {
    let mut command = restage(User::Caller);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    if in_ci {
        command.env("CI", "true");
    }
    command.output().expect("restage runs")
}

#[test]
fn a_snapshot_is_proposed_reviewed_and_accepted() {
    if users().is_empty() {
        return;
    }
    let folder = folder();
    let has = |name: &str| folder.join(name).exists();
    let run = |more: &[&str]| output(&folder, &[&["run", "s.toml"], more].concat(), false);
    let first = run(&[]);
    assert_eq!((first.status.code(), has(SNAPSHOT), has(PROPOSED)), (Some(1), false, true), "{}", both(&first));
    assert!(both(&first).contains("accept it by `restage review`"), "{}", both(&first));
    // Nobody is there to answer.
    let shown = output(&folder, &["review"], false);
    assert_eq!((shown.status.code(), has(PROPOSED)), (Some(1), true), "{}", both(&shown));
    assert!(both(&shown).contains("`--accept` or `--reject`"), "{}", both(&shown));
    let accepted = output(&folder, &["review", "--accept"], false);
    assert!(both(&accepted).contains("1 snapshot: 1 accepted, 0 rejected, 0 left"), "{}", both(&accepted));
    assert_eq!((accepted.status.code(), has(SNAPSHOT), has(PROPOSED)), (Some(0), true, false));
    assert_eq!(run(&[]).status.code(), Some(0));
    // The difference names the field with both values.
    let changed = run(&["--set", "rewrite.header.ttl=9"]);
    assert_eq!((changed.status.code(), has(PROPOSED)), (Some(1), true), "{}", both(&changed));
    assert!(both(&changed).contains("3: ttl 64 → 9"), "{}", both(&changed));
    let rejected = output(&folder, &["review", SNAPSHOT, "--reject"], false);
    assert_eq!((rejected.status.code(), has(PROPOSED)), (Some(0), false), "{}", both(&rejected));
    // What is proposed is removed when it is right again.
    run(&["--set", "rewrite.header.ttl=9"]);
    assert!(has(PROPOSED));
    assert_eq!((run(&[]).status.code(), has(PROPOSED)), (Some(0), false));
    assert_eq!(both(&output(&folder, &["review"], false)), "nothing to review\n");
}

#[test]
fn nothing_is_proposed_in_ci() {
    if users().is_empty() {
        return;
    }
    let folder = folder();
    let run = output(&folder, &["run", "s.toml"], true);
    assert_eq!(run.status.code(), Some(1), "{}", both(&run));
    assert!(both(&run).contains("run with `--update-snapshots`"), "{}", both(&run));
    assert!(!folder.join("snapshots").exists());
}
