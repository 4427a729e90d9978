//! Any bytes as a frame; the first six are its link type and its length on the wire.

#![no_main]

use restage::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [low, high, a, b, c, d, frame @ ..] = bytes else { return };
    let (link, original_length) = (u16::from_le_bytes([*low, *high]), u32::from_le_bytes([*a, *b, *c, *d]));
    fuzzing::rewriter(link, original_length, frame);
    fuzzing::pass(link, original_length, frame);
    fuzzing::payloads(link, original_length, frame);
});
