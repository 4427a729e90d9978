//! The names of the kernel's functions by address (/proc/kallsyms). Start at [`functions`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};

/// The kernel's functions at these [`Dropped::location`](super::Dropped::location)s, such as `ip_rcv_core`. Those are absent that
/// `/proc/kallsyms` doesn't name, and all of them where it hides addresses, which takes `CAP_SYSLOG` or `kernel.kptr_restrict = 0`.
/// What the compiler appended to a name (`.isra.0`, `.cold`) is left out.
///
/// The file is read through once, which takes some 100 ms, and not kept.
pub fn functions(locations: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    match File::open("/proc/kallsyms") {
        Ok(file) if !locations.is_empty() => named(BufReader::with_capacity(64 << 10, file), locations),
        Ok(_) | Err(_) => BTreeMap::new(),
    }
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
    fn hidden_addresses_name_nothing() {
        let list = "0000000000000000 T ip_rcv\n0000000000000000 T ip6_rcv\n";
        assert_eq!(at(list, [0xffff_ffff_8100_0000]), [None]);
    }
}
