//! The wire: frames out and in, pacing, and what the kernel counted meanwhile.
//!
//! Every `open` acts in the network namespace of the calling thread, and what it returns stays there: any thread may use
//! it afterwards, and it outlives the thread that opened it. May use `packet`, `scenario` and `outcome` (their types) and `diagnostic`,
//! and the kernel: nix, libc, netlink.
//!
//! Start at [`sender`] for the way out and [`ring`] for the way in; [`built_in`] is what reads where a scenario names no
//! application. [`counters`], [`taps`] and [`trace`] are evidence; [`clock`] and [`poll`] wait.
//!
//! `unsafe` stands only where a kernel interface has no safe wrapper: `packet_socket` (packet(7), sendmmsg(2)), `mapping` (mmap(2)), `ring`
//! (blocks of the mapped ring), `sender/xdp` (AF_XDP), `built_in` (recvmmsg(2), multicast options), `trace/syscall` (bpf(2)) and
//! `trace/records` (records of the mapped BPF ring).

pub mod built_in;
pub mod clock;
pub mod closing;
pub mod counters;
mod mapping;
mod packet_socket;
pub mod poll;
pub mod ring;
pub mod sender;
pub mod taps;
pub mod trace;
pub mod watched_ring;

#[cfg(test)]
#[path = "../../tests/unit/wire/mod.rs"]
mod kernel_tests;
