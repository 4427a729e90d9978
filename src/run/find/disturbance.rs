//! What took time from a trial: another virtual machine, or processes that kept a thread from running (proc(5)).
//!
//! Start at [`Load::now`].

use std::fs;
use std::time::Instant;

/// Above this share of stolen time (`steal` of /proc/stat) a trial is disturbed.
const MOST_STOLEN: f64 = 0.02;
/// Above this share of its time that a thread waits for a processor, a trial is disturbed.
const MOST_WAITED: f64 = 0.25;
/// Times of /proc/stat are in hundredths of a second (`USER_HZ`).
const TICK_SECONDS: f64 = 0.01;

/// What was taken until now.
pub(super) struct Load {
    at: Instant,
    stolen_ticks: Option<u64>,
    /// For each thread that is looked at, how long it waited for a processor so far.
    waited_ns: Vec<(String, u64)>,
}

impl Load {
    pub(super) fn now(pids: &[u32]) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            at: Instant::now(),
            stolen_ticks: stolen(&stat),
            waited_ns: pids.iter().flat_map(|pid| waited(*pid)).collect(),
        }
    }

    /// What was taken since then; `None` where it is little.
    pub(super) fn disturbance_since(&self, before: &Self) -> Option<String> {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(1e-3);
        if let (Some(now), Some(then)) = (self.stolen_ticks, before.stolen_ticks) {
            let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            #[expect(clippy::cast_precision_loss, reason = "ticks of seconds, and a few processors")]
            let share = now.saturating_sub(then) as f64 * TICK_SECONDS / seconds / processors as f64;
            if share > MOST_STOLEN {
                return Some(format!("the host took {:.0} % of the processors' time", share * 100.0));
            }
        }
        let waited = self.waited_ns.iter().filter_map(|(thread, now)| {
            let then = before.waited_ns.iter().find(|(other, _)| other == thread)?.1;
            Some(now.saturating_sub(then))
        });
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
        let share = waited.max().unwrap_or(0) as f64 / 1e9 / seconds;
        (share > MOST_WAITED).then(|| format!("a thread waited {:.0} % of the time for a processor", share * 100.0))
    }
}

/// `steal` of the first line: cpu user nice system idle iowait irq softirq steal …
fn stolen(stat: &str) -> Option<u64> {
    stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()
}

/// Of each thread of a process, its path and the second number of `schedstat`; nothing where the kernel keeps none.
fn waited(pid: u32) -> Vec<(String, u64)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let of = |task: std::io::Result<fs::DirEntry>| {
        let path = task.ok()?.path().join("schedstat");
        let text = fs::read_to_string(&path).ok()?;
        Some((path.display().to_string(), text.split_whitespace().nth(1)?.parse().ok()?))
    };
    tasks.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Load, stolen};

    #[test]
    fn steal_is_the_eighth_number() {
        assert_eq!(stolen("cpu  109033 0 9020 156504 766 0 65 77 0 0\ncpu0 1"), Some(77));
        assert_eq!(stolen("cpu  1 2 3"), None);
        assert_eq!(stolen(""), None);
    }

    #[test]
    fn stolen_and_waited_time_disturb_above_a_share() {
        let at = Instant::now();
        let before = Load { at, stolen_ticks: Some(5), waited_ns: vec![("a".to_owned(), 7), ("gone".to_owned(), 0)] };
        let after = |ticks: u64, waited_ns: u64| {
            let now = Load {
                at: at + Duration::from_secs(1),
                stolen_ticks: Some(5 + ticks),
                waited_ns: vec![("a".to_owned(), 7 + waited_ns), ("new".to_owned(), u64::MAX)],
            };
            now.disturbance_since(&before)
        };
        assert_eq!(after(0, 240_000_000), None);
        assert_eq!(after(0, 300_000_000).as_deref(), Some("a thread waited 30 % of the time for a processor"));
        assert!(after(10_000, 0).is_some_and(|text| text.starts_with("the host took")));
    }
}
