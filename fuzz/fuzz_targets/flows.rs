//! Any bytes as the datagrams of an exporter; each begins with its length in two bytes, big-endian, and the last may be shorter.

#![no_main]

use restage::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut datagrams = Vec::new();
    let mut rest = bytes;
    while let [high, low, after @ ..] = rest {
        let (datagram, next) = after.split_at(after.len().min(u16::from_be_bytes([*high, *low]).into()));
        datagrams.push(datagram);
        rest = next;
    }
    fuzzing::flows(&datagrams);
});
