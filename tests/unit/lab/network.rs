//! Namespaces, interfaces, addresses, routes, sysctls.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::host::interface;
use crate::host::namespace::{self, Namespace, Privilege, mount_own};
use crate::host::sysctl;
use crate::packet::MacAddr;
use crate::scenario::topology::{LAB_RECEIVER, LAB_SENDER};
use crate::testbed::network::{LabNetwork, LabPlan, RECEIVER_MAC, SENDER_MAC};
use crate::testbed::polling;
use etherparse::PacketBuilder;
use ipnet::IpNet;

use super::{Case, cases, lab};

cases![
    a_datagram_sent_on_tx0_reaches_a_socket_of_the_receiver,
    a_reply_needs_no_arp_and_the_sender_stays_silent,
    an_interface_that_a_kernel_thread_polls_is_like_any_other,
    three_hundred_addresses_are_all_the_receivers,
    a_prefix_of_65536_addresses_is_the_receivers,
    settings_are_the_kernels_defaults_whatever_the_host_has,
    settings_of_the_plan_hold,
    settings_that_cant_be_are_named_with_their_entry,
    an_address_with_a_prefix_has_broadcast_addresses,
    without_a_way_back_a_strict_rp_filter_drops,
    a_limit_of_no_user_namespaces_is_named,
    an_mtu_below_1280_disables_ipv6_with_a_note,
];

/// Cases that others start as processes of their own.
pub(super) const ACTORS: &[Case] = &[("enterer", enterer)];

/// How long to wait for what has happened already, or never will.
const PATIENCE: Duration = Duration::from_secs(5);

fn plan(addresses: &[&str]) -> LabPlan {
    LabPlan { addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), ..LabPlan::default() }
}

/// A frame with a UDP datagram to port 4739.
fn frame(source: IpAddr, destination: IpAddr, receiver: MacAddr) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(SENDER_MAC.0, receiver.0);
    let udp = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source.octets(), destination.octets(), 64),
        _ => panic!("two families"),
    }
    .udp(5000, 4739);
    let mut bytes = Vec::new();
    udp.write(&mut bytes, b"restage").unwrap();
    bytes
}

fn send(lab: &LabNetwork, frames: &[Vec<u8>]) {
    lab.sender
        .run(|| {
            let mut wire = pcap::Capture::from_device(LAB_SENDER).unwrap().open().unwrap();
            for frame in frames {
                wire.sendpacket(frame.as_slice()).unwrap();
            }
        })
        .unwrap();
}

fn socket(lab: &LabNetwork, address: &str) -> UdpSocket {
    let socket = lab.receiver.run(|| UdpSocket::bind(address).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn received(socket: &UdpSocket) -> SocketAddr {
    let mut bytes = [0; 100];
    let (length, source) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"restage");
    source
}

fn a_datagram_sent_on_tx0_reaches_a_socket_of_the_receiver() {
    let (lab, _) = lab(&plan(&["10.9.0.2/32", "2001:db8::2/128"]));
    let v4 = socket(&lab, "10.9.0.2:4739");
    let v6 = socket(&lab, "[2001:db8::2]:4739");
    send(
        &lab,
        &[
            frame(ip("198.51.100.7"), ip("10.9.0.2"), RECEIVER_MAC),
            frame(ip("2001:db8:ffff::7"), ip("2001:db8::2"), RECEIVER_MAC),
        ],
    );
    assert_eq!(received(&v4), "198.51.100.7:5000".parse().unwrap());
    assert_eq!(received(&v6), "[2001:db8:ffff::7]:5000".parse().unwrap());
}

/// Also for a source on the receiver's own network, which on a real link would be asked for its MAC address.
fn a_reply_needs_no_arp_and_the_sender_stays_silent() {
    let (lab, _) = lab(&plan(&["192.0.2.20/24", "2001:db8::20/64"]));
    let mut sender = lab
        .sender
        .run(|| pcap::Capture::from_device(LAB_SENDER).unwrap().immediate_mode(true).timeout(5000).open().unwrap())
        .unwrap();
    let mut replies = Vec::new();
    for (own, source) in [
        ("192.0.2.20:4739", "192.0.2.9:5000"),
        ("192.0.2.20:4740", "203.0.113.9:5000"),
        ("[2001:db8::20]:4739", "[2001:db8::9]:5000"),
        ("[2001:db8::20]:4740", "[2001:db8:9::9]:5000"),
    ] {
        assert_eq!(socket(&lab, own).send_to(b"reply", source).unwrap(), 5);
        // Between the replies: what the receiver tells of its group memberships.
        let reply = loop {
            let frame = sender.next_packet().unwrap();
            if frame.data.ends_with(b"reply") {
                break frame.data.to_vec();
            }
            assert_ne!(frame.data[12..14], [8, 6], "no ARP");
        };
        replies.push(reply);
    }
    for reply in replies {
        assert_eq!(reply[..12], [SENDER_MAC.0, RECEIVER_MAC.0].concat());
    }
}

/// An application in its namespace has no right over it that it has not elsewhere: the namespace belongs to the user namespace of every lab.
fn an_interface_that_a_kernel_thread_polls_is_like_any_other() {
    let addresses = plan(&["10.9.0.2/32", "2001:db8::2/128"]);
    let (lab, _) = lab(&LabPlan { polled: true, ..addresses.clone() });
    if !lab.can_be_polled {
        // Threads that poll came with Linux 5.12, and this user may have no further user namespace.
        return println!("no polling");
    }
    let of_lab = |lab: &LabNetwork| {
        let facts = |namespace: &Namespace, name| namespace.run(|| interface::facts(name)).unwrap().unwrap().unwrap();
        let owner = lab.receiver.owner().unwrap().unwrap();
        assert!(owner.is_current().unwrap());
        let (sender, receiver) = (facts(&lab.sender, LAB_SENDER), facts(&lab.receiver, LAB_RECEIVER));
        [sender, receiver].map(|facts| (facts.mac, facts.mtu_bytes, facts.kind, facts.running))
    };
    assert_eq!(of_lab(&lab), of_lab(&LabNetwork::up(&addresses).unwrap()));
    assert!(polling::poll(&lab.sender, &lab.receiver).unwrap());
    let threaded = lab.receiver.run_apart(|| {
        mount_own("sysfs", "/sys").unwrap();
        fs::read_to_string(format!("/sys/class/net/{LAB_RECEIVER}/threaded")).unwrap()
    });
    assert_eq!(threaded.unwrap(), "1\n");
    let sockets = [socket(&lab, "10.9.0.2:4739"), socket(&lab, "[2001:db8::2]:4739")];
    let frames = [("198.51.100.7", "10.9.0.2"), ("2001:db8:ffff::7", "2001:db8::2")];
    let frames = frames.map(|(source, destination)| frame(ip(source), ip(destination), RECEIVER_MAC));
    send(&lab, &std::iter::repeat_n(frames, 100).flatten().collect::<Vec<_>>());
    for socket in sockets {
        (0..100).for_each(|_| _ = received(&socket));
    }
}

fn three_hundred_addresses_are_all_the_receivers() {
    let v4: Vec<IpAddr> = (0..300).map(|i| Ipv4Addr::from_bits(0x0a09_0001 + i * 7).into()).collect();
    let v6: Vec<IpAddr> = (0..300).map(|i| Ipv6Addr::from_bits((0x2001_0db8 << 96) + 1 + i * 7).into()).collect();
    let addresses = v4.iter().chain(&v6).map(|address| IpNet::from(*address)).collect();
    let (lab, _) = lab(&LabPlan { addresses, ..LabPlan::default() });
    for (family, sources, wildcard) in [(&v4, "198.51.100.7", "0.0.0.0"), (&v6, "2001:db8:ffff::7", "::")] {
        let any = socket(&lab, &SocketAddr::new(ip(wildcard), 4739).to_string());
        // In portions that a socket's default buffer holds.
        for portion in family.chunks(50) {
            let frames: Vec<_> = portion.iter().map(|address| frame(ip(sources), *address, RECEIVER_MAC)).collect();
            send(&lab, &frames);
            for _ in portion {
                received(&any);
            }
        }
        let one = socket(&lab, &SocketAddr::new(family[299], 4740).to_string());
        assert_eq!(one.local_addr().unwrap().ip(), family[299]);
    }
    let strange = socket(&lab, "0.0.0.0:4741");
    strange.set_nonblocking(true).unwrap();
    send(&lab, &[frame(ip("198.51.100.7"), ip("10.9.0.2"), RECEIVER_MAC)]);
    assert_eq!(strange.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn a_prefix_of_65536_addresses_is_the_receivers() {
    let hosts: Vec<IpNet> = (0..65536).map(|i| IpAddr::from(Ipv4Addr::from_bits(0x0a09_0000 + i)).into()).collect();
    let (lab, _) = lab(&LabPlan { addresses: hosts, ..LabPlan::default() });
    let any = socket(&lab, "0.0.0.0:4739");
    for address in ["10.9.0.1", "10.9.255.255", "10.9.77.77"] {
        send(&lab, &[frame(ip("198.51.100.7"), ip(address), RECEIVER_MAC)]);
        received(&any);
    }
}

fn in_receiver<T: Send>(lab: &LabNetwork, look: impl FnOnce() -> T + Send) -> T {
    lab.receiver.run(look).unwrap()
}

fn settings_are_the_kernels_defaults_whatever_the_host_has() {
    let (lab, _) = lab(&LabPlan::default());
    in_receiver(&lab, || {
        for name in [
            "rp_filter",
            "accept_local",
            "log_martians",
            "route_localnet",
            "drop_unicast_in_l2_multicast",
            "forwarding",
        ] {
            for conf in ["all", "default", "rx0"] {
                let key = format!("net.ipv4.conf.{conf}.{name}");
                assert_eq!(sysctl::read(&key).unwrap(), "0", "{key}");
            }
        }
        assert_eq!(sysctl::read("net.ipv4.conf.rx0.accept_source_route").unwrap(), "1");
        assert_eq!(sysctl::read("net.ipv4.ipfrag_time").unwrap(), "1");
        assert_eq!(sysctl::read("net.ipv6.ip6frag_time").unwrap(), "1");
        assert_eq!(sysctl::read("net.ipv6.conf.rx0.accept_ra").unwrap(), "0");
        assert_eq!(sysctl::read("net.ipv6.conf.rx0.router_solicitations").unwrap(), "0");
        assert_eq!(sysctl::read("net.ipv4.ip_unprivileged_port_start").unwrap(), "0");
    });
}

fn settings_of_the_plan_hold() {
    let setting = |key: &str, value: &str| (key.to_string(), value.to_string());
    let (lab, _) = lab(&LabPlan {
        sysctl: vec![
            setting("net.ipv4.conf.rx0.rp_filter", "2"),
            setting("net.ipv4.conf.all.rp_filter", "1"),
            setting("net.ipv4.conf.default.accept_local", "1"),
            setting("net.ipv4.conf.all.log_martians", "1"),
            setting("net.ipv4.udp_rmem_min", "8192"),
            setting("net/ipv6/conf/rx0/hop_limit", "77"),
        ],
        ..LabPlan::default()
    });
    let effective = in_receiver(&lab, || {
        [
            "net.ipv4.conf.rx0.rp_filter",
            "net.ipv4.conf.all.rp_filter",
            "net.ipv4.conf.rx0.accept_local",
            "net.ipv4.conf.rx0.log_martians",
            "net.ipv4.conf.rx0.accept_source_route",
            "net.ipv4.udp_rmem_min",
            "net.ipv6.conf.rx0.hop_limit",
        ]
        .map(|key| sysctl::effective(key).unwrap())
    });
    let listing: Vec<_> = effective.iter().map(|one| format!("{} <- {}", one.value, one.how)).collect();
    insta::assert_snapshot!(listing.join("\n"), @r"
    2 <- net.ipv4.conf.all.rp_filter = 1, net.ipv4.conf.rx0.rp_filter = 2: the larger counts
    1 <- net.ipv4.conf.all.rp_filter = 1
    1 <- net.ipv4.conf.all.accept_local = 0, net.ipv4.conf.rx0.accept_local = 1: either switches it on
    1 <- net.ipv4.conf.all.log_martians = 1, net.ipv4.conf.rx0.log_martians = 0: either switches it on
    0 <- net.ipv4.conf.all.accept_source_route = 0, net.ipv4.conf.rx0.accept_source_route = 1: only both switch it on
    8192 <- net.ipv4.udp_rmem_min = 8192
    77 <- net.ipv6.conf.rx0.hop_limit = 77
    ");
    let fields = in_receiver(&lab, || sysctl::read("net.ipv4.tcp_rmem").unwrap());
    assert_eq!(fields.split(' ').count(), 3, "single spaces between the fields: {fields}");
}

fn settings_that_cant_be_are_named_with_their_entry() {
    super::enter();
    let settings = [
        ("net.ipv4.conf.rx0.rp_filtre", "1"),
        ("net.ipv4.conf.rx0.rp_filter", "0"),
        ("net.ipv4.conf.rx0.rp_filter", "strict"),
        ("net.ipv4.config.rx0.rp_filter", "1"),
        ("net.ipv4.conf.rx0", "1"),
        ("kernel.core_pattern", "core"),
        ("net/../kernel/core_pattern", "core"),
    ];
    let sysctl = settings.map(|(key, value)| (key.to_string(), value.to_string())).to_vec();
    let not_up = LabNetwork::up(&LabPlan { sysctl, ..LabPlan::default() }).unwrap_err();
    assert_eq!(not_up.sysctl, [0, 2, 3, 4, 5, 6]);
    insta::assert_snapshot!(messages(&not_up.failure), @r"
    Invalid
    no sysctl `net.ipv4.conf.rx0.rp_filtre`
      = why: this kernel has none of this name, in this network namespace
      = fix: write `net.ipv4.conf.rx0.rp_filter`, if that is meant
    can't set sysctl `net.ipv4.conf.rx0.rp_filter` to `strict`
      = why: the kernel doesn't take this value; now it is `0`
      = fix: give a value that the kernel's documentation of this sysctl names
    no sysctl `net.ipv4.config.rx0.rp_filter`
      = why: this kernel has none of this name, in this network namespace
      = fix: write `net.ipv4.conf.rx0.rp_filter`, if that is meant
    no sysctl `net.ipv4.conf.rx0`
      = why: this is the name of a group of sysctls
    the lab can't set sysctl `kernel.core_pattern`
      = why: only the sysctls below `net.` belong to a namespace; this one would change the machine
      = fix: set it on the machine, and name it in `[require] sysctl`
    `net/../kernel/core_pattern` is not the key of a sysctl
      = why: a key is names with a dot between them, such as `net.ipv4.conf.all.rp_filter`
    ");
}

/// Every problem of a failure, as plain lines.
fn messages(failure: &crate::diagnostic::Failure) -> String {
    let mut lines = vec![format!("{:?}", failure.kind)];
    for problem in &failure.problems {
        lines.push(problem.what.clone());
        lines.extend(problem.why.iter().map(|why| format!("  = why: {why}")));
        lines.extend(problem.fix.iter().map(|fix| format!("  = fix: {fix}")));
    }
    lines.join("\n")
}

fn without_a_way_back_a_strict_rp_filter_drops() {
    let routes = vec!["198.51.100.0/24".parse().unwrap()];
    let sysctl = vec![("net.ipv4.conf.rx0.rp_filter".to_string(), "1".to_string())];
    let (lab, _) = lab(&LabPlan { routes, sysctl, ..plan(&["10.9.0.2/32"]) });
    let any = socket(&lab, "0.0.0.0:4739");
    send(
        &lab,
        &[
            frame(ip("203.0.113.7"), ip("10.9.0.2"), RECEIVER_MAC),
            frame(ip("198.51.100.7"), ip("10.9.0.2"), RECEIVER_MAC),
        ],
    );
    assert_eq!(received(&any).ip(), ip("198.51.100.7"));
    any.set_nonblocking(true).unwrap();
    assert_eq!(any.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn an_address_with_a_prefix_has_broadcast_addresses() {
    let (lab, _) = lab(&plan(&["192.0.2.20/24"]));
    let any = socket(&lab, "0.0.0.0:4739");
    for destination in ["192.0.2.255", "255.255.255.255"] {
        send(&lab, &[frame(ip("192.0.2.9"), ip(destination), MacAddr::BROADCAST)]);
        assert_eq!(received(&any).ip(), ip("192.0.2.9"));
    }
}

/// Enters, and says what that came to.
fn enterer() {
    println!("{}", namespace::enter().map_or_else(|failure| messages(&failure), |privilege| format!("{privilege:?}")));
}

/// Inside a user namespace that allows no other one.
fn a_limit_of_no_user_namespaces_is_named() {
    if super::enter() == Privilege::Root {
        println!("root needs no user namespace");
        return;
    }
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    // exec drops the capabilities that this process has in its own user namespace.
    let output = super::case_command("enterer").output().unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r"
    Blocked
    can't make a user namespace
      = why: user.max_user_namespaces = 0 allows none
      = fix: run `sudo sysctl user.max_user_namespaces=15000`, or run restage with sudo
    ");
}

fn an_mtu_below_1280_disables_ipv6_with_a_note() {
    let start = Instant::now();
    let (lab, _) = lab(&LabPlan { mtu: 576, ..plan(&["10.9.0.2/32"]) });
    let v4 = socket(&lab, "10.9.0.2:4739");
    send(&lab, &[frame(ip("198.51.100.7"), ip("10.9.0.2"), RECEIVER_MAC)]);
    received(&v4);
    let not_up = LabNetwork::up(&LabPlan { mtu: 576, ..plan(&["2001:db8::2/128"]) }).unwrap_err();
    insta::assert_snapshot!(messages(&not_up.failure), @r"
    Invalid
    the receiver can't have the address `2001:db8::2`
      = why: IPv6 needs an MTU of 1280 or more (RFC 8200), and the MTU is 576
      = fix: set `[lab] mtu` to 1280 or more
    ");
    assert!(start.elapsed() < PATIENCE);
}
