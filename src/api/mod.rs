//! What a Rust program calls: scenarios run, planned and rewritten, captures inspected. `lib.rs` names what of it is public; the command
//! line is made of the same.

mod plan;
mod rewrite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::capture::Reader;
use crate::diagnostic::{Failure, Result, Source};
use crate::inspect::{self, Inspection};
use crate::outcome::{Outcome, Verdict};
use crate::process::worker::Supervisor;
use crate::report::{Look, text};
use crate::run::Options;
use crate::run::batch::{Batch, Candidate};
use crate::run::turns::Rules;
use crate::scenario::{self, Scenario, ScenarioText, Variation};

pub use plan::{Plan, PlannedStep, PredictedFrames};
pub use rewrite::RewriteSummary;
pub(crate) use rewrite::{Rewritten, rewrite_capture};

impl Scenario {
    /// Reads and checks a scenario file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) with every problem of the file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        scenario::check(&ScenarioText::load(path.as_ref())?)
    }

    /// Reads and checks the text of a scenario. Paths in it are relative to the current folder.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn from_text(text: &str) -> Result<Self> {
        scenario::check(&ScenarioText::of(source(text))?)
    }

    /// Reads and checks every case of a scenario file with a `[matrix]`; of one without, the scenario.
    ///
    /// # Errors
    /// As [`Self::from_file`], of the first case that has a problem.
    pub fn cases_from_file(path: impl AsRef<Path>) -> Result<Vec<Self>> {
        cases(&ScenarioText::load(path.as_ref())?)
    }

    /// The same for the text of a scenario. Paths in it are relative to the current folder.
    ///
    /// # Errors
    /// As [`Self::cases_from_file`].
    pub fn cases_from_text(text: &str) -> Result<Vec<Self>> {
        cases(&ScenarioText::of(source(text))?)
    }

    /// The name that reports use: that of the file, without folder and `.toml`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the scenario in a process of its own and waits for its end. As an ordinary user this takes user namespaces; `restage doctor` says
    /// whether they are there.
    ///
    /// That process is the running program again: it begins, before `main`, in this library. A scenario that fails, is blocked, or is skipped
    /// because a program of `[require] commands` is absent is an outcome, not an error.
    ///
    /// # Errors
    /// When an output of the scenario can't be written, or would overwrite something that is read.
    pub fn run(&self, options: &Options) -> Result<Outcome> {
        let batch = Batch::new(vec![Candidate::of(self.clone())], options, &[])?;
        Ok(batch.run(&mut Supervisor::new()?, Rules::default(), &mut |_| {}).outcomes.remove(0))
    }

    /// Says what a run would do and what the receiver would do with every frame, as `restage plan`. Nothing is sent, and no privilege is
    /// needed.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for a capture that can't be read, and for everything that can't be sent as asked.
    pub fn plan(&self) -> Result<Plan> {
        Plan::of(self)
    }

    /// Writes the rewritten capture, as `restage rewrite`. The format follows the ending of `output`: `.pcap` or `.pcapng`, each also with
    /// `.gz` or `.zst`. The file is there only when all of it was written.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for a capture that can't be read or where no frame is selected, and for an `output` that the
    /// scenario reads.
    pub fn rewrite(&self, output: impl AsRef<Path>) -> Result<RewriteSummary> {
        rewrite_capture(self, output.as_ref()).map(|rewritten| rewritten.summary)
    }
}

/// A text that is in no file.
fn source(text: &str) -> Arc<Source> {
    Arc::new(Source { path: PathBuf::from("scenario"), text: text.to_owned() })
}

fn cases(text: &ScenarioText) -> Result<Vec<Scenario>> {
    scenario::cases(text, &Variation::default()).iter().map(scenario::check).collect()
}

impl Outcome {
    /// Returns if the scenario passed.
    ///
    /// # Panics
    /// With what `restage run` prints, unless the verdict is [`Verdict::Pass`]; a skipped scenario did not pass.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.verdict == Verdict::Pass, "{self}");
    }
}

/// What `restage run` prints of one scenario.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self.verdict {
            Verdict::Pass | Verdict::Skipped | Verdict::NotRun => text::line(self, 0, Look::FILE),
            Verdict::Fail | Verdict::Invalid | Verdict::Blocked | Verdict::Error => text::story(self, Look::FILE),
        };
        f.write_str(&text)
    }
}

/// What is in a capture: endpoints, conversations, ports, times, checksums, what is odd. One pass, as `restage inspect`; `-` is standard
/// input.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) for a file that is no capture, or a damaged one.
pub fn inspect(capture: impl AsRef<Path>) -> Result<Inspection> {
    let (inspection, failure) = inspect::inspect(&mut Reader::open(capture.as_ref())?);
    match failure {
        None => Ok(inspection),
        Some(failure) => Err::<_, Failure>(failure),
    }
}
