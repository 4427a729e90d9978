//! bpf(2), as far as it is needed: maps, programs, raw tracepoints.
#![expect(unsafe_code, reason = "bpf(2) has no wrapper in libc or nix")]

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU32;

use super::assembler::Instruction;

const BPF_MAP_CREATE: c_int = 0;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_TEST_RUN: c_int = 10;
const BPF_OBJ_GET_INFO_BY_FD: c_int = 15;
const BPF_RAW_TRACEPOINT_OPEN: c_int = 17;
const BPF_MAP_FREEZE: c_int = 22;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_F_RDONLY_PROG: u32 = 1 << 7;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
/// The verifier gives up with EAGAIN while a signal waits.
const TRIES: usize = 5;
const LOG_BYTES: u32 = 1 << 20;

/// The beginning of `union bpf_attr` for a map; the kernel takes the rest as zeros.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The same for a program.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for a raw tracepoint.
#[repr(C)]
struct RawTracepointOpen {
    name: u64,
    program: u32,
    padding: u32,
}

/// A ring for records (Documentation/bpf/ringbuf.rst) of `bytes`, a power of two and whole pages.
pub(super) fn ring(bytes: u32) -> io::Result<OwnedFd> {
    map(&MapCreate { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: bytes, map_flags: 0 })
}

/// An array of one value of `bytes`, which can be mapped.
pub(super) fn array(bytes: u32) -> io::Result<OwnedFd> {
    let map_type = BPF_MAP_TYPE_ARRAY;
    map(&MapCreate { map_type, key_size: 4, value_size: bytes, max_entries: 1, map_flags: BPF_F_MMAPABLE })
}

/// An array of one value of `bytes` for each CPU.
pub(super) fn per_cpu(bytes: u32) -> io::Result<OwnedFd> {
    let map_type = BPF_MAP_TYPE_PERCPU_ARRAY;
    map(&MapCreate { map_type, key_size: 4, value_size: bytes, max_entries: 1, map_flags: 0 })
}

/// A table from a u64 to a value of `bytes`, which forgets what was not used for long where it is full.
pub(super) fn table(bytes: u32, entries: u32) -> io::Result<OwnedFd> {
    let map_type = BPF_MAP_TYPE_LRU_HASH;
    map(&MapCreate { map_type, key_size: 8, value_size: bytes, max_entries: entries, map_flags: 0 })
}

/// The same for an entry of a map.
#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// An array of one value that nothing changes any more: a text, as helpers want it.
pub(super) fn text(text: [u8; 8]) -> io::Result<OwnedFd> {
    let (map_type, map_flags) = (BPF_MAP_TYPE_ARRAY, BPF_F_RDONLY_PROG);
    let array = map(&MapCreate { map_type, key_size: 4, value_size: 8, max_entries: 1, map_flags })?;
    let (descriptor, key) = (array.as_raw_fd().cast_unsigned(), 0_u32);
    let (key, value) = (std::ptr::from_ref(&key) as u64, text.as_ptr() as u64);
    let attributes = MapUpdate { map: descriptor, padding: 0, key, value, flags: 0 };
    // SAFETY: the kernel reads a key of 4 bytes and a value of 8, which are there until the call returns.
    unsafe { command(BPF_MAP_UPDATE_ELEM, &attributes) }?;
    // SAFETY: the descriptor is all that this command reads.
    unsafe { command(BPF_MAP_FREEZE, &descriptor) }?;
    Ok(array)
}

/// Runs a program for a raw tracepoint that looks at no arguments, once (Linux 5.10).
pub(super) fn run(program: BorrowedFd<'_>) -> io::Result<()> {
    // The descriptor, and what the program returns.
    let attributes = [program.as_raw_fd().cast_unsigned(), 0].map(AtomicU32::new);
    // SAFETY: the kernel reads the first number and writes the second one, which it may: they are atomic.
    unsafe { command(BPF_PROG_TEST_RUN, &attributes) }.map(drop)
}

fn map(attributes: &MapCreate) -> io::Result<OwnedFd> {
    // SAFETY: `MapCreate` has no pointers.
    unsafe { bpf(BPF_MAP_CREATE, attributes) }
}

/// Loads a program for a raw tracepoint.
pub(super) fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    load_with(program, &mut [])
}

/// Loads a program that [`load`] refused once more, and returns what the verifier says about it; empty where it has nothing to say.
pub(super) fn refusal(program: &[Instruction]) -> String {
    let mut log = vec![0; LOG_BYTES as usize];
    let _ = load_with(program, &mut log);
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    log.truncate(end);
    String::from_utf8_lossy(&log).into_owned()
}

fn load_with(program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let log_size = u32::try_from(log.len()).unwrap_or(0);
    let mut name = [0; 16];
    name.iter_mut().zip(b"restage_trace").for_each(|(to, from)| *to = *from);
    let attributes = ProgramLoad {
        program_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
        instruction_count: count,
        instructions: program.as_ptr() as u64,
        // The helpers are for programs that say so.
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: u32::from(log_size > 0),
        log_size,
        log: if log_size > 0 { log.as_mut_ptr() as u64 } else { 0 },
        kernel_version: 0,
        flags: 0,
        name,
    };
    let mut tries = 0;
    loop {
        tries += 1;
        // SAFETY: the kernel reads `instruction_count` instructions and a text that ends with 0, and writes up to `log_size` bytes to
        // the log; all of it is there until the call returns.
        match unsafe { bpf(BPF_PROG_LOAD, &attributes) } {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < TRIES => {}
            other => return other,
        }
    }
}

/// Attaches a program to a raw tracepoint; it stays until the descriptor is closed.
pub(super) fn attach(tracepoint: &CStr, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let name = tracepoint.as_ptr() as u64;
    let attributes = RawTracepointOpen { name, program: program.as_fd().as_raw_fd().cast_unsigned(), padding: 0 };
    // SAFETY: the kernel reads the name, which ends with 0 and is there until the call returns.
    unsafe { bpf(BPF_RAW_TRACEPOINT_OPEN, &attributes) }
}

/// The same for what is known of a descriptor.
#[repr(C)]
struct InfoByFd {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// Where `recursion_misses` stands in `struct bpf_prog_info`, in units of 8 bytes (Linux 5.12).
const RECURSION_MISSES: usize = 26;

/// How often a program was not run, since what it would have looked at happened while it ran on that CPU (`recursion_misses`); 0 where
/// the kernel doesn't say.
pub(super) fn missed(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0_u64; RECURSION_MISSES + 1];
    let length = u32::try_from(size_of_val(&info)).unwrap_or(0);
    let descriptor = program.as_raw_fd().cast_unsigned();
    let attributes = InfoByFd { descriptor, length, info: info.as_mut_ptr() as u64 };
    // SAFETY: the kernel writes up to `length` bytes to `info`, which is there until the call returns.
    unsafe { command(BPF_OBJ_GET_INFO_BY_FD, &attributes) }?;
    Ok(info[RECURSION_MISSES])
}

/// A command that returns a descriptor.
///
/// # Safety
/// `attributes` must be the beginning of what `union bpf_attr` holds for the command, and its pointers must lead to what the command
/// reads and writes.
unsafe fn bpf<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller vouches for.
    let descriptor = unsafe { self::command(command, attributes) }?;
    // SAFETY: the command returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A command, and the number that it returns.
///
/// # Safety
/// As [`bpf`].
unsafe fn command<T>(command: c_int, attributes: &T) -> io::Result<c_int> {
    // SAFETY: the kernel reads no more than the given size, and does with the pointers in it what the caller vouches for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    c_int::try_from(result).ok().filter(|number| *number >= 0).ok_or_else(io::Error::last_os_error)
}
