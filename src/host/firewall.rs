//! Whether a packet filter may drop packets that come in: the chains of nftables that have rules, or drop by policy (nfnetlink). Root alone sees
//! them. Start at [`Firewall::read`].

use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use serde::{Deserialize, Serialize};

use super::netlink::{Attributes, Channel};

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
/// The tables of restage's own are named so, and a number. Their chains accept everything.
pub const OWN_TABLE: &str = "restage-";
/// `struct nfgenmsg`: family u8, version u8, resource id u16 big-endian.
const NFGENMSG: usize = 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const HOOK_NUMBER: u16 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firewall {
    /// None drops packets that come in.
    None,
    /// These chains may drop some: `inet table chain (hook input, 3 rules, policy drop)`.
    Chains(Vec<String>),
    Unseen(String),
}

impl Firewall {
    pub fn read() -> Self {
        let found = match chains() {
            Ok(chains) => chains,
            Err(error) => match error.raw_os_error() {
                // The kernel has no nftables.
                Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL) => Vec::new(),
                Some(libc::EPERM | libc::EACCES) => {
                    return Self::Unseen("only root sees the rules of the packet filter".to_owned());
                }
                _ => return Self::Unseen(format!("the kernel does not answer: {error}")),
            },
        };
        match found.into_iter().chain(legacy()).collect::<Vec<_>>() {
            chains if chains.is_empty() => Self::None,
            chains => Self::Chains(chains),
        }
    }

    /// The one chain of the input hook, as nft(8) names it; `None` where there are several or none.
    pub fn input_chain(&self) -> Option<&str> {
        let Self::Chains(chains) = self else { return None };
        let mut input = chains.iter().filter_map(|chain| chain.split_once(" (hook input,")).map(|(name, _)| name);
        input.next().filter(|_| input.next().is_none())
    }

    /// What to say of it in a line, and how to look at it.
    pub fn description(&self) -> (String, Option<String>) {
        match self {
            Self::None => ("no packet filter drops packets".to_owned(), None),
            Self::Chains(chains) => (
                format!("a packet filter is there, and may drop some: {}", chains.join("; ")),
                Some("`nft list ruleset` shows its rules".to_owned()),
            ),
            Self::Unseen(why) => (
                format!("whether a packet filter drops some is not known: {why}"),
                Some(
                    "`sudo nft list ruleset` shows the rules, `sudo iptables-legacy-save` those of the old iptables"
                        .to_owned(),
                ),
            ),
        }
    }
}

type Place = (u8, String, String);

/// A base chain on the way in.
struct Chain {
    place: Place,
    hook: &'static str,
    drops: bool,
}

fn chains() -> io::Result<Vec<String>> {
    let mut channel = Channel::open(NETLINK_NETFILTER)?;
    let chains =
        channel.dump(GETCHAIN, &[0; NFGENMSG], &|kind, payload| (kind == NEWCHAIN).then(|| read_chain(payload))?)?;
    let rules =
        channel.dump(GETRULE, &[0; NFGENMSG], &|kind, payload| (kind == NEWRULE).then(|| read_rule(payload))?)?;
    let mut found = Vec::new();
    for Chain { place, hook, drops } in chains {
        if !drops && is_own(&place.1) {
            continue;
        }
        let count = rules.iter().filter(|rule| **rule == place).count();
        if count > 0 || drops {
            let (family, table, name) = place;
            let family = family_name(family);
            let rules = crate::figures::count(u64::try_from(count).unwrap_or_default(), "rule");
            let policy = if drops { "drop" } else { "accept" };
            found.push(format!("{family} {table} {name} (hook {hook}, {rules}, policy {policy})"));
        }
    }
    Ok(found)
}

/// A family as nft(8) writes it (`NFPROTO_…` of linux/netfilter.h).
fn family_name(family: u8) -> &'static str {
    match family {
        1 => "inet",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "ip",
    }
}

fn is_own(table: &str) -> bool {
    table.strip_prefix(OWN_TABLE).is_some_and(|number| number.parse::<u32>().is_ok())
}

/// `None` for what is no base chain on the way in.
fn read_chain(payload: &[u8]) -> Option<Chain> {
    let (family, table, name) = place(payload, CHAIN_TABLE, CHAIN_NAME)?;
    let (mut hook, mut drops) = (None, false);
    for (kind, content) in Attributes(payload.get(NFGENMSG..)?) {
        match kind {
            CHAIN_HOOK => {
                let number = Attributes(content).find(|(kind, _)| *kind == HOOK_NUMBER);
                hook = number.and_then(|(_, content)| big_endian(content));
            }
            CHAIN_POLICY => drops = big_endian(content) == Some(0),
            _ => {}
        }
    }
    let hook = match (i32::from(family), hook?) {
        // NFPROTO_NETDEV
        (5, 0) => "ingress",
        (5, _) => return None,
        (_, 0) => "prerouting",
        (_, 1) => "input",
        (_, 5) => "ingress",
        _ => return None,
    };
    Some(Chain { place: (family, table, name), hook, drops })
}

fn read_rule(payload: &[u8]) -> Option<Place> {
    place(payload, RULE_TABLE, RULE_CHAIN)
}

/// The chain that a message is about, by the attributes that name its table and the chain.
fn place(payload: &[u8], table: u16, chain: u16) -> Option<Place> {
    let of = |wanted: u16| {
        let found = Attributes(payload.get(NFGENMSG..)?).find(|(kind, _)| *kind == wanted);
        Some(found.map_or_else(String::new, |(_, content)| text(content)))
    };
    Some((*payload.first()?, of(table)?, of(chain)?))
}

/// The tables of the old iptables that were ever used: only iptables-legacy-save shows what is in them.
fn legacy() -> Vec<String> {
    ["ip", "ip6"]
        .into_iter()
        .flat_map(|family| {
            let tables = fs::read_to_string(format!("/proc/thread-self/net/{family}_tables_names")).unwrap_or_default();
            tables
                .lines()
                .map(|table| format!("{family}tables {table} (legacy; `{family}tables-legacy-save` shows it)"))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn big_endian(content: &[u8]) -> Option<u32> {
    content.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn only_tables_with_a_number_are_restages_own() {
        let own = ["restage-4711", "restage-", "restage-x", "filter"].map(super::is_own);
        assert_eq!(own, [true, false, false, false]);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_readers_panic(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = super::read_chain(&message);
            let _ = super::read_rule(&message);
        }
    }
}
