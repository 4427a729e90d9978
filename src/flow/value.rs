//! What the bytes of a field mean, by its type (RFC 7011 §6.1); numbers may have fewer bytes than their type (§6.2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;

use super::element::Type;
use crate::packet::MacAddr;
use crate::packet::bytes::array;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: i64 = 2_208_988_800;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An unsigned number.
    Unsigned(u64),
    /// A signed number.
    Signed(i64),
    /// A float.
    Float(f64),
    /// A truth value.
    Boolean(bool),
    /// A MAC address.
    Mac(MacAddr),
    /// Text, without the zeros that fill a field of fixed length.
    Text(&'a str),
    /// An IP address.
    Ip(IpAddr),
    /// A time.
    Time(Timestamp),
    /// Bytes without a known type, or whose length does not fit their type.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Reads bytes as this type.
    pub fn read(kind: Type, bytes: &'a [u8]) -> Self {
        Self::typed(kind, bytes).unwrap_or(Self::Bytes(bytes))
    }

    fn typed(kind: Type, bytes: &'a [u8]) -> Option<Self> {
        let length = bytes.len();
        Some(match kind {
            Type::Unsigned => Self::Unsigned(unsigned(bytes)?),
            Type::Signed => {
                let number = unsigned(bytes)?;
                let unused = 64 - 8 * u32::try_from(length).ok()?;
                Self::Signed((number << unused).cast_signed() >> unused)
            }
            Type::Float => match length {
                4 => Self::Float(f32::from_be_bytes(array(bytes, 0)?).into()),
                8 => Self::Float(f64::from_be_bytes(array(bytes, 0)?)),
                _ => return None,
            },
            Type::Boolean => match bytes {
                [1] => Self::Boolean(true),
                [2] => Self::Boolean(false),
                _ => return None,
            },
            Type::Mac => Self::Mac(MacAddr(bytes.try_into().ok()?)),
            Type::Text => Self::Text(std::str::from_utf8(bytes).ok()?.trim_end_matches('\0')),
            Type::Ipv4 => Self::Ip(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            Type::Ipv6 => Self::Ip(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            Type::Seconds => Self::Time(Timestamp::from_second(whole(bytes)?).ok()?),
            Type::Milliseconds => Self::Time(Timestamp::from_millisecond(whole(bytes)?).ok()?),
            Type::Microseconds => Self::Time(ntp(bytes, !0x7ff)?),
            Type::Nanoseconds => Self::Time(ntp(bytes, !0)?),
            Type::Octets | Type::BasicList | Type::SubTemplateList | Type::SubTemplateMultiList => return None,
        })
    }
}

/// A number of at most 8 bytes.
fn unsigned(bytes: &[u8]) -> Option<u64> {
    (1..=8).contains(&bytes.len()).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// One that is positive as a signed number, too.
fn whole(bytes: &[u8]) -> Option<i64> {
    i64::try_from(unsigned(bytes)?).ok()
}

fn ntp(bytes: &[u8], kept: u32) -> Option<Timestamp> {
    let seconds = u32::from_be_bytes(array(bytes, 0)?);
    let fraction = u32::from_be_bytes(array(bytes, 4)?) & kept;
    let nanoseconds = (u64::from(fraction) * 1_000_000_000) >> 32;
    let nanoseconds = i32::try_from(nanoseconds).expect("a fraction of a second is below 1,000,000,000 ns");
    // Seconds below 2^31 are of the era that begins in 2036 (RFC 4330, section 3).
    let era = if (1..1 << 31).contains(&seconds) { 1 << 32 } else { 0 };
    (bytes.len() == 8).then(|| Timestamp::new(i64::from(seconds) + era - NTP_EPOCH, nanoseconds).ok())?
}

/// As it is written in JSON and CSV: times as RFC 3339, bytes in hexadecimal.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Text(text) => f.write_str(text),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_by_their_type() {
        let shown = |kind, bytes: &[u8]| Value::read(kind, bytes).to_string();
        assert_eq!(shown(Type::Unsigned, &[1, 0]), "256");
        assert_eq!(shown(Type::Unsigned, &[0xff; 8]), u64::MAX.to_string());
        assert_eq!(shown(Type::Unsigned, &[0xff; 9]), "ffffffffffffffffff");
        assert_eq!(shown(Type::Unsigned, &[]), "");
        assert_eq!(shown(Type::Signed, &[0xff, 0xfe]), "-2");
        assert_eq!(shown(Type::Signed, &[0x7f]), "127");
        assert_eq!(shown(Type::Signed, &[0xff; 8]), "-1");
        assert_eq!(shown(Type::Signed, &[0xff; 9]), "ffffffffffffffffff");
        assert_eq!(shown(Type::Signed, &[]), "");
        assert_eq!(shown(Type::Float, &1.5_f32.to_be_bytes()), "1.5");
        assert_eq!(shown(Type::Float, &1.5_f64.to_be_bytes()), "1.5");
        assert_eq!(shown(Type::Boolean, &[2]), "false");
        assert_eq!(shown(Type::Boolean, &[3]), "03");
        assert_eq!(shown(Type::Text, b"eth0\0\0"), "eth0");
        assert_eq!(shown(Type::Text, &[0xff]), "ff");
        assert_eq!(shown(Type::Ipv4, &[192, 0, 2, 1]), "192.0.2.1");
        assert_eq!(shown(Type::Ipv4, &[192, 0, 2]), "c00002");
        assert_eq!(shown(Type::Mac, &[0, 1, 2, 3, 4, 5]), "00:01:02:03:04:05");
    }

    #[test]
    fn times_are_written_as_rfc_3339_whichever_unit_they_have() {
        let shown = |kind, bytes: &[u8]| Value::read(kind, bytes).to_string();
        assert_eq!(shown(Type::Seconds, &1_500_000_000_u32.to_be_bytes()), "2017-07-14T02:40:00Z");
        assert_eq!(shown(Type::Milliseconds, &1_500_000_000_250_u64.to_be_bytes()), "2017-07-14T02:40:00.25Z");
        let ntp = ((1_500_000_000 + 2_208_988_800_u64) << 32) | 0x8000_0000;
        assert_eq!(shown(Type::Nanoseconds, &ntp.to_be_bytes()), "2017-07-14T02:40:00.5Z");
        let later = ((4_102_444_800 + 2_208_988_800_u64) << 32) | 0x4000_0000;
        assert_eq!(shown(Type::Nanoseconds, &later.to_be_bytes()), "2100-01-01T00:00:00.25Z");
        assert_eq!(shown(Type::Microseconds, &(ntp | 0x7ff).to_be_bytes()), "2017-07-14T02:40:00.5Z");
        assert_eq!(shown(Type::Milliseconds, &[0xff; 8]), "ffffffffffffffff");
    }
}
