//! The effective sysctls that decide what a host does with a packet, and those that a lab's receiver has by default. Start at
//! [`Settings::of`].

use serde::{Deserialize, Serialize};

use super::sysctl;
use crate::scenario::topology::SysctlSetting;

/// The effective sysctls that decide what a host does with a packet; what a kernel doesn't have is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// rp_filter: 0, 1 strict, 2 loose.
    pub rp_filter: u8,
    pub accept_local: bool,
    pub route_localnet: bool,
    pub accept_source_route: bool,
    /// Whether segment routing is switched on (`seg6_enabled` or `rpl_seg_enabled` of IPv6).
    pub segment_routing: bool,
    /// drop_unicast_in_l2_multicast, by family.
    pub drop_unicast_in_group: ByFamily,
    /// Whether it sends on what is for others: `forwarding` of the interface for IPv4, of `all` for IPv6.
    pub forwarding: ByFamily,
    pub ipv6_disabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ByFamily {
    pub v4: bool,
    pub v6: bool,
}

impl Settings {
    /// Those of an interface; `lookup` has the value of a key.
    pub(crate) fn of<E>(interface: &str, lookup: impl Fn(&str) -> Result<String, E>) -> Self {
        let number = |key: &str| sysctl::joined(key, &lookup).ok()?.value.parse::<u8>().ok();
        let own = |family: &str, name: &str| number(&format!("net.{family}.conf.{}.{name}", sysctl::name(interface)));
        let is_on = |family: &str, name: &str| own(family, name).unwrap_or(0) != 0;
        let four = |name| is_on("ipv4", name);
        let drops = |family| is_on(family, "drop_unicast_in_l2_multicast");
        Self {
            rp_filter: own("ipv4", "rp_filter").unwrap_or(0),
            accept_local: four("accept_local"),
            route_localnet: four("route_localnet"),
            accept_source_route: four("accept_source_route"),
            segment_routing: ["seg6_enabled", "rpl_seg_enabled"].iter().any(|name| is_on("ipv6", name)),
            drop_unicast_in_group: ByFamily { v4: drops("ipv4"), v6: drops("ipv6") },
            forwarding: ByFamily {
                v4: four("forwarding"),
                v6: number("net.ipv6.conf.all.forwarding").unwrap_or(0) != 0,
            },
            // An interface without IPv6 has no such sysctl.
            ipv6_disabled: own("ipv6", "disable_ipv6").unwrap_or(1) != 0,
        }
    }
}

/// What a lab's receiver has under `net.FAMILY.conf`: family, name, and the values of `all` and `default`, of which the latter is a new
/// interface's own. It is what a freshly booted kernel has (Documentation/networking/ip-sysctl.rst), but for what would make the receiver
/// talk: router solicitations, duplicate address detection, autoconfiguration.
pub(crate) const LAB_DEFAULTS: &[(&str, &str, &str, &str)] = &[
    ("ipv4", "accept_local", "0", "0"),
    ("ipv4", "accept_redirects", "1", "1"),
    ("ipv4", "accept_source_route", "0", "1"),
    ("ipv4", "arp_accept", "0", "0"),
    ("ipv4", "arp_announce", "0", "0"),
    ("ipv4", "arp_evict_nocarrier", "1", "1"),
    ("ipv4", "arp_filter", "0", "0"),
    ("ipv4", "arp_ignore", "0", "0"),
    ("ipv4", "arp_notify", "0", "0"),
    ("ipv4", "bc_forwarding", "0", "0"),
    ("ipv4", "bootp_relay", "0", "0"),
    ("ipv4", "disable_policy", "0", "0"),
    ("ipv4", "disable_xfrm", "0", "0"),
    ("ipv4", "drop_gratuitous_arp", "0", "0"),
    ("ipv4", "drop_unicast_in_l2_multicast", "0", "0"),
    ("ipv4", "force_igmp_version", "0", "0"),
    ("ipv4", "forwarding", "0", "0"),
    ("ipv4", "ignore_routes_with_linkdown", "0", "0"),
    ("ipv4", "log_martians", "0", "0"),
    ("ipv4", "promote_secondaries", "0", "0"),
    ("ipv4", "proxy_arp", "0", "0"),
    ("ipv4", "proxy_arp_pvlan", "0", "0"),
    ("ipv4", "route_localnet", "0", "0"),
    ("ipv4", "rp_filter", "0", "0"),
    ("ipv4", "secure_redirects", "1", "1"),
    ("ipv4", "send_redirects", "1", "1"),
    ("ipv4", "shared_media", "1", "1"),
    ("ipv4", "src_valid_mark", "0", "0"),
    ("ipv4", "tag", "0", "0"),
    ("ipv6", "disable_ipv6", "0", "0"),
    ("ipv6", "forwarding", "0", "0"),
    ("ipv6", "accept_ra", "0", "0"),
    ("ipv6", "accept_dad", "0", "0"),
    ("ipv6", "accept_redirects", "1", "1"),
    ("ipv6", "accept_source_route", "0", "0"),
    ("ipv6", "autoconf", "0", "0"),
    ("ipv6", "dad_transmits", "0", "0"),
    ("ipv6", "drop_unicast_in_l2_multicast", "0", "0"),
    ("ipv6", "drop_unsolicited_na", "0", "0"),
    ("ipv6", "ignore_routes_with_linkdown", "0", "0"),
    ("ipv6", "router_solicitations", "0", "0"),
    ("ipv6", "use_tempaddr", "0", "0"),
];

/// Writes the defaults of a lab's receiver, in its namespace and before it has an interface. A new namespace inherits the host's IPv4 values
/// (`net.core.devconf_inherit_init_net`).
pub(crate) fn write_lab_defaults() -> crate::diagnostic::Result<()> {
    for family in ["ipv4", "ipv6"] {
        let own = || LAB_DEFAULTS.iter().filter(|(of, ..)| *of == family);
        sysctl::write_all_there(&format!("net.{family}.conf.all"), own().map(|(_, name, all, _)| (*name, *all)))?;
        let default = own().map(|(_, name, _, default)| (*name, *default));
        sysctl::write_all_there(&format!("net.{family}.conf.default"), default)?;
    }
    Ok(())
}

/// The value that a sysctl of a lab's receiver has once `set` is written on top of the defaults; `None` where neither names it.
///
/// The interface begins with the values of `default`. Two names are copied from `all` to every interface when they are written there.
pub(crate) fn in_lab(key: &str, interface: &str, set: &[SysctlSetting]) -> Option<String> {
    let last = |is_meant: &dyn Fn(&str) -> bool| {
        set.iter().rev().find(|setting| is_meant(&setting.key)).map(|setting| setting.value.trim().to_owned())
    };
    let &["net", family, "conf", which, name] = key.split('.').collect::<Vec<_>>().as_slice() else {
        return last(&|written| written == key);
    };
    let copied: &[&str] = match (family, name) {
        _ if which != interface => &[],
        ("ipv4", "forwarding") => &["net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward"],
        ("ipv6", "disable_ipv6") => &["net.ipv6.conf.all.disable_ipv6"],
        _ => &[],
    };
    let written = last(&|written| written == key || copied.contains(&written));
    let by_default = || last(&|written| written == format!("net.{family}.conf.default.{name}"));
    let usual = LAB_DEFAULTS.iter().find(|(of, known, ..)| (*of, *known) == (family, name));
    let usual = usual.map(|(_, _, all, default)| if which == "all" { all } else { default });
    written.or_else(|| by_default().filter(|_| which == interface)).or_else(|| usual.map(|usual| (*usual).to_owned()))
}
