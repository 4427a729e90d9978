//! BTF made by hand, and what becomes of it when it is broken.

use proptest::prelude::*;

use super::*;

/// Types and strings in the making.
struct Made {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Made {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], count: 0 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// Returns the id.
    fn add(&mut self, name: &str, kind: u32, count: u32, size_or_target: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, kind << 24 | count, size_or_target].iter().chain(rest) {
            self.types.extend(word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    fn structure(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (name, member, bits) in members {
            rest.extend([self.name(name), *member, *bits]);
        }
        self.add(name, kind, u32::try_from(members.len()).unwrap(), size, &rest)
    }

    fn bytes(&self) -> Vec<u8> {
        let [types, strings] = [&self.types, &self.strings].map(|part| u32::try_from(part.len()).unwrap());
        let mut bytes = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        for word in [24, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        [bytes, self.types.clone(), self.strings.clone()].concat()
    }
}

const WANTED: [(Named, &str); 4] =
    [(Named::Struct, "outer"), (Named::Enum, "reason"), (Named::Enum, "wide"), (Named::Typedef, "btf_trace_x")];

/// struct outer { u32 first; union { struct { u16 a, b; }; const hidden_t c; }; struct inner *next; struct { long deep; } named; };
fn example() -> Vec<u8> {
    let mut made = Made::new();
    let word = made.add("unsigned int", kind::INT, 0, 4, &[32]);
    let half = made.add("unsigned short", kind::INT, 0, 2, &[16]);
    let long = made.add("long", kind::INT, 0, 8, &[64]);
    let typedef = made.add("hidden_t", kind::TYPEDEF, 0, word, &[]);
    let constant = made.add("", kind::CONST, 0, typedef, &[]);
    let pair = made.structure("", kind::STRUCT, 4, &[("a", half, 0), ("b", half, 16)]);
    let union = made.structure("", kind::UNION, 4, &[("", pair, 0), ("c", constant, 0)]);
    let pointer = made.add("", kind::PTR, 0, 0, &[]);
    let named = made.structure("named", kind::STRUCT, 8, &[("deep", long, 0)]);
    let members =
        [("first", word, 0), ("", union, 32), ("next", pointer, 64), ("named", named, 128), ("odd", word, 195)];
    made.structure("outer", kind::STRUCT, 32, &members);
    made.structure("outer", kind::STRUCT, 4, &[("second", word, 0)]);
    let (none, some, all) = (made.name("NONE"), made.name("SOME"), made.name("ALL"));
    made.add("reason", kind::ENUM, 3, 4, &[none, 0, some, 7, all, u32::MAX]);
    made.add("wide", kind::ENUM64, 1, 8, &[some, 5, 1]);
    let function = made.add("", kind::FUNC_PROTO, 4, 0, &[0; 8]);
    let pointer = made.add("", kind::PTR, 0, function, &[]);
    made.add("btf_trace_x", kind::TYPEDEF, 0, pointer, &[]);
    made.bytes()
}

fn missing<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::Missing(what.to_owned()))
}

#[test]
fn members_are_found_behind_anonymous_ones_and_qualifiers() {
    let bytes = example();
    let btf = Btf::read(&bytes, &WANTED).unwrap();
    assert_eq!(btf.offset("outer", "first", 4), Ok(0));
    assert_eq!(btf.offset("outer", "b", 2), Ok(6));
    assert_eq!(btf.offset("outer", "c", 4), Ok(4));
    assert_eq!(btf.offset("outer", "next", 8), Ok(8));
    assert_eq!(btf.offset("outer", "named.deep", 8), Ok(16));
    assert_eq!(btf.offset("outer", "second", 4), missing("`outer.second` is absent"), "the first of a name counts");
    assert_eq!(btf.offset("outer", "odd", 4), missing("`outer.odd` is a bit field"));
    assert_eq!(btf.offset("outer", "a", 4), missing("`outer.a` has 2 bytes instead of 4"));
    assert_eq!(btf.offset("named", "deep", 8), missing("`named` is absent"), "it was not wanted");
}

#[test]
fn enumerators_and_arguments_are_read() {
    let bytes = example();
    let btf = Btf::read(&bytes, &WANTED).unwrap();
    assert_eq!(btf.enumerators("reason").unwrap(), [(0, "NONE"), (7, "SOME"), (u64::from(u32::MAX), "ALL")]);
    assert_eq!(btf.enumerators("wide").unwrap(), [((1 << 32) + 5, "SOME")]);
    assert_eq!(btf.tracepoint_arguments("btf_trace_x"), Ok(3));
}

#[test]
fn circles_end() {
    let mut made = Made::new();
    made.structure("outer", kind::STRUCT, 4, &[("", 1, 0), ("", 1, 0), ("", 2, 0)]);
    made.add("btf_trace_x", kind::TYPEDEF, 0, 2, &[]);
    let bytes = made.bytes();
    let btf = Btf::read(&bytes, &WANTED).unwrap();
    assert_eq!(btf.offset("outer", "a", 4), Err(Fault::Malformed));
    assert_eq!(btf.tracepoint_arguments("btf_trace_x"), Err(Fault::Malformed));
}

#[test]
fn the_running_kernels_own_types_are_understood() {
    // Every user may read it, where there is one.
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
    let btf = Btf::read(&bytes, &[(Named::Struct, "sk_buff"), (Named::Struct, "net")]).unwrap();
    assert!(btf.offset("sk_buff", "network_header", 2).is_ok());
    assert!(btf.offset("net", "ns.inum", 4).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = example();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(btf) = Btf::read(&bytes, &WANTED) {
            for path in ["first", "a", "b", "c", "named.deep", "nowhere.deep"] {
                let _ = btf.offset("outer", path, 4);
            }
            let _ = (btf.enumerators("reason"), btf.enumerators("wide"), btf.tracepoint_arguments("btf_trace_x"));
        }
    }
}
