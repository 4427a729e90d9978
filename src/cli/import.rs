//! `restage import`: a scenario from commands of other programs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::init::{check, from_folder, refuse_existing};
use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::draft::of_commands;
use crate::file::{Claim, Claims, Replacement, read_source};

const EXAMPLES: &str = "\
Examples:
  restage import 'tcpreplay -i eth0 --pps=1000 a.pcap'
  restage import 'tcprewrite --dstipmap=0.0.0.0/0:192.0.2.20 -i a.pcap -o b.pcap && tcpreplay -i eth0 b.pcap' -o a.toml
  restage import - < replay.sh

tcprewrite, tcpreplay, tcpreplay-edit, tcpprep, bittwist, bittwiste and udpreplay are read. An option that has no counterpart is named in the
scenario and on standard error, with what to do instead.";

/// Write the scenario that does what commands of tcprewrite, tcpreplay, bittwist or udpreplay did.
///
/// Nothing is run, and no capture is read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The commands, as a shell takes them: joined by `&&`, `;` or new lines. `-` is standard input.
    commands: String,
    /// The file to write, which must not be there yet. By default the scenario is printed.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Prints or writes a scenario.
pub(super) fn import(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let Arguments { commands, output } = arguments;
    if let Some(output) = output {
        refuse_existing(output)?;
        Claims::new(Vec::new())?.write(vec![Claim::new(output, "the scenario")])?;
    }
    let source = if commands == "-" {
        read_source(Path::new("-"))?
    } else {
        Arc::new(Source { path: "command line".into(), text: commands.clone() })
    };
    let folder = output.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let drafted = of_commands(&source, |file| from_folder(Path::new(file), folder).display().to_string());
    let (draft, notes) =
        drafted.map_err(|failure| if Path::new(commands).is_file() { a_file(commands) } else { failure })?;
    check(output.as_deref().unwrap_or(Path::new("imported.toml")), &draft)?;
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    stderr.problems(&notes);
    let text = draft.text(true);
    match output {
        Some(output) => {
            Replacement::write(output, &text)?;
            stderr.write(&format!("{} is written; `restage run {0}` runs it\n", output.display()));
        }
        None => stdout.write(&text),
    }
    Ok(stdout.status().max(stderr.status()))
}

/// The name of a script in the place of what is in it.
fn a_file(name: &str) -> Failure {
    Failure::invalid(
        Diagnostic::error(format!("`{name}` is a file, not a command"))
            .why("the commands themselves are an argument, or come from standard input")
            .fix(format!("write `restage import - < {name}`")),
    )
}
