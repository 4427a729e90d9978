//! `make bench`: how long restage takes to rewrite captures, beside tcprewrite, and beside programs that only copy; and how fast and
//! how exactly it replays them, beside tcpreplay; and how long many scenarios take, beside a script.
//!
//! It makes the captures in memory, lets the programs rewrite or copy them in turns, prints a table for each capture, and says of each
//! aim whether these figures reach it; at full size all of it is written to BENCHMARKS.md. Read [`everything`] aloud.
//!
//! `BENCH_ROUNDS=3` measures less often, `BENCH_SCALE=0.1` has a quick look at smaller captures, and
//! `BENCH_ONLY=rewrite`, `BENCH_ONLY=replay` or `BENCH_ONLY=suite` measures one part.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a program that prints figures; none of them has more digits than a f64"
)]

mod figures;
mod machine;
mod measure;
mod pacing;
mod programs;
mod race;
mod replay;
mod suite;
mod table;
mod wire;
mod workloads;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use figures::{Aims, Page, Size};
use machine::Work;
use programs::Tags;
use race::{Race, race};
use wire::Wires;
use workloads::{Format, Workload};

fn main() -> ExitCode {
    let done = if let Some(command) = measure::asked_for() {
        measure::report(&command)
    } else if std::env::args().any(|word| word == "--bench") {
        everything()
    } else {
        println!("the figures are made by `make bench`");
        Ok(())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rounds: usize,
    scale: f64,
}

/// Which part is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Rewrite,
    Replay,
    Suite,
}

fn everything() -> io::Result<()> {
    let extent = Extent { rounds: from_environment("BENCH_ROUNDS", 7)?, scale: from_environment("BENCH_SCALE", 1.0)? };
    let only = only_part()?;
    let prepared = if only == Some(Part::Rewrite) { Ok(()) } else { wire::prepare() };
    let work = Work::make()?;
    let mut page = Page::begin(&work, extent);
    let mut aims = Aims::default();

    let bench = Bench { work: &work, extent };
    let is_wanted = |part| only.is_none_or(|only| only == part);
    if is_wanted(Part::Rewrite) {
        bench.rewriting(&mut page, &mut aims)?;
    }
    if is_wanted(Part::Suite) {
        suite::suite(&mut page, &mut aims, &work, extent.rounds)?;
    }
    if is_wanted(Part::Replay) {
        match prepared.and_then(|()| Wires::make()) {
            Ok(wires) => bench.replaying(&mut page, &mut aims, &wires)?,
            Err(error) if only.is_none() => page.remark(&format!("Replaying is not measured: {error}.")),
            Err(error) => return Err(error),
        }
    }

    page.end(&aims);
    if extent.scale < 1.0 || only.is_some() {
        println!("BENCHMARKS.md is left as it is: this was a quick look, or one part");
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("BENCHMARKS.md");
    fs::write(&path, page.markdown())?;
    println!("written to {}", path.display());
    Ok(())
}

/// What `BENCH_ONLY` says.
fn only_part() -> io::Result<Option<Part>> {
    match std::env::var("BENCH_ONLY").as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("rewrite") => Ok(Some(Part::Rewrite)),
        Ok("replay") => Ok(Some(Part::Replay)),
        Ok("suite") => Ok(Some(Part::Suite)),
        Ok(said) => {
            Err(io::Error::other(format!("BENCH_ONLY is `{said}`, and must be `rewrite`, `replay` or `suite`")))
        }
    }
}

/// A number above zero that the user may choose.
fn from_environment<T: FromStr + Default + PartialOrd>(name: &str, usual: T) -> io::Result<T> {
    let Ok(said) = std::env::var(name) else { return Ok(usual) };
    let number = said.parse().ok().filter(|number| *number > T::default());
    number.ok_or_else(|| io::Error::other(format!("{name} is `{said}`, and must be a number above 0")))
}

/// What is measured, and where.
struct Bench<'a> {
    work: &'a Work,
    extent: Extent,
}

impl Bench<'_> {
    /// Captures into captures.
    fn rewriting(&self, page: &mut Page, aims: &mut Aims) -> io::Result<()> {
        let ipfix = self.compare(page, "ipfix", Workload::Ipfix, 1_000_000)?;
        aims.rewriting("ipfix", &ipfix, Some(0.9), 5.0);
        let small = self.compare(page, "small", Workload::Small, 2_000_000)?;
        aims.rewriting("small", &small, None, 20.0);
        let mixed = self.compare(page, "mixed", Workload::Mixed, 1_000_000)?;
        aims.rewriting("mixed", &mixed, Some(0.9), 5.0);
        self.tagging(page, aims)?;
        self.pcapng(page)?;
        self.packed(page)?;
        self.growth(page, aims)
    }

    /// Captures onto a wire that ends in the bench.
    fn replaying(&self, page: &mut Page, aims: &mut Aims, wires: &Wires) -> io::Result<()> {
        for (name, workload) in [("small", Workload::Small), ("ipfix", Workload::Ipfix)] {
            let capture = self.work.file("replayed.pcap");
            let size = self.make(workload, 400_000, Format::Pcap, &capture)?;
            replay::speed(page, aims, wires, (name, &capture, size), self.extent.rounds)?;
            fs::remove_file(&capture)?;
        }
        let mut grown = Vec::new();
        for frames in [10_000, 100_000, 1_000_000, 4_000_000] {
            let capture = self.work.file("growing.pcap");
            let size = self.make(Workload::Short, frames, Format::Pcap, &capture)?;
            grown.push(replay::Grown::measure(&capture, size, self.extent.rounds)?);
            fs::remove_file(&capture)?;
        }
        replay::growth(page, aims, &grown);
        let course = pacing::Course {
            work: self.work,
            wire: &wires.plain,
            rounds: self.extent.rounds,
            scale: self.extent.scale,
        };
        pacing::pacing(page, aims, &course)
    }

    /// All programs rewrite or copy one capture.
    fn compare(&self, page: &mut Page, name: &str, workload: Workload, frames: u64) -> io::Result<Race> {
        let (input, output) = (self.work.file(&format!("{name}.pcap")), self.work.file("out.pcap"));
        let size = self.make(workload, frames, Format::Pcap, &input)?;
        let mut entered = vec![programs::restage("restage", workload, "preserve", &input, &output)?];
        entered.extend(programs::tcprewrite(workload, &input, &output));
        entered.extend(programs::dd(&input, &output));
        entered.extend(programs::editcap(&input, &output));
        if workload == Workload::Ipfix {
            let fixing = programs::restage("restage, checksums = \"fix\"", workload, "fix", &input, &output)?;
            entered.push(fixing);
            entered.push(programs::plan(workload, &input)?);
        }
        let race = race(entered, &input, &output, self.extent.rounds);
        page.compared(name, workload, size, &race);
        fs::remove_file(&input)?;
        Ok(race)
    }

    /// The frames of mixed with another VLAN tag, and without theirs.
    fn tagging(&self, page: &mut Page, aims: &mut Aims) -> io::Result<()> {
        let (input, output) = (self.work.file("mixed.pcap"), self.work.file("out.pcap"));
        let size = self.make(Workload::Mixed, 1_000_000, Format::Pcap, &input)?;
        for (name, tags) in [("VLAN push", Tags::Pushed), ("VLAN pop", Tags::Popped)] {
            let mut entered = programs::tagging(tags, &input, &output)?;
            entered.extend(programs::dd(&input, &output));
            let race = race(entered, &input, &output, self.extent.rounds);
            page.compared(&format!("{name}, nothing else"), Workload::Mixed, size, &race);
            let both = race.of("restage").zip(race.of("tcprewrite"));
            let speed = both.map(|(restage, tcprewrite)| tcprewrite.times_of(restage));
            aims.at_least(format!("{name}: speed by tcprewrite's"), 4.0, speed);
        }
        fs::remove_file(&input)
    }

    /// The same frames as those of ipfix, kept as pcapng.
    fn pcapng(&self, page: &mut Page) -> io::Result<()> {
        let (input, output) = (self.work.file("ipfix.pcapng"), self.work.file("out.pcapng"));
        let size = self.make(Workload::Ipfix, 1_000_000, Format::Pcapng, &input)?;
        let mut entered = vec![programs::restage("restage", Workload::Ipfix, "preserve", &input, &output)?];
        entered.extend(programs::dd(&input, &output));
        entered.extend(programs::editcap(&input, &output));
        let race = race(entered, &input, &output, self.extent.rounds);
        page.compared("ipfix as pcapng", Workload::Ipfix, size, &race);
        fs::remove_file(&input)
    }

    /// The capture of ipfix packed with gzip, if this version reads that.
    fn packed(&self, page: &mut Page) -> io::Result<()> {
        let (plain, packed) = (self.work.file("ipfix.pcap"), self.work.file("ipfix.pcap.gz"));
        if !programs::is_installed("gzip") {
            page.remark("Packed captures are not measured: gzip is not installed.");
            return Ok(());
        }
        Workload::Ipfix.write(1, Format::Pcap, &plain)?;
        if programs::gzip(&plain, &packed)? && programs::reads(&packed) {
            let size = self.make(Workload::Ipfix, 1_000_000, Format::Pcap, &plain)?;
            programs::gzip(&plain, &packed)?;
            fs::remove_file(&plain)?;
            let output = self.work.file("out.pcap");
            let mut entered = vec![programs::restage("restage", Workload::Ipfix, "preserve", &packed, &output)?];
            entered.extend(programs::gunzip(&packed, &output));
            let race = race(entered, &packed, &output, self.extent.rounds);
            page.compared("ipfix packed by gzip -1 (GB of the plain capture)", Workload::Ipfix, size, &race);
        } else {
            page.remark("Packed captures are not measured: this version of restage doesn't read .gz.");
            fs::remove_file(&plain)?;
        }
        fs::remove_file(&packed)
    }

    /// Captures that grow, for what each frame costs and what memory is needed.
    fn growth(&self, page: &mut Page, aims: &mut Aims) -> io::Result<()> {
        let (input, output) = (self.work.file("short.pcap"), self.work.file("out.pcap"));
        let mut grown = Vec::new();
        for frames in [10_000, 100_000, 1_000_000, 4_000_000] {
            let size = self.make(Workload::Short, frames, Format::Pcap, &input)?;
            let restage = programs::restage("restage", Workload::Short, "preserve", &input, &output)?;
            let mut race = race(vec![restage], &input, &output, self.extent.rounds);
            match race.runs.pop() {
                Some(runs) => grown.push((size, runs)),
                None => race.remarks.iter().for_each(|remark| page.remark(remark)),
            }
            fs::remove_file(&input)?;
        }
        aims.growth(&grown);
        page.grown(&grown);
        Ok(())
    }

    /// Makes a capture: as many frames as the scale says, or as there is room for together with a copy.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a frame is none, and the scale is above 0"
    )]
    fn make(&self, workload: Workload, frames: u64, format: Format, path: &Path) -> io::Result<Size> {
        let wanted = ((frames as f64 * self.extent.scale) as u64).max(1000);
        let frames = wanted.min(self.work.room() / 2 / workload.bytes_per_frame());
        workload.write(frames, format, path)?;
        Ok(Size { frames, bytes: fs::metadata(path)?.len(), wanted })
    }
}
