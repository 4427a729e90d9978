//! The ledger as a flow: a trunk that becomes narrower from stage to stage, and the losses that branch off. Start at [`svg`].

use std::fmt::Write as _;

use super::escaped;
use crate::figures::thousands;
use crate::outcome::{Amount, Ledger, Loss, Stage};
use crate::report::layout::{shortened, visible};
use crate::report::ledger::{absorbed_before, figure, losses_before, stages};

/// The picture's width; its unit is a pixel of a narrow phone.
const WIDTH: f64 = 360.0;
/// Where the names of stages end, and where the trunk begins.
const NAMES: f64 = 76.0;
const TRUNK: f64 = 86.0;
/// The trunk's width where every frame is.
const WHOLE: f64 = 84.0;
/// Where branches end, and where their text begins.
const BRANCH: f64 = 200.0;
const TEXT: f64 = 207.0;
/// The height of a stage.
const STAGE: f64 = 22.0;
/// The height of a branch at least: two lines of text.
const LINES: f64 = 34.0;
/// What is there is visible, however little it is of the whole.
const THINNEST: f64 = 2.0;
/// Columns of a cause's name.
const LONGEST_NAME: usize = 22;

/// What branches off before a stage.
struct Branch {
    frames: u64,
    class: &'static str,
    /// How many, in words.
    figure: String,
    what: String,
}

struct Picture {
    svg: String,
    /// How far down it is drawn.
    y: f64,
    /// Frames at the top.
    whole: u64,
}

/// The picture.
pub(super) fn svg(ledger: &Ledger) -> String {
    let stages = stages(ledger);
    let last_seen = stages.iter().rposition(|(_, frames)| frames.is_some()).unwrap_or_default();
    let mut picture = Picture { svg: String::new(), y: 4.0, whole: ledger.read.max(1) };
    let mut frames = ledger.read;
    for (index, (stage, count)) in stages.iter().enumerate() {
        for branch in branches(ledger, *stage, frames, count.as_ref()) {
            frames = picture.branch(frames, &branch);
        }
        match count {
            Some(count) => {
                frames = count.high();
                picture.stage(stage.name(), &figure(count), frames, if frames == 0 { "stage none" } else { "stage" });
            }
            // A later stage that can be seen says how many came by here.
            None if index < last_seen => {}
            None => picture.stage(stage.name(), "can't be seen", frames, "stage unseen"),
        }
    }
    if let Some(captured) = &ledger.captured {
        picture.stage("captured", &figure(captured), captured.high(), "stage");
    }
    let words: Vec<_> = stages
        .iter()
        .filter_map(|(stage, count)| count.as_ref().map(|count| format!("{} {}", figure(count), stage.name())))
        .collect();
    format!(
        "<svg class=\"flow\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
        picture.y + 4.0,
        escaped(&words.join(", ")),
        picture.svg
    )
}

/// What did not reach a stage, of so many frames.
fn branches(ledger: &Ledger, stage: Stage, frames: u64, count: Option<&Amount>) -> Vec<Branch> {
    let losses = losses_before(ledger, &[stage]);
    let mut branches: Vec<_> = losses.iter().map(|loss| of_loss(loss)).collect();
    if stage == Stage::Selected && losses.is_empty() {
        let left_out = frames.saturating_sub(count.map_or(frames, Amount::high));
        let figure = format!("−{}", thousands(left_out));
        branches.push(Branch { frames: left_out, class: "left", figure, what: "not selected".to_owned() });
    }
    branches.extend(absorbed_before(ledger, &[stage]).map(|absorbed| Branch {
        frames: absorbed.frames.high(),
        class: "left",
        figure: format!("−{}", figure(&absorbed.frames)),
        what: "for its kernel, no loss".to_owned(),
    }));
    branches.retain(|branch| branch.frames > 0);
    branches
}

fn of_loss(loss: &Loss) -> Branch {
    let cause = visible(loss.cause.name());
    Branch {
        frames: loss.frames.high(),
        class: if loss.expected { "left" } else { "lost" },
        figure: format!("−{}{}", figure(&loss.frames), if loss.expected { " (expected)" } else { "" }),
        what: shortened(&cause, LONGEST_NAME).into_owned(),
    }
}

impl Picture {
    /// How wide so many frames are.
    #[expect(clippy::cast_precision_loss, reason = "a width in pixels")]
    fn width(&self, frames: u64) -> f64 {
        if frames == 0 { 0.0 } else { (WHOLE * frames as f64 / self.whole as f64).clamp(THINNEST, WHOLE) }
    }

    fn stage(&mut self, name: &str, figure: &str, frames: u64, class: &str) {
        let (y, width) = (self.y, self.width(frames).max(1.0));
        let _infallible = write!(
            self.svg,
            "<rect class=\"{class}\" x=\"{TRUNK}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{STAGE}\"/>\
             <text class=\"name\" x=\"{NAMES}\" y=\"{:.1}\">{name}</text>\
             <text class=\"figure\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            y + 15.0,
            TRUNK + WHOLE + 8.0,
            y + 15.0,
            escaped(figure),
        );
        self.y += STAGE;
    }

    /// Draws what branches off of so many frames; how many are left.
    fn branch(&mut self, frames: u64, branch: &Branch) -> u64 {
        let left = frames.saturating_sub(branch.frames);
        let thick = self.width(branch.frames).min(self.width(frames));
        let height = (thick + 8.0).max(LINES);
        let (top, right) = (self.y, TRUNK + self.width(frames));
        let (inner, upper) = (right - thick, self.y + (height - thick) / 2.0);
        let lower = upper + thick;
        let middle = upper + thick / 2.0;
        let _infallible = write!(
            self.svg,
            "<path class=\"{}\" d=\"M{inner:.1} {top:.1}Q{inner:.1} {lower:.1} {:.1} {lower:.1}H{BRANCH}V{upper:.1}H{:.1}\
             Q{right:.1} {upper:.1} {right:.1} {top:.1}Z\"/>\
             <text class=\"figure {}\" x=\"{TEXT}\" y=\"{:.1}\">{}</text><text class=\"cause\" x=\"{TEXT}\" y=\"{:.1}\">{}</text>",
            branch.class,
            right + 6.0,
            right + 6.0,
            branch.class,
            middle - 2.0,
            escaped(&branch.figure),
            middle + 11.0,
            escaped(&branch.what),
        );
        // Over the branch, so that a thin one leaves no notch.
        if left > 0 {
            let width = self.width(left);
            let _infallible = write!(
                self.svg,
                "<rect class=\"stage\" x=\"{TRUNK}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
        }
        self.y += height;
        left
    }
}
