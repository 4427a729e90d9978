//! The names of the kernel's functions by address (/proc/kallsyms). Start at [`Functions::read`].

use std::fs;

/// Every function, in the order of the addresses.
#[derive(Debug, Default)]
pub(super) struct Functions {
    text: Vec<u8>,
    /// Address, and where the name begins in the text.
    starts: Vec<(u64, u32)>,
}

impl Functions {
    /// Reads the kernel's list. It is empty where it can't be read, or hides the addresses (proc(5), `kptr_restrict`).
    pub(super) fn read() -> Self {
        fs::read("/proc/kallsyms").map(Self::of).unwrap_or_default()
    }

    /// From lines of address, kind and name.
    fn of(text: Vec<u8>) -> Self {
        let mut starts = Vec::with_capacity(text.len() / 48);
        let mut begin = 0;
        for line in text.split(|byte| *byte == b'\n') {
            starts
                .extend(function(line).and_then(|(address, name)| Some((address, u32::try_from(begin + name).ok()?))));
            begin += line.len() + 1;
        }
        // Stable: of several names of one address the list's first one.
        starts.sort_by_key(|(address, _)| *address);
        Self { text, starts }
    }

    /// The function that the location is in. What the compiler appended to its name (`.isra.0`, `.cold`) is left out.
    pub(super) fn at(&self, location: u64) -> Option<&str> {
        let behind = self.starts.partition_point(|(address, _)| *address <= location);
        let (address, _) = self.starts.get(behind.checked_sub(1)?)?;
        let first = self.starts.partition_point(|(other, _)| other < address);
        let (_, name) = self.starts.get(first)?;
        let tail = self.text.get(usize::try_from(*name).ok()?..)?;
        let end = tail.iter().position(|byte| matches!(byte, b'.' | b'\t' | b'\n' | b' ')).unwrap_or(tail.len());
        std::str::from_utf8(tail.get(..end)?).ok().filter(|name| !name.is_empty())
    }
}

/// The address, and where the name begins in the line; `None` for what is no function, or hidden.
fn function(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().position(|byte| *byte == b' ')?;
    let address = u64::from_str_radix(std::str::from_utf8(line.get(..digits)?).ok()?, 16).ok()?;
    let kind = line.get(digits + 1)?;
    (address > 0 && b"tTwW".contains(kind) && line.get(digits + 2) == Some(&b' ')).then_some((address, digits + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_in_the_function_that_begins_before_it() {
        let list = "ffff0030 t ip_rcv_finish_core.isra.0\nffff0010 T ip_rcv\nffff0010 T ip_rcv_alias\nffff0018 d table\n\
                    ffff0050 t veth_xmit\t[veth]\nnonsense\nffff0060 T \n";
        let functions = Functions::of(list.as_bytes().to_vec());
        let found = [0xffff_000f, 0xffff_0010, 0xffff_002f, 0xffff_0030, 0xffff_005f, 0xffff_0060];
        assert_eq!(
            found.map(|location| functions.at(location)),
            [None, Some("ip_rcv"), Some("ip_rcv"), Some("ip_rcv_finish_core"), Some("veth_xmit"), None]
        );
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let functions = Functions::of(b"0000000000000000 T ip_rcv\n0000000000000000 T ip6_rcv\n".to_vec());
        assert_eq!(functions.at(0xffff_ffff_8100_0000), None);
    }
}
