//! Payloads that are texts: SIP with SDP, and syslog.

use super::Pass;
use super::payloads::{is_left, once, payload, rewriter, syslog};
use crate::rewrite::Left;
use crate::scenario::rewrite::{PayloadProtocol, TimeTarget};

#[test]
fn addresses_of_sip_and_sdp_follow_with_the_length_of_the_body() {
    let body = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=10.0.0.1\r\nc=IN IP6 2001:db8:1::9\r\n";
    let message = format!(
        "INVITE sip:bob@10.0.0.2:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK10.0.0.1\r\n\
         m: <sip:alice@[2001:db8:1::1]>\r\nUser-Agent: 10.0.0.1\r\nCall-ID: 1@10.0.0.1\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let new_body = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=10.0.0.1\r\nc=IN IP6 2001:db8:2::9\r\n";
    let expected = format!(
        "INVITE sip:bob@192.0.2.7:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK10.0.0.1\r\n\
         m: <sip:alice@[2001:db8:2::1]>\r\nUser-Agent: 10.0.0.1\r\nCall-ID: 1@10.0.0.1\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{new_body}",
        new_body.len()
    );
    let rewriter = rewriter(PayloadProtocol::Sip, &[5060]);
    let (new, _) = once(&rewriter, 5060, message.as_bytes());
    assert_eq!(String::from_utf8(new).expect("it is text"), expected);
    // RFC 5626 §3.5.1.
    assert_eq!(once(&rewriter, 5060, b"\r\n\r\n").1.left(Left::Payload).frames, 0);
    is_left(&rewriter, 5060, b"HELLO 10.0.0.1\r\n\r\n");
    is_left(&rewriter, 5060, &message.as_bytes()[..message.len() - body.len() - 2]);
}

#[test]
fn only_whole_addresses_of_sip_follow_in_each_form_that_they_have() {
    let rewriter = rewriter(PayloadProtocol::Sip, &[5060]);
    let message = |lines: [&str; 8]| {
        let [via, to, from, contact, candidate, origin, kind, other] = lines;
        let body = format!("a={candidate}\r\no={origin}\r\n");
        format!(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nTo: {to}\r\nFrom: {from}\r\nContact: {contact}\r\n\
             Route: {other}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let captured = message([
        "SIP/2.0/UDP h:5060;received=2001:db8:1::1;rport",
        "1.2.3.4.5 <sip:10.0.0.1.example.com>",
        "10.0.0.1. 10.0.0.1",
        "<sip:10.0.0.1:5060>, 10.0.0.12345, v10.0.0.1",
        "candidate:1 1 UDP 2 2001:db8:1::2 5000 typ srflx raddr 10.0.0.1 rport 9",
        "- 1 1 IN IP6 2001:db8:1::3",
        "Application/SDP",
        "<sip:[2001:db8:1::4]:5060> 10:20",
    ]);
    let expected = message([
        "SIP/2.0/UDP h:5060;received=2001:db8:2::1;rport",
        "1.2.3.4.5 <sip:10.0.0.1.example.com>",
        "192.0.2.7. 192.0.2.7",
        "<sip:192.0.2.7:5060>, 10.0.0.12345, v10.0.0.1",
        "candidate:1 1 UDP 2 2001:db8:2::2 5000 typ srflx raddr 192.0.2.7 rport 9",
        "- 1 1 IN IP6 2001:db8:2::3",
        "Application/SDP",
        "<sip:[2001:db8:2::4]:5060> 10:20",
    ]);
    let (new, _) = once(&rewriter, 5060, captured.as_bytes());
    assert_eq!(String::from_utf8(new).expect("it is text"), expected);
}

#[test]
fn text_of_syslog_is_replaced_in_order() {
    let rewriter = syslog(TimeTarget::Captured, &[(r"host=(\S+)", "host=lab-$1"), ("lab-db", "x")]);
    let (new, stats) = once(&rewriter, 514, b"<13>no time host=web host=db\xff");
    assert_eq!(new, b"<13>no time host=lab-web host=x\xff");
    assert_eq!(stats.left(Left::Payload).frames, 0);
    assert_eq!(stats.entries()[2].frames, 1);
}

#[test]
fn times_of_syslog_are_shifted_by_what_the_first_one_is() {
    let rewriter = syslog(TimeTarget::At("2026-12-31T23:59:58.25Z".parse().expect("a time")), &[]);
    let mut pass = Pass::new(&rewriter);
    let mut message = |text: &str| {
        let new = payload(&mut pass, (514, 514), text.as_bytes());
        String::from_utf8(new).expect("it is text")
    };
    // RFC 5424 §6.2.3: digits and offset stay.
    assert_eq!(
        message("<165>1 2026-11-23T01:44:14.25+01:00 h a - - - m"),
        "<165>1 2027-01-01T00:59:58.25+01:00 h a - - - m"
    );
    assert_eq!(message("<165>1 2026-11-23T00:44:16Z h a - - - m"), "<165>1 2027-01-01T00:00:00Z h a - - - m");
    assert_eq!(message("<165>1 - h a - - - m"), "<165>1 - h a - - - m");
    // RFC 3164 §4.1.2: no year, and a day of one digit is padded.
    assert_eq!(message("<13>Nov 23 00:44:17 h m"), "<13>Jan  1 00:00:01 h m");
    assert_eq!(message("<13>Nov  2 00:44:17 h m"), "<13>Dec 11 00:00:01 h m");
    assert_eq!(pass.into_stats().left(Left::Payload).frames, 0);
}

#[test]
fn the_next_round_of_syslog_follows_in_time() {
    let rewriter = syslog(TimeTarget::At("2027-01-01T00:00:00Z".parse().expect("a time")), &[]);
    let messages = ["<13>1 2026-11-23T00:44:14Z m", "<13>1 2026-11-23T00:45:14Z m", "<13>Nov 23 00:44:44 m"];
    let round = |pass: &mut Pass<'_>| messages.map(|text| payload(pass, (514, 514), text.as_bytes()));
    let texts = |texts: [&str; 3]| texts.map(|text| text.as_bytes().to_vec());
    let mut pass = Pass::new(&rewriter);
    let first = ["<13>1 2027-01-01T00:00:00Z m", "<13>1 2027-01-01T00:01:00Z m", "<13>Jan  1 00:00:30 m"];
    assert_eq!(round(&mut pass), texts(first));
    let mut next = Pass::new(&rewriter);
    next.continues(pass);
    let second = ["<13>1 2027-01-01T00:01:01Z m", "<13>1 2027-01-01T00:02:01Z m", "<13>Jan  1 00:01:31 m"];
    assert_eq!(round(&mut next), texts(second));
}

#[test]
fn times_that_syslog_does_not_have_stay() {
    let rewriter = syslog(TimeTarget::Now, &[]);
    for time in [
        "2026-11-23T01:44:14+0100",
        "2026-11-23T01:44:14+01",
        "2026-11-23T01:44:14,250Z",
        "2026-11-23T01:44:14+01:00[Europe/Paris]",
        "2026-11-23t01:44:14Z",
        "20261123T014414Z",
        "2026-11-23T01:44Z",
        "2026-11-23T01:44:14",
    ] {
        is_left(&rewriter, 514, format!("<13>1 {time} h a - - - m").as_bytes());
    }
}

#[test]
fn syslog_without_a_time_stays_where_times_are_shifted() {
    let rewriter = syslog(TimeTarget::Now, &[("m", "n")]);
    for message in ["m", "<13>m", "<13>Nov 23 00:44 m", "<13>1 yesterday h m", "<13>Nov 31 00:44:17 m"] {
        is_left(&rewriter, 514, message.as_bytes());
    }
}
