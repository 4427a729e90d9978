//! Frames by time, and how late they were, as bars. Start at [`over_time`].

use std::fmt::Write as _;

use super::escaped;
use crate::figures::{count, scaled, seconds, thousands};
use crate::outcome::{LatenessBucket, OverTime};

/// The pictures' size; its unit is a pixel of a narrow phone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 150.0;
/// Where bars begin and end, and between which heights they are drawn.
const LEFT: f64 = 4.0;
const RIGHT: f64 = 356.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 128.0;

/// Sent frames as bars, with the part of them that was lost; arrived ones as a line.
pub(super) fn over_time(times: &OverTime) -> String {
    let arrived = times.arrived.as_deref().unwrap_or_default();
    let lost = times.lost.as_deref().unwrap_or_default();
    let most = times.sent.iter().chain(arrived).copied().max().unwrap_or_default().max(1);
    let width = (RIGHT - LEFT) / whole(times.sent.len().max(1) as u64);
    let mut bars = String::new();
    let mut line = String::new();
    for (place, sent) in times.sent.iter().enumerate() {
        let x = LEFT + width * whole(place as u64);
        let at = |list: &[u64]| list.get(place).copied();
        let from = seconds(times.bucket_seconds * whole(place as u64));
        let mut title = format!("at {from}: {} sent", thousands(*sent));
        if let Some(arrived) = at(arrived) {
            let _infallible = write!(title, ", {} arrived", thousands(arrived));
            let _infallible = write!(line, " {:.1},{:.1}", x + width / 2.0, height(arrived, most));
        }
        if let Some(lost) = at(lost) {
            let _infallible = write!(title, ", {} of them lost", thousands(lost));
        }
        let lost = at(lost).unwrap_or_default().min(*sent);
        let _infallible = write!(bars, "<g><title>{title}</title>");
        bar(&mut bars, "through", x, width, height(sent - lost, most), BOTTOM);
        bar(&mut bars, "lost", x, width, height(*sent, most), height(sent - lost, most));
        bars.push_str("</g>");
    }
    if !line.is_empty() {
        let _infallible = write!(bars, "<polyline class=\"arrived\" points=\"{}\"/>", line.trim_start());
    }
    let duration = times.bucket_seconds * whole(times.sent.len() as u64);
    let rate = scaled(whole(most) / times.bucket_seconds.max(f64::MIN_POSITIVE), "pps");
    let labels = format!(
        "{}{}{}{}",
        label("start", LEFT, TOP - 7.0, &rate),
        label("start", LEFT, HEIGHT - 6.0, "0"),
        label("middle", f64::midpoint(LEFT, RIGHT), HEIGHT - 6.0, &seconds(duration / 2.0)),
        label("end", RIGHT, HEIGHT - 6.0, &seconds(duration))
    );
    let sent: u64 = times.sent.iter().sum();
    chart(&format!("{} sent in {}, at most {rate}", count(sent, "frame"), seconds(duration)), &bars, &labels)
}

/// How many sends were how late.
pub(super) fn lateness(buckets: &[LatenessBucket]) -> String {
    let most = buckets.iter().map(|bucket| bucket.frames).max().unwrap_or_default().max(1);
    let width = (RIGHT - LEFT) / whole(buckets.len().max(1) as u64);
    let mut bars = String::new();
    let mut labels = label("start", LEFT, TOP - 7.0, &count(most, "frame"));
    // Labels are some 48 pixels wide.
    let every = buckets.len().div_ceil(7).max(1);
    for (place, bucket) in buckets.iter().enumerate() {
        let x = LEFT + width * whole(place as u64);
        let below = seconds(bucket.below_us / 1e6);
        let _infallible = write!(bars, "<g><title>below {below}: {}</title>", count(bucket.frames, "frame"));
        let top = if bucket.frames == 0 { BOTTOM } else { height(bucket.frames, most).min(BOTTOM - 1.0) };
        bar(&mut bars, "late", x, width, top, BOTTOM);
        bars.push_str("</g>");
        if (place + 1) % every == 0 {
            labels.push_str(&label("end", x + width, HEIGHT - 6.0, &below));
        }
    }
    chart("how many frames were off their schedule by how much", &bars, &labels)
}

fn chart(words: &str, bars: &str, labels: &str) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{bars}\
         <path class=\"axis\" d=\"M{LEFT} {BOTTOM}H{RIGHT}\"/>{labels}</svg>",
        escaped(words)
    )
}

fn label(anchor: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text))
}

/// A bar with a gap to the next one, where there is room for it.
fn bar(svg: &mut String, class: &str, x: f64, width: f64, top: f64, bottom: f64) {
    if bottom - top > 0.05 {
        let gap = if width > 4.0 { 1.0 } else { 0.0 };
        let _infallible = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            width - gap,
            bottom - top
        );
    }
}

/// Where the top of a bar of so many is.
fn height(frames: u64, most: u64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * whole(frames) / whole(most)
}

#[expect(clippy::cast_precision_loss, reason = "a length in pixels")]
fn whole(number: u64) -> f64 {
    number as f64
}
