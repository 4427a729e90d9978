//! The table of provoked cases, as far as the frame, the addresses, the routes, the sysctls and the sockets decide them.
//!
//! `words` has what is said of them.

mod explain;
mod filter;

use std::net::IpAddr;

use ipnet::IpNet;

use super::stack::{disposition, stage};
use super::{Disposition, Prediction};
use crate::capture::FrameRanges;
use crate::cause::Cause;
use crate::host::interface::InterfaceKind;
use crate::host::{Host, Route, RouteKind, RouteTable, Socket};
use crate::outcome::Stage;
use crate::packet::MacAddr;
use crate::predict::{Carried, Class, ClassKey, Flaw, Tags};
use crate::scenario::require::{Listener, Transport};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The receiver of the table: 10.9.0.2/24 and fd00::2/64, and routes to nowhere else.
fn host() -> Host {
    let addresses = ["10.9.0.2/24", "fd00::2/64"].map(net).to_vec();
    let listener = Listener { transport: Transport::Udp, address: None, port: 4739 };
    Host {
        routes: RouteTable::of_loopback().chain(RouteTable::of_addresses(&addresses, "rx0")).collect(),
        addresses,
        sockets: vec![listener.into()],
        listens: vec![listener],
        joined: Some(std::collections::BTreeSet::new()),
        ..Host::of_lab("rx0", MAC)
    }
}

fn routed(host: &mut Host, routes: impl IntoIterator<Item = Route>) {
    host.routes = host.routes.iter().cloned().chain(routes).collect();
}

fn default_routes(host: &mut Host) {
    routed(host, ["0.0.0.0/0", "::/0"].map(|prefix| Route::out(net(prefix), "rx0")));
}

/// 203.0.113.0/24 is behind another interface.
fn elsewhere(host: &mut Host) {
    routed(host, [Route::out(net("203.0.113.0/24"), "eth7")]);
}

fn refusing(host: &mut Host, kind: RouteKind) {
    let prefix = net("203.0.113.0/24");
    routed(host, [Route { prefix, device: String::new(), kind, metric: 0 }]);
}

fn with(change: impl Fn(&mut Host)) -> Host {
    let mut host = host();
    change(&mut host);
    host
}

fn datagram(source: &str, destination: &str, port: u16) -> ClassKey {
    let carried =
        Carried::Ip { source: address(source), destination: address(destination), protocol: 17, port: Some(port) };
    ClassKey { mac: MAC, tags: Tags::None, in_vlan: false, carried, spent: false, flaw: Flaw::None }
}

fn of_protocol(key: ClassKey, of: u8) -> ClassKey {
    let mut key = key;
    if let Carried::Ip { protocol, .. } = &mut key.carried {
        *protocol = of;
    }
    key
}

/// The rows of the table of provoked cases that need no more than addresses, routes and sysctls.
#[test]
fn sources_and_destinations_end_as_they_did_when_provoked() {
    let (lost, delivered) = (Disposition::Lost, Disposition::Delivered);
    let strict = |rp_filter| move |host: &mut Host| host.settings.rp_filter = rp_filter;
    let filtering = |rp_filter, routes: fn(&mut Host)| {
        with(|host| {
            host.settings.rp_filter = rp_filter;
            routes(host);
        })
    };
    let (plain, forwarding) = (|| with(|_| ()), || with(|host| host.settings.forwarding.v4 = true));
    let (ours, theirs) = ("10.9.0.2", "10.9.0.1");
    let cases: Vec<(&str, &str, Host, Disposition)> = vec![
        (theirs, ours, plain(), delivered),
        // Destinations that aren't local.
        (theirs, "10.9.0.77", plain(), lost(Cause::IpInaddrerrors)),
        (theirs, "10.77.0.1", plain(), lost(Cause::IpInaddrerrors)),
        (theirs, "10.77.0.1", with(default_routes), lost(Cause::IpInaddrerrors)),
        (theirs, "10.77.0.1", forwarding(), lost(Cause::IpInnoroutes)),
        (theirs, "10.9.0.77", forwarding(), lost(Cause::Forwarded)),
        (theirs, ours, forwarding(), delivered),
        (
            theirs,
            "203.0.113.9",
            with(|host| {
                host.settings.forwarding.v4 = true;
                refusing(host, RouteKind::Unreachable);
            }),
            lost(Cause::IpInnoroutes),
        ),
        (
            "203.0.113.9",
            "10.9.0.77",
            with(|host| (host.settings.forwarding.v4, host.settings.rp_filter) = (true, 1)),
            lost(Cause::IpRpfilter),
        ),
        (theirs, "0.0.0.0", plain(), lost(Cause::IpInvalidDest)),
        (theirs, "0.0.0.9", forwarding(), lost(Cause::IpInnoroutes)),
        (
            theirs,
            ours,
            with(|host| {
                host.addresses.clear();
                host.routes = RouteTable::of_loopback().collect();
            }),
            lost(Cause::IpInaddrerrors),
        ),
        // Loopback.
        ("127.0.0.1", ours, plain(), lost(Cause::IpLocalnet)),
        ("127.0.0.1", ours, with(|host| host.settings.route_localnet = true), lost(Cause::IpLocalSource)),
        (
            "127.0.0.1",
            ours,
            with(|host| (host.settings.route_localnet, host.settings.accept_local) = (true, true)),
            delivered,
        ),
        (theirs, "127.0.0.1", plain(), lost(Cause::IpLocalnet)),
        (theirs, "127.0.0.1", with(|host| host.settings.route_localnet = true), delivered),
        // The receiver's own.
        (ours, ours, plain(), lost(Cause::IpLocalSource)),
        (ours, ours, with(|host| host.settings.accept_local = true), delivered),
        (ours, ours, with(|host| (host.settings.accept_local, host.settings.rp_filter) = (true, 1)), delivered),
        // Martians, and what isn't one.
        ("255.255.255.255", ours, plain(), lost(Cause::IpInvalidSource)),
        ("10.9.0.255", ours, plain(), delivered),
        ("10.9.0.0", ours, plain(), delivered),
        ("0.0.0.0", ours, plain(), lost(Cause::IpInvalidSource)),
        ("0.0.0.9", ours, plain(), delivered),
        ("224.0.0.1", ours, plain(), lost(Cause::IpInvalidSource)),
        ("240.0.0.1", ours, plain(), delivered),
        // Reverse path filtering.
        ("203.0.113.9", ours, plain(), delivered),
        ("203.0.113.9", ours, with(strict(1)), lost(Cause::IpRpfilter)),
        ("203.0.113.9", ours, with(strict(2)), lost(Cause::IpRpfilter)),
        (theirs, ours, with(strict(1)), delivered),
        ("203.0.113.9", ours, filtering(1, elsewhere), lost(Cause::IpRpfilter)),
        ("203.0.113.9", ours, filtering(2, elsewhere), delivered),
        ("203.0.113.9", ours, filtering(1, default_routes), delivered),
        (
            "203.0.113.9",
            ours,
            with(|host| {
                host.settings.rp_filter = 2;
                default_routes(host);
                refusing(host, RouteKind::Blackhole);
            }),
            lost(Cause::IpRpfilter),
        ),
    ];
    as_provoked(cases);
}

/// The rows of broadcasts, groups and IPv6.
#[test]
fn broadcasts_groups_and_ipv6_end_as_they_did_when_provoked() {
    let lost = Disposition::Lost;
    let strict = |rp_filter| move |host: &mut Host| host.settings.rp_filter = rp_filter;
    let plain = || with(|_| ());
    let (ours, theirs) = ("10.9.0.2", "10.9.0.1");
    let cases: Vec<(&str, &str, Host, Disposition)> = vec![
        (theirs, "10.9.0.255", plain(), Disposition::Delivered),
        (theirs, "255.255.255.255", plain(), Disposition::Delivered),
        ("0.0.0.0", "255.255.255.255", with(strict(1)), Disposition::Delivered),
        ("203.0.113.9", "255.255.255.255", with(strict(1)), lost(Cause::IpRpfilter)),
        // Of 127.0.0.0/8 only 127.0.0.1 is an address.
        ("127.0.0.1", "255.255.255.255", plain(), lost(Cause::IpLocalSource)),
        ("127.0.0.9", "255.255.255.255", plain(), Disposition::Delivered),
        ("127.0.0.9", "255.255.255.255", with(strict(1)), lost(Cause::IpLocalSource)),
        (theirs, "239.1.1.1", plain(), lost(Cause::MulticastNotJoined)),
        (theirs, "239.1.1.1", with(|host| host.joined = None), Disposition::Open),
        (theirs, "239.1.1.1", with(|host| host.joined = Some([address("239.1.1.1")].into())), Disposition::Delivered),
        (ours, "224.0.0.1", plain(), lost(Cause::IpLocalSource)),
        ("127.0.0.1", "224.0.0.1", plain(), lost(Cause::IpLocalnet)),
        // IPv6.
        ("fd00::1", "fd00::2", plain(), Disposition::Delivered),
        ("fd00::1", "fd00::77", plain(), lost(Cause::IpInaddrerrors)),
        ("fd00::1", "2001:db8::1", plain(), lost(Cause::IpInnoroutes)),
        ("fd00::1", "2001:db8::1", with(default_routes), lost(Cause::IpInaddrerrors)),
        ("fd00::1", "2001:db8::1", with(|host| host.settings.forwarding.v6 = true), lost(Cause::IpInnoroutes)),
        ("fd00::1", "fd00::77", with(|host| host.settings.forwarding.v6 = true), lost(Cause::Forwarded)),
        ("fe80::9", "fd00::77", with(|host| host.settings.forwarding.v6 = true), lost(Cause::IpInaddrerrors)),
        ("::1", "fd00::2", plain(), lost(Cause::IpInhdr)),
        ("fd00::1", "::1", plain(), lost(Cause::IpInhdr)),
        ("::1", "::1", with(|host| host.interface.kind = InterfaceKind::Loopback), Disposition::Delivered),
        ("ff02::1", "fd00::2", plain(), lost(Cause::IpInhdr)),
        ("fd00::2", "fd00::2", plain(), Disposition::Delivered),
        ("::", "fd00::2", plain(), Disposition::Delivered),
        ("::ffff:10.9.0.1", "fd00::2", plain(), Disposition::Delivered),
        ("2001:db8::9", "fd00::2", with(strict(1)), Disposition::Delivered),
        ("fd00::1", "ff05::9", plain(), lost(Cause::MulticastNotJoined)),
        ("fd00::1", "ff02::1", plain(), Disposition::Delivered),
        ("fd00::1", "ff01::1", plain(), lost(Cause::IpInhdr)),
        ("fd00::1", "fd00::2", with(|host| host.settings.ipv6_disabled = true), lost(Cause::Ipv6disabled)),
    ];
    as_provoked(cases);
}

fn as_provoked(cases: Vec<(&str, &str, Host, Disposition)>) {
    for (source, destination, host, expected) in cases {
        assert_eq!(
            disposition(&datagram(source, destination, 4739), &host),
            expected,
            "{source} > {destination} at {host:?}"
        );
    }
}

#[test]
fn a_ttl_of_one_ends_where_it_would_be_sent_on_and_nowhere_else() {
    let forwards = with(|host| host.settings.forwarding = crate::host::ByFamily { v4: true, v6: true });
    for (source, own, other) in [("10.9.0.1", "10.9.0.2", "10.9.0.77"), ("fd00::1", "fd00::2", "fd00::77")] {
        let spent = |to| ClassKey { spent: true, ..datagram(source, to, 4739) };
        assert_eq!(disposition(&spent(own), &forwards), Disposition::Delivered);
        assert_eq!(disposition(&spent(other), &forwards), Disposition::Lost(Cause::IpInhdr));
        assert_eq!(disposition(&spent(other), &host()), Disposition::Lost(Cause::IpInaddrerrors));
    }
}

#[test]
fn a_foreign_mac_and_a_tag_come_before_everything_in_the_packet() {
    let mut key = datagram("127.0.0.1", "10.9.0.77", 4739);
    key.mac = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(disposition(&key, &host()), Disposition::Lost(Cause::Otherhost));
    key.mac = MacAddr::BROADCAST;
    (key.tags, key.in_vlan) = (Tags::One, true);
    assert_eq!(disposition(&key, &host()), Disposition::Lost(Cause::Otherhost));
    assert_eq!(disposition(&key, &with(|host| host.vlans.push("rx0.5".to_owned()))), Disposition::Open);
}

#[test]
fn unicast_in_a_group_mac_is_delivered_unless_a_sysctl_forbids_it() {
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let four = ClassKey { mac: group, ..datagram("10.9.0.1", "10.9.0.2", 4739) };
    let six = ClassKey { mac: MacAddr::BROADCAST, ..datagram("fd00::1", "fd00::2", 4739) };
    let (drops_four, drops_six) = (
        with(|host| host.settings.drop_unicast_in_group.v4 = true),
        with(|host| host.settings.drop_unicast_in_group.v6 = true),
    );
    let dropped = Disposition::Lost(Cause::UnicastInL2Multicast);
    assert_eq!(
        [&host(), &drops_four, &drops_six].map(|host| disposition(&four, host)),
        [Disposition::Delivered, dropped, Disposition::Delivered]
    );
    assert_eq!(
        [&host(), &drops_four, &drops_six].map(|host| disposition(&six, host)),
        [Disposition::Delivered, Disposition::Delivered, dropped]
    );
    // It is tested before the destination is looked up, and behind martians.
    let to_no_host = ClassKey { mac: group, ..datagram("10.9.0.1", "10.9.0.77", 4739) };
    assert_eq!(disposition(&to_no_host, &drops_four), dropped);
    let martian = ClassKey { mac: group, ..datagram("127.0.0.1", "10.9.0.2", 4739) };
    assert_eq!(disposition(&martian, &drops_four), Disposition::Lost(Cause::IpLocalnet));
    // A broadcast is a broadcast.
    let broadcast = ClassKey { mac: MacAddr::BROADCAST, ..datagram("10.9.0.1", "10.9.0.255", 4739) };
    assert_eq!(disposition(&broadcast, &drops_four), Disposition::Delivered);
}

#[test]
fn flaws_end_where_the_kernel_finds_them() {
    let flaws = [
        (Flaw::Header, Cause::IpInhdr, Stage::Accepted, Stage::Accepted),
        (Flaw::HeaderSum, Cause::IpCsum, Stage::Accepted, Stage::Accepted),
        (Flaw::Length, Cause::PktTooSmall, Stage::Accepted, Stage::Accepted),
        (Flaw::SourceRoute(None), Cause::SourceRoute, Stage::Accepted, Stage::Accepted),
        (Flaw::UdpLength, Cause::PktTooSmall, Stage::Delivered, Stage::Delivered),
        (Flaw::UdpSum, Cause::UdpCsum, Stage::Delivered, Stage::Delivered),
        (Flaw::UdpSumOffload, Cause::UdpCsum, Stage::Delivered, Stage::Delivered),
        (Flaw::UdpSumAbsent, Cause::UdpCsum, Stage::Delivered, Stage::Delivered),
        (Flaw::FragmentMissing, Cause::FragReasmTimeout, Stage::Accepted, Stage::Delivered),
        (Flaw::FragmentRepeated, Cause::DupFrag, Stage::Accepted, Stage::Delivered),
        (Flaw::FragmentOverlaps, Cause::DupFrag, Stage::Accepted, Stage::Delivered),
    ];
    for (flaw, cause, in_four, in_six) in flaws {
        let four = ClassKey { flaw, ..datagram("10.9.0.1", "10.9.0.2", 4739) };
        assert_eq!(
            (disposition(&four, &host()), stage(cause, &four, &host())),
            (Disposition::Lost(cause), in_four),
            "{flaw:?}"
        );
        if matches!(flaw, Flaw::HeaderSum | Flaw::Header | Flaw::SourceRoute(_)) {
            continue;
        }
        let six = ClassKey { flaw, ..datagram("fd00::1", "fd00::2", 4739) };
        assert_eq!(
            (disposition(&six, &host()), stage(cause, &six, &host())),
            (Disposition::Lost(cause), in_six),
            "{flaw:?}"
        );
    }
    for flaw in [Flaw::TcpSum, Flaw::TcpSumOffload] {
        for (source, destination) in [("10.9.0.1", "10.9.0.2"), ("fd00::1", "fd00::2")] {
            let key = ClassKey { flaw, ..of_protocol(datagram(source, destination, 80), 6) };
            assert_eq!(disposition(&key, &host()), Disposition::Lost(Cause::TcpCsum));
        }
    }
}

#[test]
fn of_two_flaws_the_one_counts_that_the_kernel_meets_first() {
    let cases = [
        ("127.0.0.1", "10.9.0.2", Flaw::HeaderSum, Cause::IpCsum),
        ("127.0.0.1", "10.9.0.2", Flaw::SourceRoute(None), Cause::IpLocalnet),
        ("10.9.0.1", "10.9.0.77", Flaw::SourceRoute(None), Cause::SourceRoute),
        ("10.9.0.1", "10.9.0.77", Flaw::FragmentMissing, Cause::IpInaddrerrors),
        ("10.9.0.1", "10.9.0.77", Flaw::UdpSum, Cause::IpInaddrerrors),
        ("::1", "fd00::2", Flaw::Length, Cause::IpInhdr),
        ("fd00::1", "fd00::77", Flaw::Length, Cause::PktTooSmall),
    ];
    for (source, destination, flaw, cause) in cases {
        let key = ClassKey { flaw, ..datagram(source, destination, 4739) };
        assert_eq!(disposition(&key, &host()), Disposition::Lost(cause), "{source} > {destination} {flaw:?}");
    }
    let accepts = with(|host| host.settings.accept_source_route = true);
    let key = ClassKey { flaw: Flaw::SourceRoute(None), ..datagram("10.9.0.1", "10.9.0.2", 4739) };
    assert_eq!(disposition(&key, &accepts), Disposition::Delivered);
    let next = |next: [u8; 4]| ClassKey { flaw: Flaw::SourceRoute(Some(next.into())), ..key };
    assert_eq!(disposition(&next([10, 9, 0, 2]), &accepts), Disposition::Delivered);
    assert_eq!(disposition(&next([10, 9, 0, 77]), &accepts), Disposition::Lost(Cause::SourceRoute));
    assert_eq!(
        disposition(&ClassKey { mac: MacAddr::BROADCAST, ..key }, &accepts),
        Disposition::Lost(Cause::SourceRoute)
    );
}

#[test]
fn ports_and_protocols_need_a_socket_or_handler() {
    assert_eq!(disposition(&datagram("10.9.0.1", "10.9.0.2", 9), &host()), Disposition::Lost(Cause::NoSocket));
    assert_eq!(disposition(&datagram("fd00::1", "fd00::2", 9), &host()), Disposition::Lost(Cause::NoSocket));
    let no_handler = Disposition::Lost(Cause::IpNoproto);
    let protocols = [
        (1, Disposition::Kernel, no_handler),
        (2, Disposition::Kernel, no_handler),
        (6, Disposition::Kernel, Disposition::Kernel),
        (44, no_handler, no_handler),
        (47, Disposition::Open, Disposition::Open),
        (58, no_handler, Disposition::Kernel),
        (59, no_handler, Disposition::Kernel),
        (89, Disposition::Open, Disposition::Open),
        (112, Disposition::Open, Disposition::Open),
        (136, Disposition::Open, Disposition::Open),
        (253, no_handler, no_handler),
    ];
    for (protocol, in_four, in_six) in protocols {
        let ends = [("10.9.0.1", "10.9.0.2"), ("fd00::1", "fd00::2")].map(|(source, destination)| {
            disposition(&of_protocol(datagram(source, destination, 9), protocol), &host())
        });
        assert_eq!(ends, [in_four, in_six], "protocol {protocol}");
    }
}

#[test]
fn other_ethertypes_are_the_kernels_or_unhandled() {
    let key = |ethertype| ClassKey {
        mac: MacAddr::BROADCAST,
        tags: Tags::None,
        in_vlan: false,
        carried: Carried::Other { ethertype },
        spent: false,
        flaw: Flaw::None,
    };
    assert_eq!(disposition(&key(Some(0x0806)), &host()), Disposition::Kernel);
    assert_eq!(disposition(&key(Some(0x9999)), &host()), Disposition::Lost(Cause::UnhandledProto));
    assert_eq!(disposition(&key(None), &host()), Disposition::Lost(Cause::UnhandledProto));
    for ethertype in [0x8847, 0x8848, 0x8863, 0x8864, 0x8100, 0x88a8, 0x9100, 0x88cc] {
        assert_eq!(
            disposition(&key(Some(ethertype)), &host()),
            Disposition::Lost(Cause::UnhandledProto),
            "{ethertype:#06x}"
        );
    }
    // ARP of another host, or of a VLAN, is left alone without a drop.
    let arp_in_vlan = ClassKey { in_vlan: true, tags: Tags::One, ..key(Some(0x0806)) };
    assert_eq!(disposition(&arp_in_vlan, &host()), Disposition::Kernel);
    // Too short for an IP header, or of IP version 5.
    assert_eq!(disposition(&key(Some(0x0800)), &host()), Disposition::Lost(Cause::IpInhdr));
    assert_eq!(
        disposition(&key(Some(0x86dd)), &with(|host| host.settings.ipv6_disabled = true)),
        Disposition::Lost(Cause::Ipv6disabled)
    );
}

#[test]
fn of_routes_the_longest_prefix_counts_and_then_the_lowest_metric() {
    let route = |prefix, device: &str, metric| Route { metric, ..Route::out(net(prefix), device) };
    let table: RouteTable = [
        route("0.0.0.0/0", "a", 100),
        route("0.0.0.0/0", "b", 50),
        route("10.0.0.0/8", "c", 0),
        route("10.9.0.0/16", "d", 0),
        route("10.9.0.0/16", "e", 0),
        route("::/0", "f", 0),
        Route::local(net("10.9.0.2/32"), "d"),
    ]
    .into_iter()
    .collect();
    let devices = |to: &str| table.to(address(to)).iter().map(|route| route.device.as_str()).collect::<Vec<_>>();
    assert_eq!(devices("192.0.2.1"), ["b"]);
    assert_eq!(devices("10.1.2.3"), ["c"]);
    assert_eq!(devices("10.9.1.1"), ["d", "e"]);
    assert_eq!(devices("2001:db8::1"), ["f"]);
    assert!(table.is_local(address("10.9.0.2")));
    assert!(!table.is_local(address("10.9.0.3")));
}

/// The prediction for a class of one frame.
fn prediction(key: ClassKey, host: &Host) -> Prediction {
    let mut frames = FrameRanges::default();
    frames.add(1);
    super::prediction(Class { frames, datagrams: 1, packets: 1, ..Class::new(key) }, host)
}

#[test]
fn what_is_lost_has_a_stage_and_words_and_what_is_delivered_has_none() {
    let delivered = prediction(datagram("10.9.0.1", "10.9.0.2", 4739), &host());
    assert_eq!((delivered.stage, delivered.why.as_str(), delivered.class.packets), (Stage::Consumed, "", 1));
    let lost = prediction(datagram("10.9.0.1", "10.9.0.2", 9), &host());
    assert_eq!((lost.stage, lost.disposition), (Stage::Delivered, Disposition::Lost(Cause::NoSocket)));
}

/// A socket like the host's, changed.
fn socket(change: impl Fn(&mut Socket)) -> Socket {
    let mut socket = Socket::from(Listener { transport: Transport::Udp, address: None, port: 4739 });
    change(&mut socket);
    socket
}
