//! The words of `[receiver] at`, and what goes with them. Start at [`trials`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::common::small::{capture, datagrams};
use crate::common::{User, both, restage, run, stage};
use crate::place::{OWN, Place, is_plain_root};
use crate::trial;

/// So many frames each run sends.
const FRAMES: usize = 30;

pub(crate) fn trials(users: &[User]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for user in users.iter().copied() {
        trials.extend([
            trial(format!("a process names its namespace, as {user:?}"), move || of_a_process(user)),
            trial(format!("a program is started there, as {user:?}"), move || a_program(user)),
            trial(format!("preconditions are those of the namespace, as {user:?}"), move || preconditions(user)),
            trial(format!("a plan knows what is there, as {user:?}"), move || a_plan(user)),
            trial(format!("steps, commands and replies work there, as {user:?}"), move || steps(user)),
        ]);
        if is_plain_root(user) {
            trials.push(trial("a name names its namespace", named));
            trials.push(trial("the host is its own namespace, if that is allowed", host));
            trials.push(trial("two runs are not in one namespace", two_runs));
        }
    }
    trials
}

/// A scenario of [`FRAMES`] datagrams to port 4739 of 10.20.9.9, in the place's folder.
pub(crate) fn scenario(place: &Place, name: &str, at: &str, rest: &str) -> PathBuf {
    scenario_in(&place.folder, name, at, rest)
}

/// The same in another folder.
pub(crate) fn scenario_in(folder: &Path, name: &str, at: &str, rest: &str) -> PathBuf {
    let frames = capture(&datagrams(FRAMES), 1000);
    fs::write(folder.join("in.pcap"), frames).expect("it can be written");
    let path = folder.join(name).with_extension("toml");
    let text = format!("format = 1\n[capture]\nfile = \"in.pcap\"\n[receiver]\nat = \"{at}\"\n{rest}");
    fs::write(&path, text).expect("it can be written");
    path
}

fn passes(user: User, path: &Path, arguments: &[&str]) -> Value {
    let ran = run(user, arguments.iter().map(AsRef::as_ref).chain([path.as_os_str()]));
    assert_eq!(ran.status, 0, "{}", ran.text);
    let ledger = ran.report["scenarios"][0]["ledger"].clone();
    assert_eq!(ledger["consumed"], FRAMES, "{}", ran.text);
    ledger
}

fn of_a_process(user: User) {
    let mut place = Place::new(user);
    place.start("reads", 4739);
    let before = place.state();
    let at = format!("pid:{}", place.pid());
    passes(user, &scenario(&place, "s", &at, "listens = [\"udp:4739\"]\n[expect]\nconsumed = \"all\"\n"), &[]);
    // What a run changed is as it was when it has ended.
    assert_eq!(place.state(), before);
    let elsewhere = scenario(&place, "t", &at, "listens = [\"udp:4740\"]\n[expect]\nconsumed = \"all\"\n");
    let ran = run(user, [elsewhere]);
    assert_eq!(ran.status, 3, "{}", ran.text);
    assert!(ran.text.contains("nothing listens on `udp:4740` where the receiver is"), "{}", ran.text);
    assert_eq!(place.state(), before);
}

fn named() {
    let mut place = Place::new(User::Caller);
    place.start("reads", 4739);
    let name = format!("restage-test-{}", place.pid());
    let ip = |words: &[&str]| assert!(Command::new("ip").args(words).status().is_ok_and(|status| status.success()));
    ip(&["netns", "attach", &name, &place.pid().to_string()]);
    let path = scenario(&place, "s", &format!("netns:{name}"), "[expect]\nconsumed = \"all\"\n");
    passes(User::Caller, &path, &[]);
    ip(&["netns", "del", &name]);
    let ran = run(User::Caller, [path]);
    assert_eq!(ran.status, 3, "{}", ran.text);
    assert!(ran.text.contains(&format!("there is no network namespace `{name}`")), "{}", ran.text);
}

fn host() {
    let mut place = Place::new(User::Caller);
    place.start("reads", 4739);
    let before = place.state();
    // A process in it names it, too.
    for at in ["host".to_owned(), format!("pid:{}", place.pid())] {
        let path = scenario(&place, "s", &at, "[expect]\nconsumed = \"all\"\n");
        let here = |arguments: &[&str]| {
            let mut command = place.inside(stage().join("restage"));
            both(&command.arg("run").args(arguments).arg(&path).env("NO_COLOR", "1").output().expect("restage runs"))
        };
        let refused = here(&[]);
        assert!(refused.contains("is not allowed") && refused.contains("--allow-host"), "{refused}");
        assert_eq!(place.state(), before);
        let ran = here(&["--allow-host"]);
        assert!(ran.starts_with("pass     s") && ran.contains("30 consumed"), "{ran}");
        assert_eq!(place.state(), before);
    }
}

fn two_runs() {
    let mut place = Place::new(User::Caller);
    place.start("reads", 4739);
    let at = format!("pid:{}", place.pid());
    let slow = scenario(&place, "slow", &at, "[pacing]\nrate = \"every 100ms\"\n[expect]\nconsumed = \"all\"\n");
    let mut first = restage(User::Caller).arg("run").arg(&slow).spawn().expect("restage runs");
    crate::place::await_that("the first run", || place.shell("ip -o link").contains("restage0"));
    let ran = run(User::Caller, [scenario(&place, "s", &at, "[expect]\nconsumed = \"all\"\n")]);
    assert_eq!(ran.status, 3, "{}", ran.text);
    assert!(ran.text.contains("another run of restage uses the network namespace"), "{}", ran.text);
    assert!(first.wait().expect("it ends").success());
}

fn a_program(user: User) {
    let place = Place::new(user);
    let before = place.state();
    let truth = place.folder.join("truth");
    let receiver = format!(
        "command = [\"{}\", \"{}\", \"{}\", \"reads\"]\nlistens = [\"udp:4739\"]\nexit = \"any\"\n[expect]\nconsumed = \"all\"\n",
        place.folder.join("program").display(),
        crate::application::VERB,
        truth.display()
    );
    passes(user, &scenario(&place, "s", &format!("pid:{}", place.pid()), &receiver), &[]);
    assert_eq!(place.state(), before);
}

fn preconditions(user: User) {
    let mut place = Place::new(user);
    place.start("reads", 4739);
    place.shell("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
    let at = format!("pid:{}", place.pid());
    let require = |value: u32| {
        format!(
            "[rewrite.source]\nip = {{ \"10.44.1.0/24\" = \"198.51.100.0/24\" }}\n[require]\nsysctl = {{ \"net.ipv4.conf.{{receiver}}.rp_filter\" = {value} }}\ninterface = {{ name = \"eth0\", up = true }}\n\
             listens = [\"udp:4739\"]\n[expect]\nconsumed = \"all\"\n"
        )
    };
    // The route back is by the interface that the frames come in by, so that a strict filter passes them.
    passes(user, &scenario(&place, "s", &at, &require(1)), &[]);
    let ran = run(user, [scenario(&place, "t", &at, &require(0))]);
    assert_eq!(ran.status, 3, "{}", ran.text);
    let fix = format!(
        "`nsenter -t {} -n sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0`",
        place.pid()
    );
    assert!(unwrapped(&ran.text).contains(&fix), "{}", ran.text);
}

/// A text without its line ends.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn a_plan(user: User) {
    let mut place = Place::new(user);
    let plan = |rest: &str| {
        let path = scenario(&place, "s", &format!("pid:{}", place.pid()), rest);
        both(&restage(user).arg("plan").arg(path).output().expect("restage runs"))
    };
    let text = plan("");
    assert!(text.contains("lost before delivered: NO_SOCKET") || text.contains("NO_SOCKET"), "{text}");
    assert!(text.contains("it is given 10.20.9.9/32"), "{text}");
    place.start("reads", 4739);
    let plan = |rest: &str| {
        let path = scenario(&place, "s", &format!("pid:{}", place.pid()), rest);
        both(&restage(user).arg("plan").arg(path).output().expect("restage runs"))
    };
    let text = plan("[rewrite.destination]\nip = \"receiver\"\n");
    assert!(text.contains("it is given nothing that is not there"), "{text}");
    assert!(text.contains(&format!("30  delivered                UDP 10.44.1.17 > {OWN} port 4739")), "{text}");
}

fn steps(user: User) {
    let mut place = Place::new(user);
    place.start("answers", 4739);
    let at = format!("pid:{}", place.pid());
    let rest = "[[step]]\nframes = \"1-10\"\n[[step]]\nrun = [\"ip\", \"link\", \"show\", \"restage0\"]\n[[step]]\nframes = \"11-\"\n\
        [expect]\nconsumed = \"all\"\n[expect.replies]\ncount = \">= 30\"\n[[expect.command]]\nrun = [\"ip\", \"-o\", \"addr\"]\n\
        stdout = { contains = \"10.99.0.2\" }\n";
    passes(user, &scenario(&place, "s", &at, rest), &[]);
}
