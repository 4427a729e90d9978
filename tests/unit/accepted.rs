//! What the files in `tests/accepted` mean.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capture::FileOrder;
use crate::diagnostic::{Style, render};
use crate::packet::MacAddr;
use crate::scenario::capture::Truncated;
use crate::scenario::expect::{Bound, CommandCheck, Count, HowMany, OutputCheck, OutputFrom};
use crate::scenario::pacing::{Limit, Precision, Rate, SenderChoice};
use crate::scenario::receiver::ReceiverPlace;
use crate::scenario::require::{Offload, OffloadRule, any_of};
use crate::scenario::rewrite::{
    Checksums, HeaderFields, IpMap, Lengths, LinkLayer, MacMap, MacTarget, NewTag, OtherFrames, Oversize,
    PayloadProtocol, Side, TagPosition, TimeTarget, Ttl, TunnelLayers, Vlan,
};
use crate::scenario::step::{Signal, Step};
use crate::scenario::topology::{LabMac, LabTopology, Routes, Ruleset, Topology};
use crate::scenario::{self, Scenario};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accepted")
}

fn read(name: &str) -> Scenario {
    crate::Scenario::from_file(folder().join(name))
        .unwrap_or_else(|failure| panic!("{}", render(&failure.problems, Style::Plain)))
}

fn lab(scenario: &Scenario) -> &LabTopology {
    match &scenario.topology {
        Topology::Lab(lab) => lab,
        Topology::Target { .. } | Topology::Existing(_) => panic!("no lab"),
    }
}

fn text(scenario: &Scenario, span: &Range<usize>) -> String {
    scenario.source.text[span.clone()].to_owned()
}

#[test]
fn a_scenario_that_measures_runs_alone_unless_it_says_otherwise() {
    let exclusive =
        ["shortest.toml", "every_word.toml", "target.toml", "the_other_words.toml"].map(|name| read(name).exclusive);
    assert_eq!(exclusive, [false, false, true, true]);
}

#[test]
fn a_receiver_that_is_there_already_has_no_word_of_the_lab_but_those_of_the_pair() {
    let scenario = read("existing.toml");
    let Topology::Existing(existing) = &scenario.topology else { panic!("{:?}", scenario.topology) };
    assert_eq!(existing.at.value, ReceiverPlace::Netns("collector".to_owned()));
    assert_eq!(text(&scenario, existing.at.span.as_ref().unwrap()), "\"netns:collector\"");
    assert!(existing.runs_already && scenario.exclusive);
    assert_eq!((existing.pair.mtu.value, scenario.topology.receiver()), (9000, "restage0"));
    assert_eq!(scenario.topology.lab(), None);
    let rules: Vec<&str> = scenario.require.interface.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(rules, ["restage0", "eth0", "tx0"]);
    assert_eq!(scenario.require.sysctl[0].key, "net.ipv4.conf.restage0.rp_filter");
    assert!(matches!(scenario.rewrite.sides[1].ip, Some(IpMap::Receiver { v4: None, v6: None, .. })));
}

#[test]
fn every_place_of_a_receiver_is_written_as_it_is_read() {
    for word in ["host", "netns:collector", "pid:1234", "container:collector", "compose:collector"] {
        let text =
            format!("format = 1\n[capture]\nfile = \"a.pcap\"\n[receiver]\nat = \"{word}\"\ncommand = [\"true\"]\n");
        let scenario = Scenario::from_text(&text).unwrap();
        let existing = scenario.topology.existing().unwrap();
        assert_eq!((existing.at.value.to_string().as_str(), existing.runs_already), (word, false));
    }
}

#[test]
fn the_top_and_the_capture_are_read() {
    let scenario = read("every_word.toml");
    assert_eq!(scenario.name, "every_word");
    assert_eq!(scenario.folder, folder());
    assert_eq!(scenario.summary.as_deref(), Some("exported flows reach the collector"));
    assert_eq!(scenario.tags, ["ipfix", "smoke"]);
    assert!(!scenario.exclusive);
    let timeout = scenario.timeout.as_ref().unwrap();
    assert_eq!(timeout.value, Duration::from_mins(1));
    assert_eq!(text(&scenario, timeout.span.as_ref().unwrap()), "\"60s\"");
    let capture = &scenario.capture;
    let files: Vec<_> = capture.files.paths().collect();
    assert_eq!(files, [folder().join("captures/flows.pcapng"), folder().join("captures/more.pcap.gz")]);
    assert_eq!(capture.files.order(), FileOrder::Time);
    assert_eq!(capture.filter.as_ref().unwrap().value, "udp dst port 4739");
    assert_eq!(capture.frames.as_ref().unwrap().value.to_string(), "1-100,200,300-");
    assert_eq!(capture.truncated.value, Truncated::Pad);
    assert!(capture.sha256.as_ref().unwrap().value.starts_with("9f86d081"));
}

#[test]
fn payloads_are_read_in_the_order_of_their_names() {
    let capture = read("payloads.toml").capture;
    assert!(capture.files.are_payloads());
    let names: Vec<_> =
        capture.files.paths().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let expected = ["netflow-v5-2.hex", "netflow-v5-1.dat", "netflow-v5-4.dat", "netflow-v5-5.dat", "absent.b64"];
    assert_eq!(names, expected);
}

#[test]
fn payloads_to_rewrite_are_read_with_their_ports() {
    let rewrite = read("every_word.toml").rewrite;
    let flows = rewrite.flows.unwrap();
    assert_eq!((flows.time.unwrap().value, flows.copies.unwrap().value.get()), (TimeTarget::Now, 1000));
    assert!(flows.addresses.is_some() && flows.sequence.is_some());
    let templates = flows.templates.unwrap();
    assert_eq!(templates.repeat_every, Some(Duration::from_secs(30)));
    assert_eq!(templates.from.unwrap().paths().collect::<Vec<_>>(), [folder().join("captures/templates.pcap")]);
    let rules = rewrite.payload;
    let ports: Vec<_> = rules.iter().map(|rule| (rule.protocol.word(), rule.ports.as_slice())).collect();
    let expected: [(&str, &[u16]); 5] =
        [("dns", &[53]), ("snmp", &[1162]), ("sip", &[5060]), ("radius", &[1645, 1646]), ("syslog", &[514, 1514])];
    assert_eq!(ports, expected);
    let PayloadProtocol::Syslog { time, replace } = &rules[4].protocol else { panic!("{:?}", rules[4]) };
    assert_eq!(*time, TimeTarget::At("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(replace, &[(r"host=(\S+)".to_owned(), "host=lab-$1".to_owned())]);
}

#[test]
fn maps_are_read_in_the_order_of_the_file() {
    let scenario = read("every_word.toml");
    let rewrite = &scenario.rewrite;
    assert_eq!(rewrite.checksums, Checksums::Fix);
    assert!(rewrite.allow_unused);
    let [source, destination, both, ..] = rewrite.sides.as_slice() else { panic!("five sides") };
    assert_eq!([source.side, destination.side, both.side], [Side::Source, Side::Destination, Side::Both]);
    let Some(IpMap::Prefixes(prefixes)) = &source.ip else { panic!("a map") };
    let arrows: Vec<_> = prefixes.iter().map(|entry| format!("{} > {}", entry.from, entry.to)).collect();
    assert_eq!(arrows, ["10.44.1.0/24 > 192.0.2.0/24", "2001:db8:1::/48 > fd00:1::/48"]);
    assert_eq!(text(&scenario, &prefixes[0].span), "\"10.44.1.0/24\" = \"192.0.2.0/24\"");
    assert!(matches!(&source.mac, Some(MacMap::All(at)) if at.value == MacTarget::Sender));
    let ports: Vec<_> = source.port.iter().map(|entry| (entry.from, entry.last, entry.to)).collect();
    assert_eq!(ports, [(2055, 2055, 4739), (8000, 8099, 80)]);
    let Some(IpMap::Receiver { v4, v6, .. }) = &destination.ip else { panic!("the receiver") };
    assert_eq!([v4.unwrap().to_string(), v6.unwrap().to_string()], ["192.0.2.20", "2001:db8::20"]);
    let Some(MacMap::Entries(macs)) = &destination.mac else { panic!("a map") };
    assert_eq!(macs[0].to, MacTarget::Receiver);
    assert_eq!(macs[1].from, MacAddr([0, 0x1b, 0x21, 0, 0, 2]));
    assert_eq!(macs[1].to, MacTarget::Literal(MacAddr([2, 0, 0, 0, 0, 9])));
    let Some(IpMap::Prefixes(prefixes)) = &both.ip else { panic!("a map") };
    assert_eq!(prefixes[0].from.to_string(), "10.44.1.7/32");
}

#[test]
fn client_and_server_have_maps_like_the_other_sides() {
    let scenario = read("every_word.toml");
    let [.., client, server] = scenario.rewrite.sides.as_slice() else { panic!("five sides") };
    assert_eq!([client.side, server.side], [Side::Client, Side::Server]);
    let Some(IpMap::Prefixes(prefixes)) = &client.ip else { panic!("a map") };
    let arrows: Vec<_> = prefixes.iter().map(|entry| format!("{} > {}", entry.from, entry.to)).collect();
    assert_eq!(arrows, ["10.44.2.0/24 > 198.51.100.0/24", "10.44.9.1/32 > 198.51.100.1/32"]);
    let Some(MacMap::Entries(macs)) = &client.mac else { panic!("a map") };
    assert_eq!(macs[0].to, MacTarget::Sender);
    assert_eq!((client.port[0].from, client.port[0].last, client.port[0].to), (40000, 40099, 4000));
    // The same prefix as the client's: in one frame the two are different hosts.
    let Some(IpMap::Prefixes(prefixes)) = &server.ip else { panic!("a map") };
    let arrows: Vec<_> = prefixes.iter().map(|entry| format!("{} > {}", entry.from, entry.to)).collect();
    assert_eq!(arrows, ["10.44.2.0/24 > 192.0.2.0/24", "239.1.1.1/32 > 239.1.1.2/32"]);
    let scenario = read("the_other_words.toml");
    let [client, server] = scenario.rewrite.sides.as_slice() else { panic!("two sides") };
    assert!(matches!(&client.mac, Some(MacMap::All(at)) if at.value == MacTarget::Sender));
    assert!(matches!(&server.mac, Some(MacMap::All(at)) if at.value == MacTarget::Receiver));
    let Some(IpMap::Receiver { v4: Some(v4), v6: None, .. }) = &server.ip else { panic!("the receiver") };
    assert_eq!(v4.to_string(), "192.0.2.20");
}

#[test]
fn lengths_oversize_and_layers_are_read() {
    let scenario = read("every_word.toml");
    let rewrite = &scenario.rewrite;
    assert_eq!((rewrite.lengths, rewrite.layers), (Lengths::Fix, TunnelLayers::All));
    assert_eq!(rewrite.oversize.value, Oversize::Truncate);
    assert_eq!(text(&scenario, rewrite.oversize.span.as_ref().unwrap()), "\"truncate\"");
    let other = read("the_other_words.toml").rewrite;
    assert_eq!((other.oversize.value, other.layers), (Oversize::Skip, TunnelLayers::Inner));
    assert_eq!((other.other_frames.value, other.link_layer), (OtherFrames::Skip, LinkLayer::Ethernet));
    assert_eq!((rewrite.other_frames.value, rewrite.link_layer), (OtherFrames::Refuse, LinkLayer::Captured));
}

#[test]
fn a_vlan_tag_is_pushed_popped_or_mapped() {
    let scenario = read("every_word.toml");
    let Some(Vlan::Push { tags, position: TagPosition::Outside(1) }) = &scenario.rewrite.vlan else { panic!("a push") };
    let [NewTag { tpid: 0x88a8, id: 100, priority: 3, dei: true, span }, NewTag { tpid: 0x8100, id: 10, .. }] =
        tags.as_slice()
    else {
        panic!("two tags")
    };
    assert_eq!(text(&scenario, span), "{ id = 100, priority = 3, dei = true, tpid = 0x88a8 }");
    let scenario = read("target.toml");
    let Some(Vlan::Pop { tag: Some(TagPosition::Outside(2)), span }) = &scenario.rewrite.vlan else { panic!("a pop") };
    assert_eq!(text(&scenario, span), "true");
    let scenario = read("the_other_words.toml");
    let Some(Vlan::Map { tag: TagPosition::Innermost, entries: map }) = &scenario.rewrite.vlan else { panic!("a map") };
    let arrows: Vec<_> = map.iter().map(|entry| (entry.from.clone(), entry.to.clone())).collect();
    let one = |from: u16, to| (Some(from..=from), to..=to);
    let ranges = [(Some(100..=199), 7..=7), (Some(200..=209), 300..=309)];
    assert_eq!(arrows, [&[one(10, 20), one(0, 4094)][..], &ranges, &[(None, 30..=30)]].concat());
    assert_eq!(text(&scenario, &map[4].span), "\"*\" = 30");
}

#[test]
fn header_fields_are_read() {
    let scenario = read("every_word.toml");
    let header = &scenario.rewrite.header;
    assert_eq!(header.ttl.as_ref().unwrap().value, Ttl::Change(-1));
    assert_eq!(header.tos.as_ref().unwrap().value, 50);
    assert_eq!(header.traffic_class.as_ref().unwrap().value, 51);
    assert_eq!(header.flow_label.as_ref().unwrap().value, 0xf_ffff);
    assert_eq!(header.dscp, None);
    assert_eq!(text(&scenario, header.ttl.as_ref().unwrap().span.as_ref().unwrap()), "\"-1\"");
    let header = read("the_other_words.toml").rewrite.header;
    assert_eq!((header.ttl.unwrap().value, header.dscp.unwrap().value), (Ttl::Set(64), 46));
}

#[test]
fn the_lab_the_pacing_and_the_preconditions_are_read() {
    let scenario = read("every_word.toml");
    let lab = lab(&scenario);
    assert_eq!(lab.mtu.value, 9000);
    let addresses: Vec<_> =
        lab.addresses.as_ref().unwrap().value.iter().map(|address| address.value.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.20/24", "2001:db8::20/128"]);
    assert_eq!(lab.mac.value, LabMac::Literal(MacAddr([2, 0, 0, 0, 0, 0x20])));
    let Routes::Prefixes(routes) = &lab.routes.value else { panic!("a list") };
    assert_eq!(routes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.51.100.0/24", "203.0.113.7/32"]);
    let settings: Vec<_> = lab.sysctl.iter().map(|setting| (setting.key.as_str(), setting.value.as_str())).collect();
    assert_eq!(settings, [("net.ipv4.conf.rx0.rp_filter", "2"), ("net.ipv4.tcp_rmem", "4096 131072 6291456")]);
    assert_eq!(scenario.pacing.rate.value, Rate::Speed(4.0));
    assert_eq!(scenario.pacing.max_gap.as_ref().unwrap().value, Duration::from_secs(1));
    assert_eq!(scenario.pacing.repeat.value, 3);
    assert_eq!(scenario.require.commands[0].value, "nfcapd");
    let rules: Vec<_> = scenario.require.sysctl.iter().map(|rule| (rule.key.as_str(), any_of(&rule.wanted))).collect();
    assert_eq!(rules[0], ("net.ipv4.conf.rx0.rp_filter", "0 or 2".to_owned()));
    assert_eq!(rules[1], ("net.ipv4.conf.all.log_martians", "1".to_owned()));
    assert_eq!(rules[2], ("net.core.rmem_max", "0 or >= 212992".to_owned()));
    let sockets: Vec<_> = scenario.require.listens.iter().map(|at| at.value.to_string()).collect();
    assert_eq!(sockets, ["udp:4739", "tcp:[2001:db8::20]:80"]);
}

#[test]
fn the_ruleset_is_a_text_or_a_file() {
    let scenario = read("every_word.toml");
    let ruleset = lab(&scenario).ruleset.as_ref().unwrap();
    assert_eq!(ruleset.value, Ruleset::File(folder().join("config/rules.nft")));
    assert_eq!(text(&scenario, ruleset.span.as_ref().unwrap()), "{ file = \"config/rules.nft\" }");
    let other = read("the_other_words.toml");
    let Ruleset::Text(rules) = &lab(&other).ruleset.as_ref().unwrap().value else { panic!("a text") };
    assert!(rules.contains("iifname {receiver} udp dport {domain}"));
    assert_eq!(lab(&read("shortest.toml")).ruleset, None);
}

#[test]
fn kernel_capabilities_and_firewall_are_read() {
    let scenario = read("every_word.toml");
    let require = &scenario.require;
    let kernel = require.kernel.as_ref().unwrap();
    assert_eq!(kernel.value.to_string(), ">= 5.17");
    assert_eq!(text(&scenario, kernel.span.as_ref().unwrap()), "\">= 5.17\"");
    let capabilities: Vec<_> = require.capabilities.iter().map(|at| (at.value.name, at.value.number)).collect();
    assert_eq!(capabilities, [("CAP_BPF", 39), ("CAP_PERFMON", 38)]);
    let firewall: Vec<_> = require.firewall.iter().map(|at| at.value.to_string()).collect();
    assert_eq!(firewall, ["udp:4739", "udp:[2001:db8::20]:4739"]);
    assert_eq!(read("the_other_words.toml").require.kernel.unwrap().value.to_string(), "< 9.0.1");
}

#[test]
fn interfaces_are_one_table_or_several() {
    let scenario = read("every_word.toml");
    let [receiver, sender] = scenario.require.interface.as_slice() else { panic!("two interfaces") };
    assert_eq!([receiver.name.as_str(), sender.name.as_str()], ["rx0", "tx0"]);
    assert!(receiver.up.as_ref().unwrap().value);
    let mtu = receiver.mtu.as_ref().unwrap();
    assert_eq!(
        (mtu.value.to_string().as_str(), text(&scenario, mtu.span.as_ref().unwrap())),
        (">= 9000", "\">= 9000\"".to_owned())
    );
    assert_eq!(sender.mtu.as_ref().unwrap().value.to_string(), "9000");
    assert_eq!(sender.up, None);
    let wanted = |offloads: &[OffloadRule]| offloads.iter().map(|rule| (rule.offload, rule.on)).collect::<Vec<_>>();
    assert_eq!(wanted(&receiver.offloads), wanted(&sender.offloads));
    assert_eq!(receiver.offloads.iter().map(|rule| rule.offload).collect::<Vec<_>>(), Offload::ALL);
    assert_eq!(text(&scenario, &sender.offloads[2].span), "gro = false");
    let other = read("the_other_words.toml");
    let [lo] = other.require.interface.as_slice() else { panic!("one interface") };
    assert_eq!((lo.name.as_str(), text(&other, &lo.span)), ("lo", "{ name = \"lo\", up = true }".to_owned()));
    let target = read("target.toml");
    let names: Vec<_> = target.require.interface.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["eth0.100", "eth0.100", "eth1"]);
    assert_eq!(text(&target, &target.require.interface[1].span), "{ name = \"{sender}\" }");
}

#[test]
fn bursts_limits_and_senders_are_read() {
    let scenario = read("every_word.toml");
    let pacing = &scenario.pacing;
    assert_eq!((pacing.burst.value, pacing.precision, pacing.sender.value), (10, Precision::Spin, SenderChoice::Xdp));
    assert_eq!(pacing.limit.as_ref().unwrap().value, Limit::Bytes(10 * 1024 * 1024));
    assert_eq!(text(&scenario, pacing.limit.as_ref().unwrap().span.as_ref().unwrap()), "\"10 MiB\"");
    assert_eq!(text(&scenario, pacing.sender.span.as_ref().unwrap()), "\"xdp\"");
    let pacing = read("the_other_words.toml").pacing;
    assert_eq!((pacing.rate.value, pacing.limit.unwrap().value), (Rate::MaxLossless, Limit::Packets(1)));
    assert_eq!((pacing.precision, pacing.sender.value), (Precision::Frugal, SenderChoice::Auto));
    let pacing = read("target.toml").pacing;
    assert_eq!(pacing.limit.unwrap().value, Limit::Duration(Duration::from_mins(1)));
    assert_eq!((pacing.precision, pacing.sender.value), (Precision::Balanced, SenderChoice::Packet));
}

fn bounds(scenario: &Scenario, bounds: &[Bound]) -> Vec<String> {
    let line =
        |bound: &Bound| format!("{} {:?} at {}", bound.percentile.name(), bound.most, text(scenario, &bound.span));
    bounds.iter().map(line).collect()
}

#[test]
fn lateness_bounds_are_sorted_by_percentile() {
    let scenario = read("every_word.toml");
    let expect = &scenario.expect;
    let lateness = bounds(&scenario, &expect.lateness.value);
    assert_eq!(
        lateness,
        [
            "p50 10µs at \"10us\"",
            "p90 50µs at \"50us\"",
            "p99 100µs at \"100us\"",
            "p999 500µs at \"0.5ms\"",
            "max 1ms at \"1ms\""
        ]
    );
    assert!(expect.lateness.value.is_sorted_by(|one, next| one.percentile.quantile() < next.percentile.quantile()));
    assert_eq!(bounds(&scenario, &expect.gap_error.value), ["p50 10µs at \"10us\""]);
    assert_eq!(expect.within.as_ref().unwrap().value, Duration::from_secs(5));
    let scenario = read("target.toml");
    assert_eq!(bounds(&scenario, &scenario.expect.lateness.value), ["p99 100µs at \"100us\""]);
    assert_eq!(bounds(&scenario, &scenario.expect.gap_error.value), ["max 1ms at \"1ms\""]);
}

#[test]
fn the_receiver_and_the_expectations_are_read() {
    let scenario = read("every_word.toml");
    let receiver = &scenario.receiver;
    assert_eq!(receiver.program.command.as_ref().unwrap().value[5..], ["-I", "{print $1}"]);
    let listens = &receiver.program.listens.as_ref().unwrap().value;
    assert_eq!((listens.sockets[0].to_string().as_str(), listens.packet), ("udp:192.0.2.20:4739", true));
    assert_eq!((receiver.settle.value, receiver.program.stop), (Duration::from_millis(300), 2));
    assert_eq!(receiver.program.ready.within.value, Duration::from_mins(1));
    assert_eq!(
        (receiver.ready_within(), receiver.written_within()),
        (Duration::from_secs(100), Duration::from_secs(90))
    );
    // It goes to the report's folder, not to the scenario's.
    assert_eq!(receiver.save_capture.as_ref().unwrap().value, Path::new("kept/arrived.pcapng"));
    let expect = &scenario.expect;
    assert!(expect.written);
    assert_eq!(expect.arrived.as_ref().unwrap().value, Count::All);
    assert_eq!(expect.accepted.as_ref().unwrap().value, Count::All);
    assert_eq!(expect.delivered.as_ref().unwrap().value, Count::AtLeast(5500));
    assert_eq!(expect.consumed.as_ref().unwrap().value, Count::Percent(99.9));
    assert!(expect.order.is_some());
    let losses: Vec<_> = expect.losses.iter().map(|loss| (loss.cause.name(), loss.count)).collect();
    assert_eq!(losses, [("SOCKET_RCVBUFF", Count::Exactly(0)), ("IP_RPFILTER", Count::All)]);
    assert_eq!(expect.rewritten.as_ref().unwrap().value, folder().join("snapshots/flows.snap"));
    let command = &expect.command[0];
    assert_eq!(command.run.value, ["nfdump", "-R", "{work}"]);
    assert_eq!(command.stdout.matches.as_ref().unwrap().value, r"10\.20\.9\.9");
    assert_eq!(command.stdout.lines.as_ref().unwrap().value, HowMany::exactly(1401));
    assert_eq!(command.stderr.contains.as_ref().unwrap().value, "done");
    assert_eq!(command.status.value, 1);
    assert_eq!(expect.output[0].from.value, OutputFrom::Stdout);
    assert_eq!(expect.output[1].from.value, OutputFrom::File("{work}/flows.csv".to_owned()));
    let file = &expect.output[1].rule.equals_file.as_ref().unwrap().value;
    assert_eq!(file, &folder().join("expected/flows.csv"));
    let rule = &expect.output[2].rule;
    let keys: Vec<_> =
        rule.searches().map(|search| (search.key, search.count.map(|count| count.value.to_string()))).collect();
    assert_eq!(keys, [("contains", Some(">= 3".to_owned())), ("not-contains", None), ("not-matches", None)]);
    assert_eq!(rule.lines.as_ref().unwrap().value.to_string(), "< 9");
    let json: Vec<_> = rule.json.iter().map(|rule| format!("{} {}", rule.path.value, rule.value.value)).collect();
    assert_eq!(
        json,
        ["$.event_type \"alert\"", "$.alert {\"at\":\"2026-01-02\",\"gid\":1.0,\"signature_id\":2100498}"]
    );
    assert_eq!(text(&scenario, &rule.json[0].path.range()), "\"$.event_type\"");
    let lines = &rule.json_lines.as_ref().unwrap().value;
    assert_eq!(
        (lines.matching[0].value.value.to_string(), lines.count.as_ref().unwrap().value.holds(5)),
        ("[true,\"x\"]".to_owned(), true)
    );
    assert_eq!(
        (lines.has_key[0].value.to_string(), lines.not_has_key[0].value.to_string()),
        ("$.alert".to_owned(), "$.drop".to_owned())
    );
    assert!(lines.ignore.is_some());
    assert_eq!(expect.output[4].from.value, OutputFrom::Files("{work}/nfcapd.*".to_owned()));
    let running = expect.output.iter().map(OutputCheck::is_of_running);
    assert_eq!(running.collect::<Vec<_>>(), [false, false, false, false, true]);
    assert_eq!(expect.command.iter().map(CommandCheck::is_of_running).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(expect.longest_within().unwrap().value, Duration::from_secs(30));
}

#[test]
fn what_is_not_written_has_the_default_of_the_language() {
    let scenario = read("shortest.toml");
    let lab = lab(&scenario);
    assert_eq!((lab.mtu.value, &lab.mtu.span), (1500, &None));
    assert_eq!((&lab.addresses, lab.mac.value, &lab.routes.value), (&None, LabMac::Captured, &Routes::Sources));
    assert_eq!((scenario.pacing.rate.value, scenario.pacing.repeat.value), (Rate::Captured, 1));
    assert_eq!((&scenario.pacing.max_gap, &scenario.timeout), (&None, &None));
    let pacing = &scenario.pacing;
    assert_eq!((pacing.burst.value, &pacing.limit, pacing.precision), (1, &None, Precision::Balanced));
    assert_eq!((pacing.sender.value, &pacing.sender.span), (SenderChoice::Auto, &None));
    assert_eq!(scenario.capture.truncated.value, Truncated::Refuse);
    assert_eq!(scenario.rewrite.checksums, Checksums::Preserve);
    assert_eq!((scenario.rewrite.lengths, scenario.rewrite.layers), (Lengths::Preserve, TunnelLayers::Outer));
    assert_eq!((scenario.rewrite.oversize.value, &scenario.rewrite.oversize.span), (Oversize::Refuse, &None));
    assert!(scenario.rewrite.sides.is_empty());
    assert_eq!((&scenario.rewrite.vlan, &scenario.rewrite.header), (&None, &HeaderFields::default()));
    assert_eq!((&scenario.receiver.program.command, &scenario.receiver.program.listens), (&None, &None));
    assert_eq!((scenario.receiver.settle.value, scenario.receiver.program.stop), (Duration::from_millis(50), 15));
    assert_eq!(scenario.receiver.ready_within(), Duration::from_secs(10));
    assert_eq!(scenario.receiver.save_capture, None);
    assert_eq!(scenario.expect, scenario::expect::Expect::default());
}

#[test]
fn processes_are_read_in_the_order_of_the_file() {
    let receiver = read("every_word.toml").receiver;
    let names: Vec<_> = receiver.programs().map(|program| (program.who(), program.table())).collect();
    let of = |name: &str| (format!("the process `{name}`"), "receiver.process");
    assert_eq!(names, [of("initdb"), of("postgres"), ("the application".to_owned(), "receiver")]);
    let [initdb, postgres] = receiver.processes.as_slice() else { panic!("two processes") };
    assert_eq!(initdb.ready.exit.as_ref().unwrap().value, 0);
    assert_eq!((initdb.stop, &initdb.listens, &initdb.limits.memory), (15, &None, &None));
    assert_eq!(postgres.named_sockets()[0].to_string(), "tcp:127.0.0.1:5432");
    assert_eq!((postgres.stop, postgres.user.as_ref().unwrap().value.as_str()), (2, "postgres"));
    assert_eq!(postgres.files[1].name.value, Path::new("db/hba.conf"));
    assert_eq!(receiver.named(postgres.name.as_ref()), Some(postgres));
    assert_eq!(receiver.named(None), Some(&receiver.program));
}

#[test]
fn steps_are_read_in_the_order_of_the_file() {
    let scenario = read("steps.toml");
    let shown: Vec<_> = scenario.steps.iter().map(ToString::to_string).collect();
    let expected = [
        "frames 1-13,15",
        "run rndc -c {work}/rndc.conf reload",
        "signal SIGWINCH",
        "wait 2.5 s",
        "frames 16-20",
        "restart postgres",
        "frames 30-",
    ];
    assert_eq!(shown, expected);
    assert_eq!(
        [1, 14, 15, 18, 25, 30, 99].map(|frame| scenario.step_of(frame)),
        [Some(0), None, Some(0), Some(4), None, Some(6), Some(6)]
    );
    assert_eq!(text(&scenario, &scenario.steps[3].span), "\"2.5s\"");
    let may_take: Vec<_> = scenario.steps.iter().map(|step| step.may_take(&scenario.receiver).as_secs()).collect();
    assert_eq!(may_take, [0, 10, 0, 0, 0, 25, 0]);
    assert_eq!(scenario.steps.iter().map(Step::waits).sum::<Duration>(), Duration::from_millis(2_500));
    assert_eq!(Signal::SigWinch.number(), 28);
}

#[test]
fn a_target_has_its_own_words() {
    let scenario = read("target.toml");
    assert!(matches!(&scenario.topology, Topology::Target { interface, .. } if interface.value == "eth0.100"));
    assert_eq!(scenario.capture.files.paths().collect::<Vec<_>>(), [Path::new("/captures/a.pcap")]);
    assert_eq!(scenario.pacing.rate.value, Rate::Every(Duration::from_millis(10)));
    // sysctl(8) writes the dot of an interface's name as a slash.
    assert_eq!(scenario.require.sysctl[0].key, "net.ipv4.conf.eth0/100.rp_filter");
    assert_eq!(scenario.expect.sent.as_ref().unwrap().value, Count::All);
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_name() {
    let failure = crate::Scenario::from_file(Path::new("no/such.toml")).unwrap_err();
    insta::assert_snapshot!(render(&failure.problems, Style::Plain));
}

#[test]
fn a_byte_order_mark_moves_no_span() {
    let text = "\u{feff}format = 1\ncapture.file = \"a.pcap\"\ntimeout = \"7s\"\n".to_owned();
    let source = std::sync::Arc::new(crate::diagnostic::Source { path: "bom.toml".into(), text });
    let scenario = scenario::check_text(source).unwrap();
    assert_eq!(text_of(&scenario), "\"7s\"");
}

fn text_of(scenario: &Scenario) -> String {
    text(scenario, scenario.timeout.as_ref().expect("it is written").span.as_ref().expect("it has a place"))
}
