//! The rows of IPv6, and of UDP over it.

use restage::Stage::{Accepted, Delivered, Sent};

use crate::frames::{Sum, v6};
use crate::rows::{Row, of, row};

const ELSEWHERE: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const ANY: &str = "[::]:9999";
/// The MAC address of ff02::9:9.
const GROUP_MAC: [u8; 6] = [0x33, 0x33, 0, 9, 0, 9];

pub(crate) fn rows() -> Vec<Row> {
    [addresses(), lengths(), transport()].into_iter().flatten().collect()
}

fn addresses() -> Vec<Row> {
    let off = v6().destination("2001:db8::9");
    vec![
        row("v6 ok", &v6()),
        row("v6 wrong dst MAC", &v6().mac(ELSEWHERE)).loses("OTHERHOST", Accepted),
        row("v6 wrong dst IP on-net", &v6().destination("fd09::99")).no_routes().loses("IP_INADDRERRORS", Accepted),
        row("v6 wrong dst IP off-net", &off).no_routes().loses("IP_INNOROUTES", Accepted),
        row("v6 wrong dst, forwarding=1 off-net", &off)
            .no_routes()
            .sysctl("net.ipv6.conf.all.forwarding", 1)
            .loses("IP_INNOROUTES", Accepted),
        row("v6 src ::1", &v6().source("::1")).loses("IP_INHDR", Accepted),
        row("v6 dst ::1", &v6().destination("::1")).loses("IP_INHDR", Accepted),
        row("v6 src = own address", &v6().source("fd09::2")),
        row("v6 src multicast ff02::1", &v6().source("ff02::1")).loses("IP_INHDR", Accepted),
        row("v6 src ::", &v6().source("::")),
        row("v6 src v4-mapped ::ffff:10.9.0.1", &v6().source("::ffff:10.9.0.1")),
        row("v6 src unroutable", &v6().source("2001:db8::1")).no_routes(),
        row("v6 hop limit 0", &v6().ttl(0)),
        row("v6 multicast not joined", &v6().destination("ff02::9:9").mac(GROUP_MAC))
            .program("plain", ANY)
            .not_predicted("the application may join the group")
            .loses("MULTICAST_NOT_JOINED", Accepted)
            .without_reason(),
        row("v6 disable_ipv6=1", &v6())
            .addresses("[\"10.9.0.2/24\"]")
            .sysctl("net.ipv6.conf.{receiver}.disable_ipv6", 1)
            .loses("IPV6DISABLED", Accepted),
        row("v6 unknown next header 253", &v6().protocol(253)).no_udp().loses("IP_NOPROTO", Delivered),
    ]
}

fn lengths() -> Vec<Row> {
    let [first, _, last] = v6().fragments();
    vec![
        of("v6 truncated capture", v6().cut(5, 70)).capture("truncated = \"send\"").loses("PKT_TOO_SMALL", Accepted),
        row("v6 frame 1600 > MTU, tx 9000", &v6().packet_length(1600))
            .mtu(9000)
            .program_after("ip link set rx0 mtu 1500")
            .not_predicted("the application makes the MTU smaller")
            .loses("FRAME_TOO_LONG", Sent)
            .without_reason(),
        // IPv6 puts fragments together after the input hook.
        of("v6 fragments middle missing", vec![first, last]).loses("FRAG_REASM_TIMEOUT", Delivered),
        of("v6 fragments all", v6().fragments().to_vec()),
    ]
}

fn transport() -> Vec<Row> {
    vec![
        row("v6 bad UDP checksum", &v6().sum(Sum::Wrong)).loses("UDP_CSUM", Delivered),
        row("v6 zero UDP checksum", &v6().sum(Sum::Zero)).loses("UDP_CSUM", Delivered),
        row("v6 no listener", &v6()).listens("udp:9998").loses("NO_SOCKET", Delivered),
        of("v6 full rcvbuf", v6().times(200))
            .program("slow", ANY)
            .not_predicted("how fast the application reads is its own")
            .loses_of("SOCKET_RCVBUFF", Delivered, 100..=199, None),
    ]
}
