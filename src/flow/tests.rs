//! The walker over the examples of the RFCs, and over datagrams that are wrong.

#![expect(clippy::needless_pass_by_value, reason = "what a test makes, it gives away")]

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::*;

/// Big-endian numbers of 1, 2, 4 and 8 bytes, and bytes as they are, one after the other.
macro_rules! bytes {
    ($($part:expr),* $(,)?) => {{
        let mut bytes = Vec::new();
        $(bytes.extend_from_slice(&Part::bytes(&$part));)*
        bytes
    }};
}

trait Part {
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! parts {
    ($($kind:ty),*) => { $(impl Part for $kind { fn bytes(&self) -> Vec<u8> { self.to_be_bytes().to_vec() } })* };
}
parts!(u8, u16, u32, u64);

impl Part for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

impl<const N: usize> Part for [u8; N] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

fn set(id: u16, content: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(content.len() + 4).expect("a set of a test is short");
    bytes![id, length, content]
}

fn ipfix(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let length = u16::try_from(sets.len() + 16).expect("a message of a test is short");
    bytes![10_u16, length, 1_500_000_000_u32, sequence, 7_u32, sets]
}

fn v9(sequence: u32, count: u16, sets: &[Vec<u8>]) -> Vec<u8> {
    bytes![9_u16, count, 60_000_u32, 1_500_000_000_u32, sequence, 7_u32, sets.concat()]
}

/// Every event of these datagrams, a line each.
fn walked(datagrams: &[Vec<u8>]) -> String {
    let mut templates = Templates::default();
    let mut text = String::new();
    for (place, datagram) in (1..).zip(datagrams) {
        let _infallible =
            writeln!(text, "datagram of {} bytes, recognised as {:?}", datagram.len(), recognise(datagram));
        walk_datagram(datagram, place, &mut templates, &mut text);
    }
    text
}

fn walk_datagram(datagram: &[u8], place: u64, templates: &mut Templates, text: &mut String) {
    let side = |text: &str| text.parse::<SocketAddr>().expect("an address and a port");
    walk(datagram, side("192.0.2.1:2000"), side("192.0.2.9:4739"), place, templates, |event| {
        let line = match event {
            Event::Message(header) => format!(
                "{} {:?} domain {} count {:?} sequence {:?} uptime {:?} exported {:?}",
                header.format.name(),
                header.range,
                header.session.domain,
                header.count,
                header.sequence,
                header.uptime_ms,
                header.exported
            ),
            Event::Template { template, range } => {
                let fields = template.fields.iter().map(|field| {
                    let scope = if field.scope { "scope " } else { "" };
                    let length = field.length.map_or("*".to_owned(), |length| length.to_string());
                    format!("{scope}{} {length}", field.element)
                });
                let kind = if template.is_options { "options template" } else { "template" };
                let fields = fields.collect::<Vec<_>>().join(", ");
                format!("  {kind} {} {range:?} of place {}: {fields}", template.id, template.place)
            }
            Event::Withdrawal { id } => format!("  withdrawal {id}"),
            Event::Undecodable { reason, range } => format!("  undecodable {range:?}: {reason:?}"),
            Event::Data(set) => {
                let mut lines = Vec::new();
                let mut records = set.records();
                for record in records.by_ref() {
                    let mut fields = Vec::new();
                    let unreadable = record.each_field(|field| {
                        let within = match field.within {
                            Within::Record => "",
                            Within::List => "list ",
                            Within::Section => "packet ",
                        };
                        let value = if field.kind.is_list() {
                            format!("{} bytes", field.bytes.len())
                        } else {
                            field.value().to_string()
                        };
                        fields.push(format!("{within}{} {value}", field.element));
                        assert_eq!(datagram.get(field.range()), Some(field.bytes));
                    });
                    let unreadable =
                        if unreadable > 0 { format!("; {unreadable} lists not read") } else { String::new() };
                    lines.push(format!("  {:?} {:?}: {}{unreadable}", record.kind(), record.range, fields.join(", ")));
                }
                lines.extend(records.rest().map(|rest| format!("  rest {rest:?}")));
                lines.join("\n")
            }
        };
        let _infallible = writeln!(text, "{line}");
    });
}

/// RFC 7011, appendix A.
fn rfc_7011() -> Vec<u8> {
    let template = bytes![256_u16, 5_u16, 8_u16, 4_u16, 12_u16, 4_u16, 15_u16, 4_u16, 2_u16, 4_u16, 1_u16, 4_u16];
    let enterprise =
        bytes![257_u16, 5_u16, 8_u16, 4_u16, 12_u16, 4_u16, 0x800f_u16, 4_u16, 32_473_u32, 2_u16, 4_u16, 1_u16, 4_u16];
    let options = bytes![258_u16, 3_u16, 1_u16, 141_u16, 4_u16, 41_u16, 2_u16, 42_u16, 2_u16, 0_u16];
    let data = bytes![
        [192, 0, 2, 12],
        [192, 0, 2, 254],
        [192, 0, 2, 1],
        5009_u32,
        5_344_385_u32,
        [192, 0, 2, 27],
        [192, 0, 2, 23],
        [192, 0, 2, 2],
        748_u32,
        388_934_u32,
        [192, 0, 2, 56],
        [192, 0, 2, 65],
        [192, 0, 2, 3],
        5_u32,
        6534_u32,
    ];
    let options_data = bytes![1_u32, 345_u16, 10_201_u16, 2_u32, 690_u16, 20_402_u16];
    ipfix(1, &[set(2, bytes![template, enterprise]), set(3, options), set(256, data), set(258, options_data)])
}

#[test]
fn the_example_of_rfc_7011_is_read() {
    insta::assert_snapshot!(walked(&[rfc_7011()]));
}

#[test]
fn the_example_of_rfc_3954_is_read() {
    let template = bytes![256_u16, 5_u16, 8_u16, 4_u16, 12_u16, 4_u16, 15_u16, 4_u16, 2_u16, 4_u16, 1_u16, 4_u16];
    let data = bytes![
        [198, 168, 1, 12],
        [10, 5, 12, 254],
        [192, 168, 1, 1],
        5009_u32,
        5_344_385_u32,
        [192, 168, 1, 27],
        [10, 5, 12, 23],
        [192, 168, 1, 1],
        748_u32,
        388_934_u32,
    ];
    let options = bytes![257_u16, 4_u16, 8_u16, 3_u16, 2_u16, 41_u16, 2_u16, 42_u16, 2_u16, 0_u16];
    let options_data = bytes![1_u16, 345_u16, 10_201_u16, 2_u16, 690_u16, 20_402_u16];
    let datagram = v9(9, 6, &[set(0, template), set(256, data), set(1, options), set(257, options_data)]);
    insta::assert_snapshot!(walked(&[datagram]));
}

#[test]
fn fields_of_variable_length_are_read_in_both_forms() {
    let template = bytes![300_u16, 3_u16, 82_u16, 0xffff_u16, 0x8080_u16, 0xffff_u16, 5951_u32, 1_u16, 4_u16];
    let data = bytes![
        4_u8,
        *b"eth0",
        255_u8,
        3_u16,
        [1, 2, 3],
        7_u32, // the long form of a short length is legal
        0_u8,
        255_u8,
        300_u16,
        vec![0xaa; 300],
        8_u32,
        [0, 0, 0], // padding
    ];
    let text = walked(&[ipfix(0, &[set(2, template), set(300, data)])]);
    insta::assert_snapshot!(text.replace(&"aa".repeat(300), "(300 bytes)"));
}

#[test]
fn lists_of_rfc_6313_are_read_to_their_ground() {
    let address = bytes![256_u16, 2_u16, 8_u16, 4_u16, 7_u16, 2_u16];
    let outer = bytes![257_u16, 3_u16, 291_u16, 0xffff_u16, 292_u16, 0xffff_u16, 293_u16, 0xffff_u16];
    let nested = bytes![258_u16, 1_u16, 291_u16, 0xffff_u16];
    let basic = bytes![3_u8, 10_u16, 4_u16, 1_u32, 4_u32, 8_u32];
    let enterprise = bytes![0xff_u8, 0x8021_u16, 2_u16, 6871_u32, 80_u16, 443_u16];
    let records = bytes![3_u8, 256_u16, [192, 0, 2, 1], 1_u16, [192, 0, 2, 2], 2_u16];
    let inner = bytes![u8::try_from(enterprise.len()).expect("it is short"), enterprise];
    let multi = bytes![
        3_u8,
        256_u16,
        10_u16,
        [192, 0, 2, 3],
        3_u16,
        258_u16,
        u16::try_from(inner.len() + 4).expect("it is short"),
        inner,
        999_u16,
        6_u16,
        0_u16 // its template was never defined
    ];
    let with_length = |list: Vec<u8>| bytes![u8::try_from(list.len()).expect("it is short"), list];
    let data = bytes![with_length(basic), with_length(records), with_length(multi)];
    insta::assert_snapshot!(walked(&[ipfix(0, &[set(2, bytes![address, outer, nested]), set(257, data)])]));
}

#[test]
fn data_before_its_template_is_undecodable_and_after_it_is_not() {
    let template = bytes![256_u16, 1_u16, 8_u16, 4_u16];
    let other = bytes![256_u16, 1_u16, 12_u16, 4_u16];
    let data = set(256, bytes![[192, 0, 2, 1]]);
    let withdrawal = set(2, bytes![256_u16, 0_u16]);
    insta::assert_snapshot!(walked(&[
        ipfix(0, std::slice::from_ref(&data)),
        ipfix(0, &[set(2, template.clone()), data.clone()]),
        ipfix(1, &[set(2, template), set(2, other), data.clone()]),
        ipfix(2, &[withdrawal, data]),
    ]));
}

#[test]
fn what_is_wrong_is_passed_on_with_its_place() {
    let template = bytes![256_u16, 1_u16, 8_u16, 4_u16];
    let mut cut = rfc_7011();
    cut.truncate(cut.len() - 5);
    insta::assert_snapshot!(walked(&[
        cut,
        ipfix(0, &[set(77, bytes![1_u32])]),
        ipfix(0, &[set(2, bytes![255_u16, 1_u16, 8_u16, 4_u16])]),
        ipfix(0, &[set(2, bytes![256_u16, 9_u16, 8_u16, 4_u16])]),
        ipfix(0, &[set(2, bytes![256_u16, 1_u16, 8_u16, 0_u16]), set(256, bytes![1_u32])]),
        ipfix(0, &[set(2, template), set(256, bytes![1_u32, 2_u16]), bytes![256_u16, 99_u16]]),
        bytes![ipfix(0, &[set(256, bytes![1_u32])]), ipfix(1, &[set(256, bytes![1_u32])]), 5_u32],
        bytes![5_u16, 2_u16, vec![0; 20 + 48]],
        bytes![10_u16, 3_u16, vec![0; 20]],
    ]));
}

#[test]
fn exporters_and_domains_have_their_own_templates() {
    let mut templates = Templates::default();
    let (mut text, template) = (String::new(), bytes![256_u16, 1_u16, 8_u16, 4_u16]);
    walk_datagram(&ipfix(0, &[set(2, template.clone())]), 1, &mut templates, &mut text);
    walk_datagram(&v9(0, 1, &[set(0, template)]), 2, &mut templates, &mut text);
    let mut data = |mut datagram: Vec<u8>, domain: u8, source: &str| {
        let at = if datagram.get(1) == Some(&10) { 15 } else { 19 };
        *datagram.get_mut(at).expect("a header has a domain") = domain;
        let mut read = None;
        let (source, destination) = (source.parse().expect("a source"), "192.0.2.9:4739".parse().expect("a collector"));
        walk(&datagram, source, destination, 3, &mut templates, |event| match event {
            Event::Data(_) => read = Some(true),
            Event::Undecodable { .. } => read = Some(false),
            _ => {}
        });
        read.expect("there is a set")
    };
    let of_ipfix = ipfix(0, &[set(256, vec![0; 4])]);
    assert!(data(of_ipfix.clone(), 7, "192.0.2.1:2000"));
    assert!(!data(of_ipfix.clone(), 8, "192.0.2.1:2000"));
    assert!(!data(of_ipfix, 7, "192.0.2.1:2001"));
    let of_v9 = v9(0, 1, &[set(256, vec![0; 4])]);
    assert!(!data(of_v9.clone(), 8, "192.0.2.1:2000"));
    // Its port does not distinguish.
    assert!(data(of_v9.clone(), 7, "192.0.2.1:2001"));
    assert!(!data(of_v9, 7, "192.0.2.2:2000"));
}

#[test]
fn netflow_v1_v5_and_v7_have_records_of_the_same_elements() {
    let beginning =
        bytes![[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3], 1_u16, 2_u16, 3_u32, 4_u32, 5_u32, 6_u32, 7_u16, 8_u16];
    let header = |version: u16| bytes![version, 1_u16, 60_000_u32, 1_500_000_000_u32, 250_u32];
    let v1 = bytes![header(1), beginning, 0_u16, 6_u8, 9_u8, 10_u8, vec![0; 11]];
    let after = bytes![0_u8, 10_u8, 6_u8, 9_u8, 11_u16, 12_u16, 13_u8, 14_u8, 0_u16];
    let v5 = bytes![header(5), 77_u32, 1_u8, 2_u8, 0x4064_u16, beginning, after];
    let v7 = bytes![header(7), 77_u32, 0_u32, beginning, after, [192, 0, 2, 4]];
    insta::assert_snapshot!(walked(&[v1, v5, v7]));
}

#[test]
fn samples_of_sflow_are_read_with_the_packets_in_them() {
    let packet = bytes![
        [2, 0, 0, 0, 0, 2],
        [2, 0, 0, 0, 0, 1],
        0x0800_u16, // Ethernet
        0x45_u8,
        8_u8,
        40_u16,
        1_u16,
        0_u16,
        64_u8,
        6_u8,
        0_u16,
        [192, 0, 2, 1],
        [192, 0, 2, 2], // IPv4
        1024_u16,
        443_u16,
        1_u32,
        2_u32,
        0x50_u8,
        0x10_u8,
        100_u16,
        0_u32, // TCP
        0_u16, // padding to a multiple of 4 bytes
    ];
    let record =
        |format: u32, content: Vec<u8>| bytes![format, u32::try_from(content.len()).expect("it is short"), content];
    let header = record(1, bytes![1_u32, 1518_u32, 4_u32, 54_u32, packet]);
    let router = record(1002, bytes![1_u32, [192, 0, 2, 254], 24_u32, 16_u32]);
    let gateway = record(
        1003,
        bytes![
            2_u32, [0xfd; 16], 1_u32, 64_500_u32, 64_501_u32, 1_u32, 2_u32, 2_u32, 64_502_u32, 64_503_u32, 1_u32,
            65_u32, 100_u32
        ],
    );
    let flow = bytes![11_u32, 3_u32, 512_u32, 1024_u32, 0_u32, 1_u32, 2_u32, 3_u32, header, router, gateway];
    let ipv4 = record(3, bytes![100_u32, 17_u32, [192, 0, 2, 1], [192, 0, 2, 2], 53_u32, 1024_u32, 0_u32, 0_u32]);
    let expanded = bytes![
        12_u32,
        0_u32,
        3_u32,
        512_u32,
        1024_u32,
        0_u32,
        0_u32,
        1_u32,
        0_u32,
        2_u32,
        2_u32,
        record(4242, vec![0; 8]),
        ipv4
    ];
    let counters = bytes![13_u32, 3_u32, 1_u32, record(1, bytes![1_u32, 6_u32, 1_000_000_000_u64, vec![0; 72]])];
    let samples = [record(1, flow), record(3, expanded), record(2, counters), record(5, vec![0; 12])].concat();
    let datagram = bytes![5_u32, 1_u32, [192, 0, 2, 7], 3_u32, 99_u32, 60_000_u32, 4_u32, samples];
    insta::assert_snapshot!(walked(&[datagram]));
}

#[test]
fn templates_that_are_too_many_are_refused_and_their_data_is_undecodable() {
    // 65 templates of 16,376 fields are more than 1,048,576 fields.
    let fields = bytes![8_u16, 4_u16].repeat(16_376);
    let template = |id: u16| ipfix(0, &[set(2, bytes![id, 16_376_u16, fields.clone()])]);
    let mut templates = Templates::default();
    let mut refused = 0;
    for id in 256..256 + 66 {
        let mut text = String::new();
        walk_datagram(&template(id), 1, &mut templates, &mut text);
        refused += u32::from(text.contains("TooManyTemplates"));
    }
    assert_eq!(refused, 2);
    let mut text = String::new();
    walk_datagram(&ipfix(0, &[set(256 + 65, vec![0; 4])]), 2, &mut templates, &mut text);
    assert!(text.contains("NoTemplate(321)"), "{text}");
}

#[test]
fn a_template_of_fields_without_bytes_is_refused_and_the_one_before_is_forgotten() {
    let template = |empty: usize| {
        let fields = bytes![bytes![8_u16, 0_u16].repeat(empty), 4_u16, 1_u16];
        ipfix(0, &[set(2, bytes![256_u16, u16::try_from(empty + 1).expect("few"), fields])])
    };
    let data = || ipfix(0, &[set(256, vec![6; 3])]);
    let text = walked(&[template(64), data(), template(65), data()]);
    assert_eq!(text.matches("protocolIdentifier 6").count(), 3, "{text}");
    assert!(text.contains("BadTemplate") && text.contains("NoTemplate(256)"), "{text}");
}

#[test]
fn an_unknown_next_hop_of_sflow_has_no_address_and_what_follows_is_read() {
    let record =
        |format: u32, content: Vec<u8>| bytes![format, u32::try_from(content.len()).expect("it is short"), content];
    let router = record(1002, bytes![0_u32, 24_u32, 16_u32]);
    let gateway = record(1003, bytes![0_u32, 1_u32, 64_500_u32, 64_501_u32, 0_u32, 0_u32, 100_u32]);
    let flow = bytes![11_u32, 3_u32, 512_u32, 1024_u32, 0_u32, 1_u32, 2_u32, 2_u32, router, gateway];
    let datagram = bytes![5_u32, 1_u32, [192, 0, 2, 7], 3_u32, 99_u32, 60_000_u32, 1_u32, record(1, flow)];
    let text = walked(&[datagram]);
    for field in ["sourceIPv4PrefixLength 24", "destinationIPv4PrefixLength 16", "bgpSourceAsNumber 64500"] {
        assert!(text.contains(field), "no {field} in {text}");
    }
    assert!(!text.contains("NextHop"), "{text}");
}

#[test]
fn a_datagram_ends_where_udp_says_so() {
    let layers = |frame: &[u8]| crate::packet::layers::Layers::find(crate::packet::layers::LinkType::ETHERNET, frame);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(2000, 2000)
        .write(&mut frame, &[rfc_7011(), vec![0xee; 9]].concat())
        .expect("it fits");
    let survey = |frame: &[u8]| {
        let mut flows = Flows::default();
        flows.add(1, &layers(frame), frame, |_| {});
        let found = flows.finish();
        (found.datagrams, found.damaged.datagrams)
    };
    assert_eq!(survey(&frame), (0, 0), "bytes behind the message");
    // The length of the datagram.
    let length = crate::packet::bytes::be16(&frame, 38).expect("a UDP header") - 9;
    crate::packet::bytes::put(&mut frame, 38, length.to_be_bytes());
    assert_eq!(survey(&frame), (1, 0));
}

fn surveyed(datagrams: impl IntoIterator<Item = (u16, Vec<u8>)>) -> FlowExports {
    let mut survey = Survey::default();
    for (frame, (port, datagram)) in (1..).zip(datagrams) {
        let [source, collector] = [port, 4739].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        survey.add(&datagram, source, collector, frame, |_| {});
    }
    survey.finish()
}

/// A definition of template `id` that is refused, since it has too many fields without bytes.
fn refused(id: u16) -> Vec<u8> {
    ipfix(0, &[set(2, bytes![id, 66_u16, bytes![8_u16, 0_u16].repeat(65), 4_u16, 1_u16])])
}

#[test]
fn what_is_listed_of_all_exporters_is_bounded_and_the_rest_is_counted() {
    // In tests these are 4,096 ids of sets and 32,768 fields.
    let sets: Vec<Vec<u8>> = (256..256 + 2_000).map(|id| set(id, Vec::new())).collect();
    let found = surveyed((1..=3).map(|port| (port, ipfix(0, &sets))));
    let listed = found.sum(|exporter| exporter.undecodable.len() as u64);
    assert_eq!((listed, found.unlisted_undecodable, found.undecodable()), (4_096, 6_000 - 4_096, 6_000));
    let first = found.exporters.iter().flat_map(|exporter| &exporter.undecodable).next();
    assert_eq!(first.map(|first| first.why.as_str()), Some("no template 256 was defined before"));
    let fields = bytes![8_u16, 4_u16].repeat(16_000);
    let template = |id: u16| ipfix(0, &[set(2, bytes![id, 16_000_u16, fields.clone()])]);
    let found = surveyed((256..259).flat_map(|id| [(1, template(id)), (1, refused(id))]));
    let listed = found.sum(|exporter| exporter.templates.len() as u64);
    assert_eq!((listed, found.unlisted_templates), (2, 1));
}

#[test]
fn a_template_that_is_defined_anew_after_a_refused_definition_has_its_new_fields() {
    let template = |element: u16| (1, ipfix(0, &[set(2, bytes![256_u16, 1_u16, element, 4_u16])]));
    let found = surveyed([template(8), template(8), (1, refused(256)), template(12), template(12)]);
    let templates: Vec<_> = found.exporters.iter().flat_map(|exporter| &exporter.templates).collect();
    let [template] = templates.as_slice() else { panic!("{found:?}") };
    assert_eq!((template.definitions, template.changes, template.first), (4, 1, 1));
    assert!(template.fields.iter().all(|field| field.name == "destinationIPv4Address"), "{template:?}");
}
