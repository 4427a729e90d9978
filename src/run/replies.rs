//! What the receiver sends back, on the sender's end of the wire or where it leaves another machine, on a thread of its own. Start at [`ReplyWatch::start`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sniffers::Sniffers;
use crate::capture::{Filter, Frame};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::evidence::Replies;
use crate::packet::exchange::{Exchange, Role, Udp, icmp_error, role};
use crate::packet::layers::{Layers, LinkType, Network, protocol};
use crate::plan::Brief;
use crate::scenario::Scenario;
use crate::testbed::Testbed;
use crate::wire::closing;
use crate::wire::poll::Waker;
use crate::wire::ring::{Ring, RingSize, Seen};

/// The blocks of the ring: while replies come slowly each takes one for 2 ms, and the thread may wait for a processor meanwhile.
const RING_BLOCKS: usize = 128;
/// How long the thread blocks at most.
const BLOCK: Duration = Duration::from_millis(100);

/// How large the ring is where nothing but replies comes.
pub(super) fn ring_size(brief: &Brief) -> RingSize {
    RingSize::of_blocks(RING_BLOCKS, brief.mtu, brief.frames)
}

/// Where replies are seen.
#[derive(Clone, Copy)]
pub(super) enum ReplyPlace {
    /// Where frames are sent: nothing else reaches that.
    Sender,
    /// Where they leave the receiver, beside what others send there.
    Receiver,
}

/// Looks for replies until it is asked to end.
pub(super) struct ReplyWatch {
    finished: Arc<AtomicBool>,
    waker: Waker,
    /// Replies so far that may answer what is asked.
    seen: Arc<AtomicU64>,
    thread: JoinHandle<Result<Replies>>,
}

impl ReplyWatch {
    /// Begins to look at what is sent back; everything that comes after this is seen.
    pub(super) fn start(
        testbed: &Testbed,
        place: ReplyPlace,
        scenario: &Scenario,
        brief: &Brief,
        sniffers: Sniffers,
    ) -> Result<Self> {
        let expected = scenario.expect.replies.as_ref().map(|replies| &replies.value);
        let filter = expected.and_then(|expected| expected.filter.as_ref());
        let finished = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicU64::new(0));
        let (ring, askers) = match place {
            ReplyPlace::Sender => (testbed.sender().ring(ring_size(brief))?, None),
            ReplyPlace::Receiver => {
                let size = RingSize::of_blocks(RING_BLOCKS, brief.mtu, u64::MAX);
                (testbed.receiver().ring_of_sent(size)?, Some(brief.asked.sources.clone()))
            }
        };
        let waker = ring.waker();
        let watch = Watch {
            ring,
            sniffers,
            askers,
            own: brief.asked.own.iter().copied().collect(),
            filter: filter.map(|filter| Filter::compile(&filter.value)).transpose()?,
            ports: brief.asked.ports.iter().copied().collect(),
            keeps: expected.is_some_and(|expected| expected.like.is_some() || expected.snapshot.is_some()),
            finished: Arc::clone(&finished),
            seen: Arc::clone(&seen),
            replies: Replies::default(),
        };
        let thread = std::thread::Builder::new()
            .name("replies".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(Self { finished, waker, seen, thread })
    }

    /// How many replies came so far to those that ask, of what the filter takes; 0 where none are expected.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Ends looking, and returns what was seen.
    pub(super) fn end(self) -> Result<Replies> {
        self.finished.store(true, Ordering::Release);
        self.waker.wake();
        let early = || Failure::error(Diagnostic::error("the thread that reads the replies ended early"));
        self.thread.join().unwrap_or_else(|_| Err(early()))
    }
}

struct Watch {
    ring: Ring,
    /// They see what the receiver sends, too.
    sniffers: Sniffers,
    /// Whom replies go to; `None` where nothing else is seen.
    askers: Option<BTreeSet<IpAddr>>,
    /// The addresses of a receiver that forwards: what comes from others is not its own. Empty where it does not forward.
    own: HashSet<IpAddr>,
    filter: Option<Filter>,
    /// The ports of those that ask.
    ports: HashSet<u16>,
    /// Whether what answers carry is needed.
    keeps: bool,
    finished: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    replies: Replies,
}

impl Watch {
    fn run(mut self) -> Result<Replies> {
        let is_alone = self.askers.is_none();
        self.replies.others = is_alone.then(BTreeMap::new);
        loop {
            // Asked before the last look at the ring, so that nothing that came until then is left in it.
            let last = self.finished.load(Ordering::Acquire);
            let Self { ring, sniffers, askers, own, filter, ports, keeps, replies, .. } = &mut self;
            let (mut problem, mut answering) = (None, 0);
            let read = ring.read(if last { Duration::ZERO } else { BLOCK }, &mut |seen| {
                if is_alone {
                    sniffers.see(seen.bytes, true);
                }
                if askers.as_ref().is_some_and(|askers| !goes_to(askers, seen.bytes)) {
                    return;
                }
                match take(&seen, own, filter.as_mut(), *keeps, replies) {
                    Ok(Some((port, datagrams))) if ports.contains(&port) => answering += datagrams,
                    Ok(_) => {}
                    Err(failure) => problem = Some(failure),
                }
            })?;
            if let Some(failure) = problem {
                return Err(failure);
            }
            self.seen.fetch_add(answering, Ordering::AcqRel);
            if read == 0 && last {
                self.replies.lost = self.ring.statistics()?.drops;
                closing::close(self.ring);
                return Ok(self.replies);
            }
        }
    }
}

/// Takes in a frame that the receiver sent. The port of whom it may answer, and in how many datagrams, where the filter takes it.
fn take(
    seen: &Seen<'_>,
    own: &HashSet<IpAddr>,
    filter: Option<&mut Filter>,
    keeps: bool,
    replies: &mut Replies,
) -> Result<Option<(u16, u64)>> {
    let layers = Layers::find(LinkType::ETHERNET, seen.bytes);
    let error = icmp_error(&layers.network, seen.bytes);
    let udp = Udp::find(&layers.network, seen.bytes);
    let is_own = |address: IpAddr| own.is_empty() || own.contains(&address);
    let udp = udp.filter(|udp| is_own(udp.from.0));
    if error.is_none() && udp.is_none() {
        if let Some(others) = &mut replies.others {
            *others.entry(kind(&layers.network)).or_default() += 1;
        }
        return Ok(None);
    }
    let mut bytes = seen.bytes.to_vec();
    let link = LinkType::ETHERNET;
    let frame =
        Frame { number: 0, time_ns: seen.time_ns, original_length: seen.original_length, link, bytes: &mut bytes };
    let is_taken = filter.map_or(Ok(true), |filter| filter.matches(&frame))?;
    let mut answering = None;
    if let Some(error) = error {
        *replies.errors.entry(error).or_default() += 1;
        replies.taken_errors += u64::from(is_taken);
        let quoted = layers.quoted(seen.bytes).filter(|_| is_taken);
        if let Some(asked) = quoted.and_then(|quoted| Udp::find(&quoted, seen.bytes)) {
            let id = match role(&asked) {
                Role::Asks(id) => id,
                _ => Vec::new(),
            };
            answering = Some((asked.from.1, 1));
            replies.answers.add_error(Exchange { asker: asked.from, asked: asked.to, id });
        }
    }
    let datagrams = udp.map(|udp| segments(udp, seen));
    for udp in datagrams.into_iter().flatten() {
        replies.datagrams += 1;
        replies.taken += u64::from(is_taken);
        let id = match role(&udp) {
            Role::Answers(id) => Some(id),
            Role::Unknown => Some(Vec::new()),
            Role::Asks(_) | Role::Neither => None,
        };
        if let Some(id) = id.filter(|_| is_taken) {
            answering = Some((udp.to.1, answering.map_or(0, |(_, datagrams)| datagrams) + 1));
            let exchange = Exchange { asker: udp.to, asked: udp.from, id };
            replies.answers.add(exchange, keeps.then_some((udp.payload, udp.is_whole)));
        }
    }
    Ok(answering)
}

/// The datagrams that a frame becomes behind this, where the application has them split (`UDP_SEGMENT`).
fn segments<'a>(udp: Udp<'a>, seen: &Seen<'_>) -> impl Iterator<Item = Udp<'a>> {
    let captured = udp.payload.len();
    let cut = usize::try_from(seen.original_length).map_or(0, |length| length.saturating_sub(seen.bytes.len()));
    let (all, each) = match usize::from(seen.segment_bytes) {
        0 => (captured.max(1), captured.max(1)),
        each => (captured + cut, each),
    };
    (0..all).step_by(each).map(move |start| {
        let end = (start + each).min(all);
        let payload = udp.payload.get(start.min(captured)..end.min(captured)).unwrap_or_default();
        let is_whole = if seen.segment_bytes == 0 { udp.is_whole } else { end <= captured };
        Udp { payload, is_whole, ..udp }
    })
}

/// Whether a frame goes to one of these addresses.
fn goes_to(addresses: &BTreeSet<IpAddr>, frame: &[u8]) -> bool {
    let layers = Layers::find(LinkType::ETHERNET, frame);
    layers.addresses(frame).is_some_and(|(_, to)| addresses.contains(&to))
}

/// What it is that the kernel sends by itself.
fn kind(network: &Network) -> &'static str {
    let Some(ip) = network.ip() else {
        return if matches!(network, Network::Arp { .. }) { "arp" } else { "other" };
    };
    match ip.protocol {
        protocol::ICMP => "icmp",
        protocol::ICMPV6 => "icmpv6",
        protocol::IGMP => "igmp",
        protocol::TCP => "tcp",
        protocol::UDP if ip.is_later_fragment() => "fragments",
        protocol::UDP => "forwarded",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_that_is_split_is_several() {
        let end = (IpAddr::from([192, 0, 2, 1]), 53);
        let payload: Vec<u8> = (0..20).collect();
        let split = |segment_bytes, captured: usize, original_length| {
            let udp = Udp { from: end, to: end, payload: &payload[..captured], is_whole: true };
            let bytes = vec![0; 42 + captured];
            let seen = Seen { bytes: &bytes, original_length, time_ns: 0, segment_bytes };
            segments(udp, &seen).map(|udp| (udp.payload.to_vec(), udp.is_whole)).collect::<Vec<_>>()
        };
        assert_eq!(split(0, 20, 62), [(payload.clone(), true)]);
        assert_eq!(split(0, 0, 42), [(vec![], true)]);
        let parts = |ends: &[(usize, usize, bool)]| {
            ends.iter().map(|(from, to, is_whole)| (payload[*from..*to].to_vec(), *is_whole)).collect::<Vec<_>>()
        };
        assert_eq!(split(8, 20, 62), parts(&[(0, 8, true), (8, 16, true), (16, 20, true)]));
        // More than the ring's block takes.
        assert_eq!(split(8, 12, 62), parts(&[(0, 8, true), (8, 12, false), (12, 12, false)]));
    }
}
