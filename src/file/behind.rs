//! Writing a long file on a second thread, while the bytes after it are being made. The file is the same, byte for byte.
//!
//! The first bytes are written where they are made, so that a short file starts no thread. Start at [`WriteBehind`].

use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle, available_parallelism};

/// How many bytes are written at once.
const CHUNK_BYTES: usize = 128 << 10;
/// How many chunks there are, with the one that is being filled and the one that is being written.
const CHUNKS: usize = 4;
/// What comes after so many bytes is written by a thread.
const LONG_BYTES: usize = 12 << 20;

/// The first error of writing.
pub(crate) type WriteError = Arc<OnceLock<io::Error>>;

/// A buffered writer. It is flushed once, at the end; dropped before, it leaves out what was not passed on yet.
pub(crate) struct WriteBehind<W: Write + Send + 'static> {
    /// What is to be written next.
    chunk: Vec<u8>,
    /// How many more bytes are written without a thread.
    until_long: usize,
    place: Place<W>,
    error: WriteError,
}

enum Place<W> {
    Here(W),
    Thread(Thread<W>),
    /// Writing has failed, or is done.
    Nowhere,
}

struct Thread<W> {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    /// Gives the writer back when there are no more chunks.
    end: JoinHandle<io::Result<W>>,
}

impl<W: Write + Send + 'static> WriteBehind<W> {
    /// Writes to `out`. What goes wrong is in the error at the latest when this is dropped; who writes sees it later than it happens.
    pub(crate) fn new(out: W) -> (Self, WriteError) {
        // One processor can't do two things at once.
        let is_alone = available_parallelism().is_ok_and(|processors| processors.get() == 1);
        Self::with_thread_after(if is_alone { usize::MAX } else { LONG_BYTES }, out)
    }

    /// The same, with a thread for what comes after so many bytes.
    fn with_thread_after(until_long: usize, out: W) -> (Self, WriteError) {
        let error = WriteError::default();
        let chunk = Vec::with_capacity(CHUNK_BYTES);
        (Self { chunk, until_long, place: Place::Here(out), error: Arc::clone(&error) }, error)
    }

    /// Writes `bytes`, where there is no thread.
    fn write_here(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Place::Here(out) = &mut self.place else { return Err(self.fail(io::ErrorKind::BrokenPipe.into())) };
        out.write_all(bytes).map_err(|error| self.fail(error))?;
        if self.until_long > bytes.len() {
            self.until_long -= bytes.len();
            return Ok(());
        }
        self.until_long = usize::MAX;
        self.place = match mem::replace(&mut self.place, Place::Nowhere) {
            Place::Here(out) => Thread::start(out).unwrap_or_else(Place::Here),
            place => place,
        };
        Ok(())
    }

    /// Writes what was gathered, or lets it be written.
    fn pass_on(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Thread(thread) if thread.take(&mut self.chunk) => Ok(()),
            Place::Thread(_) => self.end().map(drop),
            Place::Here(_) | Place::Nowhere => {
                let chunk = mem::take(&mut self.chunk);
                let written = self.write_here(&chunk);
                self.chunk = chunk;
                self.chunk.clear();
                written
            }
        }
    }

    /// Waits until everything that was passed on is written, and gives the writer back.
    fn end(&mut self) -> io::Result<W> {
        match mem::replace(&mut self.place, Place::Nowhere) {
            Place::Here(out) => Ok(out),
            Place::Thread(thread) => thread.end().map_err(|error| self.fail(error)),
            Place::Nowhere => Err(self.fail(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Keeps the first error, and gives one like it.
    fn fail(&mut self, error: io::Error) -> io::Error {
        self.place = Place::Nowhere;
        self.error.get_or_init(|| error).kind().into()
    }
}

impl<W: Write + Send + 'static> Write for WriteBehind<W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.chunk.len();
        if bytes.len() < room {
            self.chunk.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.chunk.is_empty() && matches!(self.place, Place::Here(_)) {
            self.write_here(bytes)?;
            return Ok(bytes.len());
        }
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(taken);
        self.pass_on()?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.end()?.flush().map_err(|error| self.fail(error))
    }
}

impl<W: Write + Send + 'static> Drop for WriteBehind<W> {
    fn drop(&mut self) {
        if let Place::Thread(_) = self.place {
            // Nothing is written any more when it is gone. What went wrong is kept.
            let _ = self.end();
        }
    }
}

impl<W: Write + Send + 'static> Thread<W> {
    /// Starts the thread, or gives `out` back where that is not possible.
    fn start(out: W) -> Result<Place<W>, W> {
        let (full, filled) = sync_channel::<Vec<u8>>(CHUNKS);
        let (emptied, empty) = sync_channel(CHUNKS);
        let (hand_over, handed_over) = channel::<W>();
        let thread = Builder::new().name("writer".into()).spawn(move || {
            let mut out = handed_over.recv().map_err(io::Error::other)?;
            for _ in 1..CHUNKS {
                // There is room for all of them.
                let _ = emptied.try_send(Vec::with_capacity(CHUNK_BYTES));
            }
            for mut chunk in filled {
                out.write_all(&chunk)?;
                chunk.clear();
                // At the end nobody takes it.
                let _ = emptied.try_send(chunk);
            }
            Ok(out)
        });
        let Ok(thread) = thread else { return Err(out) };
        hand_over.send(out).map_err(|unsent| unsent.0)?;
        Ok(Place::Thread(Self { full, empty, end: thread }))
    }

    /// Takes `chunk`, and leaves an empty one; false where the thread has failed.
    fn take(&self, chunk: &mut Vec<u8>) -> bool {
        self.empty.recv().is_ok_and(|empty| self.full.send(mem::replace(chunk, empty)).is_ok())
    }

    /// Waits until everything is written.
    fn end(self) -> io::Result<W> {
        drop(self.full);
        self.end.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes has panicked")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// What was written, by whichever thread; nothing beyond a limit.
    #[derive(Clone)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        limit: usize,
    }

    impl Disk {
        fn new(limit: usize) -> Self {
            Self { bytes: Arc::default(), limit }
        }

        fn bytes(&self) -> Vec<u8> {
            self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut there = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            let room = self.limit - there.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = &bytes[..bytes.len().min(room)];
            there.extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Pieces of many lengths, short and long ones, of so many bytes together at least.
    fn pieces(length: usize) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let (mut made, mut number) = (0, 1_usize);
        while made < length {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = if number >> 60 == 0 { 3 * CHUNK_BYTES / 2 } else { number >> 50 };
            pieces.push(vec![number.to_le_bytes()[4]; size]);
            made += size;
        }
        pieces
    }

    #[test]
    fn a_file_of_any_length_is_what_was_given() {
        for length in [0, 1, CHUNK_BYTES, LONG_BYTES - 1, 3 * LONG_BYTES] {
            let disk = Disk::new(usize::MAX);
            let (mut behind, error) = WriteBehind::with_thread_after(LONG_BYTES, disk.clone());
            let pieces = pieces(length);
            for piece in &pieces {
                behind.write_all(piece).expect("there is room");
            }
            behind.flush().expect("there is room");
            assert!(error.get().is_none() && disk.bytes() == pieces.concat(), "of {length} bytes");
        }
    }

    #[test]
    fn an_error_is_kept_whoever_meets_it() {
        for limit in [0, CHUNK_BYTES, LONG_BYTES + 1, 2 * LONG_BYTES] {
            let (mut behind, error) = WriteBehind::with_thread_after(LONG_BYTES, Disk::new(limit));
            let written = pieces(3 * LONG_BYTES).iter().try_for_each(|piece| behind.write_all(piece));
            let done = written.and_then(|()| behind.flush());
            assert_eq!(done.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull), "with room for {limit}");
            assert_eq!(error.get().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        }
        // Given up before it was flushed, as where the input turns out to be damaged.
        let disk = Disk::new(LONG_BYTES + 1);
        let (mut behind, error) = WriteBehind::with_thread_after(LONG_BYTES, disk.clone());
        let _ = pieces(LONG_BYTES + 2 * CHUNK_BYTES).iter().try_for_each(|piece| behind.write_all(piece));
        drop(behind);
        assert_eq!(error.get().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert_eq!(Arc::strong_count(&disk.bytes), 1, "nothing writes any more");
    }
}
