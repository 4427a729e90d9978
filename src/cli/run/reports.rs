//! The reports that `run` writes.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::{Claim, is_stream};
use crate::outcome::{Outcome, Report};
use crate::report::{Destination, json, junit, save};

/// The reports that the command line asks for.
#[derive(Debug)]
pub(super) struct Reports {
    json: Option<Destination>,
    junit: Option<Destination>,
}

impl Reports {
    /// What can be known to be wrong is said before anything is sent.
    pub(super) fn new(json: Option<&Path>, junit: Option<&Path>) -> Result<Self> {
        let reports = Self { json: json.map(Destination::from), junit: junit.map(Destination::from) };
        if reports.json == Some(Destination::Stdout) && reports.junit == Some(Destination::Stdout) {
            let problem = Diagnostic::error("both reports go to standard output").fix("write one of them to a file");
            return Err(Failure::invalid(problem));
        }
        for destination in [&reports.json, &reports.junit].into_iter().flatten() {
            if let Destination::File(path) = destination {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    let problem = Diagnostic::error(format!("there is no folder for the report `{}`", path.display()))
                        .fix(format!("make it: `mkdir -p {}`", folder.display()));
                    return Err(Failure::invalid(problem));
                }
            }
        }
        Ok(reports)
    }

    /// The reports that are files, each with the word that asks for it.
    fn files(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        [(&self.json, "--report-json"), (&self.junit, "--report-junit")].into_iter().filter_map(|(report, word)| {
            match report {
                Some(Destination::File(path)) => Some((path.as_path(), word)),
                Some(Destination::Stdout) | None => None,
            }
        })
    }

    /// Where what is kept goes: the folder of the JSON report, or else of the JUnit report, or else the current one.
    pub(super) fn folder(&self) -> &Path {
        let folder = self.files().find(|(path, _)| !is_stream(path)).and_then(|(path, _)| path.parent());
        folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    pub(super) fn claims(&self) -> Vec<Claim> {
        self.files().map(|(path, word)| Claim::new(path, format!("the report of {word}"))).collect()
    }

    pub(super) fn on_stdout(&self) -> bool {
        [&self.json, &self.junit].into_iter().flatten().any(|destination| *destination == Destination::Stdout)
    }

    pub(super) fn save(&self, scenarios: Vec<Outcome>, elapsed: f64) -> Result<()> {
        let report = Report { format: 1, scenarios };
        let json = self.json.as_ref().map_or(Ok(()), |place| save(place, &json::text(&report)?));
        // One that can't be written takes the other one with it no more than the run.
        let junit = self.junit.as_ref().map_or(Ok(()), |place| save(place, &junit::text(&report, elapsed)?));
        json.and(junit)
    }
}
