//! Copies of packets as the kernel sends them to NFLOG groups (`linux/netfilter/nfnetlink_log.h`).
//!
//! Each hook has a group and a socket of its own: an ordinary user's sockets hold little, and so there are six of them, and what one
//! hook loses no other does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{Counts, NETLINK_NETFILTER, RECORD_BYTES, after_header, netfilter_header};
use crate::host::netlink::{Attributes, Channel, push_attribute};
use crate::outcome::Hook;

const NFNL_SUBSYS_ULOG: u16 = 4;
const NFULNL_MSG_PACKET: u16 = NFNL_SUBSYS_ULOG << 8;
const NFULNL_MSG_CONFIG: u16 = NFNL_SUBSYS_ULOG << 8 | 1;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_SEQ: u16 = 12;
const NFULA_CFG_CMD: u16 = 1;
const NFULNL_CFG_CMD_BIND: u8 = 1;
/// `struct nfulnl_msg_config_mode`: bytes u32, mode u8, pad u8.
const NFULA_CFG_MODE: u16 = 2;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULA_CFG_NLBUFSIZ: u16 = 3;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULA_CFG_QTHRESH: u16 = 5;
const NFULA_CFG_FLAGS: u16 = 6;
const NFULNL_CFG_F_SEQ: u16 = 1;

/// The first group that is tried; one that another socket has is passed over. Programs that log by hand use small numbers.
const FIRST_GROUP: u16 = 0xf000;
/// How many groups are tried.
const GROUPS: u16 = 256;
/// Records that the kernel gathers before it sends them.
const GATHERED: u32 = 64;
/// Bytes that it gathers at most. With the kernel's own overhead that fills 16 KiB, and a socket is charged for what it fills: twice as
/// much would hold 64 records, and half of it stay empty.
const BUFFER_BYTES: u32 = 15 << 10;
/// The same for few frames: no record waits for others, and each takes no more of its socket's room than it needs.
const FEW_GATHERED: u32 = 1;
const FEW_BUFFER_BYTES: u32 = 512;
/// How many frames are few: their records fit into an ordinary user's socket.
const FEW_FRAMES: u64 = 64;
/// Hundredths of a second after which it sends them anyway.
const FLUSH: u32 = 1;
/// What a socket asks for; an ordinary user gets `net.core.rmem_max`, usually 208 KiB.
const RECEIVE_BYTES: usize = 8 << 20;
/// Datagrams that are read of one group before the next one's turn.
const TURN: usize = 64;

/// The groups, or none.
#[derive(Debug)]
pub(super) struct Log {
    epoll: Epoll,
    groups: Vec<Group>,
}

/// One hook's group, and what was read of it.
#[derive(Debug)]
struct Group {
    hook: Hook,
    number: u16,
    channel: Channel,
    next_sequence: u32,
    received: u64,
    missed: u64,
    /// The socket was full, and no record has said yet how many were lost.
    overrun: bool,
}

impl Log {
    /// Receives nothing.
    pub(super) fn none() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, groups: Vec::new() })
    }

    /// A group for each hook, for so many frames; `None`: an unknown number.
    pub(super) fn bind_all(&mut self, frames: Option<u64>) -> io::Result<()> {
        let few = frames.is_some_and(|frames| frames <= FEW_FRAMES);
        let gathered = if few { (FEW_GATHERED, FEW_BUFFER_BYTES) } else { (GATHERED, BUFFER_BYTES) };
        let mut numbers = FIRST_GROUP..FIRST_GROUP + GROUPS;
        for hook in Hook::ALL {
            let mut channel = Channel::open(NETLINK_NETFILTER)?;
            channel.set_receive_buffer(RECEIVE_BYTES)?;
            let number = first_free(&mut channel, &mut numbers, gathered)?;
            self.epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, number.into()))?;
            let group = Group { hook, number, channel, next_sequence: 0, received: 0, missed: 0, overrun: false };
            self.groups.push(group);
        }
        Ok(())
    }

    /// Their numbers, in the order of [`Hook::ALL`].
    pub(super) fn groups(&self) -> Vec<u16> {
        self.groups.iter().map(|group| group.number).collect()
    }

    pub(super) fn read(&mut self, see: &mut dyn FnMut(Hook, &[u8])) -> io::Result<usize> {
        let mut count = 0;
        for group in &mut self.groups {
            for _ in 0..TURN {
                match group.read(see)? {
                    Some(records) => count += records,
                    None => break,
                }
            }
        }
        Ok(count)
    }

    pub(super) fn received(&self) -> Counts {
        let mut counts = Counts::default();
        for group in &self.groups {
            counts.add(super::Tally::Hook(group.hook), group.received);
        }
        counts
    }

    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.groups.iter().map(|group| group.missed + u64::from(group.overrun)).sum()
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Group {
    /// One datagram: how many records it held, or `None` when there is none.
    fn read(&mut self, see: &mut dyn FnMut(Hook, &[u8])) -> io::Result<Option<usize>> {
        let before = self.received;
        let arrived = self.channel.arrived(&mut |kind, message| {
            if kind != NFULNL_MSG_PACKET {
                return;
            }
            let record = read_record(message);
            if let Some(sequence) = record.sequence {
                let missed = sequence.wrapping_sub(self.next_sequence);
                self.next_sequence = sequence.wrapping_add(1);
                self.missed += u64::from(missed);
                self.overrun &= missed == 0;
            }
            self.received += 1;
            see(self.hook, record.bytes);
        });
        match arrived {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(usize::try_from(self.received - before).expect("a datagram holds a few"))),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.overrun = true;
                Ok(Some(0))
            }
            Err(error) => Err(error),
        }
    }
}

/// Binds the socket to the first of the groups that is free.
fn first_free(channel: &mut Channel, numbers: &mut dyn Iterator<Item = u16>, gathered: (u32, u32)) -> io::Result<u16> {
    let mut refused = None;
    for number in numbers {
        match channel.acknowledged(NFULNL_MSG_CONFIG, 0, &configuration(number, gathered)) {
            Ok(()) => return Ok(number),
            // Another socket's group says so too (nfulnl_recv_config).
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EBUSY)) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::other("no group is free")))
}

/// `gathered`: records, and bytes.
fn configuration(group: u16, gathered: (u32, u32)) -> Vec<u8> {
    let mut body = netfilter_header(0, group);
    let [a, b, c, d] = u32::from(RECORD_BYTES).to_be_bytes();
    push_attribute(&mut body, NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
    push_attribute(&mut body, NFULA_CFG_MODE, &[a, b, c, d, NFULNL_COPY_PACKET, 0]);
    push_attribute(&mut body, NFULA_CFG_NLBUFSIZ, &gathered.1.to_be_bytes());
    push_attribute(&mut body, NFULA_CFG_TIMEOUT, &FLUSH.to_be_bytes());
    push_attribute(&mut body, NFULA_CFG_QTHRESH, &gathered.0.to_be_bytes());
    push_attribute(&mut body, NFULA_CFG_FLAGS, &NFULNL_CFG_F_SEQ.to_be_bytes());
    body
}

struct Record<'a> {
    /// Counts the group's records, from 0.
    sequence: Option<u32>,
    /// Empty where the packet is.
    bytes: &'a [u8],
}

fn read_record(message: &[u8]) -> Record<'_> {
    let mut record = Record { sequence: None, bytes: &[] };
    for (kind, content) in Attributes(after_header(message)) {
        match kind {
            NFULA_PAYLOAD => record.bytes = content,
            NFULA_SEQ => record.sequence = content.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
            _ => {}
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_record(&message).bytes.len() <= message.len());
        }
    }

    #[test]
    fn a_record_has_its_number_and_its_bytes() {
        let mut message = netfilter_header(2, 7);
        push_attribute(&mut message, 1, &[8, 0, 1, 0]);
        push_attribute(&mut message, NFULA_PAYLOAD, b"packet");
        push_attribute(&mut message, NFULA_SEQ, &77u32.to_be_bytes());
        let record = read_record(&message);
        assert_eq!((record.sequence, record.bytes), (Some(77), &b"packet"[..]));
    }
}
