//! 802.11 data frames (IEEE 802.11 §9.3.2.1), bare and behind the headers of radiotap, PPI, Prism and AVS. Start at [`find`].

use super::MacAddr;
use super::bytes::{array, be32, byte};
use super::carrier::{CUT, Carrier, le16, le32, llc};

/// Frame control: version, type, subtype.
const VERSION: u8 = 0x03;
const KIND: u8 = 0x0c;
const DATA: u8 = 0x08;
const NO_DATA: u8 = 0x40;
const QOS: u8 = 0x80;

/// The flags beside it.
const TO_DS: u8 = 0x01;
const FROM_DS: u8 = 0x02;
const MORE_FRAGMENTS: u8 = 0x04;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;

/// What the header before a frame says of it.
#[derive(Debug, Clone, Copy, Default)]
struct About {
    at: usize,
    /// Whether an FCS of 4 bytes follows it.
    has_fcs: bool,
    /// Whether that is wrong.
    broken: bool,
    /// Whether its header is padded to a multiple of 4 bytes.
    padded: bool,
}

/// The frame behind this link type's header.
pub(super) fn find(link: u16, frame: &[u8]) -> Result<Carrier, &'static str> {
    let about = match link {
        105 => About::default(),
        119 | 163 => About { at: prism(frame).ok_or(CUT)?, ..About::default() },
        127 => radiotap(frame).ok_or(CUT)?,
        _ => per_packet(frame).ok_or(CUT)?,
    };
    data(frame, about)
}

fn data(frame: &[u8], about: About) -> Result<Carrier, &'static str> {
    let About { at, has_fcs, broken, padded } = about;
    let [control, flags] = array(frame, at).ok_or(CUT)?;
    if control & VERSION != 0 || control & KIND != DATA || control & NO_DATA != 0 {
        return Err("an 802.11 frame that holds no data, such as a beacon or an acknowledgement");
    }
    if broken {
        return Err("an 802.11 frame that was received with a wrong FCS");
    }
    if flags & PROTECTED != 0 {
        return Err("an encrypted 802.11 frame");
    }
    let fragment = byte(frame, at + 22).ok_or(CUT)? & 0x0f;
    if fragment != 0 || flags & MORE_FRAGMENTS != 0 {
        return Err("a fragment of an 802.11 frame");
    }
    let four = flags & (TO_DS | FROM_DS) == TO_DS | FROM_DS;
    let mut length = if four { 30 } else { 24 };
    if control & QOS != 0 {
        if byte(frame, at + length).ok_or(CUT)? & 0x80 != 0 {
            return Err("an 802.11 frame with several packets in it (A-MSDU)");
        }
        length += if flags & ORDER == 0 { 2 } else { 6 };
    }
    if padded {
        length = length.next_multiple_of(4);
    }
    let address = |offset| array(frame, at + offset).map(MacAddr);
    let (destination, source) = match (flags & TO_DS, flags & FROM_DS) {
        (0, 0) => (address(4), address(10)),
        (0, _) => (address(4), address(16)),
        (_, 0) => (address(16), address(10)),
        (_, _) => (address(16), address(24)),
    };
    let carrier = llc(frame, at + length, if has_fcs { 4 } else { 0 }).ok_or(CUT)?;
    Ok(Carrier { source, destination, fcs_from: has_fcs.then_some(at), ..carrier })
}

/// <https://www.radiotap.org>: length, a chain of words that say which fields are there, the fields.
fn radiotap(frame: &[u8]) -> Option<About> {
    let at = usize::from(le16(frame, 2)?);
    let mut fields = 8;
    let present = le32(frame, 4)?;
    let mut word = present;
    while word >> 31 == 1 {
        word = le32(frame, fields).filter(|_| fields < at)?;
        fields += 4;
    }
    // The first field is a time of 8 bytes, the second one the flags.
    if present & 1 != 0 {
        fields = fields.next_multiple_of(8) + 8;
    }
    let flags = if present & 2 == 0 { 0 } else { byte(frame, fields).filter(|_| fields < at)? };
    Some(About { at, has_fcs: flags & 0x10 != 0, padded: flags & 0x20 != 0, broken: flags & 0x40 != 0 })
}

/// PPI: length, link type, fields of type and length; that of type 2 says whether there is an FCS, and whether it is wrong.
fn per_packet(frame: &[u8]) -> Option<About> {
    let at = usize::from(le16(frame, 2)?);
    let mut about = About { at, ..About::default() };
    let mut field = 8;
    while field + 4 <= at {
        let (kind, length) = (le16(frame, field)?, usize::from(le16(frame, field + 2)?));
        if kind == 2 && length >= 10 {
            let flags = le16(frame, field + 12)?;
            (about.has_fcs, about.broken) = (flags & 1 != 0, flags & 4 != 0);
        }
        field += 4 + length;
    }
    Some(about)
}

/// Prism's header has 144 bytes, AVS's says its length.
fn prism(frame: &[u8]) -> Option<usize> {
    match be32(frame, 0)? {
        0x8021_1001 | 0x8021_1002 => usize::try_from(be32(frame, 4)?).ok(),
        _ => Some(144),
    }
}
