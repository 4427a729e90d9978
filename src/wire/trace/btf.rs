//! Reads the kernel's description of its own types, BTF (Documentation/bpf/btf.rst): where members stand, and what enumerators are
//! called. In one pass, which remembers where each type stands and looks only for the names that it is asked for.
//!
//! Only the machine's own byte order. Start at [`Btf::read`].

use std::fmt;

/// What BTF begins with.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_type`: name, then kind and count, then size or type, u32 each.
const TYPE_BYTES: usize = 12;
/// `struct btf_member`: name, type, offset.
const MEMBER_BYTES: usize = 12;
/// Far beyond what the largest structure has; a circle of anonymous members ends here.
const MOST_MEMBERS: usize = 1 << 14;
/// Far beyond what the longest chain of typedefs and qualifiers has.
const LONGEST_CHAIN: usize = 64;

/// Kinds that are looked at; the others are only skipped.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// What can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// `struct NAME`
    Struct,
    /// `enum NAME`, of 32 or 64 bits.
    Enum,
    /// `typedef … NAME`
    Typedef,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// These bytes are not BTF, or lead out of themselves.
    Malformed,
    /// The kernel has no such thing, or not as it should be; in plain words.
    Missing(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("it is malformed"),
            Self::Missing(what) => formatter.write_str(what),
        }
    }
}

/// A type, as it stands in the file.
#[derive(Debug, Clone, Copy)]
struct Type {
    kind: u32,
    /// Of members, enumerators or parameters.
    count: usize,
    /// Whether members have their size in bits, too.
    bit_sizes: bool,
    size_or_target: u32,
    /// Where what follows it begins.
    rest: usize,
}

/// A type that was asked for and found.
#[derive(Debug)]
struct Found {
    named: Named,
    name: &'static str,
    id: u32,
}

/// The types of a kernel.
#[derive(Debug)]
pub(super) struct Btf<'a> {
    bytes: &'a [u8],
    strings: &'a [u8],
    /// Where each type stands, the first of which has id 1.
    types: Vec<u32>,
    found: Vec<Found>,
}

impl<'a> Btf<'a> {
    /// Reads all types, and finds the first of each of these names.
    pub(super) fn read(bytes: &'a [u8], wanted: &[(Named, &'static str)]) -> Result<Self, Fault> {
        Self::pass(bytes, wanted).ok_or(Fault::Malformed)
    }

    fn pass(bytes: &'a [u8], wanted: &[(Named, &'static str)]) -> Option<Self> {
        // `struct btf_header`: magic u16, version u8, flags u8, length u32, then offset and length of the types and of the strings,
        // which count from the header's end.
        let magic = u16::from_ne_bytes(*bytes.first_chunk()?);
        let body = usize_at(bytes, 4)?;
        if magic != MAGIC || body < 24 {
            return None;
        }
        let section = |at: usize| {
            let start = body.checked_add(usize_at(bytes, at)?)?;
            Some((start, start.checked_add(usize_at(bytes, at + 4)?)?))
        };
        let (mut at, end) = section(8)?;
        let (strings, strings_end) = section(16)?;
        let types = Vec::with_capacity(end.checked_sub(at)?.min(bytes.len()) / 32);
        let mut btf =
            Self { bytes: bytes.get(..end)?, strings: bytes.get(strings..strings_end)?, types, found: Vec::new() };
        while at < end {
            btf.types.push(u32::try_from(at).ok()?);
            let this = btf.type_at(at)?;
            let named = match this.kind {
                kind::STRUCT => Some(Named::Struct),
                kind::ENUM | kind::ENUM64 => Some(Named::Enum),
                kind::TYPEDEF => Some(Named::Typedef),
                _ => None,
            };
            if let Some(named) = named {
                btf.note(named, usize_at(bytes, at)?, wanted)?;
            }
            at = this.rest.checked_add(following(this.kind, this.count)?)?;
        }
        (at == end).then_some(btf)
    }

    /// Remembers the newest type if it is the first of a name that is wanted.
    fn note(&mut self, named: Named, name: usize, wanted: &[(Named, &'static str)]) -> Option<()> {
        let tail = self.strings.get(name..)?;
        let is_it = |name: &str| tail.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
        if let Some((_, name)) = wanted.iter().find(|(kind, name)| *kind == named && is_it(name))
            && self.id(named, name).is_none()
        {
            self.found.push(Found { named, name, id: u32::try_from(self.types.len()).ok()? });
        }
        Some(())
    }

    /// Where a member stands in a structure, in bytes. `path` names it, and the members that it is in: `__sk_common.skc_net.net`;
    /// anonymous ones have no name there. It must have `size` bytes; a pointer has 8.
    pub(super) fn offset(&self, structure: &str, path: &str, size: u32) -> Result<i32, Fault> {
        let mut id = self.wanted(Named::Struct, structure)?;
        let missing = |why: &str| Fault::Missing(format!("`{structure}.{path}` {why}"));
        let mut bits = 0u32;
        for name in path.split('.') {
            let (offset, next) = self.member(id, name)?.ok_or_else(|| missing("is absent"))?;
            bits = bits.checked_add(offset).ok_or(Fault::Malformed)?;
            id = next;
        }
        if !bits.is_multiple_of(8) {
            return Err(missing("is a bit field"));
        }
        let found = self.plain(id).ok_or(Fault::Malformed)?;
        let has = match found.kind {
            kind::INT | kind::ENUM | kind::ENUM64 | kind::STRUCT | kind::UNION => found.size_or_target,
            kind::PTR => 8,
            _ => 0,
        };
        if has == size {
            i32::try_from(bits / 8).map_err(|_| Fault::Malformed)
        } else {
            Err(missing(&format!("has {has} bytes instead of {size}")))
        }
    }

    /// The values of an enumeration with their names, in the order of the declaration. Negative values are large.
    pub(super) fn enumerators(&self, name: &str) -> Result<Vec<(u64, &'a str)>, Fault> {
        let id = self.wanted(Named::Enum, name)?;
        let read = || {
            let this = self.by_id(id)?;
            let entry = if this.kind == kind::ENUM { 8 } else { 12 };
            let one = |number: usize| {
                let at = this.rest + entry * number;
                let high = if entry == 8 { 0 } else { u32_at(self.bytes, at + 8)? };
                Some((u64::from(high) << 32 | u64::from(u32_at(self.bytes, at + 4)?), self.name_at(at)?))
            };
            (0..this.count).map(one).collect::<Option<Vec<_>>>()
        };
        read().ok_or(Fault::Malformed)
    }

    /// How many arguments a tracepoint has: its function, to which `typedef btf_trace_NAME` points, has one more for itself.
    pub(super) fn tracepoint_arguments(&self, typedef: &str) -> Result<usize, Fault> {
        let id = self.wanted(Named::Typedef, typedef)?;
        let pointer = self.plain(id).filter(|pointer| pointer.kind == kind::PTR).ok_or(Fault::Malformed)?;
        let function = self.plain(pointer.size_or_target).filter(|function| function.kind == kind::FUNC_PROTO);
        function.and_then(|function| function.count.checked_sub(1)).ok_or(Fault::Malformed)
    }

    /// The offset in bits and the type of the member, be it one of an anonymous member of the structure.
    fn member(&self, structure: u32, name: &str) -> Result<Option<(u32, u32)>, Fault> {
        let mut looked_at = 0;
        let mut inside = vec![(structure, 0u32)];
        while let Some((id, base)) = inside.pop() {
            let this = self.plain(id).ok_or(Fault::Malformed)?;
            if !matches!(this.kind, kind::STRUCT | kind::UNION) {
                continue;
            }
            looked_at += this.count;
            if looked_at > MOST_MEMBERS {
                return Err(Fault::Malformed);
            }
            for number in 0..this.count {
                let (offset, found, member) = self.member_at(this, number).ok_or(Fault::Malformed)?;
                let offset = base.checked_add(offset).ok_or(Fault::Malformed)?;
                if member == name {
                    return Ok(Some((offset, found)));
                }
                if member.is_empty() {
                    inside.push((found, offset));
                }
            }
        }
        Ok(None)
    }

    /// Offset in bits, type and name.
    fn member_at(&self, structure: Type, number: usize) -> Option<(u32, u32, &'a str)> {
        let at = structure.rest + MEMBER_BYTES * number;
        let offset = u32_at(self.bytes, at + 8)?;
        let offset = if structure.bit_sizes { offset & 0xff_ffff } else { offset };
        Some((offset, u32_at(self.bytes, at + 4)?, self.name_at(at)?))
    }

    fn wanted(&self, named: Named, name: &str) -> Result<u32, Fault> {
        self.id(named, name).ok_or_else(|| Fault::Missing(format!("`{name}` is absent")))
    }

    fn id(&self, named: Named, name: &str) -> Option<u32> {
        self.found.iter().find(|found| found.named == named && found.name == name).map(|found| found.id)
    }

    /// The type behind typedefs and qualifiers.
    fn plain(&self, mut id: u32) -> Option<Type> {
        for _ in 0..LONGEST_CHAIN {
            let this = self.by_id(id)?;
            match this.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = this.size_or_target
                }
                _ => return Some(this),
            }
        }
        None
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        // Id 0 is void, which stands nowhere.
        let at = self.types.get(usize::try_from(id.checked_sub(1)?).ok()?)?;
        self.type_at(usize::try_from(*at).ok()?)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let about = u32_at(self.bytes, at.checked_add(4)?)?;
        let size_or_target = u32_at(self.bytes, at + 8)?;
        let count = usize::try_from(about & 0xffff).ok()?;
        Some(Type {
            kind: about >> 24 & 0x1f,
            count,
            bit_sizes: about >> 31 == 1,
            size_or_target,
            rest: at + TYPE_BYTES,
        })
    }

    /// The text whose offset among the strings stands at `at`.
    fn name_at(&self, at: usize) -> Option<&'a str> {
        let tail = self.strings.get(usize_at(self.bytes, at)?..)?;
        let end = tail.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(tail.get(..end)?).ok()
    }
}

/// How many bytes follow the `struct btf_type`; `None` for a kind that is not known.
fn following(kind: u32, count: usize) -> Option<usize> {
    match kind {
        // An integer, a variable, a declaration tag.
        1 | 14 | 17 => Some(4),
        // An array.
        3 => Some(12),
        // Structures, unions, sections, enumerations of 64 bits.
        4 | 5 | 15 | 19 => Some(12 * count),
        // Enumerations, parameters.
        6 | 13 => Some(8 * count),
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => Some(0),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

#[cfg(test)]
mod tests;
