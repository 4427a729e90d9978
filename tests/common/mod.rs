//! Running restage as its users do: as root, and as an ordinary user from a folder that it can read.

#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::zombie_processes,
    reason = "each test file uses its part, and says why it skips"
)]

pub(crate) mod small;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

use serde_json::Value;

/// As whom restage runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// As whoever runs the tests.
    Caller,
    /// As uid 65534, without any capability; only root can become it.
    Ordinary,
}

/// The folder of the package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
    })
}

/// Copies a program that is to be run. Another process does it: one that is started by another thread meanwhile would hold the file open for
/// writing, so that it could not be run (`ETXTBSY`).
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "{} can't be copied", from.display());
}

/// A copy of program, scenarios, recipes and failing scenarios that everybody may read: a clone may lie in a folder of mode 0700.
pub(crate) fn stage() -> &'static Path {
    static STAGE: OnceLock<PathBuf> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = fresh_folder("stage");
        let copy = |from: &str, to: &str| {
            let to = stage.join(to);
            std::fs::create_dir_all(to.parent().expect("a path below the stage"))
                .expect("a folder in the temporary folder");
            let status = Command::new("cp").arg("-r").arg(root().join(from)).arg(&to).status().expect("cp runs");
            assert!(status.success(), "cp {from}");
        };
        copy("scenarios", "scenarios");
        copy("docs/receivers", "docs/receivers");
        copy("tests/failing", "tests/failing");
        copy_program(Path::new(env!("CARGO_BIN_EXE_restage")), &stage.join("restage"));
        let status = Command::new("chmod").args(["-R", "a+rX"]).arg(&stage).status().expect("chmod runs");
        assert!(status.success());
        stage
    })
}

/// A new empty folder that every user may enter and write to. It is kept, to be looked at, until other tests run.
pub(crate) fn fresh_folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SWEPT: Once = Once::new();
    SWEPT.call_once(remove_folders_of_ended_tests);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("restage-test-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder in the temporary folder");
    let status = Command::new("chmod").arg("0777").arg(&folder).status().expect("chmod runs");
    assert!(status.success());
    folder
}

fn remove_folders_of_ended_tests() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let process = name.strip_prefix("restage-test-").and_then(|name| name.rsplit('-').nth(1));
        let has_ended = |process: &str| process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists();
        if process.is_some_and(has_ended) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// restage, to be run as that user in the staged folder.
pub(crate) fn restage(user: User) -> Command {
    program(user, &stage().join("restage"))
}

/// A program, to be run as that user in the staged folder.
pub(crate) fn program(user: User, program: &Path) -> Command {
    let mut command = match user {
        User::Caller => Command::new(program),
        User::Ordinary => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"])
                .arg(program);
            command
        }
    };
    command
        .current_dir(stage())
        .env("XDG_CACHE_HOME", stage().join("cache"))
        .env_remove("CI")
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY")
        .env("NO_COLOR", "1");
    command
}

/// As whom the lab is to be tried here: the caller, and where that is root an ordinary user too. Empty, with the reason printed, where
/// no lab can be made; that fails where `RESTAGE_REQUIRE_LAB=1`.
pub(crate) fn users() -> &'static [User] {
    static USERS: OnceLock<Vec<User>> = OnceLock::new();
    USERS.get_or_init(|| {
        let mut users = vec![User::Caller];
        if is_root() {
            users.push(User::Ordinary);
        }
        users.retain(|user| {
            let output = restage(*user).arg("doctor").output().expect("restage runs");
            if output.status.success() {
                return true;
            }
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                std::env::var_os("RESTAGE_REQUIRE_LAB").is_none_or(|value| value != "1"),
                "no lab as {user:?}:\n{said}"
            );
            println!("skipped as {user:?}: no lab can be made here:\n{said}");
            false
        });
        users
    })
}

/// The name of a browser; `None`, with the reason printed, where there is none. That fails where `RESTAGE_REQUIRE_LAB=1`, as a lab that is missing.
pub(crate) fn browser() -> Option<&'static str> {
    let is_there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = ["chromium", "google-chrome"].into_iter().find(is_there);
    if found.is_none() {
        let required = std::env::var_os("RESTAGE_REQUIRE_LAB").is_some_and(|value| value == "1");
        assert!(!required, "neither chromium nor google-chrome is installed: run `.ci/install applications`");
        println!("skipped: neither chromium nor google-chrome is installed");
    }
    found
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit status.
    pub(crate) status: i32,
    /// Standard output and error.
    pub(crate) text: String,
    /// The JSON report; null if none was written.
    pub(crate) report: Value,
}

/// `restage run ARGUMENTS --report-json …`.
pub(crate) fn run(user: User, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
    let folder = fresh_folder("report");
    let report = folder.join("report.json");
    let output =
        restage(user).arg("run").args(arguments).arg("--report-json").arg(&report).output().expect("restage runs");
    let run = Run {
        status: output.status.code().unwrap_or(-1),
        text: both(&output),
        report: std::fs::read(&report)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Value::Null),
    };
    std::fs::remove_dir_all(&folder).expect("the report's folder can be removed");
    run
}

/// Standard output, then standard error.
pub(crate) fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every `*.toml` in a folder, sorted.
pub(crate) fn scenarios_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
}

/// README.md and every page below docs, sorted.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of pages can be listed") {
            let path = entry.expect("an entry of a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}
