//! A run that is killed leaves nothing behind. Start at [`trials`].

use std::thread::sleep;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::common::{User, restage};
use crate::place::Place;
use crate::trial;
use crate::words::scenario;

/// So many moments, each so much later than the one before. All of them together are longer than a run.
const MOMENTS: u32 = 24;
const LATER: Duration = Duration::from_millis(23);

pub(crate) fn trials(users: &[User]) -> Vec<Trial> {
    let trial = |user: User| {
        trial(format!("a run that is killed leaves nothing in the namespace, as {user:?}"), move || killed(user))
    };
    users.iter().copied().map(trial).collect()
}

fn killed(user: User) {
    let mut place = Place::new(user);
    place.start("reads", 4739);
    let before = place.state();
    let rest = "[pacing]\nrate = \"every 10ms\"\n[expect]\nconsumed = \"all\"\n";
    let path = scenario(&place, "s", &format!("pid:{}", place.pid()), rest);
    let mut there = 0;
    for moment in 0..MOMENTS {
        // The program itself, and not another one that starts it: it becomes the user's before it is executed.
        let mut run = restage(user).arg("run").arg(&path).stdout(std::process::Stdio::null()).spawn().expect("it runs");
        sleep(LATER * moment);
        there += u32::from(place.shell("ip -o link").contains("restage0"));
        for pid in workers(run.id()).into_iter().chain([run.id()]) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(pid).expect("it is small")),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        let _ = run.wait();
        place.await_state(&before);
    }
    assert!(there >= 5, "in {there} of {MOMENTS} moments only the interface was there: other moments are needed");
}

/// The processes that this one started.
fn workers(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
