//! The receiver's UDP sockets during a run, one by one: those that were there from the start, those that came and went, what each has in
//! its queue and dropped. Start at [`SocketWatch`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::diagnostic::Result;
use crate::evidence::SocketRecord;
use crate::host::sockets::{Socket, SocketTable, encapsulates};
use crate::scenario::require::Transport;
use crate::testbed::Side;

/// Sockets are looked at no more often than this while frames are sent.
const INTERVAL: Duration = Duration::from_millis(10);

/// What identifies a socket: its inode; for the kernel's own, which have none, what it is bound to.
type Identity = (u32, std::net::IpAddr, u16, Option<String>);

pub(super) struct SocketWatch {
    table: SocketTable,
    known: Vec<Known>,
    /// The drops that a socket had before the run.
    drops_before: HashMap<Identity, u32>,
    /// The bytes that a socket had in its queue before the run.
    unread_before: HashMap<Identity, u32>,
    looked: Instant,
    /// How often a program was started again.
    life: u32,
    /// How many were known before a program was stopped, to be started again.
    before: usize,
}

struct Known {
    identity: Identity,
    record: SocketRecord,
    /// Whether nothing was in its queue before a program was stopped, to be started again.
    has_read: bool,
    /// Whether it is gone since then. What was in the queue of another one is lost, and that one counts as closed.
    finished: bool,
}

impl SocketWatch {
    /// Begins with the sockets that are there now. `pids`: the processes of the application, as this process sees them.
    pub(super) fn start(receiver: &Side, pids: &[u32]) -> Result<Self> {
        let table = receiver.sockets()?;
        let looked = Instant::now();
        let mut watch = Self {
            table,
            known: Vec::new(),
            drops_before: HashMap::new(),
            unread_before: HashMap::new(),
            looked,
            life: 0,
            before: 0,
        };
        watch.begin()?;
        watch.look()?;
        watch.adopt(pids, 0);
        Ok(watch)
    }

    /// What the sockets have dropped and hold by now is none of the run's.
    pub(super) fn begin(&mut self) -> Result<()> {
        for socket in self.table.list(Transport::Udp)? {
            self.drops_before.insert(identity(&socket), socket.drops);
            self.unread_before.insert(identity(&socket), socket.unread_bytes);
        }
        Ok(())
    }

    /// The sockets from this one on were there before a frame was sent that they could get.
    fn adopt(&mut self, pids: &[u32], from: usize) {
        for Known { record, .. } in self.known.iter_mut().skip(from) {
            record.from_start = true;
            record.encapsulates = pids.iter().any(|pid| encapsulates(*pid, record.socket.inode));
        }
    }

    /// A program is stopped next, to be started again; until then no frame is sent.
    pub(super) fn before_stop(&mut self) -> Result<()> {
        self.look()?;
        for known in &mut self.known {
            known.has_read = known.record.until_end && known.record.socket.unread_bytes == 0;
        }
        self.before = self.known.len();
        Ok(())
    }

    /// It was started again. `pids`: the processes that are there now.
    pub(super) fn started_again(&mut self, pids: &[u32]) -> Result<()> {
        self.life += 1;
        self.look()?;
        for known in self.known.iter_mut().filter(|known| known.has_read && !known.record.until_end) {
            (known.finished, known.record.until_end) = (true, true);
        }
        self.adopt(pids, self.before);
        Ok(())
    }

    /// Looks again, if the last look is some time ago.
    pub(super) fn look_sometimes(&mut self) -> Result<()> {
        if self.looked.elapsed() < INTERVAL { Ok(()) } else { self.look().map(|_| ()) }
    }

    /// Looks again: every socket that was seen so far.
    pub(super) fn look(&mut self) -> Result<Vec<SocketRecord>> {
        self.looked = Instant::now();
        let sockets = self.table.list(Transport::Udp)?;
        for known in self.known.iter_mut().filter(|known| !known.finished) {
            known.record.until_end = false;
        }
        for socket in &sockets {
            let identity = identity(socket);
            let now = self.record(socket);
            match self.known.iter_mut().find(|known| known.identity == identity) {
                Some(Known { record, .. }) => {
                    let SocketRecord { from_start, encapsulates, lives: (first, _), .. } = *record;
                    *record = SocketRecord { from_start, encapsulates, lives: (first, self.life), ..now };
                }
                None => self.known.push(Known { identity, record: now, has_read: false, finished: false }),
            }
        }
        Ok(self.known.iter().map(|known| known.record.clone()).collect())
    }

    fn record(&self, socket: &Socket) -> SocketRecord {
        let before = self.drops_before.get(&identity(socket)).copied().unwrap_or(0);
        let socket = Socket { drops: socket.drops.wrapping_sub(before), ..socket.clone() };
        let unread_before = self.unread_before.get(&identity(&socket)).copied().unwrap_or(0);
        SocketRecord {
            unread_before,
            unread_of_others: 0,
            socket,
            from_start: false,
            until_end: true,
            encapsulates: false,
            lives: (self.life, self.life),
        }
    }
}

fn identity(socket: &Socket) -> Identity {
    (socket.inode, socket.address, socket.port, socket.device.clone())
}
