//! Information elements: which field a template means, its name and its type (RFC 7012, `elements.csv`).

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use super::section;
use crate::packet::layers::LinkType;

/// The file of the names; its head has the sources.
const REGISTRY: &str = include_str!("elements.csv");
/// The enterprise number of reverse elements (RFC 5103 §6.1).
const REVERSE: u32 = 29_305;

/// An information element, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// The enterprise number; 0 is IANA's registry. Also [`Element::OWN`] and [`Element::V9_SCOPE`].
    pub enterprise: u32,
    /// The id; with enterprise 0 and from 32768 a vendor's field of NetFlow v9.
    pub id: u16,
}

/// What the bytes of an element mean (RFC 7012 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Bytes; also what has no known type.
    Octets,
    /// An unsigned number of 1 to 8 bytes.
    Unsigned,
    /// A signed number of 1 to 8 bytes.
    Signed,
    /// A float of 4 or 8 bytes.
    Float,
    /// 1 is true, 2 is false.
    Boolean,
    /// A MAC address.
    Mac,
    /// UTF-8.
    Text,
    /// Seconds since 1970, 4 bytes.
    Seconds,
    /// Milliseconds since 1970, 8 bytes.
    Milliseconds,
    /// NTP time, 8 bytes: seconds since 1900 and their fraction (RFC 7011 §6.1.9). The lowest 11 bits are ignored.
    Microseconds,
    /// NTP time, 8 bytes (RFC 7011 §6.1.10).
    Nanoseconds,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A list of values of one element (RFC 6313 §4.5.1).
    BasicList,
    /// A list of records of one template (RFC 6313 §4.5.2).
    SubTemplateList,
    /// A list of records of several templates (RFC 6313 §4.5.3).
    SubTemplateMultiList,
}

impl Type {
    /// Whether it is a list (RFC 6313).
    pub const fn is_list(self) -> bool {
        matches!(self, Self::BasicList | Self::SubTemplateList | Self::SubTemplateMultiList)
    }
}

/// A row of the registry.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    kind: Type,
}

impl Element {
    /// The enterprise of what sFlow and NetFlow v7 have and IPFIX has no element for: no enterprise number of IANA.
    pub const OWN: u32 = u32::MAX - 1;
    /// The enterprise of the scopes of NetFlow v9 (RFC 3954 §6.1): no enterprise number of IANA.
    pub const V9_SCOPE: u32 = u32::MAX;

    /// An element of IANA's registry.
    pub const fn iana(id: u16) -> Self {
        Self { enterprise: 0, id }
    }

    /// What its bytes mean; [`Type::Octets`] where that is not known.
    pub fn kind(self) -> Type {
        self.row().map_or(Type::Octets, |row| row.kind)
    }

    /// How packets that its fields have begin; `None` where they have none.
    pub fn packet_link(self) -> Option<LinkType> {
        section::link(self)
    }

    /// The element with this name, as [`fmt::Display`] writes it.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(element) = NAMES.get(name) {
            return Some(*element);
        }
        if let Some(rest) = name.strip_prefix("reverse") {
            let mut letters = rest.chars();
            // A few names begin with an upper-case letter.
            let forward: String = letters.next()?.to_lowercase().chain(letters).collect();
            let named = [rest, forward.as_str()].into_iter().filter_map(|name| NAMES.get(name));
            let element = named.copied().find(|element| element.enterprise == 0)?;
            return Some(Self { enterprise: REVERSE, id: element.id });
        }
        let (enterprise, id) = name.strip_prefix('e')?.split_once("id")?;
        Some(Self { enterprise: enterprise.parse().ok()?, id: id.parse().ok()? })
    }

    /// All names of the registry, in its order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        rows().map(|(_, row)| row.name)
    }

    fn row(self) -> Option<&'static Row> {
        // The reverse of an element has its type.
        let element = if self.enterprise == REVERSE { Self::iana(self.id) } else { self };
        ROWS.get(&element)
    }
}

/// Its name; one that has none is `e5951id128`, for enterprise 5951 and id 128.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) if self.enterprise == REVERSE => {
                let mut letters = row.name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                write!(f, "reverse{}{}", first.unwrap_or_default(), letters.as_str())
            }
            Some(row) => f.write_str(row.name),
            None => write!(f, "e{}id{}", self.enterprise, self.id),
        }
    }
}

static ROWS: LazyLock<HashMap<Element, Row>> = LazyLock::new(|| rows().collect());

/// Elements by name; where two vendors have the same name, the first has it.
static NAMES: LazyLock<HashMap<&'static str, Element>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (element, row) in rows() {
        names.entry(row.name).or_insert(element);
    }
    names
});

fn rows() -> impl Iterator<Item = (Element, Row)> {
    REGISTRY.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split(',');
        let element = Element { enterprise: columns.next()?.parse().ok()?, id: columns.next()?.parse().ok()? };
        Some((element, Row { name: columns.next()?, kind: kind(columns.next()?)? }))
    })
}

fn kind(name: &str) -> Option<Type> {
    Some(match name {
        "octetArray" | "unsigned256" => Type::Octets,
        "unsigned" | "unsigned8" | "unsigned16" | "unsigned32" | "unsigned64" => Type::Unsigned,
        "signed" | "signed8" | "signed16" | "signed32" | "signed64" => Type::Signed,
        "float32" | "float64" => Type::Float,
        "boolean" => Type::Boolean,
        "macAddress" => Type::Mac,
        "string" => Type::Text,
        "dateTimeSeconds" => Type::Seconds,
        "dateTimeMilliseconds" => Type::Milliseconds,
        "dateTimeMicroseconds" => Type::Microseconds,
        "dateTimeNanoseconds" => Type::Nanoseconds,
        "ipv4Address" => Type::Ipv4,
        "ipv6Address" => Type::Ipv6,
        "basicList" => Type::BasicList,
        "subTemplateList" => Type::SubTemplateList,
        "subTemplateMultiList" => Type::SubTemplateMultiList,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_registry_is_read() {
        let lines = REGISTRY.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines > 1_000, "{lines} lines");
        assert_eq!(ROWS.len(), lines);
    }

    #[test]
    fn a_name_and_its_element_belong_together() {
        for (element, name) in [
            (Element::iana(8), "sourceIPv4Address"),
            (Element { enterprise: 29_305, id: 1 }, "reverseOctetDeltaCount"),
            (Element { enterprise: 5951, id: 128 }, "netscalerRoundTripTime"),
            (Element { enterprise: 6871, id: 33 }, "silkAppLabel"),
            (Element { enterprise: 4711, id: 5 }, "e4711id5"),
        ] {
            assert_eq!(element.to_string(), name);
            assert_eq!(Element::named(name), Some(element));
        }
        assert_eq!(Element::named("sourceIpv4Address"), None);
        assert_eq!(Element::named("reverseNothing"), None);
    }

    #[test]
    fn every_element_of_iana_and_its_reverse_are_found_by_the_names_that_they_have() {
        for id in rows().filter(|(element, _)| element.enterprise == 0).map(|(element, _)| element.id) {
            for element in [Element::iana(id), Element { enterprise: REVERSE, id }] {
                assert_eq!(Element::named(&element.to_string()), Some(element), "{element}");
            }
        }
    }

    #[test]
    fn the_reverse_of_an_element_has_its_type() {
        assert_eq!(Element { enterprise: 29_305, id: 8 }.kind(), Type::Ipv4);
        assert_eq!(Element { enterprise: 1, id: 8 }.kind(), Type::Octets);
    }
}
