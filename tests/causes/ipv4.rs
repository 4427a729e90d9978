//! The rows of the link layer, of IPv4 and of its routing.

use restage::Stage::{Accepted, Delivered, Sent};

use crate::frames::{RECEIVER, Sum, v4};
use crate::receiver::GROUP;
use crate::rows::{Row, not_provoked, of, row};

/// A MAC address that nobody has.
const ELSEWHERE: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const BROADCAST: [u8; 6] = [0xff; 6];
/// The MAC address of [`GROUP`].
const GROUP_MAC: [u8; 6] = [1, 0, 0x5e, 9, 9, 9];
/// A source that only a default route leads to.
const FAR: &str = "192.0.2.1";
const RP_FILTER: &str = "net.ipv4.conf.{receiver}.rp_filter";
const ACCEPT_LOCAL: &str = "net.ipv4.conf.{receiver}.accept_local";
const FORWARDING: &str = "net.ipv4.conf.all.forwarding";

pub(crate) fn rows() -> Vec<Row> {
    [link(), lengths(), sources(), destinations(), headers(), fragments(), groups()].into_iter().flatten().collect()
}

fn link() -> Vec<Row> {
    vec![
        row("ok", &v4()),
        row("wrong dst MAC", &v4().mac(ELSEWHERE)).loses("OTHERHOST", Accepted),
        row("unicast IP in broadcast MAC", &v4().mac(BROADCAST)),
        row("unicast IP in multicast MAC", &v4().mac(GROUP_MAC)),
        row("source MAC = receiver MAC", &v4().source_mac(RECEIVER)),
        row("VLAN tag 100", &v4().vlan(100)).loses("OTHERHOST", Accepted),
        row("unknown ethertype 0x9999", &v4().ethertype(0x9999)).no_udp().loses("UNHANDLED_PROTO", Accepted),
        row("rx interface down", &v4())
            .program_after("ip link set rx0 down")
            .not_predicted("the application sets the interface down")
            .loses("INTERFACE_DOWN", Sent)
            .without_reason(),
    ]
}

fn lengths() -> Vec<Row> {
    let smaller = "ip link set rx0 mtu 1500";
    let why = "the application makes the MTU smaller";
    vec![
        row("frame 1600 > MTU 1500 both", &v4().packet_length(1600)).refused("MTU"),
        row("frame 1600, tx MTU 9000 rx MTU 1500", &v4().packet_length(1600))
            .mtu(9000)
            .program_after(smaller)
            .not_predicted(why)
            .loses("FRAME_TOO_LONG", Sent)
            .without_reason(),
        row("frame 1503B IP, tx MTU 9000 rx 1500 (slack)", &v4().packet_length(1503)).mtu(9000).program_after(smaller),
        row("frame 1600, both MTU 9000", &v4().packet_length(1600)).mtu(9000),
        of("truncated capture (caplen<len)", v4().cut(5, 60))
            .capture("truncated = \"send\"")
            .loses("PKT_TOO_SMALL", Accepted),
        of("frame only 20 bytes (eth+6)", v4().short(5, 20)).no_udp().loses("IP_INHDR", Accepted),
        row("trailer after IP (padding)", &v4().trailer(10)),
    ]
}

fn sources() -> Vec<Row> {
    let own = v4().source("10.9.0.2");
    let far = v4().source(FAR);
    let by_lo = "ip route add 192.0.2.0/24 dev lo";
    vec![
        row("src 127.0.0.1", &v4().source("127.0.0.1")).loses("IP_LOCALNET", Accepted),
        row("src 127.0.0.1 route_localnet=1", &v4().source("127.0.0.1"))
            .sysctl("net.ipv4.conf.{receiver}.route_localnet", 1)
            .loses("IP_LOCAL_SOURCE", Accepted),
        row("src = receiver's own address", &own).loses("IP_LOCAL_SOURCE", Accepted),
        row("src = receiver's own, accept_local=1", &own).sysctl(ACCEPT_LOCAL, 1),
        row("src = receiver's own, accept_local=1 rp_filter=1", &own).sysctl(ACCEPT_LOCAL, 1).sysctl(RP_FILTER, 1),
        row("src 255.255.255.255", &v4().source("255.255.255.255")).loses("IP_INVALID_SOURCE", Accepted),
        row("src subnet broadcast 10.9.0.255", &v4().source("10.9.0.255")),
        row("src subnet network 10.9.0.0", &v4().source("10.9.0.0")),
        row("src 0.0.0.0", &v4().source("0.0.0.0")).loses("IP_INVALID_SOURCE", Accepted),
        row("src multicast 224.0.0.1", &v4().source("224.0.0.1")).loses("IP_INVALID_SOURCE", Accepted),
        row("src class E 240.0.0.1", &v4().source("240.0.0.1")),
        row("src unroutable, rp_filter=0", &far).no_routes().sysctl(RP_FILTER, 0),
        row("src unroutable, rp_filter=1", &far).no_routes().sysctl(RP_FILTER, 1).loses("IP_RPFILTER", Accepted),
        row("src unroutable, rp_filter=2", &far).no_routes().sysctl(RP_FILTER, 2).loses("IP_RPFILTER", Accepted),
        row("src via other iface, rp_filter=1", &far)
            .no_routes()
            .sysctl(RP_FILTER, 1)
            .program_after(by_lo)
            .loses("IP_RPFILTER", Accepted),
        row("src via other iface, rp_filter=2", &far)
            .no_routes()
            .sysctl(RP_FILTER, 2)
            .program_after(by_lo)
            .not_predicted("the application adds the route"),
        row("src unroutable, rp_filter=1 + default route dev vrx", &far).sysctl(RP_FILTER, 1),
    ]
}

fn destinations() -> Vec<Row> {
    let near = v4().destination("10.9.0.99");
    let off = v4().destination("198.51.100.9");
    vec![
        row("wrong dst IP (not local), ip_forward=0", &near).loses("IP_INADDRERRORS", Accepted),
        row("wrong dst IP off-net, ip_forward=0", &off).no_routes().loses("IP_INADDRERRORS", Accepted),
        row("wrong dst IP off-net, ip_forward=1 no route", &off)
            .no_routes()
            .sysctl(FORWARDING, 1)
            .loses("IP_INNOROUTES", Accepted),
        row("wrong dst IP on-net, ip_forward=1 (forwarded back)", &near)
            .sysctl(FORWARDING, 1)
            .loses("FORWARDED", Accepted)
            .without_reason(),
        row("ttl=1, forward=1", &off.ttl(1)).sysctl(FORWARDING, 1).loses("IP_INHDR", Accepted),
        row("dst 127.0.0.1", &v4().destination("127.0.0.1")).loses("IP_LOCALNET", Accepted),
        row("rx no IP address", &v4()).addresses("[]").loses("IP_INADDRERRORS", Accepted),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        row("bad IP checksum", &v4().header_sum(Sum::Wrong)).loses("IP_CSUM", Accepted),
        row("ttl=0", &v4().ttl(0)),
        row("ttl=1", &v4().ttl(1)),
        row("IP version 5", &v4().version(5)).no_udp().loses("IP_INHDR", Accepted),
        // Loose source routing by 10.9.0.1, and the end of the options.
        row("source-route option", &v4().options(&[131, 7, 4, 10, 9, 0, 1, 0]))
            .loses("SOURCE_ROUTE", Accepted)
            .without_reason(),
        row("IP proto 253 (no handler)", &v4().protocol(253)).no_udp().loses("IP_NOPROTO", Delivered),
    ]
}

fn fragments() -> Vec<Row> {
    let [first, middle, last] = v4().fragments();
    vec![
        of("fragments: all 3", v4().fragments().to_vec()),
        of("fragments: middle missing", vec![first.clone(), last.clone()]).loses("FRAG_REASM_TIMEOUT", Accepted),
        of("fragments: duplicate first", vec![first.clone(), first, middle, last]).loses_of(
            "DUP_FRAG",
            Accepted,
            1..=1,
            Some("2".to_owned()),
        ),
    ]
}

fn groups() -> Vec<Row> {
    let group = v4().destination(GROUP).mac(GROUP_MAC);
    vec![
        row("multicast dst not joined", &group)
            .program("plain", "0.0.0.0:9999")
            .not_predicted("the application may join the group")
            .loses("MULTICAST_NOT_JOINED", Accepted)
            .without_reason(),
        row("multicast dst joined", &group),
        row("multicast dst joined, unicast MAC of rx", &group.clone().mac(RECEIVER)).program("joins", "0.0.0.0:9999"),
        row("subnet broadcast dst 10.9.0.255", &v4().destination("10.9.0.255").mac(BROADCAST)),
        row("limited broadcast 255.255.255.255", &v4().destination("255.255.255.255").mac(BROADCAST)),
        not_provoked("iptables INPUT DROP", "the same hook of the same kernel as `nft input drop`, with older words"),
    ]
}
