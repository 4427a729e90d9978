//! Flow exports that no capture has: templates that are sent first and again, and copies of exporters.

use super::flows::{THEN, doubles, everything, ipfix, only_sequence, rewriter, set, v5, words};
use super::{Pass, RewriteStats, length, sums, through, udp4};
use crate::capture::Frame;
use crate::diagnostic::{At, Source};
use crate::packet::checksum::Sum;
use crate::packet::layers::LinkType;
use crate::rewrite::{Left, TemplateLearner};
use crate::scenario::rewrite::{Flows, SentTemplates};

/// The frame with this place in the capture.
fn captured(bytes: &mut [u8], place: usize) -> Frame<'_> {
    let (number, time_ns) = (place as u64 + 1, place as u64 * 1_000_000_000);
    Frame { number, time_ns, original_length: length(bytes), link: LinkType::ETHERNET, bytes }
}

/// All frames that are made of these datagrams, from 10.1.2.3, captured a second apart.
fn made(flows: Flows, datagrams: &[Vec<u8>]) -> (Vec<Vec<u8>>, RewriteStats) {
    let rewriter = rewriter(flows);
    let mut learner = TemplateLearner::default();
    let mut frames: Vec<Vec<u8>> = datagrams.iter().map(|datagram| udp4(datagram)).collect();
    for (number, bytes) in frames.iter_mut().enumerate() {
        learner.add(&captured(bytes, number));
    }
    rewriter.learn_templates(learner.finish(false));
    let mut pass = Pass::new(&rewriter);
    let mut all = Vec::new();
    for (number, bytes) in frames.iter_mut().enumerate() {
        pass.take(&captured(bytes, number));
        while let Some((made, rewritten)) = pass.next_made() {
            assert_eq!(made.number, number as u64 + 1);
            assert_eq!(rewritten.original_length, length(rewritten.bytes));
            assert_eq!(sums(rewritten.bytes), (Sum::Good, Sum::Good));
            all.push(rewritten.bytes.to_vec());
        }
    }
    (all, pass.into_stats())
}

fn first_templates(repeat_every: Option<u64>) -> Flows {
    let repeat_every = repeat_every.map(std::time::Duration::from_secs);
    Flows { templates: Some(SentTemplates { span: 0..0, repeat_every, from: None }), ..Flows::default() }
}

#[test]
fn templates_come_before_the_first_message_and_again_after_their_time() {
    let options = set(3, &words(&[257, 1, 1, 130, 4]));
    let data = |number| ipfix(THEN + number, 100 + number, &[set(256, &[10, 7, 0, 1])]);
    let late = ipfix(THEN + 2, 102, &[set(2, &words(&[256, 1, 8, 4])), options.clone()]);
    let (frames, stats) = made(first_templates(Some(2)), &[data(0), data(1), late.clone(), data(3)]);
    // The set of options templates is padded to four bytes.
    let template = |number| {
        let padded = set(3, &[words(&[257, 1, 1, 130, 4]), vec![0, 0]].concat());
        ipfix(THEN + number, 100 + number, &[set(2, &words(&[256, 1, 8, 4])), padded])
    };
    let payloads: Vec<_> = frames.iter().map(|frame| frame[42..].to_vec()).collect();
    assert_eq!(payloads, [template(0), data(0), data(1), template(2), late, data(3)]);
    assert_eq!(stats.entries()[2].frames, 2);
}

#[test]
fn the_definition_that_is_in_force_is_sent_again() {
    let data = |number| ipfix(THEN + number, number, &[set(256, &[10, 7, 0, 1])]);
    // A source address, and later a destination address, under the same identifier.
    let definition = |element| set(2, &words(&[256, 1, element, 4]));
    let defined = |number, element| ipfix(THEN + number, number, &[definition(element)]);
    let captured = [data(0), defined(1, 8), data(2), defined(3, 12), data(4), data(5)];
    let (frames, _) = made(first_templates(Some(2)), &captured);
    let payloads: Vec<_> = frames.iter().map(|frame| frame[42..].to_vec()).collect();
    let again = |number, element| ipfix(THEN + number, number, &[definition(element)]);
    let [first, second, third, fourth, fifth, sixth] = captured;
    assert_eq!(payloads, [again(0, 8), first, second, again(2, 8), third, fourth, again(4, 12), fifth, sixth]);
}

#[test]
fn messages_of_version_9_are_numbered_with_the_templates_between_and_keep_their_gaps() {
    let v9 =
        |sequence: u32, count: u16, set: Vec<u8>| [words(&[9, count]), doubles(&[1, THEN, sequence, 7]), set].concat();
    let template = || set(0, &words(&[256, 1, 8, 4]));
    let data = || set(256, &[10, 9, 0, 1]);
    let captured = [v9(5, 1, data()), v9(8, 1, data()), v9(9, 1, template())];
    let (frames, _) = made(first_templates(None), &captured);
    let payloads: Vec<_> = frames.iter().map(|frame| frame[42..].to_vec()).collect();
    assert_eq!(payloads, [v9(5, 1, template()), v9(6, 1, data()), v9(9, 1, data()), v9(10, 1, template())]);
}

#[test]
fn many_templates_are_several_datagrams_that_fit_every_mtu() {
    let templates: Vec<Vec<u8>> = (0..3_u16)
        .map(|part| {
            let definitions = (0..20).flat_map(|index| {
                let mut definition = vec![256 + part * 20 + index, 10];
                definition.extend([8, 4].repeat(10));
                definition
            });
            ipfix(THEN, 1, &[set(2, &words(&definitions.collect::<Vec<_>>()))])
        })
        .collect();
    let (frames, _) = made(first_templates(None), &templates);
    assert_eq!(frames.len(), 3 + 3);
    assert!(
        frames[..3].iter().all(|frame| frame.len() < 1_280),
        "{:?}",
        frames.iter().map(Vec::len).collect::<Vec<_>>()
    );
}

#[test]
fn copies_have_addresses_and_domains_of_their_own() {
    let copies = Some(At::default_value(std::num::NonZeroU32::new(3).expect("it is above 0")));
    let captured = [ipfix(THEN, 1, &[]), ipfix(THEN, 1, &[])];
    let (frames, stats) = made(Flows { copies, ..Flows::default() }, &captured);
    let whose = |frame: &Vec<u8>| (frame[26..30].to_vec(), frame[42 + 12..42 + 16].to_vec());
    let expected = [
        (vec![10, 1, 2, 3], vec![0, 0, 0, 7]),
        (vec![198, 18, 0, 1], vec![0, 0, 0, 8]),
        (vec![198, 18, 0, 2], vec![0, 0, 0, 9]),
    ];
    assert_eq!(frames.iter().map(whose).collect::<Vec<_>>(), [expected.clone(), expected].concat());
    assert_eq!(stats.entries()[2].frames, 2);
}

#[test]
fn each_copy_is_numbered_by_itself() {
    let copies = Some(At::default_value(std::num::NonZeroU32::new(2).expect("it is above 0")));
    let captured = [v5(THEN, 1, &[[1; 4]]), v5(THEN, 9, &[[1; 4]])];
    let (frames, _) = made(Flows { copies, ..only_sequence() }, &captured);
    let number = |frame: &Vec<u8>| (frame[42 + 19], u16::from_be_bytes([frame[42 + 20], frame[42 + 21]]));
    assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [(1, 0x0102), (1, 0x0103), (2, 0x0102), (2, 0x0103)]);
}

#[test]
fn a_copy_that_can_not_be_numbered_is_counted() {
    // With tests, 4,096 are numbered.
    let copies = |number| std::num::NonZeroU32::new(number).map(At::default_value);
    let left = |number| {
        let (_, stats) = made(Flows { copies: copies(number), ..only_sequence() }, &[v5(THEN, 1, &[[1; 4]])]);
        stats.left(Left::FlowNumber).frames
    };
    assert_eq!([left(4_096), left(4_097)], [0, 1]);
}

#[test]
fn a_copy_with_the_address_of_a_captured_exporter_is_refused() {
    let problem = |source: [u8; 4]| {
        let copies = std::num::NonZeroU32::new(2).map(At::default_value);
        let rewriter = rewriter(Flows { copies, ..Flows::default() });
        let mut pass = Pass::new(&rewriter);
        let mut frame = udp4(&ipfix(THEN, 1, &[]));
        frame[26..30].copy_from_slice(&source);
        pass.take(&captured(&mut frame, 0));
        while pass.next_made().is_some() {}
        let source = Source { path: "s.toml".into(), text: String::new() };
        pass.problem_of_copies(&std::sync::Arc::new(source)).map(|problem| problem.what)
    };
    assert_eq!(problem([10, 1, 2, 3]), None);
    // The one copy has 198.18.0.1.
    assert_eq!(problem([198, 18, 0, 2]), None);
    let same = "a copy would have the address of the source `198.18.0.1`";
    assert_eq!(problem([198, 18, 0, 1]).as_deref(), Some(same));
}

#[test]
fn templates_of_another_capture_are_given_to_the_exporter_with_the_same_domain() {
    let rewriter = rewriter(first_templates(None));
    let mut learner = TemplateLearner::default();
    let template = set(2, &words(&[256, 1, 8, 4]));
    let mut elsewhere = udp4(&ipfix(THEN, 1, std::slice::from_ref(&template)));
    // The exporter was 10.1.2.99 there; checksums don't matter to what is learnt.
    elsewhere[29] = 99;
    learner.add(&captured(&mut elsewhere, 0));
    rewriter.learn_templates(learner.finish(true));
    let mut pass = Pass::new(&rewriter);
    let data = ipfix(THEN + 9, 70, &[set(256, &[10, 7, 0, 1])]);
    pass.take(&captured(&mut udp4(&data), 0));
    let mut payloads = Vec::new();
    while let Some((_, rewritten)) = pass.next_made() {
        payloads.push(rewritten.bytes[42..].to_vec());
    }
    assert_eq!(payloads, [ipfix(THEN + 9, 70, &[template]), data]);
}

#[test]
fn a_cut_datagram_to_a_collector_stays_and_is_counted() {
    let rewriter = rewriter(everything());
    let mut pass = Pass::new(&rewriter);
    let whole = udp4(&v5(THEN, 1, &[[10, 7, 0, 1]]));
    let cut = whole[..whole.len() - 1].to_vec();
    let (new, _) = through(&mut pass, 1, LinkType::ETHERNET, &cut, length(&whole));
    assert_eq!(new, cut);
    assert_eq!(pass.into_stats().left(Left::CutPayload).frames, 1);
}
