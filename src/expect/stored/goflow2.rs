//! What goflow2 writes with `-format json`: the names of version 2, and those of version 1.

use super::{Form, Shape};
use crate::scenario::expect::Column;

pub(super) const JSON: Form = Form {
    shape: Shape::Json,
    names: &[
        (Column::Source, &["src_addr", "SrcAddr"]),
        (Column::Destination, &["dst_addr", "DstAddr"]),
        (Column::SourcePort, &["src_port", "SrcPort"]),
        (Column::DestinationPort, &["dst_port", "DstPort"]),
        (Column::Protocol, &["proto", "Proto"]),
        (Column::Packets, &["packets", "Packets"]),
        (Column::Bytes, &["bytes", "Bytes"]),
        (Column::Tos, &["ip_tos", "IPTos"]),
        (Column::Input, &["in_if", "InIf"]),
        (Column::Output, &["out_if", "OutIf"]),
        (Column::SourceAs, &["src_as", "SrcAS"]),
        (Column::DestinationAs, &["dst_as", "DstAS"]),
        (Column::NextHop, &["next_hop", "NextHop"]),
        (Column::Exporter, &["sampler_address", "SamplerAddress"]),
        (Column::Start, &["time_flow_start_ns", "time_flow_start", "TimeFlowStart"]),
        (Column::End, &["time_flow_end_ns", "time_flow_end", "TimeFlowEnd"]),
    ],
};
