//! Who asks and who answers, protocol by protocol; and which answers belong to a question.

#![expect(clippy::indexing_slicing, reason = "messages that the tests make themselves")]

use std::net::{IpAddr, Ipv4Addr};

use super::{Answers, Exchange, Role, Udp, role};
use crate::packet::dns;

fn host(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn role_of(from: u16, to: u16, payload: &[u8]) -> Role {
    role(&Udp { from: (host(1), from), to: (host(2), to), payload, is_whole: true })
}

fn asks(id: &[u8]) -> Role {
    Role::Asks(id.to_vec())
}

fn answers(id: &[u8]) -> Role {
    Role::Answers(id.to_vec())
}

/// A query for the A record of `a.b`, or the answer to it.
fn query(flags: u8) -> Vec<u8> {
    [&[7, 9, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x01b\0\0\x01\0\x01"].concat()
}

/// The answer with this time to live and these last bytes of two addresses.
fn response(ttl: u8, hosts: [u8; 2]) -> Vec<u8> {
    let mut message = query(0x84);
    message[7] = 2;
    for host in hosts {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, host]);
    }
    message
}

fn dhcp(kind: u8) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[4..8].copy_from_slice(&[1, 2, 3, 4]);
    message.extend([0, 12, 1, b'x', 53, 1, kind, 255]);
    message
}

fn ntp(mode: u8) -> Vec<u8> {
    let mut message = vec![0; 48];
    message[0] = 0x20 | mode;
    message[24..32].fill(5);
    message[40..48].fill(6);
    message
}

/// A message of version 2 with a PDU of this tag and the identifier 9.
fn snmp(tag: u8) -> Vec<u8> {
    [&[0x30, 15, 2, 1, 1, 4, 1, b'c', tag, 7, 2, 1, 9, 2, 0, 2, 0][..]].concat()
}

/// A message of version 3 with the identifier 9.
fn snmp3(flags: u8) -> Vec<u8> {
    vec![0x30, 16, 2, 1, 3, 0x30, 11, 2, 1, 9, 2, 1, 100, 4, 1, flags, 2, 0]
}

#[test]
fn every_protocol_says_who_asks_and_who_answers() {
    let radius = |code: u8| [&[code, 77, 0, 20][..], &[0; 16]].concat();
    let sip = |first: &str| format!("{first}\r\ni: x@y\r\nCSeq:  1   INVITE\r\n\r\n").into_bytes();
    let sip_id = b"x@y\n1 INVITE";
    for (from, to, payload, expected) in [
        (4000, 53, query(1), asks(&[7, 9])),
        (53, 4000, query(0x81), answers(&[7, 9])),
        (4000, 53, vec![7; 5], Role::Unknown),
        // On another port a whole message is known all the same, and nothing else is.
        (4000, 5353, query(1), asks(&[7, 9])),
        (4000, 5353, query(1)[..15].to_vec(), Role::Unknown),
        (4000, 5353, [query(1), vec![0]].concat(), Role::Unknown),
        (5353, 4000, response(5, [1, 2]), answers(&[7, 9])),
        (68, 67, dhcp(1), asks(&[1, 2, 3, 4, 0])),
        (67, 68, dhcp(2), answers(&[1, 2, 3, 4, 0])),
        (68, 67, dhcp(3), asks(&[1, 2, 3, 4, 1])),
        (67, 68, dhcp(6), answers(&[1, 2, 3, 4, 1])),
        (68, 67, dhcp(7), Role::Neither),
        (68, 67, vec![0; 241], Role::Unknown),
        (546, 547, vec![1, 9, 9, 9, 0], asks(&[9, 9, 9])),
        (547, 546, vec![7, 9, 9, 9, 0], answers(&[9, 9, 9])),
        (123, 123, ntp(3), asks(&[6; 8])),
        (123, 123, ntp(4), answers(&[5; 8])),
        (123, 123, ntp(5), Role::Neither),
        (4000, 161, snmp(0xa0), asks(&[9])),
        (4000, 162, snmp(0xa6), asks(&[9])),
        (4000, 162, snmp(0xa7), Role::Neither),
        (161, 4000, snmp(0xa2), answers(&[9])),
        (4000, 161, snmp3(7), asks(&[9])),
        (161, 4000, snmp3(3), answers(&[9])),
        (4000, 161, vec![0x30, 0x84, 0xff], Role::Unknown),
        (4000, 1812, radius(1), asks(&[77])),
        (1813, 4000, radius(5), answers(&[77])),
        (4000, 1812, vec![1, 77], Role::Unknown),
        (5060, 5060, sip("INVITE sip:a SIP/2.0"), asks(sip_id)),
        (5060, 5060, sip("SIP/2.0 200 OK"), answers(sip_id)),
        (5060, 5060, sip("SIP/2.0 100 Trying"), Role::Neither),
        (5060, 5060, sip("ACK sip:a SIP/2.0"), Role::Neither),
        (5060, 5060, b"keep-alive".to_vec(), Role::Unknown),
        (4000, 4739, vec![0, 10, 0, 16], Role::Unknown),
    ] {
        assert_eq!(role_of(from, to, &payload), expected, "{from} to {to}: {payload:?}");
    }
}

#[test]
fn an_answer_belongs_to_one_question() {
    let exchange = |asker: (u8, u16), asked: (u8, u16), id: u8| Exchange {
        asker: (host(asker.0), asker.1),
        asked: (host(asked.0), asked.1),
        id: vec![id],
    };
    let mut all = Answers::default();
    let one = exchange((1, 4000), (2, 53), 7);
    all.add(one.clone(), None);
    all.add(one.clone(), Some((b"x", true)));
    all.add_error(exchange((1, 4000), (2, 53), 8));
    let of = |question: &Exchange, to_group| {
        let came = all.to(question, to_group);
        (came.answers, came.errors, came.payloads.len())
    };
    assert_eq!(of(&one, false), (2, 0, 1));
    for (other, came) in [
        (exchange((1, 4000), (2, 53), 8), (0, 1, 0)),
        (exchange((1, 4001), (2, 53), 7), (0, 0, 0)),
        (exchange((3, 4000), (2, 53), 7), (0, 0, 0)),
        (exchange((1, 4000), (3, 53), 7), (0, 0, 0)),
    ] {
        assert_eq!(of(&other, false), came, "{other:?}");
    }
    // To a group: from whatever address.
    assert_eq!(of(&exchange((1, 4000), (255, 53), 7), true), (2, 0, 1));
    assert_eq!(of(&exchange((3, 4000), (255, 53), 7), true), (0, 0, 0));
    let from_nowhere = Exchange { asker: (Ipv4Addr::UNSPECIFIED.into(), 4000), ..one };
    assert_eq!(of(&from_nowhere, true), (2, 0, 1));
}

#[test]
fn dns_answers_are_equal_but_for_times_and_the_order_of_records() {
    let (first, later) = (response(60, [1, 2]), response(7, [2, 1]));
    assert_eq!(dns::fields(&first), dns::fields(&later));
    assert_ne!(dns::fields(&first), dns::fields(&response(60, [1, 3])));
    let fields: Vec<String> =
        dns::fields(&first).expect("a message").iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(
        fields,
        [
            "opcode: QUERY",
            "rcode: NOERROR",
            "flags: qr aa",
            "question: a.b. IN A",
            "answer: a.b. IN A 192.0.2.1",
            "answer: a.b. IN A 192.0.2.2"
        ]
    );
    for length in 0..first.len() {
        assert_eq!(dns::asks(&first[..length]), None, "{length} bytes");
    }
}
