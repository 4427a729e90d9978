//! `restage init` and `restage try`: a scenario from a capture, to be kept or to be run once.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::output::Output;
use super::reports::ReportArguments;
use super::run::single;
use super::status::Status;
use super::terminal::Terminal;
use crate::capture::Reader;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::draft::{Concession, Draft, Wanted, of_capture};
use crate::file::{Claim, Claims, Replacement, is_stream};
use crate::inspect::{Inspection, inspect};
use crate::outcome::{Outcome, Verdict};
use crate::plan;
use crate::run::Options;
use crate::scenario::{self, Scenario, ScenarioText};
use crate::testbed::Testbed;

const INIT_EXAMPLES: &str = "\
Examples:
  restage init appflow.pcapng                                   show the scenario
  restage init appflow.pcapng -o appflow.toml                   write it to a file
  restage init dns.pcap -o dns.toml --run -- dnsmasq -k -p 53   run it first, with an application

In COMMAND, `{work}` is replaced by an empty folder, and `{receiver}` by the interface where the frames arrive.";

const TRY_EXAMPLES: &str = "\
Examples:
  restage try appflow.pcapng                              does the receiver's kernel take the frames?
  restage try appflow.pcapng -- nfcapd -p 4739 -w {work}  does nfcapd read them?
  restage try dns.pcap --rate topspeed -- dnsmasq -k
  restage try dns.pcap --sniffer -- tcpdump -n -i {receiver}

In COMMAND, `{work}` is replaced by an empty folder, and `{receiver}` by the interface where the frames arrive. `restage init` with the same
arguments writes what is run to a file.";

/// What both verbs make a scenario of.
#[derive(Debug, clap::Args)]
struct Drafting {
    /// The capture, compressed or not.
    capture: PathBuf,
    /// Replay only what this pcap-filter(7) expression selects. By default that is what goes to UDP receivers; with COMMAND, to the port
    /// that most frames go to.
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// How fast, as `[pacing] rate`: captured, 4x, "1000 pps", "100 Mbps", topspeed.
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// COMMAND reads from a packet socket, as tcpdump, tshark and Suricata do: all frames are replayed, and must reach that socket.
    #[arg(long, requires = "command")]
    sniffer: bool,
    /// The application with its arguments. By default restage receives the datagrams itself.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Write a scenario for a capture: who receives, which direction, what must be rewritten, with comments that explain each key.
#[derive(Debug, clap::Args)]
#[command(after_help = INIT_EXAMPLES)]
pub(super) struct InitArguments {
    #[command(flatten)]
    drafting: Drafting,
    /// The file to write, which must not be there yet. By default the scenario is printed.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Run it first, and write what passed as its expectations.
    #[arg(long)]
    run: bool,
}

/// Replay a capture once, without a scenario file, and say what the receiver got.
#[derive(Debug, clap::Args)]
#[command(after_help = TRY_EXAMPLES)]
pub(super) struct TryArguments {
    #[command(flatten)]
    drafting: Drafting,
    #[command(flatten)]
    reports: ReportArguments,
    /// Keep what the application wrote, and say where.
    #[arg(long)]
    keep_work: bool,
    /// Show all that the application printed, once it has ended.
    #[arg(long)]
    show_output: bool,
}

/// Prints or writes a scenario.
pub(super) fn init(arguments: &InitArguments, terminal: &Terminal) -> Result<Status> {
    let InitArguments { drafting, output, run } = arguments;
    let mut claims = Claims::new(vec![Claim::new(&drafting.capture, "the capture")])?;
    if let Some(output) = output {
        refuse_existing(output)?;
        claims.write(vec![Claim::new(output, "the scenario")])?;
    }
    let inspection = drafting.inspect()?;
    let folder = output.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let place = output.clone().unwrap_or_else(|| drafting.name());
    let (concessions, planned) = drafting.concessions(&inspection, folder, &place)?;
    let draft = |replies| drafting.draft(&inspection, folder, replies, concessions);
    let first = check(&place, &draft(false))?;
    let (text, status) = if *run {
        let (outcome, status) = single(first, Options::default(), &ReportArguments::default(), terminal)?;
        if !matches!(outcome.verdict, Verdict::Pass | Verdict::Fail) {
            return Ok(status);
        }
        (draft(answered_all(&outcome)).text(true), status)
    } else {
        (draft(false).text(true), Status::Pass)
    };
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    match output {
        Some(output) => {
            Replacement::write(output, &text)?;
            stderr.write(&format!("{} is written; `restage run {0}` runs it\n", output.display()));
        }
        None => stdout.write(&text),
    }
    // What is written can't be run as it is: its reader sees where.
    let status = planned.err().map_or(status, |failure| {
        stderr.problems(&failure.problems);
        status.max(failure.kind.into())
    });
    Ok(status.max(stdout.status()).max(stderr.status()))
}

/// Writes a scenario for a capture into a file, as `restage init CAPTURE -o FILE` does.
pub(super) fn write_scenario(capture: &Path, output: &Path, terminal: &Terminal) -> Result<Status> {
    let drafting =
        Drafting { capture: capture.to_path_buf(), filter: None, rate: None, sniffer: false, command: Vec::new() };
    init(&InitArguments { drafting, output: Some(output.to_path_buf()), run: false }, terminal)
}

/// # Errors
/// Where the file is there.
pub(super) fn refuse_existing(output: &Path) -> Result<()> {
    if output.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::invalid(
        Diagnostic::error(format!("`{}` is there already", output.display()))
            .why("a scenario that was written by hand would be lost")
            .fix("write to another file, or remove this one first"),
    ))
}

/// Runs a scenario that is in no file.
pub(super) fn try_capture(arguments: &TryArguments, terminal: &Terminal) -> Result<Status> {
    let drafting = &arguments.drafting;
    let inspection = drafting.inspect()?;
    let (concessions, _) = drafting.concessions(&inspection, Path::new(""), &drafting.name())?;
    let scenario = check(&drafting.name(), &drafting.draft(&inspection, Path::new(""), false, concessions))?;
    let options = Options { keep_work: arguments.keep_work, show_output: arguments.show_output, ..Options::default() };
    single(scenario, options, &arguments.reports, terminal).map(|(_, status)| status)
}

/// What is tried, one after the other: each alone, then more.
const CONCESSIONS: [&[Concession]; 6] = [
    &[],
    &[Concession::Mac],
    &[Concession::OtherFrames],
    &[Concession::Filter],
    &[Concession::OtherFrames, Concession::Mac],
    &[Concession::Filter, Concession::OtherFrames, Concession::Mac],
];

impl Drafting {
    /// What is in the capture.
    fn inspect(&self) -> Result<Inspection> {
        if is_stream(&self.capture) {
            return Err(Failure::invalid(
                Diagnostic::error(format!("`{}` can be read only once", self.capture.display()))
                    .why("the capture is inspected first, and then replayed from its file")
                    .fix("write it to a file, and name that"),
            ));
        }
        match inspect(&mut Reader::open(&self.capture)?) {
            (inspection, None) => Ok(inspection),
            (_, Some(failure)) => Err(failure),
        }
    }

    /// The fewest concessions with which the capture can be replayed; none, and why not, where it can't be.
    fn concessions(
        &self,
        inspection: &Inspection,
        folder: &Path,
        place: &Path,
    ) -> Result<(&'static [Concession], Result<()>)> {
        let planned = |concessions| -> Result<Result<()>> {
            let scenario = check(place, &self.draft(inspection, folder, false, concessions))?;
            Ok(Testbed::facts(&scenario).and_then(|facts| plan::plan(&scenario, facts)).map(|_| ()))
        };
        let mut first = None;
        // The user's own filter stays.
        let allowed = |set: &&[Concession]| self.filter.is_none() || !set.contains(&Concession::Filter);
        for concessions in CONCESSIONS.into_iter().filter(allowed) {
            let planned = planned(concessions)?;
            if planned.is_ok() {
                return Ok((concessions, planned));
            }
            first.get_or_insert(planned);
        }
        Ok((&[], first.unwrap_or(Ok(()))))
    }

    /// For a scenario in `folder`. `replies`: whether all questions must be answered.
    fn draft(&self, inspection: &Inspection, folder: &Path, replies: bool, concessions: &[Concession]) -> Draft {
        let command: Vec<String> = self.command.iter().map(|argument| in_scenario(argument, folder)).collect();
        let (filter, rate, sniffer) = (self.filter.as_deref(), self.rate.as_deref(), self.sniffer);
        of_capture(
            inspection,
            &from_folder(&self.capture, folder),
            &Wanted { command: &command, filter, rate, sniffer, replies, concessions },
        )
    }

    /// The file that the scenario would be in, beside nothing.
    fn name(&self) -> PathBuf {
        let name = self.capture.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split_once('.').map_or(&*name, |(stem, _)| stem);
        PathBuf::from(format!("{stem}.toml"))
    }
}

/// Reads a draft as a scenario of this file.
pub(super) fn check(path: &Path, draft: &Draft) -> Result<Scenario> {
    let source = Source { path: path.to_path_buf(), text: draft.text(false) };
    scenario::check(&ScenarioText::of(Arc::new(source))?)
}

/// Whether the application answered every question of a run that passed.
fn answered_all(outcome: &Outcome) -> bool {
    let replies = outcome.replies.as_ref();
    let all = replies
        .is_some_and(|replies| replies.questions.is_some_and(|asked| asked > 0 && replies.answered == Some(asked)));
    all && outcome.verdict == Verdict::Pass
}

/// An argument of a command, where what it names in the current folder is named from the scenario's: the application starts in another one.
fn in_scenario(argument: &str, folder: &Path) -> String {
    let (option, file) = match argument.split_once('=') {
        Some((option, file)) => (format!("{option}="), file),
        None => (String::new(), argument),
    };
    let path = Path::new(file);
    if path.is_absolute() || !path.exists() {
        return argument.to_owned();
    }
    format!("{option}{{scenario}}/{}", from_folder(path, folder).display())
}

/// How a file is named from a folder.
pub(super) fn from_folder(file: &Path, folder: &Path) -> PathBuf {
    if file.is_absolute() || folder.as_os_str().is_empty() {
        return file.to_path_buf();
    }
    let (Ok(to), Ok(from)) = (std::path::absolute(file), std::path::absolute(folder)) else {
        return file.to_path_buf();
    };
    let plain = |path: &Path| path.components().all(|part| part != Component::ParentDir);
    if !plain(&to) || !plain(&from) {
        return to;
    }
    let shared = to.components().zip(from.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_named_from_the_folder_of_its_scenario() {
        for (file, folder, named) in [
            ("a.pcap", "", "a.pcap"),
            ("captures/a.pcap", "scenarios", "../captures/a.pcap"),
            ("scenarios/captures/a.pcap", "scenarios", "captures/a.pcap"),
            ("/srv/a.pcap", "scenarios", "/srv/a.pcap"),
            ("a.pcap", "x/y", "../../a.pcap"),
        ] {
            assert_eq!(from_folder(Path::new(file), Path::new(folder)), Path::new(named), "{file} from {folder}");
        }
    }
}
