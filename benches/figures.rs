//! What was measured, as tables on standard output and as BENCHMARKS.md, and which aims it reaches.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Extent;
use crate::machine::{self, Work};
use crate::race::{Race, Runs};
use crate::table::Table;
use crate::workloads::Workload;

/// The largest memory that restage may take, whatever the size of the capture.
const MOST_MEMORY_KIB: u64 = 16 << 10;

/// How big a capture is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// How many frames there would be, if there were room.
    pub(crate) wanted: u64,
}

/// All that is told: printed as it comes, and kept for the file.
#[derive(Debug)]
pub(crate) struct Page {
    markdown: String,
}

impl Page {
    /// Says where and how is measured.
    pub(crate) fn begin(work: &Work, extent: Extent) -> Self {
        let mut page = Self { markdown: String::new() };
        page.markdown.push_str("# Benchmarks\n\n");
        page.markdown
            .push_str("Written by `make bench` from the figures of one run; nothing in it is written by hand.\n\n");
        let mut machine = Table::new(&["machine", ""]);
        for (what, said) in machine::describe() {
            machine.row([what.to_owned(), said]);
        }
        page.table(&machine);
        let scale =
            if extent.scale < 1.0 { format!(" A quick look at scale {}.", extent.scale) } else { String::new() };
        page.remark(&format!(
            "{} rounds. In each the programs take turns, another one first each time. Seconds are wall time from start to \
             exit: the median, and the shortest and longest round. `× dd` is dd's time by the program's, `× tcprewrite` \
             tcprewrite's by the program's (more is faster), each the median of the rounds' quotients, which a busy machine disturbs \
             less than seconds. Memory is the largest resident set of any round.{scale}",
            extent.rounds
        ));
        page.remark(&format!(
            "Captures and outputs are in {}. Every output is removed before it is written again, so all programs write into fresh \
             pages. A first round, which isn't counted, brings programs into memory and compares what they wrote.",
            work.kind
        ));
        page.remark(
            "The job: map five prefixes of source addresses and five of destination addresses (in mixed a sixth, of IPv6), set one \
             destination MAC, and let checksums follow. dd and editcap only copy.",
        );
        page
    }

    /// What the programs took for one capture.
    pub(crate) fn compared(&mut self, name: &str, workload: Workload, size: Size, race: &Race) {
        let what = match workload {
            Workload::Ipfix => "frames of 942 bytes, datagrams from 40 exporters to one collector",
            Workload::Small => "frames of 64 bytes, UDP",
            Workload::Mixed => {
                "frames of 64, 576 and 1500 bytes, 7 : 4 : 1; IPv4 and IPv6; TCP, UDP and ICMP; 10 % with a VLAN tag; fragments"
            }
            Workload::Short => "frames of 100 bytes",
        };
        self.heading(name);
        self.remark(&format!("{} {what}; {:.3} GB.{}", thousands(size.frames), gigabytes(size), scarce(size)));
        let mut table = Table::new(&[
            "program",
            "seconds",
            "min–max",
            "Mpps",
            "GB/s",
            "user s",
            "system s",
            "MiB",
            "× dd",
            "× tcprewrite",
        ]);
        let (dd, tcprewrite) = (race.of("dd bs=1M, a copy"), race.of("tcprewrite"));
        for runs in &race.runs {
            let seconds = runs.wall().as_secs_f64();
            let (shortest, longest) = runs.extremes();
            let faster =
                |than: Option<&Runs>| than.map_or("–".to_owned(), |than| format!("{:.2}", than.times_of(runs)));
            table.row([
                runs.program.clone(),
                format!("{seconds:.3}"),
                format!("{:.3}–{:.3}", shortest.as_secs_f64(), longest.as_secs_f64()),
                format!("{:.2}", size.frames as f64 / seconds / 1e6),
                format!("{:.2}", gigabytes(size) / seconds),
                format!("{:.3}", runs.median(|taken| taken.user).as_secs_f64()),
                format!("{:.3}", runs.median(|taken| taken.system).as_secs_f64()),
                mebibytes(runs.peak_kib()),
                faster(dd),
                faster(tcprewrite),
            ]);
        }
        self.table(&table);
        for remark in &race.remarks {
            self.remark(remark);
        }
    }

    /// What restage took for captures of growing size.
    pub(crate) fn grown(&mut self, grown: &[(Size, Runs)]) {
        self.heading("growth");
        self.remark("restage alone, datagrams as in ipfix in frames of 100 bytes.");
        let mut table = Table::new(&["frames", "seconds", "min–max", "ns a frame", "MiB"]);
        for (size, runs) in grown {
            let (shortest, longest) = runs.extremes();
            table.row([
                format!("{}{}", thousands(size.frames), scarce(*size)),
                format!("{:.4}", runs.wall().as_secs_f64()),
                format!("{:.4}–{:.4}", shortest.as_secs_f64(), longest.as_secs_f64()),
                format!("{:.0}", per_frame(*size, runs)),
                mebibytes(runs.peak_kib()),
            ]);
        }
        self.table(&table);
    }

    /// What a small capture takes from start to exit.
    pub(crate) fn started(&mut self, race: &Race) {
        self.heading("start to exit");
        self.remark("`scenarios/captures/appflow.pcapng`: 720 datagrams.");
        let mut table = Table::new(&["what", "ms", "min–max", "user ms", "system ms", "MiB"]);
        let ms = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1e3);
        for runs in &race.runs {
            let (shortest, longest) = runs.extremes();
            table.row([
                runs.program.clone(),
                ms(runs.wall()),
                format!("{}–{}", ms(shortest), ms(longest)),
                ms(runs.median(|taken| taken.user)),
                ms(runs.median(|taken| taken.system)),
                mebibytes(runs.peak_kib()),
            ]);
        }
        self.table(&table);
        for remark in &race.remarks {
            self.remark(remark);
        }
    }

    /// What so many scenarios of so many frames took, and how many times as long the program `than` took.
    pub(crate) fn many(&mut self, race: &Race, (scenarios, frames): (usize, usize), than: &str) {
        self.heading("many scenarios");
        self.remark(&format!(
            "{scenarios} scenarios of {frames} datagrams, each with a network of its own, addresses and MAC rewritten, all frames captured behind the \
             wire and compared. `benches/by-hand.sh` does that with unshare, ip, tcprewrite, tcpdump and tcpreplay, and counts the captured frames; it knows \
             neither which frames were lost nor what the receiver's stack did."
        ));
        let script = race.of(than);
        let mut table =
            Table::new(&["program", "seconds", "min–max", "scenarios a minute", "user s", "system s", "× the script"]);
        for runs in &race.runs {
            let (shortest, longest) = runs.extremes();
            let seconds = runs.wall().as_secs_f64();
            table.row([
                runs.program.clone(),
                format!("{seconds:.2}"),
                format!("{:.2}–{:.2}", shortest.as_secs_f64(), longest.as_secs_f64()),
                format!("{:.0}", scenarios as f64 * 60.0 / seconds),
                format!("{:.2}", runs.median(|taken| taken.user).as_secs_f64()),
                format!("{:.2}", runs.median(|taken| taken.system).as_secs_f64()),
                script.map_or("–".to_owned(), |script| format!("{:.2}", script.times_of(runs))),
            ]);
        }
        self.table(&table);
        for remark in &race.remarks {
            self.remark(remark);
        }
    }

    /// Says what was reached, and how busy the machine was.
    pub(crate) fn end(&mut self, aims: &Aims) {
        self.heading("aims");
        let mut table = Table::new(&["aim", "wanted", "measured", ""]);
        for aim in &aims.0 {
            let verdict = match aim.reached {
                Some(true) => "reached",
                Some(false) => "not reached",
                None => "not measured",
            };
            table.row([aim.what.clone(), aim.wanted.clone(), aim.measured.clone(), verdict.to_owned()]);
        }
        self.table(&table);
        self.remark(&format!("Load after: {}.", machine::load()));
    }

    /// A paragraph.
    pub(crate) fn remark(&mut self, text: &str) {
        println!("{text}");
        self.markdown.push_str(text);
        self.markdown.push_str("\n\n");
    }

    /// The whole file.
    pub(crate) fn markdown(&self) -> String {
        format!("{}\n", self.markdown.trim_end())
    }

    /// Begins a section.
    pub(crate) fn heading(&mut self, name: &str) {
        println!("\n== {name}");
        let _infallible = write!(self.markdown, "## {name}\n\n");
    }

    /// A table of it.
    pub(crate) fn table(&mut self, table: &Table) {
        println!("{}", table.text());
        self.markdown.push_str(&table.markdown());
        self.markdown.push('\n');
    }
}

/// What the figures are to reach.
#[derive(Debug, Default)]
pub(crate) struct Aims(Vec<Aim>);

#[derive(Debug)]
struct Aim {
    what: String,
    wanted: String,
    measured: String,
    /// Unknown where a program isn't installed, or failed.
    reached: Option<bool>,
}

impl Aims {
    /// Of one capture: at least `of_dd` of dd's speed, at least `of_tcprewrite` times tcprewrite's, little memory.
    pub(crate) fn rewriting(&mut self, name: &str, race: &Race, of_dd: Option<f64>, of_tcprewrite: f64) {
        let restage = race.of("restage");
        let speed = |other: &str| Some(race.of(other)?.times_of(restage?));
        if let Some(least) = of_dd {
            self.at_least(format!("{name}: speed by dd's"), least, speed("dd bs=1M, a copy"));
        }
        self.at_least(format!("{name}: speed by tcprewrite's"), of_tcprewrite, speed("tcprewrite"));
        self.at_most_memory(format!("{name}: memory"), restage.map(Runs::peak_kib));
    }

    /// Of captures that grow: the same little memory for all of them.
    pub(crate) fn growth(&mut self, grown: &[(Size, Runs)]) {
        let peaks = || grown.iter().map(|(_, runs)| runs.peak_kib());
        self.at_most_memory("growth: memory for the longest capture".to_owned(), peaks().next_back());
        let by = peaks().max().zip(peaks().min()).map(|(most, least)| most - least);
        self.0.push(Aim {
            what: "growth: memory, largest less smallest".to_owned(),
            wanted: "flat: under 1 MiB".to_owned(),
            measured: by.map_or("–".to_owned(), |by| format!("{} MiB", mebibytes(by))),
            reached: by.map(|by| by < 1 << 10),
        });
    }

    /// Of a figure that is to be large.
    pub(crate) fn at_least(&mut self, what: String, least: f64, measured: Option<f64>) {
        self.0.push(Aim {
            what,
            wanted: format!("at least {least}"),
            measured: measured.map_or("–".to_owned(), |measured| format!("{measured:.2}")),
            reached: measured.map(|measured| measured >= least),
        });
    }

    /// Of a figure that is to be small.
    pub(crate) fn at_most(&mut self, what: String, most: f64, measured: Option<f64>) {
        let digits = if most < 1.0 { 3 } else { 2 };
        self.0.push(Aim {
            what,
            wanted: format!("at most {}", (most * 1000.0).round() / 1000.0),
            measured: measured.map_or("–".to_owned(), |measured| format!("{measured:.digits$}")),
            reached: measured.map(|measured| measured <= most),
        });
    }

    /// Of anything else.
    pub(crate) fn judge(&mut self, what: String, wanted: &str, measured: String, reached: Option<bool>) {
        self.0.push(Aim { what, wanted: wanted.to_owned(), measured, reached });
    }

    fn at_most_memory(&mut self, what: String, peak_kib: Option<u64>) {
        self.0.push(Aim {
            what,
            wanted: format!("under {} MiB", MOST_MEMORY_KIB >> 10),
            measured: peak_kib.map_or("–".to_owned(), |peak| format!("{} MiB", mebibytes(peak))),
            reached: peak_kib.map(|peak| peak < MOST_MEMORY_KIB),
        });
    }
}

fn gigabytes(size: Size) -> f64 {
    size.bytes as f64 / 1e9
}

/// With one digit after the point.
pub(crate) fn mebibytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

fn per_frame(size: Size, runs: &Runs) -> f64 {
    runs.wall().as_secs_f64() * 1e9 / size.frames as f64
}

/// Says so where a capture is smaller than it should be.
fn scarce(size: Size) -> String {
    if size.frames < size.wanted {
        format!(" (there is no room for {})", thousands(size.wanted))
    } else {
        String::new()
    }
}

/// With a comma at the thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let first = (digits.len() + 2) % 3 + 1;
    let (head, rest) = digits.split_at(first.min(digits.len()));
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    std::iter::once(head.to_owned()).chain(groups).collect::<Vec<_>>().join(",")
}
