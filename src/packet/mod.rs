//! Bytes on the wire: link types, layer offsets, checksums, MAC addresses, the one-line listing of a frame.
//!
//! Pure functions of bytes; nothing here allocates on the path of a frame but the listing. Start at
//! [`layers::Layers`], which finds every header once.

pub mod layers;
mod mac;

pub use mac::MacAddr;
