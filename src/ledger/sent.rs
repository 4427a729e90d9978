//! What another machine sent, as a file, and the ledger of a receiver that was watched put together with it. Start at [`SentFrames`].

use std::collections::{HashMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::identity::Digest;
use crate::capture::{FrameRanges, FrameSet};
use crate::cause::{Cause, Stage};
use crate::figures;
use crate::outcome::{Absorbed, Amount, Layer, Ledger, Loss};

/// The version of the file.
const FORMAT: u32 = 1;

/// The frames that were sent, in their order, with what identifies each behind routers, too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct SentFrames {
    pub scenario: String,
    /// Frames that were read, and of those selected.
    pub read: u64,
    pub selected: u64,
    pub frames: Vec<(u64, Digest)>,
}

/// As it is in a file.
#[derive(Serialize, Deserialize)]
struct Form {
    format: u32,
    scenario: String,
    read: u64,
    selected: u64,
    /// The numbers of the frames in the capture.
    frames: Vec<u64>,
    /// 16 bytes for each of them, in base64.
    digests: String,
}

impl From<SentFrames> for Form {
    fn from(sent: SentFrames) -> Self {
        let (frames, digests): (Vec<u64>, Vec<[u8; 16]>) =
            sent.frames.into_iter().map(|(frame, digest)| (frame, digest.bytes())).unzip();
        let SentFrames { scenario, read, selected, .. } = sent;
        Self { format: FORMAT, scenario, read, selected, frames, digests: STANDARD.encode(digests.as_flattened()) }
    }
}

impl TryFrom<Form> for SentFrames {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let Form { format, scenario, read, selected, frames, digests } = form;
        if format != FORMAT {
            return Err(format!("its format is {format}, and this version of restage reads {FORMAT}"));
        }
        let digests = STANDARD.decode(digests).map_err(|error| format!("`digests` is not base64: {error}"))?;
        let (digests, rest) = digests.as_chunks::<16>();
        if digests.len() != frames.len() || !rest.is_empty() {
            return Err(format!("it has {} frames and {} digests", frames.len(), digests.len()));
        }
        let frames = frames.into_iter().zip(digests.iter().copied().map(Digest::from_bytes)).collect();
        Ok(Self { scenario, read, selected, frames })
    }
}

/// What identifies the frames that came in while it was watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Those that were watched, in the order of their numbers.
    pub watched: Vec<Digest>,
    /// All others: of other protocols, for other sockets, from elsewhere.
    pub others: Vec<Digest>,
    /// Whether there were more than are kept.
    pub overflowed: bool,
}

impl Seen {
    /// So many digests are kept, of 16 bytes each.
    pub const MOST: usize = 1 << 25;

    /// Adds one.
    pub fn add(&mut self, digest: Digest, is_watched: bool) {
        if self.watched.len() + self.others.len() == Self::MOST {
            self.overflowed = true;
        } else if is_watched {
            self.watched.push(digest);
        } else {
            self.others.push(digest);
        }
    }
}

/// The ledger of what was sent elsewhere and watched here. `watched`: the ledger of the frames that were watched.
///
/// Frames that were watched and are none of those that were sent are foreign; where it is not known which frames a loss is about, it is a range then.
/// Of frames that were sent and came in without being watched, it is known that they arrived, and no more.
pub fn join(sent: &SentFrames, seen: &Seen, watched: &Ledger) -> Ledger {
    let mut waiting: HashMap<Digest, VecDeque<u64>> = HashMap::new();
    for (frame, digest) in &sent.frames {
        waiting.entry(*digest).or_default().push_back(*frame);
    }
    let mut find = |digest: &Digest| waiting.get_mut(digest).and_then(VecDeque::pop_front);
    let own = Own { number: seen.watched.iter().map(&mut find).collect() };
    let unwatched = seen.others.iter().filter_map(find).count() as u64;
    let (all, foreign) = (sent.frames.len() as u64, own.foreign());
    let arrived = own.count() + unwatched;
    let all_seen = watched.arrived.as_ref().and_then(Amount::known).is_some();
    let mut joined = Ledger {
        read: sent.read,
        selected: sent.selected,
        rewritten: sent.selected,
        sent: all,
        arrived: Some(if all_seen {
            Amount::exact(arrived)
        } else {
            Amount::between(arrived, all, "some that came in were not seen: the receive ring lost frames")
        }),
        foreign: watched.foreign.saturating_sub(unwatched) + foreign,
        reordered: None,
        losses: Vec::new(),
        absorbed: Vec::new(),
        ..watched.clone()
    };
    let not_sent = sent.selected.saturating_sub(joined.sent);
    if not_sent > 0 {
        joined.losses.push(loss(Stage::Sent, Cause::NotSent, not_sent, None));
    }
    let mut missing: Vec<u64> = waiting.into_values().flatten().collect();
    missing.sort_unstable();
    if all_seen && !missing.is_empty() {
        let (count, numbers) = (missing.len() as u64, ranges(missing).to_string());
        joined.losses.push(loss(Stage::Arrived, Cause::LostInNetwork, count, Some(numbers)));
    }
    let why = format!("{} came in without being watched", figures::count(unwatched, "frame"));
    let mut left = Amount::between(own.count(), arrived, why);
    for (stage, amount) in [
        (Stage::Accepted, &mut joined.accepted),
        (Stage::Delivered, &mut joined.delivered),
        (Stage::Consumed, &mut joined.consumed),
    ] {
        for of_all in watched.losses.iter().filter(|loss| loss.stage == stage) {
            let (frames, numbers) = own.part(&of_all.frames, of_all.numbers.as_deref(), of_all.numbers_assumed);
            left = left.minus(&frames);
            joined.losses.push(Loss { frames, numbers, ..of_all.clone() });
        }
        for of_all in watched.absorbed.iter().filter(|absorbed| absorbed.stage == stage) {
            let (frames, numbers) = own.part(&of_all.frames, of_all.numbers.as_deref(), false);
            left = left.minus(&frames);
            joined.absorbed.push(Absorbed { frames, numbers, ..of_all.clone() });
        }
        if foreign + unwatched > 0 {
            *amount = amount.as_ref().map(|_| left.clone());
        }
    }
    joined.losses.retain(|loss| loss.frames.high() > 0);
    joined.absorbed.retain(|absorbed| absorbed.frames.high() > 0);
    joined
}

/// Which of the frames that were watched were sent.
struct Own {
    /// The number in the capture of each; `None` for a foreign one.
    number: Vec<Option<u64>>,
}

impl Own {
    fn count(&self) -> u64 {
        self.number.iter().flatten().count() as u64
    }

    fn foreign(&self) -> u64 {
        self.number.len() as u64 - self.count()
    }

    /// How many of these frames were sent, and which; `numbers`: theirs among the frames that were watched.
    fn part(&self, frames: &Amount, numbers: Option<&str>, assumed: bool) -> (Amount, Option<String>) {
        let whole = numbers.filter(|numbers| !numbers.ends_with('…') && !assumed);
        if let Some(set) = whole.and_then(|numbers| numbers.parse::<FrameSet>().ok()) {
            let watched = (1..).zip(&self.number).filter(|(number, _)| set.contains(*number));
            let sent = ranges(watched.filter_map(|(_, frame)| *frame));
            return (Amount::exact(sent.count()), Some(sent.to_string()));
        }
        let foreign = self.foreign();
        if foreign == 0 {
            return (frames.clone(), None);
        }
        let (low, high) = (frames.low().saturating_sub(foreign), frames.high().min(self.count()));
        let why = format!(
            "{} came in as well, and it is not known which were lost",
            figures::count(foreign, "foreign frame")
        );
        (Amount::between(low, high, why), None)
    }
}

fn ranges(frames: impl IntoIterator<Item = u64>) -> FrameRanges {
    let mut ranges = FrameRanges::default();
    frames.into_iter().for_each(|frame| ranges.add(frame));
    ranges
}

fn loss(stage: Stage, cause: Cause, frames: u64, numbers: Option<String>) -> Loss {
    let (why, fix) = match cause {
        Cause::LostInNetwork => (
            "it was sent, and did not come in by the interface that was watched",
            "look at the counters of the switches and routers between, and at MAC, MTU and TTL of these frames",
        ),
        _ => ("the other machine's report says why", cause.row().fix),
    };
    Loss {
        stage,
        cause,
        frames: Amount::exact(frames),
        evidence: Layer::Stage,
        numbers,
        numbers_assumed: false,
        expected: false,
        why: why.to_owned(),
        fix: fix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::from_bytes([number; 16])
    }

    fn seen(watched: &[u8], others: &[u8]) -> Seen {
        let digests = |numbers: &[u8]| numbers.iter().copied().map(digest).collect();
        Seen { watched: digests(watched), others: digests(others), overflowed: false }
    }

    fn sent(numbers: &[u8]) -> SentFrames {
        let frames = numbers.iter().map(|number| (u64::from(*number), digest(*number))).collect();
        SentFrames { scenario: "s".to_owned(), read: 12, selected: 10, frames }
    }

    /// A ledger of so many frames that arrived, with losses before `accepted`.
    fn watched(arrived: u64, losses: &[(u64, Option<&str>)]) -> Ledger {
        let lost: u64 = losses.iter().map(|(frames, _)| frames).sum();
        let left = Some(Amount::exact(arrived - lost));
        let of_one = |(frames, numbers): &(u64, Option<&str>)| {
            loss(Stage::Accepted, Cause::NetfilterDrop, *frames, numbers.map(str::to_owned))
        };
        Ledger {
            arrived: Some(Amount::exact(arrived)),
            accepted: left.clone(),
            delivered: left.clone(),
            consumed: left,
            losses: losses.iter().map(of_one).collect(),
            ..Ledger::default()
        }
    }

    type Shown = (Vec<Option<u64>>, Vec<(Stage, u64, Option<String>)>, u64);

    /// What arrived, was accepted and consumed; the losses; what is foreign.
    fn shown(ledger: &Ledger) -> Shown {
        let stages = [&ledger.arrived, &ledger.accepted, &ledger.consumed];
        let stages = stages.map(|amount| amount.as_ref().and_then(Amount::known)).to_vec();
        let losses = ledger.losses.iter().map(|loss| (loss.stage, loss.frames.low(), loss.numbers.clone())).collect();
        (stages, losses, ledger.foreign)
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let sent = sent(&[1, 2, 9, 2]);
        let text = serde_json::to_string(&sent).expect("JSON");
        assert_eq!(serde_json::from_str::<SentFrames>(&text).expect("the same"), sent);
        for wrong in
            [text.replace("\"format\":1", "\"format\":2"), text.replace("[1,", "[1,1,"), text.replace("AQ", "?")]
        {
            assert!(serde_json::from_str::<SentFrames>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_watched_has_the_numbers_of_what_was_sent() {
        let seen = seen(&[3, 4, 6], &[]);
        let (stages, losses, foreign) = shown(&join(&sent(&[3, 4, 5, 6]), &seen, &watched(3, &[(2, Some("2-3"))])));
        assert_eq!((stages, foreign), (vec![Some(3), Some(1), Some(1)], 0));
        let of = |stage, frames, numbers: &str| (stage, frames, Some(numbers.to_owned()));
        // Of ten that were selected four were sent.
        assert_eq!(losses, [(Stage::Sent, 6, None), of(Stage::Arrived, 1, "5"), of(Stage::Accepted, 2, "4,6")]);
    }

    #[test]
    fn what_others_sent_is_foreign_and_no_loss() {
        // The second and the last are none that were sent.
        let four = seen(&[3, 77, 4, 78], &[]);
        let all = sent(&[3, 4]);
        let (stages, losses, foreign) = shown(&join(&all, &four, &watched(4, &[(3, Some("1-2,4"))])));
        assert_eq!((stages, foreign), (vec![Some(2), Some(1), Some(1)], 2));
        assert_eq!(losses[1..], [(Stage::Accepted, 1, Some("3".to_owned()))]);
        // Whose they are is not known, but two of others can't be three that were lost.
        let joined = join(&all, &four, &watched(4, &[(3, None)]));
        let (stages, losses, foreign) = shown(&joined);
        assert_eq!((stages, foreign), (vec![Some(2), None, None], 2));
        assert_eq!(losses[1..], [(Stage::Accepted, 1, None)]);
        assert_eq!((joined.losses[1].frames.high(), joined.consumed.as_ref().map(Amount::high)), (2, Some(1)));
        let (stages, losses, _) = shown(&join(&all, &seen(&[3], &[]), &watched(1, &[(1, None)])));
        assert_eq!((stages, losses.len()), (vec![Some(1), Some(0), Some(0)], 3));
    }

    #[test]
    fn what_came_in_without_being_watched_arrived() {
        let joined = join(&sent(&[3, 4, 5]), &seen(&[3], &[5, 90]), &Ledger { foreign: 2, ..watched(1, &[]) });
        let (stages, losses, foreign) = shown(&joined);
        assert_eq!((stages, foreign), (vec![Some(2), None, None], 1));
        assert_eq!(losses[1..], [(Stage::Arrived, 1, Some("4".to_owned()))]);
        assert_eq!(joined.consumed, Some(Amount::between(1, 2, "1 frame came in without being watched")));
    }

    #[test]
    fn what_the_receive_ring_lost_is_not_lost_in_the_network() {
        let joined =
            join(&sent(&[3, 4, 5]), &seen(&[3], &[]), &Ledger { arrived: None, consumed: None, ..watched(1, &[]) });
        assert_eq!(joined.arrived.as_ref().map(|arrived| (arrived.low(), arrived.high())), Some((1, 3)));
        assert_eq!((joined.losses.len(), joined.consumed), (1, None));
    }

    #[test]
    fn what_the_kernel_absorbed_did_not_go_on() {
        let absorbed = |numbers: Option<&str>| Absorbed {
            stage: Stage::Delivered,
            frames: Amount::exact(1),
            evidence: Layer::Kernel,
            numbers: numbers.map(str::to_owned),
        };
        let of = |numbers| Ledger { absorbed: vec![absorbed(numbers)], ..watched(3, &[]) };
        let three = seen(&[3, 77, 4], &[]);
        let joined = join(&sent(&[3, 4]), &three, &of(Some("3")));
        assert_eq!((joined.consumed, joined.absorbed[0].numbers.as_deref()), (Some(Amount::exact(1)), Some("4")));
        let consumed = join(&sent(&[3, 4]), &three, &of(None)).consumed.expect("it is known as a range");
        assert_eq!((consumed.low(), consumed.high()), (1, 2));
    }

    #[test]
    fn identical_frames_arrive_as_often_as_they_were_sent() {
        let seen = seen(&[3, 3, 3], &[]);
        let (stages, _, foreign) = shown(&join(&sent(&[3, 3]), &seen, &watched(3, &[])));
        assert_eq!((stages, foreign), (vec![Some(2), Some(2), Some(2)], 1));
    }
}
