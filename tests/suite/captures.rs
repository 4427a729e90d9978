//! Captures that can be read only once: standard input and pipes, through the program.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sys::stat::Mode;

use crate::savefile::{Folder, LITTLE, datagram, raw};

/// Runs the program in `folder`, with its temporary files in a folder of its own.
fn restage(folder: &Folder, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = command(folder, arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("it is piped");
    let bytes = stdin.to_vec();
    // It may end before it has read all.
    let writer = thread::spawn(move || drop(pipe.write_all(&bytes)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it writes");
    output
}

fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let temporary = folder.0.join("temporary");
    fs::create_dir_all(&temporary).expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_restage"));
    command.args(arguments).current_dir(&folder.0).env("TMPDIR", temporary).env("NO_COLOR", "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn scenario(folder: &Folder, capture: &str) {
    folder.file("scenario.toml", format!("format = 1\n\n[capture]\n{capture}\n").as_bytes());
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn standard_input_is_read_as_often_as_needed_and_leaves_nothing() {
    let folder = Folder::new();
    let capture = raw(0xa1b2_c3d4, 40_000);
    assert!(capture.len() > 1 << 20, "longer than a pipe and the buffer");
    let pin = sha256(&folder.file("capture", &capture));
    scenario(&folder, &format!("file = \"-\"\nsha256 = \"{pin}\""));
    for output in ["out.pcap", "-"] {
        let done = restage(&folder, &["rewrite", "scenario.toml", "-o", output], &capture);
        assert_eq!(done.status.code(), Some(0), "{}", told(&done));
        let written = if output == "-" { done.stdout } else { fs::read(folder.0.join(output)).expect("the output") };
        assert!(written == capture, "the copy of {output} differs");
    }
    let planned = restage(&folder, &["plan", "scenario.toml"], &capture);
    let text = String::from_utf8_lossy(&planned.stdout);
    assert!(text.contains("-: 40,000 frames, 40,000 selected"), "it reads the pin and then the frames: {text}");
    assert_eq!(fs::read_dir(folder.0.join("temporary")).expect("the folder").count(), 0);
}

#[test]
fn an_output_that_can_not_be_written_is_named_and_leaves_nothing() {
    let folder = Folder::new();
    // The long one is written by a thread of its own.
    for count in [3, 400_000] {
        folder.file("in.pcap", &raw(0xa1b2_c3d4, count));
        scenario(&folder, "file = \"in.pcap\"");
        for (output, limit, why) in [
            ("/dev/full", "unlimited", "No space left on device"),
            ("out.pcap", "0", "File too large"),
            ("out.pcap.gz", "0", "File too large"),
        ] {
            let words = ["-c", "ulimit -f $1; shift; exec \"$@\"", "sh", limit, env!("CARGO_BIN_EXE_restage")];
            let mut limited = Command::new("sh");
            limited.args(words).args(["rewrite", "scenario.toml", "-o", output]).current_dir(&folder.0);
            let done = limited.env("NO_COLOR", "1").output().expect("sh runs");
            let text = told(&done);
            assert_eq!(done.status.code(), Some(4), "{output}: {text}");
            assert!(text.contains(&format!("error: can't write `{output}`")) && text.contains(why), "{output}: {text}");
            assert!(!text.contains("in.pcap"), "the capture is not at fault: {text}");
        }
    }
    assert_eq!(folder.names(), ["in.pcap", "scenario.toml"]);
    scenario(&folder, "file = \"in.pcap\"\nfilter = \"not tcp\"");
    let done = restage(&folder, &["rewrite", "scenario.toml", "-o", "out.pcap"], &[]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    assert!(fs::read(folder.0.join("out.pcap")).expect("the output") == raw(0xa1b2_c3d4, 400_000));
}

#[test]
fn a_file_as_standard_input_is_read_from_its_offset() {
    let folder = Folder::new();
    let capture = raw(0xa1b2_c3d4, 3);
    let file = folder.file("capture", &capture);
    scenario(&folder, "file = \"-\"");
    let mut command = command(&folder, &["rewrite", "scenario.toml", "-o", "-"]);
    let done = command.stdin(File::open(&file).expect("the capture")).output().expect("it runs");
    assert_eq!((done.status.code(), done.stdout), (Some(0), capture));
}

#[test]
fn a_pipe_by_name_is_read_as_often_as_needed() {
    let folder = Folder::new();
    let capture = raw(0xa1b2_c3d4, 3);
    let pipe = folder.0.join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
    scenario(&folder, "file = \"pipe\"");
    let child = command(&folder, &["rewrite", "scenario.toml", "-o", "-"]).stdin(Stdio::null()).spawn();
    write_to(&pipe, &capture);
    let done = child.expect("it starts").wait_with_output().expect("it ends");
    assert_eq!((done.status.code(), done.stdout), (Some(0), capture), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Opening a pipe waits for its reader.
fn write_to(pipe: &Path, bytes: &[u8]) {
    let mut pipe = File::options().write(true).open(pipe).expect("the pipe");
    pipe.write_all(bytes).expect("it is read");
}

#[test]
fn unusable_standard_input_is_refused_with_the_reason() {
    let folder = Folder::new();
    let capture = raw(0xa1b2_c3d4, 3);
    scenario(&folder, "file = \"-\"");
    let cut = restage(&folder, &["rewrite", "scenario.toml", "-o", "out.pcap"], &capture[..capture.len() - 1]);
    let text = restage(&folder, &["rewrite", "scenario.toml", "-o", "out.pcap"], b"no capture");
    let run = restage(&folder, &["run", "scenario.toml"], &capture);
    let mut all = String::new();
    for output in [&cut, &text] {
        writeln!(all, "status {:?}\n{}", output.status.code(), told(output)).expect("memory");
    }
    assert!(!folder.0.join("out.pcap").exists());
    assert_eq!(run.status.code(), Some(2));
    let story = String::from_utf8_lossy(&run.stdout);
    // The last paragraph says how long it took.
    let (story, _) = story.trim_end().rsplit_once("\n\n").expect("a summary");
    insta::assert_snapshot!(all + story);
}

/// Ethernet datagrams to port 53 behind these tags.
fn tagged(tags: &[&[u16]]) -> Vec<u8> {
    let mut file = LITTLE.pcap(0xa1b2_c3d4, 1);
    for tags in tags {
        let tags = tags.iter().flat_map(|tag| [0x81, 0, 0, tag.to_le_bytes()[0]]);
        let udp = [4, 0, 0, 53, 0, 8, 0, 0];
        let mut packet = datagram(0);
        packet[3] = 28;
        packet[9] = 17;
        packet.truncate(20);
        let frame: Vec<u8> = [2; 12].into_iter().chain(tags).chain([8, 0]).chain(packet).chain(udp).collect();
        let length = u32::try_from(frame.len()).expect("a short frame");
        file.extend(LITTLE.words(&[1, 0, length, length]));
        file.extend(frame);
    }
    file
}

#[test]
fn every_verb_refuses_an_empty_selection_and_names_the_key() {
    let folder = Folder::new();
    folder.file("tagged.pcap", &tagged(&[&[7], &[7, 9]]));
    folder.file("plain.pcap", &tagged(&[&[], &[]]));
    folder.file("empty.pcap", &LITTLE.pcap(0xa1b2_c3d4, 1));
    let mut all = String::new();
    for capture in [
        "file = \"tagged.pcap\"\nfilter = \"udp port 53\"",
        "file = \"plain.pcap\"\nfilter = \"tcp\"",
        "file = \"plain.pcap\"\nframes = \"3-\"",
        "file = \"plain.pcap\"\nframes = \"2\"\nfilter = \"tcp\"",
        "file = \"empty.pcap\"",
    ] {
        scenario(&folder, capture);
        let plan = restage(&folder, &["plan", "scenario.toml"], &[]);
        for output in ["out.pcap", "out.pcapng", "-"] {
            let done = restage(&folder, &["rewrite", "scenario.toml", "-o", output], &[]);
            assert_eq!((done.status.code(), done.stdout.len(), told(&done)), (Some(2), 0, told(&plan)), "{capture}");
        }
        let run = restage(&folder, &["run", "scenario.toml"], &[]);
        assert_eq!((plan.status.code(), run.status.code()), (Some(2), Some(2)), "{capture}");
        assert!(String::from_utf8_lossy(&run.stdout).contains(told(&plan).trim()), "{capture}");
        writeln!(all, "{}", told(&plan)).expect("memory");
    }
    assert!(!folder.names().iter().any(|name| name.contains("out")), "{:?}", folder.names());
    insta::assert_snapshot!(all);
}

#[test]
fn a_skipped_frame_is_counted_once_in_a_file_and_in_a_stream() {
    let folder = Folder::new();
    let mut capture = tagged(&[&[], &[], &[]]);
    let length = (capture.len() - 24) / 3 - 16;
    let last = capture[capture.len() - length - 16..].to_vec();
    capture.extend(&last[..12]);
    capture.extend((u32::try_from(length).expect("short") + 1).to_le_bytes());
    capture.extend(&last[16..]);
    folder.file("cut.pcap", &capture);
    scenario(&folder, "file = \"cut.pcap\"\ntruncated = \"skip\"");
    for output in ["out.pcap", "-"] {
        let done = restage(&folder, &["rewrite", "scenario.toml", "-o", output], &[]);
        assert_eq!(told(&done), "3 of 4 frames written, 1 skipped: cut by the snaplen\n", "{output}");
    }
}

#[test]
fn copies_without_addresses_of_their_own_are_refused_and_leave_no_file() {
    let folder = Folder::new();
    folder.file("plain.pcap", &tagged(&[&[]]));
    let rewrite = "[rewrite]\nallow-unused = true\n[rewrite.source]\nip = { \"0.0.0.0/0\" = \"198.18.0.1/32\" }";
    scenario(&folder, &format!("file = \"plain.pcap\"\n{rewrite}\n[rewrite.flows]\ncopies = 2"));
    let plan = restage(&folder, &["plan", "scenario.toml"], &[]);
    for output in ["out.pcap", "-"] {
        let done = restage(&folder, &["rewrite", "scenario.toml", "-o", output], &[]);
        assert_eq!((done.status.code(), done.stdout.len(), told(&done)), (Some(2), 0, told(&plan)), "{output}");
    }
    assert!(told(&plan).contains("a copy would have the address of the source `198.18.0.1`"), "{}", told(&plan));
    assert!(!folder.names().iter().any(|name| name.contains("out")), "{:?}", folder.names());
}

#[test]
fn the_filter_that_is_proposed_for_tagged_frames_takes_them() {
    let folder = Folder::new();
    folder.file("mixed.pcap", &tagged(&[&[], &[7], &[7, 9]]));
    scenario(&folder, "file = \"mixed.pcap\"\nfilter = \"udp port 53\"");
    let done = restage(&folder, &["rewrite", "scenario.toml", "-o", "out.pcap"], &[]);
    assert_eq!(done.status.code(), Some(0));
    insta::assert_snapshot!(told(&done));
    let said = told(&done);
    let (_, proposed) = said.split_once("fix: `").expect("a remedy");
    let (proposed, _) = proposed.split_once('`').expect("it ends");
    scenario(&folder, &format!("file = \"mixed.pcap\"\n{proposed}"));
    let done = restage(&folder, &["rewrite", "scenario.toml", "-o", "out.pcap"], &[]);
    assert_eq!((done.status.code(), told(&done).as_str()), (Some(0), "3 of 3 frames written\n"));
    let inspected = restage(&folder, &["inspect", "mixed.pcap"], &[]);
    assert!(told(&inspected).contains("or (vlan and ("), "{}", told(&inspected));
}

#[test]
fn a_swapped_scenario_and_capture_are_refused_with_the_right_command() {
    let folder = Folder::new();
    folder.file("plain.pcap", &tagged(&[&[]]));
    folder.file("packed.pcap.gz", b"\x1f\x8b\x08\0\0\0\0\0");
    folder.file("ascii.pcapng", b"\x0a\x0d\x0d\x0a and text");
    folder.file("big.pcap", &[&tagged(&[&[]])[..], &vec![0; 17 << 20]].concat());
    scenario(&folder, "file = \"plain.pcap\"");
    let mut all = String::new();
    for arguments in [
        &["plan", "plain.pcap"][..],
        &["plan", "big.pcap"],
        &["check", "packed.pcap.gz"],
        &["rewrite", "ascii.pcapng", "-o", "out.pcap"],
        &["inspect", "scenario.toml"],
    ] {
        let done = restage(&folder, arguments, &[]);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        writeln!(all, "$ restage {}\n{}", arguments.join(" "), told(&done)).expect("memory");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn check_reports_the_filter_the_captures_and_the_files_of_every_scenario_at_once() {
    let folder = Folder::new();
    let scenario = |name: &str, text: &str| folder.file(name, format!("format = 1\n[capture]\n{text}").as_bytes());
    let ruleset = "[lab]\nruleset = { file = \"gone.nft\" }\n";
    scenario("a.toml", &format!("files = [\"gone.pcap\", \"lost.pcap\"]\nfilter = \"udp prot 53\"\n{ruleset}"));
    scenario("b.toml", "file = \"a.toml\"\nfilter = \"(udp\"\n");
    folder.file("plain.pcap", &tagged(&[&[]]));
    scenario("c.toml", "file = \"plain.pcap\"\n");
    let program = "[receiver]\ncommand = [\"no-such-collector\"]\n";
    scenario("d.toml", &format!("file = \"plain.pcap\"\n{program}[expect]\nrewritten = \"gone.snap\"\n"));
    let output = "[[expect.output]]\nfrom = \"stdout\"\nequals-file = \"gone.txt\"\n";
    scenario("e.toml", &format!("file = \"plain.pcap\"\n{program}{output}"));
    let done = restage(&folder, &["check", "."], &[]);
    assert_eq!(done.status.code(), Some(2));
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    let is_what = |line: &&str| line.starts_with("error: ") || line.starts_with("warning: ");
    let whats: Vec<&str> = told.lines().filter(is_what).collect();
    insta::assert_snapshot!(format!("{}\n{}", String::from_utf8_lossy(&done.stdout), whats.join("\n")));
}

fn sha256(path: &Path) -> String {
    let said = Command::new("sha256sum").arg(path).output().expect("sha256sum runs").stdout;
    String::from_utf8_lossy(&said).split_whitespace().next().expect("a digest").to_owned()
}
