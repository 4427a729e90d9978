//! Which UDP datagram asks, and which answers it: by addresses and ports, and by the identifier of the protocols that have one.
//!
//! A protocol is known by its port; DNS on another port by its messages. Of all others nothing but addresses and ports is known. Start at
//! [`Udp::find`] and [`role`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::bytes::{array, be16, byte};
use super::dns;
use super::layers::{Fragment, Network, protocol};

/// A UDP datagram, or its first fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Its source.
    pub from: (IpAddr, u16),
    /// Its destination.
    pub to: (IpAddr, u16),
    /// What it carries, as far as it was captured.
    pub payload: &'a [u8],
    /// Whether `payload` is all of it: it is no fragment, and not cut.
    pub is_whole: bool,
}

impl<'a> Udp<'a> {
    /// The datagram of a packet; `None` for a later fragment and for other protocols.
    pub fn find(network: &Network, frame: &'a [u8]) -> Option<Self> {
        let ip = network.ip().filter(|ip| ip.protocol == protocol::UDP && !ip.is_later_fragment())?;
        let (source, destination) = network.addresses(frame)?;
        let (from, to) = network.ports(frame)?;
        let length = usize::from(be16(frame, ip.payload + 4)?);
        let end = ip.end.min(ip.payload.saturating_add(length)).min(frame.len());
        let payload = frame.get(ip.payload + 8..end).unwrap_or_default();
        let is_whole = ip.fragment == Fragment::Whole && payload.len() + 8 == length;
        Some(Self { from: (source, from), to: (destination, to), payload, is_whole })
    }
}

/// A question: who asks whom, by which identifier. Its answers have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Exchange {
    /// Who asks.
    pub asker: (IpAddr, u16),
    /// Who is asked.
    pub asked: (IpAddr, u16),
    /// The protocol's identifier; empty where none is known.
    pub id: Vec<u8>,
}

/// What a datagram is to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It asks for an answer with this identifier.
    Asks(Vec<u8>),
    /// It answers a question with this identifier.
    Answers(Vec<u8>),
    /// Neither, such as an SNMP trap.
    Neither,
    /// Its protocol is not known, or it is malformed.
    Unknown,
}

/// The role of a datagram.
pub fn role(udp: &Udp<'_>) -> Role {
    let payload = udp.payload;
    let known = [udp.to.1, udp.from.1].into_iter().find_map(|port| match port {
        53 => Some(dns_header(payload)),
        67 => Some(dhcp(payload)),
        123 => Some(ntp(payload)),
        161 | 162 => Some(snmp(payload)),
        547 => Some(dhcpv6(payload)),
        1645 | 1646 | 1812 | 1813 | 3799 => Some(radius(payload)),
        5060 => Some(sip(payload)),
        _ => None,
    });
    known
        .unwrap_or_else(|| match dns::asks(payload) {
            Some(_) => dns_header(payload),
            None => None,
        })
        .unwrap_or(Role::Unknown)
}

/// RFC 1035 §4.1.1.
fn dns_header(payload: &[u8]) -> Option<Role> {
    let flags = byte(payload, 2).filter(|_| payload.len() >= 12)?;
    let id = payload.get(..2)?.to_vec();
    Some(if flags & 0x80 == 0 { Role::Asks(id) } else { Role::Answers(id) })
}

/// RFC 2131 §2, RFC 2132 §9.6: an offer answers a discovery; an acknowledgement, or its refusal, answers all else that asks.
fn dhcp(payload: &[u8]) -> Option<Role> {
    const MESSAGE_TYPE: u8 = 53;
    let id = |answer: u8| [payload.get(4..8).unwrap_or_default(), &[answer]].concat();
    byte(payload, 0).filter(|_| payload.len() >= 240)?;
    let mut options = payload.get(240..)?;
    let kind = loop {
        match *options {
            [0, ref rest @ ..] => options = rest,
            [MESSAGE_TYPE, 1, kind, ..] => break kind,
            [255, ..] | [] => return None,
            [_, length, ref rest @ ..] => options = rest.get(usize::from(length)..)?,
            [_] => return None,
        }
    };
    Some(match kind {
        1 => Role::Asks(id(0)),
        3 | 8 => Role::Asks(id(1)),
        2 => Role::Answers(id(0)),
        5 | 6 => Role::Answers(id(1)),
        _ => Role::Neither,
    })
}

/// RFC 8415 §7.3, §8: message type and transaction identifier.
fn dhcpv6(payload: &[u8]) -> Option<Role> {
    let id = payload.get(1..4)?.to_vec();
    Some(match byte(payload, 0)? {
        1 | 3..=6 | 8 | 9 | 11 => Role::Asks(id),
        2 | 7 => Role::Answers(id),
        _ => return None,
    })
}

/// RFC 5905 §7.3: a server copies the time at which the client sent into its answer. RFC 9327 §2: control messages have a response bit.
fn ntp(payload: &[u8]) -> Option<Role> {
    match byte(payload, 0)? & 7 {
        3 => Some(Role::Asks(payload.get(40..48)?.to_vec())),
        4 => Some(Role::Answers(payload.get(24..32)?.to_vec())),
        6 => {
            let id = payload.get(2..4)?.to_vec();
            Some(if byte(payload, 1)? & 0x80 == 0 { Role::Asks(id) } else { Role::Answers(id) })
        }
        5 => Some(Role::Neither),
        _ => None,
    }
}

/// RFC 2865 §3, §4; RFC 2866 §3; RFC 5176 §2.3: code and identifier.
fn radius(payload: &[u8]) -> Option<Role> {
    let [code, id, ..] = *payload else { return None };
    payload.get(..20)?;
    Some(match code {
        1 | 4 | 12 | 40 | 43 => Role::Asks(vec![id]),
        2 | 3 | 5 | 11 | 41 | 42 | 44 | 45 => Role::Answers(vec![id]),
        _ => return None,
    })
}

/// RFC 3416 §3 for versions 1 and 2; RFC 3412 §6 for version 3, where the message may be encrypted: one that asks is reportable.
fn snmp(payload: &[u8]) -> Option<Role> {
    let (0x30, message, _) = ber(payload)? else { return None };
    let (2, version, rest) = ber(message)? else { return None };
    if version == [3] {
        let (0x30, global, _) = ber(rest)? else { return None };
        let (2, id, global) = ber(global)? else { return None };
        let (_, _, global) = ber(global)?;
        let (4, flags, _) = ber(global)? else { return None };
        let is_reportable = byte(flags, 0)? & 4 != 0;
        // A trap isn't reportable either, and has an identifier that no question has.
        return Some(if is_reportable { Role::Asks(id.to_vec()) } else { Role::Answers(id.to_vec()) });
    }
    let (4, _, rest) = ber(rest)? else { return None };
    let (kind, pdu, _) = ber(rest)?;
    let id = || ber(pdu).filter(|(tag, ..)| *tag == 2).map(|(_, id, _)| id.to_vec());
    Some(match kind {
        0xa0 | 0xa1 | 0xa3 | 0xa5 | 0xa6 => Role::Asks(id()?),
        0xa2 => Role::Answers(id()?),
        0xa4 | 0xa7 | 0xa8 => Role::Neither,
        _ => return None,
    })
}

/// The first element of BER (X.690 §8.1): its tag, its content, and what follows it.
fn ber(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (length.iter().try_fold(0usize, |all, byte| all.checked_mul(256)?.checked_add(usize::from(*byte)))?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// RFC 3261 §17.1.3: an answer has the request's Call-ID and CSeq. Nothing answers an ACK, and a provisional answer is none.
fn sip(payload: &[u8]) -> Option<Role> {
    let text = String::from_utf8_lossy(payload);
    let mut lines = text.lines();
    let first = lines.next()?;
    let header = |wanted: [&str; 2]| {
        let headers = text.lines().skip(1).take_while(|line| !line.is_empty());
        let mut named = headers.filter_map(|line| line.split_once(':'));
        let (_, value) =
            named.find(|(name, _)| wanted.iter().any(|wanted| name.trim().eq_ignore_ascii_case(wanted)))?;
        Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let id = format!("{}\n{}", header(["Call-ID", "i"])?, header(["CSeq", "CSeq"])?).into_bytes();
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) if status.starts_with('1') => Some(Role::Neither),
        Some(_) => Some(Role::Answers(id)),
        None if first.starts_with("ACK ") => Some(Role::Neither),
        None => first.ends_with("SIP/2.0").then_some(Role::Asks(id)),
    }
}

/// What answers one question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Came {
    /// Datagrams that answer it.
    pub answers: u64,
    /// ICMP errors that quote it.
    pub errors: u64,
    /// What the answers carry, each with whether that is all of it; only where it was asked for.
    pub payloads: Vec<(Vec<u8>, bool)>,
}

impl Came {
    fn merge(&mut self, other: &Self) {
        self.answers += other.answers;
        self.errors += other.errors;
        self.payloads.extend_from_slice(&other.payloads);
    }
}

/// Answers by what they answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answers {
    #[serde(with = "super::pairs")]
    by_exchange: HashMap<Exchange, Came>,
    /// Bytes of payloads that are held.
    held: usize,
    /// Why not all of them are here.
    pub incomplete: Option<Cow<'static, str>>,
}

/// So many exchanges are told apart; 100 bytes or so each.
const MOST_EXCHANGES: usize = 1 << 18;
/// So many bytes of answers are held.
const MOST_BYTES: usize = 32 << 20;

impl Answers {
    /// What answers an exchange so far; `None` where no more exchanges are told apart.
    fn at(&mut self, exchange: Exchange) -> Option<&mut Came> {
        if self.by_exchange.len() >= MOST_EXCHANGES && !self.by_exchange.contains_key(&exchange) {
            self.incomplete = Some("there were answers to more than 262,144 questions".into());
            return None;
        }
        Some(self.by_exchange.entry(exchange).or_default())
    }

    /// An answer came; `payload`: what it carries, and whether that is all, where that is to be held.
    pub fn add(&mut self, exchange: Exchange, payload: Option<(&[u8], bool)>) {
        let length = payload.map_or(0, |(bytes, _)| bytes.len());
        let fits = self.held + length <= MOST_BYTES;
        let Some(came) = self.at(exchange) else { return };
        came.answers += 1;
        match payload {
            Some((bytes, is_whole)) if fits => {
                came.payloads.push((bytes.to_vec(), is_whole));
                self.held += length;
            }
            Some(_) => self.incomplete = Some("the answers have more than 32 MiB".into()),
            None => {}
        }
    }

    /// An ICMP error came that quotes a question.
    pub fn add_error(&mut self, exchange: Exchange) {
        if let Some(came) = self.at(exchange) {
            came.errors += 1;
        }
    }

    /// What answers a question. One to a group or a broadcast address is answered from any address, and one from 0.0.0.0 is answered to any.
    pub fn to(&self, question: &Exchange, to_group: bool) -> Came {
        let from_any = question.asker.0.is_unspecified();
        if !to_group && !from_any {
            return self.by_exchange.get(question).cloned().unwrap_or_default();
        }
        let answers = |(exchange, _): &(&Exchange, &Came)| {
            exchange.id == question.id
                && exchange.asker.1 == question.asker.1
                && exchange.asked.1 == question.asked.1
                && (from_any || exchange.asker.0 == question.asker.0 || exchange.asker.0 == question.asked.0)
                && (to_group || exchange.asked.0 == question.asked.0)
        };
        let mut found: Vec<_> = self.by_exchange.iter().filter(answers).collect();
        found.sort_unstable_by_key(|(exchange, _)| *exchange);
        let mut all = Came::default();
        for (_, came) in found {
            all.merge(came);
        }
        all
    }
}

/// The four bytes at the beginning of an ICMP error that name it, and whether it is ICMPv6; `None` for other messages (RFC 792, RFC 4443).
pub fn icmp_error(network: &Network, frame: &[u8]) -> Option<(bool, u8, u8)> {
    let ip = network.ip().filter(|ip| !ip.is_later_fragment())?;
    let [kind, code] = array(frame, ip.payload)?;
    match (ip.protocol, kind) {
        (protocol::ICMP, 3 | 4 | 5 | 11 | 12) => Some((false, kind, code)),
        (protocol::ICMPV6, 1..=127) => Some((true, kind, code)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "../../tests/unit/exchange.rs"]
mod tests;
