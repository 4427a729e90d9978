//! Our tables, chains and rules as nf_tables takes them (`linux/netfilter/nf_tables.h`; nft(8) describes what they do), and their counters.
//!
//! One table for the family netdev, whose chain is on the device, one for inet, which is IPv4 and IPv6. As `nft` would list a chain:
//!
//! ```text
//! chain input-first {
//!     type filter hook input priority -2147483648; policy accept;
//!     meta iif != 1 @ll,0,8 … counter log group 61443 snaplen 160
//! }
//! ```
//!
//! A packet that the application sent to itself comes from `lo` (interface 1), or, where it is the copy of a multicast packet that the
//! kernel loops back, from the sending interface but without a link-layer header: loading a byte of that header ends the rule there.
//! Everything else came in from outside.

use std::io;

use super::{Among, RECORD_BYTES, Tally, after_header, netfilter_header};
use crate::host::interface::InterfaceFacts;
use crate::host::netlink::{Attributes, Channel, Refused, Request, push_attribute, push_nested};
use crate::outcome::Hook;
use crate::packet::layers::protocol;

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
/// Bytes of our own: the place of the rule's [`Tally`].
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_IIF: u32 = 4;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_META_PKTTYPE: u32 = 19;
/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u8 = 0;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFT_REG_VERDICT: u32 = 0;
const NFT_RETURN: i32 = -5;
const NFT_REG_1: u32 = 1;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_LL_HEADER: u32 = 0;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
/// The loopback is the first interface of every namespace.
const LOOPBACK_INDEX: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// Type and code of "port unreachable" (RFC 792; RFC 4443 section 3.1).
const PORT_UNREACHABLE: [u8; 2] = [3, 3];
const PORT_UNREACHABLE_V6: [u8; 2] = [1, 4];
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
    /// Whether it is a table that goes with our socket (Linux 5.12), or any.
    pub(super) is_table: bool,
}

impl Unloaded {
    /// We may not.
    pub(super) fn refused(&self) -> bool {
        matches!(self.error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }

    /// The kernel lacks it: nf_tables, a family, a type of chain, an expression.
    pub(super) fn absent(&self) -> bool {
        let lacking = [libc::EOPNOTSUPP, libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT, libc::ENOENT];
        let lacks = |errno| lacking.contains(&errno) || self.is_table && errno == libc::EINVAL;
        self.error.raw_os_error().is_some_and(lacks)
    }
}

/// What a packet must be for a rule to count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    /// It came from this interface, by its index.
    From(u32),
    /// It came from another one.
    NotFrom(u32),
    /// It has a link-layer header.
    LinkHeader,
    /// Its address family, as netfilter numbers it.
    Family(u8),
    /// It is for this host alone: no broadcast, no multicast.
    ToHost,
    /// Its IP protocol.
    Protocol(u8),
    /// These two bytes are at this offset of its transport header.
    Transport(u32, [u8; 2]),
}

/// One rule: what passes all tests is counted.
struct Rule {
    hook: Hook,
    tally: Tally,
    tests: Vec<Test>,
    /// The group that gets a copy of the packet's head.
    group: Option<u16>,
    /// Whether the rules after it are for other packets only.
    last: bool,
}

/// The rules at these hooks. `device`: the interface's index. `groups`: the NFLOG groups in the order of [`Hook::ALL`]; none: count only. `ports`: UDP ports for
/// [`Tally::OwnUdpToPorts`].
fn rules(device: u32, hooks: &[Hook], groups: &[u16], ports: &[u16], among: Among) -> Vec<Rule> {
    let from = match among {
        Among::Own => Test::NotFrom(LOOPBACK_INDEX),
        Among::Others => Test::From(device),
    };
    let from_outside = [from, Test::LinkHeader];
    let udp = Test::Protocol(protocol::UDP);
    let mut rules = Vec::new();
    for (hook, group) in Hook::ALL.into_iter().zip(0..).filter(|(hook, _)| hooks.contains(hook)) {
        let counts = |tally, tests| Rule { hook, tally, tests, group: None, last: false };
        let group = groups.get(group).copied();
        let is_last = hook == Hook::InputLast;
        if is_last {
            // Most packets are these: they pass one rule.
            rules.push(Rule {
                hook,
                tally: Tally::Udp,
                tests: [&from_outside[..], &[udp]].concat(),
                group,
                last: true,
            });
        }
        // A looped-back packet passes the hook of the interface as well.
        let tests = if hook == Hook::Ingress { vec![Test::LinkHeader] } else { from_outside.to_vec() };
        rules.push(Rule { hook, tally: Tally::Hook(hook), tests, group, last: is_last });
        if hook == Hook::InputLast {
            rules.push(counts(Tally::OwnUdp, vec![udp]));
            rules.push(counts(Tally::OwnUdpLooped, vec![Test::NotFrom(LOOPBACK_INDEX), udp]));
            if among == Among::Others {
                let elsewhere = [Test::NotFrom(LOOPBACK_INDEX), Test::NotFrom(device), Test::ToHost, Test::LinkHeader];
                rules.push(counts(Tally::ForeignUdp, [&elsewhere[..], &[udp]].concat()));
            }
            for port in ports {
                rules.push(counts(Tally::OwnUdpToPorts, vec![udp, Test::Transport(2, port.to_be_bytes())]));
            }
            for (family, protocol, kind) in [
                (NFPROTO_IPV4, protocol::ICMP, PORT_UNREACHABLE),
                (NFPROTO_IPV6, protocol::ICMPV6, PORT_UNREACHABLE_V6),
            ] {
                let tests = vec![
                    Test::From(LOOPBACK_INDEX),
                    Test::Family(family),
                    Test::Protocol(protocol),
                    Test::Transport(0, kind),
                ];
                rules.push(counts(Tally::ClosedPorts, tests));
            }
        }
    }
    rules
}

/// Loads everything at once: a chain at each of `hooks`. `groups` are the NFLOG groups in the order of [`Hook::ALL`]; none: count only.
pub(super) fn load(
    channel: &mut Channel,
    table: &str,
    device: &InterfaceFacts,
    hooks: &[Hook],
    groups: &[u16],
    ports: &[u16],
    among: Among,
) -> Result<(), Unloaded> {
    let rules = rules(device.index, hooks, groups, ports, among);
    let mut outcome = load_as(NFT_TABLE_F_OWNER, channel, table, device, hooks, &rules);
    // A kernel before 5.12 doesn't know the flag: EINVAL, or EOPNOTSUPP.
    if let (Err(Refused { message: Some(0), .. }), Among::Own) = (&outcome, among) {
        outcome = load_as(0, channel, table, device, hooks, &rules);
    }
    outcome.map_err(|Refused { message, error }| {
        // The tables come first, then the chains, then the rules.
        let after_tables = message.and_then(|message| message.checked_sub(2));
        let what = match after_tables.map(|at| (hooks.get(at), rules.get(at.wrapping_sub(hooks.len())))) {
            Some((Some(hook), _)) => format!("make a chain `{}`", chain(*hook)),
            Some((None, Some(rule))) => format!("make a rule of chain `{}`", chain(rule.hook)),
            Some((None, None)) | None => "make a table".to_owned(),
        };
        let is_table = after_tables.is_none();
        Unloaded { what, error, is_table }
    })
}

fn load_as(
    flags: u32,
    channel: &mut Channel,
    table: &str,
    device: &InterfaceFacts,
    hooks: &[Hook],
    rules: &[Rule],
) -> Result<(), Refused> {
    let tables = [NFPROTO_NETDEV, NFPROTO_INET].map(|family| new_table(family, table, flags));
    let chains = hooks.iter().map(|hook| new_chain(*hook, table, &device.name));
    let rules = rules.iter().map(|rule| new_rule(rule, table));
    let requests: Vec<_> = tables.into_iter().chain(chains).chain(rules).collect();
    channel.batch(NFNL_SUBSYS_NFTABLES, &requests)
}

/// Removes what is there. A table that another program has removed already keeps nothing of the other.
pub(super) fn unload(channel: &mut Channel, table: &str) {
    let requests = [NFPROTO_NETDEV, NFPROTO_INET].map(|family| {
        let mut body = netfilter_header(family, 0);
        push_text(&mut body, NFTA_TABLE_NAME, table);
        Request { kind: NFT_MSG_DELTABLE, flags: 0, body }
    });
    // Both at once, which the kernel waits for once; where another program has removed one of them, one by one. Nothing is lost by a failure
    // that closing the socket wouldn't repair, where the tables belong to it.
    if channel.batch(NFNL_SUBSYS_NFTABLES, &requests).is_err() {
        for request in &requests {
            let _ = channel.batch(NFNL_SUBSYS_NFTABLES, std::slice::from_ref(request));
        }
    }
}

/// Each of our rules with the packets that it counted.
pub(super) fn counters(channel: &mut Channel, table: &str) -> io::Result<Vec<(Tally, u64)>> {
    let mut counted = Vec::new();
    for family in [NFPROTO_NETDEV, NFPROTO_INET] {
        let mut body = netfilter_header(family, 0);
        push_text(&mut body, NFTA_RULE_TABLE, table);
        let read = |kind: u16, message: &[u8]| (kind == NFT_MSG_NEWRULE).then(|| read_rule(table, message)).flatten();
        match channel.dump(NFT_MSG_GETRULE, &body, &read) {
            Ok(found) => counted.extend(found),
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

fn new_rule(rule: &Rule, table: &str) -> Request {
    let (family, ..) = standing(rule.hook);
    let mut body = netfilter_header(family, 0);
    push_text(&mut body, NFTA_RULE_TABLE, table);
    push_text(&mut body, NFTA_RULE_CHAIN, chain(rule.hook));
    push_nested(&mut body, NFTA_RULE_EXPRESSIONS, |body| {
        for test in &rule.tests {
            push_test(body, *test);
        }
        push_expression(body, "counter", |_| ());
        if let Some(group) = rule.group {
            push_expression(body, "log", |body| {
                push_attribute(body, NFTA_LOG_GROUP, &group.to_be_bytes());
                push_number(body, NFTA_LOG_SNAPLEN, RECORD_BYTES.into());
            });
        }
        if rule.last {
            push_expression(body, "immediate", |body| {
                push_number(body, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                push_nested(body, NFTA_IMMEDIATE_DATA, |body| {
                    push_nested(body, NFTA_DATA_VERDICT, |body| {
                        push_attribute(body, NFTA_VERDICT_CODE, &NFT_RETURN.to_be_bytes());
                    });
                });
            });
        }
    });
    push_attribute(&mut body, NFTA_RULE_USERDATA, &[rule.tally.place()]);
    Request { kind: NFT_MSG_NEWRULE, flags: NLM_F_CREATE | NLM_F_APPEND, body }
}

/// The expressions of one test: what it looks at comes into register 1, and the rule ends there if it isn't as it should be.
fn push_test(body: &mut Vec<u8>, test: Test) {
    match test {
        // A register holds the index in the machine's order.
        Test::From(index) => push_meta(body, NFT_META_IIF, NFT_CMP_EQ, &index.to_ne_bytes()),
        Test::NotFrom(index) => push_meta(body, NFT_META_IIF, NFT_CMP_NEQ, &index.to_ne_bytes()),
        Test::Family(family) => push_meta(body, NFT_META_NFPROTO, NFT_CMP_EQ, &[family]),
        Test::ToHost => push_meta(body, NFT_META_PKTTYPE, NFT_CMP_EQ, &[PACKET_HOST]),
        Test::Protocol(protocol) => push_meta(body, NFT_META_L4PROTO, NFT_CMP_EQ, &[protocol]),
        Test::LinkHeader => push_payload(body, NFT_PAYLOAD_LL_HEADER, 0, 1),
        Test::Transport(offset, bytes) => {
            push_payload(body, NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2);
            push_comparison(body, NFT_CMP_EQ, &bytes);
        }
    }
}

fn push_meta(body: &mut Vec<u8>, key: u32, comparison: u32, value: &[u8]) {
    push_expression(body, "meta", |body| {
        push_number(body, NFTA_META_DREG, NFT_REG_1);
        push_number(body, NFTA_META_KEY, key);
    });
    push_comparison(body, comparison, value);
}

fn push_payload(body: &mut Vec<u8>, base: u32, offset: u32, length: u32) {
    push_expression(body, "payload", |body| {
        push_number(body, NFTA_PAYLOAD_DREG, NFT_REG_1);
        push_number(body, NFTA_PAYLOAD_BASE, base);
        push_number(body, NFTA_PAYLOAD_OFFSET, offset);
        push_number(body, NFTA_PAYLOAD_LEN, length);
    });
}

fn push_comparison(body: &mut Vec<u8>, comparison: u32, value: &[u8]) {
    push_expression(body, "cmp", |body| {
        push_number(body, NFTA_CMP_SREG, NFT_REG_1);
        push_number(body, NFTA_CMP_OP, comparison);
        push_nested(body, NFTA_CMP_DATA, |body| push_attribute(body, NFTA_DATA_VALUE, value));
    });
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

/// What the rule counts, and how many packets that were; `None` for a rule that isn't ours.
fn read_rule(table: &str, message: &[u8]) -> Option<(Tally, u64)> {
    let attributes = || Attributes(after_header(message));
    // A kernel before 4.18 sends the rules of other tables too.
    attributes().find(|(kind, content)| *kind == NFTA_RULE_TABLE && is_text(content, table))?;
    let (_, place) = attributes().find(|(kind, _)| *kind == NFTA_RULE_USERDATA)?;
    let tally = Tally::at(*place.first()?)?;
    let (_, expressions) = attributes().find(|(kind, _)| *kind == NFTA_RULE_EXPRESSIONS)?;
    let packets = Attributes(expressions).find_map(|(_, expression)| {
        Attributes(expression).find(|(kind, name)| *kind == NFTA_EXPR_NAME && is_text(name, "counter"))?;
        let (_, counter) = Attributes(expression).find(|(kind, _)| *kind == NFTA_EXPR_DATA)?;
        let (_, packets) = Attributes(counter).find(|(kind, _)| *kind == NFTA_COUNTER_PACKETS)?;
        packets.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    })?;
    Some((tally, packets))
}

fn is_text(content: &[u8], text: &str) -> bool {
    content.strip_suffix(&[0]).is_some_and(|content| content == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(place: u8, packets: u64) -> Vec<u8> {
        let mut body = netfilter_header(NFPROTO_INET, 0);
        push_text(&mut body, NFTA_RULE_TABLE, "restage-7");
        push_attribute(&mut body, NFTA_RULE_USERDATA, &[place]);
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
        let tally = Tally::Hook(Hook::InputLast);
        assert_eq!(read_rule("restage-7", &rule(tally.place(), 1 << 40)), Some((tally, 1 << 40)));
        assert_eq!(read_rule("restage-7", &rule(77, 5)), None);
        assert_eq!(read_rule("restage-77", &rule(tally.place(), 5)), None);
    }

    proptest! {
        #[test]
        fn no_rule_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read_rule("restage-7", &message), None);
        }

        #[test]
        fn no_damage_makes_the_reader_panic(place in 0usize..200, byte: u8, length in 0usize..200) {
            let mut message = rule(5, 5);
            message.truncate(length);
            if let Some(changed) = message.get_mut(place) {
                *changed = byte;
            }
            let _ = read_rule("restage-7", &message);
        }
    }
}
