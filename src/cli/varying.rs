//! `--var` and `--set`: what a command line changes of scenarios, and the cases of a matrix.

use std::collections::BTreeSet;
use std::path::Path;

use super::collect::Found;
use super::usage::nearest;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::scenario::{self, Scenario, ScenarioText, Variation};

/// What is changed.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Varying {
    /// Give a variable of `[vars]` or `[matrix]` another value; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", help_heading = HEADING)]
    var: Vec<String>,
    /// Set any key, in all scenarios, as if it was written there: `--set pacing.rate=500pps`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", help_heading = HEADING)]
    set: Vec<String>,
}

const HEADING: &str = "Varying";

impl Varying {
    /// Every case of these scenarios.
    ///
    /// # Errors
    /// Arguments that can't be read, and a variable that no scenario has.
    pub(super) fn cases(&self, found: Vec<Found>) -> Result<Vec<Found>> {
        let variation = Variation::new(&self.var, &self.set)?;
        refuse_unknown(&variation, found.iter().filter_map(|found| found.text.as_ref().ok()))?;
        let cases = found.into_iter().flat_map(|Found { path, text }| match text {
            Ok(text) => scenario::cases(&text, &variation)
                .into_iter()
                .map(|text| Found { path: path.clone(), text: Ok(text) })
                .collect(),
            Err(failure) => vec![Found { path, text: Err(failure) }],
        });
        Ok(cases.collect())
    }

    /// The scenario of a file that stands for one.
    ///
    /// # Errors
    /// As [`Self::cases`], and a matrix of which no case is chosen.
    pub(super) fn one(&self, path: &Path) -> Result<Scenario> {
        let variation = Variation::new(&self.var, &self.set)?;
        let text = ScenarioText::load(path)?;
        refuse_unknown(&variation, [&text])?;
        match scenario::cases(&text, &variation).as_slice() {
            [only] => scenario::check(only),
            cases => {
                let names: Vec<String> = cases.iter().take(3).map(|case| format!("`{}`", case.name)).collect();
                let more = if cases.len() > names.len() { ", …" } else { "" };
                let fix = format!("choose one: {}", choices(&text, &cases[0]));
                Err(Failure::invalid(
                    Diagnostic::error(format!("`{}` has {} cases", path.display(), cases.len()))
                        .why(format!("its `[matrix]` makes {}{more}", names.join(", ")))
                        .fix(fix),
                ))
            }
        }
    }
}

/// The options that choose a case.
fn choices(text: &ScenarioText, case: &ScenarioText) -> String {
    let label = case.name.strip_prefix(text.name.as_str()).unwrap_or_default().trim_matches(['[', ']']);
    label.split(',').map(|choice| format!("--var '{choice}'")).collect::<Vec<_>>().join(" ")
}

fn refuse_unknown<'a>(variation: &Variation, texts: impl IntoIterator<Item = &'a ScenarioText>) -> Result<()> {
    let known: BTreeSet<String> = texts.into_iter().flat_map(scenario::names).collect();
    let unknown = |name: &&str| !known.contains(*name);
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    let problems: Vec<_> = variation
        .names()
        .filter(unknown)
        .map(|name| {
            let problem = Diagnostic::error(format!("no scenario has a variable `{name}`"));
            match nearest(name, &words) {
                Some(near) => problem.fix(format!("did you mean `{near}`?")),
                None => problem.fix(format!("declare it: `[vars] {name} = …`; or set a key by `--set`")),
            }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure { kind: Kind::Invalid, problems }) }
}
