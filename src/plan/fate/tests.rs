//! The table of provoked cases, as far as the frame, the addresses and the sysctls decide them.

use std::net::IpAddr;

use super::{End, Site, end};
use crate::cause::Cause;
use crate::packet::MacAddr;
use crate::plan::survey::{Carried, ClassKey, Flaw};
use crate::scenario::require::{Listener, Transport};
use crate::scenario::site::Routes;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn site() -> Site {
    Site {
        interface: "rx0".to_owned(),
        mac: MAC,
        addresses: ["10.9.0.2/24", "fd00::2/64"].map(|net| net.parse().expect("a network")).to_vec(),
        routes: Routes::Sources,
        rp_filter: 0,
        accept_local: false,
        route_localnet: false,
        accept_source_route: false,
        ipv6_disabled: false,
        listens: vec![Listener { transport: Transport::Udp, address: None, port: 4739 }],
        joined: Some(std::collections::BTreeSet::new()),
    }
}

fn datagram(source: &str, destination: &str, port: u16) -> ClassKey {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let carried =
        Carried::Ip { source: address(source), destination: address(destination), protocol: 17, port: Some(port) };
    ClassKey { mac: MAC, tagged: false, carried, flaw: Flaw::None }
}

/// The rows of the table of provoked cases that need no more than the frame, the addresses and a sysctl.
#[test]
fn sources_and_destinations_end_as_they_did_when_provoked() {
    let lost = End::Lost;
    let with = |change: fn(&mut Site)| {
        let mut site = site();
        change(&mut site);
        site
    };
    let plain = || with(|_| ());
    let no_routes = |site: &mut Site| site.routes = Routes::Prefixes(Vec::new());
    let cases: Vec<(&str, &str, Site, End)> = vec![
        ("10.9.0.1", "10.9.0.2", plain(), End::Delivered),
        ("10.9.0.1", "10.9.0.77", plain(), lost(Cause::IpInaddrerrors)),
        ("10.9.0.1", "10.77.0.1", plain(), lost(Cause::IpInaddrerrors)),
        ("127.0.0.1", "10.9.0.2", plain(), lost(Cause::IpLocalnet)),
        ("127.0.0.1", "10.9.0.2", with(|site| site.route_localnet = true), lost(Cause::IpLocalSource)),
        ("10.9.0.1", "127.0.0.1", plain(), lost(Cause::IpLocalnet)),
        ("10.9.0.2", "10.9.0.2", plain(), lost(Cause::IpLocalSource)),
        ("10.9.0.2", "10.9.0.2", with(|site| site.accept_local = true), End::Delivered),
        ("10.9.0.2", "10.9.0.2", with(|site| (site.accept_local, site.rp_filter) = (true, 1)), End::Delivered),
        ("255.255.255.255", "10.9.0.2", plain(), lost(Cause::IpInvalidSource)),
        ("10.9.0.255", "10.9.0.2", plain(), End::Delivered),
        ("10.9.0.0", "10.9.0.2", plain(), End::Delivered),
        ("0.0.0.0", "10.9.0.2", plain(), lost(Cause::IpInvalidSource)),
        ("224.0.0.1", "10.9.0.2", plain(), lost(Cause::IpInvalidSource)),
        ("240.0.0.1", "10.9.0.2", plain(), End::Delivered),
        ("203.0.113.9", "10.9.0.2", plain(), End::Delivered),
        ("203.0.113.9", "10.9.0.2", with(|site| site.rp_filter = 1), End::Delivered),
        (
            "203.0.113.9",
            "10.9.0.2",
            with(|site| (site.rp_filter, site.routes) = (1, Routes::Prefixes(Vec::new()))),
            lost(Cause::IpRpfilter),
        ),
        (
            "203.0.113.9",
            "10.9.0.2",
            with(|site| (site.rp_filter, site.routes) = (2, Routes::Prefixes(Vec::new()))),
            lost(Cause::IpRpfilter),
        ),
        (
            "10.9.0.9",
            "10.9.0.2",
            with(|site| (site.rp_filter, site.routes) = (1, Routes::Prefixes(Vec::new()))),
            End::Delivered,
        ),
        ("10.9.0.1", "10.9.0.255", plain(), End::Delivered),
        ("10.9.0.1", "255.255.255.255", plain(), End::Delivered),
        ("10.9.0.1", "239.1.1.1", plain(), lost(Cause::MulticastNotJoined)),
        ("10.9.0.1", "239.1.1.1", with(|site| site.joined = None), End::Open),
        ("fd00::1", "fd00::2", plain(), End::Delivered),
        ("fd00::1", "fd00::77", plain(), lost(Cause::IpInaddrerrors)),
        ("fd00::1", "2001:db8::1", with(no_routes), lost(Cause::IpInnoroutes)),
        ("::1", "fd00::2", plain(), lost(Cause::IpInhdr)),
        ("fd00::1", "::1", plain(), lost(Cause::IpInhdr)),
        ("ff02::1", "fd00::2", plain(), lost(Cause::IpInhdr)),
        ("fd00::2", "fd00::2", plain(), End::Delivered),
        ("::", "fd00::2", plain(), End::Delivered),
        ("2001:db8::9", "fd00::2", with(no_routes), End::Delivered),
        ("fd00::1", "ff05::9", plain(), lost(Cause::MulticastNotJoined)),
        ("fd00::1", "fd00::2", with(|site| site.ipv6_disabled = true), lost(Cause::Ipv6disabled)),
    ];
    for (source, destination, site, expected) in cases {
        assert_eq!(end(&datagram(source, destination, 4739), &site), expected, "{source} > {destination} at {site:?}");
    }
}

#[test]
fn a_foreign_mac_and_a_tag_come_before_everything_in_the_packet() {
    let mut key = datagram("127.0.0.1", "10.9.0.77", 4739);
    key.mac = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(end(&key, &site()), End::Lost(Cause::Otherhost));
    key.mac = MacAddr::BROADCAST;
    key.tagged = true;
    assert_eq!(end(&key, &site()), End::Lost(Cause::Otherhost));
}

#[test]
fn unicast_in_a_group_mac_is_delivered() {
    let mut key = datagram("10.9.0.1", "10.9.0.2", 4739);
    key.mac = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    assert_eq!(end(&key, &site()), End::Delivered);
}

#[test]
fn flaws_end_where_the_kernel_finds_them() {
    let flaws = [
        (Flaw::Header, Cause::IpInhdr),
        (Flaw::HeaderSum, Cause::IpCsum),
        (Flaw::Length, Cause::PktTooSmall),
        (Flaw::SourceRoute, Cause::SourceRoute),
        (Flaw::UdpLength, Cause::PktTooSmall),
        (Flaw::UdpSum, Cause::UdpCsum),
        (Flaw::UdpSumOffload, Cause::UdpCsum),
        (Flaw::UdpSumAbsent, Cause::UdpCsum),
        (Flaw::FragmentMissing, Cause::FragReasmTimeout),
    ];
    for (flaw, cause) in flaws {
        let key = ClassKey { flaw, ..datagram("10.9.0.1", "10.9.0.2", 4739) };
        assert_eq!(end(&key, &site()), End::Lost(cause), "{flaw:?}");
    }
}

#[test]
fn ports_and_protocols_need_somebody_who_takes_them() {
    assert_eq!(end(&datagram("10.9.0.1", "10.9.0.2", 9), &site()), End::Lost(Cause::NoSocket));
    for (protocol, expected) in
        [(1, End::Kernel), (6, End::Kernel), (47, End::Open), (253, End::Lost(Cause::IpNoproto))]
    {
        let mut key = datagram("10.9.0.1", "10.9.0.2", 9);
        if let Carried::Ip { protocol: carried, .. } = &mut key.carried {
            *carried = protocol;
        }
        assert_eq!(end(&key, &site()), expected, "protocol {protocol}");
    }
}

#[test]
fn other_ethertypes_are_the_kernels_or_nobodys() {
    let key = |ethertype| ClassKey {
        mac: MacAddr::BROADCAST,
        tagged: false,
        carried: Carried::Other { ethertype },
        flaw: Flaw::None,
    };
    assert_eq!(end(&key(Some(0x0806)), &site()), End::Kernel);
    assert_eq!(end(&key(Some(0x9999)), &site()), End::Lost(Cause::UnhandledProto));
    assert_eq!(end(&key(None), &site()), End::Lost(Cause::UnhandledProto));
}
