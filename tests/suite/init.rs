//! `restage init` and `restage try`, as users call them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::small::{capture, datagrams};
use crate::common::{User, both, fresh_folder, is_root, restage, root, users};

fn output(user: User, folder: &Path, arguments: &[&str]) -> Output {
    restage(user).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("restage runs")
}

/// A folder with `dns.pcap`, queries and answers.
fn folder() -> PathBuf {
    let folder = fresh_folder("init");
    fs::copy(root().join("scenarios/captures/dns.pcap"), folder.join("dns.pcap")).expect("it can be copied");
    folder
}

#[test]
fn a_capture_is_tried_without_a_scenario() {
    for user in users() {
        let folder = folder();
        let tried = output(*user, &folder, &["try", "dns.pcap", "--rate", "2000 pps"]);
        assert_eq!(tried.status.code(), Some(0), "{}", both(&tried));
        assert!(both(&tried).contains("40 sent"), "{}", both(&tried));
        // The application reads none of it.
        let tried = output(*user, &folder, &["try", "dns.pcap", "--", "sleep", "60"]);
        assert_eq!(tried.status.code(), Some(3), "{}", both(&tried));
        assert!(both(&tried).contains("never listened on `udp:53`"), "{}", both(&tried));
    }
}

#[test]
fn a_scenario_is_written_that_passes() {
    for user in users() {
        let folder = folder();
        // Only the owner of the folder can write there.
        if is_root() && *user != User::Caller {
            continue;
        }
        fs::create_dir_all(folder.join("scenarios")).expect("a folder");
        let file = "scenarios/first.toml";
        let written = output(*user, &folder, &["init", "dns.pcap", "-o", file, "--run"]);
        assert_eq!(written.status.code(), Some(0), "{}", both(&written));
        let text = fs::read_to_string(folder.join(file)).expect("it was written");
        assert!(text.contains("file   = \"../dns.pcap\""), "{text}");
        let run = output(*user, &folder, &["run", file]);
        assert_eq!(run.status.code(), Some(0), "{}", both(&run));
        // It is there now, and stays.
        let again = output(*user, &folder, &["init", "dns.pcap", "-o", file]);
        assert_eq!(again.status.code(), Some(2), "{}", both(&again));
        assert!(both(&again).contains("is there already"), "{}", both(&again));
        assert_eq!(fs::read_to_string(folder.join(file)).expect("it is there"), text);
    }
}

#[test]
fn what_can_not_be_a_scenario_is_refused() {
    let folder = folder();
    fs::write(folder.join("text.pcap"), "no packets").expect("it can be written");
    let whole = capture(&datagrams(2), 10);
    fs::write(folder.join("cut.pcap"), &whole[..whole.len() - 3]).expect("it can be written");
    for (arguments, message) in [
        (&["init", "text.pcap"][..], "is not a capture"),
        (&["init", "cut.pcap"], "is damaged at frame 2"),
        (&["init", "missing.pcap"], "missing.pcap"),
        (&["init", "-"], "can be read only once"),
        (&["try", "/dev/stdin"], "can be read only once"),
        (&["init", "dns.pcap", "-o", "dns.pcap"], "is there already"),
        (&["init", "dns.pcap", "--rate", "fast"], "pacing.rate"),
        (&["try", "dns.pcap", "--filter", "udp dst prot 53"], "filter"),
        (&["try", "dns.pcap", "nfcapd"], "nfcapd"),
    ] {
        let refused = output(User::Caller, &folder, arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", both(&refused));
        assert!(both(&refused).contains(message), "{arguments:?}: {}", both(&refused));
    }
}
