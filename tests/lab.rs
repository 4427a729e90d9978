//! The lab against the running kernel, as the user who runs the tests and, for root, as an ordinary user too.
//!
//! Every case is a process of its own: a lab is entered with one thread, and dies with its process. So this program has
//! its own `main`, which also stands in for restage's hidden verbs. A case that can't have a lab says why and passes, unless
//! `RESTAGE_REQUIRE_LAB=1`.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::exit, reason = "a test, but without `#[test]`")]

#[path = "lab/application.rs"]
mod application;
#[path = "lab/machine.rs"]
mod machine;
#[path = "lab/network.rs"]
mod network;
#[path = "lab/worker.rs"]
mod worker;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use restage::diagnostic::Kind;
use restage::host::namespace::{self, Privilege};
use restage::testbed::network::{LabNetwork, LabPlan};

/// The user `nobody`.
const ORDINARY_USER: u32 = 65534;

/// Exit status of a case that can't have a lab.
const NO_LAB: u8 = 77;

/// A case: its name is its claim.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let cases: Vec<Case> = [network::CASES, machine::CASES, application::CASES, worker::CASES].concat();
    match arguments.as_slice() {
        [verb, name] if verb == "__case" => {
            let actors = [application::ACTORS, network::ACTORS, worker::ACTORS].concat();
            let (_, run) = cases.iter().chain(&actors).find(|(case, _)| *case == name).expect("a known case");
            run();
            return ExitCode::SUCCESS;
        }
        [verb, rest @ ..] if verb == restage::process::worker::VERB => return worker::worker_main(rest),
        _ => {}
    }
    let folder = ProgramCopy::make();
    let root = nix::unistd::geteuid().is_root();
    let users: &[Option<u32>] = if root { &[None, Some(ORDINARY_USER)] } else { &[None] };
    let trials = cases.iter().flat_map(|(name, _)| {
        let program = &folder.program;
        users.iter().map(move |user| {
            let (program, name, user) = (program.clone(), *name, *user);
            let kind = if user.is_some() { "ordinary-user" } else { "as-started" };
            Trial::test(name, move || run_case(&program, name, user)).with_kind(kind)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A copy of this program in a folder that an ordinary user can read.
struct ProgramCopy {
    folder: PathBuf,
    program: PathBuf,
}

impl ProgramCopy {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("restage-test-lab-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.join("lab");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, program }
    }
}

impl Drop for ProgramCopy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn run_case(program: &Path, name: &str, user: Option<u32>) -> Result<(), Failed> {
    let mut command = Command::new(program);
    command.args(["__case", name]).stdin(Stdio::null()).current_dir("/tmp");
    // An ordinary user may not be able to read this project's folder.
    command.env("INSTA_WORKSPACE_ROOT", env!("CARGO_MANIFEST_DIR")).env("INSTA_UPDATE", "no");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    let required = std::env::var("RESTAGE_REQUIRE_LAB").is_ok_and(|value| value == "1");
    match output.status.code() {
        Some(0) => Ok(()),
        Some(status) if status == i32::from(NO_LAB) && !required => Ok(()),
        _ => Err(format!("{}\n{said}", output.status).into()),
    }
}

/// Enters, and ends the case if this machine allows no lab.
fn enter() -> Privilege {
    namespace::enter().unwrap_or_else(|failure| {
        println!("no lab: {failure:?}");
        assert_eq!(failure.kind, Kind::Blocked);
        std::process::exit(i32::from(NO_LAB))
    })
}

/// Enters, and makes a lab.
fn lab(plan: &LabPlan) -> (LabNetwork, Privilege) {
    let privilege = enter();
    (LabNetwork::up(plan).unwrap(), privilege)
}
