//! The reader of a real machine, in a lab's receiver: what it sees, and whether what is predicted from it comes true in the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::doctor::State;
use crate::doctor::questions::{Answer, Beside, Question, answer, ask};
use crate::host::{Firewall, Host, RouteKind, Socket};
use crate::packet::MacAddr;
use crate::predict::{Carried, Class, ClassKey, Flaw, Tags};
use crate::predict::{Disposition, prediction};
use crate::scenario::require::{Listener, Transport};
use crate::scenario::topology::LAB_SENDER;
use crate::testbed::network::{LabNetwork, LabPlan, RECEIVER_MAC, SENDER_MAC};
use etherparse::PacketBuilder;
use ipnet::IpNet;

use super::{Case, cases, lab};

cases![
    a_machine_is_read_as_it_is,
    what_is_predicted_comes_true,
    a_second_interface_has_routes_of_its_own,
    doctor_reports_why_a_packet_would_be_lost,
    a_packet_filter_is_seen_by_root,
];

fn plan(addresses: &[&str], routes: &[&str], sysctl: &[(&str, &str)]) -> LabPlan {
    LabPlan {
        addresses: addresses.iter().map(|text| net(text)).collect(),
        routes: routes.iter().map(|text| net(text)).collect(),
        sysctl: sysctl.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..LabPlan::default()
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The receiver, as soon as its IPv6 addresses are local: the kernel makes them so a moment after it has taken them.
fn here(lab: &LabNetwork) -> Host {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let here = lab.receiver.run(|| Host::read("rx0")).unwrap().unwrap();
        let local = |address: &IpNet| here.routes.is_local(address.addr());
        if here.addresses.iter().all(local) || Instant::now() > end {
            return here;
        }
        std::thread::yield_now();
    }
}

fn a_machine_is_read_as_it_is() {
    let plan = plan(
        &["192.0.2.20/24", "2001:db8::20/64"],
        &["10.44.1.0/24"],
        &[
            ("net.ipv4.conf.all.rp_filter", "1"),
            ("net.ipv4.conf.rx0.rp_filter", "2"),
            ("net.ipv4.conf.rx0.accept_local", "1"),
            ("net.ipv4.conf.all.forwarding", "1"),
        ],
    );
    let (lab, _) = lab(&plan);
    let sockets: Vec<UdpSocket> = lab
        .receiver
        .run(|| {
            let group = UdpSocket::bind("0.0.0.0:4739").unwrap();
            group.join_multicast_v4(&Ipv4Addr::new(239, 1, 1, 1), &Ipv4Addr::new(192, 0, 2, 20)).unwrap();
            let connected = UdpSocket::bind("192.0.2.20:4740").unwrap();
            connected.connect("10.44.1.9:5000").unwrap();
            vec![group, connected, UdpSocket::bind("[::]:4741").unwrap()]
        })
        .unwrap();
    let host = here(&lab);
    assert_eq!(
        (host.mac, host.interface.name.as_str(), host.real, host.is_loopback()),
        (RECEIVER_MAC, "rx0", true, false)
    );
    assert!(host.interface.up && host.interface.running);
    assert_eq!(host.interface.mtu_bytes, 1500);
    for address in ["192.0.2.20/24", "2001:db8::20/64"] {
        // The lab gives addresses their length by a route, so that replies need no ARP.
        assert!(host.addresses.iter().any(|own| own.addr() == net(address).addr()), "{:?}", host.addresses);
        assert!(host.routes.is_local(net(address).addr()), "{address}");
    }
    assert_eq!((host.settings.rp_filter, host.settings.accept_local, host.settings.route_localnet), (2, true, false));
    assert!(host.settings.forwarding.v4 && !host.settings.forwarding.v6 && !host.settings.ipv6_disabled);
    let kinds = ["127.0.0.1", "10.44.1.7", "192.0.2.9", "203.0.113.1"]
        .map(|to| host.routes.to(ip(to)).first().map(|route| (route.kind, route.device.clone())));
    assert_eq!(
        kinds,
        [
            Some((RouteKind::Local, "lo".to_owned())),
            Some((RouteKind::Unicast, "rx0".to_owned())),
            Some((RouteKind::Unicast, "rx0".to_owned())),
            None
        ]
    );
    let joined = host.joined.as_ref().unwrap();
    assert!(joined.contains(&ip("239.1.1.1")) && joined.contains(&ip("224.0.0.1")), "{joined:?}");
    let seen: Vec<String> = host.sockets.iter().map(ToString::to_string).collect();
    assert_eq!(
        seen.into_iter().collect::<BTreeSet<_>>(),
        ["udp:0.0.0.0:4739", "udp:192.0.2.20:4740 connected to 10.44.1.9 port 5000", "udp:4741"]
            .map(str::to_owned)
            .into()
    );
    assert!(host.caveats().is_empty(), "{:?}", host.caveats());
    drop(sockets);
}

/// Source, destination, MAC, TTL.
type Asked = (IpAddr, IpAddr, MacAddr, u8);

/// What is sent, each from a source of its own.
fn questions() -> Vec<Asked> {
    let plain = |from: &str, to: &str| (ip(from), ip(to), RECEIVER_MAC, 64);
    let mut all = vec![
        plain("192.0.2.1", "192.0.2.20"),
        plain("192.0.2.0", "192.0.2.20"),
        plain("192.0.2.255", "192.0.2.20"),
        plain("192.0.2.20", "192.0.2.20"),
        plain("192.0.2.2", "192.0.2.77"),
        plain("192.0.2.3", "198.51.100.77"),
        plain("192.0.2.4", "192.0.2.255"),
        plain("192.0.2.5", "255.255.255.255"),
        plain("192.0.2.6", "239.1.1.1"),
        plain("192.0.2.7", "239.1.1.2"),
        plain("192.0.2.8", "127.0.0.1"),
        plain("192.0.2.9", "0.0.0.0"),
        plain("192.0.2.15", "0.0.0.9"),
        plain("0.0.0.9", "192.0.2.20"),
        plain("10.44.1.1", "192.0.2.20"),
        plain("203.0.113.1", "192.0.2.20"),
        plain("203.0.113.2", "255.255.255.255"),
        plain("203.0.113.3", "239.1.1.1"),
        plain("127.0.0.1", "192.0.2.20"),
        plain("0.0.0.0", "192.0.2.20"),
        plain("224.0.0.1", "192.0.2.20"),
        plain("240.0.0.1", "192.0.2.20"),
        plain("2001:db8::1", "2001:db8::20"),
        plain("2001:db8::20", "2001:db8::20"),
        plain("2001:db8::2", "2001:db8::77"),
        plain("2001:db8::3", "2001:db8:1::77"),
        plain("2001:db8::4", "::1"),
        plain("2001:db8:9::1", "2001:db8::20"),
        plain("::1", "2001:db8::20"),
        plain("ff02::1", "2001:db8::20"),
        plain("fe80::9", "2001:db8::20"),
        plain("2001:db8::5", "ff05::9"),
    ];
    all.push((ip("192.0.2.10"), ip("192.0.2.20"), MacAddr::BROADCAST, 64));
    all.push((ip("192.0.2.11"), ip("192.0.2.20"), MacAddr([2, 0, 0, 0, 0, 9]), 64));
    all.push((ip("192.0.2.12"), ip("192.0.2.20"), RECEIVER_MAC, 1));
    all.push((ip("192.0.2.13"), ip("192.0.2.77"), RECEIVER_MAC, 1));
    all.push((ip("192.0.2.14"), ip("192.0.2.77"), MacAddr::BROADCAST, 64));
    all.push((ip("2001:db8::6"), ip("2001:db8::20"), MacAddr::BROADCAST, 64));
    all
}

fn frame(source: IpAddr, destination: IpAddr, mac: MacAddr, ttl: u8) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(SENDER_MAC.0, mac.0);
    let udp = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), ttl),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source.octets(), destination.octets(), ttl),
        _ => panic!("two families"),
    };
    let mut bytes = Vec::new();
    udp.udp(5000, 4739).write(&mut bytes, source.to_string().as_bytes()).unwrap();
    bytes
}

fn predicted(here: &Host, (source, destination, mac, ttl): Asked) -> Disposition {
    let carried = Carried::Ip { source, destination, protocol: 17, port: Some(4739) };
    let key = ClassKey { mac, tags: Tags::None, in_vlan: false, carried, spent: ttl <= 1, flaw: Flaw::None };
    prediction(Class { datagrams: 1, packets: 1, ..Class::new(key) }, here).disposition
}

/// How far a counter of the receiver moved, for each cause that has one.
fn counted(lab: &LabNetwork) -> impl Fn(&str) -> u64 + use<> {
    let read = lab.receiver.run(|| crate::wire::counters::Counters::read("rx0")).unwrap().unwrap();
    move |name| read.get(name).unwrap_or(0)
}

/// Every question under every setting: who is heard is who was predicted, and the causes that are counted are those that move.
fn what_is_predicted_comes_true() {
    let settings: [&[(&str, &str)]; 9] = [
        &[],
        &[("net.ipv4.conf.rx0.rp_filter", "1")],
        &[("net.ipv4.conf.all.rp_filter", "2")],
        &[("net.ipv4.conf.rx0.accept_local", "1"), ("net.ipv4.conf.rx0.rp_filter", "1")],
        &[("net.ipv4.conf.all.route_localnet", "1")],
        &[("net.ipv4.conf.all.route_localnet", "1"), ("net.ipv4.conf.all.accept_local", "1")],
        &[("net.ipv4.conf.all.forwarding", "1"), ("net.ipv6.conf.all.forwarding", "1")],
        &[
            ("net.ipv4.conf.all.drop_unicast_in_l2_multicast", "1"),
            ("net.ipv6.conf.rx0.drop_unicast_in_l2_multicast", "1"),
        ],
        &[("net.ipv6.conf.rx0.disable_ipv6", "1")],
    ];
    let (first, _) = lab(&plan(&[], &[], &[]));
    drop(first);
    for sysctl in settings {
        let six: &[&str] =
            if sysctl.iter().any(|(key, _)| key.ends_with("disable_ipv6")) { &[] } else { &["2001:db8::20/64"] };
        let addresses: Vec<&str> = ["192.0.2.20/24"].iter().chain(six).copied().collect();
        let lab = LabNetwork::up(&plan(&addresses, &["10.44.1.0/24"], sysctl)).unwrap();
        let bind = |address: &str| {
            let socket = lab.receiver.run(|| UdpSocket::bind(address).unwrap()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket
        };
        let sockets: Vec<UdpSocket> =
            ["0.0.0.0:4739", "[2001:db8::20]:4739"].into_iter().take(1 + six.len()).map(bind).collect();
        let group = lab.receiver.run(|| UdpSocket::bind("0.0.0.0:9").unwrap()).unwrap();
        group.join_multicast_v4(&Ipv4Addr::new(239, 1, 1, 1), &Ipv4Addr::new(192, 0, 2, 20)).unwrap();
        let here = here(&lab);
        let before = counted(&lab);
        lab.sender
            .run(|| {
                let mut wire = pcap::Capture::from_device(LAB_SENDER).unwrap().open().unwrap();
                for (source, destination, mac, ttl) in questions() {
                    wire.sendpacket(frame(source, destination, mac, ttl)).unwrap();
                }
            })
            .unwrap();
        let mut heard = BTreeSet::new();
        let mut bytes = [0; 100];
        for socket in sockets {
            while let Ok(length) = socket.recv(&mut bytes) {
                heard.insert(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
        }
        let ends: Vec<_> = questions().into_iter().map(|question| (question, predicted(&here, question))).collect();
        let expected: BTreeSet<String> = ends
            .iter()
            .filter(|(_, end)| *end == Disposition::Delivered)
            .map(|(question, _)| question.0.to_string())
            .collect();
        assert_eq!(heard, expected, "with {sysctl:?}: {ends:#?}");
        let after = counted(&lab);
        let moved = |names: &[&str]| names.iter().map(|name| after(name) - before(name)).sum::<u64>();
        let foreseen = |name: &str| {
            let by_it = |end: &Disposition| matches!(end, Disposition::Lost(cause) if cause.name() == name);
            ends.iter().filter(|(_, end)| by_it(end)).count() as u64
        };
        // IPv6 counts a unicast packet in a group's frame as a wrong header, IPv4 doesn't count it.
        let in_group = |(question, end): &&(Asked, Disposition)| {
            question.0.is_ipv6() && matches!(end, Disposition::Lost(Cause::UnicastInL2Multicast))
        };
        let in_group = ends.iter().filter(in_group).count() as u64;
        for (name, counters) in [
            ("OTHERHOST", &["if.rx.otherhost"][..]),
            ("IP_RPFILTER", &["TcpExt.IPReversePathFilter"]),
            ("IP_INNOROUTES", &["IpExt.InNoRoutes", "Ip6InNoRoutes"]),
            ("FORWARDED", &["Ip.ForwDatagrams", "Ip6OutForwDatagrams"]),
            ("IPV6DISABLED", &["Ip6InDiscards"]),
        ] {
            assert_eq!(moved(counters), foreseen(name), "{name} with {sysctl:?}: {ends:#?}");
        }
        let headers = moved(&["Ip.InHdrErrors", "Ip6InHdrErrors"]);
        assert_eq!(headers, foreseen("IP_INHDR") + in_group, "with {sysctl:?}: {ends:#?}");
        let addresses = moved(&["Ip.InAddrErrors", "Ip6InAddrErrors"]);
        assert_eq!(addresses, foreseen("IP_INADDRERRORS"), "with {sysctl:?}: {ends:#?}");
    }
}

/// Runs `ip` in the receiver's namespace.
fn run_ip(lab: &LabNetwork, arguments: &str) -> bool {
    let words = arguments.split(' ');
    let run = || Command::new("ip").args(words).status().is_ok_and(|status| status.success());
    lab.receiver.run(run).unwrap()
}

/// A source behind another interface: strict reverse path filtering refuses it, loose does not.
fn a_second_interface_has_routes_of_its_own() {
    for (strictness, delivered) in [("1", false), ("2", true)] {
        let plan = plan(&["192.0.2.20/24"], &[], &[("net.ipv4.conf.rx0.rp_filter", strictness)]);
        let (lab, _) = lab(&plan);
        if !run_ip(&lab, "link add other0 type veth peer name other1") {
            println!("skipped: no `ip` here");
            return;
        }
        assert!(run_ip(&lab, "address add 203.0.113.20/24 dev other0"));
        assert!(run_ip(&lab, "link set other0 up") && run_ip(&lab, "link set other1 up"));
        assert!(run_ip(&lab, "route add unreachable 198.51.100.0/24 metric 7"));
        // Not every kernel has VLANs.
        let vlan = run_ip(&lab, "link add link rx0 name rx0.100 type vlan id 100");
        assert!(run_ip(&lab, "rule add from 192.0.2.99 table 77"));
        let socket = lab.receiver.run(|| UdpSocket::bind("0.0.0.0:4739").unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let here = here(&lab);
        // The other interface's address is local here too.
        assert!(here.routes.is_local(ip("203.0.113.20")));
        assert_eq!(here.routes.to(ip("203.0.113.9"))[0].device, "other0");
        assert_eq!(here.routes.to(ip("198.51.100.1"))[0].kind, RouteKind::Unreachable);
        assert_eq!(here.vlans.is_empty(), !vlan);
        assert_eq!(here.further_rules, 1);
        assert_eq!(here.caveats().len(), 1 + usize::from(vlan), "{:?}", here.caveats());
        let question = (ip("203.0.113.9"), ip("203.0.113.20"), RECEIVER_MAC, 64);
        assert_eq!(predicted(&here, question) == Disposition::Delivered, delivered);
        lab.sender
            .run(|| {
                let mut wire = pcap::Capture::from_device(LAB_SENDER).unwrap().open().unwrap();
                let (source, destination, mac, ttl) = question;
                wire.sendpacket(frame(source, destination, mac, ttl)).unwrap();
            })
            .unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).is_ok(), delivered);
    }
}

fn listing(answer: &Answer) -> String {
    let mut lines = Vec::new();
    for finding in &answer.findings {
        lines.push(format!("{:?}: {}", finding.state, finding.what));
        lines.push(format!("  why: {}", finding.why));
        lines.extend(finding.fix.iter().map(|fix| format!("  fix: {fix}")));
    }
    lines.join("\n")
}

fn doctor_reports_why_a_packet_would_be_lost() {
    let plan = plan(&["192.0.2.20/24"], &["10.44.1.0/24"], &[("net.ipv4.conf.rx0.rp_filter", "1")]);
    let (lab, _) = lab(&plan);
    let _socket = lab.receiver.run(|| UdpSocket::bind("0.0.0.0:4739").unwrap()).unwrap();
    let question = |listens: &[&str], from: &[&str]| Question {
        interface: "rx0".to_owned(),
        listens: listens.iter().map(|text| text.parse().unwrap()).collect(),
        from: from.iter().map(|text| net(text)).collect(),
    };
    let asked = |question: &Question| lab.receiver.run(|| ask(question)).unwrap().unwrap();
    let good = asked(&question(&["udp:4739"], &["10.44.1.0/24"]));
    assert!(!good.loses, "{}", listing(&good));
    // What depends on the machine and the time is left out of the snapshot.
    let here = Host { firewall: Firewall::None, ..here(&lab) };
    let listener = Listener { transport: Transport::Udp, address: Some(ip("0.0.0.0")), port: 4739 };
    let socket = Socket { address: ip("0.0.0.0"), uid: 1000, buffer_bytes: 212_992, drops: 7, ..listener.into() };
    let here = Host { sockets: vec![socket], ..here };
    let all = question(&["udp:4739", "udp:2055", "udp:192.0.2.77:4739", "tcp:80"], &["10.44.1.0/24", "203.0.113.9/32"]);
    let found = answer(&all, &here, &Beside { rmem_max: Some(212_992), ..Beside::default() });
    assert!(found.loses);
    for finding in &found.findings {
        assert!(finding.state != State::Bad || finding.fix.is_some(), "{finding:?}");
    }
    insta::assert_snapshot!(listing(&found), @r"
    Good: the interface rx0
      why: it is up, with the MAC 02:00:00:00:00:02; its MTU is 1500 bytes
    Good: its addresses
      why: 192.0.2.20/24, fe80::ff:fe00:2/64
    Good: UDP from 10.44.1.0/24 (such as 10.44.1.1) to 192.0.2.20 port 4739
      why: it is delivered: the way back to 10.44.1.1 is 10.44.1.0/24 dev rx0; bound there: 0.0.0.0 (uid 1000)
    Bad: UDP from 203.0.113.9 to 192.0.2.20 port 4739
      why: IP_RPFILTER: no route back to 203.0.113.9 through rx0, and rp_filter = 1 there (strict; effective: the larger of all and rx0)
      fix: `ip route add 203.0.113.0/24 dev rx0`, or `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.rx0.rp_filter=0` (the larger of the two counts)
    Bad: the receive buffer of udp:0.0.0.0:4739
      why: 212,992 bytes, 0 in use; 7 datagrams were dropped since the socket was made; net.core.rmem_max = 212992 lets a program ask for at most 425984
      fix: `sysctl -w net.core.rmem_max=8388608`, and let the application ask for it (SO_RCVBUF), or read faster
    Bad: UDP from 10.44.1.0/24 (such as 10.44.1.1) to 192.0.2.20 port 2055
      why: NO_SOCKET: nothing listens on UDP port 2055; there is udp:0.0.0.0:4739
      fix: let the application listen on UDP port 2055, or send to port 4739; `ss -ulnp` shows who listens where
    Bad: UDP from 203.0.113.9 to 192.0.2.20 port 2055
      why: IP_RPFILTER: no route back to 203.0.113.9 through rx0, and rp_filter = 1 there (strict; effective: the larger of all and rx0)
      fix: `ip route add 203.0.113.0/24 dev rx0`, or `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.rx0.rp_filter=0` (the larger of the two counts)
    Bad: UDP from 10.44.1.0/24 (such as 10.44.1.1) to 192.0.2.77 port 4739
      why: IP_INADDRERRORS: 192.0.2.77 is no address of the receiver (it has 192.0.2.20 and 1 more), and it does not forward
      fix: `ip address add 192.0.2.77/32 dev rx0`, or send to an address that `ip address show` lists
    Bad: UDP from 203.0.113.9 to 192.0.2.77 port 4739
      why: IP_INADDRERRORS: 192.0.2.77 is no address of the receiver (it has 192.0.2.20 and 1 more), and it does not forward
      fix: `ip address add 192.0.2.77/32 dev rx0`, or send to an address that `ip address show` lists
    Bad: tcp:80
      why: nothing listens there
      fix: start what is to listen on TCP port 80; `ss -tlnp` shows who listens where
    Good: what rx0 dropped so far
      why: nothing
    Good: the packet filter
      why: no packet filter drops packets
    ");
}

fn a_packet_filter_is_seen_by_root() {
    let (lab, _) = lab(&plan(&["192.0.2.20/24"], &[], &[]));
    let look = || lab.receiver.run(crate::host::Firewall::read).unwrap();
    assert_eq!(look(), Firewall::None);
    let rules = "add table inet t; add chain inet t c { type filter hook input priority 0; policy accept; }; \
                 add rule inet t c udp dport 9 drop; add rule inet t c accept; add chain inet t unhooked";
    let added =
        lab.receiver.run(|| Command::new("nft").arg(rules).status().is_ok_and(|status| status.success())).unwrap();
    if !added {
        println!("skipped: no `nft` here, or not for this user");
        return;
    }
    assert_eq!(look(), Firewall::Chains(vec!["inet t c (hook input, 2 rules, policy accept)".to_owned()]));
    assert_eq!(look().input_chain(), Some("inet t c"));
}
