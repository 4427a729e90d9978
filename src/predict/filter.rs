//! What a packet filter does with a packet: the rules of nftables walked as `nft -j list ruleset` shows them (libnftables-json(5)).
//!
//! What isn't known of a packet before the run (marks, rates, whether its connection is established) is tried in every way: where the ends
//! differ, or a rule says something that is not known here, the end is open, with the reason. Start at [`Filter::walk`].

mod matches;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::host::filter::{Chain, Filter, Place, Ruleset};
use crate::packet::layers::protocol;
use crate::predict::{Carried, ClassKey, Flaw};

/// Where in the stack chains are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The interface, before anything of the packet is looked at.
    Ingress,
    /// Before routing.
    Prerouting,
    /// Behind it, for packets to this host.
    Input,
}

/// What the chains of a hook do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Walked {
    /// It goes on, with this destination and port.
    Passed(Option<(IpAddr, Option<u16>)>),
    Dropped(String),
    /// It is not known, and why.
    Open(String),
}

impl Ruleset {
    /// Whether chains see the fragments of a datagram one by one: conntrack puts them together before most hooks, IPv4 does before the
    /// input hook.
    fn sees_fragments(&self, six: bool) -> bool {
        let at = |hook: &str| {
            let is_there = |chain: &Chain| chain.base.as_ref().is_some_and(|base| base.hook == hook);
            self.chains.iter().any(is_there)
        };
        let tracks =
            self.chains.iter().flat_map(|chain| &chain.rules).any(|rule| {
                ["\"ct\"", "redirect", "nat", "masquerade"].iter().any(|word| rule.to_string().contains(word))
            });
        at("ingress") || !tracks && (at("prerouting") || six && at("input"))
    }
}

impl Filter {
    /// Whether its rules see the fragments of a datagram one by one, so that those on ports hold for the first alone.
    pub(super) fn sees_fragments(&self, six: bool) -> bool {
        matches!(self, Self::Rules(ruleset) if ruleset.sees_fragments(six))
    }

    /// What the chains at a hook do with the packets of a class that comes in on `interface`, whose first address of each family is in `own`.
    pub(super) fn walk(&self, at: At, key: &ClassKey, interface: &str, own: &[IpNet]) -> Walked {
        let ruleset = match self {
            Self::None => return Walked::Passed(None),
            Self::Unseen(_) if at != At::Prerouting => return Walked::Passed(None),
            Self::Unseen(why) => return Walked::Open(format!("the ruleset can't be predicted: {why}")),
            Self::Rules(ruleset) => ruleset,
        };
        let walk = |state| Walk { ruleset, interface, own, state, drops: false, forks: 0 }.hook(at, key);
        let (first, others) = states(key);
        let end = walk(first);
        // Of a connection whose first datagram is dropped nothing is answered, and it is never established.
        let is_over = matches!(end, Walked::Dropped(_)) && others == ESTABLISHED;
        if is_over || others.iter().all(|state| walk(state) == end) {
            return end;
        }
        Walked::Open(
            "the ruleset can't be predicted: it depends on whether the packet's connection is established (ct state)"
                .to_owned(),
        )
    }
}

/// What the connection of a datagram that was answered is in.
const ESTABLISHED: &[&str] = &["established"];

/// The states that the packet's connection may be in (nf_conntrack).
fn states(key: &ClassKey) -> (&'static str, &'static [&'static str]) {
    let Carried::Ip { protocol, .. } = key.carried else { return ("untracked", &[]) };
    match key.flaw {
        Flaw::UdpSum | Flaw::UdpSumOffload | Flaw::TcpSum | Flaw::TcpSumOffload | Flaw::UdpLength | Flaw::TcpLength => {
            ("invalid", &[])
        }
        _ if protocol == protocol::UDP => ("new", ESTABLISHED),
        _ => ("new", &["established", "invalid"]),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    /// It isn't known, and what is asked.
    Unknown(String),
}

/// How a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Flow {
    Accept,
    Drop(String),
    /// The chain ended without a verdict.
    Disposition,
    Open(String),
}

/// What a packet is, as far as rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    port: Option<u16>,
    translated: bool,
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    interface: &'a str,
    own: &'a [IpNet],
    state: &'a str,
    /// Whether the policy of the base chain is to drop.
    drops: bool,
    /// How often both ways were tried.
    forks: u32,
}

/// So many rules of which isn't known whether they match are tried both ways.
const MOST_FORKS: u32 = 64;
/// So many chains jump into each other; the kernel takes 16.
const DEEPEST: u32 = 16;

impl Walk<'_> {
    fn hook(mut self, at: At, key: &ClassKey) -> Walked {
        let hook = match at {
            At::Ingress => "ingress",
            At::Prerouting => "prerouting",
            At::Input => "input",
        };
        let ruleset = self.ruleset;
        let packet = match key.carried {
            Carried::Ip { source, destination, protocol, port } => {
                Some(Packet { source, destination, protocol, port, translated: false })
            }
            Carried::Other { .. } => None,
        };
        let mut now = packet;
        for chain in &ruleset.chains {
            let Some(base) = chain.base.as_ref().filter(|base| base.hook == hook) else { continue };
            let is_meant = match chain.place.0.as_str() {
                "inet" | "netdev" => base.device.as_deref().is_none_or(|device| device == self.interface),
                "ip" => packet.is_some_and(|packet| packet.source.is_ipv4()),
                "ip6" => packet.is_some_and(|packet| packet.source.is_ipv6()),
                _ => false,
            };
            if !is_meant || chain.rules.is_empty() && !base.drops {
                continue;
            }
            let Some(packet) = &mut now else {
                return Walked::Open(format!(
                    "the ruleset can't be predicted: chain {} is asked of frames without IP",
                    chain.place.2
                ));
            };
            self.drops = base.drops;
            match self.chain(&chain.rules, &chain.place, packet, 0) {
                Flow::Accept => {}
                Flow::Disposition if !base.drops => {}
                Flow::Disposition => {
                    return Walked::Dropped(format!("the policy of chain {} {} is drop", chain.place.1, chain.place.2));
                }
                Flow::Drop(why) => return Walked::Dropped(why),
                Flow::Open(why) => return Walked::Open(format!("the ruleset can't be predicted: {why}")),
            }
        }
        Walked::Passed(now.filter(|now| now.translated).map(|now| (now.destination, now.port)))
    }

    fn chain(&mut self, rules: &[Value], place: &Place, packet: &mut Packet, depth: u32) -> Flow {
        let Some((rule, rest)) = rules.split_first() else { return Flow::Disposition };
        if depth > DEEPEST {
            return Flow::Open("chains jump into each other too deeply".to_owned());
        }
        let statements = rule.as_array().map_or(&[][..], Vec::as_slice);
        match self.rule(statements, place, packet, depth) {
            Some(Flow::Disposition) => Flow::Disposition,
            Some(Flow::Open(why)) if why.starts_with(FORK) => {
                self.forks += 1;
                if self.forks > MOST_FORKS {
                    return Flow::Open("too many rules depend on what is not known before the run".to_owned());
                }
                let mut other = *packet;
                let unmatched = self.chain(rest, place, &mut other, depth);
                let mut matched = *packet;
                let known: Vec<Value> =
                    statements.iter().filter(|statement| self.is_known(statement, place, packet)).cloned().collect();
                let mut with = vec![Value::Array(known)];
                with.extend_from_slice(rest);
                let matched_end = self.chain(&with, place, &mut matched, depth);
                // The policy is the base chain's end.
                let end = |flow: &Flow| {
                    if depth == 0 && *flow == Flow::Disposition && !self.drops { Flow::Accept } else { flow.clone() }
                };
                if (end(&unmatched), other) == (end(&matched_end), matched) {
                    *packet = other;
                    return unmatched;
                }
                Flow::Open(why.trim_start_matches(FORK).to_owned())
            }
            Some(flow) => flow,
            None => self.chain(rest, place, packet, depth),
        }
    }

    fn is_known(&self, statement: &Value, place: &Place, packet: &Packet) -> bool {
        statement.as_object().and_then(|object| object.iter().next()).is_none_or(|(name, content)| {
            match name.as_str() {
                "match" => !matches!(self.holds(content, place, packet), Holds::Unknown(_)),
                "limit" | "quota" | "ct count" => false,
                _ => true,
            }
        })
    }

    /// What a rule says; `None` where the next one is asked.
    fn rule(&mut self, statements: &[Value], place: &Place, packet: &mut Packet, depth: u32) -> Option<Flow> {
        for statement in statements {
            let Some((name, content)) = statement.as_object().and_then(|object| object.iter().next()) else { continue };
            match name.as_str() {
                "match" => match self.holds(content, place, packet) {
                    Holds::Yes => {}
                    Holds::No => return None,
                    Holds::Unknown(what) => {
                        return Some(Flow::Open(format!("{FORK}{what} is not known before the run")));
                    }
                },
                "limit" | "quota" | "ct count" => {
                    return Some(Flow::Open(format!("{FORK}a rule depends on how many packets there were ({name})")));
                }
                "vmap" => match self.looked_up(content, place, packet) {
                    Ok(Some(verdict)) => {
                        let flow = self.rule(std::slice::from_ref(&verdict), place, packet, depth);
                        if flow.is_some() {
                            return flow;
                        }
                    }
                    Ok(None) => {}
                    Err(why) => return Some(Flow::Open(why)),
                },
                "accept" => return Some(Flow::Accept),
                "drop" | "reject" => {
                    return Some(Flow::Drop(format!("a rule of chain {} {} says {name}", place.1, place.2)));
                }
                "return" => return Some(Flow::Disposition),
                "continue" | "counter" | "log" | "set" | "flow" | "comment" => {}
                "jump" | "goto" => {
                    let to = content.get("target").and_then(Value::as_str).unwrap_or_default();
                    let to = (place.0.clone(), place.1.clone(), to.to_owned());
                    let ruleset = self.ruleset;
                    let target = ruleset.chains.iter().find(|chain| chain.place == to);
                    let Some(target) = target else { return Some(Flow::Open(format!("there is no chain {}", to.2))) };
                    match self.chain(&target.rules, &to, packet, depth + 1) {
                        Flow::Disposition if name == "goto" => return Some(Flow::Disposition),
                        Flow::Disposition => {}
                        flow => return Some(flow),
                    }
                }
                // Marks are not known where a rule asks for them.
                "mangle" if content.pointer("/key/meta").is_some() || content.pointer("/key/ct").is_some() => {}
                "redirect" | "dnat" if self.state == "invalid" => return Some(Flow::Accept),
                "redirect" | "dnat" => {
                    return Some(match self.translate(name, content, packet) {
                        Some(()) => Flow::Accept,
                        None => Flow::Open(format!("where {name} sends the packet is not one address and port")),
                    });
                }
                other => return Some(Flow::Open(format!("a rule has `{other}`, which is not walked"))),
            }
        }
        None
    }

    fn translate(&self, name: &str, content: &Value, packet: &mut Packet) -> Option<()> {
        let to: IpAddr = match content.get("addr") {
            Some(address) => address.as_str()?.parse().ok()?,
            None if name == "dnat" => packet.destination,
            None => {
                let own = self.own.iter().map(IpNet::addr).find(|own| own.is_ipv4() == packet.destination.is_ipv4());
                own.unwrap_or(packet.destination)
            }
        };
        if to.is_ipv4() != packet.destination.is_ipv4() {
            return None;
        }
        let port = match content.get("port") {
            Some(port) => Some(u16::try_from(port.as_u64()?).ok()?),
            None => packet.port,
        };
        (packet.destination, packet.port, packet.translated) = (to, port, true);
        Some(())
    }
}

/// Begins the reason of a match that is not known, so that both ways are tried.
const FORK: &str = "\u{0}";
