//! `restage init` and `restage try`, as users call them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::small::{capture, datagram, datagrams};
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

#[test]
fn a_capture_that_no_filter_fits_is_replayed_whole() {
    // Broadcom's tag is behind the MACs, and libpcap has no filter for its link type.
    let tagged = |mut frame: Vec<u8>| {
        frame.splice(12..12, [0; 4]);
        frame
    };
    let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let frames = [tagged(datagram(one, other, 53, b"a")), tagged(datagram(other, one, 514, b"b"))];
    let with_link_type = |link: u8, high: u8| {
        let mut file = capture(&frames, 10);
        file[20..22].copy_from_slice(&[link, high]);
        file
    };
    let folder = folder();
    fs::write(folder.join("tagged.pcap"), with_link_type(25, 1)).expect("it can be written");
    let tried = output(User::Caller, &folder, &["init", "tagged.pcap"]);
    assert_eq!(tried.status.code(), Some(0), "{}", both(&tried));
    assert!(both(&tried).contains("All frames are replayed"), "{}", both(&tried));
    for user in users() {
        let tried = output(*user, &folder, &["try", "tagged.pcap"]);
        assert_eq!(tried.status.code(), Some(0), "{}", both(&tried));
    }
    // IEEE 802.15.4 can't go over Ethernet at all: the scenario is written, and what is wrong with it is said.
    fs::write(folder.join("zigbee.pcap"), with_link_type(195, 0)).expect("it can be written");
    let written = output(User::Caller, &folder, &["init", "zigbee.pcap", "-o", "zigbee.toml"]);
    assert_eq!(written.status.code(), Some(2), "{}", both(&written));
    assert!(both(&written).contains("can't be sent over Ethernet"), "{}", both(&written));
    assert!(folder.join("zigbee.toml").exists());
}
