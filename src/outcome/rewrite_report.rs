//! What each entry of `[rewrite]` did, what else happened to frames, and what was left as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::figures::count;

/// What a rewrite did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RewriteReport {
    /// Each entry of the scenario's maps, in its order.
    pub entries: Vec<RewriteEntry>,
    /// What happened to frames as a whole.
    pub reshaped: Vec<ReshapedFrames>,
    /// Frames that were left as they are.
    pub left: Vec<LeftFrames>,
}

/// What one entry of a map did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RewriteEntry {
    /// The table of the scenario, such as `rewrite.source`.
    pub table: String,
    /// The entry, as the scenario has it.
    pub entry: String,
    /// What it maps to; null where the entry says it itself.
    pub becomes: Option<String>,
    /// Frames that it changed, or would have changed to what they already were.
    pub frames: u64,
    /// The first of them.
    pub first_frame: Option<u64>,
}

/// Frames to which something happened as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReshapedFrames {
    /// What happened.
    pub how: String,
    /// How many.
    pub frames: u64,
    /// The first of them.
    pub first_frame: Option<u64>,
}

/// Frames that were left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LeftFrames {
    /// Why.
    pub why: String,
    /// How many.
    pub frames: u64,
    /// The first of them.
    pub first_frame: Option<u64>,
}

impl RewriteEntry {
    /// The table without `rewrite.`.
    pub(crate) fn word(&self) -> &str {
        self.table.strip_prefix("rewrite.").unwrap_or(&self.table)
    }
}

impl RewriteReport {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.reshaped.is_empty() && self.left.is_empty()
    }

    /// A line for each entry, and for each reason to leave frames as they are.
    pub(crate) fn lines(&self) -> Vec<String> {
        let first = |first: Option<u64>| first.map(|first| format!(", first frame {first}")).unwrap_or_default();
        let entries = self.entries.iter().map(|entry| {
            let RewriteEntry { entry: mapping, frames, first_frame, .. } = entry;
            format!("{} {mapping}: {}{}", entry.word(), count(*frames, "frame"), first(*first_frame))
        });
        let reshaped = self
            .reshaped
            .iter()
            .map(|rows| format!("{}: {}{}", rows.how, count(rows.frames, "frame"), first(rows.first_frame)));
        let left = self.left.iter().map(|rows| {
            format!("left as is: {} ({}){}", count(rows.frames, "frame"), rows.why, first(rows.first_frame))
        });
        entries.chain(reshaped).chain(left).collect()
    }
}
