//! Brings the announcements of several machines that send to the receiver's side. Start at [`Relay`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::super::shared::Shared;
use super::super::stack::lock;
use super::client::Agent;
use super::connection::Connection;
use super::messages::Request;
use crate::ledger::identity::Digest;
use crate::ledger::matching::Announced;

/// Announcements of several machines, put into one order.
pub(super) struct Relay {
    receiver: Agent,
    shared: Shared,
    senders: Vec<Arc<Connection>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many were announced by all.
    announced: u64,
    /// Whose they are, in their order, from the first that the receiver has not taken in.
    batches: VecDeque<(usize, u64)>,
    /// How many the receiver has taken in, of all and of each.
    taken_in: u64,
    taken_in_of: Vec<u64>,
    /// Where the announcements of each are among all: the first of its own, the first of all, how many. From the first that the receiver has not
    /// taken in.
    spans: Vec<VecDeque<Span>>,
    /// Those that were asked and have not answered.
    asked: BTreeSet<usize>,
    /// Those that announce nothing more.
    done: BTreeSet<usize>,
}

struct Span {
    own: u64,
    all: u64,
    count: u64,
}

impl Relay {
    pub(super) fn new(receiver: Agent, shared: Shared, senders: Vec<Arc<Connection>>) -> Self {
        let count = senders.len();
        let state = State {
            taken_in_of: vec![0; count],
            spans: std::iter::repeat_with(VecDeque::new).take(count).collect(),
            ..State::default()
        };
        Self { receiver, shared, senders, state: Mutex::new(state) }
    }

    /// A machine is about to send these frames.
    pub(super) fn announce(&self, sender: usize, frames: &[Announced], heads: &[Digest]) {
        let mut state = lock(&self.state);
        let count = frames.len() as u64;
        let all = state.announced;
        state.announced += count;
        state.batches.push_back((sender, count));
        let Some(spans) = state.spans.get_mut(sender) else { return };
        let own = spans.back().map_or(0, |span| span.own + span.count);
        match spans.back_mut() {
            Some(last) if last.all + last.count == all => last.count += count,
            _ => spans.push_back(Span { own, all, count }),
        }
        // In this order, whoever announces.
        self.shared.announce(frames, heads);
    }

    /// A machine does not send what it announced.
    pub(super) fn withdraw(&self, sender: usize, positions: &[u64]) {
        let state = lock(&self.state);
        let Some(spans) = state.spans.get(sender) else { return };
        for position in positions {
            let index = spans.partition_point(|span| span.own + span.count <= *position);
            if let Some(span) = spans.get(index) {
                self.shared.withdraw(span.all + position - span.own);
            }
        }
    }

    /// The receiver asks whether everything is said that was announced until now, and has taken in so many.
    pub(super) fn asked(&self, taken_in: u64) {
        let mut state = lock(&self.state);
        state.take_in(taken_in);
        state.asked = (0..self.senders.len()).filter(|sender| !state.done.contains(sender)).collect();
        if state.asked.is_empty() {
            return self.receiver.pong();
        }
        let asked: Vec<_> = state.asked.iter().map(|sender| (*sender, state.taken_in_of[*sender])).collect();
        drop(state);
        for (sender, taken_in) in asked {
            self.senders[sender].tell(&Request::Ping { taken_in });
        }
    }

    /// A machine has said everything that it had announced before it was asked.
    pub(super) fn answered(&self, sender: usize) {
        let mut state = lock(&self.state);
        if state.asked.remove(&sender) && state.asked.is_empty() {
            self.receiver.pong();
        }
    }

    /// A machine announces nothing more.
    pub(super) fn ended(&self, sender: usize) {
        lock(&self.state).done.insert(sender);
        self.answered(sender);
    }
}

impl State {
    /// The receiver has taken in so many.
    fn take_in(&mut self, taken_in: u64) {
        while self.taken_in < taken_in {
            let Some((sender, count)) = self.batches.front_mut() else { return };
            let some = (*count).min(taken_in - self.taken_in);
            *count -= some;
            self.taken_in += some;
            if let (Some(own), Some(spans)) = (self.taken_in_of.get_mut(*sender), self.spans.get_mut(*sender)) {
                *own += some;
                // The last one says where the next one begins.
                while spans.len() > 1 && spans.front().is_some_and(|span| span.own + span.count <= *own) {
                    spans.pop_front();
                }
            }
            if *count == 0 {
                self.batches.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, State};

    #[test]
    fn what_is_taken_in_is_counted_for_each() {
        let span = |own, all, count| Span { own, all, count };
        let spans = vec![[span(0, 0, 3), span(3, 5, 4)].into(), [span(0, 3, 2)].into()];
        let mut state =
            State { batches: [(0, 3), (1, 2), (0, 4)].into(), taken_in_of: vec![0; 2], spans, ..State::default() };
        let mut of = |taken| {
            state.take_in(taken);
            let first = state.spans[0].front().map(|span| span.own);
            assert_eq!(first, Some(if taken < 3 { 0 } else { 3 }), "{taken}");
            (state.taken_in_of.clone(), state.batches.len())
        };
        assert_eq!(of(0), (vec![0, 0], 3));
        assert_eq!(of(2), (vec![2, 0], 3));
        assert_eq!(of(4), (vec![3, 1], 2));
        assert_eq!(of(4), (vec![3, 1], 2));
        assert_eq!(of(9), (vec![7, 2], 0));
        // More than was announced is not counted.
        assert_eq!(of(12), (vec![7, 2], 0));
    }
}
