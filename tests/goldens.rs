//! The goldens of tcpreplay's own tests: what the language expresses gives the same frames, or differs exactly where a row says why.
//!
//! They lie beside the clone, in `../shared/captures`, and are no part of the project: without them this says so and passes. Frames are
//! compared with their times and lengths; file headers are not: ours keeps the input's, the golden's names a snaplen of 65,535, and
//! those of the big-endian host that byte order.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use restage::capture::{Frame, Reader};
use restage::diagnostic::Source;
use restage::plan::Selector;
use restage::rewrite::{Output, Rewriter, Roles, Selected, rewrite_file};
use restage::scenario;

/// A golden, and the scenario that says the same as its command line.
struct Row {
    /// Files of `head-3737e9da`: of a little-endian and of a big-endian host.
    goldens: &'static [&'static str],
    /// What follows `[capture]` and its file.
    scenario: &'static str,
    /// Where ours is right and the golden isn't: the frame, the bytes that differ, why.
    differences: &'static [(u64, Range<usize>, &'static str)],
}

/// `--fixcsum` leaves these as they are, and they are wrong.
const HEADER_SUM: &str = "RFC 791 §3.1: the golden's header checksum isn't the complement of the header's sum";
const ICMP_SUM: &str = "RFC 792: the golden's checksum isn't the complement of the message's sum";

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
            (11, 32..34, HEADER_SUM),
            (12, 25..26, HEADER_SUM),
            (12, 36..38, ICMP_SUM),
            (14, 24..25, HEADER_SUM),
        ],
    },
    // No frame of the input is cut, so nothing is left out.
    Row { goldens: &["test2.rewrite_fixlen_del"], scenario: "truncated = \"skip\"\n", differences: &[] },
];

/// A frame: its time, its length on the wire, its bytes.
type Captured = (u64, u32, Vec<u8>);

fn frames(path: &Path) -> Vec<Captured> {
    let mut reader = Reader::open(path).expect("a capture");
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().expect("it is whole") {
        frames.push((frame.time_ns, frame.original_length, frame.bytes.to_vec()));
    }
    frames
}

fn rewritten(row: &Row, input: &Path, output: &Path) -> Vec<Captured> {
    let text = format!("format = 1\n[capture]\nfile = \"{}\"\n{}", input.display(), row.scenario);
    let source = Arc::new(Source { path: "golden.toml".into(), text });
    let scenario = scenario::check_text(Arc::clone(&source)).expect("a valid scenario");
    let rewriter = Rewriter::compile(&scenario.rewrite, &Roles::default()).expect("it needs no role");
    let mut selector = Selector::new(&scenario).expect("it can select");
    let mut select =
        |frame: &Frame<'_>| selector.takes(frame).map(|taken| if taken { Selected::Yes } else { Selected::No });
    rewrite_file(input, &Output::Path(output), &mut select, &rewriter, &source).expect("it can be rewritten");
    frames(output)
}

#[test]
fn what_tcpreplay_s_own_tests_want_comes_out_but_for_its_mistakes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/tcpreplay-goldens");
    if !folder.exists() {
        println!("skipped: there are no goldens at {}", folder.display());
        return;
    }
    let work = std::env::temp_dir().join(format!("restage-goldens-{}", std::process::id()));
    fs::create_dir_all(&work).expect("a folder in the temporary folder");
    let output: PathBuf = work.join("out.pcap");
    for row in ROWS {
        let ours = rewritten(row, &folder.join("test.pcap"), &output);
        for golden in row.goldens {
            let theirs = frames(&folder.join("head-3737e9da").join(golden));
            assert_eq!(ours.len(), theirs.len(), "{golden}");
            let mut differing = Vec::new();
            for (number, (ours, theirs)) in (1..).zip(ours.iter().zip(&theirs)) {
                assert_eq!((ours.0, ours.1, ours.2.len()), (theirs.0, theirs.1, theirs.2.len()), "{golden} {number}");
                let unequal = (0..ours.2.len()).filter(|at| ours.2[*at] != theirs.2[*at]);
                differing.extend(unequal.map(|at| (number, at)));
            }
            let explained: Vec<(u64, usize)> =
                row.differences.iter().flat_map(|(number, bytes, _)| bytes.clone().map(|at| (*number, at))).collect();
            assert_eq!(differing, explained, "{golden}: {:?}", row.differences);
        }
    }
    fs::remove_dir_all(&work).expect("it can be removed");
}
