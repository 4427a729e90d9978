//! Addresses that what runs in the namespace uses are left alone. Start at [`trials`].

use std::fs;

use libtest_mimic::Trial;

use crate::common::small::{capture, datagram};
use crate::common::{User, run};
use crate::place::{OWN, Place, THEIRS};
use crate::trial;

/// What is in use, why, and how it is made so.
const USED: &[(&str, &str, &str)] = &[
    ("its own address", OWN, "it is an address of the receiver's own"),
    ("its gateway", THEIRS, "it is the gateway of the route to 0.0.0.0/0"),
    ("a neighbour", "10.99.0.77", "it is in 10.99.0.0/24, whose hosts eth0 reaches directly"),
    ("a host with an entry of its own", "203.0.113.9", "it is in the neighbour table of eth0"),
    ("a peer", "203.0.113.10", "a socket there is connected to it"),
    ("a host behind a strict filter", "10.1.2.3", "eth0 has strict reverse path filtering"),
];

pub(crate) fn trials() -> Vec<Trial> {
    USED.iter()
        .map(|(what, address, why)| trial(format!("{what} is not taken away"), move || is_left_alone(address, why)))
        .collect()
}

fn is_left_alone(address: &str, why: &str) {
    let user = User::Caller;
    let mut place = Place::new(user);
    place.start("reads", 4739);
    place.shell(
        "ip neigh add 203.0.113.9 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
         echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter",
    );
    let mut peer = place.inside("bash").args(["-c", CONNECTED]).spawn().expect("bash runs");
    crate::place::await_that("a connected socket", || place.shell("cat /proc/self/net/udp").contains("0A7100CB:"));
    let before = place.state();
    let octets: Vec<u8> = address.split('.').map(|octet| octet.parse().expect("a number")).collect();
    let address: [u8; 4] = octets.try_into().expect("an address");
    let is_source = capture(&[datagram(address, [192, 0, 2, 20], 4739, b"x")], 1);
    let is_destination = capture(&[datagram([192, 0, 2, 1], address, 4739, b"x")], 1);
    for (frames, side) in [(is_source, "source"), (is_destination, "destination")] {
        // Its own address is where frames go anyway, and a filter is about sources.
        let is_no_matter = side == "destination" && (why.contains("own") || why.contains("strict"));
        fs::write(place.folder.join("in.pcap"), frames).expect("it can be written");
        let path = place.folder.join("s.toml");
        let text = format!(
            "format = 1\n[capture]\nfile = \"in.pcap\"\n[receiver]\nat = \"pid:{}\"\n[expect]\narrived = \"all\"\n",
            place.pid()
        );
        fs::write(&path, text).expect("it can be written");
        let ran = run(user, [&path]);
        assert_eq!(ran.status, if is_no_matter { 0 } else { 3 }, "{side}: {}", ran.text);
        let said = ran.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let fix = format!("[rewrite.{side}]");
        assert!(is_no_matter || said.contains(why) && said.contains(&fix), "{side}: {}", ran.text);
        assert_eq!(place.state(), before, "{side}");
    }
    peer.kill().expect("it runs");
    peer.wait().expect("it ends");
}

/// A process with a connected socket.
const CONNECTED: &str = "exec 3<>/dev/udp/203.0.113.10/9; exec sleep infinity";
