//! What the receiver would do with the frames, as a table. Start at [`as_text`].

use std::fmt::Write as _;

use crate::capture::FrameRanges;
use crate::figures::{agree, count, numbered};
use crate::predict::{Disposition, Prediction};

/// How many rows of the table are shown; `--json` has them all.
const MOST_ROWS: usize = 20;
/// Kinds of packet, or reasons, with the same end that get a row each; more share rows.
const MOST_OF_A_DISPOSITION: usize = 4;

/// Fates that share a row.
struct Row<'a> {
    first: &'a Prediction,
    frames: FrameRanges,
    kinds: usize,
    /// Of the kinds, how many have another reason than the first.
    others: usize,
    /// Whether one of the kinds stands for many.
    merged: bool,
}

impl<'a> Row<'a> {
    fn new(prediction: &'a Prediction) -> Self {
        Self {
            first: prediction,
            frames: prediction.class.frames.clone(),
            kinds: 1,
            others: 0,
            merged: prediction.class.merged,
        }
    }

    fn add(&mut self, prediction: &Prediction) {
        self.frames.merge(&prediction.class.frames);
        self.kinds += 1;
        self.merged |= prediction.class.merged;
        self.others += usize::from(prediction.why != self.first.why);
    }
}

/// The rows: one for each kind of packet that isn't lost, where they are few; else one for each end and reason, where those are few; else one for
/// each end.
fn rows(predictions: &[Prediction]) -> Vec<Row<'_>> {
    let mut dispositions: Vec<Disposition> = Vec::new();
    for prediction in predictions {
        if !dispositions.contains(&prediction.disposition) {
            dispositions.push(prediction.disposition);
        }
    }
    let mut rows = Vec::new();
    for disposition in dispositions {
        let same = || predictions.iter().filter(|prediction| prediction.disposition == disposition);
        if same().count() <= MOST_OF_A_DISPOSITION && !matches!(disposition, Disposition::Lost(_)) {
            rows.extend(same().map(Row::new));
            continue;
        }
        let by_reason = shared(same(), |row, prediction| row.first.why == prediction.why);
        match by_reason.len() {
            0..=MOST_OF_A_DISPOSITION => rows.extend(by_reason),
            _ => rows.extend(shared(same(), |_, _| true)),
        }
    }
    rows.sort_by_key(|row| row.first.class.frames.first());
    rows
}

/// Rows of predictions that belong together, at most one more than are shown.
fn shared<'a>(
    predictions: impl Iterator<Item = &'a Prediction>,
    together: impl Fn(&Row<'_>, &Prediction) -> bool,
) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    for prediction in predictions {
        if let Some(row) = rows.iter_mut().find(|row| together(row, prediction)) {
            row.add(prediction);
            continue;
        }
        if rows.len() > MOST_OF_A_DISPOSITION {
            break;
        }
        rows.push(Row::new(prediction));
    }
    rows
}

/// The table.
pub(super) fn as_text(predictions: &[Prediction]) -> String {
    let mut text = String::new();
    let rows = rows(predictions);
    for Row { first, frames, kinds, others, merged } in rows.iter().take(MOST_ROWS) {
        let more = match kinds - 1 {
            0 if *merged => " and other addresses".to_owned(),
            more if *merged => format!(" and more than {}", more_kinds(more)),
            0 => String::new(),
            more => format!(" and {}", more_kinds(more)),
        };
        let _infallible =
            writeln!(text, "  {:>9}  {:<24} {}{more}", frames.count(), first.disposition.to_string(), first.class.key);
        let _infallible = writeln!(text, "             {}", numbered("frame", &frames.shown()));
        if first.disposition == Disposition::Open && !first.why.is_empty() {
            let _infallible = writeln!(text, "             why: {}", first.why);
        }
        if matches!(first.disposition, Disposition::Lost(_)) {
            let such = if *others > 0 {
                format!(
                    " (the first of them; {} {} other values)",
                    count(*others as u64, "kind"),
                    agree(*others as u64, "has", "have")
                )
            } else {
                String::new()
            };
            let _infallible = writeln!(text, "             why: {}{such}\n             fix: {}", first.why, first.fix);
        }
    }
    if rows.len() > MOST_ROWS {
        let kinds: usize = rows.iter().skip(MOST_ROWS).map(|row| row.kinds).sum();
        let _infallible = writeln!(text, "  … and {} (`--json` has them all)", more_kinds(kinds));
    }
    text
}

fn more_kinds(kinds: usize) -> String {
    format!("{} of packet", count(kinds as u64, "more kind"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::packet::MacAddr;
    use crate::predict::Carried;
    use crate::predict::{Class, ClassKey, Flaw, Tags};

    fn prediction(number: u64, disposition: Disposition, why: &str) -> Prediction {
        let mut frames = FrameRanges::default();
        frames.add(number);
        let host = u8::try_from(number).unwrap();
        let carried = Carried::Ip {
            source: [10, 9, 0, host].into(),
            destination: [10, 9, 1, 2].into(),
            protocol: 17,
            port: Some(4739),
        };
        let key = ClassKey {
            mac: MacAddr::BROADCAST,
            tags: Tags::None,
            in_vlan: false,
            carried,
            spent: false,
            flaw: Flaw::None,
        };
        let stage = crate::outcome::Stage::Accepted;
        Prediction {
            class: Class { frames, datagrams: 1, packets: 1, ..Class::new(key) },
            disposition,
            stage,
            why: why.to_owned(),
            fix: "do this".to_owned(),
        }
    }

    #[test]
    fn many_kinds_of_packet_with_the_same_end_share_rows() {
        let filtered = Disposition::Lost(Cause::IpRpfilter);
        let no_socket = Disposition::Lost(Cause::NoSocket);
        let predictions: Vec<Prediction> = (1..=6)
            .map(|number| prediction(number, Disposition::Delivered, ""))
            .chain((7..=12).map(|number| prediction(number, filtered, &format!("no route back to 10.9.0.{number}"))))
            .chain(
                (13..=18).map(|number| prediction(number, no_socket, if number < 15 { "port 9" } else { "port 10" })),
            )
            .chain((19..=20).map(|number| prediction(number, Disposition::Kernel, "")))
            .collect();
        insta::assert_snapshot!(as_text(&predictions));
    }
}
