//! The `restage` program.
fn main() {}
