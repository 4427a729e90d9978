//! The reports that `run` and `merge` write.

use std::path::{Path, PathBuf};

use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::{Claim, is_stream};
use crate::outcome::Report;
use crate::report::{Destination, Format, append, job_summary, save};

/// Above these options in a help text.
pub(super) const HEADING: &str = "Reports";

/// Which reports are written, and where to.
#[derive(Debug, Clone, Default, clap::Args)]
#[expect(clippy::struct_field_names, reason = "they are the names of the options")]
pub(super) struct ReportArguments {
    /// Write the JSON report to this file; `-` is standard output.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    report_json: Option<PathBuf>,
    /// Write the JUnit report to this file; `-` is standard output.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    report_junit: Option<PathBuf>,
    /// Write the report in TAP 14 to this file; `-` is standard output.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    report_tap: Option<PathBuf>,
    /// Write the report as a page to this file, for a browser; `-` is standard output.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    report_html: Option<PathBuf>,
}

impl ReportArguments {
    /// With the JSON report at this path, unless there is none or another one.
    pub(super) fn or_json(mut self, path: Option<PathBuf>) -> Self {
        self.report_json = self.report_json.or(path);
        self
    }

    fn path(&self, format: Format) -> Option<&Path> {
        match format {
            Format::Json => self.report_json.as_deref(),
            Format::Junit => self.report_junit.as_deref(),
            Format::Tap => self.report_tap.as_deref(),
            Format::Html => self.report_html.as_deref(),
        }
    }
}

/// The reports that the command line asks for.
#[derive(Debug, Clone)]
pub(super) struct Reports(Vec<(Format, Destination)>);

impl Reports {
    /// What can be known to be wrong is said before anything is sent. `beside`: another option that has standard output.
    ///
    /// # Errors
    /// Two outputs on standard output, and a folder that is not there.
    pub(super) fn new(arguments: &ReportArguments, beside: Option<&str>) -> Result<Self> {
        let asked =
            Format::ALL.into_iter().filter_map(|format| Some((format, Destination::from(arguments.path(format)?))));
        let reports = Self(asked.collect());
        let mut on_stdout: Vec<_> = reports.on_stdout().map(|format| format!("`{}`", format.flag())).collect();
        on_stdout.extend(beside.map(|option| format!("`{option}`")));
        if on_stdout.len() > 1 {
            let problem = Diagnostic::error(format!("{} go to standard output", on_stdout.join(" and ")));
            return Err(Failure::invalid(problem.fix("write all but one of them to files")));
        }
        for (path, _) in reports.files() {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let problem = Diagnostic::error(format!("there is no folder for the report `{}`", path.display()))
                    .fix(format!("make it: `mkdir -p {}`", folder.display()));
                return Err(Failure::invalid(problem));
            }
        }
        Ok(reports)
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reports that are files.
    fn files(&self) -> impl Iterator<Item = (&Path, Format)> {
        self.0.iter().filter_map(|(format, destination)| match destination {
            Destination::File(path) => Some((path.as_path(), *format)),
            Destination::Stdout => None,
        })
    }

    /// Those on standard output.
    pub(super) fn on_stdout(&self) -> impl Iterator<Item = Format> {
        self.0.iter().filter(|(_, destination)| *destination == Destination::Stdout).map(|(format, _)| *format)
    }

    /// Where what is kept goes: the folder of the first report in the order of [`Format::ALL`], or else the current one.
    pub(super) fn folder(&self) -> &Path {
        let folder = self.files().find(|(path, _)| !is_stream(path)).and_then(|(path, _)| path.parent());
        folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    pub(super) fn claims(&self) -> Vec<Claim> {
        self.files().map(|(path, format)| Claim::new(path, format!("the report of {}", format.flag()))).collect()
    }

    /// Whether one of them shows the digests of captures.
    pub(super) fn need_digests(&self) -> bool {
        self.0.iter().any(|(format, _)| matches!(format, Format::Json | Format::Html))
    }

    /// Writes all. One that can't be written keeps none of the others from being written.
    ///
    /// # Errors
    /// The first one.
    pub(super) fn save(&self, report: &Report) -> Result<()> {
        [self.save_files(report), self.save_streams(report)].into_iter().collect()
    }

    /// Those that are regular files, which no reader can hold up.
    pub(super) fn save_files(&self, report: &Report) -> Result<()> {
        self.save_some(Destination::is_regular, report)
    }

    /// The others, and a job's summary where GitHub asks for one.
    pub(super) fn save_streams(&self, report: &Report) -> Result<()> {
        let summary = Terminal::job_summary().map_or(Ok(()), |path| append(&path, &job_summary::text(report)));
        [self.save_some(|place| !place.is_regular(), report), summary].into_iter().collect()
    }

    fn save_some(&self, which: impl Fn(&Destination) -> bool, report: &Report) -> Result<()> {
        let some = self.0.iter().filter(|(_, place)| which(place));
        let saved: Vec<_> = some.map(|(format, place)| save(place, &format.text(report)?)).collect();
        saved.into_iter().collect()
    }

    /// Whether any is a regular file.
    pub(super) fn has_files(&self) -> bool {
        self.0.iter().any(|(_, place)| place.is_regular())
    }
}
