//! The bodies of the fuzz targets, a bounded number of times over mutations of our own captures: always the same ones.

#[path = "../common/mixed.rs"]
mod mixed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::capture::Reader;
use crate::flow::{Format, recognise};
use crate::packet::layers::{Layers, LinkType, protocol};

/// Marsaglia's xorshift with 64 bits: the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`; 0 if that is 0.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % (limit.max(1) as u64)).expect("it is below a usize")
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One to four bit flips, cuts, splices with another seed, and extremes where a length may stand.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.of(seeds).clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => {
                    let other = self.of(seeds);
                    let from = self.below(other.len());
                    bytes.splice(at.., other[from..].iter().copied());
                }
                _ => {
                    let extremes: [&[u8]; 8] = [
                        &[0],
                        &[0xff],
                        &[0, 0],
                        &[0xff, 0xff],
                        &[0, 1],
                        &[0x80, 0],
                        &[0, 0, 0, 0],
                        &[0xff, 0xff, 0xff, 0xff],
                    ];
                    let extreme = *self.of(&extremes);
                    let end = (at + extreme.len()).min(bytes.len());
                    bytes[at..end].copy_from_slice(&extreme[..end - at]);
                }
            }
        }
        bytes
    }
}

/// A folder that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("restage-fuzzing-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder in the temporary folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The capture with something of everything, the smaller ones of the scenarios, and a pcapng file with few blocks.
fn files() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/captures");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng"));
    paths.sort();
    let mut files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("it can be read")).collect();
    files.retain(|file| file.len() < 20_000);
    files.extend([mixed::pcap(&mixed::mixed()), mixed::pcap(&[]), pcapng()]);
    files
}

/// A section, an interface with a clock in nanoseconds, and each kind of packet block.
fn pcapng() -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let length = u32::try_from(12 + body.len()).expect("short").to_le_bytes();
        [&kind.to_le_bytes(), &length, body, &length].concat()
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let frame = &mixed::mixed()[1].0[..48];
    let enhanced = [words(&[0, 0, 1_500_000, 48, 49]), frame.to_vec()].concat();
    [
        block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX])),
        block(1, &words(&[1, 0, 1 << 16 | 9, 9, 0])),
        block(6, &enhanced),
        block(3, &[words(&[48]), frame.to_vec()].concat()),
        block(0x0bad, &words(&[7])),
        block(2, &enhanced),
    ]
    .concat()
}

/// The first frames of every file.
fn frames(folder: &Path) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for file in files() {
        let path = folder.join("seed");
        fs::write(&path, file).expect("it can be written");
        let mut reader = Reader::open(&path).expect("our own captures can be read");
        let first = frames.len();
        while let Some(frame) = reader.next_frame().expect("our own captures are whole") {
            if frames.len() - first < 20 {
                frames.push(frame.bytes.to_vec());
            }
        }
    }
    assert!(frames.len() > 50, "{} frames", frames.len());
    frames
}

/// Those that are walked, and one that nobody knows.
const LINKS: [u16; 16] = [1, 1, 1, 1, 0, 9, 12, 50, 51, 101, 104, 108, 113, 228, 276, 9999];

#[test]
fn no_file_makes_the_reader_panic_or_the_identity_change_it() {
    let folder = Folder::new("reader");
    let seeds = files();
    for seed in &seeds {
        super::reader(&folder.0, seed);
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..1_500 {
        super::reader(&folder.0, &dice.mutate(&seeds));
    }
}

#[test]
fn no_frame_has_layers_outside_itself() {
    let folder = Folder::new("layers");
    let seeds = frames(&folder.0);
    let mut dice = Dice(0xd1b5_4a32_d192_ed03);
    for _ in 0..60_000 {
        let frame = dice.mutate(&seeds);
        let length = u32::try_from(frame.len() + dice.below(3)).expect("short");
        super::layers(*dice.of(&LINKS), length, &frame);
    }
}

#[test]
fn no_frame_is_rewritten_further_by_a_second_time() {
    let folder = Folder::new("rewriter");
    let seeds = frames(&folder.0);
    let mut dice = Dice(0x94d0_49bb_1331_11eb);
    for seed in &seeds {
        super::rewriter(1, u32::try_from(seed.len()).expect("short"), seed);
    }
    for _ in 0..40_000 {
        let frame = dice.mutate(&seeds);
        let length = u32::try_from(frame.len() + dice.below(3)).expect("short");
        super::rewriter(*dice.of(&LINKS), length, &frame);
        super::pass(*dice.of(&LINKS), length, &frame);
    }
}

#[test]
fn no_datagram_has_records_outside_itself() {
    let folder = Folder::new("flows");
    let payload = |frame: &Vec<u8>| {
        let layers = Layers::find(LinkType::ETHERNET, frame);
        let ip = *layers.network.ip()?;
        (ip.protocol == protocol::UDP && !ip.is_later_fragment())
            .then(|| frame.get(ip.payload + 8..ip.end))?
            .map(<[u8]>::to_vec)
    };
    let mut seeds: Vec<Vec<u8>> = frames(&folder.0).iter().filter_map(payload).collect();
    seeds.retain(|datagram| recognise(datagram).is_some());
    let formats: BTreeSet<Format> = seeds.iter().filter_map(|datagram| recognise(datagram)).collect();
    assert!(formats.len() >= 3, "{formats:?}");
    for (made, format) in [(lists(), Format::Ipfix), (samples(), Format::Sflow5)] {
        assert_eq!(recognise(&made), Some(format));
        seeds.push(made);
    }
    super::flows(&seeds.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut dice = Dice(0xbf58_476d_1ce4_e5b9);
    for _ in 0..20_000 {
        let datagrams: Vec<Vec<u8>> =
            (0..3).map(|index| if index == 2 { dice.of(&seeds).clone() } else { dice.mutate(&seeds) }).collect();
        super::flows(&datagrams.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}

/// IPFIX with a list of each kind, in a field of variable length.
fn lists() -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let templates = words(&[2, 36, 256, 2, 8, 4, 7, 2, 257, 3, 291, 0xffff, 292, 0xffff, 293, 0xffff, 0, 0]);
    let lists = [
        &[17, 3][..],
        &words(&[10, 4, 0, 1, 0, 4, 0, 8]),
        &[0],
        &[9, 3],
        &words(&[256, 1, 2, 3]),
        &[11, 3],
        &words(&[256, 10, 1, 2, 3]),
    ]
    .concat();
    let length = u16::try_from(lists.len()).expect("short");
    let data = [words(&[257, length + 4]), lists].concat();
    let header = words(&[10, 16 + 36 + length + 4, 0, 0, 0, 0, 0, 7]);
    [header, templates, data].concat()
}

/// sFlow with a flow sample, which has a packet's header, and a counter sample.
fn samples() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let packet = &mixed::mixed()[1].0[..48];
    let flow = [words(&[1, 3, 512, 1024, 0, 1, 2, 1, 1, 64, 1, 1518, 4, 48]), packet.to_vec()].concat();
    let counters = [words(&[2, 3, 1, 1, 88]), vec![0; 88]].concat();
    let of =
        |format: u32, sample: Vec<u8>| [words(&[format, u32::try_from(sample.len()).expect("short")]), sample].concat();
    [words(&[5, 1, 0xc000_0207, 0, 1, 60_000, 2]), of(1, flow), of(2, counters)].concat()
}

#[test]
fn no_payload_that_can_not_be_decoded_is_altered() {
    let folder = Folder::new("payloads");
    let seeds = frames(&folder.0);
    let mut dice = Dice(0xbf58_476d_1ce4_e5b9);
    for seed in &seeds {
        super::payloads(1, u32::try_from(seed.len()).expect("short"), seed);
    }
    for _ in 0..40_000 {
        let frame = dice.mutate(&seeds);
        let length = u32::try_from(frame.len() + dice.below(3)).expect("short");
        super::payloads(*dice.of(&LINKS), length, &frame);
    }
}
