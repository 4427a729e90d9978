//! What each entry of `[rewrite]` did, what else happened to frames, and what was left as it is.

use schemars::JsonSchema;
use serde::Serialize;

use crate::figures::count;
use crate::rewrite::{FrameCount, Left, Reshaped, RewriteStats, Rewriter};

/// What a rewrite did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RewriteReport {
    /// Each entry of the scenario's maps, in its order.
    pub entries: Vec<RewriteEntry>,
    /// What happened to frames as a whole.
    pub reshaped: Vec<ReshapedFrames>,
    /// Frames that were left as they are.
    pub left: Vec<LeftFrames>,
}

/// What one entry of a map did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
    #[serde(skip)]
    word: &'static str,
}

/// Frames to which something happened as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReshapedFrames {
    /// What happened.
    pub how: &'static str,
    /// How many.
    pub frames: u64,
    /// The first of them.
    pub first_frame: Option<u64>,
}

/// Frames that were left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LeftFrames {
    /// Why.
    pub why: &'static str,
    /// How many.
    pub frames: u64,
    /// The first of them.
    pub first_frame: Option<u64>,
}

impl RewriteReport {
    pub(crate) fn new(rewriter: &Rewriter, stats: &RewriteStats) -> Self {
        let first = |stats: FrameCount| (stats.frames > 0).then_some(stats.first_frame);
        let entries = rewriter.entries().iter().zip(stats.entries()).map(|(entry, stats)| RewriteEntry {
            table: entry.table.to_string(),
            entry: entry.mapping.to_string(),
            becomes: entry.mapping.becomes(),
            frames: stats.frames,
            first_frame: first(*stats),
            word: entry.table.word(),
        });
        let reshaped = Reshaped::ALL.into_iter().map(|(how, words)| (words, stats.reshaped(how)));
        let left = Left::ALL.into_iter().map(|(reason, words)| (words, stats.left(reason)));
        Self {
            entries: entries.collect(),
            reshaped: reshaped
                .filter(|(_, stats)| stats.frames > 0)
                .map(|(how, stats)| ReshapedFrames { how, frames: stats.frames, first_frame: first(stats) })
                .collect(),
            left: left
                .filter(|(_, stats)| stats.frames > 0)
                .map(|(why, stats)| LeftFrames { why, frames: stats.frames, first_frame: first(stats) })
                .collect(),
        }
    }

    /// A line for each entry, and for each reason to leave frames as they are.
    pub(crate) fn lines(&self) -> Vec<String> {
        let first = |first: Option<u64>| first.map(|first| format!(", first frame {first}")).unwrap_or_default();
        let entries = self.entries.iter().map(|entry| {
            let RewriteEntry { word, entry: mapping, frames, first_frame, .. } = entry;
            format!("{word} {mapping}: {}{}", count(*frames, "frame"), first(*first_frame))
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
