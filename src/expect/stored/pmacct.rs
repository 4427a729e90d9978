//! What the print and kafka plugins of pmacct's nfacctd and sfacctd write. Records with equal keys are one line there, with their sums.

use super::{Form, Shape};
use crate::scenario::expect::Column;

pub(super) const JSON: Form = Form {
    shape: Shape::Json,
    names: &[
        (Column::Source, &["ip_src"]),
        (Column::Destination, &["ip_dst"]),
        (Column::SourcePort, &["port_src"]),
        (Column::DestinationPort, &["port_dst"]),
        (Column::Protocol, &["ip_proto"]),
        (Column::Packets, &["packets"]),
        (Column::Bytes, &["bytes"]),
        (Column::Tos, &["tos"]),
        (Column::Input, &["iface_in"]),
        (Column::Output, &["iface_out"]),
        (Column::SourceAs, &["as_src"]),
        (Column::DestinationAs, &["as_dst"]),
        (Column::Exporter, &["peer_ip_src"]),
        (Column::Start, &["timestamp_start"]),
        (Column::End, &["timestamp_end"]),
    ],
};

pub(super) const CSV: Form = Form {
    shape: Shape::Csv { head: None },
    names: &[
        (Column::Source, &["SRC_IP"]),
        (Column::Destination, &["DST_IP"]),
        (Column::SourcePort, &["SRC_PORT"]),
        (Column::DestinationPort, &["DST_PORT"]),
        (Column::Protocol, &["PROTOCOL"]),
        (Column::Packets, &["PACKETS"]),
        (Column::Bytes, &["BYTES"]),
        (Column::Tos, &["TOS"]),
        (Column::Input, &["IN_IFACE"]),
        (Column::Output, &["OUT_IFACE"]),
        (Column::SourceAs, &["SRC_AS"]),
        (Column::DestinationAs, &["DST_AS"]),
        (Column::Exporter, &["PEER_SRC_IP"]),
        (Column::Start, &["TIMESTAMP_START"]),
        (Column::End, &["TIMESTAMP_END"]),
    ],
};
