//! Which frames hold flow exports, whatever port they go to.
//!
//! A datagram is one if version, counts and lengths fit to its last byte; one to a port of flow collectors also if only its version is one, and
//! counts as damaged. Datagrams in IP fragments are put together first.

use std::borrow::Cow;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::found::FlowExports;
use super::header::{Format, recognise};
use super::survey::{FlowRecord, Survey};
use crate::packet::bytes::be16;
use crate::packet::layers::{Layers, UDP_HEADER, protocol};
use crate::packet::reassembly::Reassembly;

/// The ports that collectors listen on: NetFlow, IPFIX (RFC 7011 §10.3.4), sFlow. What goes there and claims to be a flow export is counted if it
/// can't be decoded.
const COLLECTOR_PORTS: [u16; 6] = [2055, 2056, 4739, 6343, 9995, 9996];

/// Whether flow collectors listen on this port: what goes there is taken for a flow export also where it can't be read.
pub fn goes_to_a_collector(port: u16) -> bool {
    COLLECTOR_PORTS.contains(&port)
}

/// Whether a datagram to this port is a flow export, or should be one.
pub fn is_export(datagram: &[u8], port: u16) -> bool {
    Format::claimed(datagram, 0).is_some() && (goes_to_a_collector(port) || recognise(datagram).is_some())
}

/// The flow exports up to a frame.
#[derive(Debug, Default)]
pub struct Flows {
    survey: Survey,
    fragments: Reassembly,
    damaged: Sum,
}

/// A number of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Sum {
    /// How many.
    pub datagrams: u64,
    /// The frame of the first; null if there is none.
    pub first: Option<u64>,
}

impl Sum {
    /// Adds one, in this frame.
    pub fn add(&mut self, frame: u64) {
        self.datagrams += 1;
        self.first.get_or_insert(frame);
    }
}

impl Flows {
    /// Reads definitions of templates, and finds the sets that lack one: no records are counted or passed on, which costs less.
    pub fn of_definitions() -> Self {
        Self { survey: Survey::of_definitions(), ..Self::default() }
    }

    /// Adds a frame, and passes on the records in it. A datagram in fragments counts for the frame that makes it whole.
    pub fn add(&mut self, number: u64, layers: &Layers, frame: &[u8], each: impl FnMut(&FlowRecord<'_>)) {
        let (Some(ip), Some((source, destination))) = (layers.network.ip(), layers.addresses(frame)) else {
            return;
        };
        if ip.protocol != protocol::UDP {
            return;
        }
        let whole = match layers.network.datagram(frame) {
            None => frame.get(ip.payload..ip.end).map(Cow::Borrowed),
            Some(datagram) => self.fragments.add(datagram, ip, frame).map(Cow::Owned),
        };
        let Some(udp) = whole else { return };
        let (Some(from), Some(to), Some(length)) = (be16(&udp, 0), be16(&udp, 2), be16(&udp, 4).map(usize::from))
        else {
            return;
        };
        // Padding after the UDP length is ignored.
        let whole = udp.get(UDP_HEADER..length).or_else(|| udp.get(UDP_HEADER..));
        let Some(datagram) = whole.filter(|datagram| is_export(datagram, to)) else { return };
        if recognise(datagram).is_none() {
            self.damaged.add(number);
        }
        let (source, destination) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
        self.survey.add(datagram, source, destination, number, each);
    }

    /// All that was counted.
    pub fn finish(self) -> FlowExports {
        FlowExports { damaged: self.damaged, incomplete: self.fragments.incomplete(), ..self.survey.finish() }
    }
}
