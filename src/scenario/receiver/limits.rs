//! `limits`, `user`, `capabilities` and `clock`: what the application may take, as whom it runs, and what time it sees.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::form::{self, numbers, refused, schema, values};
use super::super::quantity;
use crate::diagnostic::{At, Diagnostic};

/// What the application may take of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory that each of its processes may write to (`RLIMIT_DATA`). Default: no limit.
    #[schemars(example = &"512 MiB")]
    pub memory: Option<At<Size>>,
    /// Open files and sockets of each of its processes (`RLIMIT_NOFILE`). Default: that of restage.
    #[serde(deserialize_with = "files")]
    #[schemars(with = "i64", range(min = 3), example = 1024)]
    pub files: Option<At<u64>>,
    /// How much of its standard output, and of its standard error, is kept. Default: 64 MiB.
    #[schemars(example = &"64 MiB")]
    pub output: At<Size>,
    /// How much it may write into `{work}`: it is killed when that holds more. Default: 4 GiB.
    #[schemars(example = &"1 GiB")]
    pub work: At<Size>,
}

/// A number of bytes, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
}

/// The wall clock of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The machine's.
    #[default]
    Now,
    /// It starts at the time of the capture's first frame.
    Captured,
}

/// The schema of an account's name.
pub(super) struct AccountName;

schema!(AccountName, _generator => schemars::json_schema!({ "type": "string" }));

values! {
    Size: String, |text: &String| quantity::size(text).map(|bytes| Size { bytes }),
        { "type": "string", "pattern": quantity::SIZE_PATTERN };
}

numbers! {
    files -> Option<At<u64>>, 3..=1 << 30, "three are open when it starts", "write a number from 3, like 1024";
}

impl Default for Limits {
    fn default() -> Self {
        let size = |bytes| At::default_value(Size { bytes });
        Self { memory: None, files: None, output: size(64 << 20), work: size(4 << 30) }
    }
}

pub(super) fn user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<String>>, D::Error> {
    let written = At::<String>::deserialize(deserializer)?;
    if written.value.trim().is_empty() || written.value.contains([':', '\0', '/']) {
        let problem: Diagnostic =
            refused("an account has a name, as `getent passwd` lists it", "write it like \"bind\"");
        return Err(form::error(&problem));
    }
    Ok(Some(written))
}
