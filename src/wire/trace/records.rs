//! Reads a BPF ring buffer (Documentation/bpf/ringbuf.rst), to which the kernel's CPUs write while it is read.
//!
//! A page of ours with how far we have read, a page of the kernel's with how far it has written, and the ring itself,
//! mapped twice in a row, so that a record that begins at its end goes on behind it. Start at [`Records::read`].
#![expect(unsafe_code, reason = "records lie in mapped memory that the kernel has written")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::wire::mapping::{Access, Mapping};

/// `struct bpf_ringbuf_hdr`: length u32, of which the two highest bits are flags, then a u32 of the kernel's.
const HEADER_BYTES: usize = 8;
/// `BPF_RINGBUF_BUSY_BIT`: it is still being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: it was given up.
const DISCARDED: u32 = 1 << 30;

/// The reader's side of a ring.
#[derive(Debug)]
pub(super) struct Records {
    descriptor: OwnedFd,
    bytes: usize,
    /// How far we have read.
    ours: Mapping,
    /// How far the kernel has written, then the ring twice.
    theirs: Mapping,
    page: usize,
}

/// A record that leads out of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRecord;

impl Records {
    /// Maps a ring of `bytes`, a power of two and whole pages of `page` bytes.
    pub(super) fn of(descriptor: OwnedFd, bytes: usize, page: usize) -> io::Result<Self> {
        let ours = Mapping::of(descriptor.as_fd(), page, 0)?;
        let offset = libc::off_t::try_from(page).map_err(io::Error::other)?;
        let theirs = Mapping::with(descriptor.as_fd(), page + 2 * bytes, offset, Access::Read)?;
        Ok(Self { descriptor, bytes, ours, theirs, page })
    }

    /// The size of the ring.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives each record that was there when this was called to `each`; returns how many there were.
    pub(super) fn read(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<usize, NoRecord> {
        // The kernel's memory is read-only to us, where only relaxed loads are sure to be loads; the fence makes this one acquire.
        let written = self.written().load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        // Written by us alone.
        let mut read = self.ours.long(0).load(Ordering::Relaxed);
        let mut count = 0;
        while read < written {
            let at = self.page + usize::try_from(read).map_err(|_| NoRecord)? % self.bytes;
            let length = self.theirs.word(at).load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let bytes = usize::try_from(length & !(BUSY | DISCARDED)).map_err(|_| NoRecord)?;
            if bytes > self.bytes - HEADER_BYTES {
                return Err(NoRecord);
            }
            if length & DISCARDED == 0 {
                let start = self.theirs.at(at + HEADER_BYTES, bytes);
                // SAFETY: `at` checked that the record is inside the mapping, which outlives the slice: that ends with the call. The
                // kernel has finished the record (not busy, read with acquire), and writes there again only after the store below.
                each(unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) });
                count += 1;
            }
            read += (HEADER_BYTES + bytes).next_multiple_of(8) as u64;
            self.ours.long(0).store(read, Ordering::Release);
        }
        Ok(count)
    }

    fn written(&self) -> &AtomicU64 {
        self.theirs.long(0)
    }
}

impl AsFd for Records {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
