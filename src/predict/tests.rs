//! The table of provoked cases, as far as the frame, the addresses, the routes, the sysctls and the sockets decide them.
//!
//! `words` has what is said of them.

mod filter;
mod words;

use std::net::IpAddr;

use ipnet::IpNet;

use super::site::{Forwarding, Route, RouteKind, RouteTable, Site, Socket};
use super::stack::{end, stage};
use super::{End, Fate};
use crate::capture::FrameRanges;
use crate::cause::Cause;
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
fn site() -> Site {
    let addresses = ["10.9.0.2/24", "fd00::2/64"].map(net).to_vec();
    let listener = Listener { transport: Transport::Udp, address: None, port: 4739 };
    Site {
        interface: "rx0".to_owned(),
        real: false,
        loopback: false,
        vlans: false,
        mac: MAC,
        routes: RouteTable::of_loopback().chain(RouteTable::of_addresses(&addresses, "rx0")).collect(),
        addresses,
        rp_filter: 0,
        accept_local: false,
        route_localnet: false,
        accept_source_route: false,
        segment_routing: false,
        drop_unicast_in_group: false,
        drop_unicast_in_group_v6: false,
        forwarding: Forwarding::default(),
        ipv6_disabled: false,
        sockets: vec![listener.into()],
        listens: vec![listener],
        filter: super::Filter::None,
        joined: Some(std::collections::BTreeSet::new()),
    }
}

/// With more routes.
fn routed(site: &mut Site, routes: impl IntoIterator<Item = Route>) {
    site.routes = site.routes.iter().cloned().chain(routes).collect();
}

fn default_routes(site: &mut Site) {
    routed(site, ["0.0.0.0/0", "::/0"].map(|prefix| Route::out(net(prefix), "rx0")));
}

/// 203.0.113.0/24 is behind another interface.
fn elsewhere(site: &mut Site) {
    routed(site, [Route::out(net("203.0.113.0/24"), "eth7")]);
}

fn refusing(site: &mut Site, kind: RouteKind) {
    let prefix = net("203.0.113.0/24");
    routed(site, [Route { prefix, device: String::new(), kind, metric: 0 }]);
}

fn with(change: impl Fn(&mut Site)) -> Site {
    let mut site = site();
    change(&mut site);
    site
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
    let lost = End::Lost;
    let strict = |rp_filter| move |site: &mut Site| site.rp_filter = rp_filter;
    let plain = || with(|_| ());
    let (ours, theirs) = ("10.9.0.2", "10.9.0.1");
    let cases: Vec<(&str, &str, Site, End)> = vec![
        (theirs, ours, plain(), End::Delivered),
        // Destinations that aren't local.
        (theirs, "10.9.0.77", plain(), lost(Cause::IpInaddrerrors)),
        (theirs, "10.77.0.1", plain(), lost(Cause::IpInaddrerrors)),
        (theirs, "10.77.0.1", with(default_routes), lost(Cause::IpInaddrerrors)),
        (theirs, "10.77.0.1", with(|site| site.forwarding.v4 = true), lost(Cause::IpInnoroutes)),
        (theirs, "10.9.0.77", with(|site| site.forwarding.v4 = true), lost(Cause::Forwarded)),
        (theirs, ours, with(|site| site.forwarding.v4 = true), End::Delivered),
        (
            theirs,
            "203.0.113.9",
            with(|site| {
                site.forwarding.v4 = true;
                refusing(site, RouteKind::Unreachable);
            }),
            lost(Cause::IpInnoroutes),
        ),
        (
            "203.0.113.9",
            "10.9.0.77",
            with(|site| (site.forwarding.v4, site.rp_filter) = (true, 1)),
            lost(Cause::IpRpfilter),
        ),
        (theirs, "0.0.0.0", plain(), lost(Cause::IpInvalidDest)),
        (theirs, "0.0.0.9", with(|site| site.forwarding.v4 = true), lost(Cause::IpInnoroutes)),
        (
            theirs,
            ours,
            with(|site| {
                site.addresses.clear();
                site.routes = RouteTable::of_loopback().collect();
            }),
            lost(Cause::IpInaddrerrors),
        ),
        // Loopback.
        ("127.0.0.1", ours, plain(), lost(Cause::IpLocalnet)),
        ("127.0.0.1", ours, with(|site| site.route_localnet = true), lost(Cause::IpLocalSource)),
        ("127.0.0.1", ours, with(|site| (site.route_localnet, site.accept_local) = (true, true)), End::Delivered),
        (theirs, "127.0.0.1", plain(), lost(Cause::IpLocalnet)),
        (theirs, "127.0.0.1", with(|site| site.route_localnet = true), End::Delivered),
        // The receiver's own.
        (ours, ours, plain(), lost(Cause::IpLocalSource)),
        (ours, ours, with(|site| site.accept_local = true), End::Delivered),
        (ours, ours, with(|site| (site.accept_local, site.rp_filter) = (true, 1)), End::Delivered),
        // Martians, and what isn't one.
        ("255.255.255.255", ours, plain(), lost(Cause::IpInvalidSource)),
        ("10.9.0.255", ours, plain(), End::Delivered),
        ("10.9.0.0", ours, plain(), End::Delivered),
        ("0.0.0.0", ours, plain(), lost(Cause::IpInvalidSource)),
        ("0.0.0.9", ours, plain(), End::Delivered),
        ("224.0.0.1", ours, plain(), lost(Cause::IpInvalidSource)),
        ("240.0.0.1", ours, plain(), End::Delivered),
        // Reverse path filtering.
        ("203.0.113.9", ours, plain(), End::Delivered),
        ("203.0.113.9", ours, with(strict(1)), lost(Cause::IpRpfilter)),
        ("203.0.113.9", ours, with(strict(2)), lost(Cause::IpRpfilter)),
        (theirs, ours, with(strict(1)), End::Delivered),
        (
            "203.0.113.9",
            ours,
            with(|site| {
                site.rp_filter = 1;
                elsewhere(site);
            }),
            lost(Cause::IpRpfilter),
        ),
        (
            "203.0.113.9",
            ours,
            with(|site| {
                site.rp_filter = 2;
                elsewhere(site);
            }),
            End::Delivered,
        ),
        (
            "203.0.113.9",
            ours,
            with(|site| {
                site.rp_filter = 1;
                default_routes(site);
            }),
            End::Delivered,
        ),
        (
            "203.0.113.9",
            ours,
            with(|site| {
                site.rp_filter = 2;
                default_routes(site);
                refusing(site, RouteKind::Blackhole);
            }),
            lost(Cause::IpRpfilter),
        ),
    ];
    as_provoked(cases);
}

/// The rows of broadcasts, groups and IPv6.
#[test]
fn broadcasts_groups_and_ipv6_end_as_they_did_when_provoked() {
    let lost = End::Lost;
    let strict = |rp_filter| move |site: &mut Site| site.rp_filter = rp_filter;
    let plain = || with(|_| ());
    let (ours, theirs) = ("10.9.0.2", "10.9.0.1");
    let cases: Vec<(&str, &str, Site, End)> = vec![
        (theirs, "10.9.0.255", plain(), End::Delivered),
        (theirs, "255.255.255.255", plain(), End::Delivered),
        ("0.0.0.0", "255.255.255.255", with(strict(1)), End::Delivered),
        ("203.0.113.9", "255.255.255.255", with(strict(1)), lost(Cause::IpRpfilter)),
        // Of 127.0.0.0/8 only 127.0.0.1 is an address.
        ("127.0.0.1", "255.255.255.255", plain(), lost(Cause::IpLocalSource)),
        ("127.0.0.9", "255.255.255.255", plain(), End::Delivered),
        ("127.0.0.9", "255.255.255.255", with(strict(1)), lost(Cause::IpLocalSource)),
        (theirs, "239.1.1.1", plain(), lost(Cause::MulticastNotJoined)),
        (theirs, "239.1.1.1", with(|site| site.joined = None), End::Open),
        (theirs, "239.1.1.1", with(|site| site.joined = Some([address("239.1.1.1")].into())), End::Delivered),
        (ours, "224.0.0.1", plain(), lost(Cause::IpLocalSource)),
        ("127.0.0.1", "224.0.0.1", plain(), lost(Cause::IpLocalnet)),
        // IPv6.
        ("fd00::1", "fd00::2", plain(), End::Delivered),
        ("fd00::1", "fd00::77", plain(), lost(Cause::IpInaddrerrors)),
        ("fd00::1", "2001:db8::1", plain(), lost(Cause::IpInnoroutes)),
        ("fd00::1", "2001:db8::1", with(default_routes), lost(Cause::IpInaddrerrors)),
        ("fd00::1", "2001:db8::1", with(|site| site.forwarding.v6 = true), lost(Cause::IpInnoroutes)),
        ("fd00::1", "fd00::77", with(|site| site.forwarding.v6 = true), lost(Cause::Forwarded)),
        ("fe80::9", "fd00::77", with(|site| site.forwarding.v6 = true), lost(Cause::IpInaddrerrors)),
        ("::1", "fd00::2", plain(), lost(Cause::IpInhdr)),
        ("fd00::1", "::1", plain(), lost(Cause::IpInhdr)),
        ("::1", "::1", with(|site| site.loopback = true), End::Delivered),
        ("ff02::1", "fd00::2", plain(), lost(Cause::IpInhdr)),
        ("fd00::2", "fd00::2", plain(), End::Delivered),
        ("::", "fd00::2", plain(), End::Delivered),
        ("::ffff:10.9.0.1", "fd00::2", plain(), End::Delivered),
        ("2001:db8::9", "fd00::2", with(strict(1)), End::Delivered),
        ("fd00::1", "ff05::9", plain(), lost(Cause::MulticastNotJoined)),
        ("fd00::1", "ff02::1", plain(), End::Delivered),
        ("fd00::1", "ff01::1", plain(), lost(Cause::IpInhdr)),
        ("fd00::1", "fd00::2", with(|site| site.ipv6_disabled = true), lost(Cause::Ipv6disabled)),
    ];
    as_provoked(cases);
}

fn as_provoked(cases: Vec<(&str, &str, Site, End)>) {
    for (source, destination, site, expected) in cases {
        assert_eq!(end(&datagram(source, destination, 4739), &site), expected, "{source} > {destination} at {site:?}");
    }
}

#[test]
fn a_ttl_of_one_ends_where_it_would_be_sent_on_and_nowhere_else() {
    let forwards = with(|site| site.forwarding = Forwarding { v4: true, v6: true });
    for (source, own, other) in [("10.9.0.1", "10.9.0.2", "10.9.0.77"), ("fd00::1", "fd00::2", "fd00::77")] {
        let spent = |to| ClassKey { spent: true, ..datagram(source, to, 4739) };
        assert_eq!(end(&spent(own), &forwards), End::Delivered);
        assert_eq!(end(&spent(other), &forwards), End::Lost(Cause::IpInhdr));
        assert_eq!(end(&spent(other), &site()), End::Lost(Cause::IpInaddrerrors));
    }
}

#[test]
fn a_foreign_mac_and_a_tag_come_before_everything_in_the_packet() {
    let mut key = datagram("127.0.0.1", "10.9.0.77", 4739);
    key.mac = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(end(&key, &site()), End::Lost(Cause::Otherhost));
    key.mac = MacAddr::BROADCAST;
    (key.tags, key.in_vlan) = (Tags::One, true);
    assert_eq!(end(&key, &site()), End::Lost(Cause::Otherhost));
    assert_eq!(end(&key, &with(|site| site.vlans = true)), End::Open);
}

#[test]
fn unicast_in_a_group_mac_is_delivered_unless_a_sysctl_forbids_it() {
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let four = ClassKey { mac: group, ..datagram("10.9.0.1", "10.9.0.2", 4739) };
    let six = ClassKey { mac: MacAddr::BROADCAST, ..datagram("fd00::1", "fd00::2", 4739) };
    let (drops_four, drops_six) =
        (with(|site| site.drop_unicast_in_group = true), with(|site| site.drop_unicast_in_group_v6 = true));
    let dropped = End::Lost(Cause::UnicastInL2Multicast);
    assert_eq!(
        [&site(), &drops_four, &drops_six].map(|site| end(&four, site)),
        [End::Delivered, dropped, End::Delivered]
    );
    assert_eq!(
        [&site(), &drops_four, &drops_six].map(|site| end(&six, site)),
        [End::Delivered, End::Delivered, dropped]
    );
    // It comes before the destination is found to be nobody's, and behind martians.
    let for_nobody = ClassKey { mac: group, ..datagram("10.9.0.1", "10.9.0.77", 4739) };
    assert_eq!(end(&for_nobody, &drops_four), dropped);
    let martian = ClassKey { mac: group, ..datagram("127.0.0.1", "10.9.0.2", 4739) };
    assert_eq!(end(&martian, &drops_four), End::Lost(Cause::IpLocalnet));
    // A broadcast is a broadcast.
    let broadcast = ClassKey { mac: MacAddr::BROADCAST, ..datagram("10.9.0.1", "10.9.0.255", 4739) };
    assert_eq!(end(&broadcast, &drops_four), End::Delivered);
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
        assert_eq!((end(&four, &site()), stage(cause, &four, &site())), (End::Lost(cause), in_four), "{flaw:?}");
        if matches!(flaw, Flaw::HeaderSum | Flaw::Header | Flaw::SourceRoute(_)) {
            continue;
        }
        let six = ClassKey { flaw, ..datagram("fd00::1", "fd00::2", 4739) };
        assert_eq!((end(&six, &site()), stage(cause, &six, &site())), (End::Lost(cause), in_six), "{flaw:?}");
    }
    for flaw in [Flaw::TcpSum, Flaw::TcpSumOffload] {
        for (source, destination) in [("10.9.0.1", "10.9.0.2"), ("fd00::1", "fd00::2")] {
            let key = ClassKey { flaw, ..of_protocol(datagram(source, destination, 80), 6) };
            assert_eq!(end(&key, &site()), End::Lost(Cause::TcpCsum));
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
        assert_eq!(end(&key, &site()), End::Lost(cause), "{source} > {destination} {flaw:?}");
    }
    let accepts = with(|site| site.accept_source_route = true);
    let key = ClassKey { flaw: Flaw::SourceRoute(None), ..datagram("10.9.0.1", "10.9.0.2", 4739) };
    assert_eq!(end(&key, &accepts), End::Delivered);
    let next = |next: [u8; 4]| ClassKey { flaw: Flaw::SourceRoute(Some(next.into())), ..key };
    assert_eq!(end(&next([10, 9, 0, 2]), &accepts), End::Delivered);
    assert_eq!(end(&next([10, 9, 0, 77]), &accepts), End::Lost(Cause::SourceRoute));
    assert_eq!(end(&ClassKey { mac: MacAddr::BROADCAST, ..key }, &accepts), End::Lost(Cause::SourceRoute));
}

#[test]
fn ports_and_protocols_need_somebody_who_takes_them() {
    assert_eq!(end(&datagram("10.9.0.1", "10.9.0.2", 9), &site()), End::Lost(Cause::NoSocket));
    assert_eq!(end(&datagram("fd00::1", "fd00::2", 9), &site()), End::Lost(Cause::NoSocket));
    let nobody = End::Lost(Cause::IpNoproto);
    let protocols = [
        (1, End::Kernel, nobody),
        (2, End::Kernel, nobody),
        (6, End::Kernel, End::Kernel),
        (44, nobody, nobody),
        (47, End::Open, End::Open),
        (58, nobody, End::Kernel),
        (59, nobody, End::Kernel),
        (89, End::Open, End::Open),
        (112, End::Open, End::Open),
        (136, End::Open, End::Open),
        (253, nobody, nobody),
    ];
    for (protocol, in_four, in_six) in protocols {
        let ends = [("10.9.0.1", "10.9.0.2"), ("fd00::1", "fd00::2")]
            .map(|(source, destination)| end(&of_protocol(datagram(source, destination, 9), protocol), &site()));
        assert_eq!(ends, [in_four, in_six], "protocol {protocol}");
    }
}

#[test]
fn other_ethertypes_are_the_kernels_or_nobodys() {
    let key = |ethertype| ClassKey {
        mac: MacAddr::BROADCAST,
        tags: Tags::None,
        in_vlan: false,
        carried: Carried::Other { ethertype },
        spent: false,
        flaw: Flaw::None,
    };
    assert_eq!(end(&key(Some(0x0806)), &site()), End::Kernel);
    assert_eq!(end(&key(Some(0x9999)), &site()), End::Lost(Cause::UnhandledProto));
    assert_eq!(end(&key(None), &site()), End::Lost(Cause::UnhandledProto));
    for ethertype in [0x8847, 0x8848, 0x8863, 0x8864, 0x8100, 0x88a8, 0x9100, 0x88cc] {
        assert_eq!(end(&key(Some(ethertype)), &site()), End::Lost(Cause::UnhandledProto), "{ethertype:#06x}");
    }
    // ARP of another host, or of a VLAN, is left alone without a drop.
    let arp_in_vlan = ClassKey { in_vlan: true, tags: Tags::One, ..key(Some(0x0806)) };
    assert_eq!(end(&arp_in_vlan, &site()), End::Kernel);
    // Too short for an IP header, or of IP version 5.
    assert_eq!(end(&key(Some(0x0800)), &site()), End::Lost(Cause::IpInhdr));
    assert_eq!(end(&key(Some(0x86dd)), &with(|site| site.ipv6_disabled = true)), End::Lost(Cause::Ipv6disabled));
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

/// The fate of one class of one frame.
fn fate(key: ClassKey, site: &Site) -> Fate {
    let mut frames = FrameRanges::default();
    frames.add(1);
    super::fate(Class { frames, datagrams: 1, packets: 1, ..Class::new(key) }, site)
}

#[test]
fn what_is_lost_has_a_stage_and_words_and_what_is_delivered_has_none() {
    let delivered = fate(datagram("10.9.0.1", "10.9.0.2", 4739), &site());
    assert_eq!((delivered.stage, delivered.why.as_str(), delivered.packets), (Stage::Consumed, "", 1));
    let lost = fate(datagram("10.9.0.1", "10.9.0.2", 9), &site());
    assert_eq!((lost.stage, lost.end), (Stage::Delivered, End::Lost(Cause::NoSocket)));
}

/// A socket like the site's, changed.
fn socket(change: impl Fn(&mut Socket)) -> Socket {
    let mut socket =
        Socket { transport: Transport::Udp, address: None, port: 4739, v6only: false, peer: None, device: None };
    change(&mut socket);
    socket
}
