//! What is in a capture: one pass over its frames, in bounded memory.
//!
//! Pure data: `report::inspection` shows it, its serde form is the JSON. May use `packet`, `flow`, `capture` and `diagnostic`.
//! Start at [`inspect`]; `pass` adds a frame, `tables` holds what is counted by key, `fragments` follows datagrams. [`inspect_flows`] looks into
//! flow exports too, and `flow_records` writes their records.

#![warn(clippy::indexing_slicing)]

mod calendar;
mod checksums;
mod flow_records;
mod fragments;
mod inspection;
mod names;
mod notes;
mod pass;
mod tables;

use crate::capture::{Frame, Reader};
use crate::diagnostic::Failure;
use crate::flow::Flows;
use crate::packet::layers::Layers;

pub use flow_records::{as_csv, as_json};
pub use inspection::{
    Capture, Checksum, Conversation, Damage, Endpoint, Finding, Fragments, Inspection, Link, MacEndpoint, Note, Port,
    Protocol, Side, Tally, TimeUnit, Times, Unlisted, Vlan,
};

/// Every frame is counted by several keys: the hasher of the standard library took half of the time. This one is seeded by chance as well, so
/// that no capture can be made that fills one slot.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// How many endpoints, how many MACs, and how many conversations are distinguished; [`Unlisted`] counts what comes beyond.
pub const MOST_ENTRIES: usize = 65_536;

/// Reads the capture to its end. Where it is damaged, the failure comes with what was read before it, which names it too.
pub fn inspect(reader: &mut Reader) -> (Inspection, Option<Failure>) {
    pass(reader, |_| {})
}

/// As [`inspect`], with what flow exports hold.
pub fn inspect_flows(reader: &mut Reader) -> (Inspection, Option<Failure>) {
    let mut flows = Flows::default();
    let (mut inspection, failure) =
        pass(reader, |frame| flows.add(frame.number, &Layers::find(frame.link, frame.bytes), frame.bytes, |_| {}));
    inspection.flows = Some(flows.finish());
    (inspection, failure)
}

fn pass(reader: &mut Reader, mut also: impl FnMut(&Frame<'_>)) -> (Inspection, Option<Failure>) {
    let mut pass = pass::Pass::default();
    let failure = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                pass.add(&frame);
                also(&frame);
            }
            Ok(None) => break None,
            Err(failure) => break Some(failure),
        }
        pass.add_unit(reader.time_unit());
    };
    let mut inspection = pass.finish(reader);
    inspection.damage = failure.as_ref().and_then(|failure| Damage::new(inspection.frames, failure));
    (inspection, failure)
}

#[cfg(test)]
#[path = "../../tests/unit/flow_captures.rs"]
mod flow_captures;
