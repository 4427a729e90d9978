//! Our tables, chains and rules as nf_tables takes them (`linux/netfilter/nf_tables.h`; what they do, nft(8) tells), and their counters.
//!
//! One table for the family netdev, whose chain stands on the device, one for inet, which is IPv4 and IPv6. As `nft` would list it:
//!
//! ```text
//! chain input-first {
//!     type filter hook input priority -2147483648; policy accept;
//!     meta iif 2 counter log group 61443 snaplen 160
//! }
//! ```

use std::io;

use super::super::interface::InterfaceFacts;
use super::super::netlink::{Attributes, Channel, Refused, Request, push_attribute, push_nested};
use super::{RECORD_BYTES, after_header, netfilter_header, place};
use crate::outcome::Hook;

/// The subsystem's number stands in the upper byte of a message's type.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const NFT_MSG_DELTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8 | 2;
const NFT_MSG_NEWCHAIN: u16 = NFNL_SUBSYS_NFTABLES << 8 | 3;
const NFT_MSG_NEWRULE: u16 = NFNL_SUBSYS_NFTABLES << 8 | 6;
const NFT_MSG_GETRULE: u16 = NFNL_SUBSYS_NFTABLES << 8 | 7;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const NFPROTO_INET: u8 = 1;
const NFPROTO_NETDEV: u8 = 5;
const NF_NETDEV_INGRESS: u32 = 0;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_IN: u32 = 1;
const NF_INET_FORWARD: u32 = 2;
const NF_ACCEPT: u32 = 1;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_OWNER: u32 = 2;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_IIF: u32 = 4;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_REG_1: u32 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_LOG_GROUP: u16 = 1;
const NFTA_LOG_SNAPLEN: u16 = 3;

/// The name of the hook's chain.
pub(super) fn chain(hook: Hook) -> &'static str {
    match hook {
        Hook::Ingress => "ingress",
        Hook::PreroutingFirst => "prerouting-first",
        Hook::PreroutingLast => "prerouting-last",
        Hook::InputFirst => "input-first",
        Hook::InputLast => "input-last",
        Hook::Forward => "forward",
    }
}

/// Family, hook and priority. The kernel takes every i32, and puts a chain before those that have its priority already: ours is last
/// among the last only if it is there first.
fn standing(hook: Hook) -> (u8, u32, i32) {
    match hook {
        Hook::Ingress => (NFPROTO_NETDEV, NF_NETDEV_INGRESS, i32::MIN),
        Hook::PreroutingFirst => (NFPROTO_INET, NF_INET_PRE_ROUTING, i32::MIN),
        Hook::PreroutingLast => (NFPROTO_INET, NF_INET_PRE_ROUTING, i32::MAX),
        Hook::InputFirst => (NFPROTO_INET, NF_INET_LOCAL_IN, i32::MIN),
        Hook::InputLast => (NFPROTO_INET, NF_INET_LOCAL_IN, i32::MAX),
        Hook::Forward => (NFPROTO_INET, NF_INET_FORWARD, i32::MAX),
    }
}

/// Why the chains are not there.
pub(super) struct Unloaded {
    /// What nf_tables can't do.
    pub(super) what: String,
    /// Why.
    pub(super) error: io::Error,
}

impl Unloaded {
    /// We may not.
    pub(super) fn refused(&self) -> bool {
        matches!(self.error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }

    /// The kernel lacks it: nf_tables, a family, a type of chain, an expression.
    pub(super) fn absent(&self) -> bool {
        let lacking = [libc::EOPNOTSUPP, libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT, libc::ENOENT];
        self.error.raw_os_error().is_some_and(|errno| lacking.contains(&errno))
    }
}

/// Loads everything at once. `groups` are the NFLOG groups in the order of [`Hook::ALL`]; none: count only.
pub(super) fn load(
    channel: &mut Channel,
    table: &str,
    device: &InterfaceFacts,
    groups: &[u16],
) -> Result<(), Unloaded> {
    let mut outcome = load_as(NFT_TABLE_F_OWNER, channel, table, device, groups);
    // A kernel before 5.12 doesn't know the flag: EINVAL, or EOPNOTSUPP.
    if let Err(Refused { message: Some(0), .. }) = &outcome {
        outcome = load_as(0, channel, table, device, groups);
    }
    outcome.map_err(|Refused { message, error }| {
        // The tables come first, then a chain and its rule for each hook.
        let hook = message.and_then(|message| message.checked_sub(2)).and_then(|message| Hook::ALL.get(message / 2));
        let what = match (hook, message.is_some_and(|message| message % 2 == 0)) {
            (Some(hook), true) => format!("make a chain `{}`", chain(*hook)),
            (Some(hook), false) => format!("make the rule of chain `{}`", chain(*hook)),
            (None, _) => "make a table".to_owned(),
        };
        Unloaded { what, error }
    })
}

fn load_as(
    flags: u32,
    channel: &mut Channel,
    table: &str,
    device: &InterfaceFacts,
    groups: &[u16],
) -> Result<(), Refused> {
    let mut requests: Vec<_> = [NFPROTO_NETDEV, NFPROTO_INET].map(|family| new_table(family, table, flags)).into();
    for hook in Hook::ALL {
        requests.push(new_chain(hook, table, &device.name));
        requests.push(new_rule(hook, table, device.index, groups.get(place(hook)).copied()));
    }
    channel.batch(NFNL_SUBSYS_NFTABLES, &requests)
}

/// Removes what is there. A table that somebody else has removed already keeps nothing of the other.
pub(super) fn unload(channel: &mut Channel, table: &str) {
    for family in [NFPROTO_NETDEV, NFPROTO_INET] {
        let mut body = netfilter_header(family, 0);
        push_text(&mut body, NFTA_TABLE_NAME, table);
        // Nothing is lost by a failure that closing the socket wouldn't repair, where the table belongs to it.
        let _ = channel.batch(NFNL_SUBSYS_NFTABLES, &[Request { kind: NFT_MSG_DELTABLE, flags: 0, body }]);
    }
}

/// Packets at each hook, in the order of [`Hook::ALL`]; `None` where the rule isn't there.
pub(super) fn counters(channel: &mut Channel, table: &str) -> io::Result<[Option<u64>; 6]> {
    let mut counted = [None; 6];
    for family in [NFPROTO_NETDEV, NFPROTO_INET] {
        let mut body = netfilter_header(family, 0);
        push_text(&mut body, NFTA_RULE_TABLE, table);
        let read = |kind: u16, message: &[u8]| (kind == NFT_MSG_NEWRULE).then(|| read_rule(table, message)).flatten();
        match channel.dump(NFT_MSG_GETRULE, &body, &read) {
            Ok(found) => found.into_iter().for_each(|(hook, packets)| counted[place(hook)] = Some(packets)),
            // The table is gone.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(counted)
}

fn new_table(family: u8, table: &str, flags: u32) -> Request {
    let mut body = netfilter_header(family, 0);
    push_text(&mut body, NFTA_TABLE_NAME, table);
    push_number(&mut body, NFTA_TABLE_FLAGS, flags);
    Request { kind: NFT_MSG_NEWTABLE, flags: NLM_F_CREATE | NLM_F_EXCL, body }
}

fn new_chain(hook: Hook, table: &str, device: &str) -> Request {
    let (family, number, priority) = standing(hook);
    let mut body = netfilter_header(family, 0);
    push_text(&mut body, NFTA_CHAIN_TABLE, table);
    push_text(&mut body, NFTA_CHAIN_NAME, chain(hook));
    push_nested(&mut body, NFTA_CHAIN_HOOK, |body| {
        push_number(body, NFTA_HOOK_HOOKNUM, number);
        push_attribute(body, NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
        if family == NFPROTO_NETDEV {
            push_text(body, NFTA_HOOK_DEV, device);
        }
    });
    push_number(&mut body, NFTA_CHAIN_POLICY, NF_ACCEPT);
    push_text(&mut body, NFTA_CHAIN_TYPE, "filter");
    Request { kind: NFT_MSG_NEWCHAIN, flags: NLM_F_CREATE | NLM_F_EXCL, body }
}

fn new_rule(hook: Hook, table: &str, interface: u32, group: Option<u16>) -> Request {
    let (family, ..) = standing(hook);
    let mut body = netfilter_header(family, 0);
    push_text(&mut body, NFTA_RULE_TABLE, table);
    push_text(&mut body, NFTA_RULE_CHAIN, chain(hook));
    push_nested(&mut body, NFTA_RULE_EXPRESSIONS, |body| {
        if family != NFPROTO_NETDEV {
            push_expression(body, "meta", |body| {
                push_number(body, NFTA_META_DREG, NFT_REG_1);
                push_number(body, NFTA_META_KEY, NFT_META_IIF);
            });
            push_expression(body, "cmp", |body| {
                push_number(body, NFTA_CMP_SREG, NFT_REG_1);
                push_number(body, NFTA_CMP_OP, NFT_CMP_EQ);
                // A register holds the index in the machine's order.
                push_nested(body, NFTA_CMP_DATA, |body| {
                    push_attribute(body, NFTA_DATA_VALUE, &interface.to_ne_bytes());
                });
            });
        }
        push_expression(body, "counter", |_| ());
        if let Some(group) = group {
            push_expression(body, "log", |body| {
                push_attribute(body, NFTA_LOG_GROUP, &group.to_be_bytes());
                push_number(body, NFTA_LOG_SNAPLEN, RECORD_BYTES.into());
            });
        }
    });
    Request { kind: NFT_MSG_NEWRULE, flags: NLM_F_CREATE | NLM_F_APPEND, body }
}

fn push_expression(body: &mut Vec<u8>, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    push_nested(body, NFTA_LIST_ELEM, |body| {
        push_text(body, NFTA_EXPR_NAME, name);
        push_nested(body, NFTA_EXPR_DATA, fill);
    });
}

/// Text ends with a zero.
fn push_text(body: &mut Vec<u8>, kind: u16, text: &str) {
    push_attribute(body, kind, &[text.as_bytes(), &[0]].concat());
}

fn push_number(body: &mut Vec<u8>, kind: u16, number: u32) {
    push_attribute(body, kind, &number.to_be_bytes());
}

/// The hook whose rule it is, and the packets that it counted; `None` for a rule that isn't ours.
fn read_rule(table: &str, message: &[u8]) -> Option<(Hook, u64)> {
    let attributes = || Attributes(after_header(message));
    // A kernel before 4.18 sends the rules of other tables too.
    attributes().find(|(kind, content)| *kind == NFTA_RULE_TABLE && is_text(content, table))?;
    let (_, name) = attributes().find(|(kind, _)| *kind == NFTA_RULE_CHAIN)?;
    let hook = Hook::ALL.into_iter().find(|hook| is_text(name, chain(*hook)))?;
    let (_, expressions) = attributes().find(|(kind, _)| *kind == NFTA_RULE_EXPRESSIONS)?;
    let packets = Attributes(expressions).find_map(|(_, expression)| {
        Attributes(expression).find(|(kind, name)| *kind == NFTA_EXPR_NAME && is_text(name, "counter"))?;
        let (_, counter) = Attributes(expression).find(|(kind, _)| *kind == NFTA_EXPR_DATA)?;
        let (_, packets) = Attributes(counter).find(|(kind, _)| *kind == NFTA_COUNTER_PACKETS)?;
        packets.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    })?;
    Some((hook, packets))
}

fn is_text(content: &[u8], text: &str) -> bool {
    content.strip_suffix(&[0]).is_some_and(|content| content == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(chain: &str, packets: u64) -> Vec<u8> {
        let mut body = netfilter_header(NFPROTO_INET, 0);
        push_text(&mut body, NFTA_RULE_TABLE, "restage-7");
        push_text(&mut body, NFTA_RULE_CHAIN, chain);
        push_nested(&mut body, NFTA_RULE_EXPRESSIONS, |body| {
            push_expression(body, "meta", |body| push_number(body, NFTA_META_KEY, NFT_META_IIF));
            push_expression(body, "counter", |body| {
                push_attribute(body, 1, &(packets * 100).to_be_bytes());
                push_attribute(body, NFTA_COUNTER_PACKETS, &packets.to_be_bytes());
            });
        });
        body
    }

    #[test]
    fn our_rules_are_read_and_no_others() {
        assert_eq!(read_rule("restage-7", &rule("input-last", 1 << 40)), Some((Hook::InputLast, 1 << 40)));
        assert_eq!(read_rule("restage-7", &rule("input", 5)), None);
        assert_eq!(read_rule("restage-77", &rule("input-last", 5)), None);
    }

    proptest! {
        #[test]
        fn no_rule_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read_rule("restage-7", &message), None);
        }

        #[test]
        fn no_damage_makes_the_reader_panic(place in 0usize..200, byte: u8, length in 0usize..200) {
            let mut message = rule("forward", 5);
            message.truncate(length);
            if let Some(changed) = message.get_mut(place) {
                *changed = byte;
            }
            let _ = read_rule("restage-7", &message);
        }
    }
}
