//! A receiver that gets its traffic from others is watched: nothing is sent and nothing is changed, and each datagram that arrives for it is
//! accounted for. Start at [`Watching::start`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::evidence_plan::EvidencePlan;
use super::observe::{Observer, Settled, Taking};
use super::remote::Horizon;
use super::sent_file;
use super::shared::Shared;
use super::stack::lock;
use super::timing::Arrivals;
use crate::cause::Stage;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::evidence::{Evidence, Sending};
use crate::figures::count;
use crate::host::Host;
use crate::host::facts::Facts;
use crate::ledger;
use crate::ledger::matching::Announced;
use crate::ledger::sent;
use crate::outcome::{EvidenceLevel, Ledger, Outcome, Verdict};
use crate::packet::layers::{Datagram, Fragment, Layers, LinkType, protocol};
use crate::plan::survey::{Reassembly, Survey};
use crate::plan::{self, Brief};
use crate::rewrite::Prepared;
use crate::scenario::pacing::Rate;
use crate::scenario::require::{Listener, Transport};
use crate::scenario::{self, Scenario, ScenarioText};
use crate::testbed::{Testbed, receiving};
use crate::wire::clock::WallClock;
use crate::wire::ring::Seen;

/// What is on the wire is in the receive ring after this time at the latest.
pub(super) const IN_RING: Duration = Duration::from_millis(100);
/// How long the receiver has at the end to read what arrived last.
const LAST_READ: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);
/// So many datagrams are known whose fragments are still to come.
const MOST_FRAGMENTED: usize = 1024;

/// What is watched.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub interface: String,
    /// UDP sockets; none: all that the machine has.
    pub listens: Vec<Listener>,
    /// Where datagrams come from; empty: from anywhere.
    pub from: Vec<IpNet>,
    pub evidence: Option<EvidenceLevel>,
    /// The file that says what was sent; it is read at the end.
    pub sent: Option<PathBuf>,
}

impl Wanted {
    fn takes(&self, source: IpAddr, destination: IpAddr, port: u16) -> bool {
        let is_served = |listener: &Listener| {
            listener.transport == Transport::Udp
                && listener.port == port
                && listener.address.is_none_or(|address| address == destination)
        };
        self.listens.iter().any(is_served)
            && (self.from.is_empty() || self.from.iter().any(|net| net.contains(&source)))
    }
}

/// Takes what arrives for the frames of a run: they are announced when they are seen.
pub(super) struct Taker {
    wanted: Wanted,
    survey: Arc<Mutex<Survey>>,
    /// How many were taken.
    number: u64,
    /// What identifies each frame, where it is to be compared with what was sent.
    seen: Option<Arc<Mutex<sent::Seen>>>,
    begun: Instant,
    /// Datagrams of which the first fragment was taken.
    fragmented: VecDeque<Datagram>,
}

impl Taker {
    /// Looks at a frame of the interface.
    pub(super) fn see(&mut self, seen: &Seen<'_>, shared: &Shared) {
        let layers = Layers::find(LinkType::ETHERNET, seen.bytes);
        let taken = self.takes(&layers, seen.bytes);
        if !taken && self.seen.is_none() {
            return;
        }
        let digest = shared.digester.of_frame(seen.bytes);
        if let Some(all) = &self.seen {
            lock(all).add(digest, taken);
        }
        if !taken {
            return;
        }
        self.number += 1;
        let (number, original_length) = (self.number, seen.original_length);
        let heads: Vec<_> = shared.head_of(seen.bytes).into_iter().collect();
        shared.announce(&[Announced { digest, frame: number, length: original_length }], &heads);
        let frame =
            Prepared { number, time_ns: seen.time_ns, original_length, layers, bytes: seen.bytes, unframed: None };
        lock(&self.survey).add(&frame, u32::MAX, self.begun.elapsed());
    }

    fn takes(&mut self, layers: &Layers, frame: &[u8]) -> bool {
        let network = &layers.network;
        let Some(ip) = network.ip().filter(|ip| ip.protocol == protocol::UDP) else { return false };
        let datagram = network.datagram(frame);
        if matches!(ip.fragment, Fragment::Later { .. }) {
            return datagram.is_some_and(|datagram| self.fragmented.contains(&datagram));
        }
        let Some((source, destination)) = network.addresses(frame) else { return false };
        let Some((_, port)) = network.ports(frame) else { return false };
        let taken = self.wanted.takes(source, destination, port);
        if let Some(datagram) = datagram.filter(|_| taken) {
            self.fragmented.push_back(datagram);
            if self.fragmented.len() > MOST_FRAGMENTED {
                self.fragmented.pop_front();
            }
        }
        taken
    }
}

/// What is known at any time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoFar {
    pub arrived: u64,
    /// Datagrams that the watched sockets dropped.
    pub dropped: u64,
    /// Bytes in their queues.
    pub unread_bytes: u64,
}

/// A receiver that is watched.
pub struct Watching {
    wanted: Wanted,
    scenario: Scenario,
    host: Host,
    observer: Observer,
    survey: Arc<Mutex<Survey>>,
    seen: Option<Arc<Mutex<sent::Seen>>>,
    begun: Instant,
}

impl Watching {
    /// Begins to watch.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] for an interface that isn't there, [`crate::diagnostic::Kind::Blocked`] where this user may not.
    pub fn start(mut wanted: Wanted) -> Result<Self> {
        let facts = Facts::read();
        let testbed = Testbed::receiving(&wanted.interface)?;
        let host = receiving::host(Some(&wanted.interface))?;
        if wanted.listens.is_empty() {
            let udp = host.sockets.iter().filter(|socket| {
                socket.transport == Transport::Udp && socket.peer.is_none() && !socket.address.is_loopback()
            });
            let listener = |port| Listener { transport: Transport::Udp, address: None, port };
            wanted.listens = udp.map(|socket| listener(socket.port)).collect();
            wanted.listens.sort_unstable();
            wanted.listens.dedup();
        }
        let scenario = scenario(&wanted)?;
        let ports = wanted.listens.iter().flat_map(|listener| [(listener.port, false), (listener.port, true)]);
        let brief = Brief { udp_ports: ports.collect(), ..Brief::default() };
        let level = EvidencePlan::choose(&scenario, &brief, Rate::Captured, wanted.evidence, &facts).untouched();
        let shared = if wanted.sent.is_some() { Shared::routed() } else { Shared::default() };
        let shared = Shared { horizon: Horizon::of_connection(), ..shared };
        let seen = wanted.sent.is_some().then(Arc::default);
        let begun = Instant::now();
        let survey = Arc::new(Mutex::new(Survey::at(None, Reassembly::default())));
        let taker = Taker {
            wanted: wanted.clone(),
            survey: Arc::clone(&survey),
            number: 0,
            seen: seen.clone(),
            begun,
            fragmented: VecDeque::new(),
        };
        let arrivals = Arrivals::new(WallClock::start(), false);
        let taking = Taking { arrivals, keeper: None, taker: Some(taker) };
        let observer = Observer::start(shared, &testbed, &brief, None, taking, level, &[])?;
        Ok(Self { wanted, scenario, host, observer, survey, seen, begun })
    }

    /// The sockets that are watched.
    pub fn listens(&self) -> &[Listener] {
        &self.wanted.listens
    }

    /// What is known now.
    pub fn so_far(&mut self) -> Result<SoFar> {
        let glance = self.observer.glance()?;
        let is_watched = |port: u16| self.wanted.listens.iter().any(|listener| listener.port == port);
        let sockets = glance.sockets.iter().map(|record| &record.socket).filter(|socket| is_watched(socket.port));
        let (mut dropped, mut unread_bytes) = (0, 0);
        for socket in sockets {
            dropped += u64::from(socket.drops);
            unread_bytes += u64::from(socket.unread_bytes);
        }
        Ok(SoFar { arrived: glance.arrived, dropped, unread_bytes })
    }

    /// Ends, and accounts for everything that arrived; the stage that the ledger begins with. Where what was sent can't be read, the ledger is that of
    /// what arrived, and the outcome has the problem.
    pub fn end(mut self) -> Result<(Outcome, Stage)> {
        let last = Instant::now();
        while last.elapsed() < LAST_READ && (last.elapsed() < IN_RING || self.so_far()?.unread_bytes > 0) {
            sleep(LOOK);
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let moment = self.observer.look()?;
        let settled = Settled { sending: Sending::default(), moment, still: Duration::ZERO, timed_out: None };
        let evidence = self.observer.evidence(settled)?;
        let arrived = evidence.arriving.as_ref().map_or(0, |arriving| arriving.arrived);
        let sending = Sending { sent: arrived, tried: arrived, seconds, ..Sending::default() };
        let evidence = Evidence { sending, ..evidence };
        let survey = std::mem::take(&mut *lock(&self.survey));
        let plan = plan::watched(survey, self.host, arrived)?;
        let mut ledger = ledger::account(&self.scenario, &plan, &evidence);
        let mut problems = Vec::new();
        let joined = match (&self.wanted.sent, &self.seen) {
            (Some(path), Some(seen)) => match joined(path, &lock(seen), &ledger) {
                Ok(joined) => Some(joined),
                Err(failure) => {
                    problems.extend(failure.problems);
                    None
                }
            },
            _ => None,
        };
        let begins = if joined.is_some() { Stage::Read } else { Stage::Arrived };
        ledger = joined.unwrap_or(ledger);
        let lost: u64 = ledger.losses.iter().map(|loss| loss.frames.low()).sum();
        let verdict = match lost {
            _ if !problems.is_empty() => Verdict::Invalid,
            0 => Verdict::Pass,
            _ => Verdict::Fail,
        };
        let path = Path::new(&self.wanted.interface);
        let outcome = Outcome { ledger: Some(ledger), seconds, problems, ..Outcome::blank("watch", path, verdict) };
        Ok((outcome, begins))
    }
}

/// The ledger with what the file says was sent.
fn joined(path: &Path, seen: &sent::Seen, watched: &Ledger) -> Result<Ledger> {
    let frames = sent_file::read(path)?;
    if seen.overflowed {
        let problem = Diagnostic::error("too many frames came in to compare them with what was sent")
            .why(format!("at most {} are remembered", count(sent::Seen::MOST as u64, "frame")))
            .fix("watch a shorter time, or an interface with less traffic");
        return Err(Failure::invalid(problem));
    }
    Ok(sent::join(&frames, seen, watched))
}

/// The receiver in the words of the scenario language.
fn scenario(wanted: &Wanted) -> Result<Scenario> {
    let listens: Vec<String> = wanted.listens.iter().map(|listener| format!("{:?}", listener.to_string())).collect();
    let interface = &wanted.interface;
    let text = format!(
        "format = 1\n[capture]\nfile = \"watched.pcap\"\n[target]\ninterface = {interface:?}\n[receiver]\nvia = [\"restage\"]\n\
         interface = {interface:?}\nlistens = [{}]\n",
        listens.join(", ")
    );
    let source = Arc::new(Source { path: "watch".into(), text });
    scenario::check(&ScenarioText::of(source)?)
}
