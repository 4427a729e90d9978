//! What Logstash's codec netflow makes of NetFlow v5 and v9 (names of v9's fields) and of IPFIX (names of IANA), written by its codecs json,
//! json_lines and rubydebug.

use super::{Form, Shape};
use crate::scenario::expect::Column;

type Names = &'static [(Column, &'static [&'static str])];

const NAMES: Names = &[
    (
        Column::Source,
        &["netflow.ipv4_src_addr", "netflow.ipv6_src_addr", "netflow.sourceIPv4Address", "netflow.sourceIPv6Address"],
    ),
    (
        Column::Destination,
        &[
            "netflow.ipv4_dst_addr",
            "netflow.ipv6_dst_addr",
            "netflow.destinationIPv4Address",
            "netflow.destinationIPv6Address",
        ],
    ),
    (Column::SourcePort, &["netflow.l4_src_port", "netflow.sourceTransportPort"]),
    (Column::DestinationPort, &["netflow.l4_dst_port", "netflow.destinationTransportPort"]),
    (Column::Protocol, &["netflow.protocol", "netflow.protocolIdentifier"]),
    (Column::Packets, &["netflow.in_pkts", "netflow.packetDeltaCount", "netflow.packetTotalCount"]),
    (Column::Bytes, &["netflow.in_bytes", "netflow.octetDeltaCount", "netflow.octetTotalCount"]),
    (Column::Tos, &["netflow.src_tos", "netflow.ipClassOfService"]),
    (Column::Input, &["netflow.input_snmp", "netflow.ingressInterface"]),
    (Column::Output, &["netflow.output_snmp", "netflow.egressInterface"]),
    (Column::SourceAs, &["netflow.src_as", "netflow.bgpSourceAsNumber"]),
    (Column::DestinationAs, &["netflow.dst_as", "netflow.bgpDestinationAsNumber"]),
    (Column::NextHop, &["netflow.ipv4_next_hop", "netflow.ipNextHopIPv4Address"]),
    (Column::Exporter, &["host.ip", "host"]),
    (Column::Start, &["netflow.first_switched", "netflow.flowStartMilliseconds", "netflow.flowStartSeconds"]),
    (Column::End, &["netflow.last_switched", "netflow.flowEndMilliseconds", "netflow.flowEndSeconds"]),
];

pub(super) const JSON: Form = Form { shape: Shape::Json, names: NAMES };
pub(super) const RUBYDEBUG: Form = Form { shape: Shape::Rubydebug, names: NAMES };
