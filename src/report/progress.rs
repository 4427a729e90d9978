//! What is running, on a terminal's standard error: one line for each scenario, fed by its worker's events.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{padded, scaled, thousands, visible};
use crate::outcome::Event;

/// Lines are drawn again this often though nothing has come in, so that the clock goes on.
const TICK: Duration = Duration::from_millis(200);

/// The lines on the terminal, or nothing at all where there is none.
#[derive(Debug)]
pub struct Progress {
    bars: MultiProgress,
    running: Vec<Running>,
    name_width: usize,
}

/// One scenario.
#[derive(Debug)]
struct Running {
    name: String,
    bar: Option<Bar>,
    state: State,
}

#[derive(Debug)]
struct Bar {
    line: ProgressBar,
    replaying_since: Option<Instant>,
}

/// What is known of a scenario that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    phase: String,
    frames: Option<u64>,
    sent: u64,
    arrived: u64,
}

impl Progress {
    /// Lines on standard error. `names`: of the scenarios, by index; `name_width`: columns for them.
    pub fn on_terminal(names: impl IntoIterator<Item = String>, name_width: usize) -> Self {
        Self::on(ProgressDrawTarget::stderr(), names, name_width)
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self::on(ProgressDrawTarget::hidden(), [], 0)
    }

    fn on(target: ProgressDrawTarget, names: impl IntoIterator<Item = String>, name_width: usize) -> Self {
        let running = names.into_iter().map(|name| Running { name, bar: None, state: State::default() });
        Self { bars: MultiProgress::with_draw_target(target), running: running.collect(), name_width }
    }

    /// A worker has told something.
    pub fn event(&mut self, index: usize, event: &Event) {
        let Some(running) = self.running.get_mut(index) else { return };
        if let Event::Ended { .. } = event {
            if let Some(bar) = running.bar.take() {
                bar.line.finish_and_clear();
                self.bars.remove(&bar.line);
            }
            return;
        }
        let bar = running.bar.get_or_insert_with(|| {
            let line = self.bars.add(ProgressBar::new_spinner());
            line.set_style(style());
            line.set_prefix(padded(&visible(&running.name), self.name_width));
            line.enable_steady_tick(TICK);
            Bar { line, replaying_since: None }
        });
        running.state.take(event);
        if running.state.phase == "replay" {
            bar.replaying_since.get_or_insert_with(Instant::now);
        }
        bar.line.set_message(running.state.text(bar.replaying_since.map(|since| since.elapsed())));
    }

    /// Runs `print` while the lines are away, so that what it prints stays above them.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bars.suspend(print)
    }

    /// Takes every line away.
    pub fn end(&mut self) {
        for bar in self.running.iter_mut().filter_map(|running| running.bar.take()) {
            bar.line.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner:.green}        {prefix}  {elapsed:>4}  {wide_msg}")
        .expect("the template is a constant")
}

impl State {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Planned { frames, .. } => self.frames = Some(*frames),
            Event::Phase { name } => self.phase.clone_from(name),
            Event::Progress { sent, arrived } => (self.sent, self.arrived) = (*sent, *arrived),
            Event::Ended { .. } => {}
        }
    }

    /// Phase, frames sent of all, arrived, and the rate since the replay began.
    fn text(&self, replaying: Option<Duration>) -> String {
        let phase = visible(&self.phase);
        let Some(replaying) = replaying else { return phase.into_owned() };
        let of = self.frames.map_or_else(String::new, |frames| format!("/{}", thousands(frames)));
        let mut text = format!("{phase}  {}{of} sent  {} arrived", thousands(self.sent), thousands(self.arrived));
        // Once the replay is over the time goes on and the frames don't: no rate then.
        if self.phase == "replay" && replaying >= TICK {
            #[expect(clippy::cast_precision_loss, reason = "a rate of three digits")]
            let rate = self.sent as f64 / replaying.as_secs_f64();
            text.push_str("  ");
            text.push_str(&scaled(rate, "pps"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(events: &[Event]) -> State {
        let mut state = State::default();
        for event in events {
            state.take(event);
        }
        state
    }

    fn phase(name: &str) -> Event {
        Event::Phase { name: name.to_owned() }
    }

    #[test]
    fn before_the_replay_only_the_phase_is_known() {
        let state = after(&[phase("lab")]);
        assert_eq!(state.text(None), "lab");
    }

    #[test]
    fn the_replay_shows_how_far_it_is_and_how_fast() {
        let planned = Event::Planned { frames: 5548, seconds: Some(2.0), timeout: 32.0 };
        let state = after(&[planned, phase("replay"), Event::Progress { sent: 2774, arrived: 2770 }]);
        assert_eq!(state.text(Some(Duration::from_secs(1))), "replay  2,774/5,548 sent  2,770 arrived  2.77 kpps");
        assert_eq!(state.text(Some(Duration::from_millis(1))), "replay  2,774/5,548 sent  2,770 arrived");
    }

    #[test]
    fn after_the_replay_there_is_no_rate() {
        let state = after(&[phase("replay"), Event::Progress { sent: 10, arrived: 10 }, phase("settle")]);
        assert_eq!(state.text(Some(Duration::from_secs(9))), "settle  10 sent  10 arrived");
    }

    #[test]
    fn without_a_terminal_events_draw_nothing_and_printing_goes_on() {
        let mut progress = Progress::hidden();
        progress.event(3, &phase("lab"));
        assert_eq!(progress.aside(|| 7), 7);
        progress.end();
    }

    #[test]
    fn the_template_is_one() {
        let _style = style();
    }
}
