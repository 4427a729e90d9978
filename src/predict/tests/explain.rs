//! What is said of each loss: the rule with its values, and what to paste.

use std::fmt::Write as _;

use super::super::why_no_socket;
use super::*;
use crate::host::Arrival;

fn arrival(source: &str, destination: &str) -> Arrival<'static> {
    let source = Some((address(source), Some(9)));
    let (destination, port, interface) = (address(destination), 4739, Some("rx0"));
    Arrival { transport: Transport::Udp, source, destination, port, interface }
}

#[test]
fn why_no_socket_receives_it_is_said_of_the_sockets_that_there_are() {
    let there = [
        ("no socket", vec![]),
        ("another port", vec![socket(|socket| socket.port = 2055)]),
        ("TCP", vec![socket(|socket| socket.transport = Transport::Tcp)]),
        ("another address", vec![socket(|socket| socket.address = address("10.9.0.3"))]),
        ("loopback", vec![socket(|socket| socket.address = address("127.0.0.1"))]),
        ("IPv6 only", vec![socket(|socket| socket.v6only = true)]),
        ("connected", vec![socket(|socket| socket.peer = Some((address("10.9.0.5"), 9)))]),
        ("another interface", vec![socket(|socket| socket.device = Some("lo".to_owned()))]),
    ];
    let mut text = String::new();
    for (name, sockets) in there {
        let host = with(|host| host.sockets.clone_from(&sockets));
        let key = datagram("10.9.0.1", "10.9.0.2", 4739);
        assert_eq!(disposition(&key, &host), Disposition::Lost(Cause::NoSocket), "{name}");
        let (why, fix) = why_no_socket(&arrival("10.9.0.1", "10.9.0.2"), &sockets, false);
        let real = prediction(key, &with(|host| (host.real, host.sockets) = (true, sockets.clone())));
        assert_eq!(real.why, why, "{name}");
        writeln!(text, "{name}\n  why: {why}\n  fix: {fix}\n  here: {}", real.fix).unwrap();
    }
    let four = [socket(|socket| socket.address = address("0.0.0.0"))];
    let (why, fix) = why_no_socket(&arrival("fd00::1", "fd00::2"), &four, false);
    writeln!(text, "IPv4 alone\n  why: {why}\n  fix: {fix}").unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn a_socket_receives_what_it_is_bound_to() {
    let heard = [
        socket(|_| ()),
        socket(|socket| socket.address = address("10.9.0.2")),
        socket(|socket| socket.address = address("0.0.0.0")),
        socket(|socket| socket.address = address("::")),
        socket(|socket| socket.address = address("::ffff:10.9.0.2")),
        socket(|socket| socket.peer = Some((address("10.9.0.1"), 9))),
        socket(|socket| socket.device = Some("rx0".to_owned())),
    ];
    for socket in heard {
        let host = with(|host| host.sockets = vec![socket.clone()]);
        assert_eq!(disposition(&datagram("10.9.0.1", "10.9.0.2", 4739), &host), Disposition::Delivered, "{socket}");
    }
    // An IPv6 socket receives an IPv4 group that it has joined itself, which the kernel does not show.
    let groups = |address: &str| {
        with(|host| {
            (host.real, host.joined) = (true, Some([self::address("239.1.1.1")].into()));
            host.sockets = vec![socket(|socket| socket.address = self::address(address))];
        })
    };
    let to_group = datagram("10.9.0.1", "239.1.1.1", 4739);
    assert_eq!(
        ["::", "0.0.0.0"].map(|address| disposition(&to_group, &groups(address))),
        [Disposition::Open, Disposition::Delivered]
    );
    // A broadcast is heard by who is bound to no address, or to it.
    let bound = with(|host| host.sockets = vec![socket(|socket| socket.address = address("10.9.0.2"))]);
    assert_eq!(disposition(&datagram("10.9.0.1", "255.255.255.255", 4739), &bound), Disposition::Lost(Cause::NoSocket));
}

#[test]
fn every_loss_has_its_values_and_something_to_paste() {
    /// What a case changes at the site.
    type Change = fn(&mut Host);
    let plain = || datagram("10.9.0.1", "10.9.0.2", 4739);
    let other = |ethertype| ClassKey { carried: Carried::Other { ethertype }, ..plain() };
    let flawed = |flaw| ClassKey { flaw, ..plain() };
    let strict: Change = |host| host.settings.rp_filter = 1;
    let forwards: Change = |host| host.settings.forwarding = crate::host::ByFamily { v4: true, v6: true };
    let drops: Change = |host| host.settings.drop_unicast_in_group = crate::host::ByFamily { v4: true, v6: true };
    let no_change: Change = |_| ();
    let cases: Vec<(ClassKey, Change)> = vec![
        (ClassKey { mac: MacAddr([2, 0, 0, 0, 0, 9]), ..plain() }, no_change),
        (ClassKey { tags: Tags::One, in_vlan: true, ..plain() }, no_change),
        (ClassKey { tags: Tags::Several, in_vlan: true, ..plain() }, no_change),
        (ClassKey { tags: Tags::Several, in_vlan: true, ..other(Some(0x8100)) }, no_change),
        (ClassKey { tags: Tags::One, ..other(Some(0x9100)) }, no_change),
        (other(Some(0x8847)), no_change),
        (other(Some(0x8864)), no_change),
        (other(None), no_change),
        (ClassKey { mac: MacAddr::BROADCAST, ..plain() }, drops),
        (ClassKey { mac: MacAddr::BROADCAST, ..datagram("fd00::1", "fd00::2", 4739) }, drops),
        (ClassKey { mac: MacAddr::BROADCAST, ..datagram("10.9.0.1", "10.9.0.77", 9) }, forwards),
        (flawed(Flaw::Length), no_change),
        (flawed(Flaw::UdpLength), no_change),
        (flawed(Flaw::Header), no_change),
        (datagram("::1", "fd00::2", 4739), no_change),
        (datagram("fd00::1", "::1", 4739), no_change),
        (ClassKey { spent: true, ..datagram("10.9.0.1", "10.9.0.77", 4739) }, forwards),
        (flawed(Flaw::HeaderSum), no_change),
        (flawed(Flaw::SourceRoute(None)), no_change),
        (datagram("224.0.0.1", "10.9.0.2", 4739), no_change),
        (datagram("10.9.0.255", "10.9.0.2", 4739), strict),
        (datagram("127.0.0.1", "10.9.0.2", 4739), no_change),
        (datagram("10.9.0.1", "127.0.0.1", 4739), no_change),
        (datagram("10.9.0.2", "10.9.0.2", 4739), no_change),
        (datagram("10.44.1.13", "10.9.0.2", 4739), strict),
        (datagram("203.0.113.9", "10.9.0.2", 4739), |host| {
            host.settings.rp_filter = 1;
            elsewhere(host);
        }),
        (datagram("10.9.0.1", "192.0.2.20", 4739), no_change),
        (datagram("10.9.0.1", "0.0.0.0", 4739), no_change),
        (datagram("fd00::1", "2001:db8::20", 4739), no_change),
        (datagram("10.9.0.1", "192.0.2.20", 4739), forwards),
        (datagram("10.9.0.1", "10.9.0.77", 4739), forwards),
        (datagram("fd00::1", "fd00::77", 4739), forwards),
        (datagram("fe80::9", "fd00::77", 4739), forwards),
        (datagram("10.9.0.1", "239.1.1.1", 4739), no_change),
        (flawed(Flaw::FragmentMissing), no_change),
        (flawed(Flaw::FragmentRepeated), no_change),
        (flawed(Flaw::FragmentOverlaps), no_change),
        (of_protocol(plain(), 253), no_change),
        (ClassKey { flaw: Flaw::TcpSumOffload, ..of_protocol(plain(), 6) }, no_change),
        (flawed(Flaw::UdpSum), no_change),
        (datagram("10.9.0.1", "10.9.0.2", 2055), no_change),
    ];
    let mut text = String::new();
    for (key, change) in cases {
        let in_the_lab = prediction(key, &with(change));
        let here = prediction(
            key,
            &with(|host| {
                change(host);
                (host.real, host.interface.name) = (true, "enp0s8".to_owned());
            }),
        );
        let Disposition::Lost(cause) = in_the_lab.disposition else { panic!("{key:?}: {:?}", in_the_lab.disposition) };
        assert_eq!(here.disposition, in_the_lab.disposition, "{key:?}");
        writeln!(text, "{}\n  why: {}\n  fix: {}\n  here: {}", cause.name(), in_the_lab.why, in_the_lab.fix, here.fix)
            .unwrap();
    }
    insta::assert_snapshot!(text);
}
