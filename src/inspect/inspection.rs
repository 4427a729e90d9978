//! What one pass over a capture found, as it is written to JSON. Lists begin with what has most frames.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnostic::Failure;
use crate::flow::FlowExports;
use crate::packet::MacAddr;

/// What is in a capture.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(title = "restage inspection")]
pub struct Inspection {
    /// The version of this form: 1.
    pub format: u32,
    /// The capture, as it was named.
    pub file: String,
    /// The format of the file.
    pub capture: Capture,
    /// Link types, with those that are announced and have no frame.
    pub links: Vec<Link>,
    /// The distinct snaplens that the file announces, rising; 0 is none. At most 64.
    pub snaplens: Vec<u32>,
    /// Frames, up to the damage if there is any.
    pub frames: u64,
    /// Bytes in the file.
    pub bytes_captured: u64,
    /// Bytes that the frames had on the wire, without FCS.
    pub bytes_original: u64,
    /// The longest frame on the wire, in bytes.
    pub longest: u32,
    /// When it was captured; null without frames.
    pub times: Option<Times>,
    /// Frames by what layer 3 is.
    pub networks: Vec<Protocol>,
    /// IP packets by what they carry.
    pub transports: Vec<Protocol>,
    /// IP packets that hold other packets.
    pub tunnels: Vec<Protocol>,
    /// VLAN ids; a frame with several tags counts for each.
    pub vlans: Vec<Vlan>,
    /// Fragmented datagrams.
    pub fragments: Fragments,
    /// What the checksums say.
    pub checksums: Vec<Checksum>,
    /// Frames that the snaplen cut.
    pub truncated: Finding,
    /// IPv4 packets whose total length is 0: made by segmentation offload (TSO).
    pub length_zero: Finding,
    /// Frames whose layer 3 packet is longer than an MTU of 1500: for Ethernet more than 1514 bytes, VLAN tags not counted.
    pub oversize: Finding,
    /// Frames whose time is before that of the frame before them.
    pub backwards: Finding,
    /// IP addresses.
    pub endpoints: Vec<Endpoint>,
    /// MAC addresses of Ethernet frames.
    pub macs: Vec<MacEndpoint>,
    /// Who talked to whom.
    pub conversations: Vec<Conversation>,
    /// UDP and TCP destination ports.
    pub ports: Vec<Port>,
    /// What the three lists leave out, when they are full.
    pub unlisted: Unlisted,
    /// What a replay has to heed.
    pub notes: Vec<Note>,
    /// What flow exports hold; only with `--flows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowExports>,
    /// Where reading ended before the end of the file; null where it did not.
    pub damage: Option<Damage>,
}

/// The format of a capture file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Capture {
    /// `pcap` or `pcapng`.
    pub format: String,
    /// Whether numbers are written big-endian; of pcapng the last section.
    pub big_endian: bool,
    /// Whether records have Kuznetzov's longer headers.
    pub modified: bool,
    /// In what times are counted; of pcapng the finest clock that a frame has.
    pub time_unit: TimeUnit,
}

/// In what times are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Or coarser.
    Microsecond,
    /// Or finer; then what is below a nanosecond is left out here.
    Nanosecond,
}

/// A link type and its frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Its number in the registry of tcpdump.org.
    pub number: u16,
    /// Its name there without `LINKTYPE_`; null for the rarer ones.
    pub name: Option<&'static str>,
    /// Frames.
    pub frames: u64,
}

/// When frames were captured.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Times {
    /// The earliest, RFC 3339 in UTC.
    pub first: String,
    /// The latest, RFC 3339 in UTC.
    pub last: String,
    /// Between the two.
    pub seconds: f64,
    /// Frames a second on average; null if all have one time.
    pub pps: Option<f64>,
    /// Bits on the wire a second on average; null if all frames have one time.
    pub bits_per_second: Option<f64>,
}

/// A protocol and its frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Protocol {
    /// Its usual name, or its number.
    pub name: String,
    /// Frames.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// A VLAN and its frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Vlan {
    /// The VLAN identifier.
    pub id: u16,
    /// Frames with a tag of it.
    pub frames: u64,
}

/// Fragmented datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Fragments {
    /// Frames that carry a fragment.
    pub frames: u64,
    /// The datagrams that they belong to.
    pub datagrams: u64,
    /// Those of them that the capture does not hold whole.
    pub incomplete: u64,
}

/// What the checksums of one kind say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Checksum {
    /// `IPv4 header`, or the protocol.
    pub of: &'static str,
    /// Right ones.
    pub good: u64,
    /// Wrong ones.
    pub bad: Finding,
    /// Those that the sender's stack left for the card to complete: the sum of the pseudo-header alone.
    pub offload: Finding,
    /// UDP over IPv4 without a checksum.
    pub absent: u64,
    /// Those of fragments, and of packets that were cut: they can't be known.
    pub unverifiable: u64,
}

/// Frames with something in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How many.
    pub frames: u64,
    /// The number of the first; null if there is none.
    pub first: Option<u64>,
}

/// A number of frames and their bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Frames.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// An IP address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// What it sent.
    pub sent: Tally,
    /// What was sent to it.
    pub received: Tally,
}

/// A MAC address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MacEndpoint {
    /// The address.
    #[schemars(with = "String")]
    pub address: MacAddr,
    /// What it sent.
    pub sent: Tally,
    /// What was sent to it.
    pub received: Tally,
}

/// The packets between two addresses, and two ports where there are any. A later fragment belongs to the conversation of its
/// datagram's first fragment; where that has not come before it, to one without ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Conversation {
    /// The protocol's usual name, or its number.
    pub protocol: String,
    /// Who sent its first packet.
    pub client: Side,
    /// To whom.
    pub server: Side,
    /// What the client sent.
    pub from_client: Tally,
    /// What the server sent.
    pub from_server: Tally,
    /// How many VLAN tags its first packet has.
    #[serde(skip)]
    pub vlan_tags: usize,
    /// Whether any of its packets is a fragment.
    #[serde(skip)]
    pub has_fragments: bool,
}

/// One side of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Side {
    /// The address.
    pub address: IpAddr,
    /// The port; null for protocols without ports.
    pub port: Option<u16>,
}

/// A destination port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Port {
    /// `UDP` or `TCP`.
    pub protocol: &'static str,
    /// Its number.
    pub number: u16,
    /// Frames to it.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// Frames whose addresses or conversation came when the list was full; 0 where a list is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Unlisted {
    /// Frames with an IP address that `endpoints` has not; a frame counts for each of its two.
    pub endpoints: u64,
    /// Frames with a MAC that `macs` has not; a frame counts for each of its two.
    pub macs: u64,
    /// Frames of conversations that `conversations` has not.
    pub conversations: u64,
}

/// Something that a replay has to heed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Note {
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to write into a scenario.
    pub fix: String,
}

/// Where reading ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Damage {
    /// The frame that could not be read.
    pub frame: u64,
    /// What is wrong.
    pub what: String,
    /// The byte of the file, and what was found there.
    pub why: Option<String>,
    /// What to do.
    pub fix: Option<String>,
}

impl Damage {
    /// After so many whole frames.
    pub(super) fn new(frames: u64, failure: &Failure) -> Option<Self> {
        let problem = failure.problems.first()?;
        let (what, why, fix) = (problem.what.clone(), problem.why.clone(), problem.fix.clone());
        Some(Self { frame: frames + 1, what, why, fix })
    }
}

impl Finding {
    /// Adds a frame.
    pub(super) fn add(&mut self, number: u64) {
        self.frames += 1;
        self.first.get_or_insert(number);
    }
}

impl Tally {
    /// Adds a frame of this length.
    pub(super) fn add(&mut self, bytes: u32) {
        self.frames += 1;
        self.bytes += u64::from(bytes);
    }
}

impl Conversation {
    /// Whether both sides sent something.
    pub fn is_bidirectional(&self) -> bool {
        self.from_client.frames > 0 && self.from_server.frames > 0
    }

    /// Frames in both directions.
    pub fn frames(&self) -> u64 {
        self.from_client.frames + self.from_server.frames
    }
}
