//! The programs that are compared, each with the command line by which it does the same job.
//!
//! The job: five prefixes of sources and five of destinations are mapped (with IPv6 six), and all frames get one destination MAC.
//! Checksums follow by what changed (RFC 1624), which is what tcprewrite does too unless it is told otherwise. dd and editcap only
//! copy: they show how fast a file can be read and written here at all, and how fast frame by frame.
//!
//! tcprewrite 4.4.3 does more than it is asked for where it maps IPv6 addresses: it writes multicast MACs (33:33:…) over unicast ones,
//! and leaves the checksums of ICMPv6 wrong. So its frames differ from restage's there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::workloads::Workload;

/// The program that `make build` made: it lies above the folder that this example lies in.
pub(crate) static RESTAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    let bench = std::env::current_exe().unwrap_or_default();
    bench.ancestors().nth(2).unwrap_or(Path::new("target/release")).join("restage")
});

const MAC: &str = "02:00:00:00:00:02";
/// The third hextet of the IPv6 prefixes, of sources and of destinations.
const V6: [(&str, &str); 2] = [("2001:db8:1::/48", "fd00:1::/48"), ("2001:db8:2::/48", "fd00:2::/48")];

/// What a program leaves in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// The rewritten frames.
    Rewritten,
    /// The frames of its input.
    Copied,
    /// There is none.
    Nothing,
}

/// A program with its command line.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) command: Vec<OsString>,
    pub(crate) output: Output,
}

impl Program {
    fn new(name: &str, output: Output, command: &[&dyn AsRef<std::ffi::OsStr>]) -> Self {
        let command = command.iter().map(|word| word.as_ref().to_owned()).collect();
        Self { name: name.to_owned(), command, output }
    }
}

/// Whether that program is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// `restage rewrite` of `capture`, with a scenario that is written beside it.
pub(crate) fn restage(
    name: &str,
    workload: Workload,
    checksums: &str,
    capture: &Path,
    output: &Path,
) -> io::Result<Program> {
    let scenario = scenario(workload, checksums, capture)?;
    Ok(Program::new(name, Output::Rewritten, &[&*RESTAGE, &"rewrite", &scenario, &"-o", &output]))
}

/// `restage plan` of `capture`.
pub(crate) fn plan(workload: Workload, capture: &Path) -> io::Result<Program> {
    let scenario = scenario(workload, "preserve", capture)?;
    Ok(Program::new("restage plan", Output::Nothing, &[&*RESTAGE, &"plan", &scenario]))
}

/// What is done to VLAN tags.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tags {
    /// One is put before all others.
    Pushed,
    /// The outermost one is taken off.
    Popped,
}

/// `restage rewrite` and, if it is installed, tcprewrite, which do that to the frames of `capture`, and nothing else.
pub(crate) fn tagging(tags: Tags, capture: &Path, output: &Path) -> io::Result<Vec<Program>> {
    let (word, options): (_, &[&dyn AsRef<std::ffi::OsStr>]) = match tags {
        Tags::Pushed => {
            let push = "push = { id = 7 }";
            (push, &[&"--enet-vlan=add", &"--enet-vlan-tag=7", &"--enet-vlan-cfi=0", &"--enet-vlan-pri=0"])
        }
        Tags::Popped => ("pop = true", &[&"--enet-vlan=del"]),
    };
    let scenario = capture.with_extension("tags.toml");
    let text = format!("format = 1\n\n[capture]\nfile = \"{}\"\n\n[rewrite.vlan]\n{word}\n", capture.display());
    fs::write(&scenario, text)?;
    let restage: &[&dyn AsRef<std::ffi::OsStr>] = &[&*RESTAGE, &"rewrite", &scenario, &"-o", &output];
    let mut entered = vec![Program::new("restage", Output::Rewritten, restage)];
    if is_installed("tcprewrite") {
        let command = [&[&"tcprewrite" as &dyn AsRef<_>], options, &[&"-i", &capture, &"-o", &output]].concat();
        entered.push(Program::new("tcprewrite", Output::Rewritten, &command));
    }
    Ok(entered)
}

fn scenario(workload: Workload, checksums: &str, capture: &Path) -> io::Result<PathBuf> {
    let map = |side: usize| {
        let entries = maps(workload, side).into_iter().map(|(from, to)| format!("\"{from}\" = \"{to}\""));
        entries.collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "format = 1\n\n[capture]\nfile = \"{}\"\n\n[rewrite]\nchecksums = \"{checksums}\"\nallow-unused = true\n\n\
         [rewrite.source]\nip = {{ {} }}\n\n[rewrite.destination]\nip = {{ {} }}\nmac = \"{MAC}\"\n",
        capture.display(),
        map(0),
        map(1)
    );
    let path = capture.with_extension(format!("{checksums}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// The prefixes of sources (0) or of destinations (1), with what they become.
fn maps(workload: Workload, side: usize) -> Vec<(String, String)> {
    let v4 = (0..5).map(|site| (format!("10.{}.0.0/16", 5 * side + site), format!("2{side}.{site}.0.0/16")));
    let mut maps: Vec<_> = v4.collect();
    if workload == Workload::Mixed {
        let (from, to) = V6[side];
        maps.push((from.to_owned(), to.to_owned()));
    }
    maps
}

/// tcprewrite, if it is installed.
pub(crate) fn tcprewrite(workload: Workload, capture: &Path, output: &Path) -> Option<Program> {
    let map = |side: usize| {
        let bracketed = |prefix: &str| match prefix.split_once('/') {
            Some((address, length)) if address.contains(':') => format!("[{address}/{length}]"),
            _ => prefix.to_owned(),
        };
        let entries =
            maps(workload, side).into_iter().map(|(from, to)| format!("{}:{}", bracketed(&from), bracketed(&to)));
        entries.collect::<Vec<_>>().join(",")
    };
    is_installed("tcprewrite").then(|| {
        Program::new(
            "tcprewrite",
            Output::Rewritten,
            &[
                &"tcprewrite",
                &format!("--srcipmap={}", map(0)),
                &format!("--dstipmap={}", map(1)),
                &format!("--enet-dmac={MAC}"),
                &"-i",
                &capture,
                &"-o",
                &output,
            ],
        )
    })
}

/// dd: a copy in pieces of 1 MiB, nearly the limit of what the machine can do.
pub(crate) fn dd(capture: &Path, output: &Path) -> Option<Program> {
    let [from, to] = [("if=", capture), ("of=", output)].map(|(word, path)| {
        let mut word = OsString::from(word);
        word.push(path);
        word
    });
    is_installed("dd")
        .then(|| Program::new("dd bs=1M, a copy", Output::Copied, &[&"dd", &from, &to, &"bs=1M", &"status=none"]))
}

/// editcap: a copy, frame by frame.
pub(crate) fn editcap(capture: &Path, output: &Path) -> Option<Program> {
    let format = output.extension().unwrap_or_default().to_owned();
    is_installed("editcap")
        .then(|| Program::new("editcap, a copy", Output::Copied, &[&"editcap", &"-F", &format, &capture, &output]))
}

/// gzip: it only unpacks.
pub(crate) fn gunzip(packed: &Path, output: &Path) -> Option<Program> {
    let script = "exec gzip -dc -- \"$1\" >\"$2\"";
    is_installed("gzip")
        .then(|| Program::new("gzip -dc", Output::Nothing, &[&"sh", &"-c", &script, &"sh", &packed, &output]))
}

/// Packs a file.
pub(crate) fn gzip(path: &Path, packed: &Path) -> io::Result<bool> {
    let status = Command::new("gzip").arg("-1c").arg(path).stdout(fs::File::create(packed)?).status()?;
    Ok(status.success())
}

/// Whether restage reads that capture.
pub(crate) fn reads(capture: &Path) -> bool {
    let Ok(scenario) = scenario(Workload::Ipfix, "preserve", capture) else { return false };
    let plan = Command::new(&*RESTAGE).arg("plan").arg(scenario).stdout(Stdio::null()).stderr(Stdio::null()).status();
    plan.is_ok_and(|status| status.success())
}

/// `restage run` of a small capture into its own receiver, at top speed.
pub(crate) fn run_at_top_speed(capture: &Path, scenario: &Path) -> io::Result<Program> {
    let text = format!("format = 1\n\n[capture]\nfile = \"{}\"\n\n[pacing]\nrate = \"topspeed\"\n", capture.display());
    fs::write(scenario, text)?;
    Ok(Program::new("restage run, 720 datagrams at top speed", Output::Nothing, &[&*RESTAGE, &"run", &scenario]))
}

/// `restage rewrite` of the same capture.
pub(crate) fn rewrite_appflow(capture: &Path, scenario: &Path, output: &Path) -> io::Result<Program> {
    let text = format!(
        "format = 1\n\n[capture]\nfile = \"{}\"\n\n[rewrite.source]\nip = {{ \"10.44.0.0/16\" = \"192.0.0.0/16\" }}\n",
        capture.display()
    );
    fs::write(scenario, text)?;
    let command: &[&dyn AsRef<std::ffi::OsStr>] = &[&*RESTAGE, &"rewrite", &scenario, &"-o", &output];
    Ok(Program::new("restage rewrite of that capture", Output::Rewritten, command))
}
