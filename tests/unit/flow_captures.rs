//! Flow exports of real exporters: the same counts and values that logstash, nfcapd and nfacctd have made of them.
//!
//! They are no part of the project, so that these tests are left out unless they are asked for:
//! `RESTAGE_CAPTURES=FOLDER cargo test --lib -- --ignored flow_captures`.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{as_json, inspect_flows};
use crate::capture::Reader;
use crate::flow::{FlowExporter, FlowExports};

/// The folder of the captures.
fn corpus() -> PathBuf {
    std::env::var_os("RESTAGE_CAPTURES").expect("RESTAGE_CAPTURES names the folder of the captures").into()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it can be read")).expect("it is JSON")
}

fn flows(path: &Path) -> FlowExports {
    let (found, failure) = inspect_flows(&mut Reader::open(path).expect("it is a capture"));
    assert!(failure.is_none(), "{failure:?}");
    found.flows.expect("they were asked for")
}

/// Every record, as `--flows=records --json` writes it.
fn records(path: &Path) -> Vec<Value> {
    let mut text = Vec::new();
    as_json(&mut Reader::open(path).expect("it is a capture"), &mut text).expect("a vector can be written to");
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// The parts of the manifest by their capture.
fn manifest(corpus: &Path) -> BTreeMap<String, Value> {
    let parts = json(&corpus.join("flow/MANIFEST.json"));
    let parts = parts.as_array().expect("a list").iter();
    parts.map(|part| (part["file"].as_str().expect("a name").to_owned(), part.clone())).collect()
}

/// The number of flows that nfcapd stored, from its own summary.
fn stored_by_nfcapd(part: &Value, port: u16) -> u64 {
    let summary = part["collectors_measured"][format!("nfcapd_{port}_stat")].as_str().expect("a summary");
    let flows = summary.strip_prefix("Flows: ").and_then(|rest| rest.split(' ').next());
    flows.and_then(|flows| flows.parse().ok()).expect("it begins with the number of flows")
}

/// The records of flows to a port.
fn to_port(found: &FlowExports, port: u16) -> u64 {
    found.exporters.iter().filter(|exporter| exporter.collector.port() == port).map(|exporter| exporter.records).sum()
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn appflow_has_the_records_that_nfcapd_stores_and_the_sets_that_it_can_not_read() {
    let corpus = corpus();
    let part = &manifest(&corpus)["appflow.pcap"];
    let found = flows(&corpus.join("flow/appflow.pcap"));
    assert_eq!(found.sum(|exporter| exporter.records), part["decodable_data_records"].as_u64().expect("a number"));
    assert_eq!(to_port(&found, 4739), stored_by_nfcapd(part, 4739));
    let of_template = |id: u16| -> u64 {
        let templates = found.exporters.iter().flat_map(|exporter| &exporter.templates);
        templates.filter(|template| template.id == id).map(|template| template.records).sum()
    };
    assert_eq!((of_template(257), of_template(258)), (512, 438 + 451));
    let unread: u64 = found.exporters.iter().flat_map(|exporter| &exporter.undecodable).map(|part| part.sets).sum();
    assert_eq!(unread, part["data_records"]["set 280 (template never sent: undecodable)"].as_u64().expect("a number"));
    assert!(found.exporters.iter().all(|exporter| exporter.sequence.is_some_and(|gaps| gaps.gaps == 0)));
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn every_exporter_has_as_many_records_as_logstash_decodes() {
    let corpus = corpus();
    let manifest = manifest(&corpus);
    for name in ["exporters.pcap", "exporters-mixed.pcap"] {
        let part = &manifest[name];
        let found = flows(&corpus.join("flow").join(name));
        let rounds = part["rounds"].as_u64().expect("a number");
        let mut judged = 0;
        // Those that send over IPv6 in the second capture have another address there, and are judged in the first alone.
        for exporter in part["exporters"].as_array().expect("a list") {
            let address = exporter["exporter"].as_str().expect("an address");
            let Some(mine) = found.exporters.iter().find(|mine| mine.address.to_string() == address) else { continue };
            let Some(wanted) = exporter["decoded_records_per_round"].as_u64() else { continue };
            // Three messages in one datagram: logstash decodes the first alone.
            let wanted = if exporter["context"] == "IPFIX" { 13 } else { wanted };
            assert_eq!(mine.records + mine.options_records, wanted * rounds, "{name} {exporter}");
            judged += 1;
        }
        assert!(judged > 8, "{judged} exporters of {name}");
    }
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn nfcapd_stores_the_same_number_of_flows_but_for_two_exporters() {
    let corpus = corpus();
    let manifest = manifest(&corpus);
    for (name, rounds) in [("exporters.pcap", 8), ("exporters-mixed.pcap", 4)] {
        let found = flows(&corpus.join("flow").join(name));
        let of = |context: &str| -> u64 {
            let exporters = manifest[name]["exporters"].as_array().expect("a list");
            let address =
                exporters.iter().find(|exporter| exporter["context"] == context).map(|it| it["exporter"].clone());
            let is_it = |exporter: &&FlowExporter| address == Some(exporter.address.to_string().into());
            found.exporters.iter().filter(is_it).map(|exporter| exporter.records).sum()
        };
        // nfcapd reads the first of three messages in a datagram, which has 6 of 12 flows.
        assert_eq!(of("IPFIX"), 12 * rounds);
        // A header that announces 2 records, with bytes behind them that nfcapd reads as 28 more.
        assert_eq!(of("Netflow 5 valid 01"), 2 * rounds);
        if name == "exporters.pcap" {
            assert_eq!(to_port(&found, 4739), stored_by_nfcapd(&manifest[name], 4739) + 6 * rounds);
            assert_eq!(to_port(&found, 2055), stored_by_nfcapd(&manifest[name], 2055) - 28 * rounds);
        }
    }
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn fields_have_the_values_that_logstash_decodes() {
    let corpus = corpus();
    let expected = json(&corpus.join("flow/EXPECTED_RECORDS.json"));
    let manifest = manifest(&corpus);
    let records = records(&corpus.join("flow/exporters.pcap"));
    let mut compared = 0;
    for exporter in manifest["exporters.pcap"]["exporters"].as_array().expect("a list") {
        // Only those of IPFIX have the names of IANA there.
        if exporter["version"] != 10 {
            continue;
        }
        let mine: Vec<&Map<String, Value>> = records
            .iter()
            .filter(|record| record["exporter"] == exporter["exporter"])
            .map(|record| record["fields"].as_object().expect("fields"))
            .collect();
        let of_it = expected.as_array().expect("a list").iter().find(|part| part["context"] == exporter["context"]);
        for event in of_it.expect("it is expected")["events"].as_array().expect("a list") {
            let wanted = event["netflow"].as_object().expect("fields");
            let same = |name: &String, value: &Value, mine: &Map<String, Value>| {
                // Not IANA's names, or times in a form of logstash's own.
                let own = name == "version" || name == "systemInitTimeMilliseconds" || name.starts_with("nat");
                own || name.starts_with("netscalerUnknown")
                    || value.as_str().is_some_and(|text| text.contains("#{nanos}"))
                    || mine.get(name) == Some(value)
            };
            assert!(
                mine.iter().any(|mine| wanted.iter().all(|(name, value)| same(name, value, mine))),
                "{exporter} has no record with {wanted:?}"
            );
            compared += wanted.len();
        }
    }
    assert!(compared > 150, "{compared} fields");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn packets_and_bytes_sum_up_to_what_nfacctd_stores() {
    let corpus = corpus();
    for (test, parts) in [
        ("101-NFv9-CISCO-cust_primitives", 1),
        ("111-IPFIXv10-NFv9-IPv6-IPv4-mix_sources", 2),
        ("501-IPFIXv10-BGP-IPv6-CISCO-MPLS", 1),
        ("502-IPFIXv10-BGP-IPv6-CISCO-SRv6-lcomms", 1),
    ] {
        let sum = |rows: &[Value], name: &str| -> u64 { rows.iter().filter_map(|row| row[name].as_u64()).sum() };
        let mut fields = Vec::new();
        for part in 0..parts {
            let path = corpus.join(format!("captures/pmacct+pmacct/tests__{test}__traffic-0{part}.pcap"));
            let records = records(&path).into_iter().filter(|record| record["kind"] == "flow");
            fields.extend(records.map(|mut record| record["fields"].take()));
        }
        let path = corpus.join(format!("pmacct-expected/tests__{test}__output-flow-00.json"));
        let text = fs::read_to_string(path).expect("it can be read");
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let stored: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        let mine = (sum(&fields, "packetDeltaCount"), sum(&fields, "octetDeltaCount"));
        assert_eq!(mine, (sum(&stored, "packets"), sum(&stored, "bytes")), "{test}");
        // Equal flows are one row there.
        assert!(fields.len() >= stored.len(), "{test}");
    }
}
