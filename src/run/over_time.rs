//! What was sent, arrived and was lost when. Start at [`over_time`].

use crate::evidence::{Evidence, Series};
use crate::outcome::{Ledger, OverTime, Stage};

/// The frames of a run by time; `None` where none was sent. `once`: whether each frame of the capture was sent once at most, so that its number
/// says when.
pub(super) fn over_time(evidence: &Evidence, ledger: &Ledger, once: bool) -> Option<OverTime> {
    let sent = &evidence.sending.over_time;
    if sent.buckets().is_empty() {
        return None;
    }
    let (sent, arrived) = sent.clone().aligned(evidence.arrived_over_time.clone());
    let frames = |series: &Series| series.buckets().iter().map(|bucket| bucket.frames).collect();
    Some(OverTime {
        bucket_seconds: sent.bucket_seconds(),
        arrived: evidence.arrived_over_time.is_some().then(|| frames(&arrived)),
        lost: lost(ledger, &sent, once),
        sent: frames(&sent),
    })
}

/// How many of the frames that were sent in each bucket were lost then; `None` where it is not known which frames were, or when.
fn lost(ledger: &Ledger, sent: &Series, once: bool) -> Option<Vec<u64>> {
    let mut lost = vec![0; sent.buckets().len()];
    let losses = ledger.losses.iter().filter(|loss| loss.stage > Stage::Sent && loss.frames.high() > 0);
    // Whatever was sent was lost, however often.
    let all: u64 = losses.clone().map(|loss| loss.frames.low()).sum();
    let sent_frames = || sent.buckets().iter().map(|bucket| bucket.frames);
    if all > 0 && all == sent_frames().sum::<u64>() {
        return Some(sent_frames().collect());
    }
    for loss in losses {
        if !once {
            return None;
        }
        for (from, to) in ranges(loss.numbers.as_deref()?)? {
            let mut next = from;
            for (place, bucket) in sent.buckets().iter().enumerate() {
                if next <= bucket.last.min(to) {
                    lost[place] += bucket.last.min(to) - next + 1;
                    next = bucket.last + 1;
                }
            }
        }
    }
    Some(lost)
}

/// The ranges of a list of frame numbers; `None` where it is not complete.
fn ranges(numbers: &str) -> Option<Vec<(u64, u64)>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    numbers.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Sending;
    use crate::outcome::{Amount, Layer, Loss};

    /// Four buckets, of frames 1 to 10, none, 11 to 20, 21 to 30.
    fn evidence() -> Evidence {
        let mut over_time = Series::default();
        for (bucket, last) in [(5, 10), (7, 20), (8, 30)] {
            over_time.add(bucket << 14, 10, last);
        }
        Evidence { sending: Sending { sent: 30, over_time, ..Sending::default() }, ..Evidence::default() }
    }

    fn ledger(losses: &[(Stage, Option<&str>)]) -> Ledger {
        let losses = losses.iter().map(|(stage, numbers)| Loss {
            stage: *stage,
            cause: "NO_SOCKET".into(),
            frames: Amount::exact(1),
            evidence: Layer::Stage,
            numbers: numbers.map(str::to_owned),
            numbers_assumed: false,
            expected: false,
            why: String::new(),
            fix: String::new(),
        });
        Ledger { losses: losses.collect(), ..Ledger::default() }
    }

    #[test]
    fn a_lost_frame_is_counted_when_it_was_sent() {
        let losses =
            [(Stage::Delivered, Some("1,8-12,30")), (Stage::Consumed, Some("19-22")), (Stage::Sent, Some("5"))];
        let over_time = over_time(&evidence(), &ledger(&losses), true).expect("frames were sent");
        assert_eq!(over_time.sent, [10, 0, 10, 10]);
        assert_eq!(over_time.lost.as_deref(), Some([4, 0, 4, 3].as_slice()));
        assert_eq!(over_time.arrived, None);
    }

    #[test]
    fn where_it_is_not_known_which_frames_were_lost_nothing_is_said_of_it() {
        let lost =
            |numbers, once| over_time(&evidence(), &ledger(&[(Stage::Delivered, numbers)]), once).expect("sent").lost;
        assert_eq!(lost(None, true), None);
        assert_eq!(lost(Some("1-3,…"), true), None);
        assert_eq!(lost(Some("1-3"), false), None);
        assert_eq!(lost(Some("1-3"), true), Some(vec![3, 0, 0, 0]));
        let mut all = ledger(&[(Stage::Delivered, None)]);
        all.losses[0].frames = Amount::exact(30);
        let all = over_time(&evidence(), &all, false).expect("sent");
        assert_eq!(all.lost, Some(all.sent), "all were lost, whenever they were sent");
        let nothing = over_time(&evidence(), &Ledger::default(), false).expect("sent");
        assert_eq!(nothing.lost, Some(vec![0; 4]), "nothing was lost, whenever that was");
    }

    #[test]
    fn nothing_sent_has_no_times() {
        assert_eq!(over_time(&Evidence::default(), &Ledger::default(), true), None);
    }
}
