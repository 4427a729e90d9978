//! Payloads of UDP datagrams: each protocol over bytes that are written here by its RFC, and what can't be decoded stays.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::{Maps, Pass, RewriteStats, Rewriter, compile, length, of, sums, through};
use crate::packet::checksum::Sum;
use crate::packet::layers::LinkType;
use crate::rewrite::Left;
use crate::scenario::rewrite::{PayloadProtocol, PayloadRule, Rewrite, Side, TimeTarget};

/// 2026-11-23T00:44:14Z.
const CAPTURED_NS: u64 = 1_795_394_654_000_000_000;

pub(super) fn rewriter(protocol: PayloadProtocol, ports: &[u16]) -> Rewriter {
    let maps = Maps::of(Side::Both).ip(&[("10.0.0.0/8", "192.0.2.7"), ("2001:db8:1::/48", "2001:db8:2::/48")]);
    compile(&Rewrite { payload: vec![PayloadRule { protocol, ports: ports.to_vec(), span: 0..0 }], ..of([maps]) })
}

pub(super) fn datagram(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb])
        .ipv4([172, 16, 0, 1], [172, 16, 0, 2], 64)
        .udp(ports.0, ports.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("it fits");
    frame
}

/// What becomes of the payload of one datagram; its checksums are right before and after.
pub(super) fn payload(pass: &mut Pass<'_>, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let frame = datagram(ports, payload);
    assert_eq!(sums(&frame), (Sum::Good, Sum::Good));
    let number = pass.stats.frame() + 1;
    let mut bytes = frame.clone();
    let captured = crate::capture::Frame {
        number,
        time_ns: CAPTURED_NS,
        original_length: length(&frame),
        link: LinkType::ETHERNET,
        bytes: &mut bytes,
    };
    let rewritten = pass.rewrite(captured);
    assert_eq!(rewritten.original_length as usize, rewritten.bytes.len());
    assert_eq!(sums(rewritten.bytes), (Sum::Good, Sum::Good), "lengths and checksums are right");
    rewritten.bytes[42..].to_vec()
}

pub(super) fn once(rewriter: &Rewriter, port: u16, bytes: &[u8]) -> (Vec<u8>, RewriteStats) {
    let mut pass = Pass::new(rewriter);
    let new = payload(&mut pass, (40_000, port), bytes);
    (new, pass.into_stats())
}

pub(super) fn is_left(rewriter: &Rewriter, port: u16, bytes: &[u8]) {
    let (new, stats) = once(rewriter, port, bytes);
    assert_eq!(new, bytes);
    assert_eq!(stats.left(Left::Payload).frames, 1);
}

/// RFC 1035 §4.1: a question for a name, and its addresses by compressed names.
fn dns_answer() -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
    message.extend(b"\x03www\x07example\0\0\x01\0\x01");
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3]);
    message.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16]);
    message.extend("2001:db8:1::5".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    // The same bytes in a text are no address.
    message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 5, 4, 10, 1, 2, 3]);
    message
}

#[test]
fn addresses_in_dns_answers_follow_and_texts_stay() {
    let rewriter = rewriter(PayloadProtocol::Dns, &[53]);
    let message = dns_answer();
    let mut pass = Pass::new(&rewriter);
    let new = payload(&mut pass, (53, 40_000), &message);
    let mut expected = message.clone();
    let a = message.windows(4).position(|window| window == [10, 1, 2, 3]).expect("the record");
    expected[a..a + 4].copy_from_slice(&[192, 0, 2, 7]);
    let aaaa = message.windows(6).position(|window| window == [0x20, 1, 0xd, 0xb8, 0, 1]).expect("the record");
    expected[aaaa + 5] = 2;
    assert_eq!(new, expected);
    assert_eq!(pass.into_stats().entries().iter().map(|entry| entry.frames).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn addresses_in_multicast_dns_follow_also_where_caches_are_to_be_flushed() {
    let rewriter = rewriter(PayloadProtocol::Dns, &[5353]);
    let captured = dns_answer();
    let mut message = captured.clone();
    let mut expected = once(&rewriter, 5353, &captured).0;
    // RFC 6762 §10.2: the highest bit of the class, of both records.
    let classes = captured.windows(2).enumerate().filter(|(_, window)| *window == [0xc0, 12]).map(|(at, _)| at + 4);
    for at in classes.take(2) {
        message[at] = 0x80;
        expected[at] = 0x80;
    }
    assert_ne!(message, expected);
    assert_eq!(once(&rewriter, 5353, &message).0, expected);
}

#[test]
fn a_dns_message_that_is_cut_or_signed_stays() {
    let rewriter = rewriter(PayloadProtocol::Dns, &[53]);
    let message = dns_answer();
    for length in 12..message.len() {
        is_left(&rewriter, 53, &message[..length]);
    }
    // RFC 8945 §4.2: a TSIG record as the last additional one.
    let mut signed = message;
    signed[11] = 1;
    signed.extend([0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
    is_left(&rewriter, 53, &signed);
}

#[test]
fn addresses_in_dhcp_follow_and_the_mask_stays() {
    // RFC 2131 §2.
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[16..20].copy_from_slice(&[10, 0, 0, 5]);
    message[24..28].copy_from_slice(&[10, 0, 0, 1]);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    let mut expected = message.clone();
    for at in [16, 24] {
        expected[at..at + 4].copy_from_slice(&[192, 0, 2, 7]);
    }
    // RFC 2132: message type, mask, routers, server; RFC 3046: relay agent with the link's address (RFC 3527); end, padding.
    message.extend([53, 1, 2, 1, 4, 10, 0, 0, 0, 3, 8, 10, 0, 0, 1, 0, 0, 0, 0, 54, 4, 10, 0, 0, 2]);
    message.extend([82, 9, 5, 4, 10, 0, 0, 9, 1, 1, 7, 0, 255, 0, 0]);
    expected.extend([53, 1, 2, 1, 4, 10, 0, 0, 0, 3, 8, 192, 0, 2, 7, 0, 0, 0, 0, 54, 4, 192, 0, 2, 7]);
    expected.extend([82, 9, 5, 4, 192, 0, 2, 7, 1, 1, 7, 0, 255, 0, 0]);
    let rewriter = rewriter(PayloadProtocol::Dhcp, &[67, 68]);
    assert_eq!(once(&rewriter, 68, &message).0, expected);
    is_left(&rewriter, 68, &message[..250]);
    is_left(&rewriter, 68, &message[..200]);
    // Static routes, directory servers, PANA agents, CAPWAP controllers.
    let whole = |address: [u8; 4]| {
        let options = [33, 85, 112, 136, 138].map(|code| [&[code, 8][..], &address, &address].concat());
        [&message[..240], &options.concat(), &[255]].concat()
    };
    let (new, _) = once(&rewriter, 68, &whole([10, 0, 0, 1]));
    assert_eq!(new[240..], whole([192, 0, 2, 7])[240..]);
    // RFC 3118: a digest over the message.
    let signed = [&message[..240], &[90, 11, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]].concat();
    is_left(&rewriter, 68, &signed);
}

#[test]
fn the_agent_of_a_version_1_trap_and_bound_addresses_follow() {
    // RFC 1157 §4.1.6: version 0, "public", trap of 1.3.6.1, agent 10.0.0.1, coldStart, 0, uptime 9, and one binding.
    let binding = [0x30, 11, 0x06, 3, 0x2b, 6, 1, 0x40, 4, 10, 0, 0, 2];
    let mut pdu = vec![0x06, 3, 0x2b, 6, 1, 0x40, 4, 10, 0, 0, 1, 0x02, 1, 0, 0x02, 1, 0, 0x43, 1, 9, 0x30, 13];
    pdu.extend(binding);
    let length = u8::try_from(pdu.len()).expect("it is short");
    let mut message = vec![0x30, 13 + length, 0x02, 1, 0, 0x04, 6];
    message.extend(b"public");
    message.extend([0xa4, length]);
    message.extend(&pdu);
    let rewriter = rewriter(PayloadProtocol::Snmp, &[162]);
    let (new, _) = once(&rewriter, 162, &message);
    let address = |bytes: &[u8], number| {
        let mut found = bytes.windows(2).enumerate().filter(|(_, window)| *window == [0x40, 4]).map(|(at, _)| at + 2);
        let at: usize = found.nth(number).expect("it is there");
        bytes[at..at + 4].to_vec()
    };
    assert_eq!([address(&new, 0), address(&new, 1)], [[192, 0, 2, 7], [192, 0, 2, 7]]);
    assert_eq!(new.len(), message.len());
    for length in 1..message.len() {
        is_left(&rewriter, 162, &message[..length]);
    }
    // X.690 §8.1.3.5: the same length in more bytes.
    for long in [&[0x81][..], &[0x82, 0], &[0x83, 0, 0], &[0x84, 0, 0, 0]] {
        let longer = [&[0x30][..], long, &message[1..]].concat();
        let (new, _) = once(&rewriter, 162, &longer);
        assert_eq!([address(&new, 0), address(&new, 1)], [[192, 0, 2, 7], [192, 0, 2, 7]], "{long:?}");
    }
    // Version 3 (RFC 3412).
    message[4] = 3;
    is_left(&rewriter, 162, &message);
}

/// RFC 3416 §3: version 2c, "public", a response with an address bound to 1.3.6.1, and with the same bytes in a string.
fn snmp_response() -> Vec<u8> {
    let bindings = [
        &[0x30, 11, 0x06, 3, 0x2b, 6, 1, 0x40, 4, 10, 0, 0, 2][..],
        &[0x30, 11, 0x06, 3, 0x2b, 6, 1, 0x04, 4, 10, 0, 0, 2],
    ];
    let pdu = [&[0x02, 1, 9, 0x02, 1, 0, 0x02, 1, 0, 0x30, 26][..], &bindings.concat()].concat();
    let pdu = [&[0xa2, 37][..], &pdu].concat();
    [&[0x30, 50, 0x02, 1, 1, 0x04, 6][..], b"public", &pdu].concat()
}

#[test]
fn an_address_bound_in_a_response_follows_and_a_string_stays() {
    let captured = snmp_response();
    let mut expected = captured.clone();
    let at = captured.windows(2).position(|window| window == [0x40, 4]).expect("an address") + 2;
    expected[at..at + 4].copy_from_slice(&[192, 0, 2, 7]);
    let rewriter = rewriter(PayloadProtocol::Snmp, &[161]);
    assert_eq!(once(&rewriter, 161, &captured).0, expected);
}

/// A packet with a zero authenticator (RFC 2865 §3).
fn radius(code: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + attributes.len()).expect("it is short");
    [&[code, 7][..], &length.to_be_bytes(), &[0; 16], attributes].concat()
}

fn digest(packet: &[u8], secret: &str) -> [u8; 16] {
    use md5::{Digest, Md5};
    Md5::new().chain_update(packet).chain_update(secret).finalize().into()
}

#[test]
fn the_authenticators_of_radius_follow_from_request_to_response() {
    let rewriter = rewriter(PayloadProtocol::Radius { secret: "xyzzy5461".to_owned() }, &[1813]);
    // RFC 2866 §3: NAS-IP-Address, Acct-Status-Type; the authenticator is MD5 with 16 zero bytes in its place.
    let mut request = radius(4, &[4, 6, 10, 0, 0, 1, 40, 6, 0, 0, 0, 1]);
    let authenticator = digest(&request, "xyzzy5461");
    request[4..20].copy_from_slice(&authenticator);
    let mut response = radius(5, &[8, 6, 10, 0, 0, 9]);
    response[4..20].copy_from_slice(&authenticator);
    let of_response = digest(&response, "xyzzy5461");
    response[4..20].copy_from_slice(&of_response);

    let mut pass = Pass::new(&rewriter);
    let new_request = {
        let mut frame = datagram((40_000, 1813), &request);
        let rewritten = through(&mut pass, 1, LinkType::ETHERNET, &frame, length(&frame));
        frame.clear();
        rewritten.0[42..].to_vec()
    };
    let mut expected = radius(4, &[4, 6, 192, 0, 2, 7, 40, 6, 0, 0, 0, 1]);
    let new_authenticator = digest(&expected, "xyzzy5461");
    expected[4..20].copy_from_slice(&new_authenticator);
    assert_eq!(new_request, expected);

    // The response comes from where the request went.
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xb], [2, 0, 0, 0, 0, 0xa])
        .ipv4([172, 16, 0, 2], [172, 16, 0, 1], 64)
        .udp(1813, 40_000);
    let mut frame = Vec::new();
    builder.write(&mut frame, &response).expect("it fits");
    let (new_response, _) = through(&mut pass, 2, LinkType::ETHERNET, &frame, length(&frame));
    let mut expected = radius(5, &[8, 6, 192, 0, 2, 7]);
    expected[4..20].copy_from_slice(&new_authenticator);
    let of_response = digest(&expected, "xyzzy5461");
    expected[4..20].copy_from_slice(&of_response);
    assert_eq!(&new_response[42..], expected);
    assert_eq!(pass.into_stats().left(Left::Payload).frames, 0);
}

#[test]
fn the_message_authenticator_of_an_access_request_follows() {
    use hmac::{Hmac, KeyInit, Mac};
    let sign = |packet: &[u8]| -> [u8; 16] {
        let mac = Hmac::<md5::Md5>::new_from_slice(b"secret").expect("any key is one");
        mac.chain_update(packet).finalize().into_bytes().into()
    };
    // RFC 3579 §3.2: over the packet with its random authenticator, and zeros in the place of the value.
    let whole = |address: [u8; 4]| {
        let zeros = [0; 16];
        let mut packet = radius(1, &[&[4, 6][..], &address, &[80, 18], &zeros].concat());
        packet[4..20].copy_from_slice(&[9; 16]);
        let signature = sign(&packet);
        packet[28..44].copy_from_slice(&signature);
        packet
    };
    let rewriter = rewriter(PayloadProtocol::Radius { secret: "secret".to_owned() }, &[1812]);
    assert_eq!(once(&rewriter, 1812, &whole([10, 0, 0, 1])).0, whole([192, 0, 2, 7]));
}

#[test]
fn a_request_for_access_without_a_message_authenticator_has_nothing_that_a_secret_could_be_wrong_for() {
    let rewriter = rewriter(PayloadProtocol::Radius { secret: "other".to_owned() }, &[1812]);
    let request = |address| radius(1, &[&[4, 6][..], address].concat());
    assert_eq!(once(&rewriter, 1812, &request(&[10, 0, 0, 1])).0, request(&[192, 0, 2, 7]));
}

#[test]
fn radius_with_another_secret_or_an_unknown_request_stays() {
    let wrong = rewriter(PayloadProtocol::Radius { secret: "other".to_owned() }, &[1813]);
    let mut request = radius(4, &[4, 6, 10, 0, 0, 1]);
    let authenticator = digest(&request, "xyzzy5461");
    request[4..20].copy_from_slice(&authenticator);
    is_left(&wrong, 1813, &request);
    let right = rewriter(PayloadProtocol::Radius { secret: "xyzzy5461".to_owned() }, &[1813]);
    request[0] = 5;
    is_left(&right, 1813, &request);
    is_left(&right, 1813, &request[..19]);
}

pub(super) fn syslog(time: TimeTarget, replace: &[(&str, &str)]) -> Rewriter {
    let replace = replace.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    rewriter(PayloadProtocol::Syslog { time, replace }, &[514])
}

#[test]
fn a_message_without_an_udp_checksum_gets_none_and_a_wrong_one_stays_wrong() {
    let rewriter = syslog(TimeTarget::Captured, &[("a", "bcd")]);
    let mut frame = datagram((514, 514), b"<13>a");
    frame[40..42].copy_from_slice(&[0, 0]);
    let mut pass = Pass::new(&rewriter);
    let (new, _) = through(&mut pass, 1, LinkType::ETHERNET, &frame, length(&frame));
    assert_eq!((sums(&new), &new[46..]), ((Sum::Good, Sum::None), &b"bcd"[..]));
    frame[40..42].copy_from_slice(&[0x12, 0x34]);
    let (new, _) = through(&mut pass, 2, LinkType::ETHERNET, &frame, length(&frame));
    assert_eq!(sums(&new).1, Sum::Bad);
}

#[test]
fn what_follows_a_datagram_in_its_frame_follows_the_new_one() {
    let rewriter = syslog(TimeTarget::Captured, &[("a", "bcd")]);
    let mut frame = datagram((514, 514), b"<13>a");
    frame.extend([0xee; 9]);
    let (new, original) = through(&mut Pass::new(&rewriter), 1, LinkType::ETHERNET, &frame, length(&frame) + 100);
    assert_eq!(&new[42..], b"<13>bcd\xee\xee\xee\xee\xee\xee\xee\xee\xee");
    assert_eq!(original, length(&frame) + 102);
}

/// The datagram without its Ethernet header, behind this.
fn behind(header: &[u8], datagram: &[u8]) -> Vec<u8> {
    [header, &datagram[14..]].concat()
}

#[test]
fn lengths_in_front_of_ip_follow() {
    let rewriter = syslog(TimeTarget::Captured, &[("a", "bcdefgh")]);
    let (old, new) = (datagram((514, 514), b"<13>a"), datagram((514, 514), b"<13>bcdefgh"));
    // RFC 2516: version and type, code, session, the length with that of the protocol, PPP's protocol; RFC 1042: length, LLC, SNAP.
    let pppoe = |length: usize| [0x11, 0, 0, 7, 0, u8::try_from(length + 2 - 14).expect("short"), 0, 0x21];
    let snap = |length: usize| [0, u8::try_from(length + 8 - 14).expect("short"), 0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let in_snap = |length: usize| {
        let whole = u8::try_from(length + 16 - 14).expect("short");
        [&[0, whole, 0xaa, 0xaa, 3, 0, 0, 0, 0x88, 0x64][..], &pppoe(length)].concat()
    };
    let macs = &old[..12];
    let frames = |whole: &[u8]| {
        let length = whole.len();
        [
            (LinkType::ETHERNET, behind(&[macs, &[0x88, 0x64], &pppoe(length)].concat(), whole)),
            (LinkType::ETHERNET, behind(&[macs, &[0x81, 0, 0, 5, 0x88, 0x64], &pppoe(length)].concat(), whole)),
            (LinkType::ETHERNET, behind(&[macs, &snap(length)].concat(), whole)),
            (LinkType::ETHERNET, behind(&[macs, &in_snap(length)].concat(), whole)),
            (LinkType(51), behind(&pppoe(length), whole)),
            (LinkType::LINUX_SLL, behind(&[&[0; 14][..], &[0x88, 0x64], &pppoe(length)].concat(), whole)),
        ]
    };
    for ((link, captured), (_, expected)) in frames(&old).into_iter().zip(frames(&new)) {
        let (bytes, original) = through(&mut Pass::new(&rewriter), 1, link, &captured, length(&captured));
        assert_eq!(bytes, expected, "{link:?}");
        assert_eq!(original, length(&expected));
    }
}

#[test]
fn a_length_that_would_be_an_ethertype_keeps_the_payload() {
    let rewriter = syslog(TimeTarget::Captured, &[("a", "bc")]);
    let whole = datagram((514, 514), &[&b"<13>a"[..], &[b' '; 1500 - 8 - 28 - 5]].concat());
    let header = [&whole[..12], &1500_u16.to_be_bytes(), &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    let captured = behind(&header, &whole);
    let mut pass = Pass::new(&rewriter);
    assert_eq!(through(&mut pass, 1, LinkType::ETHERNET, &captured, length(&captured)).0, captured);
    assert_eq!(pass.into_stats().left(Left::Length).frames, 1);
}

#[test]
fn a_cut_datagram_or_one_in_fragments_stays_and_is_counted() {
    let rewriter = syslog(TimeTarget::Captured, &[("a", "bcd")]);
    let frame = datagram((514, 514), b"<13>a");
    let mut fragment = frame.clone();
    fragment[20] |= 0x20;
    for bytes in [&frame[..frame.len() - 1], &fragment] {
        let mut pass = Pass::new(&rewriter);
        let (new, _) = through(&mut pass, 1, LinkType::ETHERNET, bytes, length(&frame));
        assert_eq!(new, bytes);
        assert_eq!(pass.into_stats().left(Left::CutPayload).frames, 1);
    }
}

/// One rewriter for each protocol, all on port 9.
fn every_protocol() -> Vec<Rewriter> {
    let all = [
        PayloadProtocol::Dns,
        PayloadProtocol::Dhcp,
        PayloadProtocol::Snmp,
        PayloadProtocol::Radius { secret: "s".to_owned() },
        PayloadProtocol::Sip,
        PayloadProtocol::Syslog { time: TimeTarget::Now, replace: Vec::new() },
    ];
    all.into_iter().map(|protocol| rewriter(protocol, &[9])).collect()
}

proptest! {
    #[test]
    fn only_addresses_change_in_what_is_decoded(at in 0_usize..400, value in any::<u8>(), which in 0_usize..2) {
        let (protocol, mut bytes) = match which {
            0 => (PayloadProtocol::Dns, dns_answer()),
            _ => (PayloadProtocol::Snmp, snmp_response()),
        };
        let at = at % bytes.len();
        bytes[at] = value;
        let (new, stats) = once(&rewriter(protocol, &[9]), 9, &bytes);
        prop_assert_eq!(new.len(), bytes.len());
        prop_assert!(stats.left(Left::Payload).frames == 0 || new == bytes);
        // 10.0.0.0/8 becomes 192.0.2.7, and 2001:db8:1::/48 becomes 2001:db8:2::/48.
        let mut place = 0;
        while place < bytes.len() {
            if new[place] == bytes[place] {
                place += 1;
            } else if bytes[place] == 10 {
                prop_assert_eq!(&new[place..place + 4], &[192, 0, 2, 7]);
                place += 4;
            } else {
                prop_assert_eq!(&bytes[place - 5..=place], &[0x20, 1, 0xd, 0xb8, 0, 1]);
                prop_assert_eq!(new[place], 2);
                place += 1;
            }
        }
    }

    #[test]
    fn what_can_not_be_decoded_is_not_altered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for rewriter in every_protocol() {
            let (new, stats) = once(&rewriter, 9, &bytes);
            prop_assert!(stats.left(Left::Payload).frames == 0 || new == bytes);
        }
    }

    #[test]
    fn a_protocol_that_is_not_asked_for_is_not_altered(bytes in prop::collection::vec(any::<u8>(), 0..100), port in 10_u16..) {
        for rewriter in every_protocol() {
            let (new, stats) = once(&rewriter, port, &bytes);
            prop_assert_eq!(&new, &bytes);
            prop_assert_eq!(stats.left(Left::Payload).frames, 0);
        }
    }
}
