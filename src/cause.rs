//! Causes of loss by name: the one table that the prediction, the ledger, the reports, `restage help causes` and docs/reference/causes.md share.
//!
//! Names are those of Linux 6.18's `enum skb_drop_reason` (`include/net/dropreason-core.h`), whatever kernel runs; where
//! it has none, ours. May use nothing else of the crate. Start at [`Cause::row`] and [`TABLE`].

mod stage;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use stage::Stage;
pub use table::TABLE;

/// Parts of the names of the kernel's functions of protocols inside UDP: ESP (RFC 3948), L2TP, VXLAN, Geneve and the like.
const ENCAPSULATIONS: &[&str] =
    &["xfrm", "esp", "l2tp", "vxlan", "geneve", "gtp", "fou", "gue", "wg_", "bareudp", "encap"];

/// Errors of an IP header that are no checksum's.
const HEADER_ERRORS: Counters = Counters::Namespace(&[
    counter("Ip.InHdrErrors").less("IpExt.InCsumErrors"),
    counter("Ip6InHdrErrors"),
    share("Ip6InHdrErrors").at(Stage::Delivered),
]);

/// Why a packet did not reach the next stage. Reports and scenarios write its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String")]
#[expect(missing_docs, reason = "each variant's row says what it means")]
pub enum Cause {
    NotSent,
    Unsendable,
    FrameTooLong,
    InterfaceDown,
    QdiscDrop,
    LostInNetwork,
    CpuBacklog,
    Xdp,
    TcIngress,
    Otherhost,
    UnhandledProto,
    UnicastInL2Multicast,
    PktTooSmall,
    IpInhdr,
    IpCsum,
    Ipv6disabled,
    NetfilterDrop,
    SourceRoute,
    IpInvalidSource,
    IpInvalidDest,
    IpLocalnet,
    IpLocalSource,
    IpRpfilter,
    IpInaddrerrors,
    IpInnoroutes,
    Forwarded,
    NeighFailed,
    MulticastNotJoined,
    DupFrag,
    FragReasmTimeout,
    Ipv6BadExthdr,
    IpNoproto,
    TcpCsum,
    UdpCsum,
    NoSocket,
    SocketRcvbuff,
    SocketFilter,
    ProtoMem,
    UdpEncap,
    SocketClosed,
    NotRead,
    Unexplained,
    /// A name in the running kernel's `enum skb_drop_reason` that the table does not have.
    Other(&'static str),
}

/// What is known of a cause without looking at a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The cause.
    pub cause: Cause,
    /// Its name.
    pub name: &'static str,
    /// The stage that such a packet does not reach.
    pub stage: Stage,
    /// What happened, as it follows "the packet was lost because".
    pub why: &'static str,
    /// How it shows: counters, the kernel's reason, how far the taps see it.
    pub signs: &'static str,
    /// What to do in a scenario.
    pub fix: &'static str,
    /// What to do on a real machine; never executed by restage.
    pub machine: &'static str,
    /// The counters that it moves.
    pub counters: Counters,
    /// The kernel's drop reasons that mean it.
    pub reasons: &'static [Reason],
    /// Whether the prediction knows everything that leads to it. Other causes depend on the sender, the application, the packet filter or
    /// the time.
    pub is_predicted: bool,
}

/// A row without evidence, to be filled in.
const ROW: Row = Row {
    cause: Cause::Unexplained,
    name: "",
    stage: Stage::Delivered,
    why: "",
    signs: "",
    fix: "",
    machine: "as in a scenario",
    counters: Counters::Namespace(&[]),
    reasons: &[],
    is_predicted: false,
};

/// The counters of the receiver's network namespace that a cause moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counters {
    /// Those that only packets from outside move.
    Namespace(&'static [Counter]),
    /// Those that the datagrams which the receiver sends to itself move as well.
    Sockets(&'static [&'static str]),
}

/// A counter of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its name, as in [`crate::wire::counters`].
    pub name: &'static str,
    /// The stage that these packets did not reach; `None`: that of the row.
    pub stage: Option<Stage>,
    /// A counter that moves for some of the same packets, which are of another cause.
    pub less: Option<&'static str>,
    /// A counter that moves at least as far.
    pub most: Option<&'static str>,
    /// Whether it is another row's counter: only the packets that are predicted to move it for this cause count.
    pub is_share: bool,
}

const fn counter(name: &'static str) -> Counter {
    Counter { name, stage: None, less: None, most: None, is_share: false }
}

const fn share(name: &'static str) -> Counter {
    Counter { is_share: true, ..counter(name) }
}

impl Counter {
    const fn at(self, stage: Stage) -> Self {
        Self { stage: Some(stage), ..self }
    }

    const fn less(self, name: &'static str) -> Self {
        Self { less: Some(name), ..self }
    }

    const fn most(self, name: &'static str) -> Self {
        Self { most: Some(name), ..self }
    }
}

/// A drop reason of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Its name, without `SKB_DROP_REASON_`.
    pub name: &'static str,
    /// The functions that raise it: parts of their names, or after a `^` their beginnings; empty: any.
    pub functions: &'static [&'static str],
    /// The stage that these packets did not reach; `None`: that of the row.
    pub stage: Option<Stage>,
    /// Whether it means this of UDP datagrams alone.
    pub is_of_udp: bool,
    /// Whether it means this only where the prediction says so, too.
    pub if_predicted: bool,
}

const fn reason(name: &'static str) -> Reason {
    Reason { name, functions: &[], stage: None, is_of_udp: false, if_predicted: false }
}

/// The reason of a drop that has none, in these functions.
const fn unspecified(functions: &'static [&'static str]) -> Reason {
    reason("NOT_SPECIFIED").raised_in(functions)
}

impl Reason {
    const fn raised_in(self, functions: &'static [&'static str]) -> Self {
        Self { functions, ..self }
    }

    const fn at(self, stage: Stage) -> Self {
        Self { stage: Some(stage), ..self }
    }

    const fn of_udp(self) -> Self {
        Self { is_of_udp: true, ..self }
    }

    const fn if_predicted(self) -> Self {
        Self { if_predicted: true, ..self }
    }

    /// Whether this function of the kernel's raises it; an unknown one, empty, raises only what any function does.
    pub fn is_raised_in(&self, function: &str) -> bool {
        self.functions.is_empty()
            || self.functions.iter().any(|part| match part.strip_prefix('^') {
                Some(beginning) => function.starts_with(beginning),
                None => function.contains(part),
            })
    }
}

impl Cause {
    /// The name that the ledger and `[expect] losses` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Other(name) => name,
            cause => cause.row().name,
        }
    }

    /// The cause of that name in the table.
    pub fn by_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.cause)
    }

    /// All names that a scenario may write.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().filter(|row| row.cause != Self::Unexplained).map(|row| row.name)
    }

    /// What is known of it; of a reason that the table does not have, what is known of an unexplained loss.
    pub fn row(self) -> &'static Row {
        TABLE.get(self.priority()).or(TABLE.last()).unwrap_or(&ROW)
    }

    /// Which of two causes of one stage gets the packets that both claim: the one with the lower number. It is the position in `TABLE`;
    /// reasons that the table does not have come last.
    pub fn priority(self) -> usize {
        TABLE.iter().position(|row| row.cause == self).unwrap_or(TABLE.len())
    }
}

impl From<&str> for Cause {
    /// The cause of that name, whatever kernel has it. An unknown name is kept as long as the program runs, once.
    fn from(name: &str) -> Self {
        static UNKNOWN: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
        Self::by_name(name).unwrap_or_else(|| {
            let mut unknown = UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = unknown.get(name).copied().unwrap_or_else(|| Box::leak(name.into()));
            unknown.insert(kept);
            Self::Other(kept)
        })
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, TABLE};

    #[test]
    fn every_cause_has_a_row_with_a_name_of_its_own() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!((row.cause.priority(), row.cause.row()), (place, row));
            assert_eq!(Cause::from(row.name), row.cause);
            for text in [row.why, row.signs, row.fix, row.machine] {
                assert!(!text.is_empty(), "{}", row.name);
            }
        }
        let other = Cause::from("PSP_INPUT");
        assert_eq!((other, other.name(), other.priority()), (Cause::Other("PSP_INPUT"), "PSP_INPUT", TABLE.len()));
    }
}
