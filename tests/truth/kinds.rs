//! The kinds of traffic, receiver and treatment that the ledger is compared with the truth in. Start at [`kinds`].

use std::net::Ipv4Addr;

use crate::application::GROUP;
use crate::frames::{
    PORT, RECEIVER, RECEIVER_MAC, RECEIVER_V6, datagram, datagram_to, datagram_v6, ethernet, fragments, fragments_v6,
    ipv4,
};

/// One kind.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What the application does.
    pub(crate) behaviour: &'static str,
    /// What a process beside it does, and the UDP port that it reads from.
    pub(crate) process: Option<(&'static str, u16)>,
    /// The steps of its replay.
    pub(crate) steps: &'static str,
    pub(crate) frames: Vec<Vec<u8>>,
    /// How many frames each of its datagrams has.
    pub(crate) frames_each: u64,
    pub(crate) ruleset: &'static str,
    pub(crate) rate: &'static str,
    pub(crate) repeat: u64,
    /// Whether the application needs privileges that it has only where restage runs as root.
    pub(crate) needs_root: bool,
    /// The causes of the losses before `consumed`, with the number of frames where the capture alone decides it.
    pub(crate) losses: &'static [(&'static str, Option<u64>)],
    /// Whether an ordinary user may get a range for what was consumed.
    pub(crate) may_be_open: bool,
    /// The stage whose count is what the application read.
    pub(crate) stage: &'static str,
    /// How many questions are answered; `None` where nothing is sent back.
    pub(crate) answered: Option<u64>,
}

/// So many datagrams each kind has.
pub(crate) const DATAGRAMS: u32 = 40;

fn kind(name: &'static str, behaviour: &'static str) -> Kind {
    Kind {
        name,
        behaviour,
        process: None,
        steps: "",
        frames: (0..DATAGRAMS).map(datagram).collect(),
        frames_each: 1,
        ruleset: "",
        rate: "500 pps",
        repeat: 1,
        needs_root: false,
        losses: &[],
        may_be_open: false,
        stage: "consumed",
        answered: None,
    }
}

fn in_fragments(name: &'static str, behaviour: &'static str, of: fn(u32) -> Vec<Vec<u8>>) -> Kind {
    Kind { frames: (0..DATAGRAMS).flat_map(of).collect(), frames_each: 3, ..kind(name, behaviour) }
}

/// Datagrams that are all read, each after a frame of something else.
fn beside(name: &'static str, other: &[u8], losses: &'static [(&'static str, Option<u64>)]) -> Kind {
    let frames = (0..DATAGRAMS).flat_map(|number| [other.to_vec(), datagram(number)]).collect();
    Kind { frames, losses, ..kind(name, "reads") }
}

fn filtered(name: &'static str, behaviour: &'static str, ruleset: &'static str) -> Kind {
    Kind { ruleset, ..kind(name, behaviour) }
}

fn to_group(name: &'static str, behaviour: &'static str) -> Kind {
    let frames = (0..DATAGRAMS).map(|number| datagram_to(number, GROUP, PORT, 20)).collect();
    Kind { frames, ..kind(name, behaviour) }
}

const ALL: Option<u64> = Some(DATAGRAMS as u64);
const STATE: &str = "table inet t {\n chain c { type filter hook input priority 0; policy drop\n ct state new,established accept\n }\n}";

/// All of them.
pub(crate) fn kinds() -> Vec<Kind> {
    [talks(), replies(), processes(), steps(), sniffers(), neighbours(), fragmented(), listeners(), treatments()]
        .into_iter()
        .flatten()
        .collect()
}

/// The application talks.
fn talks() -> Vec<Kind> {
    vec![
        kind("it reads all", "reads"),
        kind("it sends to its own port", "sends-to-its-own-port"),
        kind("it sends to another port of its own", "sends-to-another-port"),
        kind("it drops what it sends itself", "drops-its-own"),
        kind("it sends segments to itself", "sends-segments"),
        kind("it sends to closed ports", "sends-to-closed-ports"),
        kind("it hears its own multicast", "hears-its-own-multicast"),
        kind("it talks TCP to itself", "talks-tcp-to-itself"),
        Kind { losses: &[("NO_SOCKET", ALL)], ..kind("it listens on the loopback only", "reads-on-loopback") },
    ]
}

/// The application replies.
fn replies() -> Vec<Kind> {
    vec![
        Kind { answered: ALL, ..kind("it answers all", "answers") },
        Kind { answered: ALL.map(|all| 3 * all), repeat: 3, ..kind("it answers all three times", "answers") },
        Kind { answered: ALL.map(|all| all / 2), ..kind("it answers every other one", "answers-every-other") },
        Kind { answered: Some(0), ..kind("it sends to another host", "sends-elsewhere") },
    ]
}

/// A process beside the application receives, too.
fn processes() -> Vec<Kind> {
    let to_two_ports = |number| datagram_to(number, RECEIVER, PORT + u16::from(number % 2 == 1), 20);
    let relayed = |name, process| Kind { process: Some((process, PORT)), ..kind(name, "reads-what-is-relayed") };
    vec![
        relayed("a process relays all to it", "relays"),
        Kind { losses: &[("SOCKET_CLOSED", None), ("NO_SOCKET", None)], ..relayed("a relay ends early", "relays-ten") },
        Kind {
            frames: (0..DATAGRAMS).map(to_two_ports).collect(),
            process: Some(("reads-the-next-port", PORT + 1)),
            ..kind("a process reads from a port of its own", "reads")
        },
    ]
}

const RESTARTED: &str = "[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-30\"\n\
     [[step]]\nrestart = true\n[[step]]\nframes = \"31-\"\n";

/// A kind of which datagrams wait in a queue for some 10 s, until their socket is closed and its place in the kernel's memory is used for another one;
/// and one of another lab, which has more datagrams in its queue than the kernel's table of followed packets has entries.
pub(crate) fn beside_another_lab() -> [Kind; 2] {
    let steps = "[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-23\"\n\
                 [[step]]\nrestart = true\n[[step]]\nframes = \"24-26\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"27-29\"\n\
                 [[step]]\nrestart = true\n[[step]]\nframes = \"30-32\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"33-\"\n";
    [
        Kind {
            steps,
            losses: &[("SOCKET_CLOSED", Some(5))],
            ..kind("datagrams wait while another lab takes in much", "reads-fifteen")
        },
        Kind {
            rate: "topspeed",
            frames: (0..30_000).map(datagram).collect(),
            ..kind("another lab takes in much", "hoards")
        },
    ]
}

/// Something happens between the parts of the replay. The frames of a part that are read before it are read once.
fn steps() -> Vec<Kind> {
    let restarted = |kind| Kind { steps: RESTARTED, ..kind };
    let beside =
        "[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\nprocess = \"beside\"\n[[step]]\nframes = \"21-\"\n";
    let to_two_ports = |number| datagram_to(number, RECEIVER, PORT + u16::from(number % 2 == 1), 20);
    vec![
        restarted(kind("it is started again", "reads")),
        restarted(kind("it talks to itself and is started again", "sends-to-its-own-port")),
        restarted(Kind { answered: ALL, ..kind("it answers and is started again", "answers") }),
        restarted(to_group("it joins a group and is started again", "reads-a-group")),
        restarted(in_fragments("it reads fragments and is started again", "reads", fragments)),
        restarted(Kind { stage: "captured", ..kind("it sniffs and is started again", "sniffs") }),
        restarted(Kind {
            losses: &[("SOCKET_CLOSED", Some(5))],
            ..kind("it leaves datagrams in its queue and is started again", "reads-fifteen")
        }),
        restarted(Kind {
            losses: &[("SOCKET_RCVBUFF", None)],
            ..kind("it has a small buffer and is started again", "small-buffer")
        }),
        Kind {
            frames: (0..DATAGRAMS).map(to_two_ports).collect(),
            process: Some(("reads-the-next-port", PORT + 1)),
            steps: beside,
            ..kind("a process beside it is started again", "reads")
        },
    ]
}

/// The application reads by a packet socket.
fn sniffers() -> Vec<Kind> {
    let sniffer = |name, behaviour| Kind { stage: "captured", ..kind(name, behaviour) };
    vec![
        sniffer("it sniffs", "sniffs"),
        sniffer("it sniffs what its filter takes", "sniffs-even-ones"),
        Kind { may_be_open: true, ..sniffer("it sniffs late into a small buffer", "sniffs-late") },
    ]
}

/// Other protocols beside UDP.
fn neighbours() -> Vec<Kind> {
    let group = |d| Ipv4Addr::new(224, 0, 0, d);
    let solicitation = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &RECEIVER_V6.octets()].concat();
    let arp =
        [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0][..], &RECEIVER.octets()].concat();
    let mut solicited = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
    solicited.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    solicited.extend(RECEIVER_V6.octets());
    solicited.extend(solicitation);
    let unhandled: &[(&str, Option<u64>)] = &[("UNHANDLED_PROTO", ALL)];
    let no_handler: &[(&str, Option<u64>)] = &[("IP_NOPROTO", ALL)];
    vec![
        beside("VRRP", &ipv4(112, group(18), 0, 0, &[0x21; 20]), &[]),
        beside("OSPF", &ipv4(89, group(5), 0, 0, &[2; 44]), &[]),
        beside("PIM", &ipv4(103, group(13), 0, 0, &[0x20; 32]), &[]),
        beside("EIGRP", &ipv4(88, group(10), 0, 0, &[2; 40]), &[]),
        beside("IGMP", &ipv4(2, Ipv4Addr::new(239, 9, 9, 9), 0, 0, &[0x16, 0, 9, 4, 239, 9, 9, 9]), &[]),
        beside("GRE", &ipv4(47, RECEIVER, 0, 0, &[0, 0, 8, 0, 0, 0, 0, 0]), no_handler),
        beside("ESP", &ipv4(50, RECEIVER, 0, 0, &[0, 0, 1, 0, 1, 1, 1, 1]), no_handler),
        beside("SCTP", &ipv4(132, RECEIVER, 0, 0, &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20]), no_handler),
        beside("ICMP", &ipv4(1, RECEIVER, 0, 0, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]), &[]),
        beside("ARP", &ethernet([0xff; 6], 0x0806, &arp), &[]),
        beside("neighbour discovery", &ethernet(RECEIVER_MAC, 0x86dd, &solicited), &[]),
        beside("LLDP", &ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &[2; 46]), unhandled),
        beside("STP", &ethernet([1, 0x80, 0xc2, 0, 0, 0], 38, &[&[0x42, 0x42, 3][..], &[0; 43]].concat()), unhandled),
        beside(
            "CDP",
            &ethernet(
                [1, 0, 0x0c, 0xcc, 0xcc, 0xcc],
                40,
                &[&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0][..], &[1; 38]].concat(),
            ),
            unhandled,
        ),
        beside("EAPOL", &ethernet([1, 0x80, 0xc2, 0, 0, 3], 0x888e, &[1; 46]), unhandled),
        beside("PTP", &ethernet([1, 0x1b, 0x19, 0, 0, 0], 0x88f7, &[2; 46]), unhandled),
        beside("MPLS", &ethernet(RECEIVER_MAC, 0x8847, &[0, 1, 1, 64, 0x45, 0, 0, 20]), unhandled),
    ]
}

/// Fragments.
fn fragmented() -> Vec<Kind> {
    let reversed = |number| fragments(number).into_iter().rev().collect::<Vec<_>>();
    let without = |number: u32, lost: usize| {
        let mut pieces = fragments(number);
        if number.is_multiple_of(4) {
            pieces.remove(lost);
        }
        pieces
    };
    let first_dropped = "table inet t {\n chain c { type filter hook prerouting priority -500\n \
                         ip frag-off & 0x3fff == 0x2000 numgen inc mod 4 0 drop\n }\n}";
    let last_dropped = "table inet t {\n chain c { type filter hook prerouting priority -500\n \
                        ip frag-off & 0x1fff != 0 ip frag-off & 0x2000 == 0 numgen inc mod 4 0 drop\n }\n}";
    let filtered_out: &[(&str, Option<u64>)] = &[("NETFILTER_DROP", Some(10)), ("FRAG_REASM_TIMEOUT", None)];
    let timed_out: &[(&str, Option<u64>)] = &[("FRAG_REASM_TIMEOUT", Some(20))];
    vec![
        in_fragments("IPv4 fragments", "reads", fragments),
        in_fragments("IPv6 fragments", "reads-v6", fragments_v6),
        Kind {
            frames: (0..DATAGRAMS).flat_map(reversed).collect(),
            ..in_fragments("reversed fragments", "reads", fragments)
        },
        Kind { repeat: 2, ..in_fragments("fragments sent twice", "reads", fragments) },
        Kind {
            losses: &[("SOCKET_RCVBUFF", None)],
            ..in_fragments("fragments and a small buffer", "small-buffer", fragments)
        },
        Kind {
            losses: &[("SOCKET_RCVBUFF", None)],
            ..in_fragments("IPv6 fragments and a small buffer", "small-buffer-v6", fragments_v6)
        },
        Kind {
            frames: (0..DATAGRAMS).flat_map(|number| without(number, 1)).collect(),
            losses: timed_out,
            ..in_fragments("a fragment is missing", "reads", fragments)
        },
        Kind {
            ruleset: first_dropped,
            losses: filtered_out,
            ..in_fragments("a rule drops first fragments", "reads", fragments)
        },
        Kind {
            ruleset: last_dropped,
            losses: filtered_out,
            ..in_fragments("a rule drops last fragments", "reads", fragments)
        },
        Kind { ruleset: STATE, ..in_fragments("IPv4 fragments behind connection tracking", "reads", fragments) },
        Kind { ruleset: STATE, ..in_fragments("IPv6 fragments behind connection tracking", "reads-v6", fragments_v6) },
    ]
}

/// Who listens.
fn listeners() -> Vec<Kind> {
    let to_all = (0..DATAGRAMS).map(|number| datagram_to(number, Ipv4Addr::new(192, 0, 2, 255), PORT, 20)).collect();
    let identical = vec![datagram(0); 20];
    vec![
        Kind {
            frames: to_all,
            losses: &[("NO_SOCKET", ALL)],
            ..kind("nothing listens to a broadcast", "listens-elsewhere")
        },
        to_group("it joins a group some time after it is bound", "joins-late"),
        Kind { losses: &[("MULTICAST_NOT_JOINED", ALL)], ..to_group("nothing joins a group", "listens-elsewhere") },
        Kind { losses: &[("NO_SOCKET", ALL)], ..kind("nothing listens on the port", "listens-elsewhere") },
        Kind {
            // On a busy machine the counting may end before the application does: then the sockets are still open.
            losses: &[("SOCKET_CLOSED", None), ("NOT_READ", None)],
            may_be_open: true,
            ..to_group("two sockets each read half of a group", "two-on-a-group-each-reads-half")
        },
        to_group("one of two sockets on a group is idle", "two-on-a-group-one-idle"),
        Kind { losses: &[("NOT_READ", None)], ..kind("a connected socket takes some", "connected-steals") },
        Kind {
            losses: &[("SOCKET_CLOSED", None), ("NO_SOCKET", None)],
            ..kind("a socket is closed with data queued", "closes-with-data-queued")
        },
        Kind { losses: &[("SOCKET_RCVBUFF", None)], ..kind("a small buffer", "small-buffer") },
        Kind {
            frames: identical,
            losses: &[("SOCKET_RCVBUFF", None)],
            ..kind("identical frames and a small buffer", "small-buffer")
        },
        kind("it reads late", "reads-late"),
        Kind { losses: &[("NOT_READ", ALL)], ..kind("it peeks only", "peeks") },
        Kind { losses: &[("UDP_ENCAP", None)], may_be_open: true, ..kind("an encapsulation socket", "encapsulates") },
        Kind { losses: &[("NO_SOCKET", None), ("SOCKET_CLOSED", None)], ..kind("it ends early", "ends-early") },
        Kind { frames: (0..DATAGRAMS).map(datagram_v6).collect(), ..kind("IPv6 datagrams", "reads-v6") },
    ]
}

/// What is done to packets.
fn treatments() -> Vec<Kind> {
    let other_port = || (0..DATAGRAMS).map(|number| datagram_to(number, RECEIVER, 5_000, 20)).collect::<Vec<_>>();
    let third =
        "table inet t {\n chain c { type filter hook input priority 0\n udp dport 4739 numgen inc mod 4 0 drop\n }\n}";
    let before = "table inet t {\n chain c { type filter hook prerouting priority 0\n udp dport 4739 numgen inc mod 4 0 drop\n }\n}";
    let ingress = "table netdev t {\n chain c { type filter hook ingress device rx0 priority 0\n ip protocol udp numgen inc mod 4 0 drop\n }\n}";
    let redirect =
        "table ip t {\n chain c { type nat hook prerouting priority -100\n udp dport 5000 redirect to :4739\n }\n}";
    let mangle =
        "table ip t {\n chain c { type filter hook prerouting priority -150\n udp dport 5000 udp dport set 4739\n }\n}";
    let copy =
        "table ip t {\n chain c { type filter hook prerouting priority -150\n udp dport 4739 dup to 192.0.2.99\n }\n}";
    let untracked = "table inet t {\n chain c { type filter hook prerouting priority -300\n notrack\n }\n}";
    let quarter: &[(&str, Option<u64>)] = &[("NETFILTER_DROP", Some(10))];
    vec![
        Kind { losses: quarter, ..filtered("a rule drops every fourth at input", "reads", third) },
        Kind { losses: quarter, ..filtered("a rule drops every fourth at prerouting", "reads", before) },
        Kind { losses: quarter, ..filtered("a rule drops every fourth at ingress", "reads", ingress) },
        Kind { frames: other_port(), ..filtered("a rule redirects", "reads", redirect) },
        Kind { frames: other_port(), ..filtered("a rule changes the port", "reads", mangle) },
        filtered("a rule copies", "reads", copy),
        filtered("a rule leaves packets untracked", "reads", untracked),
        Kind {
            needs_root: true,
            losses: &[("IP_INADDRERRORS", None)],
            ..kind("an address is removed in mid-run", "loses-its-address")
        },
        Kind {
            needs_root: true,
            losses: &[("NETFILTER_DROP", None)],
            ..kind("a ruleset is loaded in mid-run", "loads-a-ruleset")
        },
        Kind {
            needs_root: true,
            losses: &[("INTERFACE_DOWN", None)],
            ..kind("the interface is deleted in mid-run", "loses-its-interface")
        },
        Kind { needs_root: true, losses: &[("TC_INGRESS", None)], ..kind("tc drops from mid-run on", "filters-by-tc") },
    ]
}
