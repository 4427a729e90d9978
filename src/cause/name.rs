//! A cause as reports and scenarios write it: its name, also where only the running kernel knows it. Start at [`CauseName`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Cause;

/// A cause of loss by its name: a row of the table of causes, or a reason that only the running kernel has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CauseName {
    /// A row of [`super::TABLE`]. Rows are ordered as a packet meets them.
    Known(Cause),
    /// A name in the kernel's `enum skb_drop_reason` that the table does not have.
    Other(String),
}

impl CauseName {
    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(cause) => cause.name(),
            Self::Other(name) => name,
        }
    }

    /// The row's cause, if there is one.
    pub fn known(&self) -> Option<Cause> {
        match self {
            Self::Known(cause) => Some(*cause),
            Self::Other(_) => None,
        }
    }
}

impl From<Cause> for CauseName {
    fn from(cause: Cause) -> Self {
        Self::Known(cause)
    }
}

impl From<&str> for CauseName {
    fn from(name: &str) -> Self {
        Cause::by_name(name).map_or_else(|| Self::Other(name.to_owned()), Self::Known)
    }
}

impl From<String> for CauseName {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<CauseName> for String {
    fn from(name: CauseName) -> Self {
        name.as_str().to_owned()
    }
}

impl PartialEq<Cause> for CauseName {
    fn eq(&self, other: &Cause) -> bool {
        self.known() == Some(*other)
    }
}

impl fmt::Display for CauseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
