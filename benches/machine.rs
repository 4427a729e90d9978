//! Where and with what is measured: the machine, the versions of the programs, and room for the captures.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::statvfs::statvfs;

/// A folder in memory that is removed at the end.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    /// What the figures are about: tmpfs, or what there is instead.
    pub(crate) kind: &'static str,
}

impl Work {
    /// Makes the folder, and removes those of earlier runs that were killed. Ctrl-C removes it too, and ends the bench.
    ///
    /// # Errors
    /// When it can't be made.
    pub(crate) fn make() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let (parent, kind) = if statvfs(memory).is_ok() {
            (memory.to_path_buf(), "tmpfs (/dev/shm)")
        } else {
            (std::env::temp_dir(), "the temporary folder, since there is no /dev/shm")
        };
        for entry in fs::read_dir(&parent)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(process) = name.strip_prefix("restage-bench-")
                && !Path::new("/proc").join(process).exists()
            {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let path = parent.join(format!("restage-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        let work = Self { path, kind };
        work.remove_when_interrupted()?;
        Ok(work)
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// How many bytes a capture and its copy may have together: what is free, less some room for the programs.
    pub(crate) fn room(&self) -> u64 {
        let free =
            statvfs(&self.path).map_or(0, |file_system| file_system.blocks_available() * file_system.fragment_size());
        free.min(memory_kib("MemAvailable:") * 1024) / 10 * 9
    }

    fn remove_when_interrupted(&self) -> io::Result<()> {
        // Blocked here, before there are threads; programs that are started begin with nothing blocked.
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block()?;
        let path = self.path.clone();
        thread::spawn(move || {
            if let Ok(signal) = signals.wait() {
                // There is nobody to tell, and the next bench looks for what is left.
                let _ = fs::remove_dir_all(path);
                // The main thread waits for a program.
                std::process::exit(128 + signal as i32);
            }
        });
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // There is nobody to tell, and the next bench looks for what is left.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The machine, a line each.
pub(crate) fn describe() -> Vec<(&'static str, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("processor", format!("{cores} × {}", model.map_or("unknown", |(_, model)| model.trim()))),
        ("memory", format!("{:.1} GiB", memory_kib("MemTotal:") as f64 / f64::from(1 << 20))),
        ("kernel", format!("Linux {}", kernel.trim())),
        ("load before", load()),
        ("date", first_line("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])),
        ("restage", version_of_restage()),
        ("tcprewrite", first_line("tcprewrite", &["--version"])),
        ("tcpreplay", first_line("tcpreplay", &["--version"])),
        ("editcap", first_line("editcap", &["--version"])),
        ("dd", first_line("dd", &["--version"])),
    ]
}

/// How busy the machine is: processes that want to run, averaged over 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(", ")
}

fn version_of_restage() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let version = first_line(&*crate::programs::RESTAGE, &["--version"]);
    match first_line("git", &["-C", root, "describe", "--always", "--dirty", "--exclude=*"]).as_str() {
        "not installed" | "" => version,
        commit => format!("{version}, commit {commit}"),
    }
}

/// What a program says first, with its name left out where it stands before.
fn first_line(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "not installed".to_owned() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or_default().trim_end_matches('.').trim().to_owned()
}

/// A line of /proc/meminfo, in KiB.
fn memory_kib(line: &str) -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = memory.lines().find_map(|found| found.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or_default()
}
