//! The rows of UDP, TCP and sockets over IPv4.

use restage::Stage::Delivered;

use crate::frames::{Sum, tcp, v4};
use crate::rows::{Row, of, row};

/// TCP's flags.
const SYN: u8 = 0x02;
const PUSH_ACK: u8 = 0x18;
const ANY: &str = "0.0.0.0:9999";
/// Why the plan takes a socket for one that gets the frames.
const OWN_SOCKET: &str = "how the application opens its socket is its own";

pub(crate) fn rows() -> Vec<Row> {
    [checksums(), listeners(), sockets(), replies(), segments()].into_iter().flatten().collect()
}

fn checksums() -> Vec<Row> {
    let wrong = v4().sum(Sum::Wrong);
    vec![
        row("bad UDP checksum", &wrong).loses("UDP_CSUM", Delivered),
        // Longer than the 76 bytes up to which the kernel sums before it queues: found when the application reads.
        row("bad UDP checksum, long payload 600B", &wrong.clone().payload(600))
            .program("late", ANY)
            .loses("UDP_CSUM", Delivered),
        row("bad UDP checksum, ethtool rx off", &wrong)
            .program_after("ethtool -K rx0 rx off")
            .loses("UDP_CSUM", Delivered),
        row("zero UDP checksum v4", &v4().sum(Sum::Zero)),
        row("IP ok, UDP length > datagram", &v4().udp_length(100)).loses("PKT_TOO_SMALL", Delivered),
        row("UDP length < 8", &v4().udp_length(4)).loses("PKT_TOO_SMALL", Delivered),
    ]
}

fn listeners() -> Vec<Row> {
    let hundred = v4().times(100);
    vec![
        row("no listener", &v4()).listens("udp:9998").loses("NO_SOCKET", Delivered),
        row("wrong dst UDP port", &v4().port(9998)).listens("udp:9999").loses("NO_SOCKET", Delivered),
        row("listener on 127.0.0.1 only", &v4()).program("plain", "127.0.0.1:9999").loses("NO_SOCKET", Delivered),
        of("no listener, 100 packets (icmp limit)", hundred.clone()).listens("udp:9998").loses("NO_SOCKET", Delivered),
        of("no listener, 100 packets, icmp_ratelimit=0", hundred)
            .listens("udp:9998")
            .sysctl("net.ipv4.icmp_ratelimit", 0)
            .loses("NO_SOCKET", Delivered),
        row("connected to another peer", &v4())
            .program("connected", ANY)
            .ready_by("udp:9998")
            .loses("NO_SOCKET", Delivered),
        row("SO_BINDTODEVICE lo", &v4()).program("on-lo", ANY).not_predicted(OWN_SOCKET).loses("NO_SOCKET", Delivered),
        row("v6only listener, v4 packets", &v4())
            .program("v6only", "[::]:9999")
            .not_predicted(OWN_SOCKET)
            .loses("NO_SOCKET", Delivered),
        row("dual-stack listener, v4 packets", &v4()).program("dual", "[::]:9999"),
    ]
}

fn sockets() -> Vec<Row> {
    vec![
        of("full rcvbuf", v4().times(200))
            .program("slow", ANY)
            .not_predicted("how fast the application reads is its own")
            .loses_of("SOCKET_RCVBUFF", Delivered, 100..=199, None),
        row("socket filter drops", &v4())
            .program("filter", ANY)
            .not_predicted("the filter is the application's own")
            .loses("SOCKET_FILTER", Delivered),
        row("IP_MINTTL 255", &v4()).program("min-ttl", ANY),
        row("listener shut down for reading", &v4()).program("shut", ANY),
    ]
}

/// The receiver's answers come to nothing, which is no loss of a replayed frame.
fn replies() -> Vec<Row> {
    // No route leads there: a socket that is bound to the interface takes it for a neighbour, and nobody answers ARP.
    let far = v4().source("192.0.2.1");
    vec![
        row("reply to unresolved neighbour", &far).no_routes().program("replies-on-rx0", ANY),
        row("reply to unresolved neighbour (4 s)", &far).no_routes().program("replies-on-rx0", ANY).settle("4s"),
        row("reply with no route to source", &far).no_routes().program("reply", ANY),
    ]
}

fn segments() -> Vec<Row> {
    vec![
        // The kernel answers with a reset: no loss.
        row("TCP SYN no listener", &tcp(SYN).payload(0)).no_udp(),
        row("TCP data, no connection", &tcp(PUSH_ACK)).no_udp(),
        row("TCP bad checksum SYN", &tcp(SYN).payload(0).sum(Sum::Wrong)).no_udp().loses("TCP_CSUM", Delivered),
    ]
}
