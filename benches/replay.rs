//! How fast captures are replayed into a receiver that captures, beside tcpreplay, and what a frame costs as captures grow.
//!
//! tcpreplay sends in a lab of the bench, whose receiver captures and reads every frame. `restage run` makes an equal lab, captures,
//! and matches every frame to the one it sent; its figures are those of its own report. Start at [`speed`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::figures::{Aims, Page, Size, mebibytes, thousands};
use crate::measure::{self, Taken};
use crate::programs::{self, RESTAGE};
use crate::table::Table;
use crate::wire::{Keep, RECEIVER_MAC, Wires};

/// The largest memory that restage may take, however many frames it matches.
const MOST_MEMORY_MIB: f64 = 64.0;

/// Starts a program as a user without any capability.
const AS_ANOTHER: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"];

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Tcpreplay,
    /// Over a pair whose receiving end is polled by another processor, as that of a lab is when restage sends at top speed.
    TcpreplayPolled,
    TcpreplayXdp,
    /// With the word in `[pacing] sender`.
    Restage(&'static str),
    /// By itself, as a user without any capability, where the bench is root.
    Ordinary,
    /// By itself, and without taps and drop reasons: here every frame is dropped behind the wire, which the kernel tells.
    Unwatched,
}

/// What one round of one program came to.
#[derive(Debug, Clone)]
struct Round {
    taken: Taken,
    pps: f64,
    arrived: u64,
    lost: u64,
    /// Lost without a cause.
    unaccounted: u64,
    /// What restage says that it sent with.
    sender: Option<String>,
}

/// The rounds of one program, those that failed as what it said.
#[derive(Debug)]
struct Entry {
    sender: Sender,
    rounds: Vec<Result<Round, String>>,
}

impl Entry {
    fn done(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().flatten()
    }

    fn median(&self, part: impl Fn(&Round) -> f64) -> f64 {
        median(self.done().map(part).collect())
    }

    /// The middle one of the rounds' quotients, this program's by the other's.
    fn by(&self, other: &Self, part: impl Fn(&Round) -> f64) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.filter_map(|(this, other)| Some(part(this.as_ref().ok()?) / part(other.as_ref().ok()?))).collect())
    }

    fn most(&self, part: impl Fn(&Round) -> u64) -> u64 {
        self.done().map(part).max().unwrap_or_default()
    }

    /// What restage sent with.
    fn used(&self) -> &str {
        self.done().find_map(|round| round.sender.as_deref()).unwrap_or_default()
    }

    fn name(&self) -> String {
        match self.sender {
            Sender::Tcpreplay => "tcpreplay -t -K".to_owned(),
            Sender::TcpreplayPolled => "tcpreplay -t -K, polled receiver".to_owned(),
            Sender::TcpreplayXdp => "tcpreplay -t -K --xdp".to_owned(),
            Sender::Restage("auto") => format!("restage run (by itself: {})", self.used()),
            Sender::Ordinary => format!("restage run, ordinary user (by itself: {})", self.used()),
            Sender::Restage(word) => format!("restage run, sender = \"{word}\""),
            Sender::Unwatched => "restage run --evidence off".to_owned(),
        }
    }
}

/// The middle one; not a number where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Replays the capture at top speed with all senders that there are, in turns.
///
/// # Errors
/// When there is no lab, or no room for a scenario.
pub(crate) fn speed(
    page: &mut Page,
    aims: &mut Aims,
    wires: &Wires,
    (name, capture, size): (&str, &Path, Size),
    rounds: usize,
) -> io::Result<()> {
    let mut remarks = Vec::new();
    let mut entries: Vec<_> =
        senders(capture, wires, &mut remarks)?.into_iter().map(|sender| Entry { sender, rounds: Vec::new() }).collect();
    // The first round brings programs into memory, and isn't counted.
    for round in 0..=rounds {
        for turn in 0..entries.len() {
            let at = (turn + round) % entries.len();
            let done = take(entries[at].sender, wires, capture, size)?;
            if round > 0 {
                entries[at].rounds.push(done);
            }
        }
    }
    page.heading(&format!("replaying {name}"));
    let frame_bytes = (size.bytes as f64 - 24.0) / size.frames as f64 - 16.0;
    page.remark(&format!(
        "{} frames of {frame_bytes:.0} bytes at top speed, over a veth pair, to a receiver that captures all of them.",
        thousands(size.frames)
    ));
    page.table(&table(&entries, frame_bytes));
    for entry in &entries {
        let failures = entry.rounds.iter().filter_map(|round| round.as_ref().err());
        remarks.extend(failures.map(|said| format!("{} failed in a round: {said}", entry.name())));
    }
    for remark in &remarks {
        page.remark(remark);
    }
    judge(aims, name, &entries);
    Ok(())
}

fn table(entries: &[Entry], frame_bytes: f64) -> Table {
    let mut table = Table::new(&[
        "program",
        "Mpps",
        "Gbit/s",
        "× tcpreplay",
        "arrived",
        "lost",
        "unaccounted",
        "wall s",
        "× tcpreplay's wall",
        "MiB",
    ]);
    let tcpreplay = entries.iter().find(|entry| entry.sender == Sender::Tcpreplay);
    for entry in entries.iter().filter(|entry| entry.done().next().is_some()) {
        let quotient = |quotient: Option<f64>| quotient.map_or("–".to_owned(), |quotient| format!("{quotient:.2}"));
        let pps = entry.median(|round| round.pps);
        table.row([
            entry.name(),
            format!("{:.3}", pps / 1e6),
            format!("{:.2}", pps * frame_bytes * 8.0 / 1e9),
            quotient(tcpreplay.map(|other| entry.by(other, |round| round.pps))),
            thousands(entry.done().map(|round| round.arrived).min().unwrap_or_default()),
            thousands(entry.most(|round| round.lost)),
            thousands(entry.most(|round| round.unaccounted)),
            format!("{:.2}", entry.median(|round| round.taken.wall.as_secs_f64())),
            quotient(tcpreplay.map(|other| other.by(entry, |round| round.taken.wall.as_secs_f64()))),
            mebibytes(entry.most(|round| round.taken.peak_kib)),
        ]);
    }
    table
}

fn judge(aims: &mut Aims, name: &str, entries: &[Entry]) {
    let of = |sender| entries.iter().find(|entry| entry.sender == sender && entry.done().next().is_some());
    let (restage, tcpreplay) = (of(Sender::Restage("auto")), of(Sender::Tcpreplay));
    let both = restage.zip(tcpreplay);
    let rate = both.map(|(restage, tcpreplay)| restage.by(tcpreplay, |round| round.pps));
    aims.at_least(format!("replaying {name}: rate by tcpreplay's"), 1.7, rate);
    let wall = both.map(|(restage, tcpreplay)| tcpreplay.by(restage, |round| round.taken.wall.as_secs_f64()));
    aims.at_least(format!("replaying {name}: tcpreplay's wall time by restage's"), 4.0, wall);
    if let Some((ordinary, tcpreplay)) = of(Sender::Ordinary).zip(tcpreplay) {
        let rate = ordinary.by(tcpreplay, |round| round.pps);
        aims.at_least(format!("replaying {name}, ordinary user: rate by tcpreplay's"), 1.4, Some(rate));
    }
    let is_ours = |sender| matches!(sender, Sender::Restage(_) | Sender::Ordinary | Sender::Unwatched);
    let ours = || entries.iter().filter(|entry| is_ours(entry.sender));
    let lost: u64 = ours().flat_map(Entry::done).map(|round| round.lost.max(round.unaccounted)).sum();
    let failed = ours().flat_map(|entry| &entry.rounds).filter(|round| round.is_err()).count();
    aims.judge(
        format!("replaying {name}: frames lost or unaccounted for, in all rounds of restage"),
        "none, and no run that fails",
        format!("{}; {failed} failed", thousands(lost)),
        Some(lost == 0 && failed == 0 && restage.is_some()),
    );
}

/// The programs that are here, and the words that restage takes.
fn senders(capture: &Path, wires: &Wires, remarks: &mut Vec<String>) -> io::Result<Vec<Sender>> {
    let mut senders = Vec::new();
    if programs::is_installed("tcpreplay") {
        senders.push(Sender::Tcpreplay);
        if wires.polled.is_some() {
            senders.push(Sender::TcpreplayPolled);
        } else {
            remarks.push("No other processor polls a receiver here: that takes root, and two processors.".to_owned());
        }
        let help = Command::new("tcpreplay").arg("-H").output()?;
        if String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).contains("--xdp") {
            senders.push(Sender::TcpreplayXdp);
        } else {
            remarks.push("This tcpreplay has no --xdp.".to_owned());
        }
    } else {
        remarks.push("Nothing is compared: tcpreplay is not installed.".to_owned());
    }
    for word in ["auto", "packet", "xdp"] {
        let scenario = write_scenario(word, capture)?;
        let mut check = Command::new(&*RESTAGE);
        check.arg("check").arg(scenario).stdout(Stdio::null()).stderr(Stdio::null());
        if check.status()?.success() {
            senders.push(Sender::Restage(word));
        } else {
            remarks.push(format!("This restage has no `sender = \"{word}\"`."));
        }
    }
    senders.push(Sender::Unwatched);
    let [program, options @ ..] = AS_ANOTHER;
    if Command::new(program).args(options).arg("true").stderr(Stdio::null()).status().is_ok_and(|done| done.success()) {
        // The project may lie where nobody else may look.
        let folder = capture.parent().unwrap_or(Path::new("."));
        fs::copy(&*RESTAGE, folder.join("restage"))?;
        fs::set_permissions(folder, Permissions::from_mode(0o777))?;
        senders.push(Sender::Ordinary);
    } else {
        remarks.push("No other user is tried: that takes root, and setpriv.".to_owned());
    }
    Ok(senders)
}

fn write_scenario(sender: &str, capture: &Path) -> io::Result<std::path::PathBuf> {
    let text = format!(
        "format = 1\n\n[capture]\nfile = \"{}\"\n\n[lab]\nmac = \"{RECEIVER_MAC}\"\naddresses = [\"192.0.2.1/32\"]\n\n[pacing]\nrate = \"topspeed\"\n\
         sender = \"{sender}\"\n\n[receiver]\nlistens = []\n\n[expect]\narrived = \"all\"\nlosses = {{ OTHERHOST = \"all\" }}\n",
        capture.display()
    );
    let path = capture.with_extension(format!("{sender}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// One run; inside, what a program said that failed.
fn take(sender: Sender, wires: &Wires, capture: &Path, size: Size) -> io::Result<Result<Round, String>> {
    let options: &[&str] = match sender {
        Sender::Tcpreplay | Sender::TcpreplayPolled => &[],
        Sender::TcpreplayXdp => &["--xdp"],
        Sender::Restage(word) => return restage(&[RESTAGE.as_os_str()], word, capture, "auto"),
        Sender::Unwatched => return restage(&[RESTAGE.as_os_str()], "auto", capture, "off"),
        Sender::Ordinary => {
            let copy = capture.with_file_name("restage");
            let program: Vec<&OsStr> = AS_ANOTHER.iter().map(OsStr::new).chain([copy.as_os_str()]).collect();
            return restage(&program, "auto", capture, "auto");
        }
    };
    let words = ["tcpreplay", "-q", "-t", "-K"].iter().chain(options).chain(&["-i", "tx0"]);
    let mut command: Vec<_> = words.map(OsString::from).collect();
    command.push(capture.into());
    let wire = wires.polled.as_ref().filter(|_| sender == Sender::TcpreplayPolled).unwrap_or(&wires.plain);
    let (taken, arrivals) = wire.observe(Keep::Ends, || measure::run(&command))?;
    Ok(taken.map(|taken| {
        let lost = size.frames.saturating_sub(arrivals.count);
        let pps = arrivals.count.saturating_sub(1) as f64 / arrivals.duration().as_secs_f64();
        // What the ring had no room for was lost by the bench, and is accounted for.
        let unaccounted = lost.saturating_sub(arrivals.drops);
        Round { taken, pps, arrived: arrivals.count, lost, unaccounted, sender: None }
    }))
}

/// A run of the program that these words start.
fn restage(program: &[&OsStr], word: &str, capture: &Path, evidence: &str) -> io::Result<Result<Round, String>> {
    let scenario = write_scenario(word, capture)?;
    let json = capture.with_extension("json");
    let mut command: Vec<OsString> = program.iter().map(OsString::from).collect();
    command.extend(["run".into(), scenario.into()]);
    command.extend(["--evidence".into(), evidence.into(), "--report-json".into(), json.clone().into()]);
    let taken = match measure::run(&command) {
        Ok(taken) => taken,
        Err(said) => return Ok(Err(said)),
    };
    let report: Value = serde_json::from_slice(&fs::read(&json)?)?;
    fs::remove_file(&json)?;
    let scenario = &report["scenarios"][0];
    let ledger = &scenario["ledger"];
    let count = |name: &str| ledger[name].as_u64().unwrap_or_default();
    let unexplained = ledger["losses"].as_array().into_iter().flatten().filter(|loss| loss["cause"] == "unexplained");
    Ok(Ok(Round {
        taken,
        pps: scenario["replay"]["pps"].as_f64().unwrap_or(f64::NAN),
        arrived: count("arrived"),
        lost: count("selected").saturating_sub(count("arrived")),
        unaccounted: unexplained.filter_map(|loss| loss["frames"].as_u64()).sum(),
        sender: scenario["replay"]["sender"].as_str().map(str::to_owned),
    }))
}

/// What one capture of those that grow took.
#[derive(Debug)]
pub(crate) struct Grown {
    size: Size,
    rounds: Vec<Round>,
}

impl Grown {
    /// Replays the capture with restage alone.
    ///
    /// # Errors
    /// What restage says where it fails.
    pub(crate) fn measure(capture: &Path, size: Size, rounds: usize) -> io::Result<Self> {
        let done =
            (0..rounds).map(|_| restage(&[RESTAGE.as_os_str()], "auto", capture, "auto")?.map_err(io::Error::other));
        Ok(Self { size, rounds: done.collect::<io::Result<_>>()? })
    }

    fn seconds(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.taken.wall.as_secs_f64()).collect())
    }

    fn peak_kib(&self) -> u64 {
        self.rounds.iter().map(|round| round.taken.peak_kib).max().unwrap_or_default()
    }

    fn per_frame(&self) -> f64 {
        self.seconds() * 1e9 / self.size.frames as f64
    }
}

/// What captures of growing size took.
pub(crate) fn growth(page: &mut Page, aims: &mut Aims, grown: &[Grown]) {
    page.heading("replaying captures that grow");
    page.remark(
        "restage run alone at top speed, frames of 100 bytes; wall time of the whole run, with its lab and its plan.",
    );
    let mut table = Table::new(&["frames", "wall s", "ns a frame", "Mpps", "lost", "MiB"]);
    for one in grown {
        table.row([
            thousands(one.size.frames),
            format!("{:.3}", one.seconds()),
            format!("{:.0}", one.per_frame()),
            format!("{:.3}", median(one.rounds.iter().map(|round| round.pps).collect()) / 1e6),
            thousands(one.rounds.iter().map(|round| round.lost).max().unwrap_or_default()),
            mebibytes(one.peak_kib()),
        ]);
    }
    page.table(&table);
    let [_, hundredth, _, longest] = grown else { return };
    let peak = longest.peak_kib() as f64 / 1024.0;
    aims.at_most(format!("replaying {} frames: MiB", thousands(longest.size.frames)), MOST_MEMORY_MIB, Some(peak));
    let what = format!(
        "replaying grows linearly: ns a frame of {} by those of {}",
        thousands(longest.size.frames),
        thousands(hundredth.size.frames)
    );
    aims.at_most(what, 1.3, Some(longest.per_frame() / hundredth.per_frame()));
}
