//! What each entry of `[rewrite]` did, what else happened to frames, and what was left as it is: as lines, and as JSON. `plan` and `rewrite` tell it alike.

use serde_json::{Value, json};

use crate::figures::count;
use crate::rewrite::{EntryHits, Hits, Left, Reshaped, Rewriter};

/// A line for each entry, and for each reason to leave frames as they are.
pub(super) fn as_lines(rewriter: &Rewriter, hits: &Hits) -> Vec<String> {
    let entries = rewriter.entries().iter().zip(hits.entries()).map(|(entry, hits)| {
        let first = if hits.frames == 0 { String::new() } else { format!(", first frame {}", hits.first_frame) };
        format!("{} {}: {}{first}", entry.table.word(), entry.mapping, count(hits.frames, "frame"))
    });
    let left = left(hits).map(|(why, hits)| {
        format!("left as is: {} ({why}), first frame {}", count(hits.frames, "frame"), hits.first_frame)
    });
    let reshaped = reshaped(hits)
        .map(|(how, hits)| format!("{how}: {}, first frame {}", count(hits.frames, "frame"), hits.first_frame));
    entries.chain(reshaped).chain(left).collect()
}

/// `{ "entries": […], "reshaped": […], "left": […] }`, in the order of [`Rewriter::entries`].
pub(super) fn as_json(rewriter: &Rewriter, hits: &Hits) -> Value {
    let first = |hits: &EntryHits| (hits.frames > 0).then_some(hits.first_frame);
    let entries: Vec<Value> = rewriter
        .entries()
        .iter()
        .zip(hits.entries())
        .map(|(entry, hits)| {
            json!({
                "table": entry.table.to_string(),
                "entry": entry.mapping.to_string(),
                "becomes": entry.mapping.becomes(),
                "frames": hits.frames,
                "first-frame": first(hits),
            })
        })
        .collect();
    let left: Vec<Value> = left(hits)
        .map(|(why, hits)| json!({ "why": why, "frames": hits.frames, "first-frame": first(&hits) }))
        .collect();
    let reshaped: Vec<Value> = reshaped(hits)
        .map(|(how, hits)| json!({ "how": how, "frames": hits.frames, "first-frame": first(&hits) }))
        .collect();
    json!({ "entries": entries, "reshaped": reshaped, "left": left })
}

/// What happened to frames as a whole.
fn reshaped(hits: &Hits) -> impl Iterator<Item = (&'static str, EntryHits)> + '_ {
    Reshaped::ALL.into_iter().map(|how| (how.how(), hits.reshaped(how))).filter(|(_, hits)| hits.frames > 0)
}

/// The reasons that occurred.
fn left(hits: &Hits) -> impl Iterator<Item = (&'static str, EntryHits)> + '_ {
    Left::ALL.into_iter().map(|reason| (reason.why(), hits.left(reason))).filter(|(_, hits)| hits.frames > 0)
}
