//! When a program of the receiver is ready: its sockets are bound, and what its `ready` says holds. Start at [`Conditions`].

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};

use super::application::{Found, Launch, Output, Process, Site, has_done, how_it_runs_on, in_the_foreground};
use super::control::Control;
use super::setting::Setting;
use super::sniffers::Arising;
use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::expect::wrote_too_much;
use crate::figures::{count, duration};
use crate::host::sockets::SocketTable;
use crate::process::application::{Around, Ended};
use crate::process::work;
use crate::scenario::receiver::Program;
use crate::scenario::require::Transport;

/// How often an application that starts is looked at: at first, for how long, and later.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_CLOSELY: Duration = Duration::from_secs(1);
const LOOK_LATER: Duration = Duration::from_millis(20);
/// Between two attempts of the command.
const RETRY: Duration = Duration::from_millis(100);
/// So long one attempt may take: one that hangs may have come too early.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A line that is longer is looked at in parts.
const LONGEST_LINE: usize = 64 << 10;

/// What a program must show until it is ready.
pub(super) struct Conditions<'a> {
    site: Site<'a>,
    words: &'a Program,
    setting: Rc<Setting>,
    launch: Launch,
    /// A packet socket, where it is to have one.
    packet: bool,
    output: Option<Wanted<'a, Regex>>,
    file: Option<Wanted<'a, PathBuf>>,
    command: Option<Wanted<'a, Found>>,
}

/// Something that is waited for, and where the scenario says so.
struct Wanted<'a, T> {
    what: T,
    /// As the scenario has it.
    written: String,
    span: Option<&'a Range<usize>>,
}

/// What is still missing, as it is reported when the time is over.
struct Missing {
    /// What did not happen.
    what: String,
    why: String,
    fix: String,
    span: Option<Range<usize>>,
}

impl<'a> Conditions<'a> {
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where the program of the command isn't there.
    pub(super) fn of(site: Site<'a>, words: &'a Program, setting: Rc<Setting>, launch: Launch) -> Result<Self> {
        let ready = &words.ready;
        let output = ready.output.as_ref().and_then(|pattern| {
            // The scenario was refused if it can't be compiled.
            let what = RegexBuilder::new(&pattern.value).multi_line(true).build().ok()?;
            Some(Wanted { what, written: pattern.value.clone(), span: pattern.span.as_ref() })
        });
        let file = ready.file.as_ref().map(|file| Wanted {
            what: site.folder.work().join(site.fill(&file.value)),
            written: file.value.clone(),
            span: file.span.as_ref(),
        });
        let command = ready.command.as_ref().map(|command: &At<Vec<String>>| {
            let what = site.find(command)?;
            let written = what.command.first().cloned().unwrap_or_default();
            Ok::<_, Failure>(Wanted { what, written, span: command.span.as_ref() })
        });
        let packet = words.listens.as_ref().is_some_and(|listens| listens.value.packet);
        Ok(Self { site, words, setting, launch, packet, output, file, command: command.transpose()? })
    }

    /// Begins to look, before the program is started. Of one that is started again, what it showed before doesn't count; a file that it made is
    /// removed.
    pub(super) fn begin(&self, output: &Output) -> Result<Looks<'_>> {
        if let (Launch::Again, Some(file)) = (self.launch, &self.file) {
            // A folder stays, with what is in it. What can't be removed is found to be there.
            self.site.look(None, || fs::remove_file(&file.what).is_ok())?;
        }
        Ok(Looks {
            packet: if self.packet { Some(Arising::start(self.site.testbed.receiver())?) } else { None },
            output: self.output.as_ref().map(|wanted| OutputWatch::new(&wanted.what, output, self.launch)),
            attempts: Attempts::default(),
            end: Instant::now() + self.words.ready.within.value,
        })
    }

    /// Waits until all of it holds.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where the application ends before, or the time is over; it is stopped then.
    pub(super) fn await_all(&self, process: &mut Process, mut looks: Looks<'_>, control: &Control<'_>) -> Result<()> {
        let begun = Instant::now();
        let limit = self.words.ready.within.value;
        looks.end = begun + limit;
        loop {
            let is_over = begun.elapsed() >= limit || control.is_over();
            let missing = self.first_missing(process, &mut looks, control)?;
            let ended = process.ended()?.cloned();
            match (missing, ended) {
                // A program that needs no socket is ready when it runs, and may have done its work by now.
                (None, None) => return Ok(()),
                (None, Some(ended)) if self.may_have_ended(&ended) => return Ok(()),
                (_, Some(ended)) => return Err(self.not_up(process, &ended)),
                (Some(missing), None) if is_over => {
                    let within = format!("`[{}.ready] within`", self.words.table());
                    let time = if begun.elapsed() >= limit { &within } else { "`timeout`" };
                    return Err(self.not_ready(process, missing, begun.elapsed(), time));
                }
                (Some(_), None) => sleep(if begun.elapsed() < LOOK_CLOSELY { LOOK } else { LOOK_LATER }),
            }
        }
    }

    /// Whether a program that has ended may have done so. An application that needs no socket may have done its work by now.
    fn may_have_ended(&self, ended: &Ended) -> bool {
        let is_application = self.words.name.is_none();
        has_done(self.words, ended) || is_application && *ended == Ended::Exited(0)
    }

    /// The first condition that does not hold. The command is started only where all others do.
    fn first_missing(
        &self,
        process: &mut Process,
        looks: &mut Looks<'_>,
        control: &Control<'_>,
    ) -> Result<Option<Missing>> {
        let table = self.words.table();
        if let Some(waiting) = process.first_unserved()? {
            let others = self.site.scenario.receiver.processes.len();
            return Ok(Some(Missing {
                what: format!("never listened on `{waiting}`"),
                why: bound(&process.sockets, if others == 0 { "it has" } else { "all of them together have" })?,
                fix: format!("let it listen there, or say where it listens: `[{table}] listens = [\"udp:…\"]`"),
                span: self.words.span(),
            }));
        }
        if let Some(exit) = &self.words.ready.exit
            && process.ended()?.is_none()
        {
            return Ok(Some(Missing {
                what: "did not end".to_owned(),
                why: format!("`ready.exit` waits until it has done its work and ends with exit status {}", exit.value),
                fix: "remove `exit` where it is to run until it is stopped".to_owned(),
                span: exit.span.clone(),
            }));
        }
        if let Some(packet) = &mut looks.packet
            && !packet.is_there()?
        {
            let interface = self.site.testbed.receiver().interface();
            let packet = |listens: &At<_>| listens.span.clone();
            return Ok(Some(Missing {
                what: format!("never had a packet socket on {interface}"),
                why: "it has bound none to that interface, nor one to all".to_owned(),
                fix: "let it sniff at `{receiver}`, and give it the right to: `capabilities = [\"CAP_NET_RAW\"]`"
                    .to_owned(),
                span: self.words.listens.as_ref().and_then(packet),
            }));
        }
        if let (Some(wanted), Some(watch)) = (&self.output, &mut looks.output)
            && !watch.has_matched()
        {
            return Ok(Some(Missing {
                what: "never printed what it is waited for".to_owned(),
                why: format!("no line of its output matches `{}`", wanted.written),
                fix: format!(
                    "compare the pattern of `[{table}.ready] output` with what it prints, and let it print that at once: some \
                     programs need an option for their log to go to standard error"
                ),
                span: wanted.span.cloned(),
            }));
        }
        if let Some(wanted) = &self.file
            && !self.site.look(Some(process), || wanted.what.exists())?
        {
            return Ok(Some(Missing {
                what: format!("never made `{}`", wanted.written),
                why: format!("there is no `{}`", wanted.what.display()),
                fix: format!(
                    "compare the path of `[{table}.ready] file` with the one that {} writes",
                    self.words.who()
                ),
                span: wanted.span.cloned(),
            }));
        }
        let Some(wanted) = &self.command else { return Ok(None) };
        let output = Output::beside(self.site.folder, "ready");
        let Some(how) = self.attempt(process, wanted, &output, looks, control)? else { return Ok(None) };
        Ok(Some(Missing {
            what: format!("was never ready by `{}`", wanted.written),
            why: format!("the last of {} {how}; {}", count(looks.attempts.made, "attempt"), output.said()),
            fix: format!(
                "compare `[{table}.ready] command` with how it is run by hand while {} runs",
                self.words.who()
            ),
            span: wanted.span.cloned(),
        }))
    }

    /// Runs the command once, if it is time for it; how its last attempt failed.
    fn attempt(
        &self,
        process: &mut Process,
        wanted: &Wanted<'_, Found>,
        output: &Output,
        looks: &mut Looks<'_>,
        control: &Control<'_>,
    ) -> Result<Option<String>> {
        let attempts = &mut looks.attempts;
        // One that the end of the time would cut says nothing of why it isn't ready.
        let left = looks.end.saturating_duration_since(Instant::now());
        if attempts.last.is_some_and(|last| last.elapsed() < RETRY || left < attempts.longest) {
            return Ok(Some(attempts.how.clone()));
        }
        let around = process.running.inside().map_or(self.site.around(), Around::Beside);
        let begun = Instant::now();
        attempts.made += 1;
        let mut running = match self.site.start(&wanted.what, &self.setting, around, output) {
            Ok(running) => running,
            // Its namespaces end with the application.
            Err(_) if process.ended()?.is_some() => return Ok(Some("was not started".to_owned())),
            Err(failure) => return Err(failure),
        };
        let how = loop {
            match running.wait_for_program(LOOK_LATER)? {
                Some(Ended::Exited(0)) => return Ok(None),
                Some(ended) => {
                    attempts.longest = attempts.longest.max(begun.elapsed());
                    break format!("ended with {ended}");
                }
                None => {}
            }
            let is_over = begun.elapsed() >= ATTEMPT || Instant::now() >= looks.end;
            if is_over || control.is_over() || process.ended()?.is_some() {
                running.stop(9, Duration::from_secs(1))?;
                break format!("did not end within {}, and was killed", duration(begun.elapsed()));
            }
        };
        attempts.last = Some(Instant::now());
        attempts.how.clone_from(&how);
        Ok(Some(how))
    }

    fn nothing_was_sent(&self) -> &'static str {
        match self.launch {
            Launch::First => "nothing was sent; ",
            Launch::Again => "",
        }
    }

    /// The time is over.
    fn not_ready(&self, process: &mut Process, missing: Missing, after: Duration, time: &str) -> Failure {
        let background = process.running.has_left_others();
        let stopped = process.running.stop(self.words.stop, Duration::from_secs(1));
        let said = process.output.said();
        let Missing { what, why, fix, span } = missing;
        let who = self.words.who();
        let (what, fix) = if background {
            let what = format!("{who} went into the background, and {what}");
            (what, format!("{}; or {fix}", in_the_foreground(&process.found.command)))
        } else {
            let table = self.words.table();
            let slowly = format!("one that starts slowly gets more time by `[{table}] ready = {{ within = \"60s\" }}`");
            (format!("{who} {what}"), format!("{fix}; {slowly}"))
        };
        let sent = self.nothing_was_sent();
        let why = format!("after {}, the limit by {time}, {why}; {sent}{said}", duration(after));
        match stopped {
            Ok(_) => Failure::blocked(self.site.problem(what, span.as_ref()).why(why).fix(fix)),
            Err(failure) => failure,
        }
    }

    /// The application has ended.
    fn not_up(&self, process: &Process, ended: &Ended) -> Failure {
        let before = if self.words.ready.is_only_sockets() { "it listened" } else { "it was ready" };
        let who = self.words.who();
        let what = if process.running.has_left_others() {
            format!("{who} went into the background, and ended before {before}: {ended}")
        } else {
            format!("{who} ended before {before}: {ended}")
        };
        let said = process.output.said();
        let changes_user = [
            "setuid",
            "setgid",
            "setgroups",
            "initgroups",
            "setresuid",
            "setresgid",
            "uid/gid",
            "group id",
            "user id",
            "privilege",
        ];
        let is_user = !work::is_root() && changes_user.iter().any(|word| said.to_lowercase().contains(word));
        let fix = if is_user {
            "an ordinary user can't become another one: start it without the option that changes its user, or run restage as root"
                .to_owned()
        } else if *ended == Ended::Exited(0) && self.words.name.is_some() {
            let done = "one that does its work and ends has `ready = { exit = 0 }`";
            format!("{}; {done}", how_it_runs_on(&process.found.command, ended))
        } else {
            how_it_runs_on(&process.found.command, ended)
        };
        let span = self.words.span();
        if process.wrote_too_much() {
            let scenario = self.site.scenario;
            return Failure::blocked(wrote_too_much(scenario, self.words).at(&scenario.source, span));
        }
        let problem: Diagnostic = self.site.problem(what, span.as_ref());
        Failure::blocked(problem.why(format!("{}{said}", self.nothing_was_sent())).fix(fix))
    }
}

/// What is looked at again and again.
pub(super) struct Looks<'a> {
    packet: Option<Arising>,
    output: Option<OutputWatch<'a>>,
    attempts: Attempts,
    /// When the time is over.
    end: Instant,
}

/// The attempts of a command.
#[derive(Default)]
struct Attempts {
    made: u64,
    /// When the last one ended, and how.
    last: Option<Instant>,
    how: String,
    /// How long the longest took that ended by itself.
    longest: Duration,
}

/// What it has bound, in words.
fn bound(table: &SocketTable, who: &str) -> Result<String> {
    let mut there = Vec::new();
    for (transport, name) in [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")] {
        let mut sockets = table.list(transport)?;
        sockets.sort_by_key(|socket| (socket.port, socket.address));
        there.extend(sockets.iter().map(|socket| format!("{name}:{}:{}", socket.address, socket.port)));
    }
    Ok(if there.is_empty() { format!("{who} bound no socket") } else { format!("{who} bound {}", there.join(", ")) })
}

/// Looks through what an application prints for a line that matches, as it comes.
struct OutputWatch<'a> {
    pattern: &'a Regex,
    streams: [Stream; 2],
    matched: bool,
}

/// One of its files: how far it was read, and what came after the last whole line.
struct Stream {
    path: PathBuf,
    read: u64,
    line: Vec<u8>,
}

impl<'a> OutputWatch<'a> {
    /// Of a program that is started again, what is printed from now on.
    fn new(pattern: &'a Regex, output: &Output, launch: Launch) -> Self {
        let printed = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let stream = |path: &Path| {
            let read = if launch == Launch::Again { printed(path) } else { 0 };
            Stream { path: path.to_owned(), read, line: Vec::new() }
        };
        Self { pattern, streams: [stream(&output.stdout), stream(&output.stderr)], matched: false }
    }

    /// Reads what is new; whether a line has matched by now. A line that is still without its end counts, too: prompts have none.
    fn has_matched(&mut self) -> bool {
        for stream in &mut self.streams {
            // A file that can't be read has nothing that could match.
            self.matched = self.matched || stream.look(self.pattern).unwrap_or(false);
        }
        self.matched
    }
}

impl Stream {
    fn look(&mut self, pattern: &Regex) -> std::io::Result<bool> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        loop {
            let length = (&mut file).take(LONGEST_LINE as u64).read_to_end(&mut self.line)?;
            self.read += length as u64;
            if length > 0 && self.line.split(|byte| *byte == b'\n').any(|line| pattern.is_match(line)) {
                return Ok(true);
            }
            let whole = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.line.drain(..whole);
            if self.line.len() > LONGEST_LINE {
                self.line.clear();
            }
            if length < LONGEST_LINE {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_matches_however_it_comes_in() {
        let folder = std::env::temp_dir().join(format!("restage-ready-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = Output { stdout: folder.join("out"), stderr: folder.join("err") };
        let pattern = RegexBuilder::new(r"^all zones loaded$|\xff!").multi_line(true).unicode(false).build().unwrap();
        for (parts, matches) in [
            (vec![&b"all zones loaded"[..]], true),
            (vec![b"all zo", b"nes loa", b"ded\nmore"], true),
            (vec![b"not all zones loaded\n", b"all zones loaded now\n"], false),
            (vec![b"\0\xfe\n\xff", b"!"], true),
            (vec![], false),
        ] {
            let mut file = File::create(&output.stderr).unwrap();
            let mut watch = OutputWatch::new(&pattern, &output, Launch::First);
            let mut seen = watch.has_matched();
            for part in &parts {
                file.write_all(part).unwrap();
                seen = watch.has_matched();
            }
            assert_eq!(seen, matches, "{parts:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
