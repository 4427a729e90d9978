//! Watches how much the programs of the receiver write into `{work}`, and kills them when that is too much. Start at [`WorkWatch`].

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::diagnostic::{Failure, Result};
use crate::process::application::Killer;

/// How often it is looked at least, and how many times the duration of a look lies between two of them.
const LOOK: Duration = Duration::from_millis(200);
const PAUSES: u32 = 20;
/// The kernel counts in blocks of this many bytes (stat(2)).
const BLOCK: u64 = 512;
const STACK: usize = 256 << 10;

/// A thread that watches; it ends when this is dropped.
pub(super) struct WorkWatch {
    _release: mpsc::Sender<()>,
    shared: Arc<Shared>,
}

/// What the thread has in common with those that it watches for.
#[derive(Default)]
struct Shared {
    /// Whether there is too much.
    exceeded: AtomicBool,
    killers: Mutex<Vec<Killer>>,
}

impl Shared {
    fn kill(&self) {
        self.killers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Killer::kill);
    }
}

impl WorkWatch {
    pub(super) fn start(work: PathBuf, most: u64) -> Result<Self> {
        let (release, released) = mpsc::channel::<()>();
        let shared = Arc::<Shared>::default();
        let found = Arc::clone(&shared);
        thread::Builder::new()
            .name("work".into())
            .stack_size(STACK)
            .spawn(move || {
                let mut pause = LOOK;
                while released.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let begun = Instant::now();
                    if bytes_below(&work) > most {
                        found.exceeded.store(true, Ordering::Release);
                        return found.kill();
                    }
                    pause = LOOK.max(begun.elapsed() * PAUSES);
                }
            })
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(Self { _release: release, shared })
    }

    /// Watches for another program.
    pub(super) fn add(&self, killer: Killer) {
        self.shared.killers.lock().unwrap_or_else(PoisonError::into_inner).push(killer);
        // The thread may have ended before.
        if self.has_exceeded() {
            self.shared.kill();
        }
    }

    /// Whether the programs were killed.
    pub(super) fn has_exceeded(&self) -> bool {
        self.shared.exceeded.load(Ordering::Acquire)
    }
}

/// What a folder and everything in it take on the disk. What can't be read counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * BLOCK;
            if found.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}
