//! Scenario + capture + what the site will be → [`Plan`]: one streaming pass, nothing sent, no privilege needed.
//!
//! What can't be sent as asked is refused here, before the first frame. A predicted loss never blocks. May use everything up to
//! `rewrite`. Start at [`plan`].

mod brief;
mod existing;
mod facts;
mod flow_notes;
mod lab_host;
mod link;
mod listing;
mod note;
mod questions;
mod reach;
mod receiver;
mod refuse;
mod rewrite_report;
mod schedule;
mod selector;
mod stream;
pub mod survey;
mod templates;
mod timeout;
mod watched;

#[cfg(test)]
#[path = "../../tests/unit/rewritten.rs"]
mod rewritten_tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

pub use brief::Brief;
pub use facts::{Facts, LinkFacts};
pub use flow_notes::flow_notes;
pub use lab_host::sender_mac as lab_sender_mac;
pub use link::roles;
pub use note::{behind_tags, group_mac};
pub use questions::{Question, Questions};
pub use refuse::{nothing_selected, reply_filter};
pub use rewrite_report::rewrite_report;
pub use schedule::{Limiter, Schedule};
pub use selector::{Counts, LeftOut, Selector};
pub use stream::{Medium, Stream, open_capture, pass};
pub use templates::learn_templates;
pub use watched::watched;

use crate::capture::Frame;
use crate::cause::Cause;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::{Firewall, Host};
use crate::packet::MacAddr;
use crate::packet::layers::Layers;
use crate::predict::Class;
use crate::predict::{self, Disposition, Prediction};
use crate::rewrite::{Framing, Learner, Prepared, Reshaped, RewriteStats, Rewriter, Roles, Seen, unused_problems};
use crate::scenario::Scenario;
use crate::scenario::pacing::{Limit, Pacing, Rate};
use crate::scenario::require::Listener;
use crate::scenario::topology::LAB_RECEIVER;
use link::{medium_of, settled};
use listing::Listing;
use reach::Reach;
use survey::{Reassembly, Survey};

/// The sender's MAC where nothing else is said.
pub const LAB_SENDER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The receiver's MAC where nothing else is said.
pub const LAB_RECEIVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// How many frames a snapshot may list.
const MOST_LISTED: u64 = 100_000;

/// What a run would do, and what would become of every frame.
#[derive(Debug)]
pub struct Plan {
    /// The compiled maps.
    pub rewriter: Rewriter,
    /// What each map entry did.
    pub stats: RewriteStats,
    /// Where frames went, in what was surveyed: once through the capture, or as often as a limit needs.
    pub counts: Counts,
    /// How often what was surveyed is sent.
    pub rounds: u64,
    /// What the rewritten frames are.
    pub survey: Survey,
    /// The receiver; `None` with a target, where it is elsewhere, unless a plan is made for one.
    pub host: Option<Host>,
    /// The network namespace that the receiver is in, where that is there already: the inode of `/proc/PID/ns/net`.
    pub namespace: Option<u64>,
    /// What becomes of the frames there.
    pub predictions: Vec<Prediction>,
    /// With a target, the unicast destinations with the MACs that frames to them have; as many as are distinguished.
    pub sent_to: BTreeSet<(IpAddr, MacAddr)>,
    /// With a target, how far the frames go, and how many in a second.
    pub reach: Reach,
    /// What the sending interface takes.
    pub medium: Medium,
    /// How long the lab's receiver waits for fragments where `[lab] sysctl` doesn't set it: as long as those of the capture need.
    pub lab_reassembly: Duration,
    /// How long the receiver waits for the fragments of a datagram; with both families, the longer of the two.
    pub reassembly_timeout: Duration,
    /// The captured time of the first frame, in nanoseconds since 1970.
    pub first_ns: Option<u64>,
    /// From the first to the last deadline, repetitions included; `None` at top speed. What happens between the parts of a replay is left out.
    pub duration: Option<Duration>,
    /// What each step of the scenario sends.
    pub steps: Vec<PlannedStep>,
    /// After this long the run ends and is judged.
    pub timeout: Duration,
    /// The rewritten frames as text, where a snapshot is asked for.
    pub listing: Option<String>,
    /// What the frames ask, where replies are expected.
    pub questions: Option<Questions>,
    /// What was chosen or is odd.
    pub notes: Vec<Diagnostic>,
}

/// What a step sends; nothing, where it does something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlannedStep {
    pub frames: u64,
    /// From its first to its last deadline; zero at top speed.
    pub duration: Duration,
}

/// Plans a scenario: one pass over its capture.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] for everything that can't be sent as asked: see `refuse`.
pub fn plan(scenario: &Scenario, facts: Facts) -> Result<Plan> {
    refuse::wrong_digest(scenario)?;
    let roles = roles(scenario, &facts);
    let Facts { sender, filter, receiver, existing, mut allowed } = facts;
    let has_agent = scenario.topology.agent().is_some();
    allowed.extend(receiver.iter().flat_map(|host| &host.addresses).map(|own| IpNet::from(own.addr())));
    let repeat = scenario.pacing.repeat.value;
    let (at_once, mut rounds) = if rounds_may_differ(&scenario.pacing) { (repeat, 1) } else { (1, repeat) };
    let (host, reassembly) = (receiver.clone(), Reassembly::default());
    let mut passes = Passes { rounds: at_once, most: u64::MAX, host, reassembly, allowed };
    let (rewriter, medium, surveyed) = survey(scenario, sender.as_ref(), roles, &passes)?;
    let Surveyed { mut survey, mut schedule, mut counts, left_out, stats, listing, cut, first_ns, steps, mut reach } =
        surveyed;
    if counts.selected == 0 {
        return Err(match cut {
            Some(length) => refuse::limit_below_the_first_frame(scenario, length),
            None => nothing_selected(scenario, counts, &left_out),
        });
    }
    let mut problems = unused(scenario, &rewriter, &medium, &stats, counts.selected)?;
    problems.extend(survey.unframed.map(|(frame, link, why)| refuse::unframed(scenario, frame, link, why)));
    problems.extend(refuse::stages_without_datagrams(scenario, &survey));
    problems.extend(refuse::steps_without_frames(scenario, &steps));
    problems.extend(refuse::oversize(scenario, &survey, medium.mtu));
    problems.extend(refuse::fragments_of_copies(scenario, &survey));
    let duration = schedule.duration().map(|once| once.saturating_mul(rounds));
    reach.repeat(&scenario.pacing, rounds.into(), schedule.duration(), scenario.topology.copies());
    let (timeout, too_short) = timeout::timeout(scenario, duration);
    problems.extend(too_short);
    if !problems.is_empty() {
        return Err(Failure { kind: crate::diagnostic::Kind::Invalid, problems });
    }
    let mut notes = Vec::new();
    let lab_reassembly = lab_host::needed_reassembly(scenario, &survey);
    if let Some(lab) = scenario.topology.lab() {
        passes.reassembly = lab_host::reassembly(lab, lab_reassembly);
    }
    let host = match receiver {
        Some(receiver) if !has_agent => Some(receiver),
        far => {
            receiver::receiver(scenario, filter, far, existing.as_ref(), &survey, &mut passes.reassembly, &mut notes)?
        }
    };
    // A second pass, where the first one could not know enough.
    let in_rounds = rounds > 1 && survey.awaits_fragments();
    let crowded = host.is_some() && !survey.unclassed.is_empty();
    if in_rounds || crowded || !survey.reassembly().is_the_same_with(&passes.reassembly) {
        passes.host.clone_from(&host);
        if in_rounds {
            // A fragment of the next round may complete a datagram, or be there already.
            (passes.rounds, rounds) = (repeat, 1);
        }
        Surveyed { survey, schedule, counts, .. } = survey_frames(scenario, &rewriter, &medium, &passes)?;
    }
    let classes = survey.finish();
    if let Some(problem) = refuse::output_of_a_tcp_server(scenario, &survey, &classes) {
        return Err(Failure::invalid(problem));
    }
    let is_lab = host.as_ref().is_some_and(|host| !host.real);
    notes.extend(note::tcp(scenario, &survey, is_lab));
    let mut sent_to = BTreeSet::new();
    if let Some(interface) = scenario.topology.interface().filter(|_| host.is_none() || has_agent) {
        sent_to = classes.iter().filter_map(|class| class.key.destination()).collect();
        let source = classes.iter().find_map(|class| class.key.source());
        notes.extend(host.is_none().then(|| note::target(&interface.value, &survey, source)));
    }
    let predictions = predictions(classes, host.as_ref(), &rewriter);
    notes.extend(note::framed(stats.reshaped(Reshaped::Framed).frames, &medium));
    notes.extend(note::addressed(stats.reshaped(Reshaped::Addressed).frames, &medium));
    notes.extend(note::offload(scenario, &survey));
    let odd = [behind_tags(scenario, &left_out), note::in_no_step(scenario, &left_out), group_mac(scenario, &stats)];
    notes.extend(odd.into_iter().flatten());
    notes.extend((schedule.backwards() > 0).then(|| note::backwards(schedule.backwards())));
    let plan = Plan {
        rewriter,
        stats,
        counts,
        rounds: u64::from(rounds) * scenario.topology.copies(),
        survey,
        host,
        namespace: existing.map(|there| there.inode),
        predictions,
        sent_to,
        reach,
        medium,
        lab_reassembly,
        reassembly_timeout: passes.reassembly.timeout(),
        first_ns,
        duration,
        steps,
        timeout,
        listing: listing.map(Listing::into_text),
        questions: None,
        notes,
    };
    plan.with_questions(scenario)
}

/// Only where a limit ends one of them the repetitions differ; without deadlines only sending shows when that time is over.
fn rounds_may_differ(pacing: &Pacing) -> bool {
    match pacing.limit.as_ref().map(|limit| limit.value) {
        Some(Limit::Duration(_)) => !matches!(pacing.rate.value, Rate::TopSpeed | Rate::MaxLossless),
        Some(Limit::Packets(_) | Limit::Bytes(_)) => true,
        None => false,
    }
}

/// What becomes of the frames, with remedies that the scenario does not have yet.
fn predictions(classes: Vec<Class>, host: Option<&Host>, rewriter: &Rewriter) -> Vec<Prediction> {
    let mut predictions = host.map(|host| predict::predictions(classes, host)).unwrap_or_default();
    for prediction in &mut predictions {
        if let Disposition::Lost(cause) = prediction.disposition
            && let Some(fix) = remedy_beyond(cause, rewriter)
        {
            fix.clone_into(&mut prediction.fix);
        }
    }
    predictions
}

/// What to do where the scenario has the cause's own remedy already.
fn remedy_beyond(cause: Cause, rewriter: &Rewriter) -> Option<&'static str> {
    let is_sum = matches!(cause, Cause::IpCsum | Cause::UdpCsum | Cause::TcpCsum);
    (is_sum && rewriter.fixes_checksums()).then_some(
        "leave these frames out (`[capture] frames` or `filter`): `checksums = \"fix\"` is there, and can't know what is right, since the \
         packet is cut, or not all fragments of its datagram are in the capture",
    )
}

/// Surveys the frames, and once more where what their fragments need was not learnt yet.
fn survey_with_fragments(
    scenario: &Scenario,
    rewriter: &Rewriter,
    medium: &Medium,
    passes: &Passes,
) -> Result<Surveyed> {
    let surveyed = survey_frames(scenario, rewriter, medium, passes)?;
    if !rewriter.asks_for_fragments(&surveyed.stats) {
        return Ok(surveyed);
    }
    learn_fragments(scenario, rewriter, medium)?;
    survey_frames(scenario, rewriter, medium, passes)
}

/// The problems of entries that matched nothing. Only then the capture is read again, for the addresses in its first `frames` selected frames.
fn unused(
    scenario: &Scenario,
    rewriter: &Rewriter,
    medium: &Medium,
    stats: &RewriteStats,
    frames: u64,
) -> Result<Vec<Diagnostic>> {
    let mut seen = Seen::new(rewriter);
    if !rewriter.allows_unused() && stats.unused(rewriter).next().is_some() {
        each_selected(scenario, medium, frames, |frame| seen.add(&Layers::find(frame.link, frame.bytes), frame.bytes))?;
    }
    Ok(unused_problems(rewriter, stats, &scenario.source, &seen))
}

/// Calls `each` with every selected frame, `most` of them at most, as it was captured.
fn each_selected(scenario: &Scenario, medium: &Medium, most: u64, mut each: impl FnMut(&Frame<'_>)) -> Result<()> {
    let mut captures = stream::open_capture(scenario)?;
    let mut selector = Selector::new(scenario, Some(medium.mtu))?.framing(medium.framing);
    while selector.counts.selected < most
        && !selector.is_past_frames(captures.frames_read())
        && let Some(frame) = captures.next_frame()?
    {
        if selector.takes(&frame)? {
            each(&frame);
        }
    }
    Ok(())
}

/// The checksum of a datagram in fragments is in the first and known with the last: one more pass computes it.
fn learn_fragments(scenario: &Scenario, rewriter: &Rewriter, medium: &Medium) -> Result<()> {
    let mut learner = Learner::default();
    each_selected(scenario, medium, u64::MAX, |frame| learner.add(frame))?;
    rewriter.learn(learner.finish());
    Ok(())
}

/// What the passes over a capture say.
struct Surveyed {
    survey: Survey,
    schedule: Schedule,
    counts: Counts,
    left_out: LeftOut,
    stats: RewriteStats,
    listing: Option<Listing>,
    /// The length in bytes of the frame before which `[pacing] limit` ended it.
    cut: Option<usize>,
    /// The time of the first frame.
    first_ns: Option<u64>,
    /// What each step sends.
    steps: Vec<PlannedStep>,
    /// How far the frames go.
    reach: Reach,
}

/// How a capture is surveyed.
struct Passes {
    /// How often.
    rounds: u32,
    /// So many frames end it.
    most: u64,
    /// The receiver, where it is known.
    host: Option<Host>,
    /// The timeouts of its reassembly.
    reassembly: Reassembly,
    /// Where frames may go, beside addresses that no host elsewhere has.
    allowed: Vec<IpNet>,
}

/// At top speed, how far apart frames are taken to be sent.
const AT_TOP_SPEED: Duration = Duration::from_micros(10);

/// Surveys the frames as they will be sent, until the rounds, `[pacing] limit` or the most frames end it.
fn survey_frames(scenario: &Scenario, rewriter: &Rewriter, medium: &Medium, passes: &Passes) -> Result<Surveyed> {
    let mut surveyed = Surveyed {
        survey: Survey::at(passes.host.clone(), passes.reassembly),
        schedule: Schedule::new(&scenario.pacing),
        counts: Counts::default(),
        left_out: LeftOut::default(),
        stats: RewriteStats::new(rewriter),
        listing: scenario.expect.rewritten.as_ref().map(|_| Listing::default()),
        cut: None,
        first_ns: None,
        steps: vec![PlannedStep::default(); scenario.steps.len()],
        reach: Reach::new(&passes.allowed),
    };
    let mut part = None;
    let mut limiter = Limiter::new(&scenario.pacing);
    for round in 0..passes.rounds {
        let mut stream = Stream::open(scenario, rewriter, medium)?;
        while let Some(frame) = stream.next_frame()? {
            let step = scenario.step_of(frame.number);
            if step != part {
                surveyed.schedule.part();
                part = step;
            }
            // Asked before it moves on: a frame that is left out doesn't count for the duration.
            let asks = scenario.pacing.limit.is_some();
            let after = asks.then(|| surveyed.schedule.after(frame.time_ns, frame.bytes.len())).flatten();
            if !limiter.admits(after, frame.bytes.len()) || limiter.admitted() > passes.most {
                surveyed.cut = Some(frame.bytes.len());
                break;
            }
            let after = surveyed.schedule.next(frame.time_ns, frame.bytes.len());
            if let Some(step) = step.and_then(|step| surveyed.steps.get_mut(step)) {
                step.frames += 1;
                step.duration = surveyed.schedule.in_part();
            }
            if scenario.topology.interface().is_some() {
                surveyed.reach.add(&frame, after);
            }
            let after = after
                .unwrap_or_else(|| AT_TOP_SPEED.saturating_mul(u32::try_from(limiter.admitted()).unwrap_or(u32::MAX)));
            surveyed.survey.add(&frame, medium.mtu, after);
            let first_ns = *surveyed.first_ns.get_or_insert(frame.time_ns);
            if let Some(listing) = surveyed.listing.as_mut().filter(|_| round == 0) {
                listing.add(&frame, first_ns);
            }
        }
        if let Some(problem) = stream.problem_of_copies() {
            return Err(Failure::invalid(problem));
        }
        surveyed.counts.add(stream.counts(), surveyed.cut.is_some());
        surveyed.schedule.again();
        if round == 0 {
            surveyed.left_out = stream.left_out().clone();
            surveyed.stats = stream.into_stats();
        }
        if surveyed.cut.is_some() {
            break;
        }
    }
    Ok(surveyed)
}

impl Plan {
    /// What to do where the scenario has the cause's own remedy already.
    pub fn remedy_beyond(&self, cause: Cause) -> Option<&'static str> {
        remedy_beyond(cause, &self.rewriter)
    }

    /// Frames that will be sent, repetitions included.
    pub fn frames(&self) -> u64 {
        self.counts.selected * self.rounds
    }

    /// Only the first `frames` frames were sent: what becomes of these.
    ///
    /// # Errors
    /// When the capture can't be read any more.
    pub fn cut_to(&mut self, scenario: &Scenario, frames: u64) -> Result<()> {
        let rounds = scenario.pacing.repeat.value;
        let passes = Passes {
            rounds,
            most: frames,
            host: self.host.clone(),
            reassembly: *self.survey.reassembly(),
            allowed: Vec::new(),
        };
        let surveyed = survey_frames(scenario, &self.rewriter, &self.medium, &passes)?;
        (self.survey, self.counts, self.rounds) = (surveyed.survey, surveyed.counts, 1);
        let classes = self.survey.finish();
        self.predictions = predictions(classes, self.host.as_ref(), &self.rewriter);
        if self.questions.is_some() {
            self.questions = Some(Questions::read(scenario, self, u64::MAX)?);
        }
        Ok(())
    }

    /// Whether the network namespace that the receiver is in has a packet filter already.
    pub fn has_firewall(&self) -> bool {
        self.host.as_ref().is_some_and(|host| matches!(host.firewall, Firewall::Chains(_)))
    }

    /// Whether a rule may send a datagram to another port than its own.
    pub fn may_redirect(&self, scenario: &Scenario) -> bool {
        let redirects = |chain: &String| chain.contains("(hook prerouting") || chain.contains("(legacy");
        let there = self.host.as_ref().map(|host| &host.firewall);
        scenario.has_ruleset() || matches!(there, Some(Firewall::Chains(chains)) if chains.iter().any(redirects))
    }

    /// UDP sockets that make the receiver ready.
    pub fn listens(&self) -> &[Listener] {
        self.host.as_ref().map(|host| host.listens.as_slice()).unwrap_or_default()
    }
}

/// The maps of a run, and the addresses of the Ethernet headers that it makes.
///
/// # Errors
/// As [`plan`], but for what only a replay refuses.
pub fn rewriter_and_framing(scenario: &Scenario, facts: &Facts) -> Result<(Rewriter, Framing)> {
    let passes =
        Passes { rounds: 1, most: u64::MAX, host: None, reassembly: Reassembly::default(), allowed: Vec::new() };
    let (rewriter, medium, _) = survey(scenario, facts.sender.as_ref(), roles(scenario, facts), &passes)?;
    Ok((rewriter, medium.framing))
}

/// Surveys the frames, and once more where they decide which MAC the receiver has.
fn survey(
    scenario: &Scenario,
    target: Option<&LinkFacts>,
    mut roles: Roles,
    passes: &Passes,
) -> Result<(Rewriter, Medium, Surveyed)> {
    loop {
        let rewriter = Rewriter::compile(&scenario.rewrite, &roles)
            .map_err(|failure| failure.at(&scenario.source, scenario.rewrite.names_the_address_there()))?;
        let medium = medium_of(scenario, target, &roles);
        let surveyed = survey_with_fragments(scenario, &rewriter, &medium, passes)?;
        match settled(scenario, &roles, &surveyed.survey).filter(|_| passes.host.is_none()) {
            Some(settled) => roles = settled,
            None => return Ok((rewriter, medium, surveyed)),
        }
    }
}

#[cfg(test)]
#[path = "../../tests/unit/plans.rs"]
mod plans_tests;
