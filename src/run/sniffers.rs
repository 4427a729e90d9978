//! The packet sockets of the application: how many of the frames each is offered, and took. Start at [`Sniffers::start`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::stack::lock;
use crate::capture::{Offered, SocketFilter};
use crate::diagnostic::Result;
use crate::evidence::{FilterKind, PacketSocketRecord, Sniffing};
use crate::host::packet_sockets::{
    Instruction, PacketSocket, PacketSocketTable, borrow, has_extended_filter, takes_outgoing,
};
use crate::host::sockets::has_socket;
use crate::packet::layers::{Layers, LinkType, protocol};
use crate::testbed::Side;
use crate::wire::watched_ring::WatchedRing;

/// The version of the only ring whose frames can be counted from outside.
const TPACKET_V3: u32 = 2;

/// How long the packet sockets must stay as they are until they count as set up: a sniffer makes one, and then sets its ring and its filter.
const SET_UP: Duration = Duration::from_millis(100);

/// Waits for a packet socket on the receiver's interface.
pub(super) struct Arising {
    table: PacketSocketTable,
    interface: u32,
    /// The inodes of those that were there before.
    before: Vec<u32>,
    last: Vec<PacketSocket>,
    since: Instant,
}

impl Arising {
    /// Those that are there now are not waited for.
    pub(super) fn start(receiver: &Side) -> Result<Self> {
        let mut table = receiver.packet_sockets()?;
        let interface = receiver.facts(receiver.interface())?.map_or(0, |facts| facts.index);
        let before = table.list()?.iter().map(|socket| socket.inode).collect();
        Ok(Self { table, interface, before, last: Vec::new(), since: Instant::now() })
    }

    /// Whether one is there, and set up.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where the kernel can't list them.
    pub(super) fn is_there(&mut self) -> Result<bool> {
        let mut now = self.table.list()?;
        now.retain(|socket| is_on(socket, self.interface) && !self.before.contains(&socket.inode));
        // A frame that it drops by now is none of the capture.
        for socket in &mut now {
            (socket.drops, socket.unread_bytes) = (0, 0);
        }
        if now != self.last {
            (self.last, self.since) = (now, Instant::now());
        }
        Ok(!self.last.is_empty() && self.since.elapsed() >= SET_UP)
    }
}

/// The packet sockets that take frames of a side's interface.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] where the kernel can't list them.
pub(super) fn on_interface(side: &Side) -> Result<Vec<PacketSocket>> {
    let mut sockets = side.packet_sockets()?.list()?;
    let interface = side.facts(side.interface())?.map_or(0, |facts| facts.index);
    sockets.retain(|socket| is_on(socket, interface));
    Ok(sockets)
}

/// Those that were there when observing began, shared by the threads that see frames.
#[derive(Clone)]
pub(super) struct Sniffers {
    watched: Arc<Mutex<Watched>>,
    /// Whether there are any: else a frame costs nothing.
    any: bool,
    mac: [u8; 6],
    interface: u32,
    /// Where others have packet sockets, too, the processes of the application.
    among_others: Option<Vec<u32>>,
}

/// The packet sockets that take a frame.
#[derive(Default)]
pub(super) struct Offer {
    /// Their inodes.
    taken_by: Vec<u32>,
    is_udp: bool,
}

struct Watched {
    table: PacketSocketTable,
    sniffers: Vec<Sniffer>,
    seen: Sniffing,
}

struct Sniffer {
    record: PacketSocketRecord,
    filter: Option<SocketFilter>,
    drops_before: u32,
    ring: Option<WatchedRing>,
    /// The processes that have it.
    owners: Vec<u32>,
    /// The number of the newest block of the ring when a frame of the capture was last seen; 0 where there was none.
    awaited: u64,
    /// Whether one was seen since the last look at the ring; without a ring, since the queue was empty.
    is_offered: bool,
}

impl Sniffers {
    /// Begins with the sockets on the receiver's interface that are there now: those of the application, whose processes are `pids`.
    pub(super) fn start(receiver: &Side, pids: &[u32]) -> Result<Self> {
        let mut table = receiver.packet_sockets()?;
        let facts = receiver.facts(receiver.interface())?;
        let (interface, mac) = facts.map_or((0, [0; 6]), |facts| (facts.index, facts.mac.map_or([0; 6], |mac| mac.0)));
        let among_others = receiver.is_shared().then(|| pids.to_vec());
        // A kernel that can't list them has none that could be told apart.
        let sockets = table.list().unwrap_or_default();
        let sniffers: Vec<Sniffer> = sockets
            .into_iter()
            .filter(|socket| is_on(socket, interface) && among_others.as_ref().is_none_or(|pids| is_of(pids, socket)))
            .map(|socket| Sniffer::new(socket, pids, receiver.is_shared()))
            .collect();
        let any = !sniffers.is_empty();
        let watched = Arc::new(Mutex::new(Watched { table, sniffers, seen: Sniffing::default() }));
        Ok(Self { watched, any, mac, interface, among_others })
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Whether they took datagrams of the capture, which the application may read there.
    pub(super) fn took_datagrams(&self) -> bool {
        self.any && lock(&self.watched).seen.udp > 0
    }

    /// Whether frames of the capture are in their rings and queues that they have not read: libpcap gets those of a block when it is full, or after a
    /// time that the program says.
    pub(super) fn are_behind(&self) -> bool {
        if !self.any {
            return false;
        }
        let Watched { table, sniffers, .. } = &mut *lock(&self.watched);
        // A queue that was empty since the last frame of the capture came has none of them, whatever others send.
        if sniffers.iter().any(|sniffer| sniffer.ring.is_none() && sniffer.is_offered) {
            let now = table.list().unwrap_or_default();
            for sniffer in sniffers.iter_mut().filter(|sniffer| sniffer.ring.is_none()) {
                let is_it = |socket: &&PacketSocket| socket.inode == sniffer.record.socket.inode;
                sniffer.is_offered &= now.iter().find(is_it).is_some_and(|socket| socket.unread_bytes > 0);
            }
        }
        sniffers.iter().any(Sniffer::is_behind)
    }

    /// A frame of the receiver's interface that is none of the capture, as far as is known yet; `outgoing`: the receiver sends it.
    pub(super) fn see(&self, frame: &[u8], outgoing: bool) -> Offer {
        let mut offer = Offer::default();
        if !self.any {
            return offer;
        }
        let offered = Offered::new(frame, self.mac, outgoing);
        for sniffer in &mut lock(&self.watched).sniffers {
            let record = &mut sniffer.record;
            let is_protocol = record.socket.protocol.is_none_or(|wanted| wanted == offered.protocol() && !outgoing);
            let cooked = record.socket.cooked;
            let is_ignored = outgoing && record.takes_outgoing == Some(false);
            if is_ignored
                || !is_protocol
                || sniffer.filter.as_ref().is_some_and(|filter| !filter.takes(&offered, cooked))
            {
                continue;
            }
            *if outgoing { &mut record.outgoing } else { &mut record.others } += 1;
            offer.taken_by.push(record.socket.inode);
        }
        if !offer.taken_by.is_empty() {
            let layers = Layers::find(LinkType::ETHERNET, frame);
            offer.is_udp = layers.network.ip().is_some_and(|ip| ip.protocol == protocol::UDP);
        }
        offer
    }

    /// The frame is of the capture.
    pub(super) fn is_sent(&self, offer: &Offer) {
        if offer.taken_by.is_empty() {
            return;
        }
        let Watched { sniffers, seen, .. } = &mut *lock(&self.watched);
        seen.captured += 1;
        seen.udp += u64::from(offer.is_udp);
        for sniffer in sniffers.iter_mut() {
            sniffer.is_offered |= offer.taken_by.contains(&sniffer.record.socket.inode);
        }
        // A program may have been stopped meanwhile.
        let records = sniffers.iter_mut().map(|sniffer| &mut sniffer.record).chain(&mut seen.sockets);
        for record in records.filter(|record| offer.taken_by.contains(&record.socket.inode)) {
            record.others = record.others.saturating_sub(1);
            record.taken += 1;
        }
    }

    /// Looks at the rings, before they are filled again.
    pub(super) fn look(&self) {
        if self.any {
            lock(&self.watched).sniffers.iter_mut().for_each(Sniffer::look);
        }
    }

    /// A program with these processes is stopped, to be started again, when no frame is under way: its sockets have what they have now.
    pub(super) fn end_of(&self, pids: &[u32]) {
        let mut watched = lock(&self.watched);
        let (ended, others) = std::mem::take(&mut watched.sniffers)
            .into_iter()
            .partition::<Vec<_>, _>(|sniffer| is_of(pids, &sniffer.record.socket));
        watched.sniffers = others;
        watched.end(ended);
    }

    /// A program was started again. `pids`: the processes that are there now; `own`: the inode of restage's own socket.
    pub(super) fn started_again(&self, pids: &[u32], own: u64) {
        if !self.any {
            return;
        }
        let mut watched = lock(&self.watched);
        let Watched { table, sniffers, seen } = &mut *watched;
        let known = sniffers.iter().map(|sniffer| &sniffer.record).chain(&seen.sockets);
        let known: Vec<u32> = known.map(|record| record.socket.inode).collect();
        let is_new = |socket: &PacketSocket| {
            is_on(socket, self.interface)
                && u64::from(socket.inode) != own
                && !known.contains(&socket.inode)
                && (self.among_others.is_none() || is_of(pids, socket))
        };
        let new = table.list().unwrap_or_default().into_iter().filter(is_new);
        sniffers.extend(new.map(|socket| Sniffer::new(socket, pids, self.among_others.is_some())));
    }

    /// What was seen, with the sockets as they are now; `own`: the inode of restage's own.
    pub(super) fn end(self, own: u64) -> Sniffing {
        let mut watched = lock(&self.watched);
        let sniffers = std::mem::take(&mut watched.sniffers);
        let now = watched.end(sniffers);
        let seen = &mut watched.seen;
        let known: Vec<u32> = seen.sockets.iter().map(|record| record.socket.inode).collect();
        let is_new = |socket: &&PacketSocket| {
            is_on(socket, self.interface)
                && u64::from(socket.inode) != own
                && !known.contains(&socket.inode)
                && self.among_others.as_ref().is_none_or(|pids| is_of(pids, socket))
        };
        seen.later = now.iter().filter(is_new).count() as u64;
        std::mem::take(seen)
    }
}

impl Watched {
    /// Ends watching these, and notes what they have; the sockets that are there now.
    fn end(&mut self, sniffers: Vec<Sniffer>) -> Vec<PacketSocket> {
        // A socket that the application has closed is there as long as its ring is watched.
        let ended: Vec<_> = sniffers.into_iter().map(Sniffer::end).collect();
        let now = self.table.list().unwrap_or_default();
        for (mut record, drops_before) in ended {
            let last = now.iter().find(|socket| socket.inode == record.socket.inode);
            record.until_end = last.is_some();
            if let Some(last) = last {
                record.drops = last.drops.wrapping_sub(drops_before).into();
            }
            self.seen.sockets.push(record);
        }
        now
    }
}

/// `tcpdump (4711)`.
fn named(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} ({pid})", name.trim_end())
}

/// Whether one of these processes has it.
fn is_of(pids: &[u32], socket: &PacketSocket) -> bool {
    pids.iter().any(|pid| has_socket(*pid, socket.inode))
}

/// Whether it takes frames of an interface. One that its owner has given up may still be there, with a filter that takes none.
fn is_on(socket: &PacketSocket, interface: u32) -> bool {
    const NOTHING: [Instruction; 1] = [(0x06, 0, 0, 0)];
    (socket.interface == 0 || socket.interface == interface) && socket.filter.as_deref() != Some(&NOTHING)
}

impl Sniffer {
    fn new(socket: PacketSocket, pids: &[u32], is_among_others: bool) -> Self {
        let descriptor = borrow(pids, socket.inode);
        let filter = socket.filter.as_deref().map(SocketFilter::new);
        let is_extended = || descriptor.as_ref().is_none_or(has_extended_filter);
        let kind = match &filter {
            Some(Some(_)) => FilterKind::Known,
            Some(None) => FilterKind::Unknown,
            None if is_extended() => FilterKind::Unknown,
            None => FilterKind::None,
        };
        // Watched, a socket stays in its fanout group when the application closes it.
        let ring = socket.ring.filter(|ring| ring.version == TPACKET_V3 && !socket.fanout).and_then(|ring| {
            let (block_bytes, blocks) = (ring.block_bytes as usize, ring.blocks as usize);
            WatchedRing::open(descriptor.as_ref()?, block_bytes, blocks, ring.transmit_bytes).ok()
        });
        let drops_before = socket.drops;
        let takes_outgoing = descriptor.as_ref().map(takes_outgoing);
        let owners: Vec<u32> = pids.iter().copied().filter(|pid| has_socket(*pid, socket.inode)).collect();
        let record = PacketSocketRecord {
            filter: kind,
            takes_outgoing,
            is_among_others,
            program: owners.first().map(|pid| named(*pid)).unwrap_or_default(),
            ..PacketSocketRecord::of(socket)
        };
        Self { record, filter: filter.flatten(), drops_before, ring, owners, awaited: 0, is_offered: false }
    }

    /// Looks at the ring, before it is filled again.
    fn look(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        ring.look();
        if std::mem::take(&mut self.is_offered) {
            self.awaited = ring.newest();
        }
    }

    /// Whether frames of the capture are in its ring or its queue, and somebody is there to read them.
    fn is_behind(&self) -> bool {
        let is_unread = self.is_offered || self.ring.as_ref().is_some_and(|ring| !ring.is_read(self.awaited));
        is_unread && is_of(&self.owners, &self.record.socket)
    }

    /// What it has, and the drops of its socket before; its ring is not watched any more.
    fn end(mut self) -> (PacketSocketRecord, u32) {
        if let Some(ring) = &mut self.ring {
            ring.look();
            self.record.in_ring = ring.frames();
            self.record.had_room = ring.had_room();
        }
        (self.record, self.drops_before)
    }
}
