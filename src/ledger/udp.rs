//! What became of the capture's datagrams behind the input hook, from counters: the kernel counts for the whole namespace, so what the
//! receiver sent to itself is taken off as far as it was seen, and leaves a range where it was not. Start at [`UdpCounts::of`].

use std::collections::BTreeSet;

use crate::cause::{Cause, Counters};
use crate::evidence::{Evidence, SocketRecord};
use crate::host::{Arrival, RouteKind};
use crate::outcome::{Amount, Hook, Stage};
use crate::plan::Plan;
use crate::plan::survey::is_limited_broadcast;
use crate::predict::Carried;
use crate::predict::{Disposition, Prediction};
use crate::scenario::Scenario;
use crate::scenario::require::Transport;

/// Why a number is not known exactly.
const OWN: &str =
    "the receiver's kernel counts what it sent to itself, or others to it, together with the capture's datagrams";
const COPIES: &str = "each datagram goes to several sockets, and the kernel counts copies";
const CLOSED: &str = "a socket was closed during the run, and the kernel does not count what was read of each socket";
const ENCAPSULATION: &str =
    "the kernel takes datagrams out of an encapsulation socket (UDP_ENCAP) and counts them as read";
const UNREAD: &str = "datagrams are still in a socket's queue, and the kernel counts their bytes";

/// The capture's datagrams, in datagrams.
#[derive(Debug)]
pub(super) struct UdpCounts {
    /// Refused between the input hook and a socket's queue, by cause.
    pub(super) refused: Vec<(Cause, Amount)>,
    /// Whether the receiver's interface gives sockets copies: of a datagram for several of them, or of the receiver's own multicast.
    pub(super) in_copies: bool,
    /// Into a socket's queue.
    pub(super) delivered: Amount,
    /// Read.
    pub(super) consumed: Amount,
    /// Whether the kernel may have taken some out of a socket.
    pub(super) encapsulated: bool,
}

/// The sockets that the capture's datagrams may come to.
struct Receivers<'a> {
    sockets: Vec<&'a SocketRecord>,
    /// Drops of other sockets.
    other_drops: u64,
    /// Whether one of the others was closed: then it may have dropped more than was seen.
    others_closed: bool,
    /// Whether the others have nothing in their queues.
    others_read: bool,
    /// How many others there are.
    others: u64,
    /// The most sockets that one datagram goes to.
    copies: u64,
    /// Datagrams that go to one socket alone.
    unicast: u64,
}

impl<'a> Receivers<'a> {
    fn of(scenario: &Scenario, plan: &Plan, evidence: &'a Evidence) -> Self {
        let interface = plan.host.as_ref().map(|host| host.interface.name.as_str());
        let ports: BTreeSet<u16> = plan.survey.udp_ports.iter().map(|(port, _)| *port).collect();
        let redirected = may_redirect(scenario, evidence);
        let is_one = |record: &&SocketRecord| {
            let only_local = record.socket.address.is_loopback();
            !only_local && (redirected || ports.contains(&record.socket.port))
        };
        let (sockets, others): (Vec<_>, Vec<_>) = evidence.sockets.iter().partition(is_one);
        let to_groups = plan.predictions.iter().filter_map(|prediction| match prediction.class.key.carried {
            Carried::Ip { destination, port: Some(port), source, .. } if goes_to_many(plan, prediction) => {
                Some((source, destination, port))
            }
            _ => None,
        });
        let copies = to_groups.map(|(source, destination, port)| {
            let source = Some((source, None));
            let arrival = Arrival { transport: Transport::Udp, source, destination, port, interface };
            let receives = |record: &&&SocketRecord| record.socket.receives(&arrival);
            // Not all of them are there at once where a program was started again.
            let lives = sockets.iter().filter(receives).map(|record| record.lives.0).collect::<BTreeSet<_>>();
            let in_life = |life: u32| {
                let is_there = |record: &&&SocketRecord| record.lives.0 <= life && life <= record.lives.1;
                sockets.iter().filter(receives).filter(is_there).count() as u64
            };
            lives.into_iter().map(in_life).max().unwrap_or(0)
        });
        Self {
            copies: copies.max().unwrap_or(1).max(1),
            unicast: plan
                .predictions
                .iter()
                .filter(|prediction| prediction.class.datagrams > 0 && !goes_to_many(plan, prediction))
                .map(|prediction| prediction.class.datagrams * plan.rounds)
                .sum(),
            other_drops: others.iter().map(|record| u64::from(record.socket.drops)).sum(),
            others_closed: others.iter().any(|record| !record.until_end),
            others_read: others.iter().all(|record| record.socket.unread_bytes == 0),
            others: others.len() as u64,
            sockets,
        }
    }

    /// Whether every socket was there all the time, and has nothing in its queue.
    fn all_read(&self) -> bool {
        self.sockets.iter().all(|record| record.until_end && record.socket.unread_bytes == 0)
    }
}

/// Whether a rule may send a datagram to another port than its own.
fn may_redirect(scenario: &Scenario, evidence: &Evidence) -> bool {
    let has_ruleset = scenario.has_ruleset();
    has_ruleset || evidence.stack.as_ref().is_some_and(|stack| !stack.filters.is_empty())
}

/// Whether more than one socket may get such a datagram: it goes to a multicast group or a broadcast address.
fn goes_to_many(plan: &Plan, prediction: &Prediction) -> bool {
    let Carried::Ip { destination, .. } = prediction.class.key.carried else { return false };
    let routes = plan.host.as_ref().map(|host| &host.routes);
    let is_broadcast = || {
        let route = routes.and_then(|routes| routes.to(destination).first().map(|route| route.kind));
        is_limited_broadcast(destination) || route == Some(RouteKind::Broadcast)
    };
    prediction.class.datagrams > 0 && (destination.is_multicast() || is_broadcast())
}

/// How many UDP datagrams are none of the capture's: those that the receiver sent to itself, and where its namespace is shared those of others.
struct Own {
    all: Amount,
    /// Those that may have come to the capture's sockets.
    to_ports: Amount,
    /// Those that may have come to several sockets: multicast and broadcast.
    looped: u64,
    /// To closed ports; `None` where that was not seen.
    unreachable: Option<u64>,
    /// The most that others sent; the kernel computes checksums for those.
    foreign: u64,
    /// By how much these numbers may be off.
    unsteady: u64,
    /// Those that may have been in the queue of a program that was stopped, to be started again.
    at_stops: u64,
}

impl Own {
    fn of(evidence: &Evidence) -> Self {
        let counter = |name: &str| evidence.counter(name);
        let Some(udp) = evidence.stack.as_ref().and_then(|stack| stack.udp) else {
            let sent = counter("Udp.OutDatagrams") + counter("Udp6OutDatagrams");
            let seen = counter("lo.rx.packets") + counter("IpExt.OutMcastPkts") + counter("Ip6OutMcastPkts");
            let foreign = evidence.others();
            let most = sent.min(seen + counter("IpExt.OutBcastPkts")).saturating_add(foreign);
            let all = Amount::between(0, most, OWN);
            return Self {
                to_ports: all.clone(),
                all,
                looped: most,
                unreachable: None,
                foreign,
                unsteady: 0,
                at_stops: 0,
            };
        };
        let spread =
            |count: u64| Amount::between(count.saturating_sub(udp.unsteady), count.saturating_add(udp.unsteady), OWN);
        Self {
            all: spread(udp.own),
            to_ports: udp.own_to_ports.map_or_else(|| Amount::between(0, udp.own, OWN), spread),
            looped: udp.own_looped.saturating_sub(udp.foreign),
            foreign: evidence.others().min(udp.own_looped.saturating_add(udp.unsteady)),
            unreachable: Some(udp.own_unreachable),
            unsteady: udp.unsteady,
            at_stops: udp.own_at_stops,
        }
    }
}

impl UdpCounts {
    /// From the counters of the receiver's namespace, its sockets, and what the taps counted at the end of the input hook.
    pub(super) fn of(scenario: &Scenario, plan: &Plan, evidence: &Evidence) -> Self {
        let counter = |name: &str| evidence.counter(name);
        let both = |four: &str, six: &str| counter(four) + counter(six);
        // What the table's counters of a cause came to.
        let of = |cause: Cause| match cause.row().counters {
            Counters::Sockets(names) => names.iter().map(|name| counter(name)).sum(),
            Counters::Namespace(_) => 0,
        };
        let receivers = Receivers::of(scenario, plan, evidence);
        let own = Own::of(evidence);
        let to_many: u64 = plan
            .predictions
            .iter()
            .filter(|prediction| goes_to_many(plan, prediction))
            .map(|prediction| prediction.class.datagrams * plan.rounds)
            .sum();

        // Own datagrams have no wrong checksums: the kernel doesn't compute any for them.
        let all_sums = of(Cause::UdpCsum);
        let foreign_sums = Amount::between(0, own.foreign.min(all_sums), OWN);
        let sums = Amount::exact(all_sums).minus(&foreign_sums);
        let errors = of(Cause::SocketFilter).saturating_sub(all_sums);
        let full = of(Cause::SocketRcvbuff);
        let memory = of(Cause::ProtoMem);
        let others = errors.saturating_sub(full + memory);
        // A UDP length that doesn't fit moves the same counter as a socket's filter; the frame decides.
        let short: u64 = plan
            .predictions
            .iter()
            .filter(|prediction| {
                prediction.disposition == Disposition::Lost(Cause::PktTooSmall) && prediction.stage == Stage::Delivered
            })
            .map(|prediction| prediction.class.packets * plan.rounds)
            .sum();
        let short = short.min(others);
        let own_drops = own_drops(&own, &receivers, errors - short);
        let captured = |count: u64| {
            let rest = (errors - short) - count;
            let least = own_drops.low().saturating_sub(rest).min(count);
            Amount::exact(count).minus(&Amount::between(least, own_drops.high().min(count), own_drops.why()))
        };
        let no_ports = of(Cause::NoSocket);
        let unreachable = match own.unreachable {
            Some(count) => Amount::between(count.min(no_ports), count.saturating_add(own.foreign).min(no_ports), OWN),
            None => Amount::between(0, own.all.high().min(no_ports), OWN),
        };
        let ignored_by_all = both("Udp.IgnoredMulti", "Udp6IgnoredMulti");
        let ignored = Amount::exact(ignored_by_all)
            .minus(&Amount::between(0, own.looped.saturating_add(own.foreign).min(ignored_by_all), OWN))
            .at_most(to_many);
        let no_socket = Amount::exact(no_ports).minus(&unreachable).plus(&ignored);
        let copies = |refused: Amount| copies(refused, &receivers, to_many);
        let refused = vec![
            (Cause::UdpCsum, copies(sums)),
            (Cause::NoSocket, no_socket),
            (Cause::SocketRcvbuff, copies(captured(full))),
            (Cause::ProtoMem, copies(captured(memory))),
            (Cause::PktTooSmall, Amount::exact(short)),
            (Cause::SocketFilter, copies(captured(others - short))),
        ];
        let refused: Vec<(Cause, Amount)> = refused
            .into_iter()
            .map(|(cause, lost)| (cause, at_most_as_the_kernel_says(evidence, cause, lost)))
            .collect();
        let lost: Amount = refused.iter().map(|(_, lost)| lost.clone()).sum();
        let own_ignored = Amount::between(0, own.looped.saturating_add(own.foreign).min(ignored_by_all), OWN);
        let own_unread = unreachable.plus(&own_drops).plus(&own_ignored).plus(&foreign_sums);
        let own_read = own_read(&own, &own_unread, &receivers, evidence);
        let read = Amount::exact(both("Udp.InDatagrams", "Udp6InDatagrams")).minus(&own_read);
        let encapsulated = receivers.sockets.iter().any(|record| record.takes_for_the_kernel());
        let come = at_transport(plan, evidence).unwrap_or_else(|| {
            let unread = receivers.sockets.iter().map(|record| u64::from(record.socket.unread_bytes)).sum::<u64>();
            let least = read.plus(&lost);
            Amount::between(least.low(), least.high() + unread.div_ceil(LEAST_TRUESIZE), UNREAD)
        });
        let delivered = come.minus(&lost);
        // What was delivered was read, or is in a queue, or was closed with it.
        let waiting: u64 =
            receivers.sockets.iter().map(|record| u64::from(record.socket.unread_bytes).div_ceil(LEAST_TRUESIZE)).sum();
        let has_closed = receivers.sockets.iter().any(|record| !record.until_end);
        let accountable = if has_closed { u64::MAX } else { read.high() + waiting };
        let delivered = delivered.at_most(accountable);
        // What the kernel takes out of an encapsulation socket was in no queue.
        let delivered = if encapsulated { Amount::between(0, delivered.high(), ENCAPSULATION) } else { delivered };
        let consumed = if encapsulated {
            Amount::between(0, delivered.high().min(read.high()), ENCAPSULATION)
        } else if receivers.all_read() {
            delivered.at_most(read.high())
        } else if receivers.copies == 1 {
            read.and(&Amount::between(0, delivered.high(), OWN))
        } else {
            let why = if has_closed { CLOSED } else { COPIES };
            let one_read_all = receivers.sockets.iter().any(|record| {
                record.from_start && record.until_end && record.socket.unread_bytes == 0 && record.socket.drops == 0
            });
            let least = if one_read_all { delivered.low() } else { read.low().div_ceil(receivers.copies) };
            Amount::between(least.min(delivered.high()), read.high().min(delivered.high()), why)
        };
        Self { refused, in_copies: receivers.copies > 1 || own.looped > 0, delivered, consumed, encapsulated }
    }
}

/// How many of the datagrams that are none of the capture's were read; `refused`: how many came into no queue.
fn own_read(own: &Own, refused: &Amount, receivers: &Receivers<'_>, evidence: &Evidence) -> Amount {
    let datagrams = |bytes: u32| u64::from(bytes).div_ceil(LEAST_TRUESIZE);
    // What is still in the queues of the capture's sockets may be the capture's or not.
    let has_closed = receivers.sockets.iter().any(|record| !record.until_end);
    let queued = |record: &&SocketRecord| datagrams(record.socket.unread_bytes.saturating_add(record.unread_of_others));
    let queued = receivers.sockets.iter().map(queued).sum::<u64>().saturating_add(own.at_stops);
    let unread = own.to_ports.high().min(if has_closed { u64::MAX } else { queued });
    let read = own.all.minus(refused).minus(&Amount::between(0, unread, OWN));
    // What others had sent before may be read now.
    let is_alone = own.foreign == 0 && evidence.others() == 0;
    let before = evidence.sockets.iter().map(|record| if is_alone { 0 } else { datagrams(record.unread_before) }).sum();
    let read = read.plus(&Amount::between(0, before, OWN));
    let certain = !receivers.others_closed && receivers.others_read;
    let copies = if own.looped > 0 { receivers.others.max(1) + receivers.copies } else { 1 };
    Amount::between(if certain { read.low() } else { 0 }, read.high().saturating_mul(copies), OWN)
}

/// The kernel's reasons are of the capture's packets alone, where its counters are of others', too: no more of them are lost by a cause than are
/// dropped at all.
fn at_most_as_the_kernel_says(evidence: &Evidence, cause: Cause, lost: Amount) -> Amount {
    let is_shared = evidence.others() > 0;
    let stack = evidence.stack.as_ref().filter(|stack| is_shared && stack.layers.kernel_missed == 0);
    let reasons = stack.and_then(|stack| stack.reasons.as_ref());
    match (reasons, cause) {
        (Some(reasons), Cause::NoSocket | Cause::SocketRcvbuff | Cause::SocketFilter | Cause::ProtoMem) => {
            lost.at_most(reasons.values().sum())
        }
        _ => lost,
    }
}

/// The least that a datagram takes in a socket's queue, in bytes.
const LEAST_TRUESIZE: u64 = 512;

/// Of the receiver's own datagrams: how many sockets dropped.
fn own_drops(own: &Own, receivers: &Receivers<'_>, errors: u64) -> Amount {
    if own.all.is_zero() {
        return Amount::exact(0);
    }
    let elsewhere = receivers.other_drops.min(errors);
    let most_elsewhere = if receivers.others_closed { errors } else { elsewhere };
    let here = own.to_ports.high().min(errors - elsewhere);
    Amount::between(elsewhere.saturating_sub(own.unsteady), (most_elsewhere + here).min(errors), OWN)
}

/// Datagrams of which every copy was refused, from the number of copies that were.
fn copies(refused: Amount, receivers: &Receivers<'_>, to_many: u64) -> Amount {
    if receivers.copies == 1 || refused.is_zero() {
        return refused;
    }
    let fewest = receivers.sockets.iter().map(|record| u64::from(record.socket.drops)).min().unwrap_or(0);
    let known = receivers.sockets.iter().all(|record| record.from_start && record.until_end);
    // A unicast datagram goes to one socket alone.
    let most = if known { (fewest + receivers.unicast).min(refused.high()) } else { refused.high() };
    Amount::between(refused.low().saturating_sub((receivers.copies - 1) * to_many).min(most), most, COPIES)
}

/// The capture's datagrams that came to UDP, whole; `None` without taps.
fn at_transport(plan: &Plan, evidence: &Evidence) -> Option<Amount> {
    let stack = evidence.stack.as_ref()?;
    let packets = stack.udp?.captured;
    stack.hooks.as_ref()?.get(&Hook::InputLast)?;
    // IPv6 fragments pass the hook one by one, unless connections are tracked; what comes of them is whole (RFC 4293).
    let has_pieces = plan.predictions.iter().any(|found| found.class.key.is_ipv6() && found.class.most_frames > 1);
    let pieces = if has_pieces || evidence.others() == 0 { evidence.counter("Ip6ReasmReqds").min(packets) } else { 0 };
    let whole = evidence.counter("Ip6ReasmOKs").min(pieces);
    // Where as many came as the capture has, none is of others.
    let is_v6 = |found: &&Prediction| found.class.key.is_ipv6() && found.class.most_frames > 1;
    let expected =
        plan.predictions.iter().filter(is_v6).map(|found| found.class.frames.count() * plan.rounds).sum::<u64>();
    let is_all = packets == plan.frames() && evidence.counter("Ip6ReasmReqds") == expected;
    let others = if is_all { 0 } else { evidence.others().min(pieces) };
    Some(
        Amount::between(packets - pieces + whole.saturating_sub(others), packets - pieces + whole + others, OWN)
            .at_most(packets),
    )
}

/// Datagrams as frames: an unfragmented one is one frame, a fragmented one several.
pub(super) fn in_frames(plan: &Plan, datagrams: &Amount) -> Amount {
    // What is never whole doesn't come to UDP.
    let never_whole = |prediction: &Prediction| {
        matches!(prediction.disposition, Disposition::Lost(Cause::FragReasmTimeout | Cause::DupFrag))
            || prediction.stage <= Stage::Accepted
    };
    let predictions =
        || plan.predictions.iter().filter(|prediction| prediction.class.datagrams > 0 && !never_whole(prediction));
    if plan.predictions.iter().all(|prediction| prediction.class.most_frames <= 1) {
        return datagrams.clone();
    }
    let all: u64 = predictions().map(|prediction| prediction.class.datagrams * plan.rounds).sum();
    let frames: u64 = predictions().map(|prediction| prediction.class.frames.count() * plan.rounds).sum();
    let fewest = predictions().map(|prediction| frames_each(prediction).0).min().unwrap_or(1);
    let most = predictions().map(|prediction| frames_each(prediction).1).max().unwrap_or(1);
    let rest = |count: u64, each: u64| frames.saturating_sub(all.saturating_sub(count) * each);
    if datagrams.low() > all {
        return datagrams.clone();
    }
    let (low, high) = (datagrams.low().min(all), datagrams.high().min(all));
    let why = if datagrams.why().is_empty() { FRAGMENTED } else { datagrams.why() };
    Amount::between((low * fewest).max(rest(low, most)), (high * most).min(rest(high, fewest)), why)
}

/// The fewest and the most frames of one of its datagrams.
fn frames_each(prediction: &Prediction) -> (u64, u64) {
    (u64::from(prediction.class.fewest_frames).max(1), u64::from(prediction.class.most_frames).max(1))
}

const FRAGMENTED: &str = "datagrams have different numbers of fragments, and the kernel counts datagrams";
