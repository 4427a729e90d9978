//! `restage capture`, on the loopback interface of a network namespace that the test makes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::common::{User, both, fresh_folder, is_root, restage};

/// A capture that runs in a namespace of its own.
struct Recorder(Child, String);

impl Recorder {
    /// Starts it, and waits until it captures; `None` where that takes root.
    #[expect(clippy::print_stdout, reason = "says why it skips")]
    fn start(folder: &Path, arguments: &str) -> Option<Self> {
        if !is_root() {
            println!("skipped: making a namespace with `unshare -n` takes root");
            return None;
        }
        let script = format!("ip link set lo up && exec {} capture -i lo {arguments}", env!("CARGO_BIN_EXE_restage"));
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", &script])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut line = String::new();
        // Unbuffered after this line: the rest is read at the end.
        let stderr = child.stderr.as_mut().expect("it is piped");
        BufReader::with_capacity(1, stderr).read_line(&mut line).expect("it says that it captures");
        assert!(line.starts_with("capturing on lo"), "{line}");
        Some(Self(child, line))
    }

    /// Sends datagrams to these ports in its namespace.
    fn send(&self, ports: &[u16]) {
        let lines: Vec<_> = ports.iter().map(|port| format!("echo datagram >/dev/udp/127.0.0.1/{port}")).collect();
        let pid = self.0.id().to_string();
        let sent = Command::new("nsenter").args(["-t", &pid, "-n", "bash", "-c", &lines.join("; ")]).output();
        let sent = sent.expect("nsenter runs");
        assert!(sent.status.success(), "{}", both(&sent));
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// What it printed until it ended by itself, or after a signal.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.0.stderr.take().expect("it is piped").read_to_string(&mut rest).expect("it is UTF-8");
        (self.0.wait().expect("it ends").code(), self.1 + &rest)
    }
}

fn output(folder: &Path, arguments: &[&str]) -> Output {
    restage(User::Caller).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("restage runs")
}

fn inspected(folder: &Path, file: &str) -> Value {
    let inspected = output(folder, &["inspect", file, "--json"]);
    assert_eq!(inspected.status.code(), Some(0), "{}", both(&inspected));
    serde_json::from_slice(&inspected.stdout).expect("JSON")
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name().into()).collect();
    names.sort();
    names
}

#[test]
fn a_capture_ends_after_its_count_and_becomes_a_scenario() {
    let folder = fresh_folder("capture");
    let Some(recorder) = Recorder::start(&folder, "-c 3 -o dns.pcap --init dns.toml udp dst port 9053") else { return };
    recorder.send(&[9053, 9054, 9053, 9053]);
    let (status, said) = recorder.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("\n3 frames in ") && said.contains(": `dns.pcap`\ndns.toml is written;"), "{said}");
    let found = inspected(&folder, "dns.pcap");
    assert_eq!(found["frames"], 3, "{found:#}");
    // The magic number of pcap with nanoseconds.
    let bytes = fs::read(folder.join("dns.pcap")).expect("it can be read");
    assert_eq!(bytes[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    // Captured on loopback: the scenario maps its addresses, and runs.
    let run = output(&folder, &["run", "dns.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", both(&run));
}

#[test]
fn a_signal_ends_a_capture_with_a_whole_file() {
    for signal in ["-INT", "-TERM"] {
        let folder = fresh_folder("capture");
        let Some(recorder) = Recorder::start(&folder, "--snaplen 40 udp") else { return };
        recorder.send(&[9001, 9002]);
        recorder.signal(signal);
        let (status, said) = recorder.end();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("\n2 frames in "), "{said}");
        assert_eq!(names(&folder), ["lo.pcapng"].map(PathBuf::from));
        let found = inspected(&folder, "lo.pcapng");
        assert_eq!((&found["frames"], &found["truncated"]["frames"]), (&2.into(), &2.into()), "{found:#}");
        let again = output(&folder, &["capture", "-i", "lo"]);
        assert_eq!(again.status.code(), Some(2), "{}", both(&again));
    }
}

#[test]
fn a_ring_keeps_the_newest_files() {
    let folder = fresh_folder("capture");
    let Some(recorder) = Recorder::start(&folder, "-o ring.pcap --file-size 150B --ring-files 2 -c 7 udp") else {
        return;
    };
    // A frame of 51 bytes takes 67: two of them, and the header of 24, fit into a file not quite.
    recorder.send(&[9001, 9002, 9003, 9004, 9005, 9006, 9007]);
    let (status, said) = recorder.end();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(names(&folder), ["ring-00006.pcap", "ring-00007.pcap"].map(PathBuf::from), "{said}");
    assert_eq!(inspected(&folder, "ring-00007.pcap")["frames"], 1);
}

#[test]
fn a_duration_ends_a_stream() {
    let folder = fresh_folder("capture");
    let Some(mut recorder) = Recorder::start(&folder, "-o - --duration 700ms udp") else { return };
    recorder.send(&[9001]);
    let mut bytes = Vec::new();
    recorder.0.stdout.take().expect("it is piped").read_to_end(&mut bytes).expect("it can be read");
    let (status, said) = recorder.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(names(&folder).is_empty());
    fs::write(folder.join("stream"), &bytes).expect("it can be written");
    let found = inspected(&folder, "stream");
    assert_eq!(found["frames"], 1, "{found:#}");
    assert_eq!(bytes[..4], 0x0a0d_0d0a_u32.to_le_bytes(), "pcapng");
}

#[test]
fn what_can_not_be_captured_says_why() {
    let folder = fresh_folder("capture");
    let refused = |arguments: &[&str], status, part: &str| {
        let arguments = [&["capture", "-c", "1", "--duration", "1ms"], arguments].concat();
        let refused = output(&folder, &arguments);
        assert_eq!(refused.status.code(), Some(status), "{}", both(&refused));
        assert!(both(&refused).contains(part), "{}", both(&refused));
    };
    refused(&["-i", "nowhere0"], 2, "there is no interface `nowhere0`");
    refused(&["-i", "lo", "-o", "a.pcap.gz"], 2, "compress it afterwards");
    refused(&["-i", "lo", "-o", "-", "--init", "a.toml"], 2, "standard output is one stream");
    refused(&["-i", "lo", "--ring-files", "3"], 2, "--file-size");
    refused(&["-i", "lo", "--file-size", "3"], 2, "the unit is missing");
    if is_root() {
        let denied = restage(User::Ordinary).args(["capture", "-i", "lo", "-o", "/tmp/none.pcap"]).output();
        let denied = denied.expect("restage runs");
        assert_eq!(denied.status.code(), Some(3), "{}", both(&denied));
        assert!(both(&denied).contains("CAP_NET_RAW") && both(&denied).contains("setcap"), "{}", both(&denied));
        refused(&["-i", "lo", "udp", "dst", "prot", "53"], 2, "did you mean the word `port`?");
    }
    assert!(names(&folder).is_empty());
}
