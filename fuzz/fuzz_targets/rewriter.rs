//! Any bytes as a frame; the first six are its link type and its length on the wire.

#![no_main]
#![allow(dead_code, reason = "each target runs one body")]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [low, high, a, b, c, d, frame @ ..] = bytes else { return };
    let (link, original_length) = (u16::from_le_bytes([*low, *high]), u32::from_le_bytes([*a, *b, *c, *d]));
    bodies::rewriter(link, original_length, frame);
    bodies::pass(link, original_length, frame);
});
