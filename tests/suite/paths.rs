//! What a path means: every way to name a scenario gives the same run, and no output destroys an input.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::small::{capture, datagrams};
use crate::common::{User, both, fresh_folder, restage, users};

/// A capture of one frame.
fn one() -> Vec<u8> {
    capture(&datagrams(1), 10)
}

const SCENARIO: &str = r#"format = 1
[capture]
file = "in.pcap"
[lab]
ruleset = { file = "rules.nft" }
[receiver]
save-capture = "kept.pcapng"
[expect]
rewritten = "s.snap"
[[expect.command]]
run = ["cat", "{scenario}/expected.txt"]
stdout = { equals-file = "expected.txt" }
"#;

/// A folder with a scenario that reads every kind of file there is. Below it lies `sub`, with a link to each file, and `links`.
fn folder() -> PathBuf {
    let folder = fresh_folder("paths");
    fs::write(folder.join("in.pcap"), one()).expect("it can be written");
    fs::write(folder.join("s.toml"), SCENARIO).expect("it can be written");
    fs::write(folder.join("rules.nft"), "include \"./more.nft\"").expect("it can be written");
    fs::write(folder.join("more.nft"), "table ip t { }\n").expect("it can be written");
    fs::write(folder.join("expected.txt"), "something\n").expect("it can be written");
    let line = both(&output(User::Caller, &folder, &["plan", "s.toml", "--json"]));
    assert!(line.contains("\"selected\": 1"), "{line}");
    let run = output(User::Caller, &folder, &["run", "s.toml", "--update-snapshots"]);
    if !users().is_empty() {
        assert_eq!(run.status.code(), Some(0), "{}", both(&run));
    }
    folder
}

fn command(user: User, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = restage(user);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn output(user: User, folder: &Path, arguments: &[&str]) -> Output {
    command(user, folder, arguments).output().expect("restage runs")
}

#[test]
fn no_output_overwrites_an_input_or_another_output() {
    if users().is_empty() {
        return;
    }
    let folder = folder();
    fs::create_dir(folder.join("sub")).expect("a new folder");
    let files = ["in.pcap", "s.toml", "rules.nft", "more.nft", "expected.txt", "s.snap"];
    for file in files {
        symlink(Path::new("..").join(file), folder.join("sub").join(format!("{file}.pcap"))).expect("a new link");
        fs::hard_link(folder.join(file), folder.join("sub").join(format!("hard-{file}.pcap"))).expect("a new link");
    }
    let before = files.map(|file| fs::read(folder.join(file)).expect("it is there"));
    let mut lines: Vec<Vec<String>> = Vec::new();
    for file in files {
        for path in [format!("sub/{file}.pcap"), format!("{}/sub/hard-{file}.pcap", folder.display())] {
            lines.push(["rewrite", "s.toml", "-o", &path].map(str::to_owned).to_vec());
            lines.push(["run", "s.toml", "--report-json", &path].map(str::to_owned).to_vec());
            lines.push(["run", "s.toml", "--report-junit", &path].map(str::to_owned).to_vec());
        }
    }
    for line in ["rewrite s.toml -o in.pcap", "rewrite s.toml -o ./sub/../in.pcap", "rewrite - -o in.pcap"] {
        lines.push(line.split(' ').map(str::to_owned).collect());
    }
    lines.push(
        ["run", "s.toml", "--report-json", "new.json", "--report-junit", "./new.json"].map(str::to_owned).to_vec(),
    );
    lines.push(["run", "s.toml", "--report-json", "kept.pcapng"].map(str::to_owned).to_vec());
    for line in &lines {
        let mut command = command(User::Caller, &folder, &line.iter().map(String::as_str).collect::<Vec<_>>());
        command.stdin(fs::File::open(folder.join("s.toml")).expect("it is there"));
        let output = command.output().expect("restage runs");
        let said = both(&output);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {said}");
        assert!(said.contains(" would overwrite "), "{line:?}: {said}");
    }
    // What a shell appends to is an output too.
    let appended = fs::OpenOptions::new().append(true).open(folder.join("in.pcap")).expect("it is there");
    let status = command(User::Caller, &folder, &["rewrite", "s.toml", "-o", "-"]).stdout(appended).status();
    assert_eq!(status.expect("restage runs").code(), Some(2));
    let after = files.map(|file| fs::read(folder.join(file)).expect("it is there"));
    assert!(before == after, "something was written");
    assert!(!folder.join("new.json").exists());
}

#[test]
fn a_snapshot_and_what_is_kept_are_outputs_too() {
    if users().is_empty() {
        return;
    }
    let folder = folder();
    let other = SCENARIO.replace("s.snap", "in.pcap").replace("save-capture = \"kept.pcapng\"\n", "");
    fs::write(folder.join("t.toml"), other).expect("it can be written");
    let before = fs::read(folder.join("in.pcap")).expect("it is there");
    let said = output(User::Caller, &folder, &["run", "t.toml", "--update-snapshots"]);
    assert_eq!(said.status.code(), Some(2), "{}", both(&said));
    assert!(
        both(&said).contains("the snapshot of `t` `in.pcap` would overwrite the capture `in.pcap`"),
        "{}",
        both(&said)
    );
    fs::write(folder.join("t.toml"), SCENARIO.replace("in.pcap", "kept.pcapng")).expect("it can be written");
    let said = output(User::Caller, &folder, &["run", "t.toml"]);
    assert_eq!(said.status.code(), Some(2), "{}", both(&said));
    assert_eq!(fs::read(folder.join("in.pcap")).expect("it is there"), before);
}

#[test]
fn a_device_a_pipe_and_a_link_are_written_through() {
    let folder = folder();
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let reader = std::thread::spawn(move || fs::read(pipe).expect("it is there"));
    assert!(output(User::Caller, &folder, &["rewrite", "s.toml", "-o", "pipe"]).status.success());
    assert_eq!(reader.join().expect("it ends"), one());
    for place in ["/dev/stdout", "/proc/self/fd/1", "-"] {
        let output = output(User::Caller, &folder, &["rewrite", "s.toml", "-o", place]);
        assert!(output.status.success() && output.stdout == one(), "{place}");
    }
    assert!(output(User::Caller, &folder, &["rewrite", "s.toml", "-o", "/dev/null"]).status.success());
    symlink("real.pcap", folder.join("link.pcap")).expect("a new link");
    fs::write(folder.join("real.pcap"), "old").expect("it can be written");
    assert!(output(User::Caller, &folder, &["rewrite", "s.toml", "-o", "link.pcap"]).status.success());
    assert!(folder.join("link.pcap").is_symlink());
    assert_eq!(fs::read(folder.join("real.pcap")).expect("it is there"), one());
    let left = fs::read_dir(&folder).expect("the folder").flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("partial")));
}

#[test]
fn every_way_to_name_a_scenario_gives_the_same_run() {
    let folder = folder();
    let elsewhere = fresh_folder("elsewhere");
    symlink(folder.join("s.toml"), elsewhere.join("linked.toml")).expect("a new link");
    symlink(&folder, elsewhere.join("folder")).expect("a new link");
    let absolute = folder.join("s.toml");
    let from_root = absolute.strip_prefix("/").expect("an absolute path");
    let forms: [(&Path, &Path); 6] = [
        (&folder, Path::new("s.toml")),
        (&folder, Path::new("./s.toml")),
        (&elsewhere, &absolute),
        (&elsewhere, Path::new("linked.toml")),
        (&elsewhere, Path::new("folder/s.toml")),
        (Path::new("/"), from_root),
    ];
    for (here, path) in forms {
        let path = path.to_str().expect("UTF-8");
        let lines: [&[&str]; 4] = [
            &["check", path],
            &["plan", path],
            &["rewrite", path, "-o", "/dev/null"],
            &["run", path, "--report-json", "-"],
        ];
        for line in lines {
            if line[0] == "run" && (users().is_empty() || here == Path::new("/")) {
                continue;
            }
            let output = output(User::Caller, here, line);
            assert_eq!(output.status.code(), Some(0), "{line:?} in {}: {}", here.display(), both(&output));
            if line[0] == "run" {
                let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
                let scenario = &report["scenarios"][0];
                assert_eq!((&scenario["name"], &scenario["file"]), (&"s".into(), &path.into()));
            }
        }
    }
}

#[test]
fn a_scenario_is_read_once_from_any_stream() {
    let folder = folder();
    // The caller's: nobody else may write it.
    let _may_not_be_there = fs::remove_file(folder.join("kept.pcapng"));
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    for path in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "pipe"] {
        let lines: [&[&str]; 4] =
            [&["check", path], &["plan", path], &["rewrite", path, "-o", "/dev/null"], &["run", path]];
        for user in users() {
            for line in lines {
                let mut command = command(*user, &folder, line);
                let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = child.spawn().expect("restage runs");
                let mut stdin = child.stdin.take().expect("a pipe");
                if path == "pipe" {
                    fs::write(&pipe, SCENARIO).expect("it is read");
                } else {
                    stdin.write_all(SCENARIO.as_bytes()).expect("it is read");
                }
                drop(stdin);
                let output = child.wait_with_output().expect("it ends");
                let _may_not_be_there = fs::remove_file(folder.join("kept.pcapng"));
                assert_eq!(output.status.code(), Some(0), "{line:?} as {user:?}: {}", both(&output));
            }
        }
    }
    let twice = SCENARIO.replace("in.pcap", "-");
    fs::write(folder.join("twice.toml"), twice).expect("it can be written");
    for verb in ["check", "plan", "run"] {
        let mut command = command(User::Caller, &folder, &[verb, "-"]);
        command.stdin(fs::File::open(folder.join("twice.toml")).expect("it is there"));
        let output = command.output().expect("restage runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(both(&output).contains("can't both be standard input"), "{verb}: {}", both(&output));
        let mut command = self::command(User::Caller, &folder, &[verb, "/dev/zero"]);
        let output = command.output().expect("restage runs");
        assert!(output.status.code() == Some(2) && both(&output).contains("is too long"), "{verb}: {}", both(&output));
    }
}
