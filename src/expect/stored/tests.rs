//! What collectors wrote of the same records, read into one form.

use super::*;
use crate::diagnostic::At;

/// The rows of a text, a line each.
fn rows(format: StoredFormat, columns: &[(Column, &str)], text: &str) -> String {
    let columns = columns.iter().map(|(column, name)| (*column, (*name).to_owned())).collect();
    let rule = StoredFlows { format: At::default_value(format), key: Vec::new(), compare: None, columns };
    match read(&rule, text.as_bytes()).expect("bytes can be read") {
        Err(why) => format!("can't be read: {why}"),
        Ok(stored) => {
            let lines = stored.rows.iter().map(|row| {
                let cells = Column::ALL.iter().zip(row);
                let cells = cells.filter_map(|(column, cell)| Some(format!("{column} {}", cell.as_ref()?)));
                cells.collect::<Vec<_>>().join(", ")
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn each_collector_is_read_into_the_same_form() {
    let nfdump = "{\n\t\"type\" : \"FLOW\",\n\t\"in_packets\" : 3,\n\t\"in_bytes\" : 200,\n\t\"proto\" : 17,\n\t\"src_port\" : 53,\n\t\"dst_port\" : 1024,\n\t\"src4_addr\" : \"192.0.2.1\",\n\t\"dst4_addr\" : \"192.0.2.2\"\n},\n{ \"proto\" : 58, \"src6_addr\" : \"2001:db8:0::1\", \"dst6_addr\" : \"2001:db8::2\", \"in_packets\" : 1, \"in_bytes\" : 64 }";
    let logstash = "{\"netflow\":{\"ipv4_src_addr\":\"192.0.2.1\",\"ipv4_dst_addr\":\"192.0.2.2\",\"l4_src_port\":53,\"l4_dst_port\":1024,\"protocol\":17,\"in_pkts\":3,\"in_bytes\":200},\"host\":\"192.0.2.9\"}\n{\"message\":\"not a flow\"}";
    let rubydebug = "[INFO] started\n{\n    \"@timestamp\" => 2026-01-01T00:00:00.250Z,\n          \"tags\" => [\n        [0] \"a\",\n        [1] \"b, \\\"c\\\"\"\n    ],\n       \"netflow\" => {\n        \"sourceIPv4Address\" => \"192.0.2.1\",\n        \"destinationIPv4Address\" => \"192.0.2.2\",\n        \"sourceTransportPort\" => 53,\n        \"destinationTransportPort\" => 1024,\n        \"protocolIdentifier\" => 17,\n        \"packetDeltaCount\" => 3,\n        \"octetDeltaCount\" => 200,\n        \"nothing\" => nil\n    }\n}\n";
    let telegraf = "{\"metrics\":[{\"fields\":{\"src\":\"192.0.2.1\",\"dst\":\"192.0.2.2\",\"src_port\":53,\"dst_port\":1024,\"protocol\":\"udp\",\"in_packets\":3,\"in_bytes\":200},\"name\":\"netflow\",\"tags\":{\"source\":\"192.0.2.9\"}}]}\n";
    let goflow2 = "{\"type\":\"IPFIX\",\"sampler_address\":\"192.0.2.9\",\"src_addr\":\"192.0.2.1\",\"dst_addr\":\"192.0.2.2\",\"proto\":\"UDP\",\"src_port\":53,\"dst_port\":1024,\"packets\":3,\"bytes\":200}\n";
    let pmacct = "{\"event_type\": \"purge\", \"ip_src\": \"192.0.2.1\", \"ip_dst\": \"192.0.2.2\", \"port_src\": 53, \"port_dst\": 1024, \"ip_proto\": \"udp\", \"packets\": 3, \"bytes\": 200}\n";
    let pmacct_csv = "SRC_IP,DST_IP,SRC_PORT,DST_PORT,PROTOCOL,PACKETS,BYTES\n192.0.2.1,192.0.2.2,53,1024,udp,3,200\nSRC_IP,DST_IP,SRC_PORT,DST_PORT,PROTOCOL,PACKETS,BYTES\n192.0.2.1,192.0.2.2,0,0,gre,1,64\n";
    let nfdump_csv = "2026-01-01 00:00:00,2026-01-01 00:00:01,1.000,192.0.2.1,192.0.2.2,53,1024,UDP,........,0,0,3,200,0,0,1,2,0,0\nSummary\nflows,bytes,packets,avg_bps,avg_pps,avg_bpp\n1,200,3,1,1,66\n";
    let own = "a;b\n";
    let json = "[{\"s\": \"192.0.2.1\", \"n\": {\"octets\": 200.0}}, {\"other\": 1}]";
    let texts = [
        ("nfdump-json", rows(StoredFormat::NfdumpJson, &[], nfdump)),
        ("nfdump-csv", rows(StoredFormat::NfdumpCsv, &[], nfdump_csv)),
        ("pmacct-json", rows(StoredFormat::PmacctJson, &[], pmacct)),
        ("pmacct-csv", rows(StoredFormat::PmacctCsv, &[], pmacct_csv)),
        ("goflow2-json", rows(StoredFormat::Goflow2Json, &[], goflow2)),
        ("logstash-json", rows(StoredFormat::LogstashJson, &[], logstash)),
        ("logstash-rubydebug", rows(StoredFormat::LogstashRubydebug, &[], rubydebug)),
        ("telegraf-json", rows(StoredFormat::TelegrafJson, &[], telegraf)),
        ("json", rows(StoredFormat::Json, &[(Column::Source, "s"), (Column::Bytes, "n.octets")], json)),
        (
            "csv",
            rows(
                StoredFormat::Csv,
                &[(Column::Source, "src"), (Column::Bytes, "octets")],
                "octets,src\n200,192.0.2.1\n,x\n",
            ),
        ),
        ("a csv without a head", rows(StoredFormat::Csv, &[(Column::Source, "src"), (Column::Bytes, "octets")], own)),
        ("no json", rows(StoredFormat::PmacctJson, &[], "{}\n{\"a\" 1}\n")),
        ("no rubydebug", rows(StoredFormat::LogstashRubydebug, &[], "{\n  \"a\" => {\n")),
        ("nothing", rows(StoredFormat::NfdumpJson, &[], "[\nNo matching flows\n]\n")),
    ];
    insta::assert_snapshot!(texts.map(|(name, rows)| format!("{name}\n{rows}\n")).join("\n"));
}

#[test]
fn times_are_read_in_every_form_to_the_second() {
    let of = |text: &str| cell(Column::Start, text).to_string();
    for text in [
        "2017-07-14T02:40:00.250",
        "2017-07-14 02:40:00",
        "2017-07-14T02:40:00Z",
        "2017-07-14T04:40:00.999+02:00",
        "1500000000",
        "1500000000.250000",
        "1500000000250",
        "1500000000250000",
        "1500000000250000000",
    ] {
        assert_eq!(of(text), "1500000000", "{text}");
    }
    assert_eq!(of("yesterday"), "`yesterday`");
}
