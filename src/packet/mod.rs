//! Bytes on the wire: link types, layer offsets, checksums, MAC addresses, the one-line listing of a frame.
//!
//! Pure functions of bytes; nothing here allocates on the path of a frame but the listing and the exchanges. Start at
//! [`layers::Layers`], which finds every header once. May use nothing else of the crate.

#![warn(clippy::indexing_slicing)]

pub(crate) mod bytes;
mod carrier;
pub mod checksum;
pub(crate) mod crc;
pub(crate) mod datagram_sum;
pub(crate) mod dns;
mod dot11;
pub mod exchange;
pub(crate) mod fragments;
pub(crate) mod ip;
pub mod layers;
mod link;
pub mod listing;
mod mac;
pub(crate) mod made;
pub(crate) mod pairs;
pub mod probe;
pub(crate) mod reassembly;
pub(crate) mod sctp;
pub(crate) mod tunnel;

pub use mac::MacAddr;
