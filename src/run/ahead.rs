//! The frames of a replay in the order in which they are sent. Those that have deadlines are read, rewritten and identified by a thread of their own,
//! ahead of the sender: neither a slow disk, nor frames that are not selected, delay a frame that is due. At top speed that is done where a processor
//! is left for it: the sender's does nothing but send then.
//!
//! The thread that reads fills one chunk while the other one is sent. Start at [`Frames::next`].

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Builder, Scope};
use std::time::Duration;

use super::shared::{Identifier, Identity};
use super::stack::lock;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::plan::{Plan, Stream};
use crate::scenario::Scenario;

/// The bytes of frames in a full chunk: 34 ms of 1 Gbit/s.
const CHUNK_BYTES: usize = 4 << 20;
/// The frames in a full chunk, which limits the memory for short frames.
const CHUNK_FRAMES: usize = 1 << 16;
/// At top speed a chunk is so many times smaller: one processor reads from the other's cache what it has just written.
const FAST_SHARE: usize = 8;
/// So many common frames are read at once: those of a batch.
const SWEEP: u64 = 64;
/// The first frame that has a deadline is there when a chunk is full, when all is read, or after this time: to read a capture of which little is
/// selected may take minutes.
const HEAD_START: Duration = Duration::from_secs(1);
/// At top speed a full chunk is waited for so long: to be woken for a few frames at a time costs more than it gains.
const FAST_WAIT: Duration = Duration::from_millis(1);
/// The longest wait without a look at whether the run is over.
const SLICE: Duration = Duration::from_millis(50);

/// A frame as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready<'a> {
    pub(super) number: u64,
    /// Its time in the capture, in nanoseconds since 1970.
    pub(super) time_ns: u64,
    pub(super) bytes: &'a [u8],
    pub(super) identity: Identity,
}

/// When frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// At their times.
    Timed,
    /// At once; they need no times.
    TopSpeed,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Frame(Ready<'a>),
    /// The end of the capture; its next repetition follows.
    End,
    /// No frame is read yet: those before it can be sent meanwhile. Asked again, it waits, 50 ms at most; at top speed it has waited for 1 ms.
    NotYet,
}

/// The frames of a replay, and its repetitions.
pub(super) enum Frames<'a> {
    /// Read by the thread that sends.
    Direct {
        scenario: &'a Scenario,
        plan: &'a Plan,
        identifier: Identifier,
        stream: Option<Box<Stream<'a>>>,
        swept: Taken,
        is_at_end: bool,
    },
    Ahead(Ahead<'a>),
}

impl<'a> Frames<'a> {
    /// Reads a few frames when one is asked for. They have no times.
    pub(super) fn direct(scenario: &'a Scenario, plan: &'a Plan, identifier: Identifier) -> Self {
        Self::Direct { scenario, plan, identifier, stream: None, swept: Taken::default(), is_at_end: false }
    }

    /// Reads ahead, as often as `rounds` says.
    ///
    /// # Errors
    /// When a thread can't be made.
    pub(super) fn ahead<'scope>(
        scope: &'scope Scope<'scope, '_>,
        queue: &'scope Queue,
        scenario: &'scope Scenario,
        plan: &'scope Plan,
        identifier: Identifier,
        rounds: u64,
    ) -> Result<Self>
    where
        'scope: 'a,
    {
        let filling = Filling(queue);
        let read = move || {
            if let Err(failure) = read(scenario, plan, &identifier, rounds, &filling) {
                filling.add(|chunk| chunk.failure = Some(failure));
            }
        };
        Builder::new()
            .spawn_scoped(scope, read)
            .map_err(|error| Failure::system("can't start the thread that reads the capture", &error))?;
        let head_start = if queue.haste == Haste::TopSpeed { Duration::ZERO } else { HEAD_START };
        Ok(Self::Ahead(Ahead::of(queue, head_start)))
    }

    /// The next frame.
    ///
    /// # Errors
    /// What is wrong with the capture, behind the frames before it.
    pub(super) fn next(&mut self) -> Result<Next<'_>> {
        match self {
            Self::Ahead(ahead) => ahead.next(),
            Self::Direct { scenario, plan, identifier, stream, swept, is_at_end } => {
                if mem::take(is_at_end)
                    && let Some(stream) = stream
                {
                    stream.begin_again()?;
                }
                let stream = match stream {
                    Some(stream) => stream,
                    closed => closed.insert(Box::new(open(scenario, plan)?)),
                };
                if swept.is_empty() {
                    swept.clear();
                    sweep(stream, identifier, &mut swept.chunk)?;
                }
                if let Some(next) = swept.next() {
                    return Ok(next);
                }
                let Some(frame) = stream.next_outgoing(&|| true)? else {
                    *is_at_end = true;
                    return Ok(Next::End);
                };
                let identity = identifier.of(frame.bytes);
                Ok(Next::Frame(Ready { number: frame.number, time_ns: 0, bytes: frame.bytes, identity }))
            }
        }
    }
}

fn open<'a>(scenario: &'a Scenario, plan: &'a Plan) -> Result<Stream<'a>> {
    Stream::open(scenario, &plan.rewriter, &plan.medium)
}

/// Reads the next frames if they are common ones, without their times.
fn sweep(stream: &mut Stream<'_>, identifier: &Identifier, chunk: &mut Chunk) -> Result<()> {
    stream.sweep(SWEEP, |number, bytes| {
        chunk.add(Ready { number, time_ns: 0, bytes, identity: identifier.of(bytes) });
    })
}

/// Reads until no more is wanted.
fn read(scenario: &Scenario, plan: &Plan, identifier: &Identifier, rounds: u64, filling: &Filling<'_>) -> Result<()> {
    let mut stream = open(scenario, plan)?;
    for round in 0..rounds {
        if round > 0 {
            stream.begin_again()?;
        }
        loop {
            if filling.0.haste == Haste::TopSpeed {
                let mut swept = Ok(());
                if filling.add(|chunk| swept = sweep(&mut stream, identifier, chunk)) == Wanted::No {
                    return Ok(());
                }
                swept?;
            }
            let Some(frame) = stream.next_outgoing(&|| !filling.0.is_closed())? else { break };
            let identity = identifier.of(frame.bytes);
            let frame = Ready { number: frame.number, time_ns: frame.time_ns, bytes: frame.bytes, identity };
            if filling.add(|chunk| chunk.add(frame)) == Wanted::No {
                return Ok(());
            }
        }
        if filling.add(|chunk| chunk.entries.push(Entry::End)) == Wanted::No {
            return Ok(());
        }
    }
    Ok(())
}

/// What is read and not sent yet.
pub(super) struct Queue {
    haste: Haste,
    state: Mutex<State>,
    changed: Condvar,
    /// Nothing more is wanted. It is set while the state is locked, so that who waits for a change of that sees it.
    is_closed: AtomicBool,
}

impl Queue {
    pub(super) fn new(haste: Haste) -> Self {
        Self { haste, state: Mutex::default(), changed: Condvar::new(), is_closed: AtomicBool::new(false) }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn is_full(&self, chunk: &Chunk) -> bool {
        let share = if self.haste == Haste::TopSpeed { FAST_SHARE } else { 1 };
        chunk.bytes.len() >= CHUNK_BYTES / share || chunk.entries.len() >= CHUNK_FRAMES / share
    }

    /// Whether what the sender waits for is there.
    fn is_met(&self, state: &State) -> bool {
        match state.awaited {
            Awaited::Nothing => false,
            Awaited::AFrame => state.is_read || !state.chunk.is_empty(),
            Awaited::AFullChunk => state.is_read || self.is_full(&state.chunk),
        }
    }
}

#[derive(Default)]
struct State {
    chunk: Chunk,
    /// What the sender waits for.
    awaited: Awaited,
    /// The thread that reads waits until the chunk is taken.
    is_blocked: bool,
    /// Nothing more is read.
    is_read: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Awaited {
    #[default]
    Nothing,
    AFrame,
    AFullChunk,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Why there are no more.
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    /// A frame, and where its bytes end.
    Frame {
        number: u64,
        time_ns: u64,
        identity: Identity,
        end: usize,
    },
    End,
}

impl Chunk {
    fn add(&mut self, frame: Ready<'_>) {
        let Ready { number, time_ns, bytes, identity } = frame;
        self.bytes.extend_from_slice(bytes);
        self.entries.push(Entry::Frame { number, time_ns, identity, end: self.bytes.len() });
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.failure.is_none()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

/// The end at which frames are added.
struct Filling<'a>(&'a Queue);

/// Whether more is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

impl Filling<'_> {
    /// Adds to the chunk, when there is room in it.
    fn add(&self, add: impl FnOnce(&mut Chunk)) -> Wanted {
        let Queue { state, changed, .. } = self.0;
        let mut state = lock(state);
        while self.0.is_full(&state.chunk) && !self.0.is_closed() {
            state.is_blocked = true;
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_blocked = false;
        add(&mut state.chunk);
        if self.0.is_met(&state) {
            changed.notify_one();
        }
        if self.0.is_closed() { Wanted::No } else { Wanted::Yes }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_read = true;
        self.0.changed.notify_one();
    }
}

/// A chunk of which some was given.
#[derive(Default)]
pub(super) struct Taken {
    chunk: Chunk,
    /// How much of it was given.
    entries: usize,
    bytes: usize,
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.entries == self.chunk.entries.len()
    }

    fn clear(&mut self) {
        self.chunk.clear();
        (self.entries, self.bytes) = (0, 0);
    }

    fn next(&mut self) -> Option<Next<'_>> {
        let entry = *self.chunk.entries.get(self.entries)?;
        self.entries += 1;
        let Entry::Frame { number, time_ns, identity, end } = entry else { return Some(Next::End) };
        let bytes = self.chunk.bytes.get(self.bytes..end).unwrap_or_default();
        self.bytes = end;
        Some(Next::Frame(Ready { number, time_ns, bytes, identity }))
    }
}

/// The end at which frames are taken.
pub(super) struct Ahead<'a> {
    queue: &'a Queue,
    taken: Taken,
    /// How long the first chunk is waited for; zero when it was, and at top speed.
    head_start: Duration,
    /// Asked again, it waits.
    waits: bool,
}

impl<'a> Ahead<'a> {
    fn of(queue: &'a Queue, head_start: Duration) -> Self {
        Self { queue, taken: Taken::default(), head_start, waits: false }
    }

    fn next(&mut self) -> Result<Next<'_>> {
        if self.taken.is_empty() && self.taken.chunk.failure.is_none() {
            self.take();
        }
        self.waits = self.taken.is_empty();
        if self.waits {
            return self.taken.chunk.failure.take().map_or(Ok(Next::NotYet), Err);
        }
        Ok(self.taken.next().unwrap_or(Next::NotYet))
    }

    /// Takes what was read, in exchange for the chunk that was sent.
    fn take(&mut self) {
        self.taken.clear();
        let (awaited, at_most) = match (mem::take(&mut self.head_start), self.waits) {
            (Duration::ZERO, false) if self.queue.haste == Haste::TopSpeed => (Awaited::AFullChunk, FAST_WAIT),
            (Duration::ZERO, true) => (Awaited::AFrame, SLICE),
            (Duration::ZERO, false) => (Awaited::AFrame, Duration::ZERO),
            (head_start, _) => (Awaited::AFullChunk, head_start),
        };
        let mut state = lock(&self.queue.state);
        state.awaited = awaited;
        if !self.queue.is_met(&state) && !at_most.is_zero() {
            let waited = self.queue.changed.wait_timeout_while(state, at_most, |state| !self.queue.is_met(state));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.awaited = Awaited::Nothing;
        mem::swap(&mut state.chunk, &mut self.taken.chunk);
        if self.taken.chunk.is_empty() && state.is_read {
            // Only a panic of the thread that reads ends it before what is asked for.
            self.taken.chunk.failure = Some(Failure::error(Diagnostic::error("reading the capture has ended early")));
        }
        if state.is_blocked {
            self.queue.changed.notify_one();
        }
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        let state = lock(&self.queue.state);
        self.queue.is_closed.store(true, Ordering::Release);
        drop(state);
        self.queue.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::{Ahead, CHUNK_BYTES, Entry, Filling, Haste, Identity, Next, Queue, Ready, Wanted};
    use crate::diagnostic::{Diagnostic, Failure};

    fn frame(number: u64, bytes: &[u8]) -> Ready<'_> {
        Ready { number, time_ns: number * 1_000, bytes, identity: Identity::default() }
    }

    /// The numbers of the next frames, as many as are asked for; waits for them.
    fn given(ahead: &mut Ahead<'_>, frames: usize) -> Vec<u64> {
        let mut given = Vec::new();
        while given.len() < frames {
            if let Next::Frame(frame) = ahead.next().expect("no failure") {
                given.push(frame.number);
            }
        }
        given
    }

    #[test]
    fn frames_before_a_read_that_blocks_are_given_meanwhile() {
        let queue = Queue::new(Haste::Timed);
        let (unblock, blocked) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let filling = Filling(&queue);
            scope.spawn(move || {
                for number in [1, 2] {
                    filling.add(|chunk| chunk.add(frame(number, &[0; 60])));
                }
                blocked.recv().expect("the test lets it go on");
                filling.add(|chunk| chunk.add(frame(9, b"last")));
                filling.add(|chunk| chunk.entries.push(Entry::End));
            });
            let mut ahead = Ahead::of(&queue, Duration::ZERO);
            assert_eq!(given(&mut ahead, 2), [1, 2]);
            assert_eq!(ahead.next().expect("no failure"), Next::NotYet);
            unblock.send(()).expect("it waits");
            assert_eq!(given(&mut ahead, 1), [9]);
            while ahead.next().expect("no failure") != Next::End {}
        });
    }

    #[test]
    fn reading_ahead_is_bounded_and_keeps_the_order() {
        let queue = Queue::new(Haste::Timed);
        let bytes = vec![7; CHUNK_BYTES / 8];
        thread::scope(|scope| {
            let filling = Filling(&queue);
            let reader = scope.spawn(|| {
                let filling = filling;
                (1..1_000).find(|number| filling.add(|chunk| chunk.add(frame(*number, &bytes))) == Wanted::No)
            });
            let mut ahead = Ahead::of(&queue, Duration::ZERO);
            assert_eq!(given(&mut ahead, 20), (1..=20).collect::<Vec<_>>());
            drop(ahead);
            let read = reader.join().expect("no panic").expect("it ends when no more is wanted");
            // At most 7 were taken beside the 20, 8 are a full chunk, and the one after the end is added, too.
            assert!((20..=36).contains(&read), "{read}");
        });
    }

    #[test]
    fn at_top_speed_what_is_read_is_given_without_a_full_chunk() {
        let queue = Queue::new(Haste::TopSpeed);
        let filling = Filling(&queue);
        filling.add(|chunk| chunk.add(frame(1, &[0; 60])));
        let mut ahead = Ahead::of(&queue, Duration::ZERO);
        assert_eq!(given(&mut ahead, 1), [1]);
        assert_eq!(ahead.next().expect("no failure"), Next::NotYet);
        filling.add(|chunk| chunk.add(frame(2, &[0; 60])));
        drop(filling);
        assert_eq!(given(&mut ahead, 1), [2]);
    }

    #[test]
    fn a_failure_comes_behind_the_frames_that_were_read() {
        let queue = Queue::new(Haste::Timed);
        let filling = Filling(&queue);
        filling.add(|chunk| chunk.add(frame(1, &[0; 60])));
        filling.add(|chunk| chunk.failure = Some(Failure::invalid(Diagnostic::error("damaged"))));
        drop(filling);
        let mut ahead = Ahead::of(&queue, Duration::ZERO);
        assert_eq!(ahead.next().expect("frame 1"), Next::Frame(frame(1, &[0; 60])));
        let failure = ahead.next().expect_err("the failure");
        assert_eq!(failure.problems.first().map(|problem| problem.what.as_str()), Some("damaged"));
    }
}
