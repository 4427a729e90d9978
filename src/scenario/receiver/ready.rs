//! `[receiver.ready]`: when the application is ready.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::form::{self, Argument, DurationText, numbers};
use crate::diagnostic::{At, Diagnostic};

/// When the application is ready: its sockets are bound, and everything that is written here holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ready {
    /// How long it may take. Default: 10s.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"60s")]
    pub within: At<Duration>,
    /// A regular expression (the `regex` crate's syntax) that matches in a line of its standard output or standard error.
    #[serde(deserialize_with = "form::pattern")]
    #[schemars(with = "String", example = &"all zones loaded")]
    pub output: Option<At<String>>,
    /// A program and its arguments, started again and again beside the application until its exit status is 0.
    #[serde(deserialize_with = "form::command")]
    #[schemars(with = "Vec<String>", length(min = 1), example = ["rndc", "-c", "{work}/rndc.conf", "status"])]
    pub command: Option<At<Vec<String>>>,
    /// A file or folder that exists then, placeholders still in it; a relative path begins in `{work}`.
    #[serde(deserialize_with = "file")]
    #[schemars(with = "String", example = &"{work}/ready")]
    pub file: Option<At<String>>,
    /// It has ended with this exit status, and has done its work: only of a process, such as `initdb`.
    #[serde(deserialize_with = "status")]
    #[schemars(with = "i64", range(min = 0, max = 255), example = 0)]
    pub exit: Option<At<i32>>,
}

numbers! {
    status -> Option<At<i32>>, 0..=255, "an exit status is from 0 to 255", "write 0 for success";
}

impl Ready {
    /// Whether bound sockets are enough.
    pub fn is_only_sockets(&self) -> bool {
        self.output.is_none() && self.command.is_none() && self.file.is_none() && self.exit.is_none()
    }
}

fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<String>>, D::Error> {
    let written = At::<Argument>::deserialize(deserializer)?;
    if written.value.0.is_empty() {
        let problem = Diagnostic::error("`\u{2}` is empty");
        return Err(form::error(&problem.fix("name a file that the application makes, like \"{work}/ready\"")));
    }
    let path = written.value.0.clone();
    Ok(Some(written.with(path)))
}

impl Default for Ready {
    fn default() -> Self {
        Self { within: At::default_value(Duration::from_secs(10)), output: None, command: None, file: None, exit: None }
    }
}
