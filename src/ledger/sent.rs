//! What another machine sent, as a file, and the ledger of a receiver that was watched put together with it. Start at [`SentFrames`].

use std::collections::{HashMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::identity::Digest;
use crate::capture::{FrameRanges, FrameSet};
use crate::cause::{Cause, Stage};
use crate::outcome::{Amount, Layer, Ledger, Loss};

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

/// The ledger of what was sent elsewhere and watched here. `seen`: what identifies each frame that was watched, in the order of its numbers;
/// `watched`: their ledger.
///
/// Frames that were watched and are none of those that were sent are foreign. Where some are, and it is not known which frames a loss is about, the
/// stages from there on are not known.
pub fn join(sent: &SentFrames, seen: &[Digest], watched: &Ledger) -> Ledger {
    let mut waiting: HashMap<Digest, VecDeque<u64>> = HashMap::new();
    for (frame, digest) in &sent.frames {
        waiting.entry(*digest).or_default().push_back(*frame);
    }
    let number: Vec<Option<u64>> =
        seen.iter().map(|digest| waiting.get_mut(digest).and_then(VecDeque::pop_front)).collect();
    let arrived = number.iter().flatten().count() as u64;
    let foreign = seen.len() as u64 - arrived;
    let mut missing: Vec<u64> = waiting.into_values().flatten().collect();
    missing.sort_unstable();
    let mut joined = Ledger {
        read: sent.read,
        selected: sent.selected,
        rewritten: sent.selected,
        sent: sent.frames.len() as u64,
        arrived: Some(Amount::exact(arrived)),
        foreign: watched.foreign + foreign,
        reordered: None,
        losses: Vec::new(),
        ..watched.clone()
    };
    let not_sent = sent.selected.saturating_sub(joined.sent);
    if not_sent > 0 {
        joined.losses.push(loss(Stage::Sent, Cause::NotSent, not_sent, None));
    }
    if !missing.is_empty() {
        let (count, numbers) = (missing.len() as u64, ranges(missing).to_string());
        joined.losses.push(loss(Stage::Arrived, Cause::LostInNetwork, count, Some(numbers)));
    }
    let mut left = Some(arrived);
    for (stage, amount) in [
        (Stage::Accepted, &mut joined.accepted),
        (Stage::Delivered, &mut joined.delivered),
        (Stage::Consumed, &mut joined.consumed),
    ] {
        for of_all in watched.losses.iter().filter(|loss| loss.stage == stage) {
            let of_own = numbered(of_all, &number).or_else(|| {
                // Its frames are all among those that were sent, whichever they are.
                (foreign == 0).then(|| Loss { numbers: None, ..of_all.clone() })
            });
            left = left
                .zip(of_own.as_ref().and_then(|own| own.frames.known()))
                .map(|(left, own)| left.saturating_sub(own));
            joined.losses.extend(of_own.filter(|own| own.frames.high() > 0));
        }
        if foreign > 0 {
            *amount = amount.as_ref().and(left).map(Amount::exact);
        }
    }
    joined
}

fn ranges(frames: impl IntoIterator<Item = u64>) -> FrameRanges {
    let mut ranges = FrameRanges::default();
    frames.into_iter().for_each(|frame| ranges.add(frame));
    ranges
}

/// A loss of frames that were sent, where it is known which frames it is about.
fn numbered(of_all: &Loss, number: &[Option<u64>]) -> Option<Loss> {
    let numbers = of_all.numbers.as_ref().filter(|numbers| !numbers.ends_with('…') && !of_all.numbers_assumed)?;
    let set: FrameSet = numbers.parse().ok()?;
    let frames = ranges((1..).zip(number).filter(|(own, _)| set.contains(*own)).filter_map(|(_, frame)| *frame));
    Some(Loss { frames: Amount::exact(frames.count()), numbers: Some(frames.to_string()), ..of_all.clone() })
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
        let seen = [3, 4, 6].map(digest);
        let (stages, losses, foreign) = shown(&join(&sent(&[3, 4, 5, 6]), &seen, &watched(3, &[(2, Some("2-3"))])));
        assert_eq!((stages, foreign), (vec![Some(3), Some(1), Some(1)], 0));
        let of = |stage, frames, numbers: &str| (stage, frames, Some(numbers.to_owned()));
        // Of ten that were selected four were sent.
        assert_eq!(losses, [(Stage::Sent, 6, None), of(Stage::Arrived, 1, "5"), of(Stage::Accepted, 2, "4,6")]);
    }

    #[test]
    fn what_others_sent_is_foreign_and_no_loss() {
        // The second and the last are none that were sent.
        let seen = [3, 77, 4, 78].map(digest);
        let all = sent(&[3, 4]);
        let (stages, losses, foreign) = shown(&join(&all, &seen, &watched(4, &[(3, Some("1-2,4"))])));
        assert_eq!((stages, foreign), (vec![Some(2), Some(1), Some(1)], 2));
        assert_eq!(losses[1..], [(Stage::Accepted, 1, Some("3".to_owned()))]);
        // Whose they are is not known.
        let (stages, losses, foreign) = shown(&join(&all, &seen, &watched(4, &[(3, None)])));
        assert_eq!((stages, losses.len(), foreign), (vec![Some(2), None, None], 1, 2));
        let (stages, losses, _) = shown(&join(&all, &seen[..1], &watched(1, &[(1, None)])));
        assert_eq!((stages, losses.len()), (vec![Some(1), Some(0), Some(0)], 3));
    }

    #[test]
    fn identical_frames_arrive_as_often_as_they_were_sent() {
        let seen = [3, 3, 3].map(digest);
        let (stages, _, foreign) = shown(&join(&sent(&[3, 3]), &seen, &watched(3, &[])));
        assert_eq!((stages, foreign), (vec![Some(2), Some(2), Some(2)], 1));
    }
}
