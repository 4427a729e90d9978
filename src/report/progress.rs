//! What is running: on a terminal one line for each scenario on standard error, fed by its worker's events; and the same
//! lines as text for whoever asks, terminal or not.
//!
//! How far a scenario is, is in `State`, which knows no terminal and no clock.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::layout::{padded, visible};
use super::text::MARGIN;
use super::{Look, Role, paint};
use crate::figures::{duration, scaled, thousands};
use crate::outcome::Event;

/// Lines are drawn again this often though nothing has come in, so that the clock goes on.
const TICK: Duration = Duration::from_millis(200);

/// The rest of a replay that is named.
const WORTH_SAYING: Duration = Duration::from_secs(5);

/// A frame that has not arrived so long after it was sent is lost, for as long as it doesn't.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What runs, and its lines on the terminal if there is one.
#[derive(Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
    scenarios: Vec<Scenario>,
    name_width: usize,
    began: Instant,
}

/// One scenario.
#[derive(Debug)]
struct Scenario {
    name: String,
    bar: Option<ProgressBar>,
    /// While it runs.
    state: Option<State>,
    /// When it was started, and after how many periods it was named as a slow one.
    started: Duration,
    named: u32,
}

/// What is known of a scenario that runs. Times are those since the run began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    /// Empty until the worker has reported one.
    phase: String,
    frames: Option<u64>,
    /// How long the replay is planned to take.
    planned: Option<Duration>,
    replaying_since: Option<Duration>,
    sent: u64,
    arrived: Option<u64>,
    /// When how many had been sent: the last of those [`UNDER_WAY`] and longer ago, and all younger ones.
    history: VecDeque<(Duration, u64)>,
}

impl Progress {
    /// Lines on standard error. `names`: of the scenarios, by index; `name_width`: columns for them.
    pub fn on_terminal(names: impl IntoIterator<Item = String>, name_width: usize) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { bars: Some(bars), ..Self::hidden(names, name_width) }
    }

    /// Shows nothing unless it is asked. The arguments are those of [`Self::on_terminal`].
    pub fn hidden(names: impl IntoIterator<Item = String>, name_width: usize) -> Self {
        let scenario = |name| Scenario { name, bar: None, state: None, started: Duration::ZERO, named: 0 };
        Self { bars: None, scenarios: names.into_iter().map(scenario).collect(), name_width, began: Instant::now() }
    }

    /// A worker has been started.
    pub fn started(&mut self, index: usize) {
        let now = self.began.elapsed();
        let Some(scenario) = self.scenarios.get_mut(index) else { return };
        (scenario.started, scenario.named) = (now, 0);
        let state = scenario.state.insert(State::default());
        if let Some(bars) = &self.bars {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style());
            bar.set_prefix(padded(&visible(&scenario.name), self.name_width));
            bar.set_message(state.text(Duration::ZERO));
            bar.enable_steady_tick(TICK);
            scenario.bar = Some(bar);
        }
    }

    /// A worker that was started has reported something.
    pub fn event(&mut self, index: usize, event: &Event) {
        if let Event::Ended { .. } = event {
            return self.over(index);
        }
        let now = self.began.elapsed();
        let Some(scenario) = self.scenarios.get_mut(index) else { return };
        let Some(state) = &mut scenario.state else { return };
        state.take(event, now);
        if let Some(bar) = &scenario.bar {
            bar.set_message(state.text(now));
        }
    }

    /// A scenario runs no more.
    pub fn over(&mut self, index: usize) {
        let Some(scenario) = self.scenarios.get_mut(index) else { return };
        scenario.state = None;
        if let Some(bar) = scenario.bar.take() {
            bar.finish_and_clear();
            if let Some(bars) = &self.bars {
                bars.remove(&bar);
            }
        }
    }

    /// A line for each scenario that runs: its name, and how far it is.
    pub fn status(&self) -> String {
        let now = self.began.elapsed();
        let mut lines = String::new();
        for scenario in &self.scenarios {
            if let Some(state) = &scenario.state {
                let _infallible = writeln!(lines, "{}: {}", visible(&scenario.name), state.text(now));
            }
        }
        lines
    }

    /// A line for each scenario that has run for one period more since it was started or named here last.
    pub fn slow(&mut self, period: Duration, look: Look) -> String {
        self.slow_at(self.began.elapsed(), period, look)
    }

    fn slow_at(&mut self, now: Duration, period: Duration, look: Look) -> String {
        let mut lines = String::new();
        for scenario in &mut self.scenarios {
            let Some(state) = &scenario.state else { continue };
            let due = period.saturating_mul(scenario.named.saturating_add(1));
            if now.saturating_sub(scenario.started) < due {
                continue;
            }
            scenario.named = scenario.named.saturating_add(1);
            let mark = paint(look.style, Role::Odd, &padded("slow", MARGIN));
            let name = padded(&visible(&scenario.name), self.name_width);
            let _infallible = writeln!(lines, "{mark}{name}  > {}  {}", duration(due), state.text(now));
        }
        lines
    }

    /// Runs `print` while the lines are away, so that what it prints stays above them.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Takes every line away.
    pub fn end(&mut self) {
        for index in 0..self.scenarios.len() {
            self.over(index);
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner:.green}        {prefix}  {elapsed:>4}  {wide_msg}")
        .expect("the template is a constant")
}

impl State {
    fn take(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Planned { frames, seconds, .. } => {
                self.frames = Some(*frames);
                self.planned = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            }
            Event::Phase { name } => {
                self.phase.clone_from(name);
                // A search replays more than once, and counts anew each time.
                if self.replays() {
                    (self.replaying_since, self.sent, self.arrived) = (Some(now), 0, None);
                    self.history.clear();
                }
            }
            Event::Progress { sent, arrived } => {
                (self.sent, self.arrived) = (*sent, *arrived);
                self.history.push_back((now, *sent));
                let long_ago = |(at, _): &(Duration, u64)| now.saturating_sub(*at) >= UNDER_WAY;
                while self.history.get(1).is_some_and(long_ago) {
                    self.history.pop_front();
                }
            }
            Event::Output { .. } | Event::Kept { .. } | Event::Ended { .. } => {}
        }
    }

    fn replays(&self) -> bool {
        self.phase == "replay"
    }

    /// So many at least are lost: those that had been sent [`UNDER_WAY`] before the last news, less all that have arrived.
    ///
    /// What was sent since counts as under way, so that nothing is lost for a moment only. In return what arrived of it
    /// hides as many that are lost: this is never too much, and the ledger has all. 0 where the wire can't be seen.
    fn lost(&self) -> u64 {
        let (Some(arrived), Some((then, sent)), Some((last, _))) =
            (self.arrived, self.history.front(), self.history.back())
        else {
            return 0;
        };
        if last.saturating_sub(*then) < UNDER_WAY { 0 } else { sent.saturating_sub(arrived) }
    }

    /// The phase; from the replay on also the frames sent, of all, and their share, those that have arrived and those that
    /// are lost; and while it goes on the rate since its beginning.
    fn text(&self, now: Duration) -> String {
        // The first thing that a worker does.
        let phase = if self.phase.is_empty() { "plan".into() } else { visible(&self.phase) };
        let Some(since) = self.replaying_since else { return phase.into_owned() };
        let mut text = format!("{phase}  {}", thousands(self.sent));
        match self.frames {
            Some(frames) if frames > 0 => {
                let percent = self.sent.saturating_mul(100) / frames;
                let _infallible = write!(text, "/{} sent ({percent} %)", thousands(frames));
            }
            _ => text.push_str(" sent"),
        }
        if let Some(arrived) = self.arrived {
            let _infallible = write!(text, "  {} arrived", thousands(arrived));
        }
        let lost = self.lost();
        if lost > 0 {
            let _infallible = write!(text, "  {} lost", thousands(lost));
        }
        // Once the replay is over the time goes on and the frames don't: no rate then.
        let replaying = now.saturating_sub(since);
        if self.replays() && replaying >= TICK {
            #[expect(clippy::cast_precision_loss, reason = "a rate of three digits")]
            let rate = self.sent as f64 / replaying.as_secs_f64();
            text.push_str("  ");
            text.push_str(&scaled(rate, "pps"));
            if let Some(left) =
                self.planned.and_then(|planned| planned.checked_sub(replaying)).filter(|left| *left >= WORTH_SAYING)
            {
                let _infallible = write!(text, "  {} left", duration(Duration::from_secs(left.as_secs())));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The state after these events, each at its time in milliseconds.
    fn after(events: &[(u64, Event)]) -> State {
        let mut state = State::default();
        for (at, event) in events {
            state.take(event, ms(*at));
        }
        state
    }

    fn phase(name: &str) -> Event {
        Event::Phase { name: name.to_owned() }
    }

    fn planned(frames: u64) -> Event {
        Event::Planned { frames, seconds: Some(2.0), timeout: 32.0 }
    }

    fn progress(sent: u64, arrived: u64) -> Event {
        Event::Progress { sent, arrived: Some(arrived) }
    }

    #[test]
    fn before_the_replay_only_the_phase_is_known() {
        assert_eq!(State::default().text(ms(7)), "plan");
        assert_eq!(after(&[(0, planned(3)), (1, phase("lab"))]).text(ms(7)), "lab");
    }

    #[test]
    fn the_replay_shows_how_far_it_is_and_how_fast() {
        let state = after(&[(0, planned(5548)), (500, phase("replay")), (501, progress(2774, 2770))]);
        assert_eq!(state.text(ms(1500)), "replay  2,774/5,548 sent (50 %)  2,770 arrived  2.77 kpps");
        assert_eq!(state.text(ms(501)), "replay  2,774/5,548 sent (50 %)  2,770 arrived");
    }

    #[test]
    fn a_long_replay_shows_how_long_it_still_takes() {
        let event = Event::Planned { frames: 100, seconds: Some(60.0), timeout: 90.0 };
        let state = after(&[(0, event), (0, phase("replay")), (10_000, progress(17, 17))]);
        assert_eq!(state.text(ms(10_000)), "replay  17/100 sent (17 %)  17 arrived  1.7 pps  50 s left");
        assert_eq!(state.text(ms(58_000)), "replay  17/100 sent (17 %)  17 arrived  0.29 pps");
    }

    #[test]
    fn all_but_one_frame_is_not_yet_everything() {
        let state = after(&[(0, planned(1000)), (0, phase("replay")), (1, progress(999, 999))]);
        assert_eq!(state.text(ms(1)), "replay  999/1,000 sent (99 %)  999 arrived");
    }

    #[test]
    fn after_the_replay_there_is_no_rate() {
        let state = after(&[(0, phase("replay")), (1, progress(10, 10)), (2, phase("settle"))]);
        assert_eq!(state.text(ms(9000)), "settle  10 sent  10 arrived");
    }

    #[test]
    fn what_is_under_way_is_not_lost() {
        let sent_just_now = after(&[(0, phase("replay")), (10, progress(1, 0)), (3010, progress(2, 1))]);
        assert_eq!(sent_just_now.lost(), 0);
        // The clock alone loses nothing: what arrived since was not reported yet.
        assert_eq!(
            after(&[(0, phase("replay")), (10, progress(5, 4))]).text(ms(9000)),
            "replay  5 sent  4 arrived  0.56 pps"
        );
    }

    #[test]
    fn what_has_not_arrived_after_a_second_is_lost() {
        let mut state = after(&[(0, phase("replay")), (100, progress(50, 40)), (600, progress(90, 45))]);
        assert_eq!(state.lost(), 0);
        state.take(&progress(100, 46), ms(1100));
        assert_eq!(state.lost(), 50 - 46);
        state.take(&progress(100, 46), ms(2100));
        assert_eq!(state.text(ms(2100)), "replay  100 sent  46 arrived  54 lost  47.6 pps");
        // Late, but not lost.
        state.take(&progress(100, 100), ms(2200));
        assert_eq!(state.lost(), 0);
    }

    #[test]
    fn a_wire_that_cannot_be_seen_has_neither_arrivals_nor_losses() {
        let unseen = |sent| Event::Progress { sent, arrived: None };
        let state = after(&[(0, phase("replay")), (1, unseen(10)), (3001, unseen(10)), (3002, phase("settle"))]);
        assert_eq!(state.text(ms(4000)), "settle  10 sent");
    }

    #[test]
    fn a_second_replay_counts_anew() {
        let first = [(0, phase("replay")), (1, progress(10, 0)), (2001, progress(10, 0)), (2002, phase("settle"))];
        let mut state = after(&first);
        assert_eq!(state.lost(), 10);
        state.take(&phase("replay"), ms(3000));
        state.take(&progress(20, 20), ms(4000));
        assert_eq!(state.text(ms(4000)), "replay  20 sent  20 arrived  20 pps");
    }

    #[test]
    fn only_what_runs_has_a_status() {
        let mut progress = Progress::hidden(["one".to_owned(), "two".to_owned(), "three\u{1b}".to_owned()], 0);
        assert_eq!(progress.status(), "");
        progress.started(0);
        progress.started(2);
        progress.event(2, &phase("lab"));
        assert_eq!(progress.status(), "one: plan\nthree\\u{1b}: lab\n");
        progress.over(0);
        progress.event(0, &phase("lab"));
        progress.end();
        assert_eq!(progress.status(), "");
    }

    #[test]
    fn a_scenario_is_slow_after_each_period() {
        let mut progress = Progress::hidden(["one".to_owned(), "second".to_owned()], 6);
        progress.started(0);
        progress.started(1);
        progress.scenarios[0].started = ms(0);
        progress.scenarios[1].started = ms(5000);
        progress.event(0, &phase("lab"));
        let mut at = |seconds: u64| progress.slow_at(ms(seconds * 1000), ms(60_000), Look::FILE);
        assert_eq!(at(59), "");
        assert_eq!(at(60), "slow     one     > 60 s  lab\n");
        assert_eq!(at(61), "");
        assert_eq!(at(65), "slow     second  > 60 s  plan\n");
        assert_eq!(at(130), "slow     one     > 2 min  lab\nslow     second  > 2 min  plan\n");
        progress.over(0);
        assert_eq!(progress.slow_at(ms(190_000), ms(60_000), Look::FILE), "slow     second  > 3 min  plan\n");
        progress.started(0);
        assert_eq!(progress.scenarios[0].named, 0);
    }

    #[test]
    fn without_a_terminal_nothing_is_drawn() {
        let mut progress = Progress::hidden([], 0);
        progress.started(3);
        progress.event(3, &phase("lab"));
        assert_eq!(progress.aside(|| 7), 7);
        progress.end();
    }

    #[test]
    fn the_template_is_one() {
        let _style = style();
    }
}
