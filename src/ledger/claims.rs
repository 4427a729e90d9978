//! What each layer of evidence says of each cause: the kernel's drop reasons, counters and taps, the prediction.
//!
//! A claim counts packets, as its source does; what that means in frames is told by the prediction. Start at [`Claims::of`].

use std::collections::{BTreeMap, BTreeSet};

use crate::cause::Cause;
use crate::evidence::{DropKind, Evidence};
use crate::outcome::{Hook, Stage};
use crate::packet::layers::protocol;
use crate::plan::fate::{End, Fate};
use crate::plan::survey::Carried;
use crate::plan::{FrameRanges, Plan};

/// A cause by name, since a kernel may have reasons that the table lacks, and the stage that its packets don't come to.
pub(super) type Key = (String, Stage);

/// What the layers say of one cause.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// Packets by the kernel's reasons; `None` where they don't tell.
    pub(super) kernel: Option<u64>,
    /// Packets by counters and taps; `None` where they don't tell.
    pub(super) stage: Option<u64>,
    /// Frames of which the kernel said it.
    pub(super) dropped: FrameRanges,
    /// Frames of which the taps say it.
    pub(super) tapped: FrameRanges,
    /// The kernel's functions that said it.
    pub(super) functions: BTreeSet<String>,
    /// What the taps add to the cause's own words.
    pub(super) detail: Option<String>,
}

/// What the prediction says of one cause.
#[derive(Debug, Default)]
pub(super) struct Predicted<'a> {
    pub(super) frames: FrameRanges,
    pub(super) packets: u64,
    pub(super) first: Option<&'a Fate>,
    pub(super) kinds: usize,
}

/// What is predicted of this cause, at this stage.
pub(super) fn predicted<'a>(plan: &'a Plan, cause: Cause, stage: Stage) -> Predicted<'a> {
    let fates = || plan.fates.iter().filter(|fate| fate.end == End::Lost(cause) && fate.stage == stage);
    Predicted {
        frames: FrameRanges::union(fates().map(|fate| &fate.frames)),
        packets: fates().map(|fate| fate.packets).sum(),
        first: fates().next(),
        kinds: fates().count(),
    }
}

/// What kernel, counters and taps say.
#[derive(Debug, Default)]
pub(super) struct Claims(pub(super) BTreeMap<Key, Claim>);

impl Claims {
    /// Everything that was said. `sockets`: whether datagrams go into sockets of the receiver.
    pub(super) fn of(plan: &Plan, evidence: &Evidence, arrived: Option<u64>, sockets: bool) -> Self {
        let mut claims = Self::default();
        claims.kernel(plan, evidence, sockets);
        claims.counters(plan, evidence, sockets);
        claims.taps(plan, evidence, arrived);
        claims
    }

    fn claim(&mut self, name: &str, stage: Stage) -> &mut Claim {
        self.0.entry((name.to_owned(), stage)).or_default()
    }

    /// The kernel's drop reasons: what the records say, and what is counted beyond them.
    fn kernel(&mut self, plan: &Plan, evidence: &Evidence, sockets: bool) {
        let Some(stack) = &evidence.stack else { return };
        let Some(reasons) = &stack.reasons else { return };
        let drops = &stack.followed.drops;
        for (kind, dropped) in drops {
            let Some((name, stage)) = resolve(plan, kind, sockets) else { continue };
            let claim = self.claim(&name, stage);
            *claim.kernel.get_or_insert(0) += dropped.packets;
            claim.dropped.merge(&dropped.frames);
            claim.functions.extend(kind.function.clone());
        }
        for (reason, count) in reasons {
            let told = || drops.iter().filter(|(kind, _)| kind.reason == *reason);
            let rest = count.saturating_sub(told().map(|(_, dropped)| dropped.packets).sum());
            if rest == 0 {
                continue;
            }
            // What is counted beyond the records is as they are, if they all are alike.
            let keys: BTreeSet<Option<Key>> = told().map(|(kind, _)| resolve(plan, kind, sockets)).collect();
            match Vec::from_iter(keys).as_slice() {
                [] => {
                    let kind = DropKind { reason: reason.clone(), ..DropKind::default() };
                    if let Some((name, stage)) = resolve(plan, &kind, sockets) {
                        *self.claim(&name, stage).kernel.get_or_insert(0) += rest;
                    }
                }
                [Some((name, stage))] => *self.claim(name, *stage).kernel.get_or_insert(0) += rest,
                [None] => {}
                several => several.iter().flatten().for_each(|(name, stage)| self.claim(name, *stage).kernel = None),
            }
        }
    }

    /// The counters of the receiver's namespace.
    fn counters(&mut self, plan: &Plan, evidence: &Evidence, sockets: bool) {
        let listened = evidence.stack.as_ref().is_some_and(|stack| stack.reasons.is_some());
        for (cause, stage, count) in counted(plan, evidence) {
            if count == 0 && !self.0.contains_key(&(cause.name().to_owned(), stage)) {
                continue;
            }
            if cause == Cause::NoSocket && !sockets {
                continue;
            }
            let is_told = self.0.contains_key(&(cause.name().to_owned(), stage));
            let claim = self.claim(cause.name(), stage);
            claim.stage = Some(count);
            if listened && !is_told && cause != Cause::Forwarded {
                claim.kernel = Some(0);
            }
        }
    }

    /// What came to the beginning of a hook and not to its end.
    fn taps(&mut self, plan: &Plan, evidence: &Evidence, arrived: Option<u64>) {
        let Some(stack) = &evidence.stack else { return };
        let Some(hooks) = &stack.hooks else { return };
        let at = |hook: Hook| hooks.get(&hook).copied().unwrap_or(0);
        // Fragments are put together where connections are tracked, which is in the middle of prerouting.
        let reassembled = |four: &str, six: &str| evidence.counter(four) + evidence.counter(six);
        let held = reassembled("Ip.ReasmReqds", "Ip6ReasmReqds") - reassembled("Ip.ReasmOKs", "Ip6ReasmOKs");
        let missing = at(Hook::PreroutingFirst).saturating_sub(at(Hook::PreroutingLast));
        let prerouting = if missing <= held { 0 } else { missing };
        let input = at(Hook::InputFirst).saturating_sub(at(Hook::InputLast));
        let seen = arrived.unwrap_or(0).min(at(Hook::Ingress));
        let ingress = seen
            .saturating_sub(at(Hook::PreroutingFirst))
            .saturating_sub(self.before_prerouting())
            .saturating_sub(not_ip(plan));
        let places = [
            (ingress, None, "at the netdev ingress hook"),
            (prerouting, Some(Hook::PreroutingFirst), "in the prerouting hook"),
            (input, Some(Hook::InputFirst), "in the input hook"),
        ];
        let packets: u64 = places.iter().map(|(packets, ..)| packets).sum();
        let (name, stage) = (Cause::NetfilterDrop.name(), Cause::NetfilterDrop.row().stage);
        if packets == 0 && !self.0.contains_key(&(name.to_owned(), stage)) {
            return;
        }
        let claim = self.claim(name, stage);
        claim.stage = Some(packets);
        if stack.reasons.is_some() {
            claim.kernel.get_or_insert(0);
        }
        let mut words = Vec::new();
        for (packets, hook, place) in places.into_iter().filter(|(packets, ..)| *packets > 0) {
            words.push(format!("{packets} {place}"));
            let last = stack.followed.last.as_ref().filter(|_| hook.is_some());
            if let Some(frames) = last.and_then(|last| last.get(&hook)) {
                claim.tapped.merge(frames);
            }
        }
        claim.detail = Some(words.join(", ")).filter(|words| !words.is_empty());
    }

    /// Packets that the kernel drops between the wire and the first of the prerouting chains.
    fn before_prerouting(&self) -> u64 {
        const CAUSES: [Cause; 5] =
            [Cause::Otherhost, Cause::PktTooSmall, Cause::IpInhdr, Cause::IpCsum, Cause::Ipv6disabled];
        let keys = CAUSES.map(|cause| (cause.name().to_owned(), Stage::Accepted));
        keys.iter().filter_map(|key| self.0.get(key)).filter_map(|claim| claim.stage.max(claim.kernel)).sum()
    }
}

/// Frames that come to no chain for IP: ARP, and what has no handler.
fn not_ip(plan: &Plan) -> u64 {
    let other = |fate: &&Fate| matches!(fate.key.carried, Carried::Other { .. });
    let ends = [End::Kernel, End::Lost(Cause::UnhandledProto)];
    let fates = plan.fates.iter().filter(other).filter(|fate| ends.contains(&fate.end));
    fates.map(|fate| fate.frames.count() * plan.rounds).sum()
}

fn is_ipv6(fate: &Fate) -> bool {
    matches!(fate.key.carried, Carried::Ip { destination, .. } if destination.is_ipv6())
}

/// The cause that a drop is told as, and its stage; `None` for what is no loss of a packet: the kernel's own protocols, and what was
/// queued when the application ended.
fn resolve(plan: &Plan, kind: &DropKind, sockets: bool) -> Option<Key> {
    let six = kind.version == 6;
    let function = kind.function.as_deref().unwrap_or_default();
    let own = matches!(kind.protocol, protocol::ICMP | protocol::ICMPV6 | protocol::TCP | 2);
    let predicts = |cause, stage| predicted(plan, cause, stage).packets > 0;
    let (name, stage) = match kind.reason.as_str() {
        // What lies in a queue when its socket is closed was delivered, and not read.
        "QUEUE_PURGE" | "SOCKET_CLOSE" => return None,
        "NOT_SPECIFIED" if function.contains("destruct") => return None,
        "NOT_SPECIFIED" => {
            let source_route = kind.source_route || kind.version == 0 && predicts(Cause::SourceRoute, Stage::Accepted);
            let to_group = kind.to_group || kind.version == 0 && predicts(Cause::MulticastNotJoined, Stage::Accepted);
            let cause = match (source_route, to_group) {
                (true, _) => Cause::SourceRoute,
                (false, true) => Cause::MulticastNotJoined,
                (false, false) => return Some((Cause::Unexplained.name().to_owned(), Stage::Accepted)),
            };
            (cause.name(), cause.row().stage)
        }
        "PKT_TOO_SMALL" => {
            let in_udp = function.contains("udp");
            let only_udp = function.is_empty()
                && predicts(Cause::PktTooSmall, Stage::Delivered)
                && !predicts(Cause::PktTooSmall, Stage::Accepted);
            ("PKT_TOO_SMALL", if in_udp || only_udp { Stage::Delivered } else { Stage::Accepted })
        }
        reason @ ("FRAG_REASM_TIMEOUT" | "DUP_FRAG") => (reason, if six { Stage::Delivered } else { Stage::Accepted }),
        reason => (reason, Cause::by_name(reason).map_or(Stage::Delivered, |cause| cause.row().stage)),
    };
    let told = matches!(name, "TCP_CSUM" | "IP_NOPROTO" | "FRAG_REASM_TIMEOUT" | "DUP_FRAG");
    // What the kernel refuses of its own protocols (a segment without a connection) it has dealt with.
    if stage == Stage::Delivered && !told && (own || !sockets) {
        return None;
    }
    Some((name.to_owned(), stage))
}

/// Causes that a counter of the receiver's namespace names, with how far it moved.
fn counted(plan: &Plan, evidence: &Evidence) -> Vec<(Cause, Stage, u64)> {
    let counter = |name: &str| evidence.counter(name);
    let both = |four: &str, six: &str| counter(four) + counter(six);
    let header_sums = counter("IpExt.InCsumErrors");
    let udp_sums = both("Udp.InCsumErrors", "Udp6InCsumErrors");
    let full = both("Udp.RcvbufErrors", "Udp6RcvbufErrors");
    let memory = both("Udp.MemErrors", "Udp6MemErrors");
    let refused = both("Udp.InErrors", "Udp6InErrors").saturating_sub(udp_sums + full + memory);
    // A UDP length that doesn't fit moves the same counter as a socket's filter: the frame tells which.
    let too_small = (predicted(plan, Cause::PktTooSmall, Stage::Delivered).packets * plan.rounds).min(refused);
    let (six, four) = (counter("Ip6ReasmFails"), counter("Ip.ReasmFails"));
    // A fragment that comes twice counts as a failure, too, and a datagram that is given up as a timeout.
    let (late_six, late_four) = (counter("Ip6ReasmTimeout").min(six), counter("Ip.ReasmTimeout").min(four));
    // IPv6 counts a unicast packet in a group's frame, where that is refused, as an error of the header.
    let in_group = Cause::UnicastInL2Multicast;
    let in_group = plan.fates.iter().filter(|fate| fate.end == End::Lost(in_group) && is_ipv6(fate));
    let in_group = in_group.map(|fate| fate.packets * plan.rounds).sum::<u64>().min(counter("Ip6InHdrErrors"));
    let headers = both("Ip.InHdrErrors", "Ip6InHdrErrors").saturating_sub(header_sums + in_group);
    let row = |cause: Cause, count| (cause, cause.row().stage, count);
    vec![
        row(Cause::Otherhost, counter("if.rx.otherhost")),
        row(Cause::PktTooSmall, both("IpExt.InTruncatedPkts", "Ip6InTruncatedPkts")),
        row(Cause::IpCsum, header_sums),
        row(Cause::IpInhdr, headers),
        row(Cause::Ipv6disabled, counter("Ip6InDiscards")),
        row(Cause::IpRpfilter, counter("TcpExt.IPReversePathFilter")),
        row(Cause::IpInaddrerrors, both("Ip.InAddrErrors", "Ip6InAddrErrors")),
        row(Cause::IpInnoroutes, both("IpExt.InNoRoutes", "Ip6InNoRoutes")),
        row(Cause::Forwarded, both("Ip.ForwDatagrams", "Ip6OutForwDatagrams")),
        row(Cause::FragReasmTimeout, late_four),
        (Cause::FragReasmTimeout, Stage::Delivered, late_six),
        row(Cause::IpNoproto, both("Ip.InUnknownProtos", "Ip6InUnknownProtos")),
        row(Cause::TcpCsum, counter("Tcp.InCsumErrors")),
        row(Cause::UdpCsum, udp_sums),
        row(Cause::NoSocket, both("Udp.NoPorts", "Udp6NoPorts")),
        row(Cause::SocketRcvbuff, full),
        row(Cause::ProtoMem, memory),
        (Cause::PktTooSmall, Stage::Delivered, too_small),
        row(Cause::SocketFilter, refused - too_small),
    ]
}
