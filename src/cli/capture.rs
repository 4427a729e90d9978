//! `restage capture`: record a savefile from an interface of this machine.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::init::{refuse_existing, write_scenario};
use super::output::Output;
use super::run::a_duration;
use super::status::Status;
use super::terminal::Terminal;
use crate::capture::{Division, Frame, LARGEST_SNAPLEN, LATEST_MS, Live, Recording};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::{count, duration};
use crate::file::{Claim, Claims};
use crate::host::interface;
use crate::process::signals;
use crate::scenario;
use crate::wire::poll::await_readable;

const EXAMPLES: &str = "\
Examples:
  restage capture -i eth0 -o flows.pcapng udp port 4739
  restage capture -i eth0 -c 1000 -o dns.pcap --init dns.toml 'udp dst port 53'
  restage capture -i eth0 -o ring.pcapng --file-size 100MB --ring-files 5
  restage capture -i eth0 -o - | tcpdump -nr -

FILTER is a pcap-filter(7) expression, as for tcpdump. Ctrl-C ends the capture. It needs CAP_NET_RAW.";

/// Frames that are read before signals and times are looked at again.
const BATCH: usize = 1_000;

/// Record what an interface receives and sends, with times in nanoseconds.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The interface; `any` is all of them.
    #[arg(long, short, value_name = "NAME")]
    interface: String,
    /// The file to write, .pcap or .pcapng; `-` is standard output. By default NAME.pcapng, which must not be there yet.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after this number of frames.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Record at most so many bytes of each frame. By default all.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(LARGEST_SNAPLEN)))]
    snaplen: Option<u32>,
    /// End after this time, such as 10s or 5min.
    #[arg(long, value_name = "DURATION", value_parser = a_duration)]
    duration: Option<Duration>,
    /// Begin another file where one would be larger than this, such as 100MB: FILE-00001, FILE-00002 and so on.
    #[arg(long, value_name = "SIZE", value_parser = a_size)]
    file_size: Option<u64>,
    /// Keep so many of the newest of these files.
    #[arg(long, value_name = "N", requires = "file_size", value_parser = clap::value_parser!(u32).range(2..))]
    ring_files: Option<u32>,
    /// Write a scenario for the capture, as `restage init` does.
    #[arg(long, value_name = "SCENARIO", conflicts_with = "file_size")]
    init: Option<PathBuf>,
    /// Which frames are recorded. By default all.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// Records until a limit or a signal ends it.
pub(super) fn capture(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    if arguments.interface != "any" {
        interface::existing(&arguments.interface)?;
    }
    let output = output(arguments)?;
    let division = arguments.file_size.map(|file_bytes| Division {
        file_bytes,
        keep: arguments.ring_files.and_then(|files| usize::try_from(files).ok()),
    });
    let interruption = signals::interruption()?;
    let mut stderr = Output::stderr(terminal);
    let mut live = Live::open(&arguments.interface, arguments.snaplen, &arguments.filter.join(" "))?;
    let mut recording = Recording::begin(&output, live.link(), arguments.snaplen, division)?;
    stderr.write(&format!("capturing on {}; Ctrl-C ends it\n", arguments.interface));
    let began = Instant::now();
    let ended = record(arguments, &mut live, &mut recording, interruption.as_fd(), began);
    let frames = recording.frames();
    let lost = live.lost();
    let files = match ended.and_then(|()| recording.finish()) {
        Ok(files) => files,
        Err(Some(failure)) => return Err(failure),
        Err(None) => Vec::new(),
    };
    let names: Vec<_> = files.iter().map(|file| format!("`{}`", file.display())).collect();
    let places = if is_standard_output(&output) { String::new() } else { format!(": {}", names.join(", ")) };
    stderr.write(&format!("{} in {}{places}\n", count(frames, "frame"), duration(began.elapsed())));
    let lost = lost?;
    if lost.by_kernel > 0 {
        stderr.problems(&[Diagnostic::warning(format!("the kernel dropped {}", count(lost.by_kernel.into(), "frame")))
            .why("they came faster than they were written, so the capture is not complete")
            .fix("record less: a narrower FILTER, `--snaplen 128`; or write to a faster disk, and end what else needs the processor")]);
    }
    if lost.by_interface > 0 {
        stderr.problems(&[Diagnostic::warning(format!(
            "the interface dropped {}",
            count(lost.by_interface.into(), "frame")
        ))
        .why("its driver counted them; they never reached the kernel")
        .fix("`ethtool -S` shows where; a larger ring of the interface (`ethtool -G`) may help")]);
    }
    match (&arguments.init, frames) {
        (Some(_), 0) => {
            stderr.problems(&[Diagnostic::warning("no scenario is written").why("no frame was captured")]);
            Ok(stderr.status())
        }
        (Some(scenario), _) => write_scenario(&output, scenario, terminal).map(|status| status.max(stderr.status())),
        (None, _) => Ok(stderr.status()),
    }
}

/// The file to write, after everything that can be refused before.
fn output(arguments: &Arguments) -> Result<PathBuf> {
    let output = match &arguments.output {
        Some(output) if output.as_os_str() == "-" => PathBuf::from(STANDARD_OUTPUT),
        Some(output) => output.clone(),
        None => {
            let output = PathBuf::from(format!("{}.pcapng", arguments.interface));
            if output.symlink_metadata().is_ok() {
                return Err(Failure::invalid(
                    Diagnostic::error(format!("`{}` is there already", output.display()))
                        .why("without `--output` a capture overwrites nothing")
                        .fix("name a file: `--output FILE`"),
                ));
            }
            output
        }
    };
    if is_standard_output(&output) && (arguments.init.is_some() || arguments.file_size.is_some()) {
        return Err(Failure::invalid(
            Diagnostic::error("standard output is one stream")
                .why("`--init` and `--file-size` need files")
                .fix("name a file: `--output FILE`"),
        ));
    }
    let ending = output.extension().unwrap_or_default();
    if ending == "gz" || ending == "zst" {
        return Err(Failure::invalid(
            Diagnostic::error(format!("`{}` can't be written", output.display()))
                .why("a capture is recorded without compression, so that no frame waits for it")
                .fix("write .pcap or .pcapng, and compress it afterwards"),
        ));
    }
    let mut claims = vec![Claim::new(&output, "the capture")];
    if let Some(scenario) = &arguments.init {
        refuse_existing(scenario)?;
        claims.push(Claim::new(scenario, "the scenario"));
    }
    Claims::new(Vec::new())?.write(claims)?;
    Ok(output)
}

const STANDARD_OUTPUT: &str = "/dev/stdout";

fn is_standard_output(output: &Path) -> bool {
    output.as_os_str() == STANDARD_OUTPUT
}

/// Why recording ended early; `None`: the reader of a pipe has left.
type Ended = std::result::Result<(), Option<Failure>>;

/// Records until a limit is reached or a signal has come. What came until then is written, too.
fn record(
    arguments: &Arguments,
    live: &mut Live,
    recording: &mut Recording,
    interruption: BorrowedFd<'_>,
    began: Instant,
) -> Ended {
    let most = arguments.count.unwrap_or(u64::MAX);
    let left = || arguments.duration.map_or(Duration::MAX, |limit| limit.saturating_sub(began.elapsed()));
    while !signals::has_come(interruption) && !left().is_zero() {
        let mut is_empty = false;
        for _ in 0..BATCH {
            let Some(frame) = live.next().map_err(Some)? else {
                is_empty = true;
                break;
            };
            recording.write(&frame)?;
            if recording.frames() >= most {
                return Ok(());
            }
        }
        if is_empty {
            recording.flush()?;
            await_readable(&[live.as_fd(), interruption], left().min(Duration::from_secs(1)));
        }
    }
    // The kernel hands frames over some time after they came.
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let stop = Instant::now() + 2 * Duration::from_millis(LATEST_MS.into());
    let in_time = |frame: &Frame<'_>| Duration::from_nanos(frame.time_ns) <= end;
    while Instant::now() < stop {
        match live.next().map_err(Some)? {
            Some(frame) if !in_time(&frame) || recording.frames() >= most => break,
            Some(frame) => recording.write(&frame)?,
            None => await_readable(&[live.as_fd()], stop.saturating_duration_since(Instant::now())),
        }
    }
    Ok(())
}

fn a_size(text: &str) -> std::result::Result<u64, String> {
    scenario::size(text)
        .map_err(|problem| [problem.why, problem.fix].into_iter().flatten().collect::<Vec<_>>().join("; "))
}
