//! `restage inspect` over captures made here. `tests/unit/real_captures.rs` has real ones.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::mixed::{ip, mixed, pcap};

/// A folder that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("restage-inspect-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder in the temporary folder");
        fs::write(folder.join(name), bytes).expect("it can be written");
        Self(folder)
    }

    /// `restage inspect` in this folder.
    fn inspect(&self, arguments: &[&str], input: Stdio) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_restage"));
        command.arg("inspect").args(arguments).current_dir(&self.0).stdin(input).env("NO_COLOR", "1");
        command.output().expect("restage runs")
    }

    /// Status, standard output, and standard error below a line.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.inspect(arguments, Stdio::null());
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        format!("status {}\n{stdout}--- standard error\n{stderr}", output.status.code().expect("it ended"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn inspect_summarises_a_capture() {
    insta::assert_snapshot!(Folder::with("mixed.pcap", &pcap(&mixed())).told(&["mixed.pcap"]));
}

#[test]
fn the_json_has_every_row() {
    insta::assert_snapshot!(Folder::with("mixed.pcap", &pcap(&mixed())).told(&["mixed.pcap", "--json", "--top", "1"]));
}

#[test]
fn longer_tables_say_how_many_more_there_are() {
    insta::assert_snapshot!(Folder::with("mixed.pcap", &pcap(&mixed())).told(&["mixed.pcap", "--top", "2"]));
}

#[test]
fn a_damaged_capture_is_shown_up_to_the_damage() {
    let file = pcap(&mixed()[..3]);
    let folder = Folder::with("cut.pcap", &file[..file.len() - 5]);
    insta::assert_snapshot!(folder.told(&["cut.pcap"]));
    let output = folder.inspect(&["cut.pcap", "--json"], Stdio::null());
    let found: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((output.status.code(), &found["frames"], &found["damage"]["frame"]), (Some(2), &2.into(), &3.into()));
}

#[test]
fn what_is_no_capture_has_nothing_to_show() {
    let folder = Folder::with("text.pcap", b"these are no packets");
    insta::assert_snapshot!(format!("{}\n{}", folder.told(&["text.pcap"]), folder.told(&["missing.pcap"])));
}

#[test]
fn a_capture_without_frames_has_a_format_all_the_same() {
    insta::assert_snapshot!(Folder::with("empty.pcap", &pcap(&[])).told(&["empty.pcap"]));
}

#[test]
fn standard_input_is_read_as_it_comes() {
    let folder = Folder::with("mixed.pcap", &pcap(&mixed()));
    let path = folder.0.join("mixed.pcap");
    let by_name = folder.inspect(&["mixed.pcap", "--json"], Stdio::null());
    let redirected = folder.inspect(&["-", "--json"], File::open(&path).expect("it is there").into());
    let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().expect("cat runs");
    let piped = folder.inspect(&["-", "--json"], cat.stdout.take().expect("it is piped").into());
    cat.wait().expect("cat ends");
    for output in [redirected, piped] {
        let text = String::from_utf8(output.stdout).expect("it is UTF-8");
        assert_eq!(text.replacen("\"file\": \"-\"", "\"file\": \"mixed.pcap\"", 1).as_bytes(), by_name.stdout);
    }
}

#[test]
fn conversations_beyond_the_limit_are_counted() {
    let over = 10;
    let mut frames = Vec::new();
    for at in 0..65_536 + over {
        let source = std::net::Ipv4Addr::from(0x0a00_0000 + at).to_string();
        let frame = ip(&source, "10.255.0.1", 253, (1, 0), &[]);
        frames.push((frame.clone(), frame.len(), u64::from(at)));
    }
    let folder = Folder::with("many.pcap", &pcap(&frames));
    let found = restage::inspect(folder.0.join("many.pcap")).expect("a capture");
    assert_eq!((found.conversations.len(), found.unlisted.conversations), (65_536, u64::from(over)));
    // The destination is one of them, and was there early enough.
    assert_eq!((found.endpoints.len(), found.unlisted.endpoints), (65_536, u64::from(over) + 1));
    assert_eq!(found.frames, 65_546);
}

/// The captures of the scenarios that a flow exporter sent.
fn exports(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios/captures").join(name)).expect("it can be read")
}

#[test]
fn flow_exports_are_shown_by_exporter() {
    let folder = Folder::with("netflow.pcap", &exports("softflowd-netflow-v9.pcap"));
    insta::assert_snapshot!(folder.told(&["netflow.pcap", "--flows", "--top", "3"]));
}

#[test]
fn sets_without_a_template_are_counted_with_its_id() {
    let mut capture = exports("softflowd-ipfix.pcap");
    // Its first frame has the templates.
    let length = u32::from_le_bytes(capture[32..36].try_into().expect("four bytes")) as usize;
    capture.drain(24..40 + length);
    insta::assert_snapshot!(Folder::with("late.pcap", &capture).told(&["late.pcap", "--flows"]));
}

#[test]
fn records_are_written_as_csv_and_as_json() {
    let folder = Folder::with("netflow.pcap", &exports("softflowd-netflow-v5.pcap"));
    let lines = |arguments: &[&str]| {
        let text = folder.told(arguments);
        text.lines().take(4).collect::<Vec<_>>().join("\n") + &format!("\n{} lines", text.lines().count())
    };
    let (csv, json) =
        (lines(&["netflow.pcap", "--flows=records"]), lines(&["netflow.pcap", "--flows=records", "--json"]));
    insta::assert_snapshot!(format!("{csv}\n\n{json}"));
}

#[test]
fn records_of_a_pipe_are_lines_of_json_alone() {
    let folder = Folder::with("netflow.pcap", &exports("softflowd-netflow-v5.pcap"));
    let piped = |arguments: &[&str]| {
        folder.inspect(arguments, File::open(folder.0.join("netflow.pcap")).expect("it is there").into())
    };
    let refused = piped(&["-", "--flows=records"]);
    insta::assert_snapshot!(String::from_utf8_lossy(&refused.stderr));
    assert_eq!(refused.status.code(), Some(2));
    let by_name = folder.inspect(&["netflow.pcap", "--flows=records", "--json"], Stdio::null());
    assert_eq!(piped(&["-", "--flows=records", "--json"]).stdout, by_name.stdout);
}
