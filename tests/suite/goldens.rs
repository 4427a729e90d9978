//! The goldens of tcpreplay's own tests: what the language expresses gives the same frames, or differs exactly where a row says why.
//!
//! Not among them are those that the language has no words for: `seed`, `mac_seed`, `skip` and `l7fuzzing` are random, `layer2` and
//! `dltuser` put a given link header in place of another, `endpoint` and `mac` need the client and server of every packet out of a
//! file that tcpprep made (`[rewrite.client]` and `[rewrite.server]` go by the conversation).
//!
//! They are no part of the project, so that this is left out unless it is asked for:
//! `RESTAGE_CAPTURES=FOLDER cargo test --test suite -- --ignored goldens`. Frames are compared with their times and lengths; file headers
//! are not: ours keeps the input's, the golden's names a snaplen of 65,535, and those of the big-endian host that byte order.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use restage::Scenario;

/// A golden, and the scenario that says the same as its command line.
struct Row {
    /// Files of `head-3737e9da`: of a little-endian and, under the name without 2, of a big-endian host.
    goldens: &'static [&'static str],
    /// What follows `[capture]` and its file.
    scenario: &'static str,
    /// Where the two differ, and nowhere else.
    differences: &'static [Difference],
}

/// A difference, and why it is one.
#[derive(Debug)]
struct Difference {
    frames: &'static [u64],
    what: What,
    #[expect(dead_code, reason = "it is shown where the test fails")]
    why: &'static str,
}

#[derive(Debug)]
enum What {
    /// These bytes of each frame, and no other.
    Bytes(&'static [usize]),
    /// Each frame as a whole: ours is made so from the input's.
    Made(fn(&[u8]) -> Vec<u8>),
}

const fn bytes(frames: &'static [u64], bytes: &'static [usize], why: &'static str) -> Difference {
    Difference { frames, what: What::Bytes(bytes), why }
}

const HEADER_SUM: &str =
    "RFC 791 §3.1: the golden keeps a header checksum that isn't the complement of the header's sum";
const ICMP_SUM: &str = "RFC 792: the golden keeps a checksum that isn't the complement of the message's sum";
const UNASKED: &str =
    "RFC 9293 §3.1, RFC 768: the checksum doesn't cover the TTL; the golden mends a wrong one unasked, ours keeps it";
const PSEUDOWIRE: &str =
    "RFC 4448 §3: an Ethernet frame inside a pseudowire; the golden changes the inner frame, ours none but the outer";
const LENGTH: &str = "RFC 791 §3.1: the total length is beyond the end of the frame; the golden keeps it";

/// Frames that hold an Ethernet frame in a pseudowire over MPLS.
const IN_PSEUDOWIRE: &[u64] = &[142, 150, 157, 170, 174, 175, 176, 177, 178, 179];
/// The frame with a tag of VLAN 45, priority 5, DEI set, after its addresses.
fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0xb0, 45], &frame[12..]].concat()
}

const ROWS: &[Row] = &[
    Row {
        goldens: &["test2.rewrite_pnat", "test.rewrite_pnat"],
        scenario: "[rewrite.both]\nip = { \"96.17.211.0/24\" = \"172.16.0.0/24\" }\n",
        differences: &[],
    },
    Row {
        goldens: &["test2.rewrite_fixcsum", "test.rewrite_fixcsum"],
        scenario: "[rewrite]\nchecksums = \"fix\"\n",
        differences: &[
            bytes(&[11], &[32, 33], HEADER_SUM),
            bytes(&[12], &[25], HEADER_SUM),
            bytes(&[12], &[36, 37], ICMP_SUM),
            bytes(&[14], &[24], HEADER_SUM),
        ],
    },
    // No frame of the input is cut, and none has a VLAN tag of its own.
    Row { goldens: &["test2.rewrite_fixlen_del"], scenario: "truncated = \"skip\"\n", differences: &[] },
    Row {
        goldens: &["test2.rewrite_fixlen_pad", "test2.rewrite_pad"],
        scenario: "truncated = \"pad\"\n",
        differences: &[],
    },
    Row {
        goldens: &["test2.rewrite_vlandel"],
        scenario: "[rewrite]\nallow-unused = true\n[rewrite.vlan]\npop = true\n",
        differences: &[],
    },
    Row {
        goldens: &["test2.rewrite_fixlen_trunc", "test2.rewrite_trunc"],
        scenario: "[rewrite]\nlengths = \"fix\"\n",
        differences: &[bytes(&[11], &[25, 33], LENGTH)],
    },
    Row {
        goldens: &["test2.rewrite_config", "test.rewrite_config"],
        scenario: "[rewrite.vlan]\npush = { id = 45, priority = 5, dei = true }\n",
        differences: &[
            Difference {
                frames: &[114],
                what: What::Made(tagged),
                why: "IEEE 802.1Q §9: a frame with a length field takes a tag like any other; the golden leaves it",
            },
            Difference { frames: IN_PSEUDOWIRE, what: What::Made(tagged), why: PSEUDOWIRE },
        ],
    },
    Row {
        goldens: &["test2.rewrite_tos", "test.rewrite_tos"],
        scenario: "[rewrite.header]\ntos = 50\n",
        differences: &[bytes(IN_PSEUDOWIRE, &[45, 55], PSEUDOWIRE)],
    },
    Row {
        goldens: &["test2.rewrite_1ttl"],
        scenario: "[rewrite.header]\nttl = 58\n",
        differences: &[
            bytes(&[19], &[51], UNASKED),
            bytes(&[27], &[40], UNASKED),
            bytes(&[32], &[70, 71], UNASKED),
            bytes(IN_PSEUDOWIRE, &[52, 54], PSEUDOWIRE),
        ],
    },
    Row {
        goldens: &["test2.rewrite_3ttl"],
        scenario: "[rewrite.header]\nttl = \"-58\"\n",
        differences: &[
            bytes(&[19], &[51], UNASKED),
            bytes(&[27], &[40], UNASKED),
            bytes(&[32], &[70, 71], UNASKED),
            bytes(IN_PSEUDOWIRE, &[52, 54], PSEUDOWIRE),
        ],
    },
];

/// What is not as the row says.
fn wrong(row: &Row, input: &[Captured], ours: &[Captured], theirs: &[Captured]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, ((input, ours), theirs)) in (1..).zip(input.iter().zip(ours).zip(theirs)) {
        let of_it = || row.differences.iter().filter(|difference| difference.frames.contains(&number));
        let made = of_it().find_map(|difference| match difference.what {
            What::Made(make) => Some(make),
            What::Bytes(_) => None,
        });
        let is_right = match made {
            Some(make) => {
                let made = make(&input.2);
                let length = u32::try_from(made.len()).expect("a short frame");
                *ours == (input.0, length, made) && ours != theirs
            }
            None => {
                let explained = of_it().flat_map(|difference| match difference.what {
                    What::Bytes(bytes) => bytes,
                    What::Made(_) => &[],
                });
                let explained: BTreeSet<usize> = explained.copied().collect();
                let differing: BTreeSet<usize> =
                    (0..ours.2.len()).filter(|at| ours.2.get(*at) != theirs.2.get(*at)).collect();
                (ours.0, ours.1, ours.2.len()) == (theirs.0, theirs.1, theirs.2.len()) && differing == explained
            }
        };
        if !is_right {
            wrong.push(format!("frame {number}: not as {:?} says", of_it().collect::<Vec<_>>()));
        }
    }
    if ours.len() != theirs.len() {
        wrong.push(format!("{} frames, not {}", ours.len(), theirs.len()));
    }
    wrong
}

/// A frame: its time, its length on the wire, its bytes.
type Captured = (u64, u32, Vec<u8>);

/// The frames of a pcap file of either byte order, with times in microseconds.
fn frames(path: &Path) -> Vec<Captured> {
    let file = fs::read(path).expect("a capture");
    let is_big_endian = file[..4] == [0xa1, 0xb2, 0xc3, 0xd4];
    assert!(is_big_endian || file[..4] == [0xd4, 0xc3, 0xb2, 0xa1], "{}", path.display());
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let [seconds, micros, captured, original] = [0, 4, 8, 12].map(|at| {
            let field = rest[at..at + 4].try_into().expect("four bytes");
            if is_big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
        });
        let (frame, behind) = rest[16..].split_at(captured as usize);
        frames.push((1_000_000 * u64::from(seconds) + u64::from(micros), original, frame.to_vec()));
        rest = behind;
    }
    frames
}

fn rewritten(row: &Row, input: &Path, work: &Path) -> Vec<Captured> {
    let (scenario, output) = (work.join("golden.toml"), work.join("out.pcap"));
    let text = format!("format = 1\n[capture]\nfile = \"{}\"\n{}", input.display(), row.scenario);
    fs::write(&scenario, text).expect("it can be written");
    let scenario = Scenario::from_file(&scenario).expect("a valid scenario");
    scenario.rewrite(&output).expect("it can be rewritten");
    frames(&output)
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn frames_equal_tcpreplay_s_goldens_except_for_its_mistakes() {
    let captures = std::env::var_os("RESTAGE_CAPTURES").expect("RESTAGE_CAPTURES names the folder of the captures");
    let folder = Path::new(&captures).join("tcpreplay-goldens");
    let work = std::env::temp_dir().join(format!("restage-goldens-{}", std::process::id()));
    fs::create_dir_all(&work).expect("a folder in the temporary folder");
    let input = frames(&folder.join("test.pcap"));
    let mut wrong_frames = Vec::new();
    for row in ROWS {
        let ours = rewritten(row, &folder.join("test.pcap"), &work);
        for golden in row.goldens {
            let theirs = frames(&folder.join("head-3737e9da").join(golden));
            wrong_frames
                .extend(wrong(row, &input, &ours, &theirs).into_iter().map(|wrong| format!("{golden} {wrong}")));
        }
    }
    fs::remove_dir_all(&work).expect("it can be removed");
    assert!(wrong_frames.is_empty(), "{}", wrong_frames.join("\n"));
}
