//! Payload files read as captures: each form, and what is wrong with one.

use std::path::PathBuf;
use std::sync::Arc;

use super::Folder;
use crate::capture::{Captures, Encoding, Files, Payloads};
use crate::diagnostic::{At, Result, Source};
use crate::packet::checksum::{Sum, transport_sum};
use crate::packet::layers::Layers;

fn payloads() -> Payloads {
    Payloads {
        source: "192.0.2.1:49152".parse().expect("an address"),
        destination: "192.0.2.20:4739".parse().expect("an address"),
        encoding: None,
    }
}

/// The payload and the time of every frame.
fn read(paths: &[PathBuf], payloads: Payloads) -> Result<Vec<(Vec<u8>, u64)>> {
    let paths = paths.iter().map(|path| At { value: path.clone(), span: None }).collect();
    let files = Files::payloads(paths, payloads, 0..0).expect("there are some");
    let source = Arc::new(Source { path: "scenario.toml".into(), text: String::new() });
    let mut captures = Captures::open(&files, &source)?;
    let mut found = Vec::new();
    while let Some(frame) = captures.next_frame()? {
        let layers = Layers::find(frame.link, frame.bytes);
        assert_eq!(transport_sum(&layers.network, frame.bytes, frame.original_length), Sum::Good);
        found.push((frame.bytes.get(28..).unwrap_or_default().to_vec(), frame.time_ns));
    }
    Ok(found)
}

fn written(folder: &Folder, files: &[(&str, &[u8])]) -> Vec<PathBuf> {
    files.iter().map(|(name, content)| folder.file(name, content)).collect()
}

#[test]
fn raw_hexadecimal_and_base64_are_the_same_bytes() {
    let folder = Folder::new();
    let files = written(
        &folder,
        &[
            ("a.dat", &[0, 9, 0, 4, 0xff]),
            ("b.hex", b"00 09:00-04\nFF\n"),
            ("c.HEX", b"0x00, 0x09, 0x00, 0x04, 0xff"),
            ("d.hex", b"00090004ff"),
            ("e.b64", b"AAkA\nBP8=\n"),
            ("f.base64", b"AAkABP8"),
            ("g", b""),
        ],
    );
    let read = read(&files, payloads()).expect("all are right");
    for (payload, _) in &read[..6] {
        assert_eq!(payload, &[0, 9, 0, 4, 0xff]);
    }
    assert!(read[6].0.is_empty());
    let times: Vec<u64> = read.iter().map(|(_, time)| time / 1_000_000).collect();
    assert_eq!(times, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_encoding_that_is_written_goes_before_the_ending() {
    let folder = Folder::new();
    let files = written(&folder, &[("a.dat", b"0a0b"), ("b.b64", b"0a0b")]);
    let hex = Payloads { encoding: Some(Encoding::Hex), ..payloads() };
    let read = read(&files, hex).expect("both are right");
    assert_eq!(read.iter().map(|(payload, _)| payload.as_slice()).collect::<Vec<_>>(), [[10, 11], [10, 11]]);
}

#[test]
fn what_is_wrong_with_a_payload_is_said_with_its_place() {
    let folder = Folder::new();
    let long = vec![0; 65_508];
    let mut messages = String::new();
    for (name, content) in [
        ("half.hex", &b"00 1"[..]),
        ("split.hex", b"00\n1 2"),
        ("letter.hex", b"00\n01\nzz"),
        ("symbol.b64", b"AA*A"),
        ("length.b64", b"AAAAA"),
        ("long.dat", &long),
    ] {
        let files = written(&folder, &[(name, content)]);
        let failure = read(&files, payloads()).expect_err("it is wrong");
        messages += &folder.told(&failure);
    }
    let absent = read(&[folder.0.join("*.pcap")], payloads()).expect_err("nothing matches");
    messages += &folder.told(&absent);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("wrong_payloads", messages);
    });
}

#[test]
fn the_longest_payload_of_each_family_is_one_frame() {
    let folder = Folder::new();
    let files = written(&folder, &[("a.dat", &vec![7; 65_507])]);
    assert_eq!(read(&files, payloads()).expect("it fits")[0].0.len(), 65_507);
    let files = written(&folder, &[("b.dat", &vec![7; 65_527])]);
    let over_v6 = Payloads {
        source: "[2001:db8::1]:1".parse().expect("an address"),
        destination: "[2001:db8::2]:2".parse().expect("an address"),
        ..payloads()
    };
    assert_eq!(read(&files, over_v6).expect("it fits")[0].0.len(), 65_527 + 20);
}
