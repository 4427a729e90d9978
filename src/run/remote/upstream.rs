//! What a machine that sends says to the run. Start at [`Upstream`].

use std::sync::OnceLock;

use super::messages::{Answer, Arm};
use super::outgoing::Outgoing;
use super::outstanding::Outstanding;
use crate::ledger::identity::Digest;
use crate::ledger::matching::Announced;

/// The way to the run, of an agent that sends. Lines are written by a thread, so that sending does not wait for a network.
#[derive(Default)]
pub(in crate::run) struct Upstream {
    pub(super) to: Outgoing,
    armed: OnceLock<Armed>,
    pub(in crate::run) outstanding: Outstanding,
}

struct Armed {
    /// What the frames of the share are in the capture.
    numbers: Vec<u64>,
    follows: bool,
    most_outstanding: u64,
}

impl Upstream {
    pub(super) fn say(&self, answer: &Answer) {
        let Ok(mut line) = serde_json::to_vec(answer) else { return };
        line.push(b'\n');
        // Whether someone reads it is noticed by the watch.
        let _ = self.to.push(&line);
    }

    /// Sending begins. `numbers`: what the frames of the share are in the capture.
    pub(super) fn arm(&self, arm: &Arm, numbers: Vec<u64>) {
        let Arm { follows, most_outstanding, .. } = *arm;
        // It is armed once.
        let _ = self.armed.set(Armed { numbers, follows, most_outstanding });
    }

    /// The number in the capture of a frame of the share.
    pub(super) fn number(&self, frame: u64) -> u64 {
        let index = usize::try_from(frame).unwrap_or(usize::MAX).wrapping_sub(1);
        self.armed.get().and_then(|armed| armed.numbers.get(index)).copied().unwrap_or(frame)
    }

    /// The run asks whether everything is said that was announced; so many announcements the receiver has taken in.
    pub(super) fn asked(&self, taken_in: u64) {
        self.outstanding.take_in(taken_in);
        self.say(&Answer::Pong);
    }

    pub(in crate::run) fn follows(&self) -> bool {
        self.armed.get().is_some_and(|armed| armed.follows)
    }

    pub(in crate::run) fn announce(&self, frames: &[Announced], heads: &[Digest]) {
        self.outstanding.announce(frames);
        let numbered = frames.iter().map(|announced| Announced { frame: self.number(announced.frame), ..*announced });
        self.say(&Answer::Announce(numbered.collect(), heads.to_vec()));
    }

    pub(in crate::run) fn withdraw(&self, position: u64) {
        self.say(&Answer::Withdraw(vec![position]));
    }

    /// Whether more may be announced.
    pub(in crate::run) fn has_room(&self) -> bool {
        self.armed.get().is_none_or(|armed| self.outstanding.has_room(armed.most_outstanding))
    }
}
