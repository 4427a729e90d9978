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
    records: Vec<(Identity, SocketRecord)>,
    /// The drops that a socket had before the run.
    drops_before: HashMap<Identity, u32>,
    looked: Instant,
}

impl SocketWatch {
    /// Begins with the sockets that are there now. `pids`: the processes of the application, as this process sees them.
    pub(super) fn start(receiver: &Side, pids: &[u32]) -> Result<Self> {
        let table = receiver.sockets()?;
        let mut watch = Self { table, records: Vec::new(), drops_before: HashMap::new(), looked: Instant::now() };
        for socket in watch.table.list(Transport::Udp)? {
            watch.drops_before.insert(identity(&socket), socket.drops);
            let mut record = watch.record(&socket);
            record.from_start = true;
            record.encapsulates = pids.iter().any(|pid| encapsulates(*pid, socket.inode));
            watch.records.push((identity(&socket), record));
        }
        Ok(watch)
    }

    /// Looks again, if the last look is some time ago.
    pub(super) fn look_sometimes(&mut self) -> Result<()> {
        if self.looked.elapsed() < INTERVAL { Ok(()) } else { self.look().map(|_| ()) }
    }

    /// Looks again: every socket that was seen so far.
    pub(super) fn look(&mut self) -> Result<Vec<SocketRecord>> {
        self.looked = Instant::now();
        let sockets = self.table.list(Transport::Udp)?;
        for (_, record) in &mut self.records {
            record.until_end = false;
        }
        for socket in &sockets {
            let identity = identity(socket);
            let now = self.record(socket);
            match self.records.iter_mut().find(|(known, _)| *known == identity) {
                Some((_, record)) => {
                    let (from_start, encapsulates) = (record.from_start, record.encapsulates);
                    *record = SocketRecord { from_start, encapsulates, ..now };
                }
                None => self.records.push((identity, now)),
            }
        }
        Ok(self.records.iter().map(|(_, record)| record.clone()).collect())
    }

    fn record(&self, socket: &Socket) -> SocketRecord {
        let before = self.drops_before.get(&identity(socket)).copied().unwrap_or(0);
        let socket = Socket { drops: socket.drops.wrapping_sub(before), ..socket.clone() };
        SocketRecord { socket, from_start: false, until_end: true, encapsulates: false }
    }
}

fn identity(socket: &Socket) -> Identity {
    (socket.inode, socket.address, socket.port, socket.device.clone())
}
