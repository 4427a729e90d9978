//! The header of a message: which format it has, who exported it, when, and how many were before it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use crate::packet::bytes::{array, be16, be32};

use super::{fixed, ipfix, sets, sflow, v9};

/// The format of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// NetFlow version 1.
    NetflowV1,
    /// NetFlow version 5.
    NetflowV5,
    /// NetFlow version 7.
    NetflowV7,
    /// NetFlow version 9 (RFC 3954).
    NetflowV9,
    /// IPFIX (RFC 7011).
    Ipfix,
    /// sFlow version 5.
    Sflow5,
}

/// Whose templates and sequence numbers a message uses.
///
/// IPFIX over UDP has them for each transport session and observation domain (RFC 7011 §8): addresses and ports. NetFlow v9 has them for each source
/// address and source id (RFC 3954 §5.1), so that the exporter's port is left out. What goes to another collector has them for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// The format.
    pub format: Format,
    /// The address that the datagram was sent from.
    pub exporter: IpAddr,
    /// The port that it was sent from, where it distinguishes.
    pub port: Option<u16>,
    /// Where it was sent to.
    pub collector: SocketAddr,
    /// sFlow: the agent's address, which may be another.
    pub agent: Option<IpAddr>,
    /// Observation domain, source id, engine type and id (v5: type × 256 + id), or sub-agent (sFlow); 0 where there is none.
    pub domain: u32,
}

/// What the header of a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The format.
    pub format: Format,
    /// Whose message it is.
    pub session: Session,
    /// The whole message in the datagram; not longer than that.
    pub range: Range<usize>,
    /// First byte after the header.
    pub body: usize,
    /// How many records (v9: also template records; sFlow: samples) the header says follow; `None` with IPFIX.
    pub count: Option<u32>,
    /// The sequence number; `None` with NetFlow v1. See [`Format::counts`].
    pub sequence: Option<u32>,
    /// Milliseconds since the exporter started; `None` with IPFIX.
    pub uptime_ms: Option<u32>,
    /// When it was exported, in seconds and nanoseconds since 1970; `None` with sFlow.
    pub exported: Option<(u32, u32)>,
    /// NetFlow v5: the two highest bits are the sampling mode, the others the interval; 0 is none.
    pub sampling: Option<u16>,
    /// Where these are, for who changes them.
    pub places: Places,
}

/// Where the fields of a header are in the datagram, each of 4 bytes unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places {
    /// IPFIX: the length of the message, 2 bytes.
    pub length: Option<usize>,
    /// The count of records, 2 bytes, or 4 of sFlow.
    pub count: Option<usize>,
    /// The sequence number.
    pub sequence: Option<usize>,
    /// Milliseconds since the exporter started.
    pub uptime: Option<usize>,
    /// Seconds since 1970.
    pub seconds: Option<usize>,
    /// Nanoseconds of the second.
    pub nanoseconds: Option<usize>,
    /// The domain, with v5 2 bytes.
    pub domain: Option<usize>,
    /// sFlow: the agent's address, 4 or 16 bytes.
    pub agent: Option<usize>,
}

/// The numbers of sessions, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    list: Vec<Session>,
    numbers: HashMap<Session, usize>,
    /// A cache of recent sessions, indexed by a few bits of each: most messages find theirs without hashing.
    recent: Vec<usize>,
}

/// How many are found without hashing.
const RECENT: usize = 256;

impl Sessions {
    /// The number of this one; `None` for a new one where there are as many as there may be.
    pub(super) fn number(&mut self, session: &Session, most: usize) -> Option<usize> {
        let slot = session.few_bits() % RECENT;
        if let Some(recent) = self.recent.get(slot).filter(|recent| self.list.get(**recent) == Some(session)) {
            return Some(*recent);
        }
        let number = match self.numbers.get(session) {
            Some(number) => *number,
            None if self.list.len() >= most => return None,
            None => {
                let number = self.list.len();
                self.list.push(*session);
                self.numbers.insert(*session, number);
                number
            }
        };
        self.recent.resize(RECENT, usize::MAX);
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = number;
        }
        Some(number)
    }

    /// All of them; the place of each is its number.
    pub(super) fn into_list(self) -> Vec<Session> {
        self.list
    }
}

impl Session {
    /// A few bits that differ between most sessions.
    fn few_bits(&self) -> usize {
        let address = match self.exporter {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        usize::from(address) ^ usize::from(self.port.unwrap_or(0)) ^ self.domain as usize
    }
}

impl Format {
    /// What the first bytes of a datagram claim.
    pub fn claimed(datagram: &[u8], at: usize) -> Option<Self> {
        Some(match be16(datagram, at)? {
            1 => Self::NetflowV1,
            5 => Self::NetflowV5,
            7 => Self::NetflowV7,
            9 => Self::NetflowV9,
            10 => Self::Ipfix,
            0 if be16(datagram, at + 2)? == 5 => Self::Sflow5,
            _ => return None,
        })
    }

    /// Its name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetflowV1 => "NetFlow v1",
            Self::NetflowV5 => "NetFlow v5",
            Self::NetflowV7 => "NetFlow v7",
            Self::NetflowV9 => "NetFlow v9",
            Self::Ipfix => "IPFIX",
            Self::Sflow5 => "sFlow v5",
        }
    }
}

impl Header {
    /// Reads the header of the message that begins at `at`; `None` where none does.
    pub(super) fn read(bytes: &[u8], at: usize, source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        let format = Format::claimed(bytes, at)?;
        let port = (format != Format::NetflowV9).then_some(source.port());
        let session = Session { format, exporter: source.ip(), port, collector: destination, agent: None, domain: 0 };
        let mut header = Self {
            format,
            session,
            range: at..bytes.len(),
            body: at,
            count: None,
            sequence: None,
            uptime_ms: None,
            exported: None,
            sampling: None,
            places: Places::default(),
        };
        match format {
            Format::NetflowV1 | Format::NetflowV5 | Format::NetflowV7 => fixed::header(&mut header),
            Format::NetflowV9 => v9::header(&mut header),
            Format::Ipfix => ipfix::header(&mut header, bytes)?,
            Format::Sflow5 => sflow::header(&mut header, bytes)?,
        }
        header.fill(bytes)
    }

    /// Reads what is at the places; `None` where the header is cut.
    fn fill(mut self, bytes: &[u8]) -> Option<Self> {
        if self.body > bytes.len() {
            return None;
        }
        let places = self.places;
        let word = |place: Option<usize>| place.and_then(|at| be32(bytes, at));
        self.sequence = word(places.sequence);
        self.uptime_ms = word(places.uptime);
        self.exported = word(places.seconds).map(|seconds| (seconds, word(places.nanoseconds).unwrap_or(0)));
        let wide = self.format == Format::Sflow5;
        self.count = if wide { word(places.count) } else { places.count.and_then(|at| be16(bytes, at)).map(u32::from) };
        self.session.domain = match self.format {
            Format::NetflowV5 => places.domain.and_then(|at| be16(bytes, at)).map_or(0, u32::from),
            _ => word(places.domain).unwrap_or(0),
        };
        self.sampling = (self.format == Format::NetflowV5).then(|| be16(bytes, places.domain? + 2)).flatten();
        self.session.agent = match (wide, places.agent) {
            (true, Some(at)) if places.domain == Some(at + 4) => {
                array::<4>(bytes, at).map(|address| Ipv4Addr::from(address).into())
            }
            (true, Some(at)) => array::<16>(bytes, at).map(|address| Ipv6Addr::from(address).into()),
            _ => None,
        };
        Some(self)
    }
}

/// Whether a datagram is a flow export whatever port it goes to: version, counts and all lengths fit, to the last byte.
pub fn recognise(datagram: &[u8]) -> Option<Format> {
    let format = Format::claimed(datagram, 0)?;
    let fits = match format {
        Format::NetflowV1 | Format::NetflowV5 | Format::NetflowV7 => fixed::fits(datagram, format),
        Format::NetflowV9 => sets::fit(datagram, v9::HEADER, datagram.len(), format),
        Format::Ipfix => ipfix::fits(datagram),
        Format::Sflow5 => sflow::fits(datagram),
    };
    fits.then_some(format)
}
