//! What a verb reads and what it writes, so that no output destroys an input or another output.

use std::path::{Path, PathBuf};

use super::identity::{Identity, descriptor};
use super::replacement::Replacement;
use crate::diagnostic::{Diagnostic, Failure, Kind, Place, Result};

/// A file that is read or written.
#[derive(Debug, Clone)]
pub struct Claim {
    path: PathBuf,
    /// What it is, with its article: `the capture`.
    what: String,
    place: Option<Place>,
    identity: Option<Identity>,
}

impl Claim {
    /// `path`, which is `what`: `the capture`, `the report of --report-json`. `-` is standard input; the standard streams that are written
    /// to are among [`Claims`] already.
    pub fn new(path: &Path, what: impl Into<String>) -> Self {
        let path = if path.as_os_str() == "-" { Path::new("/dev/stdin") } else { path };
        Self { path: path.to_path_buf(), what: what.into(), place: None, identity: Identity::of(path) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Points at `place` of the scenario where it is refused.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Whether it can be written, so that an output that can't is found before anything is sent. Folders that are not there are made later.
    ///
    /// # Errors
    /// As [`Replacement::begin`].
    pub fn try_out(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() && !folder.exists() {
            return Ok(());
        }
        Replacement::try_out(&self.path).map_err(|mut failure| {
            failure.problems.iter_mut().for_each(|problem| problem.place.clone_from(&self.place));
            failure
        })
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        self.identity.is_some() && self.identity == other.identity
    }

    /// Whether it was opened before this program began, so that nothing is replaced.
    fn is_open(&self) -> bool {
        descriptor(&self.path).is_some()
    }

    fn named(&self) -> String {
        if self.is_open() { self.what.clone() } else { format!("{} `{}`", self.what, self.path.display()) }
    }
}

/// The files of one verb: what it reads, and what it writes.
#[derive(Debug, Default)]
pub struct Claims {
    inputs: Vec<Claim>,
    outputs: Vec<Claim>,
}

impl Claims {
    /// Those of a verb that reads `inputs`, and writes to its standard streams.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where a standard stream is appended to an input.
    pub fn new(inputs: Vec<Claim>) -> Result<Self> {
        let mut claims = Self { inputs, outputs: Vec::new() };
        let streams = [("/dev/stdout", "standard output"), ("/dev/stderr", "standard error")];
        claims.write(streams.map(|(path, what)| Claim::new(Path::new(path), what)).into())?;
        Ok(claims)
    }

    /// Adds files that are written, all of them or none; before anything is written.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where one of them is also read, or is also another output.
    pub fn write(&mut self, outputs: Vec<Claim>) -> Result<()> {
        let mut problems = Vec::new();
        for (index, output) in outputs.iter().enumerate() {
            let input = self.inputs.iter().find(|input| input.is_the_same_as(output));
            let mut others = self.outputs.iter().chain(outputs.iter().take(index));
            let other = others.find(|other| other.is_the_same_as(output) && !(other.is_open() && output.is_open()));
            let problem = match (input, other) {
                (Some(input), _) => Diagnostic::error(format!("{} would overwrite {}", output.named(), input.named()))
                    .why("they are the same file: what is read from it would be lost"),
                (None, Some(other)) => {
                    Diagnostic::error(format!("{} would overwrite {}", output.named(), other.named()))
                        .why("they are the same file: only one of the two would be left")
                }
                (None, None) => continue,
            };
            problems.push(Diagnostic { place: output.place.clone(), ..problem.fix("write to another file") });
        }
        if problems.is_empty() {
            self.outputs.extend(outputs);
            return Ok(());
        }
        Err(Failure { kind: Kind::Invalid, problems })
    }
}
