//! Until when everything that was sent is known where it arrives: announcements take another way than frames, and may come later.
//! Start at [`Horizon`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far announcements are there. A frame that was seen before is one of those that were announced, or none that was sent.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct Horizon(Option<Arc<Way>>);

/// The way that announcements take, in nanoseconds since it was opened.
#[derive(Debug)]
struct Way {
    opened: Instant,
    asked: AtomicU64,
    reached: AtomicU64,
}

impl Horizon {
    /// Announcements that come over a connection: its other end says what is written before it answers a question.
    pub(in crate::run) fn of_connection() -> Self {
        let (asked, reached) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Some(Arc::new(Way { opened: Instant::now(), asked, reached })))
    }

    /// Whether each frame is announced before it can be seen.
    pub(in crate::run) fn is_everywhere(&self) -> bool {
        self.0.is_none()
    }

    /// How far announcements are there now. To be asked before they are taken in, since more may come meanwhile.
    pub(in crate::run) fn reach(&self) -> Reach {
        Reach(self.0.as_ref().map(|way| (way.opened, way.reached.load(Ordering::Acquire))))
    }

    /// A question is written now.
    pub(in crate::run) fn ask(&self) {
        if let Some(way) = &self.0 {
            way.asked.store(nanoseconds(way.opened.elapsed()), Ordering::Release);
        }
    }

    /// The answer to the last question was read, and everything that was written before it.
    pub(in crate::run) fn answered(&self) {
        if let Some(way) = &self.0 {
            way.reached.fetch_max(way.asked.load(Ordering::Acquire), Ordering::AcqRel);
        }
    }

    /// Whether the last question was answered.
    pub(in crate::run) fn is_answered(&self) -> bool {
        self.0.as_ref().is_none_or(|way| way.reached.load(Ordering::Acquire) >= way.asked.load(Ordering::Acquire))
    }

    /// Everything that was seen before this time is announced.
    pub(in crate::run) fn extend_to(&self, time: Instant) {
        if let Some(way) = &self.0 {
            way.reached.fetch_max(nanoseconds(time.saturating_duration_since(way.opened)), Ordering::AcqRel);
        }
    }

    /// Nothing more is announced.
    pub(in crate::run) fn end(&self) {
        if let Some(way) = &self.0 {
            way.reached.store(u64::MAX, Ordering::Release);
        }
    }

    pub(in crate::run) fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(|way| way.reached.load(Ordering::Acquire) == u64::MAX)
    }
}

/// How far announcements were there at a moment; `None`: each is there before its frame.
#[derive(Debug, Clone, Copy)]
pub(in crate::run) struct Reach(Option<(Instant, u64)>);

impl Reach {
    /// Whether the announcement of a frame that was seen at this time is there, if it has one.
    pub(in crate::run) fn covers(self, seen: Instant) -> bool {
        self.0.is_none_or(|(opened, reached)| nanoseconds(seen.saturating_duration_since(opened)) <= reached)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_waits_for_an_answer_to_a_question_that_is_younger() {
        let horizon = Horizon::of_connection();
        horizon.ask();
        std::thread::sleep(Duration::from_millis(1));
        let seen = Instant::now();
        horizon.answered();
        assert!(!horizon.reach().covers(seen));
        std::thread::sleep(Duration::from_millis(1));
        horizon.ask();
        assert!(!horizon.reach().covers(seen) && !horizon.is_answered());
        horizon.answered();
        assert!(horizon.reach().covers(seen) && horizon.is_answered());
        let later = Instant::now();
        assert!(!horizon.reach().covers(later));
        horizon.end();
        assert!(horizon.reach().covers(later) && horizon.has_ended());
        assert!(Horizon::default().reach().covers(later));
    }
}
