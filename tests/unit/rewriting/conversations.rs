//! `[rewrite.client]` and `[rewrite.server]`.

use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::{Pass, Rewriter};
use crate::scenario::rewrite::Side;
use etherparse::PacketBuilder;

use super::{Maps, compile, length, of, through};

type Socket = ([u8; 4], u16);

const ALICE: Socket = ([10, 0, 0, 1], 40000);
const BOB: Socket = ([10, 0, 0, 2], 53);

fn mac(socket: Socket) -> [u8; 6] {
    [2, 0, 0, 0, 0, socket.0[3]]
}

fn datagram(from: Socket, to: Socket) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(mac(from), mac(to)).ipv4(from.0, to.0, 64).udp(from.1, to.1);
    builder.write(&mut frame, b"query").expect("it fits");
    frame
}

/// Client: 192.0.2.0/24 and port 1; server: 198.51.100.0/24 and port 2.
fn rewriter() -> Rewriter {
    let client = Maps::of(Side::Client).ip(&[("10.0.0.0/24", "192.0.2.0/24")]).ports(&[(0, u16::MAX, 1)]);
    let server = Maps::of(Side::Server).ip(&[("10.0.0.0/24", "198.51.100.0/24")]).ports(&[(0, u16::MAX, 2)]);
    let client = client.mac("02:00:00:00:00:01", "02:00:00:00:01:01");
    compile(&of([client, server]))
}

/// Source and destination of each frame, after one pass over all of them.
fn told(frames: &[Vec<u8>]) -> Vec<String> {
    let rewriter = rewriter();
    let mut pass = Pass::new(&rewriter);
    let rewritten = frames.iter().zip(1..).map(|(frame, number)| {
        let (bytes, _) = through(&mut pass, number, LinkType::ETHERNET, frame, length(frame));
        let layers = Layers::find(LinkType::ETHERNET, &bytes);
        let (source, destination) = layers.addresses(&bytes).or(layers.arp_addresses(&bytes)).expect("IP or ARP");
        match layers.ports(&bytes) {
            Some((from, to)) => format!("{source}:{from} > {destination}:{to}"),
            None => format!("{source} > {destination}"),
        }
    });
    rewritten.collect()
}

const ASKED: &str = "192.0.2.1:1 > 198.51.100.2:2";
const ANSWERED: &str = "198.51.100.2:2 > 192.0.2.1:1";

#[test]
fn the_sender_of_the_first_frame_is_the_client() {
    let (ask, answer) = (datagram(ALICE, BOB), datagram(BOB, ALICE));
    assert_eq!(told(&[ask.clone(), answer.clone(), ask.clone()]), [ASKED, ANSWERED, ASKED]);
    // Had the answer come first, it would be a question.
    assert_eq!(told(&[answer, ask]), ["192.0.2.2:1 > 198.51.100.1:2", "198.51.100.1:2 > 192.0.2.2:1"]);
}

#[test]
fn the_client_s_mac_follows_in_both_directions() {
    let rewriter = rewriter();
    let mut pass = Pass::new(&rewriter);
    let ask = datagram(ALICE, BOB);
    let answer = datagram(BOB, ALICE);
    let (ask, _) = through(&mut pass, 1, LinkType::ETHERNET, &ask, length(&ask));
    let (answer, _) = through(&mut pass, 2, LinkType::ETHERNET, &answer, length(&answer));
    assert_eq!((&ask[6..12], &answer[..6]), (&[2, 0, 0, 0, 1, 1][..], &[2, 0, 0, 0, 1, 1][..]));
}

#[test]
fn other_ports_are_another_conversation() {
    let back = datagram((BOB.0, 40001), (ALICE.0, 53));
    assert_eq!(told(&[datagram(ALICE, BOB), back]), [ASKED, "192.0.2.2:1 > 198.51.100.1:2"]);
}

#[test]
fn an_unselected_first_frame_still_decides_the_client() {
    let rewriter = rewriter();
    let mut pass = Pass::new(&rewriter);
    let mut ask = datagram(ALICE, BOB);
    let original_length = length(&ask);
    let link = LinkType::ETHERNET;
    pass.passed_by(&crate::capture::Frame { number: 1, time_ns: 0, original_length, link, bytes: &mut ask });
    let answer = datagram(BOB, ALICE);
    let (answer, _) = through(&mut pass, 2, link, &answer, length(&answer));
    assert_eq!(answer[26..30], [198, 51, 100, 2]);
}

#[test]
fn an_error_belongs_to_the_conversation_that_it_quotes() {
    let ask = datagram(ALICE, BOB);
    let router = [10, 0, 0, 3];
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 3], mac(ALICE))
        .ipv4(router, ALICE.0, 64)
        .icmpv4_raw(3, 1, [0; 4])
        .write(&mut error, &ask[14..])
        .expect("it fits");
    let rewriter = rewriter();
    let mut pass = Pass::new(&rewriter);
    through(&mut pass, 1, LinkType::ETHERNET, &ask, length(&ask));
    let (error, _) = through(&mut pass, 2, LinkType::ETHERNET, &error, length(&error));
    // To the client; and the packet that it quotes came from the client.
    assert_eq!(error[30..34], [192, 0, 2, 1]);
    assert_eq!(error[54..62], [192, 0, 2, 1, 198, 51, 100, 2]);
}

#[test]
fn the_fragments_of_a_datagram_stay_together() {
    let mut first = datagram(BOB, ALICE);
    first[18..22].copy_from_slice(&[0, 9, 0x20, 0]);
    let mut later = first.clone();
    later[20..22].copy_from_slice(&[0, 4]);
    let told = told(&[datagram(ALICE, BOB), first, later]);
    assert_eq!(told[1], ANSWERED);
    assert_eq!(told[2], "198.51.100.2 > 192.0.2.1");
}

#[test]
fn arp_has_conversations_of_its_own() {
    let arp = |operation: u8, from: Socket, to: Socket| {
        let header = [&mac(to)[..], &mac(from), &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
        [&header[..], &mac(from), &from.0, &mac(to), &to.0].concat()
    };
    let told = told(&[arp(1, ALICE, BOB), arp(2, BOB, ALICE)]);
    assert_eq!(told, ["192.0.2.1 > 198.51.100.2", "198.51.100.2 > 192.0.2.1"]);
}

/// A fragment of a datagram with a destination options header between the fragment header and UDP, from port 40000 to port 53 or back.
fn fragment6(from_client: bool, offset: u16) -> Vec<u8> {
    let address = |last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
    let (from, to) = if from_client { (1, 2) } else { (2, 1) };
    let ports: [u16; 2] = if from_client { [40000, 53] } else { [53, 40000] };
    let mut payload = if offset == 0 { vec![17, 0, 1, 4, 0, 0, 0, 0] } else { vec![7; 16] };
    if offset == 0 {
        payload.extend(ports.map(u16::to_be_bytes).concat());
        payload.extend([0, 100, 0, 0]);
    }
    let field = (offset << 3 | u16::from(offset == 0)).to_be_bytes();
    let fragment = [&[60, 0][..], &field, &[0, 0, 0, 9], &payload].concat();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [2; 6])
        .ipv6(address(from), address(to), 64)
        .write(&mut frame, 44.into(), &fragment)
        .expect("it fits");
    frame
}

#[test]
fn ipv6_fragments_stay_together_though_only_the_first_reaches_the_transport() {
    let client = Maps::of(Side::Client).ip(&[("2001:db8::/64", "fd01::/64")]);
    let server = Maps::of(Side::Server).ip(&[("2001:db8::/64", "fd02::/64")]);
    let rewriter = compile(&of([client, server]));
    let mut pass = Pass::new(&rewriter);
    let mut source = |frame: &[u8]| {
        let (bytes, _) = through(&mut pass, 1, LinkType::ETHERNET, frame, length(frame));
        u16::from_be_bytes([bytes[22], bytes[23]])
    };
    assert_eq!(source(&fragment6(true, 0)), 0xfd01);
    // The answer's first fragment tells that it is the server's, and its second has but the identification.
    assert_eq!([source(&fragment6(false, 0)), source(&fragment6(false, 2))], [0xfd02, 0xfd02]);
}

/// An error of `router` to the sender of `quoted`, which it quotes.
fn error_about(quoted: &[u8], to: Socket) -> Vec<u8> {
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 3], mac(to))
        .ipv4([10, 0, 0, 3], to.0, 64)
        .icmpv4_raw(3, 1, [0; 4])
        .write(&mut error, &quoted[14..])
        .expect("it fits");
    error
}

#[test]
fn who_sent_a_packet_that_only_an_error_quotes_is_the_client() {
    let (ask, answer) = (datagram(ALICE, BOB), datagram(BOB, ALICE));
    let error = error_about(&ask, ALICE);
    assert_eq!(told(&[error.clone(), answer.clone(), ask])[1..], [ANSWERED, ASKED]);
    let rewriter = rewriter();
    let (error, _) = through(&mut Pass::new(&rewriter), 1, LinkType::ETHERNET, &error, length(&error));
    assert_eq!(error[30..34], [192, 0, 2, 1], "to the client");
    assert_eq!(error[42..], quoted_ask()[..], "the packet that it quotes came from the client");
    // Two errors about both directions are of one conversation.
    let about_the_answer = error_about(&answer, BOB);
    assert_eq!(told(&[error_about(&datagram(ALICE, BOB), ALICE), about_the_answer])[1], "192.0.2.3 > 198.51.100.2");
}

/// What an error quotes of the question, rewritten.
fn quoted_ask() -> Vec<u8> {
    let ask = datagram(ALICE, BOB);
    let rewriter = rewriter();
    through(&mut Pass::new(&rewriter), 1, LinkType::ETHERNET, &ask, length(&ask)).0.split_off(14)
}
