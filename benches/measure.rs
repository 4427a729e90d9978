//! Runs one program and says what it took: wall time, processor time, memory.
//!
//! The bench starts itself once more for each run, as a tiny process that starts the program and asks the kernel what its children
//! took. So the peak of memory is the program's own: the kernel counts a child's from the size of the process that started it, and
//! this one has 2 or 3 MiB, however big the bench has grown. Start at [`run`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The word by which the bench tells itself to be the process that measures.
const WORD: &str = "__measure";

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// From start to exit.
    pub(crate) wall: Duration,
    /// Processor time in the program, all its threads and children together.
    pub(crate) user: Duration,
    /// Processor time in the kernel.
    pub(crate) system: Duration,
    /// The largest resident memory of the program, or of one of its children.
    pub(crate) peak_kib: u64,
}

/// Runs `command`, whose standard output is thrown away.
///
/// # Errors
/// What the program said on standard error, where it failed.
pub(crate) fn run(command: &[OsString]) -> Result<Taken, String> {
    let bench = std::env::current_exe().map_err(|error| format!("the bench doesn't find itself: {error}"))?;
    let output = Command::new(bench)
        .arg(WORD)
        .args(command)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the bench doesn't start itself: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let fields: Vec<u64> = said.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    match fields[..] {
        [wall, user, system, peak_kib] if output.status.success() => Ok(Taken {
            wall: Duration::from_micros(wall),
            user: Duration::from_micros(user),
            system: Duration::from_micros(system),
            peak_kib,
        }),
        _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The command that this process is to measure, if it was started for that.
pub(crate) fn asked_for() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os().skip(1);
    (words.next()? == OsStr::new(WORD)).then(|| words.collect())
}

/// Runs `command` and prints what it took, in microseconds and KiB.
///
/// # Errors
/// When it can't be started, or fails.
pub(crate) fn report(command: &[OsString]) -> io::Result<()> {
    let [program, arguments @ ..] = command else { return Err(io::Error::other("there is nothing to measure")) };
    let begin = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let wall = begin.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{} failed: {status}", program.display())));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let (user, system) = (usage.user_time().num_microseconds(), usage.system_time().num_microseconds());
    println!("{} {user} {system} {}", wall.as_micros(), usage.max_rss());
    Ok(())
}
