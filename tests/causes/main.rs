//! Every way to lose a packet that was provoked on Linux 6.18, provoked again in restage's lab: the ledger names its cause, its count
//! and its evidence, as root and as an ordinary user, and the plan has said so before.
//!
//! All scenarios of a user are run by one `restage run`. This program has its own `main`, since it is the application under test as
//! well. Start reading at [`Row`]; a filter on the command line runs the rows of that name only.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test, but without `#[test]`")]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod firewall;
mod frames;
mod headers;
mod ipv4;
mod ipv6;
mod receiver;
mod rows;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use check::{Difference, Reasons, differences, drop_reasons_are_read, predicted_otherwise};
use common::{User, both, copy_program, fresh_folder, is_root, restage, run, users};
use rows::{Case, Expected, How, Row};

/// So many rows at least are provoked.
const LEAST_PROVOKED: usize = 90;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [verb, rest @ ..] = words.as_slice()
        && verb == receiver::VERB
    {
        return receiver::main(rest);
    }
    let arguments = Arguments::from_args();
    let rows: Vec<Row> = [ipv4::rows(), transport::rows(), ipv6::rows(), headers::rows(), firewall::rows()]
        .into_iter()
        .flatten()
        .collect();
    let users: &[User] = if arguments.list { &[User::Caller] } else { users() };
    if !arguments.list {
        for row in &rows {
            if let How::NotProvoked(why) = &row.how {
                println!("not provoked: {}: {why}", row.name);
            }
        }
    }
    let filter = arguments.filter.clone();
    let suite = Arc::new(Suite { rows, filter, users, runs: OnceLock::new(), wrong: Mutex::default() });
    let mut trials = vec![trial("every case of the table has one row", "table", &suite, Suite::is_whole)];
    for (index, row) in suite.rows.iter().enumerate() {
        let How::Provoked(case) = &row.how else { continue };
        for user in users.iter().filter(|user| may_have(case, **user)) {
            trials.push(trial(row.name, name_of(*user), &suite, move |suite| suite.ledger_is_right(index, *user)));
        }
        if matches!(case.expected, Expected::Ledger { .. }) {
            trials.push(trial(row.name, "plan", &suite, move |suite| suite.plan_was_right(index)));
        }
    }
    if is_root() && !users.is_empty() {
        trials.push(trial("the kernel tells root its reasons", "root", &suite, Suite::kernel_evidence_is_there));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    suite.print_table();
    conclusion.exit_code()
}

/// How a table names a user.
fn name_of(user: User) -> &'static str {
    if is_root() && user == User::Caller { "root" } else { "ordinary user" }
}

fn trial(
    name: &str,
    kind: &str,
    suite: &Arc<Suite>,
    test: impl FnOnce(&Suite) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let suite = Arc::clone(suite);
    Trial::test(name, move || test(&suite)).with_kind(kind)
}

/// Whether this user can have the row's receiver.
fn may_have(case: &Case, user: User) -> bool {
    case.root_only.is_none() || (is_root() && user == User::Caller)
}

/// All rows, and what running them once has come to.
struct Suite {
    rows: Vec<Row>,
    filter: Option<String>,
    users: &'static [User],
    runs: OnceLock<Runs>,
    /// Row, for whom, and what is otherwise.
    wrong: Mutex<Vec<(&'static str, &'static str, Difference)>>,
}

/// What was run.
struct Runs {
    folder: PathBuf,
    /// By user, in the order of the users: outcomes by the name of the scenario.
    outcomes: Vec<(User, BTreeMap<String, Value>)>,
}

impl Suite {
    /// Every case has one row, and most are provoked.
    fn is_whole(&self) -> Result<(), Failed> {
        let names: BTreeSet<&str> = self.rows.iter().map(|row| row.name).collect();
        let provoked = self.rows.iter().filter(|row| matches!(row.how, How::Provoked(_))).count();
        println!("{provoked} of {} rows are provoked", self.rows.len());
        if names.len() != self.rows.len() {
            return Err("a name is that of two rows".into());
        }
        if provoked < LEAST_PROVOKED {
            return Err(format!("{provoked} rows are provoked, which is less than {LEAST_PROVOKED}").into());
        }
        Ok(())
    }

    fn ledger_is_right(&self, index: usize, user: User) -> Result<(), Failed> {
        let (row, case) = self.case(index);
        let outcomes = self.outcomes(user);
        let outcome = self.outcome(row, user)?;
        if outcome["verdict"] == "skipped" {
            println!("{} as {user:?} skipped: {}", row.name, outcome["skipped"]);
            return Ok(());
        }
        let root = is_root() && user == User::Caller;
        let reasons = if root { drop_reasons_are_read(outcomes.values()) } else { Reasons::NotHeard };
        self.judge(row.name, name_of(user), differences(case, outcome, reasons))
    }

    fn judge(&self, row: &'static str, who: &'static str, differences: Vec<Difference>) -> Result<(), Failed> {
        if differences.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let mut wrong = self.wrong.lock().expect("no thread panics with it");
        wrong.extend(differences.into_iter().map(|difference| (row, who, difference)));
        Err(format!("{who}\n    {}", lines.join("\n    ")).into())
    }

    /// All differences in the order of the rows; nothing if there is none.
    fn print_table(&self) {
        let mut wrong = self.wrong.lock().expect("all trials have ended");
        wrong.sort_by_key(|(name, who, _)| (self.rows.iter().position(|row| row.name == *name), *who));
        for (row, who, Difference { what, expected, got }) in wrong.iter() {
            println!("{row:<50} {who:<14} {what:<32} expected {expected:<12} got {got}");
        }
    }

    fn plan_was_right(&self, index: usize) -> Result<(), Failed> {
        let (row, case) = self.case(index);
        let Some(user) = self.users.first() else { return Ok(()) };
        let outcome = self.outcome(row, *user)?;
        if outcome["verdict"] == "skipped" {
            return Ok(());
        }
        let scenario = self.runs().folder.join(file_of(row, case));
        let output = restage(*user).arg("plan").arg(&scenario).arg("--json").output()?;
        let plan: Value = serde_json::from_slice(&output.stdout).map_err(|_| both(&output))?;
        match (predicted_otherwise(&plan, outcome), case.not_predicted) {
            (Some(otherwise), Some(why)) => {
                println!("{}: {otherwise}: {why}", row.name);
                Ok(())
            }
            (Some(otherwise), None) => self.judge(row.name, "plan", vec![otherwise]),
            (None, _) => Ok(()),
        }
    }

    fn kernel_evidence_is_there(&self) -> Result<(), Failed> {
        if drop_reasons_are_read(self.outcomes(User::Caller).values()) == Reasons::Heard || self.filter.is_some() {
            return Ok(());
        }
        let why = "no loss of any row stands on the kernel's own reason; `restage doctor` may say why";
        if std::env::var("RESTAGE_REQUIRE_LAB").is_ok_and(|value| value == "1") {
            return Err(why.into());
        }
        println!("{why}");
        Ok(())
    }

    fn case(&self, index: usize) -> (&Row, &Case) {
        let row = &self.rows[index];
        let How::Provoked(case) = &row.how else { unreachable!("only rows that are provoked have a trial") };
        (row, case)
    }

    fn outcomes(&self, user: User) -> &BTreeMap<String, Value> {
        let (_, outcomes) = self.runs().outcomes.iter().find(|(ran, _)| *ran == user).expect("each user has run");
        outcomes
    }

    fn outcome(&self, row: &Row, user: User) -> Result<&Value, Failed> {
        self.outcomes(user).get(&row.slug()).ok_or_else(|| format!("{} is not in the report", row.slug()).into())
    }

    /// Runs everything, once.
    fn runs(&self) -> &Runs {
        self.runs.get_or_init(|| {
            let folder = fresh_folder("causes");
            self.write(&folder);
            let run_as = |user: &User| {
                let begun = Instant::now();
                let root = is_root() && *user == User::Caller;
                let folders = [Some("for-all"), root.then_some("for-root")].into_iter().flatten();
                // A filter may have left one of them without a scenario.
                let folders = folders.map(|name| folder.join(name)).filter(|path| path.exists());
                let words = folders.map(PathBuf::into_os_string).chain(["--jobs".into(), "4".into()]);
                let run = run(*user, words);
                let outcomes: BTreeMap<String, Value> = run.report["scenarios"]
                    .as_array()
                    .unwrap_or_else(|| panic!("a report, as {user:?}:\n{}", run.text))
                    .iter()
                    .map(|outcome| (outcome["name"].as_str().unwrap_or_default().to_owned(), outcome.clone()))
                    .collect();
                println!("{} scenarios as {user:?} in {:.1} s", outcomes.len(), begun.elapsed().as_secs_f64());
                (*user, outcomes)
            };
            let outcomes = self.users.iter().map(run_as).collect();
            Runs { folder, outcomes }
        })
    }

    /// Writes captures, scenarios and the program that receives.
    fn write(&self, folder: &Path) {
        let program = folder.join("receiver");
        copy_program(&std::env::current_exe().expect("this program has a file"), &program);
        let program = program.to_str().expect("the temporary folder's name is text");
        let names_it = |row: &&Row| self.filter.as_ref().is_none_or(|filter| row.name.contains(filter));
        for row in self.rows.iter().filter(names_it) {
            let How::Provoked(case) = &row.how else { continue };
            let path = folder.join(file_of(row, case));
            fs::create_dir_all(path.parent().expect("a folder for whom it is")).expect("it can be made");
            let capture = format!("{}.pcap", row.slug());
            fs::write(path.with_file_name(&capture), frames::pcap(&case.frames)).expect("it can be written");
            fs::write(&path, case.scenario(&capture, program)).expect("it can be written");
        }
    }
}

/// Where the row's scenario is written.
fn file_of(row: &Row, case: &Case) -> PathBuf {
    let for_whom = if case.root_only.is_some() { "for-root" } else { "for-all" };
    Path::new(for_whom).join(format!("{}.toml", row.slug()))
}

impl Drop for Runs {
    fn drop(&mut self) {
        if std::env::var_os("RESTAGE_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}
