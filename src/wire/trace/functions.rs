//! The names of the kernel's functions by address: by a BPF program, or from /proc/kallsyms. Start at [`functions`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;

use super::assembler::{Assembler, Helper, Register};
use super::opening::page_bytes;
use super::syscall;
use crate::wire::mapping::Mapping;

/// Longer names are cut; the longest that a kernel has is not.
const NAME_BYTES: u32 = 512;

/// The kernel's functions at these [`Dropped::location`](super::Dropped::location)s, such as `ip_rcv_core`. Those are absent that the kernel
/// doesn't name, and all of them where neither BPF is allowed nor `/proc/kallsyms` shows addresses, which takes `CAP_SYSLOG` or
/// `kernel.kptr_restrict = 0`. What the compiler appended to a name (`.isra.0`, `.cold`) is left out.
///
/// To read `/proc/kallsyms` through takes some 50 ms, a BPF program less than one.
pub fn functions(locations: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    if locations.is_empty() {
        return BTreeMap::new();
    }
    by_program(locations).unwrap_or_else(|| match File::open("/proc/kallsyms") {
        Ok(file) => named(BufReader::with_capacity(64 << 10, file), locations),
        Err(_) => BTreeMap::new(),
    })
}

/// As the kernel itself prints them (`%ps`); `None` where it lets us run no such program (Linux 5.13).
fn by_program(locations: &BTreeSet<u64>) -> Option<BTreeMap<u64, String>> {
    use Register::{R1, R2, R3, R4, R5};
    let format = syscall::text(*b"%ps\0\0\0\0\0").ok()?;
    // A location, and the name behind it.
    let array = syscall::array(8 + NAME_BYTES).ok()?;
    let memory = Mapping::of(array.as_fd(), page_bytes().ok()?, 0).ok()?;
    let mut code = Assembler::default();
    code.map_value(R1, array.as_raw_fd(), 8);
    code.set(R2, NAME_BYTES.cast_signed());
    code.map_value(R3, format.as_raw_fd(), 0);
    code.map_value(R4, array.as_raw_fd(), 0);
    code.set(R5, 8);
    code.call(Helper::Snprintf);
    code.exit();
    let program = syscall::load(&code.finish()?).ok()?;
    let mut found = BTreeMap::new();
    for location in locations {
        memory.long(0).store(*location, Ordering::Relaxed);
        syscall::run(program.as_fd()).ok()?;
        let longs = (1..=NAME_BYTES as usize / 8).map(|place| memory.long(8 * place).load(Ordering::Relaxed));
        let text: Vec<u8> = longs.flat_map(u64::to_ne_bytes).take_while(|byte| *byte != 0).collect();
        let name = std::str::from_utf8(&text).ok()?.split(['.', ' ']).next().unwrap_or_default();
        // An address that has no name is printed as a number.
        if !name.is_empty() && !name.starts_with("0x") {
            found.insert(*location, name.to_owned());
        }
    }
    Some(found)
}

/// From lines of address, kind and name, in any order; of several names of one address the first one.
fn named(mut list: impl BufRead, locations: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let mut found: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if let Some((address, name)) = function(&line) {
            for location in locations.range(address..) {
                let nearest = found.get(location).map_or(0, |(nearest, _)| *nearest);
                if address > nearest {
                    found.insert(*location, (address, name.to_owned()));
                }
            }
        }
        line.clear();
    }
    found.into_iter().map(|(location, (_, name))| (location, name)).filter(|(_, name)| !name.is_empty()).collect()
}

/// Address and name; `None` for what is no function, or hidden.
fn function(line: &[u8]) -> Option<(u64, &str)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?.split('.').next()?;
    (address > 0 && matches!(kind, "t" | "T" | "w" | "W")).then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<const N: usize>(list: &str, locations: [u64; N]) -> [Option<String>; N] {
        let found = named(list.as_bytes(), &locations.into_iter().collect());
        locations.map(|location| found.get(&location).cloned())
    }

    #[test]
    fn a_location_is_in_the_function_that_begins_before_it() {
        let list = "ffff0030 t ip_rcv_finish_core.isra.0\nffff0010 T ip_rcv\nffff0010 T ip_rcv_alias\nffff0018 d table\n\
                    ffff0050 t veth_xmit\t[veth]\nnonsense\nffff0060 T \n";
        let found = at(list, [0xffff_000f, 0xffff_0010, 0xffff_002f, 0xffff_0030, 0xffff_005f]);
        let expected = [None, Some("ip_rcv"), Some("ip_rcv"), Some("ip_rcv_finish_core"), Some("veth_xmit")];
        assert_eq!(found, expected.map(|name| name.map(str::to_owned)));
    }

    #[test]
    fn a_program_names_what_the_list_names() {
        let list = std::fs::read("/proc/kallsyms").unwrap_or_default();
        let lines = list.split(|byte| *byte == b'\n').filter_map(function);
        let of = |wanted: &str| lines.clone().find(|(_, name)| *name == wanted).map(|(address, _)| address + 1);
        let locations: BTreeSet<u64> = ["ip_rcv", "udp_rcv", "ip6_input"].into_iter().filter_map(of).collect();
        // An ordinary user sees no addresses, and may load no program.
        if let Some(found) = by_program(&locations).filter(|_| !locations.is_empty()) {
            assert_eq!(found, named(list.as_slice(), &locations));
        }
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let list = "0000000000000000 T ip_rcv\n0000000000000000 T ip6_rcv\n";
        assert_eq!(at(list, [0xffff_ffff_8100_0000]), [None]);
    }
}
