//! What programs printed and files held, as far as expectations ask for it. Start at [`Output`].

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::count;
use crate::scenario::expect::Column;

/// A text, as far as a rule asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Text {
    /// Its beginning, to be shown.
    pub head: String,
    /// How long it is.
    pub bytes: u64,
    /// How many lines it has; the last one may lack its end.
    pub lines: u64,
    /// What the rule looks for, in its order.
    pub searches: Vec<Found>,
    /// Where it is not the file that the rule names.
    pub difference: Option<Difference>,
    /// What the paths of the rule's `json` select, in its order; or why it is no JSON text.
    pub json: Option<Result<Vec<Selected>, String>>,
    /// What its lines are, where the rule takes them for JSON texts.
    pub json_lines: Option<LinesFound>,
    /// The records that it has, where the rule takes it for what a collector stored; or why they can't be read.
    pub flows: Option<Result<StoredRows, String>>,
}

/// Records of flows that a collector stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoredRows {
    /// All of them.
    pub rows: Vec<StoredRow>,
}

/// What a record has of each column, in the order of [`Column::ALL`].
pub type StoredRow = [Option<Cell>; Column::ALL.len()];

impl StoredRows {
    /// The most records that are read or compared.
    pub const MOST: usize = 1_000_000;

    /// Why more are not.
    pub fn too_many() -> String {
        format!("more than {} are not compared", count(Self::MOST as u64, "record"))
    }
}

/// What a record has in a column, in one form for all collectors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// A number.
    Number(u64),
    /// An address.
    Address(IpAddr),
    /// What is neither where one should be.
    Text(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Text(text) => write!(f, "`{text}`"),
        }
    }
}

/// What was looked for in a text, and found or not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// How often; where the rule doesn't count, 1 is any number. `None` where it is not known.
    pub count: Option<u64>,
    /// The first line that has it, from 1, and its beginning; empty where nothing was found.
    pub first: Option<(u64, String)>,
}

/// What a path selects in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selected {
    /// How many values.
    pub count: usize,
    /// Some of them, each as a short text.
    pub shown: Vec<String>,
    /// Whether one of them is the value that the rule says.
    pub holds: bool,
}

/// What the lines of a text are that should be JSON texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinesFound {
    /// How many there are, without empty ones.
    pub lines: u64,
    /// How many meet every condition of the rule.
    pub counted: u64,
    /// How many meet each condition: those of `match`, `has-key` and `not-has-key`, one after the other.
    pub each: Vec<u64>,
    /// How many are no JSON text, and what is wrong with the first of them.
    pub broken: u64,
    /// See [`Self::broken`].
    pub first_broken: Option<String>,
}

/// How a text differs from the file that it should equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Difference {
    /// The file can't be read: why.
    Unreadable(String),
    /// They are not the same.
    At {
        /// The line of the first difference, from 1.
        line: u64,
        /// The file's bytes.
        expected: u64,
        /// The text's bytes.
        actual: u64,
        /// The lines that differ there.
        lines: String,
    },
}

/// What a program that was run, or a file, came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Output {
    /// What it wrote to standard output, or the file.
    pub stdout: Text,
    /// What it wrote to standard error.
    pub stderr: Text,
    /// Its exit status; `None` where a signal ended it, or it could not be run.
    pub status: Option<i32>,
    /// Why there is nothing to look at.
    pub failure: Option<String>,
    /// How it was waited for; `None` where it was looked at once.
    pub waited: Option<Waited>,
}

impl Output {
    /// There is nothing to look at.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { failure: Some(why.into()), ..Self::default() }
    }
}

/// How something was waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// From the first look to the last.
    pub time: Duration,
    /// How often it was looked at.
    pub looks: u64,
    /// What ended it where it was not as it should be.
    pub until: WaitEnd,
}

/// What ends waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitEnd {
    /// The check's own limit.
    Within,
    /// The run's limit.
    Timeout,
    /// The end of the application.
    ApplicationEnded,
}
