//! Whether a match of a rule holds for a packet: its fields against values, ranges, prefixes and sets. Start at [`Walk::holds`].

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Holds, Packet, Place, Walk};
use crate::packet::layers::protocol;

enum Field {
    Number(u64),
    Address(IpAddr),
    Text(String),
    /// The packet has no such field: no rule that asks for it matches.
    Absent,
    Unknown(String),
}

impl Walk<'_> {
    pub(super) fn holds(&self, content: &Value, place: &Place, packet: &Packet) -> Holds {
        let operator = content.get("op").and_then(Value::as_str).unwrap_or("==");
        let (Some(left), Some(right)) = (content.get("left"), content.get("right")) else {
            return Holds::Unknown("a match".to_owned());
        };
        if left.pointer("/ct/key").and_then(Value::as_str) == Some("state") {
            let states = match right {
                Value::Array(states) => states.clone(),
                Value::Object(set) => set.get("set").and_then(Value::as_array).cloned().unwrap_or_default(),
                state => vec![state.clone()],
            };
            let is_in = states.iter().any(|state| state.as_str() == Some(self.state));
            return if is_in == (operator != "!=") { Holds::Yes } else { Holds::No };
        }
        let value = match self.value(left, packet) {
            Field::Absent => return Holds::No,
            Field::Unknown(what) => return Holds::Unknown(what),
            value => value,
        };
        match operator {
            "==" | "in" | "!=" => match self.is_in(&value, right, place) {
                Some(is_in) if is_in == (operator != "!=") => Holds::Yes,
                Some(_) => Holds::No,
                None => Holds::Unknown(format!("what {right} means")),
            },
            _ => match (&value, right.as_u64()) {
                (Field::Number(number), Some(limit)) => {
                    let holds = match operator {
                        "<" => *number < limit,
                        ">" => *number > limit,
                        "<=" => *number <= limit,
                        _ => *number >= limit,
                    };
                    if holds { Holds::Yes } else { Holds::No }
                }
                _ => Holds::Unknown(format!("`{operator}` of it")),
            },
        }
    }

    /// What a rule asks of a packet.
    fn value(&self, left: &Value, packet: &Packet) -> Field {
        let four = packet.source.is_ipv4();
        let text = |pointer: &str| left.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let unknown = || Field::Unknown(left.to_string().replace('"', ""));
        if left.get("meta").is_some() {
            return match text("/meta/key") {
                "iifname" | "iif" => Field::Text(self.interface.to_owned()),
                "l4proto" => Field::Number(packet.protocol.into()),
                "nfproto" => Field::Text(if four { "ipv4" } else { "ipv6" }.to_owned()),
                "protocol" => Field::Text(if four { "ip" } else { "ip6" }.to_owned()),
                _ => unknown(),
            };
        }
        let number = |port: Option<u16>| port.map_or_else(unknown, |port| Field::Number(port.into()));
        match (text("/payload/protocol"), text("/payload/field")) {
            ("ip", _) if !four => Field::Absent,
            ("ip6", _) if four => Field::Absent,
            ("ip" | "ip6", "saddr") => Field::Address(packet.source),
            ("ip" | "ip6", "daddr") => Field::Address(packet.destination),
            ("ip", "protocol") => Field::Number(packet.protocol.into()),
            ("udp", _) if packet.protocol != protocol::UDP => Field::Absent,
            ("tcp", _) if packet.protocol != protocol::TCP => Field::Absent,
            ("udp" | "tcp" | "th", "dport") => number(packet.port),
            (transport, _) if by_name(transport).is_some_and(|number| number != packet.protocol) => Field::Absent,
            _ => unknown(),
        }
    }

    /// Whether a value is what a rule names; `None` where that isn't known.
    fn is_in(&self, value: &Field, right: &Value, place: &Place) -> Option<bool> {
        let number = |right: &Value| right.as_u64().or_else(|| right.as_str().and_then(by_name).map(u64::from));
        match (value, right) {
            (_, Value::String(name)) if name.starts_with('@') => {
                let of = (place.0.clone(), place.1.clone(), name.trim_start_matches('@').to_owned());
                let (_, set) = self.ruleset.sets.iter().find(|(place, _)| *place == of)?;
                // What rules or programs add to a set is not known.
                let flags = set.get("flags").map(Value::to_string).unwrap_or_default();
                if flags.contains("dynamic") || flags.contains("timeout") {
                    return None;
                }
                self.is_in(
                    value,
                    &Value::Array(set.get("elem").and_then(Value::as_array).cloned().unwrap_or_default()),
                    place,
                )
            }
            (_, Value::Array(elements)) => {
                let found: Vec<Option<bool>> =
                    elements.iter().map(|element| self.is_in(value, element, place)).collect();
                if found.contains(&Some(true)) {
                    Some(true)
                } else {
                    found.iter().all(Option::is_some).then_some(false)
                }
            }
            (_, Value::Object(object)) => {
                let (kind, content) = object.iter().next()?;
                match kind.as_str() {
                    "set" => self.is_in(value, content, place),
                    "elem" => self.is_in(value, content.get("val")?, place),
                    "range" => {
                        let [from, to] = content.as_array()?.as_slice() else { return None };
                        match value {
                            Field::Number(value) => Some((number(from)?..=number(to)?).contains(value)),
                            Field::Address(value) => {
                                let [from, to] =
                                    [from, to].map(|end| end.as_str().and_then(|end| end.parse::<IpAddr>().ok()));
                                Some((from?..=to?).contains(value))
                            }
                            _ => None,
                        }
                    }
                    "prefix" => {
                        let Field::Address(value) = value else { return None };
                        let length = u8::try_from(content.get("len")?.as_u64()?).ok()?;
                        let prefix = IpNet::new(content.get("addr")?.as_str()?.parse().ok()?, length).ok()?;
                        Some(prefix.contains(value))
                    }
                    _ => None,
                }
            }
            (Field::Number(value), right) => Some(*value == number(right)?),
            (Field::Address(value), Value::String(right)) => Some(*value == right.parse::<IpAddr>().ok()?),
            (Field::Text(value), Value::String(right)) => Some(match right.strip_suffix('*') {
                Some(beginning) => value.starts_with(beginning),
                None => value == right,
            }),
            _ => None,
        }
    }

    /// The verdict that a map has for a packet; `None` where it has none.
    pub(super) fn looked_up(&self, content: &Value, place: &Place, packet: &Packet) -> Result<Option<Value>, String> {
        let unknown = || "a rule has a map of verdicts that is not walked".to_owned();
        let (key, data) = content.get("key").zip(content.get("data")).ok_or_else(unknown)?;
        let named = data.as_str().map(|name| name.trim_start_matches('@').to_owned());
        let pairs = match named {
            Some(name) => {
                let of = (place.0.clone(), place.1.clone(), name);
                let found = self.ruleset.sets.iter().find(|(place, _)| *place == of);
                found.and_then(|(_, map)| map.get("elem")).and_then(Value::as_array)
            }
            None => data.get("set").and_then(Value::as_array),
        };
        for pair in pairs.ok_or_else(unknown)? {
            let [element, verdict] = pair.as_array().map(Vec::as_slice).ok_or_else(unknown)? else {
                return Err(unknown());
            };
            let question = serde_json::json!({ "op": "==", "left": key, "right": element });
            match self.holds(&question, place, packet) {
                Holds::Yes => return Ok(Some(verdict.clone())),
                Holds::No => {}
                Holds::Unknown(what) => return Err(format!("{what} is not known before the run")),
            }
        }
        Ok(None)
    }
}

/// An IP protocol by the name that nft prints.
fn by_name(name: &str) -> Option<u8> {
    Some(match name {
        "icmp" => protocol::ICMP,
        "igmp" => protocol::IGMP,
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "dccp" => protocol::DCCP,
        "gre" => protocol::GRE,
        "esp" => protocol::ESP,
        "ah" => protocol::AH,
        "icmpv6" | "ipv6-icmp" => protocol::ICMPV6,
        "sctp" => protocol::SCTP,
        "udplite" => protocol::UDPLITE,
        _ => return None,
    })
}
