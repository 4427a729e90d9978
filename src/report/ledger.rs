//! The ledger as a column of figures that adds up: what came to each stage, and between two stages what was lost.
//!
//! ```text
//!   5,548  read, selected, rewritten, sent, arrived
//!  -5,548  lost before accepted: IP_RPFILTER (frames 1-5548; evidence: kernel)
//!          why: …
//!          fix: …
//!       0  accepted, delivered, consumed
//! ```

use std::borrow::Cow;

use super::layout::{visible, wrap};
use super::{Look, Role, paint_lines};
use crate::figures::{numbered, plural, thousands};
use crate::outcome::{Absorbed, Amount, Disagreement, Layer, Ledger, Loss, Stage};

/// How much is said about each loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Its row.
    Row,
    /// Its row, why, and what to do.
    Remedy,
}

/// The losses that made the run fail, the largest first.
pub(super) fn counting(ledger: &Ledger) -> Vec<&Loss> {
    let mut losses: Vec<_> = ledger.losses.iter().filter(|loss| loss.frames.high() > 0 && !loss.expected).collect();
    losses.sort_by_key(|loss| std::cmp::Reverse(loss.frames.high()));
    losses
}

/// Every stage with its count, in order.
pub(super) fn stages(ledger: &Ledger) -> [(Stage, Option<Amount>); 8] {
    [
        (Stage::Read, Some(Amount::exact(ledger.read))),
        (Stage::Selected, Some(Amount::exact(ledger.selected))),
        (Stage::Rewritten, Some(Amount::exact(ledger.rewritten))),
        (Stage::Sent, Some(Amount::exact(ledger.sent))),
        (Stage::Arrived, ledger.arrived.clone()),
        (Stage::Accepted, ledger.accepted.clone()),
        (Stage::Delivered, ledger.delivered.clone()),
        (Stage::Consumed, ledger.consumed.clone()),
    ]
}

/// The stages as rows, neighbours with equal counts in one, and the losses between them; each line ends with a line end.
/// A stage that can't be seen has a row only after the last that can: before, it would part what belongs together.
/// `indent`: columns in front of everything.
pub(super) fn table(ledger: &Ledger, look: Look, indent: usize) -> String {
    table_from(Stage::Read, ledger, look, indent)
}

/// The same from a stage on.
pub(super) fn table_from(first: Stage, ledger: &Ledger, look: Look, indent: usize) -> String {
    let groups = groups(first, ledger);
    let margin = Margin { indent, figures: figure_width(ledger) };
    let mut text = String::new();
    let mut before: Option<u64> = None;
    for group in &groups {
        let losses = losses_before(ledger, &group.before);
        if let (Stage::Selected, Some(before), Some(here)) =
            (group.stages[0], before, group.packets.as_ref().and_then(Amount::known))
            && losses.is_empty()
            && before > here
        {
            let row = margin.row(&format!("-{}", thousands(before - here)), "not selected", look.width);
            text.push_str(&paint_lines(look.style, Role::Faint, &row));
        }
        for loss in losses {
            text.push_str(&loss_rows(loss, look, margin, Detail::Remedy));
        }
        for absorbed in absorbed_before(ledger, &group.before) {
            let numbers =
                absorbed.numbers.as_deref().map(|numbers| format!(" ({})", numbered("frame", &first_of(numbers))));
            let what = format!("for the receiver's own kernel, no loss{}", numbers.unwrap_or_default());
            let row = margin.row(&format!("-{}", figure(&absorbed.frames)), &what, look.width);
            text.push_str(&paint_lines(look.style, Role::Faint, &row));
        }
        let names: Vec<_> = group.stages.iter().map(|stage| stage.name()).collect();
        text.push_str(&match &group.packets {
            Some(packets) => {
                let why = if packets.why().is_empty() { String::new() } else { format!(": {}", packets.why()) };
                margin.row(&figure(packets), &format!("{}{why}", names.join(", ")), look.width)
            }
            None => margin.row("?", &format!("{}: can't be seen here", names.join(", ")), look.width),
        });
        before = group.packets.as_ref().and_then(Amount::known).or(before);
    }
    if let Some(captured) = &ledger.captured {
        let why = if captured.why().is_empty() { String::new() } else { format!(": {}", captured.why()) };
        let what = format!("captured by the application's packet socket{why}");
        text.push_str(&margin.row(&figure(captured), &what, look.width));
    }
    let beside = [
        (ledger.foreign, "foreign", "on the receiver's wire that this run did not send"),
        (ledger.duplicated, "duplicated", "on the receiver's wire once more than sent"),
    ];
    let beside =
        if first > Stage::Sent { [(ledger.foreign, "others", "that are not watched"), beside[1]] } else { beside };
    for (frames, name, what) in beside.into_iter().filter(|(frames, ..)| *frames > 0) {
        let what = format!("{name}: {} {what}", plural(frames, "frame"));
        text.push_str(&margin.row(&format!("+{}", thousands(frames)), &what, look.width));
    }
    if let Some(reordered @ 1..) = ledger.reordered {
        let what = format!("reordered: {} arrived after one that was sent later", plural(reordered, "frame"));
        text.push_str(&margin.row(&thousands(reordered), &what, look.width));
    }
    text.push_str(&disagreements(ledger, look, indent));
    text
}

/// Where two layers of evidence say different things, a line for each cause.
pub(super) fn disagreements(ledger: &Ledger, look: Look, indent: usize) -> String {
    let lines = ledger.disagreements.iter().map(disagree);
    lines.map(|line| hang(&" ".repeat(indent), &line, look.width)).collect()
}

pub(super) fn disagree(disagreement: &Disagreement) -> String {
    let says = [
        ("the kernel's drop reasons say", disagreement.kernel),
        ("counters and taps say", disagreement.stage),
        ("predicted were", disagreement.predicted),
    ];
    let says: Vec<String> = says
        .into_iter()
        .filter_map(|(who, packets)| packets.map(|packets| format!("{who} {}", thousands(packets))))
        .collect();
    format!("the evidence disagrees on {}: {}", visible(disagreement.cause.name()), says.join(", "))
}

/// Only the losses, as rows without a remedy.
pub(super) fn losses(ledger: &Ledger, look: Look, indent: usize) -> String {
    let margin = Margin { indent, figures: figure_width(ledger) };
    let rows = ledger.losses.iter().filter(|loss| loss.frames.high() > 0);
    rows.map(|loss| loss_rows(loss, look, margin, Detail::Row)).collect()
}

/// Neighbouring stages with one count.
struct Group {
    /// The first of them, and before it those that can't be seen though a later one can: what is missing at any of these
    /// is known to be missing here.
    before: Vec<Stage>,
    /// At least one.
    stages: Vec<Stage>,
    packets: Option<Amount>,
}

fn groups(first: Stage, ledger: &Ledger) -> Vec<Group> {
    let stages: Vec<_> = stages(ledger).into_iter().filter(|(stage, _)| *stage >= first).collect();
    let last_seen = stages.iter().rposition(|(_, packets)| packets.is_some()).unwrap_or_default();
    let mut groups: Vec<Group> = Vec::new();
    let mut before = Vec::new();
    for (index, (stage, packets)) in stages.into_iter().enumerate() {
        before.push(stage);
        if packets.is_none() && index < last_seen {
            continue;
        }
        let before = std::mem::take(&mut before);
        match groups.last_mut() {
            Some(group)
                if group.packets == packets
                    && losses_before(ledger, &before).is_empty()
                    && absorbed_before(ledger, &before).next().is_none() =>
            {
                group.stages.push(stage);
            }
            _ => groups.push(Group { before, stages: vec![stage], packets }),
        }
    }
    groups
}

/// What did not reach these stages: the losses that made the run fail first, and the largest first.
pub(super) fn losses_before<'a>(ledger: &'a Ledger, stages: &[Stage]) -> Vec<&'a Loss> {
    let mut losses: Vec<_> =
        ledger.losses.iter().filter(|loss| stages.contains(&loss.stage) && loss.frames.high() > 0).collect();
    losses.sort_by_key(|loss| (loss.expected, std::cmp::Reverse(loss.frames.high())));
    losses
}

pub(super) fn absorbed_before<'a>(ledger: &'a Ledger, stages: &[Stage]) -> impl Iterator<Item = &'a Absorbed> {
    ledger.absorbed.iter().filter(|absorbed| stages.contains(&absorbed.stage) && absorbed.frames.high() > 0)
}

/// Columns that the widest figure takes, its sign included.
fn figure_width(ledger: &Ledger) -> usize {
    let counts = stages(ledger).into_iter().filter_map(|(_, packets)| packets).map(|packets| figure(&packets).len());
    let counts = counts.chain(ledger.captured.iter().map(|captured| figure(captured).len()));
    let losses = ledger.losses.iter().map(|loss| &loss.frames);
    let losses =
        losses.chain(ledger.absorbed.iter().map(|absorbed| &absorbed.frames)).map(|frames| figure(frames).len() + 1);
    let signed = [ledger.foreign, ledger.duplicated, ledger.read.abs_diff(ledger.selected)];
    let signed = signed.into_iter().map(|packets| thousands(packets).len() + 1);
    counts.chain(losses).chain(signed).max().unwrap_or_default()
}

/// `5,548`, or `180..200` for a range.
pub(super) fn figure(amount: &Amount) -> String {
    match amount.known() {
        Some(count) => thousands(count),
        None => format!("{}..{}", thousands(amount.low()), thousands(amount.high())),
    }
}

/// Where figures and text stand.
#[derive(Debug, Clone, Copy)]
struct Margin {
    indent: usize,
    figures: usize,
}

impl Margin {
    /// One row: the figure right-aligned, the text wrapped beside it.
    fn row(self, figure: &str, text: &str, width: usize) -> String {
        let figure = format!("{:indent$}{figure:>figures$}  ", "", indent = self.indent, figures = self.figures);
        hang(&figure, text, width)
    }

    /// The columns before the text.
    fn text(self) -> usize {
        self.indent + self.figures + 2
    }
}

/// `head`, then the text; further lines stand under the text's first.
pub(super) fn hang(head: &str, text: &str, width: usize) -> String {
    let columns = unicode_width::UnicodeWidthStr::width(head);
    let mut lines = String::new();
    for (index, line) in wrap(text, width.saturating_sub(columns).max(30)).into_iter().enumerate() {
        if index == 0 {
            lines.push_str(head);
        } else {
            lines.push_str(&" ".repeat(columns));
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

fn loss_rows(loss: &Loss, look: Look, margin: Margin, detail: Detail) -> String {
    let figure = format!("-{}", figure(&loss.frames));
    let evidence = match loss.evidence {
        Layer::Kernel => "kernel",
        Layer::Stage => "stage",
        Layer::Predicted => "predicted",
    };
    let numbers = loss.numbers.as_deref().map_or_else(String::new, |numbers| {
        let assumed = if loss.numbers_assumed { ", assumed among identical ones" } else { "" };
        format!("{}{assumed}; ", numbered("frame", &visible(&first_of(numbers))))
    });
    let happened = if loss.stage <= Stage::Sent { "not" } else { "lost before" };
    // Where it did not make the run fail, there is nothing to mend.
    let (role, expected) =
        if loss.expected || detail == Detail::Row { (Role::Faint, "; expected") } else { (Role::Bad, "") };
    let what =
        format!("{happened} {}: {} ({numbers}evidence: {evidence}{expected})", loss.stage, visible(loss.cause.name()));
    let mut text = paint_lines(look.style, role, &margin.row(&figure, &what, look.width));
    if role == Role::Bad {
        for (word, sentence) in [("why: ", &loss.why), ("fix: ", &loss.fix)] {
            let head = format!("{:1$}{word}", "", margin.text());
            text.push_str(&hang(&head, &visible(sentence), look.width));
        }
    }
    text
}

/// The first frames of a list that could go on for ever, cut at a comma; the JSON report has all of them.
pub(super) fn first_of(frames: &str) -> Cow<'_, str> {
    const LONGEST: usize = 32;
    match frames.get(..LONGEST).and_then(|first| first.rfind(',')).and_then(|comma| frames.get(..=comma)) {
        Some(first) => Cow::Owned(format!("{first}…")),
        None => Cow::Borrowed(frames),
    }
}
