//! What is said of each loss: the rule with its values, and what to paste.

use std::fmt::Write as _;

use super::super::why_no_socket;
use super::*;

#[test]
fn why_no_socket_hears_it_is_told_from_the_sockets_that_there_are() {
    let there = [
        ("nobody", vec![]),
        ("another port", vec![socket(|socket| socket.port = 2055)]),
        ("TCP", vec![socket(|socket| socket.transport = Transport::Tcp)]),
        ("another address", vec![socket(|socket| socket.address = Some(address("10.9.0.3")))]),
        ("loopback", vec![socket(|socket| socket.address = Some(address("127.0.0.1")))]),
        ("IPv6 only", vec![socket(|socket| socket.v6only = true)]),
        ("connected", vec![socket(|socket| socket.peer = Some((address("10.9.0.5"), 9)))]),
        ("another interface", vec![socket(|socket| socket.device = Some("lo".to_owned()))]),
    ];
    let mut text = String::new();
    for (name, sockets) in there {
        let site = with(|site| site.sockets.clone_from(&sockets));
        let key = datagram("10.9.0.1", "10.9.0.2", 4739);
        assert_eq!(end(&key, &site), End::Lost(Cause::NoSocket), "{name}");
        let (why, fix) = why_no_socket(address("10.9.0.2"), 4739, Some((address("10.9.0.1"), 9)), &sockets, "rx0");
        let real = fate(key, &with(|site| (site.real, site.sockets) = (true, sockets.clone())));
        assert_eq!(real.why, why, "{name}");
        writeln!(text, "{name}\n  why: {why}\n  fix: {fix}\n  here: {}", real.fix).unwrap();
    }
    let four = [socket(|socket| socket.address = Some(address("0.0.0.0")))];
    let (why, fix) = why_no_socket(address("fd00::2"), 4739, None, &four, "rx0");
    writeln!(text, "IPv4 alone\n  why: {why}\n  fix: {fix}").unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn a_socket_hears_what_is_meant_for_it() {
    let heard = [
        socket(|_| ()),
        socket(|socket| socket.address = Some(address("10.9.0.2"))),
        socket(|socket| socket.address = Some(address("0.0.0.0"))),
        socket(|socket| socket.address = Some(address("::"))),
        socket(|socket| socket.address = Some(address("::ffff:10.9.0.2"))),
        socket(|socket| socket.peer = Some((address("10.9.0.1"), 9))),
        socket(|socket| socket.device = Some("rx0".to_owned())),
    ];
    for socket in heard {
        let site = with(|site| site.sockets = vec![socket.clone()]);
        assert_eq!(end(&datagram("10.9.0.1", "10.9.0.2", 4739), &site), End::Delivered, "{socket}");
    }
    // An IPv6 socket hears an IPv4 group that it has joined itself, which nobody tells.
    let groups = |address: Option<&str>| {
        let address = address.map(self::address);
        with(|site| {
            (site.real, site.joined) = (true, Some([self::address("239.1.1.1")].into()));
            site.sockets = vec![socket(|socket| socket.address = address)];
        })
    };
    let to_group = datagram("10.9.0.1", "239.1.1.1", 4739);
    assert_eq!([None, Some("0.0.0.0")].map(|address| end(&to_group, &groups(address))), [End::Open, End::Delivered]);
    // A broadcast is heard by who is bound to no address, or to it.
    let bound = with(|site| site.sockets = vec![socket(|socket| socket.address = Some(address("10.9.0.2")))]);
    assert_eq!(end(&datagram("10.9.0.1", "255.255.255.255", 4739), &bound), End::Lost(Cause::NoSocket));
}

/// What a case changes at the site.
type Change = Box<dyn Fn(&mut Site)>;

#[test]
fn every_loss_has_its_values_and_something_to_paste() {
    let plain = || datagram("10.9.0.1", "10.9.0.2", 4739);
    let other = |ethertype| ClassKey { carried: Carried::Other { ethertype }, ..plain() };
    let flawed = |flaw| ClassKey { flaw, ..plain() };
    let strict = |site: &mut Site| site.rp_filter = 1;
    let forwards = |site: &mut Site| site.forwarding = Forwarding { v4: true, v6: true };
    let no_change = |_: &mut Site| ();
    let cases: Vec<(ClassKey, Change)> = vec![
        (ClassKey { mac: MacAddr([2, 0, 0, 0, 0, 9]), ..plain() }, Box::new(no_change)),
        (ClassKey { tags: Tags::One, in_vlan: true, ..plain() }, Box::new(no_change)),
        (ClassKey { tags: Tags::Several, in_vlan: true, ..plain() }, Box::new(no_change)),
        (ClassKey { tags: Tags::Several, in_vlan: true, ..other(Some(0x8100)) }, Box::new(no_change)),
        (ClassKey { tags: Tags::One, ..other(Some(0x9100)) }, Box::new(no_change)),
        (other(Some(0x8847)), Box::new(no_change)),
        (other(Some(0x8864)), Box::new(no_change)),
        (other(None), Box::new(no_change)),
        (
            ClassKey { mac: MacAddr::BROADCAST, ..plain() },
            Box::new(|site| (site.drop_unicast_in_group, site.drop_unicast_in_group_v6) = (true, true)),
        ),
        (
            ClassKey { mac: MacAddr::BROADCAST, ..datagram("fd00::1", "fd00::2", 4739) },
            Box::new(|site| (site.drop_unicast_in_group, site.drop_unicast_in_group_v6) = (true, true)),
        ),
        (ClassKey { mac: MacAddr::BROADCAST, ..datagram("10.9.0.1", "10.9.0.77", 9) }, Box::new(forwards)),
        (flawed(Flaw::Length), Box::new(no_change)),
        (flawed(Flaw::UdpLength), Box::new(no_change)),
        (flawed(Flaw::Header), Box::new(no_change)),
        (datagram("::1", "fd00::2", 4739), Box::new(no_change)),
        (datagram("fd00::1", "::1", 4739), Box::new(no_change)),
        (ClassKey { spent: true, ..datagram("10.9.0.1", "10.9.0.77", 4739) }, Box::new(forwards)),
        (flawed(Flaw::HeaderSum), Box::new(no_change)),
        (flawed(Flaw::SourceRoute(None)), Box::new(no_change)),
        (datagram("224.0.0.1", "10.9.0.2", 4739), Box::new(no_change)),
        (datagram("10.9.0.255", "10.9.0.2", 4739), Box::new(strict)),
        (datagram("127.0.0.1", "10.9.0.2", 4739), Box::new(no_change)),
        (datagram("10.9.0.1", "127.0.0.1", 4739), Box::new(no_change)),
        (datagram("10.9.0.2", "10.9.0.2", 4739), Box::new(no_change)),
        (datagram("10.44.1.13", "10.9.0.2", 4739), Box::new(strict)),
        (
            datagram("203.0.113.9", "10.9.0.2", 4739),
            Box::new(|site| {
                site.rp_filter = 1;
                elsewhere(site);
            }),
        ),
        (datagram("10.9.0.1", "192.0.2.20", 4739), Box::new(no_change)),
        (datagram("10.9.0.1", "0.0.0.0", 4739), Box::new(no_change)),
        (datagram("fd00::1", "2001:db8::20", 4739), Box::new(no_change)),
        (datagram("10.9.0.1", "192.0.2.20", 4739), Box::new(forwards)),
        (datagram("10.9.0.1", "10.9.0.77", 4739), Box::new(forwards)),
        (datagram("fd00::1", "fd00::77", 4739), Box::new(forwards)),
        (datagram("fe80::9", "fd00::77", 4739), Box::new(forwards)),
        (datagram("10.9.0.1", "239.1.1.1", 4739), Box::new(no_change)),
        (flawed(Flaw::FragmentMissing), Box::new(no_change)),
        (flawed(Flaw::FragmentRepeated), Box::new(no_change)),
        (flawed(Flaw::FragmentOverlaps), Box::new(no_change)),
        (of_protocol(plain(), 253), Box::new(no_change)),
        (ClassKey { flaw: Flaw::TcpSumOffload, ..of_protocol(plain(), 6) }, Box::new(no_change)),
        (flawed(Flaw::UdpSum), Box::new(no_change)),
        (datagram("10.9.0.1", "10.9.0.2", 2055), Box::new(no_change)),
    ];
    let mut text = String::new();
    for (key, change) in cases {
        let in_the_lab = fate(key, &with(&change));
        let here = fate(
            key,
            &with(|site| {
                change(site);
                (site.real, site.interface) = (true, "enp0s8".to_owned());
            }),
        );
        let End::Lost(cause) = in_the_lab.end else { panic!("{key:?}: {:?}", in_the_lab.end) };
        assert_eq!(here.end, in_the_lab.end, "{key:?}");
        writeln!(text, "{}\n  why: {}\n  fix: {}\n  here: {}", cause.name(), in_the_lab.why, in_the_lab.fix, here.fix)
            .unwrap();
    }
    insta::assert_snapshot!(text);
}
