//! What it takes to start, to check many scenarios, and to run many small ones, beside a script of ip, tcprewrite, tcpreplay and tcpdump that
//! does by hand what each of them does. Start at [`suite`].

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::figures::{Aims, Page};
use crate::machine::Work;
use crate::programs::{self, Output, Program, RESTAGE};
use crate::race::{Race, race};

/// So many scenarios are run in one round, since the script takes about a second for each.
const SCENARIOS: usize = 24;
/// As many as are run side by side by restage, on a machine with two processors.
const AT_ONCE: usize = 8;
const FRAMES: usize = 100;
/// So many files are checked.
const FILES: usize = 1000;

/// So many rounds the scenarios have at most.
const MOST_ROUNDS: usize = 3;

const ONE_DATAGRAM: &str = "restage run, one datagram";
const DEFAULT: &str = "restage run";
const ONE_BY_ONE: &str = "restage run --jobs 1";
const SCRIPT: &str = "the script";
const SCRIPTS: &str = "the script, 8 at a time";

/// Measures all of it.
///
/// # Errors
/// When there is no room for the scenarios.
pub(crate) fn suite(page: &mut Page, aims: &mut Aims, work: &Work, rounds: usize) -> io::Result<()> {
    let started = start_to_exit(work, rounds)?;
    page.started(&started);
    let wall = started.of(ONE_DATAGRAM).map(|runs| runs.wall().as_secs_f64() * 1e3);
    aims.at_most("one datagram, from start to exit: ms".to_owned(), 40.0, wall);
    // The script alone takes half a minute.
    let race = many(work, rounds.min(MOST_ROUNDS))?;
    page.many(&race, (SCENARIOS, FRAMES), SCRIPT);
    let (restage, scripts) = (race.of(DEFAULT), race.of(SCRIPTS));
    let a_minute = restage.map(|runs| SCENARIOS as f64 * 60.0 / runs.wall().as_secs_f64());
    aims.at_least("many scenarios: scenarios a minute".to_owned(), 1000.0, a_minute);
    let of_scripts = restage.zip(scripts).map(|(restage, scripts)| scripts.times_of(restage));
    aims.at_least("many scenarios: speed by that of scripts, as many at a time".to_owned(), 1.0, of_scripts);
    Ok(())
}

/// A capture as small as those in tests: what counts is how long a program takes to begin and to end.
fn start_to_exit(work: &Work, rounds: usize) -> io::Result<Race> {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/captures/appflow.pcapng");
    let output = work.file("out.pcapng");
    let files = work.file("checked");
    write_scenarios(&files, &capture, FILES)?;
    let one = work.file("one.toml");
    fs::write(&one, scenario(&capture, 1))?;
    let restage = |name: &str, arguments: &[&Path]| Program {
        name: name.to_owned(),
        command: std::iter::once(RESTAGE.as_os_str())
            .chain(arguments.iter().map(|word| word.as_os_str()))
            .map(OsString::from)
            .collect(),
        output: Output::Nothing,
    };
    let mut entered = vec![
        restage("restage --version", &["--version".as_ref()]),
        restage("restage check, 1,000 scenarios", &["check".as_ref(), &files]),
        restage(ONE_DATAGRAM, &["run".as_ref(), &one]),
        programs::run_at_top_speed(&capture, &work.file("top.toml"))?,
        programs::rewrite_appflow(&capture, &work.file("map.toml"), &output)?,
    ];
    entered.extend(programs::dd(&capture, &output));
    Ok(race(entered, &capture, &output, rounds))
}

/// Scenarios side by side and one after the other, and the same work by the script.
fn many(work: &Work, rounds: usize) -> io::Result<Race> {
    let capture = first_frames(work)?;
    let folder = work.file("scenarios");
    write_scenarios(&folder, &capture, SCENARIOS)?;
    let by_restage = |name: &str, more: &[&str]| Program {
        name: name.to_owned(),
        command: [RESTAGE.as_os_str(), "run".as_ref(), folder.as_os_str()]
            .into_iter()
            .chain(more.iter().map(AsRef::as_ref))
            .map(OsString::from)
            .collect(),
        output: Output::Nothing,
    };
    let by_hand = |name: &str, at_once: usize| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/by-hand.sh");
        let all = format!(
            "seq {SCENARIOS} | xargs -P {at_once} -I NUMBER unshare --net {} {} {FRAMES} {}/by-hand-NUMBER",
            script.display(),
            capture.display(),
            folder.display()
        );
        Program {
            name: name.to_owned(),
            command: ["sh", "-c", &all].map(OsString::from).to_vec(),
            output: Output::Nothing,
        }
    };
    let mut entered =
        vec![by_restage(DEFAULT, &["--jobs", &AT_ONCE.to_string()]), by_restage(ONE_BY_ONE, &["--jobs", "1"])];
    if ["tcprewrite", "tcpreplay", "tcpdump", "ip"].iter().all(|program| programs::is_installed(program)) {
        entered.extend([by_hand(SCRIPTS, AT_ONCE), by_hand(SCRIPT, 1)]);
    }
    Ok(race(entered, &capture, &work.file("none"), rounds))
}

/// The first frames of a capture, as tcprewrite and tcpreplay read them.
fn first_frames(work: &Work) -> io::Result<PathBuf> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/captures/appflow.pcapng");
    let (only, capture) = (work.file("first.toml"), work.file("first.pcap"));
    fs::write(&only, format!("format = 1\n[capture]\nfile = \"{}\"\nframes = \"1-{FRAMES}\"\n", from.display()))?;
    let written = Command::new(&*RESTAGE).arg("rewrite").arg(only).arg("-o").arg(&capture).output()?;
    if written.status.success() {
        Ok(capture)
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&written.stderr).into_owned()))
    }
}

/// The first frames of the capture to one address and MAC, at top speed.
fn scenario(capture: &Path, frames: usize) -> String {
    format!(
        "format = 1\n\n[capture]\nfile = \"{}\"\nframes = \"1-{frames}\"\n\n[rewrite.destination]\nip = {{ \"0.0.0.0/0\" = \"192.0.2.20\" }}\n\
         mac = \"receiver\"\n\n[pacing]\nrate = \"topspeed\"\n\n[expect]\narrived = \"all\"\n",
        capture.display()
    )
}

fn write_scenarios(folder: &Path, capture: &Path, count: usize) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let text = scenario(capture, FRAMES);
    (1..=count).try_for_each(|number| fs::write(folder.join(format!("{number}.toml")), &text))
}
