//! What nfdump prints of the files of nfcapd and sfcapd: versions 1.6 and 1.7.

use super::{Form, Shape};
use crate::scenario::expect::Column;

pub(super) const JSON: Form = Form {
    shape: Shape::Json,
    names: &[
        (Column::Source, &["src4_addr", "src6_addr"]),
        (Column::Destination, &["dst4_addr", "dst6_addr"]),
        (Column::SourcePort, &["src_port"]),
        (Column::DestinationPort, &["dst_port"]),
        (Column::Protocol, &["proto"]),
        (Column::Packets, &["in_packets"]),
        (Column::Bytes, &["in_bytes"]),
        (Column::Tos, &["src_tos"]),
        (Column::Input, &["input_snmp"]),
        (Column::Output, &["output_snmp"]),
        (Column::SourceAs, &["src_as"]),
        (Column::DestinationAs, &["dst_as"]),
        (Column::NextHop, &["ip4_next_hop", "ip6_next_hop"]),
        (Column::Exporter, &["ip4_router", "ip6_router"]),
        (Column::Start, &["first"]),
        (Column::End, &["last"]),
    ],
};

/// Version 1.7.2 has other names.
pub(super) const CSV: Form = Form {
    // With `-q` there is no head.
    shape: Shape::Csv {
        head: Some(
            "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das,smk,dmk,dtos,dir,nh,nhb,svln,dvln,ismc,odmc,idmc,\
             osmc,mpls1,mpls2,mpls3,mpls4,mpls5,mpls6,mpls7,mpls8,mpls9,mpls10,cl,sl,al,ra,eng,exid,tr",
        ),
    },
    names: &[
        (Column::Source, &["sa", "srcAddr"]),
        (Column::Destination, &["da", "dstAddr"]),
        (Column::SourcePort, &["sp", "srcPort"]),
        (Column::DestinationPort, &["dp", "dstPort"]),
        (Column::Protocol, &["pr", "proto"]),
        (Column::Packets, &["ipkt", "packets"]),
        (Column::Bytes, &["ibyt", "bytes"]),
        (Column::Tos, &["stos", "srcTos"]),
        (Column::Input, &["in", "input"]),
        (Column::Output, &["out", "output"]),
        (Column::SourceAs, &["sas", "srcAS"]),
        (Column::DestinationAs, &["das", "dstAS"]),
        (Column::NextHop, &["nh", "nextHop"]),
        (Column::Exporter, &["ra", "router"]),
        (Column::Start, &["ts", "firstSeen"]),
        (Column::End, &["te", "lastSeen"]),
    ],
};
