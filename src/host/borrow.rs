//! A socket of another process, for a moment: pidfd_open(2), pidfd_getfd(2), getsockopt(2). Start at [`socket_of`].
#![expect(unsafe_code, reason = "pidfd_getfd(2) and UDP_ENCAP have no wrapper in nix")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `UDP_ENCAP` of `linux/udp.h`.
const UDP_ENCAP: libc::c_int = 100;

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
