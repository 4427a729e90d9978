//! `restage.toml`: the options of a project, by profile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::small::{capture, datagrams};
use crate::common::{User, both, fresh_folder, restage, users};

/// A folder with one scenario in `below`, and this configuration.
fn folder(config: &str) -> PathBuf {
    let folder = fresh_folder("profiles");
    fs::create_dir_all(folder.join("below")).expect("a new folder");
    fs::write(folder.join("below/in.pcap"), capture(&datagrams(2), 10)).expect("it can be written");
    fs::write(folder.join("below/s.toml"), "format = 1\n[capture]\nfile = \"in.pcap\"\n").expect("it can be written");
    fs::write(folder.join("restage.toml"), config).expect("it can be written");
    folder
}

fn output(folder: &Path, arguments: &[&str]) -> Output {
    restage(User::Caller).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("restage runs")
}

const CONFIG: &str = "[profile.default]\nset = [\"expect.consumed=3\"]\nreport-junit = \"junit.xml\"\n\
                      [profile.good]\nset = [\"expect.consumed=2\"]\nstrict = true\n";

#[test]
fn a_profile_has_options_and_the_command_line_goes_first() {
    if users().is_empty() {
        return;
    }
    let folder = folder(CONFIG);
    // The file is found from below, and its reports are beside it.
    let failed = output(&folder.join("below"), &["run", "s.toml"]);
    assert_eq!(failed.status.code(), Some(1), "{}", both(&failed));
    assert!(folder.join("junit.xml").is_file());
    let passed = output(&folder, &["run", "below", "--profile", "good"]);
    assert_eq!(passed.status.code(), Some(0), "{}", both(&passed));
    let given = output(&folder, &["run", "below", "--profile", "good", "--set", "expect.consumed=1"]);
    assert_eq!(given.status.code(), Some(1), "{}", both(&given));
    let mut by_variable = restage(User::Caller);
    by_variable.args(["run", "below"]).current_dir(&folder).env("RESTAGE_PROFILE", "good");
    assert_eq!(by_variable.output().expect("restage runs").status.code(), Some(0));
    // An option that excludes one of the profile.
    let list = output(&folder, &["run", "below", "--list"]);
    assert_eq!(list.status.code(), Some(0), "{}", both(&list));
    // Other verbs know no profiles.
    assert_eq!(output(&folder, &["check", "below"]).status.code(), Some(0));
}

#[test]
fn a_wrong_file_is_told_with_its_place() {
    let config = "[profile.ci]\nretires = 2\njobs = \"x\"\nstrict = 3\nlist = true\n[other]\n";
    let folder = folder(config);
    let told = output(&folder, &["run", "below", "--profile", "ci", "--config", "restage.toml"]);
    assert_eq!(told.status.code(), Some(2));
    insta::assert_snapshot!(both(&told));
    for (arguments, message) in [
        (&["run", "below", "--profile", "nightly"][..], "has no option"),
        (&["run", "below", "--config", "missing.toml"], "can't read `missing.toml`"),
        (&["run", "below", "--config", "below/in.pcap"], "in.pcap"),
    ] {
        let told = output(&folder, arguments);
        assert_eq!(told.status.code(), Some(2), "{}", both(&told));
        assert!(both(&told).contains(message), "{}", both(&told));
    }
    fs::remove_file(folder.join("restage.toml")).expect("it is there");
    let told = output(&folder, &["run", "below", "--profile", "ci"]);
    assert!(both(&told).contains("there is no restage.toml"), "{}", both(&told));
}
