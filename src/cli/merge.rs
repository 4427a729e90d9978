//! `restage merge`: the JSON reports of several runs as one.

use std::path::PathBuf;

use super::output::Output;
use super::reports::{ReportArguments, Reports};
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::file::{Claim, Claims};
use crate::outcome::Report;
use crate::report::{read_json, text};

const EXAMPLES: &str = "\
Examples:
  restage merge shard-1.json shard-2.json -o all.json
  restage merge shard-*.json --report-junit junit.xml --report-html report.html
  restage merge report.json --report-html -            one report in another form

Exit status: 0 when the reports are joined, whatever their verdicts are.";

/// Join JSON reports of several runs, such as the shares of `run --partition`, into one report of any form.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// JSON reports; `-` is standard input.
    #[arg(required = true, value_name = "REPORTS")]
    inputs: Vec<PathBuf>,
    /// Write the JSON report to this file, as --report-json.
    #[arg(long, short, value_name = "FILE", conflicts_with = "report_json")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reports: ReportArguments,
}

/// Joins the reports, and prints the counts.
pub(super) fn merge(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let reports = Reports::new(&arguments.reports.clone().or_json(arguments.output.clone()), None)?;
    if reports.is_empty() {
        let problem = Diagnostic::error("no report is to be written").why("the reports are joined into a file");
        return Err(Failure::invalid(
            problem.fix("write `-o FILE`, or `--report-html FILE`; `--help` has the other forms"),
        ));
    }
    let mut claims = Claims::new(arguments.inputs.iter().map(|path| Claim::new(path, "the report")).collect())?;
    let outputs = reports.claims();
    claims.write(outputs.clone())?;
    outputs.iter().try_for_each(Claim::try_out)?;
    let mut read = Vec::new();
    let mut problems = Vec::new();
    for path in &arguments.inputs {
        match read_json(path) {
            Ok(report) => read.push((path.display().to_string(), report)),
            Err(failure) => problems.extend(failure.problems),
        }
    }
    if !problems.is_empty() {
        return Err(Failure { kind: Kind::Invalid, problems });
    }
    let report = Report::merge(read)?;
    reports.save(&report)?;
    let is_taken = reports.on_stdout().next().is_some();
    let mut output = if is_taken { Output::stderr(terminal) } else { Output::stdout(terminal) };
    let elapsed = report.runs.iter().map(|run| run.seconds).sum();
    output.write(&text::summary(&report.scenarios, elapsed, 0, output.look()));
    Ok(output.status())
}
