//! The files that are read as one capture, and their order.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::payloads::Payloads;
use super::reader::Reader;
use super::sorted::Pieces;
use super::storage::STANDARD_INPUT;
use crate::diagnostic::{At, Result};

/// In which order the frames are numbered and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileOrder {
    /// As the file has them, one file after the other.
    #[default]
    Sequence,
    /// By their times; of frames with equal times that of the earlier file goes first, and of one file the earlier one.
    Time,
}

/// One file or several; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    paths: Vec<At<PathBuf>>,
    order: FileOrder,
    span: Option<Range<usize>>,
    /// What they are sent in, where each is the payload of a datagram.
    payloads: Option<Payloads>,
    /// What is out of order, sorted.
    pub(super) pieces: Pieces,
}

impl Files {
    /// One file; `-` is standard input.
    pub fn one(path: At<PathBuf>, order: FileOrder) -> Self {
        Self { span: path.span.clone(), paths: vec![path], order, payloads: None, pieces: Pieces::default() }
    }

    /// Several, named by the list at `span`; `None` if there is none.
    pub fn several(paths: Vec<At<PathBuf>>, order: FileOrder, span: Range<usize>) -> Option<Self> {
        let (payloads, pieces) = (None, Pieces::default());
        (!paths.is_empty()).then_some(Self { paths, order, span: Some(span), payloads, pieces })
    }

    /// Payloads, sent one after the other in such datagrams, named by the list at `span`; `None` if there is none.
    pub fn payloads(paths: Vec<At<PathBuf>>, payloads: Payloads, span: Range<usize>) -> Option<Self> {
        let files = Self::several(paths, FileOrder::Sequence, span)?;
        Some(Self { payloads: Some(payloads), ..files })
    }

    /// Whether each file is the payload of a datagram.
    pub fn are_payloads(&self) -> bool {
        self.payloads.is_some()
    }

    /// Opens the file at this place of [`Files::places`], which is at `path`.
    pub(super) fn open(&self, index: usize, path: &Path) -> Result<Reader> {
        match &self.payloads {
            None => Reader::open(path),
            Some(payloads) => payloads.reader(path, index),
        }
    }

    /// Their paths, as they are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(|path| path.value.as_path())
    }

    /// Their paths, each with its place.
    pub(super) fn places(&self) -> &[At<PathBuf>] {
        &self.paths
    }

    /// The order of their frames.
    pub fn order(&self) -> FileOrder {
        self.order
    }

    /// Where the scenario names them.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// Where the scenario names standard input, if it does.
    pub fn standard_input(&self) -> Option<&At<PathBuf>> {
        self.paths.iter().find(|path| path.value.as_os_str() == STANDARD_INPUT)
    }
}

impl From<&Path> for Files {
    fn from(path: &Path) -> Self {
        Self::one(At { value: path.to_path_buf(), span: None }, FileOrder::Sequence)
    }
}

impl fmt::Display for Files {
    /// Their names: all of two, the first of more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.paths.as_slice() {
            [first, second] => write!(f, "{}, {}", first.value.display(), second.value.display()),
            [first, others @ ..] => {
                write!(f, "{}", first.value.display())?;
                if others.is_empty() { Ok(()) } else { write!(f, " and {} more", others.len()) }
            }
            [] => Ok(()),
        }
    }
}
