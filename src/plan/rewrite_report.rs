//! What the maps of a scenario did, as reports show it.

use crate::outcome::{LeftFrames, ReshapedFrames, RewriteEntry, RewriteReport};
use crate::rewrite::{FrameCount, Left, Reshaped, RewriteStats, Rewriter};

/// What each entry did, and what else happened to frames.
pub fn rewrite_report(rewriter: &Rewriter, stats: &RewriteStats) -> RewriteReport {
    let first = |stats: FrameCount| (stats.frames > 0).then_some(stats.first_frame);
    let entries = rewriter.entries().iter().zip(stats.entries()).map(|(entry, stats)| RewriteEntry {
        table: entry.table.to_string(),
        entry: entry.mapping.to_string(),
        becomes: entry.mapping.becomes(),
        frames: stats.frames,
        first_frame: first(*stats),
    });
    let reshaped = Reshaped::ALL.into_iter().map(|(how, words)| (words, stats.reshaped(how)));
    let left = Left::ALL.into_iter().map(|(reason, words)| (words, stats.left(reason)));
    let occurred = |(_, stats): &(&str, FrameCount)| stats.frames > 0;
    RewriteReport {
        entries: entries.collect(),
        reshaped: reshaped
            .filter(occurred)
            .map(|(how, stats)| ReshapedFrames { how: how.to_owned(), frames: stats.frames, first_frame: first(stats) })
            .collect(),
        left: left
            .filter(occurred)
            .map(|(why, stats)| LeftFrames { why: why.to_owned(), frames: stats.frames, first_frame: first(stats) })
            .collect(),
    }
}
