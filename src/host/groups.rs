//! The multicast groups that are joined on an interface (igmp(7), `/proc/net/igmp`, `/proc/net/igmp6`). Start at [`joined`].

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The groups that are joined on an interface; none where the kernel doesn't say.
pub fn joined(index: u32) -> BTreeSet<IpAddr> {
    let text = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let four = four_groups(&text("igmp"), index).into_iter().map(IpAddr::V4);
    let six = six_groups(&text("igmp6"), index).into_iter().map(IpAddr::V6);
    four.chain(six).collect()
}

/// `/proc/net/igmp`: a line for each interface, which begins with its index, and below it one for each group, in the machine's byte
/// order and hexadecimal.
fn four_groups(text: &str, index: u32) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut here = false;
    for line in text.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if line.starts_with(char::is_whitespace) {
            let group = u32::from_str_radix(first, 16).ok().filter(|_| here);
            found.extend(group.map(|group| Ipv4Addr::from(group.to_ne_bytes())));
        } else {
            here = first.parse() == Ok(index);
        }
    }
    found
}

/// `/proc/net/igmp6`: index, name, group.
fn six_groups(text: &str, index: u32) -> Vec<Ipv6Addr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (first, _, group) = (fields.next(), fields.next(), fields.next());
        if first.and_then(|first| first.parse().ok()) == Some(index) {
            found.extend(group.and_then(|group| u128::from_str_radix(group, 16).ok()).map(Ipv6Addr::from));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_interface() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\
                    \t\t\t\t010000E0     1 0:00000000\t\t0\n2\tenp0s8    :     2      V3\n\
                    \t\t\t\t010101EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let of = |index| four_groups(igmp, index).iter().map(ToString::to_string).collect::<Vec<_>>();
        if cfg!(target_endian = "little") {
            assert_eq!(of(2), ["239.1.1.1", "224.0.0.1"]);
            assert_eq!(of(1), ["224.0.0.1"]);
        }
        assert!(of(3).is_empty());
        let igmp6 = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
                     2    enp0s8          ff0200000000000000000001ff000002     1 00000004 0\n";
        assert_eq!(six_groups(igmp6, 2), ["ff02::1:ff00:2".parse::<Ipv6Addr>().unwrap()]);
    }
}
