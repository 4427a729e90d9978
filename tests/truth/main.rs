//! The ledger against the truth: what the application itself says that it read, in many kinds of traffic, as root and as an ordinary
//! user, and as closely as each level of evidence looks.
//!
//! This program has its own `main`, since it is the application under test as well. `TRUTH_ROUNDS=100` runs that often all kinds that don't
//! wait for a reader, which is a part of `make soak`. Start reading at [`wrong`]; a filter on the command line runs the kinds of that name only.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test, but without `#[test]`")]

mod application;
#[path = "../common/mod.rs"]
mod common;
mod frames;
mod kinds;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use common::{User, copy_program, fresh_folder, is_root, run, users};
use kinds::{DATAGRAMS, Kind, kinds};

/// How a run looks at the stack: for whom, and `--evidence`.
type Mode = (User, &'static str);

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [verb, rest @ ..] = words.as_slice()
        && verb == application::VERB
    {
        return application::main(rest);
    }
    let arguments = Arguments::from_args();
    let rounds = std::env::var("TRUTH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let users: &[User] = if arguments.list { &[User::Caller] } else { users() };
    let mut trials = Vec::new();
    for round in 0..rounds {
        let mut kinds = kinds();
        if rounds > 1 {
            kinds.retain(|kind| !waits(kind));
        }
        let suite = Arc::new(Suite { kinds, filter: arguments.filter.clone(), runs: OnceLock::new() });
        for index in 0..suite.kinds.len() {
            let modes: Vec<Mode> = modes(users, &suite.kinds[index]);
            let name = suite.kinds[index].name;
            let suite = Arc::clone(&suite);
            let kind = if rounds > 1 { format!("round {}", round + 1) } else { String::new() };
            trials.push(Trial::test(name, move || suite.is_true(index, &modes)).with_kind(kind));
        }
    }
    if rounds == 1 {
        trials.push(Trial::test("another lab takes in much", beside_another_lab));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What another lab on this machine takes in changes nothing of which datagrams are lost in this one.
fn beside_another_lab() -> Result<(), Failed> {
    if !is_root() {
        println!("skipped: packets are followed for root alone");
        return Ok(());
    }
    let mode = (User::Caller, "auto");
    let [kind, other] = kinds::beside_another_lab();
    let (folder, elsewhere) = (folder_for("truth-beside"), folder_for("truth-elsewhere"));
    let outcomes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while truth(&folder, &kind, mode).len() < 15 && begun.elapsed() < Duration::from_mins(1) {
                sleep(Duration::from_millis(20));
            }
            run_as(&[&other], &elsewhere, mode);
        });
        run_as(&[&kind], &folder, mode)
    });
    let Said { wrong, open } = Said::of(&kind, &outcomes[&slug(&kind)], &folder, mode);
    let all: Vec<String> = wrong.into_iter().chain(open).collect();
    if all.is_empty() { Ok(()) } else { Err(all.join("\n").into()) }
}

/// Whether its run ends only when its datagrams were not read for a long time.
fn waits(kind: &Kind) -> bool {
    matches!(kind.losses, [("NOT_READ", _)])
        || kind.behaviour == "reads-fifteen"
        || kind.behaviour == "two-on-a-group-one-idle"
}

/// Each user as closely as the rate allows, and with counters alone.
fn modes(users: &[User], kind: &Kind) -> Vec<Mode> {
    let all = users.iter().flat_map(|user| [(*user, "auto"), (*user, "counters")]);
    let all = all.filter(|(_, evidence)| *evidence == "auto" || !waits(kind));
    all.filter(|(user, _)| !kind.needs_root || is_root() && *user == User::Caller).collect()
}

/// So often a run is done again, alone, that leaves a number open.
const TURNS: usize = 4;

struct Suite {
    kinds: Vec<Kind>,
    filter: Option<String>,
    runs: OnceLock<Runs>,
}

/// What was run, once for each mode.
struct Runs {
    folder: PathBuf,
    outcomes: Vec<(Mode, BTreeMap<String, Value>)>,
}

impl Suite {
    fn is_true(&self, index: usize, modes: &[Mode]) -> Result<(), Failed> {
        let kind = &self.kinds[index];
        let mut all = Vec::new();
        let Runs { folder, outcomes } = self.runs();
        for mode in modes {
            let (_, outcomes) = outcomes.iter().find(|(ran, _)| ran == mode).expect("each mode was run");
            let outcome = outcomes.get(&slug(kind)).ok_or("it is not in the report")?;
            if outcome["verdict"] == "skipped" {
                println!("{} skipped as {mode:?}: {}", kind.name, outcome["skipped"]);
                continue;
            }
            let mut said = Said::of(kind, outcome, folder, *mode);
            for number in 1..TURNS {
                if !said.wrong.is_empty() || said.open.is_empty() {
                    break;
                }
                let again = folder_for(&format!("truth-again-{number}"));
                let outcomes = run_as(&[kind], &again, *mode);
                said = Said::of(kind, &outcomes[&slug(kind)], &again, *mode);
            }
            all.extend(said.wrong.into_iter().chain(said.open).map(|what| format!("{mode:?}: {what}")));
        }
        if all.is_empty() { Ok(()) } else { Err(all.join("\n").into()) }
    }

    fn runs(&self) -> &Runs {
        self.runs.get_or_init(|| {
            let folder = folder_for("truth");
            let mut all: Vec<Mode> = Vec::new();
            for kind in &self.kinds {
                all.extend(modes(users(), kind));
            }
            all.sort_by_key(|(user, evidence)| (*user as u8, *evidence));
            all.dedup();
            let named = |kind: &&Kind| self.filter.as_ref().is_none_or(|filter| kind.name.contains(filter));
            let run = |mode: Mode| {
                let kinds = self.kinds.iter().filter(named).filter(|kind| modes(users(), kind).contains(&mode));
                (mode, run_as(&kinds.collect::<Vec<_>>(), &folder, mode))
            };
            let outcomes = all.into_iter().map(run).collect();
            Runs { folder, outcomes }
        })
    }
}

/// A folder with the application.
fn folder_for(name: &str) -> PathBuf {
    let folder = fresh_folder(name);
    copy_program(&std::env::current_exe().expect("this program has a file"), &folder.join("application"));
    folder
}

/// Runs these in one run, in a folder with the application; their outcomes by name.
fn run_as(kinds: &[&Kind], folder: &Path, mode: Mode) -> BTreeMap<String, Value> {
    let here = mode_folder(folder, mode);
    fs::create_dir_all(&here).expect("a folder can be made");
    std::process::Command::new("chmod").arg("0777").arg(&here).status().expect("chmod runs");
    if kinds.is_empty() {
        return BTreeMap::new();
    }
    for kind in kinds {
        let path = here.join(slug(kind));
        fs::write(path.with_extension("pcap"), frames::pcap(&kind.frames)).expect("it can be written");
        let text = scenario(kind, &folder.join("application"), &here);
        fs::write(path.with_extension("toml"), text).expect("it can be written");
    }
    let words = [here.as_os_str(), "--jobs".as_ref(), "8".as_ref(), "--evidence".as_ref(), mode.1.as_ref()];
    let run = run(mode.0, words);
    let scenarios = run.report["scenarios"].as_array().unwrap_or_else(|| panic!("a report:\n{}", run.text));
    let named = |outcome: &Value| (outcome["name"].as_str().unwrap_or_default().to_owned(), outcome.clone());
    scenarios.iter().map(named).collect()
}

fn mode_folder(folder: &Path, (user, evidence): Mode) -> PathBuf {
    folder.join(format!("{user:?}-{evidence}"))
}

fn slug(kind: &Kind) -> String {
    kind.name.to_lowercase().replace(' ', "-")
}

fn scenario(kind: &Kind, program: &Path, here: &Path) -> String {
    let Kind { behaviour, ruleset, rate, repeat, .. } = kind;
    let slug = slug(kind);
    let truth = here.join(&slug).with_extension("truth");
    let receiver = match (*behaviour, kind.stage) {
        (_, "captured") => "listens = [\"packet:{receiver}\"]\ncapabilities = [\"CAP_NET_RAW\"]".to_owned(),
        ("listens-elsewhere", _) => "listens = [\"udp:9\"]".to_owned(),
        ("reads-what-is-relayed", _) => format!("listens = [\"udp:{}\"]", application::RELAYED),
        _ => format!("listens = [\"udp:{}\"]", frames::PORT),
    };
    let command = |behaviour: &str| {
        format!(
            "command = [\"{}\", \"{}\", \"{}\", \"{behaviour}\"]\n",
            program.display(),
            application::VERB,
            truth.display()
        )
    };
    let process = kind.process.map_or_else(String::new, |(behaviour, port)| {
        format!("[[receiver.process]]\nname = \"beside\"\n{}listens = [\"udp:{port}\"]\n", command(behaviour))
    });
    let command = command(behaviour);
    let ruleset = if ruleset.is_empty() { String::new() } else { format!("ruleset = '''\n{ruleset}\n'''\n") };
    let require = if ruleset.is_empty() { "" } else { "[require]\ncommands = [\"nft\"]\n" };
    format!(
        "format = 1\n[capture]\nfile = \"{slug}.pcap\"\n[pacing]\nrate = \"{rate}\"\nrepeat = {repeat}\n{require}\
         [receiver]\n{command}{receiver}\nsettle = \"100ms\"\n{process}{steps}[lab]\n\
         addresses = [\"192.0.2.20/24\", \"2001:db8::20/64\"]\nmac = \"02:00:00:00:00:02\"\n{ruleset}\
         [expect]\n{stage} = \"all\"\n",
        stage = kind.stage,
        steps = kind.steps,
    )
}

/// The numbers of the datagrams that the application read.
fn truth(folder: &Path, kind: &Kind, mode: Mode) -> Vec<u64> {
    let path = mode_folder(folder, mode).join(slug(kind)).with_extension("truth");
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// What the report says otherwise than the application, and what it leaves open: on a busy machine the latter is no fault.
#[derive(Default)]
struct Said {
    wrong: Vec<String>,
    open: Vec<String>,
}

impl Said {
    fn of(kind: &Kind, outcome: &Value, folder: &Path, mode: Mode) -> Self {
        // Whether each packet was followed.
        let exact = is_root() && mode.0 == User::Caller && outcome["ledger"]["layers"]["followed"] == true;
        Self::compared(kind, outcome, &truth(folder, kind, mode), exact)
    }

    fn compared(kind: &Kind, outcome: &Value, truth: &[u64], exact: bool) -> Self {
        let (mut all, mut open) = (Vec::new(), Vec::new());
        let ledger = &outcome["ledger"];
        if ledger.is_null() {
            return Self { wrong: vec![format!("no ledger: {} {}", outcome["verdict"], outcome["problems"])], open };
        }
        // Identical frames have one number, and each counts; a datagram that several sockets read counts once.
        let identical = kind.frames.windows(2).any(|pair| pair[0] == pair[1]);
        let datagrams = if identical || kind.repeat > 1 {
            truth.len() as u64
        } else {
            truth.iter().collect::<BTreeSet<_>>().len() as u64
        };
        let frames = datagrams * kind.frames_each;
        let (stage, count) = (kind.stage, &ledger[kind.stage]);
        let (low, high) = range(count);
        if frames < low || frames > high {
            all.push(format!("{stage} is {count}, and the application read {frames} frames"));
        }
        if low != high && (exact && stage == "consumed" || !kind.may_be_open) {
            open.push(format!("{stage} is not exact: {count}"));
        }
        if stage == "captured" && !(ledger["delivered"].is_null() && ledger["consumed"].is_null()) {
            all.push(format!("a packet socket reads, and consumed is {}", ledger["consumed"]));
        }
        if outcome["verdict"] == "pass" && !all_were_read(kind, datagrams) {
            all.push(format!("it passes, and {datagrams} datagrams were read"));
        }
        let lost = ledger["losses"].as_array().into_iter().flatten();
        for loss in lost {
            let cause = loss["cause"].as_str().unwrap_or_default();
            match kind.losses.iter().find(|(expected, _)| *expected == cause) {
                // Of a range that begins with 0 it is not said that there was such a loss.
                None if range(&loss["frames"]).0 == 0 => {
                    open.push(format!("{} frames lost as {cause}", loss["frames"]))
                }
                None => all.push(format!("{} frames lost as {cause}", loss["frames"])),
                Some((_, Some(expected))) => {
                    let (low, high) = range(&loss["frames"]);
                    if *expected < low || *expected > high {
                        all.push(format!("{} frames lost as {cause}, and {expected} were", loss["frames"]));
                    }
                }
                Some((_, None)) => {}
            }
        }
        all.extend(sums(ledger));
        all.extend(wrong_replies(kind, &outcome["replies"]));
        if exact
            && kind.stage == "consumed"
            && !identical
            && kind.repeat == 1
            && kind.frames_each == 1
            && kind.frames.len() == DATAGRAMS as usize
        {
            all.extend(wrong_numbers(ledger, truth));
        }
        Self { wrong: all, open }
    }
}

/// What is said of the replies otherwise than the application sends them.
fn wrong_replies(kind: &Kind, replies: &Value) -> Option<String> {
    let Some(answered) = kind.answered else {
        let answered = replies["answered"].as_u64().filter(|answered| *answered > 0)?;
        return Some(format!("{answered} were answered, and it answers none"));
    };
    let questions = u64::from(DATAGRAMS) * kind.repeat;
    let is_right = replies["questions"] == questions
        && replies["answered"] == answered
        && (answered == 0 || replies["datagrams"] == answered);
    (!is_right).then(|| format!("{answered} of {questions} were answered, and the report has {replies}"))
}

fn all_were_read(kind: &Kind, datagrams: u64) -> bool {
    let identical = kind.frames.windows(2).any(|pair| pair[0] == pair[1]);
    datagrams == if identical { kind.frames.len() as u64 } else { u64::from(DATAGRAMS) * kind.repeat }
}

/// The losses' frames are those that the application did not read: frame 1 has number 0.
fn wrong_numbers(ledger: &Value, truth: &[u64]) -> Option<String> {
    let mut lost = BTreeSet::new();
    for loss in ledger["losses"].as_array()? {
        for range in loss["frame-numbers"].as_str().unwrap_or_default().split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            lost.extend(first.parse::<u64>().ok()?..=last.parse::<u64>().ok()?);
        }
    }
    let unread: BTreeSet<u64> =
        (0..u64::from(DATAGRAMS)).filter(|number| !truth.contains(number)).map(|number| number + 1).collect();
    (lost != unread).then(|| format!("lost are {lost:?}, and not read were {unread:?}"))
}

/// The lowest and the highest number that a count allows.
fn range(count: &Value) -> (u64, u64) {
    match count.as_u64() {
        Some(count) => (count, count),
        None => (count["at-least"].as_u64().unwrap_or(0), count["at-most"].as_u64().unwrap_or(u64::MAX)),
    }
}

/// Each stage's frames are the next stage's and the losses between them.
fn sums(ledger: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (before, after) in
        [("sent", "arrived"), ("arrived", "accepted"), ("accepted", "delivered"), ("delivered", "consumed")]
    {
        let taken = ["losses", "absorbed"].into_iter().filter_map(|key| ledger[key].as_array()).flatten();
        let losses = taken.filter(|loss| loss["stage"] == after);
        let (low, high) =
            losses.map(|loss| range(&loss["frames"])).fold((0, 0), |sum, loss| (sum.0 + loss.0, sum.1 + loss.1));
        let ((least, most), (from, to)) = (range(&ledger[before]), range(&ledger[after]));
        if least.saturating_sub(high) > to || most < from + low {
            all.push(format!("{} {before} less {low} to {high} are not {} {after}", ledger[before], ledger[after]));
        }
    }
    all
}

impl Drop for Runs {
    fn drop(&mut self) {
        if std::env::var_os("RESTAGE_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}
