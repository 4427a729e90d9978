//! What Telegraf's input netflow writes with `data_format = "json"`.

use super::{Form, Shape};
use crate::scenario::expect::Column;

pub(super) const JSON: Form = Form {
    shape: Shape::Json,
    names: &[
        (Column::Source, &["fields.src"]),
        (Column::Destination, &["fields.dst"]),
        (Column::SourcePort, &["fields.src_port"]),
        (Column::DestinationPort, &["fields.dst_port"]),
        (Column::Protocol, &["fields.protocol"]),
        (Column::Packets, &["fields.in_packets"]),
        (Column::Bytes, &["fields.in_bytes"]),
        (Column::Input, &["fields.in_snmp"]),
        (Column::Output, &["fields.out_snmp"]),
        (Column::SourceAs, &["fields.bgp_src_as"]),
        (Column::DestinationAs, &["fields.bgp_dst_as"]),
        (Column::NextHop, &["fields.next_hop"]),
        (Column::Exporter, &["tags.source"]),
    ],
};
