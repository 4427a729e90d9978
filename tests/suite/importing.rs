//! `restage import`, as users call it: what it writes does what the commands did.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::{User, both, fresh_folder, is_root, restage, root, users};

fn output(user: User, folder: &Path, arguments: &[&str]) -> Output {
    restage(user).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("restage runs")
}

/// A folder with these captures.
fn folder(captures: &[&str]) -> PathBuf {
    let folder = fresh_folder("import");
    for name in captures {
        fs::copy(root().join("scenarios/captures").join(name), folder.join(name)).expect("it can be copied");
    }
    folder
}

#[test]
fn an_imported_replay_runs() {
    let commands = "tcpprep -a client -x 'F:udp dst port 53' -i dns.pcap -o cache && \
                    tcprewrite --portmap=53:5353 --dstipmap=10.44.20.53:192.0.2.20 -i dns.pcap -o new.pcap && \
                    tcpreplay -c cache -i eth0 -I eth1 --topspeed --loop=0 --limit=100 new.pcap";
    for user in users() {
        let folder = folder(&["dns.pcap"]);
        let imported = output(*user, &folder, &["import", commands]);
        assert_eq!(imported.status.code(), Some(0), "{}", both(&imported));
        fs::write(folder.join("s.toml"), &imported.stdout).expect("it can be written");
        let run = output(*user, &folder, &["run", "s.toml"]);
        assert_eq!(run.status.code(), Some(0), "{}", both(&run));
        assert!(both(&run).contains("100 sent"), "{}", both(&run));
    }
}

#[test]
fn a_script_is_read_from_standard_input_and_nothing_is_overwritten() {
    let folder = folder(&["dns.pcap"]);
    fs::create_dir(folder.join("below")).expect("a new folder");
    let write = || {
        let mut child = restage(User::Caller)
            .args(["import", "-", "-o", "below/s.toml"])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("restage runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may have ended before it reads.
        let _ended = stdin.write_all(b"#!/bin/sh\nIN=dns.pcap\nsudo tcpreplay -i eth0 \"$IN\" # all of it\n");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    let written = write();
    assert_eq!(written.status.code(), Some(0), "{}", both(&written));
    let text = fs::read_to_string(folder.join("below/s.toml")).expect("it was written");
    assert!(text.contains("file = \"../dns.pcap\""), "{text}");
    let again = write();
    assert_eq!(again.status.code(), Some(2), "{}", both(&again));
    assert!(both(&again).contains("is there already"), "{}", both(&again));
    assert_eq!(fs::read_to_string(folder.join("below/s.toml")).expect("it is there"), text);
}

/// The frames of a pcap file in this machine's byte order.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).expect("a capture");
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        frames.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

#[test]
fn a_rewritten_capture_is_that_of_the_old_commands() {
    if Command::new("tcprewrite").arg("--version").output().is_err() {
        println!("skipped: tcprewrite is not installed");
        return;
    }
    let two_macs = "--enet-dmac=02:00:00:00:00:01,02:00:00:00:00:02 --enet-smac=02:00:00:00:00:02,02:00:00:00:00:01";
    let cases = [
        ("dns-over-tcp.pcap", "--pnat=10.44.0.0/16:192.0.2.0/24"),
        ("dns-over-tcp.pcap", "--pnat=10.44.20.0/24:172.16.0.0/12,10.0.0.0/8:192.0.2.1"),
        ("dns-over-tcp.pcap", "--srcipmap=10.44.20.1:192.0.2.1 --dstipmap=0.0.0.0/0:192.0.2.20"),
        ("dns-over-tcp.pcap", "--portmap=53:5353,30000-65535:1025"),
        ("dns-over-tcp.pcap", "--enet-dmac=02:00:00:00:00:01 --ttl=7 --tos=184 -C"),
        ("dns-over-tcp.pcap", "--ttl=+3 --enet-subsmac=00:16:3e:44:20:01,02:00:00:00:00:09 -C"),
        ("dns-over-tcp.pcap", "--enet-vlan=add --enet-vlan-tag=100 --enet-vlan-pri=5 --enet-vlan-cfi=1"),
        ("syslog-in-a-vlan.pcap", "--enet-vlan=del"),
        ("dns-over-tcp.pcap", "-c cache --endpoints=192.0.2.1:192.0.2.20"),
        ("dns-over-tcp.pcap", &format!("-c cache {two_macs}")),
        ("syslog-over-ipv6.pcap", "--tclass=184 --flowlabel=77 --ttl=9"),
        ("syslog-with-offloaded-checksums.pcap", "--fixcsum"),
    ];
    for (name, options) in cases {
        let folder = folder(&[name]);
        let prep = format!("tcpprep -a client -i {name} -o cache");
        let command = format!("tcprewrite {options} -i {name} -o old.pcap");
        let commands = if options.contains("-c cache") { format!("{prep} && {command}") } else { command };
        let done = Command::new("sh").args(["-c", &commands]).current_dir(&folder).output().expect("sh runs");
        assert!(done.status.success(), "{commands}: {}", both(&done));
        for arguments in [&["import", &commands, "-o", "s.toml"][..], &["rewrite", "s.toml", "-o", "new.pcap"]] {
            let done = output(User::Caller, &folder, arguments);
            assert_eq!(done.status.code(), Some(0), "{commands}: {}", both(&done));
        }
        let (old, new) = (frames(&folder.join("old.pcap")), frames(&folder.join("new.pcap")));
        assert_eq!(old.len(), new.len(), "{commands}");
        // tcprewrite 4.4 gives every IPv6 frame multicast MAC addresses.
        let begin = if name.contains("ipv6") { 12 } else { 0 };
        for (number, (old, new)) in old.iter().zip(&new).enumerate() {
            let (old, new) = (&old[begin..], &new[begin..]);
            assert!(old == new, "{commands}: frame {} was\n{old:02x?}\nand is\n{new:02x?}", number + 1);
        }
    }
}

#[test]
fn an_ordinary_user_imports_as_root_does() {
    if !is_root() {
        println!("skipped: there is one user");
        return;
    }
    let made = |user| output(user, &root().join("docs"), &["import", "tcpreplay -i eth0 --mbps=10 a.pcap"]);
    assert_eq!(made(User::Caller).stdout, made(User::Ordinary).stdout);
}
