//! The files that an agent is given: those that the scenario names, and that it reads itself. Start at [`of`].

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::scenario::Scenario;

/// So many bytes of files are given to the agent.
const MOST_FILE_BYTES: u64 = 8 << 20;

/// A file that the scenario names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GivenFile {
    /// Relative to the scenario's folder, and below it.
    pub(super) path: PathBuf,
    pub(super) content: Vec<u8>,
}

impl GivenFile {
    /// Writes it below a folder.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.path);
        let cant = |error: &std::io::Error| Failure::system(format!("can't write `{}`", path.display()), error);
        if !self.path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(cant(&std::io::ErrorKind::InvalidInput.into()));
        }
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(|error| cant(&error))?;
        fs::write(&path, &self.content).map_err(|error| cant(&error))
    }
}

/// The files that the agent needs.
pub(super) fn of(scenario: &Scenario) -> Result<Vec<GivenFile>> {
    let mut files = Vec::new();
    let mut bytes = 0;
    if let Some(argument) = scenario.argument_files().find(|path| path.starts_with(&scenario.folder)) {
        let problem = Diagnostic::error(format!("a command names `{}`, which is on this machine", argument.display()));
        let why = "the command is run where the receiver is, on another machine";
        return Err(Failure::invalid(problem.why(why).fix("copy it there, and name it by its absolute path there")));
    }
    for named in scenario.files_of_the_receiver() {
        let cant = |error: &std::io::Error| Failure::system(format!("can't read `{}`", named.display()), error);
        // By the name that the scenario has, whatever a link leads to.
        let relative = scenario.below_folder(&named).ok_or_else(|| {
            let problem =
                Diagnostic::error(format!("`{}` is not named as a file below the scenario's folder", named.display()));
            let why =
                "the receiver is on another machine, which gets the files that the scenario names, with these names";
            Failure::invalid(problem.why(why).fix("copy it beside the scenario, and name it without `..`"))
        })?;
        let mut content = Vec::new();
        let file = fs::File::open(&named).map_err(|error| cant(&error))?;
        file.take(MOST_FILE_BYTES + 1).read_to_end(&mut content).map_err(|error| cant(&error))?;
        bytes += content.len() as u64;
        if bytes > MOST_FILE_BYTES {
            let problem = Diagnostic::error("the files that the scenario names have more than 8 MiB");
            let why = "the receiver is on another machine, and they are given to it for each run";
            return Err(Failure::invalid(
                problem.why(why).fix("put large files there, and name them by absolute paths"),
            ));
        }
        files.push(GivenFile { path: relative, content });
    }
    Ok(files)
}
