//! The scenario language: TOML with spans in, legal values out.
//!
//! One file for each table of the language holds its TOML form, its check and its meaning. May use `packet`,
//! `capture` (frame sets only) and `diagnostic`. Start at [`read`].

pub mod capture;
pub mod expect;
pub mod pacing;
pub mod receiver;
pub mod require;
pub mod rewrite;
pub mod site;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{At, Source};

/// One scenario, with legal values. What depends on the capture or on the machine is not known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file.
    pub source: Arc<Source>,
    /// The file's name without folder and `.toml`.
    pub name: String,
    /// The file's folder; paths are relative to it.
    pub folder: PathBuf,
    /// One line of text.
    pub summary: Option<String>,
    /// Words to choose by.
    pub tags: Vec<String>,
    /// The whole run's limit; `None`: planned duration + 30 s.
    pub timeout: Option<At<Duration>>,
    /// The input.
    pub capture: capture::Capture,
    /// What changes.
    pub rewrite: rewrite::Rewrite,
    /// Where it goes.
    pub site: site::SiteWords,
    /// When.
    pub pacing: pacing::Pacing,
    /// What must hold.
    pub require: require::Require,
    /// Who receives.
    pub receiver: receiver::Receiver,
    /// What must come out.
    pub expect: expect::Expect,
}
