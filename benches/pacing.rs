//! How exactly frames keep to their schedule, and what waiting costs, beside tcpreplay.
//!
//! Both programs send in the sender's namespace of one lab of the bench, and its receiver notes when the kernel took each frame.
//! Start at [`pacing`].

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::figures::{Aims, Page, thousands};
use crate::machine::Work;
use crate::measure;
use crate::programs::{self, RESTAGE};
use crate::replay::median;
use crate::table::Table;
use crate::wire::{Keep, Wire};
use crate::workloads::{Format, Workload};

/// How much worse than tcpreplay's a 99th percentile may be by chance.
const NOISE: f64 = 0.1;
/// With a duration that is off by more percent than this a program isn't pacing, as tcpreplay isn't where others take its processor
/// while it replays captured times: it falls behind, and stays there. Its percentiles say nothing then that one could compare with.
const FELL_BEHIND: f64 = 1.0;

/// When frames are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At times of the capture with gaps from 50 µs to 2 ms.
    Captured,
    /// So many each second.
    PacketsPerSecond(u64),
    /// One each 10 ms.
    Every10Ms,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Tcpreplay,
    Restage,
}

/// What one round of one program came to; times in microseconds.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// p50, p99 and the largest deviation from the schedule that begins with the first frame.
    from_first: [f64; 3],
    /// The same from the schedule moved to where half of the frames are early.
    from_median: [f64; 3],
    /// From first to last frame, less what was planned.
    drift: f64,
    /// The same by what was planned, in percent, without its sign.
    duration_error: f64,
    /// Processor seconds by wall seconds.
    processors: f64,
}

impl Pace {
    fn name(self) -> String {
        match self {
            Self::Captured => "captured times".to_owned(),
            Self::PacketsPerSecond(rate) => format!("{} pps", thousands(rate)),
            Self::Every10Ms => "every 10ms".to_owned(),
        }
    }

    /// The value of `[pacing] rate`.
    fn rate(self) -> String {
        match self {
            Self::Captured => "captured".to_owned(),
            Self::PacketsPerSecond(rate) => format!("{rate} pps"),
            Self::Every10Ms => "every 10ms".to_owned(),
        }
    }

    /// When that many frames are to be sent, in nanoseconds from the first one.
    fn planned(self, frames: u64) -> Vec<u64> {
        match self {
            Self::Captured => {
                let mut time_ns = 0;
                let gaps = (1..=frames).map(|number| {
                    let this = time_ns;
                    time_ns += gap_ns(number);
                    this
                });
                gaps.collect()
            }
            Self::PacketsPerSecond(rate) => (0..frames).map(|frame| frame * 1_000_000_000 / rate).collect(),
            Self::Every10Ms => (0..frames).map(|frame| frame * 10_000_000).collect(),
        }
    }
}

/// From that frame to the next one: from 50 µs to 2 ms in whole microseconds, which a capture of microseconds keeps.
fn gap_ns(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    (50 + mixed % 1951) * 1000
}

/// What is measured, and where.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    pub(crate) work: &'a Work,
    pub(crate) wire: &'a Wire,
    pub(crate) rounds: usize,
    pub(crate) scale: f64,
}

/// Measures all paces with both programs in turns, and how far restage drifts in a minute.
///
/// # Errors
/// When there is no room for a capture, or the receiver can't capture.
pub(crate) fn pacing(page: &mut Page, aims: &mut Aims, course: &Course<'_>) -> io::Result<()> {
    page.heading("pacing");
    page.remark(
        "Microseconds by which the kernel's receive times are off the schedule: from the first frame's, and moved to the median of all. \
         `CPU` is processor seconds of the program by its wall seconds. All are medians of the rounds. Where others want \
         the processors these figures are theirs, too: see the load.",
    );
    let mut table = Table::new(&[
        "pace",
        "p50 from first",
        "p99",
        "max",
        "p50 from median",
        "p99",
        "max",
        "duration error %",
        "CPU",
    ]);
    let mut remarks = Vec::new();
    let paces =
        [(Pace::Captured, 5000), (Pace::PacketsPerSecond(1000), 3000), (Pace::PacketsPerSecond(10_000), 20_000)];
    for (pace, frames) in paces.into_iter().chain([(Pace::PacketsPerSecond(100_000), 100_000)]) {
        course.compare(pace, scaled(frames, course.scale), &mut table, aims, &mut remarks)?;
    }
    course.drift(&mut table, aims, &mut remarks)?;
    page.table(&table);
    for remark in &remarks {
        page.remark(remark);
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a frame is none")]
fn scaled(frames: u64, scale: f64) -> u64 {
    ((frames as f64 * scale) as u64).max(500)
}

impl Course<'_> {
    fn compare(
        &self,
        pace: Pace,
        frames: u64,
        table: &mut Table,
        aims: &mut Aims,
        remarks: &mut Vec<String>,
    ) -> io::Result<()> {
        let capture = self.write(pace, frames)?;
        let mut senders = vec![(Sender::Restage, Vec::new())];
        if programs::is_installed("tcpreplay") {
            senders.push((Sender::Tcpreplay, Vec::new()));
        }
        // The first round brings programs into memory, and isn't counted.
        for round in 0..=self.rounds {
            for turn in 0..senders.len() {
                let at = (turn + round) % senders.len();
                let (sender, rounds) = &mut senders[at];
                let done = self.take(*sender, pace, frames, &capture)?;
                if round > 0 {
                    rounds.push(done);
                }
            }
        }
        fs::remove_file(&capture)?;
        for (sender, rounds) in senders.iter().rev() {
            row(table, &format!("{}, {}", pace.name(), name(*sender)), rounds);
            let failed = rounds.iter().filter_map(|round| round.as_ref().err());
            remarks.extend(failed.map(|said| format!("{}, {}: {said}", pace.name(), name(*sender))));
        }
        let [(_, restage), others @ ..] = &senders[..] else { return Ok(()) };
        judge(aims, pace, restage, others.first().map(|(_, rounds)| &rounds[..]));
        Ok(())
    }

    /// Once: it takes a minute.
    fn drift(&self, table: &mut Table, aims: &mut Aims, remarks: &mut Vec<String>) -> io::Result<()> {
        let frames = if self.scale < 1.0 { 500 } else { 6000 };
        let capture = self.write(Pace::Every10Ms, frames)?;
        let round = [self.take(Sender::Restage, Pace::Every10Ms, frames, &capture)?];
        fs::remove_file(&capture)?;
        row(table, &format!("every 10ms, {} frames, restage", thousands(frames)), &round);
        let drift = round[0].as_ref().ok().map(|round| round.drift);
        remarks.push(match &round[0] {
            Ok(round) => {
                format!("With `every 10ms` {} frames took {:+.1} µs more than planned.", thousands(frames), round.drift)
            }
            Err(said) => format!("every 10ms: {said}"),
        });
        aims.at_most("pacing, every 10ms: drift in µs".to_owned(), 100.0, drift.map(f64::abs));
        Ok(())
    }

    fn write(&self, pace: Pace, frames: u64) -> io::Result<PathBuf> {
        let path = self.work.file("paced.pcap");
        // Other paces don't look at the capture's times.
        let planned = if pace == Pace::Captured { pace } else { Pace::PacketsPerSecond(100_000) }.planned(frames);
        Workload::Short.write_at(planned.into_iter(), Format::Pcap, &path)?;
        Ok(path)
    }

    fn take(&self, sender: Sender, pace: Pace, frames: u64, capture: &Path) -> io::Result<Result<Round, String>> {
        let mut command: Vec<OsString> = match sender {
            Sender::Tcpreplay => ["tcpreplay", "-q", "-i", "tx0"].map(OsString::from).to_vec(),
            Sender::Restage => vec![RESTAGE.clone().into(), "run".into()],
        };
        match (sender, pace) {
            (Sender::Tcpreplay, Pace::PacketsPerSecond(rate)) => command.push(format!("--pps={rate}").into()),
            (Sender::Tcpreplay, _) => {}
            (Sender::Restage, _) => {
                let allowed = ["--allow-interface", "tx0", "--allow-rate", "1000000"];
                command.extend(allowed.map(OsString::from));
            }
        }
        command.push(match sender {
            Sender::Tcpreplay => capture.into(),
            Sender::Restage => write_scenario(pace, capture)?.into(),
        });
        let (taken, arrivals) = self.wire.observe(Keep::Times, || measure::run(&command))?;
        Ok(taken.and_then(|taken| {
            let processors = (taken.user + taken.system).as_secs_f64() / taken.wall.as_secs_f64();
            Round::of(&pace.planned(frames), &arrivals.times_ns, processors)
        }))
    }
}

fn name(sender: Sender) -> &'static str {
    match sender {
        Sender::Tcpreplay => "tcpreplay",
        Sender::Restage => "restage",
    }
}

fn write_scenario(pace: Pace, capture: &Path) -> io::Result<PathBuf> {
    let text = format!(
        "format = 1\n\n[capture]\nfile = \"{}\"\n\n[target]\ninterface = \"tx0\"\n\n[pacing]\nrate = \"{}\"\n\n[expect]\nsent = \"all\"\n",
        capture.display(),
        pace.rate()
    );
    let path = capture.with_extension("toml");
    fs::write(&path, text)?;
    Ok(path)
}

impl Round {
    /// Compares what was planned with what came.
    fn of(planned_ns: &[u64], came_ns: &[u64], processors: f64) -> Result<Self, String> {
        let ([first, ..], Some((planned, came))) = (came_ns, planned_ns.last().zip(came_ns.last())) else {
            return Err("nothing arrived".to_owned());
        };
        if planned_ns.len() != came_ns.len() {
            return Err(format!("{} of {} frames arrived", came_ns.len(), planned_ns.len()));
        }
        let micros = |came: u64, planned: u64| (came as f64 - *first as f64 - planned as f64) / 1e3;
        let off: Vec<_> = came_ns.iter().zip(planned_ns).map(|(came, planned)| micros(*came, *planned)).collect();
        let middle = median(off.clone());
        let drift = micros(*came, *planned);
        Ok(Self {
            from_first: shares(off.iter().map(|off| off.abs()).collect()),
            from_median: shares(off.iter().map(|off| (off - middle).abs()).collect()),
            drift,
            duration_error: drift.abs() * 1e3 / *planned as f64 * 100.0,
            processors,
        })
    }
}

/// p50, p99 and the largest.
fn shares(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [50, 99, 100].map(|percent| values.get(last * percent / 100).copied().unwrap_or(f64::NAN))
}

fn of(rounds: &[Result<Round, String>], part: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().flatten().map(part).collect())
}

fn row(table: &mut Table, name: &str, rounds: &[Result<Round, String>]) {
    if rounds.iter().all(Result::is_err) {
        return;
    }
    let deviations = (0..3).map(|at| of(rounds, |round| round.from_first[at]));
    let deviations = deviations.chain((0..3).map(|at| of(rounds, |round| round.from_median[at])));
    let cells = std::iter::once(name.to_owned()).chain(deviations.map(|value| format!("{value:.1}")));
    let last = [
        format!("{:.4}", of(rounds, |round| round.duration_error)),
        format!("{:.2}", of(rounds, |round| round.processors)),
    ];
    table.row(cells.chain(last));
}

fn judge(aims: &mut Aims, pace: Pace, restage: &[Result<Round, String>], other: Option<&[Result<Round, String>]>) {
    let name = pace.name();
    let ours = |part: fn(&Round) -> f64| Some(of(restage, part)).filter(|value| value.is_finite());
    let by = |part: fn(&Round) -> f64| {
        let pairs = restage.iter().zip(other?);
        let quotients = pairs.filter_map(|(this, other)| Some(part(this.as_ref().ok()?) / part(other.as_ref().ok()?)));
        Some(median(quotients.collect())).filter(|value| value.is_finite())
    };
    aims.at_most(format!("pacing, {name}: p50 in µs, from the median"), 2.0, ours(|round| round.from_median[0]));
    let tail = by(|round| round.from_median[1]);
    let behind = other.map(|other| of(other, |round| round.duration_error)).filter(|percent| *percent > FELL_BEHIND);
    aims.judge(
        format!("pacing, {name}: p99 by tcpreplay's"),
        &format!("at most 1, and {NOISE} for noise"),
        match (tail, behind) {
            (Some(tail), Some(percent)) => format!("{tail:.2}, but tcpreplay's duration is off by {percent:.1} %"),
            (Some(tail), None) => format!("{tail:.2}"),
            (None, _) => "–".to_owned(),
        },
        tail.filter(|_| behind.is_none()).map(|tail| tail <= 1.0 + NOISE),
    );
    aims.at_most(format!("pacing, {name}: duration error in %"), 0.1, ours(|round| round.duration_error));
    if pace == Pace::PacketsPerSecond(1000) {
        aims.at_most(format!("pacing, {name}: CPU by tcpreplay's"), 1.0 / 3.0, by(|round| round.processors));
    }
}
