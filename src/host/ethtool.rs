//! Device features, by the ethtool ioctl: switched in the lab (generic receive and TCP segmentation offload), and read anywhere. See
//! netdevice(7), `linux/ethtool.h`.
#![expect(unsafe_code, reason = "SIOCETHTOOL takes a pointer inside a pointer; no crate of ours wraps it")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

use crate::diagnostic::{Failure, Result};
use crate::scenario::require::Offload;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// `ETHTOOL_STSO`: TCP segmentation offload, of every kind.
    TcpSegmentation = 0x1f,
    /// `ETHTOOL_SGRO`: generic receive offload.
    GenericReceive = 0x2c,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    Off = 0,
    On = 1,
}

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct Value {
    command: u32,
    value: u32,
}

/// `ETHTOOL_GFLAGS`, and the flag `ETH_FLAG_LRO` in its answer.
const GET_FLAGS: u32 = 0x25;
const FLAG_LARGE_RECEIVE: u32 = 1 << 15;

/// Whether an offload of an interface in the calling thread's network namespace is on, as `ethtool -k` shows it. No privilege.
pub fn is_on(interface: &str, offload: Offload) -> Result<bool> {
    let (command, bits) = match offload {
        // ETHTOOL_GRXCSUM, _GTXCSUM, _GGRO, _GGSO, _GTSO
        Offload::RxChecksum => (0x14, u32::MAX),
        Offload::TxChecksum => (0x16, u32::MAX),
        Offload::GenericReceive => (0x2b, u32::MAX),
        Offload::GenericSegmentation => (0x23, u32::MAX),
        Offload::TcpSegmentation => (0x1e, u32::MAX),
        Offload::LargeReceive => (GET_FLAGS, FLAG_LARGE_RECEIVE),
    };
    let mut value = Value { command, value: 0 };
    match ask(interface, &mut value) {
        Ok(()) => Ok(value.value & bits != 0),
        Err(error) => Err(Failure::system(format!("can't ask `{interface}` for {}", offload.name()), &error)),
    }
}

pub(crate) fn switch(interface: &str, feature: Feature, to: Switch) -> io::Result<()> {
    ask(interface, &mut Value { command: feature as u32, value: to as u32 })
}

fn ask(interface: &str, value: &mut Value) -> io::Result<()> {
    // SAFETY: ifreq is a C struct of integers, byte arrays and a union of such; all zeroes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast();
    // SAFETY: socket(2) takes no pointers.
    let descriptor = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: SIOCETHTOOL reads an ifreq whose name ends with a zero byte (its length was checked above) and whose ifru_data
    // points to a struct ethtool_value, which it may write to; both live until the call returns.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
