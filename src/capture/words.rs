//! The words of a pcap-filter(7) expression, looked at before libpcap sees them.
//!
//! libpcap asks the name service for every word that it doesn't know: a mistyped keyword would become a DNS query, and its
//! message would be of an unknown host. So names of hosts and networks are refused here. Start at [`check`].

use crate::diagnostic::Problem;

/// Words that begin or continue a primitive about hosts, unless a word of [`PORTS`] or [`PROTOCOLS`] follows.
const QUALIFIERS: [&str; 45] = [
    "src", "dst", "host", "net", "mask", "gateway", "ether", "link", "ppp", "slip", "fddi", "tr", "wlan", "ip", "ip6",
    "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp", "decnet",
    "atalk", "aarp", "iso", "esis", "es-is", "isis", "is-is", "clnp", "stp", "ipx", "netbeui", "lat", "moprc", "mopdl",
    "sca",
];
/// After these a word is a service.
const PORTS: [&str; 2] = ["port", "portrange"];
/// After these a word is a protocol.
const PROTOCOLS: [&str; 2] = ["proto", "protochain"];
/// After these a word is a name of its own kind, which nobody looks up.
const FREE: [&str; 12] =
    ["ifname", "on", "rnr", "rulenum", "srnr", "subrulenum", "reason", "rset", "ruleset", "action", "type", "subtype"];
/// Every other word that means something by itself.
const OTHERS: [&str; 113] = [
    "and",
    "or",
    "not",
    "len",
    "length",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "inbound",
    "outbound",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "llc",
    "dir",
    "addr1",
    "addr2",
    "addr3",
    "addr4",
    "ra",
    "ta",
    "l1",
    "l2",
    "iih",
    "lsp",
    "snp",
    "csnp",
    "psnp",
    "lane",
    "metac",
    "bcc",
    "oam",
    "oamf4",
    "oamf4ec",
    "oamf4sc",
    "oam4",
    "oam4ec",
    "oam4sc",
    "sc",
    "ilmic",
    "connectmsg",
    "metaconnect",
    "vpi",
    "vci",
    "sio",
    "opc",
    "dpc",
    "sls",
    "fisu",
    "lssu",
    "lsu",
    "msu",
    "hfisu",
    "hlssu",
    "hmsu",
    "hsio",
    "hopc",
    "hdpc",
    "hsls",
    "radio",
    "proto",
    "icmptype",
    "icmpcode",
    "icmp6type",
    "icmp6code",
    "tcpflags",
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
    "icmp6-multicastlistenerreportv2",
    "tcp-fin",
    "tcp-syn",
    "tcp-rst",
    "tcp-push",
    "tcp-ack",
    "tcp-urg",
    "tcp-ece",
    "tcp-cwr",
    "i",
];

/// What a name means at this point of the expression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// A host or network: not looked up.
    Hosts,
    /// A service, or a protocol: libpcap asks /etc/services and /etc/protocols.
    Local,
}

/// Complains about the first word that libpcap would look up in the name service.
pub(super) fn check(expression: &str) -> Result<(), Problem> {
    let mut names = Names::Hosts;
    let mut brackets = 0usize;
    for word in split(expression) {
        match word {
            "[" => brackets += 1,
            "]" => brackets = brackets.saturating_sub(1),
            _ if brackets > 0 && word.starts_with(|c: char| c.is_ascii_digit()) => {}
            _ if PORTS.contains(&word) || PROTOCOLS.contains(&word) || FREE.contains(&word) => names = Names::Local,
            _ if QUALIFIERS.contains(&word) => names = Names::Hosts,
            _ if OTHERS.contains(&word) || is_number_or_address(word) => {}
            // An escaped keyword is a protocol's name.
            _ if word.starts_with('\\') || names == Names::Local => {}
            _ => return Err(unknown(word)),
        }
    }
    Ok(())
}

/// Words and brackets; operators are left out.
fn split(expression: &str) -> impl Iterator<Item = &str> {
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | '/' | '\\');
    let mut rest = expression;
    let mut brackets = 0usize;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| matches!(c, '/' | '-' | '.') || !(in_word(c) || c == '[' || c == ']'));
        let first = rest.chars().next()?;
        let length = match first {
            '[' => {
                brackets += 1;
                1
            }
            ']' => {
                brackets = brackets.saturating_sub(1);
                1
            }
            // Within brackets `:` parts offset and size, `-` and `/` are arithmetic; only names have a dash.
            _ if brackets > 0 && (first.is_ascii_digit() || !first.is_alphanumeric()) => {
                rest.find(|c: char| !c.is_ascii_alphanumeric()).map_or(rest.len(), |end| end.max(first.len_utf8()))
            }
            _ if brackets > 0 => {
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).map_or(rest.len(), |end| end)
            }
            _ => rest.find(|c: char| !in_word(c)).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length.max(first.len_utf8()));
        rest = after;
        Some(word)
    })
    .filter(|word| word.len() > 1 || word.chars().any(|c| c.is_alphanumeric() || c == '[' || c == ']'))
}

/// What libpcap takes without asking anybody: numbers, number ranges, IPv4 addresses and networks of one to four parts, IPv6
/// addresses and networks, MAC addresses, `DECnet` addresses.
fn is_number_or_address(word: &str) -> bool {
    let (address, length) = word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
    if length.is_some_and(|length| length.parse::<u8>().is_err()) {
        return false;
    }
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).is_ok(),
        None => text.parse::<u32>().is_ok(),
    };
    let range = address.split_once('-').is_some_and(|(first, last)| number(first) && number(last));
    let parts: Vec<&str> = address.split('.').collect();
    let dotted = parts.len() <= 4 && parts.iter().all(|part| part.parse::<u8>().is_ok());
    let hexadecimal = |separator: char, groups: &[usize], most: usize| {
        let parts: Vec<&str> = address.split(separator).collect();
        groups.contains(&parts.len())
            && parts
                .iter()
                .all(|part| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    number(address)
        || range
        || dotted
        || address.parse::<std::net::Ipv6Addr>().is_ok()
        || hexadecimal(':', &[6], 2)
        || hexadecimal('-', &[6], 2)
        || hexadecimal('.', &[3], 4)
        || (address.len() == 12 && address.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || (address.starts_with('$') && address.len() == 3)
}

fn unknown(word: &str) -> Problem {
    let known = QUALIFIERS.iter().chain(&PORTS).chain(&PROTOCOLS).chain(&FREE).chain(&OTHERS);
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), known), *known))
        .filter(|(distance, known)| *distance * 3 <= known.len().max(3))
        .min();
    let problem = Problem::error(format!("the filter has a word that pcap-filter(7) does not know: `{word}`"))
        .why("libpcap would take it for the name of a host and ask the name service; a capture holds addresses");
    match nearest {
        Some((_, known)) => problem.fix(format!("did you mean `{known}`? A host is written by its address")),
        None => problem.fix("write the address of the host or network; the words are listed in pcap-filter(7)"),
    }
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
