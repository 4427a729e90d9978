//! The machines that send, as the run sees them: each gets its share of the frames, all begin at the same time, and what they say they sent is put
//! together. Start at [`Senders::start`].

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::Options;
use super::super::control::Control;
use super::super::observe::Observer;
use super::client::{Agent, MOST_OUTSTANDING};
use super::connection::{Connection, LOOK, PATIENCE, Program};
use super::messages::{Answer, Arm, Piece, Request};
use super::relay::Relay;
use crate::capture::FrameRanges;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::evidence::Sending;
use crate::host::Host;
use crate::outcome::{Event, Lateness, SenderReport};
use crate::packet::layers::Layers;
use crate::plan::{self, Facts, Limiter, LinkFacts, Plan, Schedule, Stream};
use crate::process::parent::ParentWatch;
use crate::rewrite::Conversations;
use crate::scenario::pacing::Rate;
use crate::scenario::sender::Share;
use crate::scenario::{Scenario, quoted};

/// So many frames go to a machine in one line.
const PIECES: usize = 64;
/// The start comes so long after it was said to all, beyond the time that the farthest needs to hear of it.
const LEAD: Duration = Duration::from_millis(50);
/// So often it is measured how long a message takes.
const MEASURED: u32 = 3;
/// The bytes of all frames that a machine is given at most: it keeps them in a temporary file.
const MOST_BYTES: u64 = 4 << 30;

/// The machines that send.
pub(in crate::run) struct Senders {
    all: Vec<Machine>,
    share: Share,
}

struct Machine {
    connection: Arc<Connection>,
    /// Set when sending begins; before that it announces nothing.
    relay: Arc<OnceLock<Arc<Relay>>>,
    interface: String,
    link: LinkFacts,
    /// The receiver, as it is reached from there.
    host: Host,
}

impl Senders {
    /// Starts an agent on each, and asks how it reaches the receiver.
    ///
    /// # Errors
    /// As [`Connection::start`]; an interface that is not there, or down.
    pub(super) fn start(scenario: &Scenario, receiver: &Host, program: Program) -> Result<Self> {
        let words = scenario.topology.senders();
        let machine = |(index, sender): (usize, &crate::scenario::sender::Sender)| {
            let relay = Arc::new(OnceLock::<Arc<Relay>>::new());
            let heard = Arc::clone(&relay);
            let take = move |_: &Connection, answer| {
                let Some(relay) = heard.get() else { return Some(answer) };
                match answer {
                    Answer::Announce(frames, heads) => relay.announce(index, &frames, &heads),
                    Answer::Withdraw(positions) => relay.withdraw(index, &positions),
                    Answer::Pong => relay.answered(index),
                    Answer::Sent(_) | Answer::Failed(_) => {
                        relay.ended(index);
                        return Some(answer);
                    }
                    answer => return Some(answer),
                }
                None
            };
            let connection = Connection::start(&sender.at, "sender", scenario, program, Box::new(take))?;
            let interface = sender.interface.value.clone();
            let reach = Request::Reach {
                interface: interface.clone(),
                gateway: scenario.rewrite.names_gateway(),
                host: Box::new(receiver.clone()),
            };
            let asked = connection
                .asked(&reach)
                .map_err(|failure| failure.at(&scenario.source, sender.interface.span.as_ref()))?;
            match asked {
                Answer::Reached { link, host } => Ok(Machine { connection, relay, interface, link, host: *host }),
                _ => Err(connection.nonsense()),
            }
        };
        let all = words.iter().enumerate().map(machine).collect::<Result<Vec<_>>>()?;
        Ok(Self { all, share: words.first().map_or(Share::default(), |sender| sender.share.value) })
    }

    /// What a plan has to know: frames as the first one sends them, none longer than any of the interfaces takes.
    pub(super) fn facts(&self) -> Facts {
        self.all.first().map_or_else(Facts::default, |first| self.facts_of(first))
    }

    fn facts_of(&self, machine: &Machine) -> Facts {
        let mtu = self.all.iter().map(|machine| machine.link.mtu).min().unwrap_or(machine.link.mtu);
        let sender = Some(LinkFacts { mtu, ..machine.link });
        Facts { sender, receiver: Some(machine.host.clone()), ..Facts::default() }
    }

    /// Gives each its share of the frames; what is odd about that.
    ///
    /// # Errors
    /// As [`Stream::next_frame`]; a share that is too large.
    pub(in crate::run) fn hand_over(
        &self,
        scenario: &Scenario,
        planned: &Plan,
        parent: &ParentWatch,
    ) -> Result<Vec<Diagnostic>> {
        let first = self.facts();
        let mut notes = Vec::new();
        for (index, machine) in self.all.iter().enumerate() {
            let facts = self.facts_of(machine);
            // With other MACs the frames are others.
            let own = if facts.sender == first.sender
                && facts.receiver.as_ref().map(|host| host.mac) == first.receiver.as_ref().map(|host| host.mac)
            {
                None
            } else {
                Some(plan::plan(scenario, facts)?)
            };
            if self.give(index, scenario, own.as_ref().unwrap_or(planned), parent)? == 0 {
                let words = &scenario.topology.senders()[index];
                let what = format!("`{}` has no frames to send", machine.connection.name());
                let note = Diagnostic::note(what).at(&scenario.source, words.interface.span.clone());
                let all = if self.share == Share::Exporters { "exporters" } else { "flows" };
                notes.push(note.why(format!("the capture has fewer {all} than there are machines that send")));
            }
        }
        Ok(notes)
    }

    /// Gives one its share.
    fn give(&self, index: usize, scenario: &Scenario, plan: &Plan, parent: &ParentWatch) -> Result<u64> {
        let mut schedule = Schedule::new(&scenario.pacing);
        let mut limiter = Limiter::new(&scenario.pacing);
        let mut dealer = Dealer::new(self.share, self.all.len());
        let connection = &self.all[index].connection;
        let (mut pieces, mut frames, mut bytes) = (Vec::with_capacity(PIECES), 0, 0);
        let mut stream = Stream::open(scenario, &plan.rewriter, &plan.medium)?;
        'all: for round in 0..scenario.pacing.repeat.value {
            if round > 0 {
                stream.begin_again()?;
            }
            while let Some(frame) = stream.next_frame()? {
                if connection.is_lost() || parent.parent_is_gone() {
                    return Err(connection.is_over());
                }
                let after = schedule.next(frame.time_ns, frame.bytes.len());
                if !limiter.admits(after, frame.bytes.len()) {
                    break 'all;
                }
                if !dealer.is_for(index, &frame.layers, frame.bytes) {
                    continue;
                }
                frames += 1;
                bytes += frame.bytes.len() as u64;
                if bytes > MOST_BYTES {
                    return Err(too_large(scenario, connection.name()));
                }
                let after = after.unwrap_or_default();
                pieces.push(Piece {
                    frame: frame.number,
                    after_ns: u64::try_from(after.as_nanos()).unwrap_or(u64::MAX),
                    bytes: STANDARD.encode(frame.bytes),
                });
                if pieces.len() == PIECES {
                    connection.tell(&Request::Share(std::mem::take(&mut pieces)));
                }
            }
            schedule.again();
        }
        connection.tell(&Request::Share(pieces));
        Ok(frames)
    }

    /// Has all of them send, beginning at the same time; what was sent, and what each says of it. Then, and also where that fails, their agents
    /// have ended.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Error`] where the connection to one is lost: what it sent is not known.
    pub(in crate::run) fn send(
        &self,
        scenario: &Scenario,
        options: &Options,
        planned: u64,
        receiver: &Agent,
        observer: &Observer,
        control: &mut Control<'_>,
    ) -> Result<(Sending, Vec<SenderReport>)> {
        let sent = self.send_all(scenario, options, planned, receiver, observer, control);
        self.all.iter().for_each(|machine| machine.connection.close());
        self.all.iter().for_each(|machine| machine.connection.hang_up());
        sent
    }

    fn send_all(
        &self,
        scenario: &Scenario,
        options: &Options,
        planned: u64,
        receiver: &Agent,
        observer: &Observer,
        control: &mut Control<'_>,
    ) -> Result<(Sending, Vec<SenderReport>)> {
        let connections: Vec<_> = self.all.iter().map(|machine| Arc::clone(&machine.connection)).collect();
        for machine in &self.all {
            let arm = Arm {
                scenario: share_scenario(scenario, &machine.interface),
                options: options.clone(),
                key: observer.shared.digester.key(),
                follows: receiver.follows(),
                most_outstanding: (MOST_OUTSTANDING / self.all.len() as u64).max(1),
                left: control.left(),
            };
            match machine.connection.asked_within_run(&Request::Arm(Box::new(arm)), control)? {
                Answer::Ready => {}
                _ => return Err(machine.connection.nonsense()),
            }
        }
        let ways = self.all.iter().map(Machine::way).collect::<Result<Vec<_>>>()?;
        let relay = Arc::new(Relay::new(receiver.clone(), observer.shared.clone(), connections));
        for machine in &self.all {
            let _ = machine.relay.set(Arc::clone(&relay));
        }
        receiver.relay(&relay);
        control.phase("replay");
        let farthest = ways.iter().max().copied().unwrap_or_default();
        for (machine, way) in self.all.iter().zip(&ways) {
            machine.connection.tell(&Request::Start { after: LEAD + farthest.saturating_sub(*way) });
        }
        let all = self.collect(receiver, observer, control)?;
        let sending = together(&all, planned, self.share);
        let reports = self.all.iter().zip(&all).map(|(machine, sending)| SenderReport {
            at: machine.connection.name().to_owned(),
            interface: machine.interface.clone(),
            sent: sending.sent,
            seconds: sending.seconds,
            scheduled_seconds: sending.scheduled_seconds,
            lateness_us: sending.lateness,
        });
        Ok((sending, reports.collect()))
    }

    /// Waits until all have sent.
    fn collect(&self, receiver: &Agent, observer: &Observer, control: &mut Control<'_>) -> Result<Vec<Sending>> {
        let mut ended: Vec<Option<Sending>> = vec![None; self.all.len()];
        let mut sent = vec![0; self.all.len()];
        let mut over = None;
        while ended.iter().any(Option::is_none) {
            for (index, machine) in
                self.all.iter().enumerate().filter(|(index, _)| ended[*index].is_none()).collect::<Vec<_>>()
            {
                for event in machine.connection.events() {
                    if let Event::Progress { sent: own, .. } = event {
                        sent[index] = own;
                    }
                }
                match machine.connection.answered() {
                    Ok(Answer::Sent(sending)) => {
                        sent[index] = sending.sent;
                        ended[index] = Some(*sending);
                    }
                    Ok(Answer::Failed(failure)) => return Err(machine.connection.there(failure)),
                    Ok(_) => return Err(machine.connection.nonsense()),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return Err(machine.connection.is_over()),
                }
            }
            (control.report)(Event::Progress { sent: sent.iter().sum(), arrived: Some(observer.shared.arrived()) });
            if control.is_interrupted() || receiver.is_lost() {
                self.all.iter().for_each(|machine| machine.connection.close());
            }
            let late = self.all.iter().zip(&ended).find(|(_, ended)| ended.is_none());
            if let Some((machine, _)) = late
                && (control.is_over() || receiver.is_lost())
                && over.get_or_insert_with(Instant::now).elapsed() > PATIENCE
            {
                return Err(machine.connection.is_over());
            }
            sleep(LOOK);
        }
        Ok(ended.into_iter().flatten().collect())
    }
}

impl Machine {
    /// How long a message takes to get there, at best.
    fn way(&self) -> Result<Duration> {
        let mut best = Duration::MAX;
        for _ in 0..MEASURED {
            let begun = Instant::now();
            match self.connection.asked(&Request::Ping { taken_in: 0 })? {
                Answer::Pong => best = best.min(begun.elapsed() / 2),
                _ => return Err(self.connection.nonsense()),
            }
        }
        Ok(best)
    }
}

/// Which machine sends a frame: flows and exporters are dealt out in turn, in the order of their first frames.
struct Dealer {
    share: Share,
    machines: usize,
    conversations: Conversations,
    dealt: HashMap<Dealt, usize>,
}

/// What is sent by one machine. Frames without addresses are one of each.
#[derive(PartialEq, Eq, Hash)]
enum Dealt {
    Flow(Option<u64>),
    Exporter(Option<IpAddr>),
}

impl Dealer {
    fn new(share: Share, machines: usize) -> Self {
        Self { share, machines, conversations: Conversations::default(), dealt: HashMap::new() }
    }

    /// Whether it is sent by this machine.
    fn is_for(&mut self, machine: usize, layers: &Layers, frame: &[u8]) -> bool {
        let dealt = match self.share {
            Share::Copies => return true,
            Share::Flows => Dealt::Flow(self.conversations.of(layers, frame)),
            Share::Exporters => Dealt::Exporter(layers.addresses(frame).map(|(source, _)| source)),
        };
        let next = self.dealt.len() % self.machines;
        *self.dealt.entry(dealt).or_insert(next) == machine
    }
}

/// The scenario of a share: its frames are rewritten already, and have their deadlines as times.
fn share_scenario(scenario: &Scenario, interface: &str) -> String {
    let pacing = &scenario.pacing;
    let rate = if pacing.rate.value == Rate::TopSpeed { "topspeed" } else { "captured" };
    format!(
        "format = 1\n[capture]\nfile = \"share.pcap\"\n[pacing]\nrate = \"{rate}\"\nsender = \"{}\"\nprecision = \"{}\"\n[target]\ninterface = {}\n",
        pacing.sender.value.word(),
        pacing.precision.word(),
        quoted(interface)
    )
}

/// What all of them sent.
fn together(all: &[Sending], planned: u64, share: Share) -> Sending {
    let ranges = |of: fn(&Sending) -> &FrameRanges| FrameRanges::union(all.iter().map(of));
    let sum = |of: fn(&Sending) -> u64| all.iter().map(of).sum::<u64>();
    let kinds: BTreeSet<&str> = all.iter().filter(|one| one.tried > 0).map(|one| one.sender.as_str()).collect();
    let sent = if share == Share::Copies { "every frame" } else { "its share" };
    let scheduled = |one: &Sending| one.scheduled_seconds.map(|seconds| one.due_after.as_secs_f64() + seconds);
    let mut sending = Sending {
        sent: sum(|sending| sending.sent),
        bytes: sum(|sending| sending.bytes),
        too_long: ranges(|sending| &sending.too_long),
        unsendable: ranges(|sending| &sending.unsendable),
        interface_down: ranges(|sending| &sending.interface_down),
        dropped: ranges(|sending| &sending.dropped),
        not_sent: ranges(|sending| &sending.not_sent),
        tried: sum(|sending| sending.tried),
        sender: kinds.into_iter().collect::<Vec<_>>().join(", "),
        sender_why: format!("each machine sends {sent}"),
        seconds: ends(all).max(0.0),
        scheduled_seconds: all.iter().filter_map(scheduled).reduce(f64::max),
        lateness: worst(all.iter().filter_map(|sending| sending.lateness)),
        lateness_from_first: worst(all.iter().filter_map(|sending| sending.lateness_from_first)),
        gap_error: worst(all.iter().filter_map(|sending| sending.gap_error)),
        ..Sending::default()
    };
    let Sending { too_long, unsendable, interface_down, dropped, not_sent, .. } = &sending;
    let refused: u64 = [too_long, unsendable, interface_down, dropped, not_sent].map(FrameRanges::count).iter().sum();
    sending.not_sent.add_unlisted(planned.saturating_sub(sending.sent + refused));
    sending
}

/// From the first send of all to the last, in seconds.
fn ends(all: &[Sending]) -> f64 {
    let sent = || all.iter().filter(|sending| sending.tried > 0);
    let first = sent().map(|sending| sending.begun_after.as_secs_f64()).reduce(f64::min);
    let last = sent().map(|sending| sending.begun_after.as_secs_f64() + sending.seconds).reduce(f64::max);
    last.zip(first).map_or(0.0, |(last, first)| last - first)
}

/// The deviations of the machine that deviates most, for each percentile.
fn worst(all: impl Iterator<Item = Lateness>) -> Option<Lateness> {
    all.reduce(|one, other| Lateness {
        p50: one.p50.max(other.p50),
        p90: one.p90.max(other.p90),
        p99: one.p99.max(other.p99),
        p999: one.p999.max(other.p999),
        max: one.max.max(other.max),
    })
}

fn too_large(scenario: &Scenario, name: &str) -> Failure {
    let problem = Diagnostic::error(format!("the share of `{name}` has more than 4 GiB"))
        .at(&scenario.source, scenario.capture.files.span())
        .why("a machine that sends is given its frames before, every repetition of them")
        .fix("send less: `[capture] frames`, a lower `[pacing] repeat`, or more machines");
    Failure::invalid(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planned_frame_was_sent_or_was_not() {
        let mut one = Sending { sent: 5, tried: 8, ..Sending::default() };
        one.too_long.add(3);
        one.not_sent.add(9);
        one.not_sent.add(11);
        // Frames that were not even read.
        one.not_sent.add_unlisted(2);
        let other = Sending { sent: 10, tried: 10, ..Sending::default() };
        let all = together(&[one, other], 25, Share::Flows);
        assert_eq!((all.sent, all.too_long.count(), all.not_sent.count()), (15, 1, 9));
        assert_eq!(all.not_sent.to_string(), "9,11,…");
    }

    #[test]
    fn machines_that_send_in_different_ways_are_all_named() {
        let sends = |sender: &str, tried, due_after| Sending {
            sender: sender.to_owned(),
            tried,
            due_after: Duration::from_secs(due_after),
            scheduled_seconds: Some(2.0),
            ..Sending::default()
        };
        let all = together(&[sends("xdp", 1, 3), sends("packet", 1, 0), sends("", 0, 0)], 2, Share::Copies);
        assert_eq!((&*all.sender, &*all.sender_why), ("packet, xdp", "each machine sends every frame"));
        // From the first frame of all to the last.
        assert_eq!(all.scheduled_seconds, Some(5.0));
    }
}
