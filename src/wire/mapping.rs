//! Memory that is shared with the kernel, unmapped when dropped (mmap(2)). Start at [`Mapping::of`].
#![expect(unsafe_code, reason = "mmap: no safe wrapper gives memory that the kernel writes to")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// What may be done with the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Loads; of what lies there atomically, only relaxed ones (see [`std::sync::atomic`], on read-only memory).
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// A mapping of its own.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// `length` bytes of a descriptor, from `offset` on, all of it in memory.
    pub(super) fn of(descriptor: BorrowedFd<'_>, length: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::with(descriptor, length, offset, Access::ReadWrite)
    }

    /// The same, where the kernel may grant only loads.
    pub(super) fn with(
        descriptor: BorrowedFd<'_>,
        length: usize,
        offset: libc::off_t,
        access: Access,
    ) -> io::Result<Self> {
        Self::new(length, libc::MAP_SHARED, descriptor.as_raw_fd(), offset, access)
    }

    /// `length` bytes of a descriptor, to be read only, which is all that `/sys/kernel/btf/vmlinux` grants.
    pub(super) fn private(descriptor: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::new(length, libc::MAP_PRIVATE, descriptor.as_raw_fd(), 0, Access::Read)
    }

    /// All of it.
    ///
    /// # Safety
    /// Nothing may write to the memory, and what is mapped must not become shorter, as long as the bytes are borrowed.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has this length and lives as long as self; the caller vouches for what lies in it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// `length` bytes that nothing else owns, all in memory.
    pub(super) fn anonymous(length: usize) -> io::Result<Self> {
        Self::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0, Access::ReadWrite)
    }

    fn new(length: usize, flags: c_int, descriptor: c_int, offset: libc::off_t, access: Access) -> io::Result<Self> {
        let access = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, access, flags | libc::MAP_POPULATE, descriptor, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, length })
    }

    /// The address of `length` bytes at `offset`, which must be inside.
    pub(super) fn at(&self, offset: usize, length: usize) -> NonNull<u8> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.length), "inside the mapping");
        // SAFETY: the assertion keeps the offset inside the one mapping that starts at `start`.
        unsafe { self.start.add(offset) }
    }

    /// The word at `offset`, a multiple of 4, which the kernel may write at any time.
    pub(super) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "words are aligned");
        let word = self.at(offset, size_of::<u32>());
        // SAFETY: `at` checked that 4 bytes are inside the mapping, which lives as long as self, and begins at a page: the address is a
        // multiple of 4. Both sides access the word atomically.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }
    }

    /// The same for 64 bits, at a multiple of 8.
    pub(super) fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "words are aligned");
        let long = self.at(offset, size_of::<u64>());
        // SAFETY: as for `word`, with 8 bytes.
        unsafe { AtomicU64::from_ptr(long.cast().as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping made in `new`, and nothing borrowed from it outlives self. It can fail
        // only for arguments that aren't a mapping.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

// SAFETY: nothing else owns the mapping, and moving it between threads moves no memory.
unsafe impl Send for Mapping {}

// SAFETY: through a shared reference there are only atomics and pointers, and whoever dereferences one of these says why no one else does.
unsafe impl Sync for Mapping {}
