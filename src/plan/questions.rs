//! Which of the selected frames ask for an answer, and the answers that the capture itself has: one pass over it. Start at
//! [`Questions::read`].

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;

use ipnet::IpNet;

use super::stream::Stream;
use super::{Plan, refuse, reply_filter};
use crate::capture::Frame;
use crate::diagnostic::Result;
use crate::packet::exchange::{Answers, Exchange, Role, Udp, role};
use crate::packet::layers::Layers;
use crate::scenario::Scenario;

/// So many questions are told apart; 250 bytes or so each.
const MOST: usize = 1 << 18;

/// How many frames are read once more for what is only to be shown.
const MOST_READ_AGAIN: u64 = 1_000_000;

/// A question that the frames ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The first frame that asks it.
    pub frame: u64,
    /// As it is sent.
    pub sent: Exchange,
    /// As it was captured; several where rewriting makes them one.
    pub captured: Vec<Exchange>,
    /// How many answers are due: one for each round; and where nothing identifies an answer, for each frame.
    pub due: u64,
    /// Whether it goes to a group or to a broadcast address.
    pub to_group: bool,
}

/// All questions of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Questions {
    /// In the order in which they are asked first.
    pub list: Vec<Question>,
    /// Frames that ask, repetitions of a question and rounds included.
    pub frames: u64,
    /// The answers in the capture, by the exchange as it was captured.
    pub captured: Answers,
    /// Whether there are more questions than are told apart.
    pub incomplete: bool,
}

impl Questions {
    /// Reads the questions of what is sent, or was: the plan says how much of it. At most so many frames of the capture are read.
    ///
    /// # Errors
    /// When the capture can't be read.
    pub fn read(scenario: &Scenario, plan: &Plan, most_read: u64) -> Result<Self> {
        let networks = plan.host.iter().flat_map(|host| &host.addresses).filter(|net| has_broadcast(net));
        let mut reader = Reader { broadcasts: networks.map(IpNet::broadcast).collect(), ..Reader::default() };
        let mut stream = Stream::open(scenario, &plan.rewriter, &plan.medium)?;
        let mut frames = 0u64;
        // The position of each frame that asks for another answer, and its question.
        let mut asking = Vec::new();
        loop {
            let mut captured = None;
            let next = stream.next_frame_after(&mut |frame, is_selected| {
                if frame.number > most_read {
                    return ControlFlow::Break(());
                }
                captured = reader.see(frame, is_selected);
                ControlFlow::Continue(())
            })?;
            let Some(frame) = next else { break };
            let asked = captured.zip(Udp::find(&frame.layers.network, frame.bytes));
            if let Some((captured, udp)) = asked {
                asking.push((frames, reader.ask(frame.number, captured, &udp)));
            }
            frames += 1;
        }
        let mut questions = reader.questions;
        for (position, asked) in asking {
            // The last round may be cut.
            let rounds = plan.frames().saturating_sub(position).div_ceil(frames);
            questions.frames += rounds;
            if let Some(question) = asked.and_then(|place| questions.list.get_mut(place)) {
                question.due += rounds;
            }
        }
        questions.list.retain(|question| question.due > 0);
        Ok(questions)
    }

    /// How many answers are due in all.
    pub fn due(&self) -> u64 {
        self.list.iter().map(|question| question.due).sum()
    }
}

impl Plan {
    /// With what the frames ask, where replies are expected.
    pub(super) fn with_questions(mut self, scenario: &Scenario) -> Result<Self> {
        if scenario.expect.replies.is_some() {
            reply_filter(scenario)?;
            let questions = Questions::read(scenario, &self, u64::MAX)?;
            refuse::replies(scenario, &questions)?;
            self.questions = Some(questions);
        }
        Ok(self)
    }

    /// Looks for the questions of the frames, where that is not done yet and does not take long.
    ///
    /// # Errors
    /// When the capture can't be read any more.
    pub fn find_questions(&mut self, scenario: &Scenario) -> Result<()> {
        if self.questions.is_none() && self.counts.read <= MOST_READ_AGAIN {
            self.questions = Some(Questions::read(scenario, self, MOST_READ_AGAIN)?);
        }
        Ok(())
    }
}

/// A /31 or /32 has no broadcast address, nor has IPv6.
fn has_broadcast(net: &IpNet) -> bool {
    net.addr().is_ipv4() && net.prefix_len() < 31
}

#[derive(Default)]
struct Reader {
    questions: Questions,
    /// The receiver's.
    broadcasts: Vec<IpAddr>,
    /// The questions, by how they are sent.
    sent: HashMap<Exchange, usize>,
    /// Those that were asked, as they were captured.
    captured: HashSet<Exchange>,
}

impl Reader {
    /// Takes in a frame as it was captured: an answer, or a question, which is returned where the frame is selected.
    fn see(&mut self, frame: &Frame<'_>, is_selected: bool) -> Option<Exchange> {
        let layers = Layers::find(frame.link, frame.bytes);
        let udp = Udp::find(&layers.network, frame.bytes)?;
        let back = |id| Exchange { asker: udp.to, asked: udp.from, id };
        let id = match role(&udp) {
            Role::Asks(id) => id,
            Role::Answers(id) => {
                self.questions.captured.add(back(id), Some((udp.payload, udp.is_whole)));
                return None;
            }
            Role::Neither => return None,
            // Who sent the first datagram of a conversation asks, and the other one answers.
            Role::Unknown if self.captured.contains(&back(Vec::new())) => {
                self.questions.captured.add(back(Vec::new()), Some((udp.payload, udp.is_whole)));
                return None;
            }
            Role::Unknown => Vec::new(),
        };
        is_selected.then_some(Exchange { asker: udp.from, asked: udp.to, id })
    }

    /// Takes in a question as it was captured and as it is sent. Its place in the list where it asks for another answer: a repetition of one
    /// that has an identifier does not, nor is one listed where there are too many.
    fn ask(&mut self, frame: u64, captured: Exchange, udp: &Udp<'_>) -> Option<usize> {
        let id = match role(udp) {
            Role::Asks(id) if !captured.id.is_empty() => id,
            _ => Vec::new(),
        };
        let sent = Exchange { asker: udp.from, asked: udp.to, id };
        if self.captured.len() >= MOST && !self.captured.contains(&captured) {
            self.questions.incomplete = true;
            return None;
        }
        let is_new = self.captured.insert(captured.clone());
        let place = *self.sent.entry(sent.clone()).or_insert(self.questions.list.len());
        if place == self.questions.list.len() {
            let to = udp.to.0;
            let to_group = to.is_multicast() || to == IpAddr::V4(Ipv4Addr::BROADCAST) || self.broadcasts.contains(&to);
            self.questions.list.push(Question { frame, sent: sent.clone(), captured: Vec::new(), due: 0, to_group });
        }
        if is_new && let Some(question) = self.questions.list.get_mut(place) {
            question.captured.push(captured);
        }
        (is_new || sent.id.is_empty()).then_some(place)
    }
}
