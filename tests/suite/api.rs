//! The public API, as a test of another project uses it: in threads of the test harness, as root and as an ordinary user.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, panic, thread};

use crate::common::small::{capture, datagrams, scenario};
use crate::common::{fresh_folder, is_root};
use restage::{Cause, Failure, Kind, Options, Scenario, Stage, Verdict};

const PLAIN: &str = "[pacing]\nrate = \"topspeed\"\n";
const REFUSED: &str = "[lab]\naddresses = [\"10.20.9.9/32\"]\nroutes = []\nsysctl = { \"net.ipv4.conf.all.rp_filter\" = 1 }\n[pacing]\nrate = \"topspeed\"\n";

fn written(rest: &str) -> PathBuf {
    scenario(&capture(&datagrams(20), 10), rest).join("s.toml")
}

#[test]
fn scenarios_pass_side_by_side_in_threads() -> Result<(), Failure> {
    let pass = || -> Result<(), Failure> {
        let scenario = Scenario::from_file(written(PLAIN))?;
        assert_eq!(scenario.name(), "s");
        let outcome = scenario.run(&Options::default())?;
        outcome.assert_passed();
        assert_eq!(outcome.ledger.expect("frames were sent").consumed.map(|amount| amount.low()), Some(20));
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(pass)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

#[test]
fn a_failed_scenario_names_its_loss_and_panics_with_the_report() -> Result<(), Failure> {
    let outcome = Scenario::from_file(written(REFUSED))?.run(&Options::default())?;
    assert_eq!(outcome.verdict, Verdict::Fail);
    let ledger = outcome.ledger.as_ref().expect("frames were sent");
    let [loss] = ledger.losses.as_slice() else { panic!("{ledger:?}") };
    assert!(loss.cause == Cause::IpRpfilter && loss.stage == Stage::Accepted);
    let panicked = panic::catch_unwind(|| outcome.assert_passed()).expect_err("it panics");
    let message = panicked.downcast_ref::<String>().expect("a message");
    assert!(message.contains("IP_RPFILTER") && message.contains("s.toml"), "{message}");
    Ok(())
}

#[test]
fn an_error_names_file_and_line() {
    let failure = Scenario::from_file(written("[pacing]\nrate = \"fast\"\n")).expect_err("no rate");
    assert_eq!(failure.kind, Kind::Invalid);
    assert!(failure.to_string().contains("s.toml:5"), "{failure}");
    assert_eq!(format!("{failure:?}"), failure.to_string());
    let failure = Scenario::from_file("no-such.toml").expect_err("no file");
    assert!(failure.to_string().contains("no-such.toml"), "{failure}");
}

#[test]
fn a_missing_program_skips_and_a_skipped_scenario_did_not_pass() -> Result<(), Failure> {
    let outcome =
        Scenario::from_file(written("[require]\ncommands = [\"no-such-program\"]\n"))?.run(&Options::default())?;
    assert_eq!(outcome.verdict, Verdict::Skipped);
    assert!(panic::catch_unwind(|| outcome.assert_passed()).is_err());
    Ok(())
}

#[test]
fn a_real_interface_is_used_only_where_the_options_name_it() -> Result<(), Failure> {
    let outcome = Scenario::from_file(written("[target]\ninterface = \"lo\"\n"))?.run(&Options::default())?;
    assert_eq!(outcome.verdict, Verdict::Blocked);
    assert!(outcome.problems[0].what.contains("not allowed"), "{outcome}");
    Ok(())
}

#[test]
fn plan_rewrite_and_inspect_send_nothing() -> Result<(), Failure> {
    let path = written("[rewrite.destination]\nport = { 4739 = 9995 }\n");
    let scenario = Scenario::from_file(&path)?;
    let plan = scenario.plan()?;
    assert_eq!((plan.selected, plan.predictions.len(), plan.predictions[0].end.as_str()), (20, 1, "delivered"));
    let output = path.with_file_name("out.pcapng");
    let summary = scenario.rewrite(&output)?;
    assert_eq!((summary.written, summary.rewrite.entries[0].frames), (20, 20));
    let inspection = restage::inspect(&output)?;
    assert_eq!((inspection.frames, inspection.conversations.len()), (20, 1));
    let refused = scenario.rewrite(path.with_file_name("in.pcap")).expect_err("it is the input");
    assert_eq!(refused.kind, Kind::Invalid);
    Ok(())
}

/// This program once more, as uid 65534, from a folder that this user may read.
#[test]
fn an_ordinary_user_runs_scenarios_too() {
    if !is_root() {
        return;
    }
    let folder = fresh_folder("api");
    let (program, home) = (folder.join("api"), folder.join("home"));
    crate::common::copy_program(&std::env::current_exe().expect("its path"), &program);
    fs::create_dir(&home).expect("a folder");
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    open(&folder, 0o755);
    open(&program, 0o755);
    open(&home, 0o777);
    let mut command = Command::new(&program);
    command.uid(65534).gid(65534).current_dir(&home).env("TMPDIR", &home).env("HOME", &home);
    let done = command.arg("api::").output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("7 passed"), "{said}");
}
