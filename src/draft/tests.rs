//! Drafts of captures: those of the scenarios, as reviewed, and conversations made here.

use std::path::Path;

use super::direction::Direction;
use super::{Concession, Wanted, of_capture};
use crate::capture::Reader;
use crate::inspect::{Conversation, Inspection, Side, Tally, inspect};

fn inspected(name: &str) -> Inspection {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/captures").join(name);
    inspect(&mut Reader::open(&path).expect("a capture")).0
}

#[test]
fn every_peculiarity_of_a_capture_has_its_key_and_says_why() {
    for name in [
        "appflow.pcapng",
        "dns.pcap",
        "dns-over-tcp.pcap",
        "syslog-cut-by-snaplen.pcap",
        "syslog-in-a-vlan.pcap",
        "syslog-in-fragments.pcap",
        "syslog-in-jumbo-frames.pcap",
        "syslog-to-a-group.pcap",
        "syslog-with-offloaded-checksums.pcap",
    ] {
        let draft = of_capture(&inspected(name), Path::new(name), &Wanted::default());
        insta::assert_snapshot!(name, draft.text(true));
    }
}

#[test]
fn what_the_command_line_says_goes_before_what_the_capture_suggests() {
    let command = ["dnsmasq", "-k", "--log-facility={work}/\"log\""].map(str::to_owned);
    let wanted = Wanted {
        command: &command,
        filter: Some("udp dst port 53 and ip"),
        rate: Some("topspeed"),
        sniffer: false,
        replies: true,
        concessions: &[],
    };
    insta::assert_snapshot!(of_capture(&inspected("dns.pcap"), Path::new("a \"b\".pcap"), &wanted).text(false));
}

#[test]
fn what_a_capture_can_not_be_replayed_with_is_left_out() {
    let concessions = [Concession::Filter, Concession::OtherFrames, Concession::Mac];
    let wanted = Wanted { concessions: &concessions, ..Wanted::default() };
    insta::assert_snapshot!(of_capture(&inspected("dns.pcap"), Path::new("dns.pcap"), &wanted).text(true));
}

#[test]
fn a_sniffer_gets_all_frames() {
    let command = ["tcpdump", "-i", "{receiver}"].map(str::to_owned);
    let wanted = Wanted { command: &command, sniffer: true, ..Wanted::default() };
    insta::assert_snapshot!(of_capture(&inspected("dns.pcap"), Path::new("dns.pcap"), &wanted).text(true));
}

/// UDP conversations as (client, server, frames of the client, frames of the server).
fn direction(conversations: &[(&str, &str, u64, u64)]) -> Direction {
    let side = |text: &str| {
        let (address, port) = text.rsplit_once(':').expect("a port");
        Side { address: address.parse().expect("an address"), port: port.parse().ok() }
    };
    let tally = |frames| Tally { frames, bytes: 100 * frames };
    let mut inspection = inspected("dns.pcap");
    inspection.frames = conversations.iter().map(|(_, _, to_it, from_it)| to_it + from_it).sum();
    inspection.conversations = conversations
        .iter()
        .map(|(client, server, to_it, from_it)| Conversation {
            protocol: "UDP".to_owned(),
            client: side(client),
            server: side(server),
            from_client: tally(*to_it),
            from_server: tally(*from_it),
            vlan_tags: 0,
            has_fragments: false,
        })
        .collect();
    Direction::of(&inspection, false)
}

#[test]
fn the_server_is_who_has_one_port_for_all() {
    // The capture began in the middle: answers come first.
    let found = direction(&[
        ("10.0.0.53:53", "10.0.0.1:40001", 5, 4),
        ("10.0.0.53:53", "10.0.0.1:40002", 3, 3),
        ("10.0.0.2:40003", "10.0.0.53:53", 1, 1),
    ]);
    assert_eq!((found.filter.as_deref(), found.frames), (Some("udp dst port 53"), 8));
    // Nothing but answers was captured: their receiver is the receiver.
    let found = direction(&[("10.0.0.53:53", "10.0.0.1:40001", 5, 0)]);
    assert_eq!((found.filter, found.ports), (None, vec![40001]));
    // A port of servers against one of users.
    let found = direction(&[("10.0.0.53:161", "10.0.0.1:40001", 5, 5)]);
    assert_eq!(found.ports, [161]);
}

#[test]
fn a_host_is_not_on_both_sides() {
    // Both ports are 5060, so the port alone doesn't tell the direction.
    let found = direction(&[("10.0.0.1:5060", "10.0.0.2:5060", 9, 9), ("10.0.0.2:5060", "10.0.0.3:5060", 4, 0)]);
    let filter = "udp dst port 5060 and dst host 10.0.0.2 and not src host 10.0.0.2";
    assert_eq!((found.filter.as_deref(), found.frames), (Some(filter), 9));
    // The busier conversation decides.
    let found = direction(&[("10.0.0.1:40001", "10.0.0.2:53", 9, 0), ("10.0.0.2:40002", "10.0.0.1:514", 4, 0)]);
    assert_eq!((found.ports, found.frames), (vec![53], 9));
}
