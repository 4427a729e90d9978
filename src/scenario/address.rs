//! Addresses and prefixes as the file writes them. Start at [`network`].

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::form::refused;
use crate::diagnostic::Diagnostic;

/// Reads `192.0.2.0/24`, or an address, which is a /32 or /128. Host bits may be set.
pub(super) fn network(text: &str) -> Result<IpNet, Diagnostic> {
    const FORM: &str = "write an address like 192.0.2.20 or 2001:db8::1, or a prefix like 192.0.2.0/24";
    let (address, length) = match text.split_once('/') {
        None => (text, None),
        Some((address, length)) => (address, Some(length)),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(refused(format!("`{address}` is not an IP address"), FORM));
    };
    let Some(length) = length else { return Ok(IpNet::from(address)) };
    if let (IpAddr::V4(v4), Ok(IpAddr::V4(mask))) = (address, length.parse()) {
        return match Ipv4Net::with_netmask(v4, mask) {
            Ok(net) => Err(refused("a prefix length is wanted, not a mask", format!("write {net}"))),
            Err(_) => Err(refused(format!("`{mask}` is not a mask"), FORM)),
        };
    }
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(net) = length.parse().ok().filter(|_| digits).and_then(|length| IpNet::new(address, length).ok()) {
        return Ok(net);
    }
    let why = format!("`{length}` is not a prefix length: 0 to {longest} for this family");
    Err(refused(why, format!("write {address}/{longest} for the one address, or a shorter prefix")))
}

/// Reads a prefix whose host bits are zero.
pub(super) fn prefix(text: &str) -> Result<IpNet, Diagnostic> {
    let net = network(text)?;
    if net == net.trunc() {
        return Ok(net);
    }
    let address = net.addr();
    Err(refused(
        format!("it has bits set beyond its {} bits of prefix", net.prefix_len()),
        format!("write {} for the network, or {address}/{} for the one address", net.trunc(), net.max_prefix_len()),
    ))
}

/// Whether all of it is multicast: 224.0.0.0/4 (RFC 5771) or `ff00::/8` (RFC 4291).
pub(super) fn is_multicast(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_multicast() && net.prefix_len() >= 4,
        IpNet::V6(net) => net.addr().is_multicast() && net.prefix_len() >= 8,
    }
}

/// Whether it is a group, or 255.255.255.255: never a source (RFC 1122 §3.2.1.3, RFC 4291 §2.7).
pub(super) fn is_multicast_or_broadcast(net: &IpNet) -> bool {
    is_multicast(net) || matches!(net, IpNet::V4(net) if net.addr().is_broadcast() && net.prefix_len() == 32)
}
