//! The words of a filter expression, checked before libpcap sees them.
//!
//! libpcap takes a word that it doesn't know for the name of a host, and asks the DNS. Here a name is allowed only where it names a
//! port or a protocol; a mistyped word is an error, and nothing is looked up. What is a word follows libpcap's scanner.

use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::OnceLock;

use crate::diagnostic::Diagnostic;

/// Words that say of which protocol, in which direction, before what kind of name.
const QUALIFIERS: &[&str] = &[
    "link", "ether", "ppp", "slip", "fddi", "tr", "wlan", "arp", "rarp", "ip", "ip6", "tcp", "udp", "sctp", "icmp",
    "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp", "atalk", "aarp", "decnet", "lat", "sca", "moprc",
    "mopdl", "radio", "src", "dst", "ra", "ta", "addr1", "addr2", "addr3", "addr4", "address1", "address2", "address3",
    "address4",
];

/// Words after which a name is a host's, a network's, …
const KINDS: &[(&str, Names)] = &[
    ("host", Names::Host),
    ("net", Names::Host),
    ("gateway", Names::Host),
    ("port", Names::Port),
    ("portrange", Names::PortRange),
    ("proto", Names::Libpcap),
    ("protochain", Names::Libpcap),
];

/// Words whose one argument libpcap looks for in its own lists, or compares as text.
const TAKE_A_WORD: &[&str] =
    &["type", "subtype", "dir", "direction", "llc", "ifname", "on", "rset", "ruleset", "reason", "action"];

/// All other words.
const OTHERS: &[&str] = &[
    "and",
    "or",
    "not",
    "mask",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "len",
    "length",
    "inbound",
    "outbound",
    "ifindex",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "iso",
    "esis",
    "es-is",
    "isis",
    "is-is",
    "l1",
    "l2",
    "iih",
    "lsp",
    "snp",
    "csnp",
    "psnp",
    "clnp",
    "stp",
    "ipx",
    "netbeui",
    "lane",
    "metac",
    "bcc",
    "oam",
    "oamf4",
    "oamf4ec",
    "oamf4sc",
    "sc",
    "ilmic",
    "vpi",
    "vci",
    "connectmsg",
    "metaconnect",
    "rnr",
    "rulenum",
    "srnr",
    "subrulenum",
    "fisu",
    "lssu",
    "lsu",
    "msu",
    "hfisu",
    "hlssu",
    "hmsu",
    "sio",
    "opc",
    "dpc",
    "sls",
    "hsio",
    "hopc",
    "hdpc",
    "hsls",
    "icmptype",
    "icmpcode",
    "icmp-echoreply",
    "icmp-unreach",
    "icmp-sourcequench",
    "icmp-redirect",
    "icmp-echo",
    "icmp-routeradvert",
    "icmp-routersolicit",
    "icmp-timxceed",
    "icmp-paramprob",
    "icmp-tstamp",
    "icmp-tstampreply",
    "icmp-ireq",
    "icmp-ireqreply",
    "icmp-maskreq",
    "icmp-maskreply",
    "icmp6type",
    "icmp6code",
    "icmp6-destinationunreach",
    "icmp6-packettoobig",
    "icmp6-timeexceeded",
    "icmp6-parameterproblem",
    "icmp6-echo",
    "icmp6-echoreply",
    "icmp6-multicastlistenerquery",
    "icmp6-multicastlistenerreportv1",
    "icmp6-multicastlistenerdone",
    "icmp6-routersolicit",
    "icmp6-routeradvert",
    "icmp6-neighborsolicit",
    "icmp6-neighboradvert",
    "icmp6-redirect",
    "icmp6-routerrenum",
    "icmp6-nodeinformationquery",
    "icmp6-nodeinformationresponse",
    "icmp6-ineighbordiscoverysolicit",
    "icmp6-ineighbordiscoveryadvert",
    "icmp6-multicastlistenerreportv2",
    "icmp6-homeagentdiscoveryrequest",
    "icmp6-homeagentdiscoveryreply",
    "icmp6-mobileprefixsolicit",
    "icmp6-mobileprefixadvert",
    "icmp6-certpathsolicit",
    "icmp6-certpathadvert",
    "icmp6-multicastrouteradvert",
    "icmp6-multicastroutersolicit",
    "icmp6-multicastrouterterm",
    "tcpflags",
    "tcp-fin",
    "tcp-syn",
    "tcp-rst",
    "tcp-push",
    "tcp-ack",
    "tcp-urg",
    "tcp-ece",
    "tcp-cwr",
];

/// What a name means, where one may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// A host or a network: it would be looked up.
    Host,
    /// A port, by number or service.
    Port,
    /// Two ports.
    PortRange,
    /// What libpcap knows without looking anything up.
    Libpcap,
}

/// Refuses the first word that libpcap would look up.
pub(super) fn check(expression: &str) -> Result<(), Diagnostic> {
    let mut names = Names::Host;
    let mut after = After::Nothing;
    for word in words(expression) {
        let text = word.text;
        if word.escaped || !is_keyword(text) {
            if !word.escaped && is_literal(text) {
                after = After::Nothing;
                continue;
            }
            let known = match (after, names) {
                (After::WordTaker, _) | (_, Names::Libpcap) => true,
                (_, Names::Port) => is_service(text),
                (_, Names::PortRange) => is_port_range(text),
                (_, Names::Host) => false,
            };
            if !known {
                return Err(reject(text, names, after));
            }
            after = After::Nothing;
        } else if let Some((_, kind)) = KINDS.iter().find(|(kind, _)| *kind == text) {
            (names, after) = (*kind, After::Qualifier);
        } else if QUALIFIERS.contains(&text) {
            // A qualifier that begins a new primitive: names are hosts until it says otherwise. Without one, "the most recent
            // keyword is assumed" (pcap-filter(7)).
            if after != After::Qualifier {
                names = Names::Host;
            }
            after = After::Qualifier;
        } else if TAKE_A_WORD.contains(&text) {
            after = After::WordTaker;
        } else {
            after = After::Nothing;
        }
    }
    Ok(())
}

/// Whether the expression has the keyword.
pub(super) fn says(expression: &str, keyword: &str) -> bool {
    words(expression).iter().any(|word| !word.escaped && word.text == keyword)
}

/// What came just before a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Qualifier,
    WordTaker,
}

/// A word of the expression.
struct Word<'a> {
    text: &'a str,
    /// Written with a backslash: never a keyword.
    escaped: bool,
}

/// The words: runs of letters, digits and `. _ -`, and of `:` where that makes an address.
fn words(expression: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let (escaped, after) = match rest.strip_prefix('\\') {
            Some(after) => (true, after),
            None => (false, rest),
        };
        let begins = escaped || first.is_ascii_alphanumeric() || "$:_".contains(first) || !first.is_ascii();
        if !begins {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let belongs = |next: char| match escaped {
            true => !" !()\n\t".contains(next),
            false => next.is_ascii_alphanumeric() || "$._-:".contains(next) || !next.is_ascii(),
        };
        let end = after.find(|next| !belongs(next)).unwrap_or(after.len());
        let (text, tail) = after.split_at(end);
        rest = tail;
        if escaped || is_mac(text) || text.parse::<Ipv6Addr>().is_ok() {
            words.push(Word { text, escaped });
        } else {
            // Colons that make no address part numbers, like those of `ip[2:2]`.
            words.extend(text.split(':').filter(|part| !part.is_empty()).map(|text| Word { text, escaped }));
        }
    }
    words
}

fn is_keyword(word: &str) -> bool {
    keywords().any(|keyword| keyword == word)
}

/// A number, an address, part of one, or an `ARCnet` node: what libpcap reads without looking it up.
fn is_literal(word: &str) -> bool {
    let dotted: Vec<&str> = word.split('.').collect();
    (dotted.len() <= 4 && dotted.iter().all(|part| is_number(part)))
        || word.strip_prefix('$').is_some_and(|node| node.len() <= 2 && is_hexadecimal(node))
        || is_mac(word)
        || word.parse::<Ipv6Addr>().is_ok()
}

fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => is_hexadecimal(digits),
        None => !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()),
    }
}

fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// `0:1:2:a:b:c`, with `-` or `.` too, `0001.02ab.cdef`, or twelve digits.
fn is_mac(word: &str) -> bool {
    let parts = |separator: char, count: usize, digits: Range<usize>| {
        word.split(separator).count() == count
            && word.split(separator).all(|part| digits.contains(&part.len()) && is_hexadecimal(part))
    };
    parts(':', 6, 1..3) || parts('-', 6, 1..3) || parts('.', 6, 1..3) || parts('.', 3, 4..5) || parts(' ', 1, 12..13)
}

/// Names and aliases of /etc/services; none where there is no such file.
fn services() -> &'static [String] {
    static SERVICES: OnceLock<Vec<String>> = OnceLock::new();
    SERVICES.get_or_init(|| {
        let text = std::fs::read("/etc/services").unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        // name number/protocol alias…
        let names = lines.flat_map(|line| line.split_whitespace().enumerate().filter(|(at, _)| *at != 1));
        names.map(|(_, name)| name.to_owned()).collect()
    })
}

fn is_service(word: &str) -> bool {
    // Without the file only libpcap knows.
    services().is_empty() || services().iter().any(|service| service == word)
}

fn is_port_range(word: &str) -> bool {
    word.match_indices('-').any(|(at, _)| {
        let (first, last) = (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default());
        [first, last].iter().all(|port| is_number(port) || is_service(port))
    })
}

fn reject(text: &str, names: Names, after: After) -> Diagnostic {
    match (names, after) {
        (Names::Port | Names::PortRange, After::Qualifier) => {
            let problem = Diagnostic::error(format!("`{text}` is not a port"))
                .why("a port is a number or a service of /etc/services, a range two of them with `-`");
            match nearest(text, services().iter().map(String::as_str)) {
                Some(service) => problem.fix(format!("did you mean `{service}`? else write its number")),
                None => problem.fix("write its number"),
            }
        }
        (_, After::Qualifier) => Diagnostic::error(format!("`{text}` is not an address in the filter"))
            .why("names are never looked up, so that a scenario means the same everywhere")
            .fix(match nearest(text, keywords()) {
                Some(keyword) => format!("write an address, or did you mean the word `{keyword}`?"),
                None => "write its address".to_owned(),
            }),
        _ => {
            let problem = Diagnostic::error(format!("`{text}` is not a word of the filter language"))
                .why("libpcap would take it for the name of a host, and look it up");
            match nearest(text, keywords()) {
                Some(keyword) => problem.fix(format!("did you mean `{keyword}`?")),
                None => problem.fix("see pcap-filter(7); write hosts by their address"),
            }
        }
    }
}

fn keywords() -> impl Iterator<Item = &'static str> {
    QUALIFIERS.iter().chain(TAKE_A_WORD).chain(OTHERS).copied().chain(KINDS.iter().map(|(kind, _)| *kind))
}

/// The nearest word, at most a third of the letters away; rather one with the same first letter.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| {
        let other_start = candidate.chars().next() != word.chars().next();
        (strsim::damerau_levenshtein(word, candidate), other_start)
    };
    candidates
        .filter(|candidate| distance(candidate).0 * 3 <= word.len().max(3))
        .min_by_key(|candidate| distance(candidate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;

    #[test]
    fn what_tcpdump_takes_without_asking_anybody_passes() {
        for expression in [
            "",
            "udp dst port 4739",
            "host 10.1.2.3 and (tcp or udp)",
            "net 10.0.0.0/8 or net 192.168",
            "src net 2001:db8::/32 && not ip6 host fe80::1",
            "ether host 00:11:22:33:44:55 or ether src 0011.2233.4455",
            "port domain or portrange 5000-5010",
            "portrange ftp-telnet",
            "ip proto \\icmp or ip6 proto ipv6-icmp",
            "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 127",
            "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply",
            "ip[2:2] - ((ip[0]&0xf)<<2) != 0",
            "ether[0] & 1 = 0 and ip[16] >= 224",
            "vlan 100 and pppoes and mpls 1000",
            "greater 14 and len <= 1500",
            "wlan type mgt subtype beacon",
            "wlan dir tods or llc rnr",
            "port (http or https) and not tcp port 80",
            "tcp[0x0c:1]/4 == 5",
        ] {
            assert_eq!(check(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn what_would_be_looked_up_is_refused() {
        let complaints: Vec<String> = [
            "udp dst prot 4739",
            "hst 10.1.2.3",
            "host example.com",
            "port 53 and src collector",
            "port 53 or udp collector",
            "host http",
            "port htp",
            "portrange 80-htps",
            "wlan type mgt subtype beacon and udq",
            "len-14 > 2",
            "1.2.3.4.5",
            "udp und tcp",
            "host härte",
            "10.0.0.1x",
            "upd",
            "net 10.0.0.0/x",
        ]
        .iter()
        .map(|expression| {
            let problem = check(expression).expect_err(expression);
            format!("{expression}\n  {}\n  {}", problem.what, problem.fix.unwrap_or_default())
        })
        .collect();
        insta::assert_snapshot!(complaints.join("\n"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_hang(expression in ".{0,80}") {
            let _ = check(&expression);
        }
    }
}
