//! One line of text for a frame, made to be reviewed: snapshots and `plan` are written with it.
//!
//! The line depends on nothing but the frame and its time. Start at [`line()`].

use std::fmt::{self, LowerHex, Write as _};
use std::time::Duration;

use super::bytes::{array, be16, byte};
use super::checksum::{Field, Sum, computed_header_sum, computed_transport_sum, ip_header_sum, transport_sum};
use super::layers::{Fragment, Ip, Layers, LinkType, Network, protocol};
use super::{crc, sctp};

/// A frame in one line: number, seconds since the first frame, length on the wire, MACs, VLAN tags, addresses with ports, what the
/// transport says, hop limit, checksums where they aren't right, and length and CRC-32 of the payload.
///
/// The first columns are padded, so that lines below each other can be compared; what is usual is left out.
pub fn line(number: u64, time_since_first: Duration, layers: &Layers, frame: &[u8], original_length: u32) -> String {
    let mut line = String::with_capacity(160);
    // Writing to a String can't fail.
    let _ = write_line(&mut line, number, time_since_first, layers, frame, original_length);
    line
}

fn write_line(
    line: &mut String,
    number: u64,
    time: Duration,
    layers: &Layers,
    frame: &[u8],
    original_length: u32,
) -> fmt::Result {
    write!(line, "{number:>6} {:>4}.{:09} {original_length:>5}B", time.as_secs(), time.subsec_nanos())?;
    if usize::try_from(original_length) != Ok(frame.len()) {
        write!(line, " (captured {}B)", frame.len())?;
    }
    write_link(line, layers, frame)?;
    match &layers.network {
        Network::None => write_unknown(line, layers, frame),
        Network::Arp { offset } => write_arp(line, layers, frame, *offset),
        Network::Ipv4(ip) | Network::Ipv6(ip) => write_ip(line, layers, ip, frame, original_length),
    }
}

fn write_link(line: &mut String, layers: &Layers, frame: &[u8]) -> fmt::Result {
    if let Some((destination, source)) = layers.macs(frame) {
        write!(line, "  {source} > {destination}")?;
    } else if layers.link != LinkType::ETHERNET {
        write!(line, "  link type {}", layers.link.0)?;
    }
    for tag in 0..layers.vlan_tags {
        let Some(control) = layers.vlan_tag(tag).and_then(|at| be16(frame, at)) else { break };
        write!(line, "  vlan {}", control & 0x0fff)?;
        if control >> 13 != 0 {
            write!(line, " priority {}", control >> 13)?;
        }
        if control & 0x1000 != 0 {
            line.push_str(" dei");
        }
    }
    Ok(())
}

fn write_unknown(line: &mut String, layers: &Layers, frame: &[u8]) -> fmt::Result {
    match layers.ethertype {
        Some(ethertype) => write!(line, "  ethertype {ethertype:#06x}")?,
        None if layers.link == LinkType::ETHERNET && frame.len() >= 14 => line.push_str("  802.3"),
        None if layers.link == LinkType::ETHERNET => line.push_str("  no whole Ethernet header"),
        None => {}
    }
    let headers = if layers.link == LinkType::ETHERNET { 14 + 4 * layers.vlan_tags } else { 0 };
    write_payload(line, frame.get(headers..).unwrap_or_default())
}

fn write_arp(line: &mut String, layers: &Layers, frame: &[u8], offset: usize) -> fmt::Result {
    let Some((sender, target)) = layers.arp_addresses(frame) else { return Ok(()) };
    let mac = |at| array(frame, offset + at).map(super::MacAddr).unwrap_or_default();
    match be16(frame, offset + 6) {
        Some(1) => line.push_str("  arp request"),
        Some(2) => line.push_str("  arp reply"),
        operation => write!(line, "  arp operation {}", operation.unwrap_or_default())?,
    }
    write!(line, "  sender {sender} {}  target {target} {}", mac(8), mac(18))
}

fn write_ip(line: &mut String, layers: &Layers, ip: &Ip, frame: &[u8], original_length: u32) -> fmt::Result {
    let Some((source, destination)) = layers.addresses(frame) else { return Ok(()) };
    match layers.ports(frame) {
        Some((from, to)) if source.is_ipv6() => write!(line, "  [{source}]:{from} > [{destination}]:{to}")?,
        Some((from, to)) => write!(line, "  {source}:{from} > {destination}:{to}")?,
        None => write!(line, "  {source} > {destination}")?,
    }
    write_protocol(line, ip, frame)?;
    match ip.fragment {
        Fragment::Whole => {}
        Fragment::First { id } => write!(line, "  fragment {id:#x} first")?,
        Fragment::Later { id, offset, last } => {
            write!(line, "  fragment {id:#x} at {offset}{}", if last { " last" } else { "" })?;
        }
    }
    if ip.length == 0 {
        line.push_str("  length 0");
    }
    let (traffic_class, hop_limit) = match layers.network {
        Network::Ipv4(_) => (byte(frame, ip.offset + 1).map(u16::from), byte(frame, ip.offset + 8)),
        _ => (be16(frame, ip.offset).map(|start| (start >> 4) & 0xff), byte(frame, ip.offset + 7)),
    };
    write!(line, "  ttl {}", hop_limit.unwrap_or_default())?;
    if let Some(traffic_class @ 1..) = traffic_class {
        write!(line, "  tos {traffic_class:#04x}")?;
    }
    write_sums(line, layers, ip, frame, original_length)?;
    write_payload(line, payload(ip, frame))?;
    match frame.len().saturating_sub(ip.end) {
        0 => Ok(()),
        trailer => write!(line, "  trailer {trailer}B"),
    }
}

fn write_protocol(line: &mut String, ip: &Ip, frame: &[u8]) -> fmt::Result {
    let has_header = !ip.is_later_fragment();
    match ip.protocol {
        protocol::TCP => {
            line.push_str("  tcp");
            if has_header && let Some(flags) = byte(frame, ip.payload + 13).filter(|_| ip.payload + 14 <= ip.end) {
                line.push(' ');
                // CWR ECE URG ACK PSH RST SYN FIN (RFC 9293 §3.1), as tcpdump abbreviates them.
                for (bit, letter) in ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'].into_iter().enumerate() {
                    if flags & (1 << bit) != 0 {
                        line.push(letter);
                    }
                }
            }
        }
        protocol::UDP => line.push_str("  udp"),
        protocol::UDPLITE => line.push_str("  udplite"),
        protocol::SCTP => line.push_str("  sctp"),
        protocol::DCCP => line.push_str("  dccp"),
        protocol::IGMP => line.push_str("  igmp"),
        protocol::ESP => line.push_str("  esp"),
        protocol::AH => line.push_str("  ah"),
        protocol::ICMP | protocol::ICMPV6 => {
            line.push_str(if ip.protocol == protocol::ICMP { "  icmp" } else { "  icmp6" });
            if has_header && let Some([kind, code]) = array(frame, ip.payload).filter(|_| ip.payload + 2 <= ip.end) {
                write!(line, " {kind}/{code}")?;
            }
        }
        other => write!(line, "  protocol {other}")?,
    }
    Ok(())
}

fn write_sums(line: &mut String, layers: &Layers, ip: &Ip, frame: &[u8], original_length: u32) -> fmt::Result {
    if ip_header_sum(&layers.network, frame) == Sum::Bad {
        write_bad(line, "ip sum", be16(frame, ip.offset + 10), computed_header_sum(ip, frame), 6)?;
    }
    match transport_sum(&layers.network, frame, original_length) {
        Sum::Good => Ok(()),
        Sum::None if ip.protocol == protocol::UDP && ip.port_offsets().is_some() => line.write_str("  no sum"),
        Sum::None => Ok(()),
        Sum::Offload => line.write_str("  sum offloaded"),
        Sum::Unverifiable => line.write_str("  sum unverifiable"),
        Sum::Bad if ip.protocol == protocol::SCTP => {
            let stored = array(frame, sctp::field(ip)).map(u32::from_be_bytes);
            write_bad(line, "sum", stored, sctp::computed(ip, frame).map(u32::from_be_bytes), 10)
        }
        Sum::Bad => {
            let stored = Field::find(&layers.network, frame).and_then(|field| be16(frame, field.at));
            write_bad(line, "sum", stored, computed_transport_sum(&layers.network, frame), 6)
        }
    }
}

/// A wrong checksum, and the right one where it is known; `width` includes the `0x`.
fn write_bad<N: LowerHex + Default>(
    line: &mut String,
    what: &str,
    stored: Option<N>,
    right: Option<N>,
    width: usize,
) -> fmt::Result {
    write!(line, "  {what} {:#0width$x} bad", stored.unwrap_or_default())?;
    right.map_or(Ok(()), |right| write!(line, " ({right:#0width$x})"))
}

/// What follows the transport header that we know, or the IP headers.
fn payload<'a>(ip: &Ip, frame: &'a [u8]) -> &'a [u8] {
    let header = match ip.protocol {
        _ if ip.is_later_fragment() => 0,
        protocol::TCP => byte(frame, ip.payload + 12).map_or(20, |offset| usize::from(offset >> 4) * 4),
        protocol::UDP | protocol::UDPLITE | protocol::ICMP | protocol::ICMPV6 => 8,
        protocol::SCTP => 12,
        _ => 0,
    };
    frame.get(..ip.end).and_then(|packet| packet.get(ip.payload + header..)).unwrap_or_default()
}

fn write_payload(line: &mut String, payload: &[u8]) -> fmt::Result {
    if payload.is_empty() {
        return Ok(());
    }
    write!(line, "  payload {}B {:08x}", payload.len(), crc::ETHERNET.of(payload.iter().copied()))
}
