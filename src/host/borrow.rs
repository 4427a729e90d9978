//! A socket of another process, for a moment: pidfd_open(2), pidfd_getfd(2), getsockopt(2). Start at [`socket_of`].
#![expect(unsafe_code, reason = "pidfd_getfd(2) and UDP_ENCAP have no wrapper in nix")]

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `UDP_ENCAP` of `linux/udp.h`.
const UDP_ENCAP: libc::c_int = 100;

/// The descriptor that a process has for a socket, named by its inode; `None` where the process can't be asked, which takes the right to
/// trace it.
pub(crate) fn descriptor_of(pid: u32, inode: u32) -> Option<i32> {
    let name = format!("socket:[{inode}]");
    let is_it =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == name.as_str());
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    entries.flatten().find(is_it).and_then(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The socket that a process has as this descriptor; `None` without the right to trace it. It must be closed soon: the process can't
/// close its socket as long as this one is open.
pub(crate) fn socket_of(pid: u32, descriptor: i32) -> Option<OwnedFd> {
    let open = |number: libc::c_long| {
        let number = i32::try_from(number).ok().filter(|number| *number >= 0)?;
        // SAFETY: the system call returned a new descriptor, which belongs to nothing else.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    };
    // SAFETY: the call takes two numbers and returns a descriptor or -1.
    let process = open(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call takes three numbers and returns a descriptor or -1.
    open(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })
}

pub(crate) fn encapsulates(socket: &OwnedFd) -> bool {
    let mut kind: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&kind)).unwrap_or(0);
    let place = std::ptr::from_mut(&mut kind).cast();
    // SAFETY: the kernel writes up to `length` bytes to `kind` and the number of them to `length`; both are there until the call returns.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_UDP, UDP_ENCAP, place, &raw mut length) };
    done == 0 && kind != 0
}

/// Whether a socket has a filter of extended BPF: the kernel refuses to show that (`sk_get_filter` of `net/core/filter.c`).
pub(crate) fn has_extended_filter(socket: &OwnedFd) -> bool {
    let mut length: libc::socklen_t = 0;
    // SAFETY: with a length of 0 the kernel writes no instruction, only how many there are to `length`, which is there until the call returns.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_GET_FILTER,
            std::ptr::null_mut(),
            &raw mut length,
        )
    };
    done != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EACCES)
}

/// `PACKET_IGNORE_OUTGOING` of `linux/if_packet.h`, since Linux 4.20.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// Whether a packet socket gets what its interface sends.
pub(crate) fn takes_outgoing(socket: &OwnedFd) -> bool {
    let mut ignores: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&ignores)).unwrap_or(0);
    let place = std::ptr::from_mut(&mut ignores).cast();
    // SAFETY: the kernel writes up to `length` bytes to `ignores` and the number of them to `length`; both are there until the call returns.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, place, &raw mut length)
    };
    done != 0 || ignores == 0
}
