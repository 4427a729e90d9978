//! Scenarios that do what a command line of tcprewrite, tcpreplay and their like did.
//!
//! `shell` finds the commands, `options` reads the options of each, one file for each program translates them, and `sheet` is the scenario in
//! the making. A file that one command writes and the next one reads is followed. Start at [`of_commands`].

mod bittwist;
mod bittwiste;
mod options;
mod sheet;
mod shell;
mod tcpprep;
mod tcpreplay;
mod tcprewrite;
#[cfg(test)]
mod tests;
mod udpreplay;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use self::options::{Given, Options};
use self::sheet::Sheet;
use self::shell::Word;
use super::Draft;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};

const PROGRAMS: &str = "tcprewrite, tcpreplay, tcpreplay-edit, tcpprep, bittwist, bittwiste, udpreplay";
/// Words before a command that change nothing in what it does.
const BEFORE: [&str; 8] = ["sudo", "time", "exec", "then", "do", "else", "{", "!"];
/// Programs that start another one.
const STARTERS: [&str; 11] =
    ["env", "nice", "ionice", "chrt", "taskset", "timeout", "stdbuf", "nohup", "ip", "nsenter", "unshare"];

/// The scenario that does what these commands did, and what it does otherwise.
///
/// `name`: how the scenario names a file that a command names.
///
/// # Errors
/// What is no command line of these programs, and what a scenario can't hold: two replays, two maps of the same field.
pub(crate) fn of_commands(source: &Arc<Source>, name: impl Fn(&str) -> String) -> Result<(Draft, Vec<Diagnostic>)> {
    let mut import = Import {
        source,
        written: BTreeMap::new(),
        caches: HashMap::new(),
        replayed: None,
        command: 0,
        commands: Vec::new(),
        notes: Vec::new(),
    };
    for command in shell::commands(source)? {
        import.read(&command)?;
    }
    let commands = std::mem::take(&mut import.commands);
    let notes = std::mem::take(&mut import.notes);
    let mut sheet = import.sheet()?;
    sheet.notes.splice(0..0, notes);
    Ok((sheet.draft(&commands, name), sheet.notes))
}

/// What the commands so far have written.
#[derive(Debug)]
struct Import<'a> {
    source: &'a Arc<Source>,
    /// The captures, by the names of their files; false when a later command has read it.
    written: BTreeMap<String, (Sheet, bool)>,
    caches: HashMap<String, Cache>,
    replayed: Option<Sheet>,
    /// The number of the command that is being read.
    command: usize,
    /// Those that are imported, as they are written.
    commands: Vec<String>,
    notes: Vec<Diagnostic>,
}

/// What a cache file of tcpprep holds.
#[derive(Debug, Clone)]
struct Cache {
    split: Split,
    /// Keys of `[capture]` with value and option.
    selected: Vec<(&'static str, String, String)>,
}

/// How frames of clients are told from those of servers.
#[derive(Debug, Clone)]
enum Split {
    /// Servers have these addresses.
    Servers(Vec<IpNet>),
    /// This selects what clients send.
    Filter(String),
    Unknown,
}

impl Import<'_> {
    fn read(&mut self, command: &[Word]) -> Result<()> {
        let is_known = |word: &Word| PROGRAMS.split(", ").any(|program| program == base_name(word));
        let before = command.iter().take_while(|word| BEFORE.contains(&word.text.as_str())).count();
        let starts = |word: &Word| STARTERS.contains(&base_name(word));
        let at =
            if before > 0 || command.first().is_some_and(starts) { command.iter().position(is_known) } else { None };
        let starters = &command[..at.unwrap_or_default()];
        if let Some(starter) = starters.iter().position(starts) {
            let words: Vec<_> = starters[starter..].iter().map(|word| word.text.as_str()).collect();
            self.notes.push(
                Diagnostic::note(format!("`{}` is not translated", words.join(" ")))
                    .at(self.source, Some(starters[starter].span.clone()))
                    .why("restage makes network namespaces of its own, and `timeout` in a scenario limits a run"),
            );
        }
        let command = &command[at.unwrap_or(before)..];
        let Some(program) = command.first() else { return Ok(()) };
        let name = base_name(program);
        self.command += 1;
        match name {
            "tcprewrite" => tcprewrite::import(command, self)?,
            "tcpreplay" => tcpreplay::import(command, false, self)?,
            "tcpreplay-edit" => tcpreplay::import(command, true, self)?,
            "tcpprep" => tcpprep::import(command, self)?,
            "bittwist" => bittwist::import(command, self)?,
            "bittwiste" => bittwiste::import(command, self)?,
            "udpreplay" => udpreplay::import(command, self)?,
            _ => {
                self.notes.push(
                    Diagnostic::note(format!("`{name}` is not imported"))
                        .at(self.source, Some(program.span.clone()))
                        .why(format!("these are: {PROGRAMS}")),
                );
                return Ok(());
            }
        }
        let end = command.last().map_or(program.span.end, |word| word.span.end);
        let written = self.source.text.get(program.span.start..end.max(program.span.end)).unwrap_or_default();
        self.commands.push(written.split_whitespace().filter(|word| *word != "\\").collect::<Vec<_>>().join(" "));
        Ok(())
    }

    /// The capture that an option names.
    fn input(&mut self, command: &[Word], options: &Options, option: &str) -> Result<Sheet> {
        match options.get(option) {
            Some(given) => Ok(self.take(&given.value)),
            None => Err(self.nothing_read(command)),
        }
    }

    /// The captures behind the options.
    fn inputs(&mut self, command: &[Word], files: &[Word]) -> Result<Sheet> {
        match files {
            [] => Err(self.nothing_read(command)),
            [file] => Ok(self.take(&file.text)),
            files => {
                if let Some(file) = files.iter().find(|file| self.written.contains_key(&file.text)) {
                    return Err(Failure::invalid(
                        Diagnostic::error(format!(
                            "`{}` was rewritten before, and is one of several captures here",
                            file.text
                        ))
                        .at(self.source, Some(file.span.clone()))
                        .why("the maps of a scenario hold for all its captures")
                        .fix("import a command for each capture"),
                    ));
                }
                let mut sheet = Sheet::new(self.source, files.iter().map(|file| file.text.clone()).collect());
                sheet.command = self.command;
                Ok(sheet)
            }
        }
    }

    fn take(&mut self, file: &str) -> Sheet {
        let mut sheet = match self.written.get_mut(file) {
            Some((sheet, is_last)) => {
                *is_last = false;
                sheet.clone()
            }
            None => Sheet::new(self.source, vec![file.to_owned()]),
        };
        sheet.command = self.command;
        sheet
    }

    fn nothing_read(&self, command: &[Word]) -> Failure {
        Failure::invalid(
            Diagnostic::error("this command reads no capture")
                .at(self.source, command.first().map(|word| word.span.clone()))
                .fix("name the capture as the program wants it"),
        )
    }

    fn output(&mut self, given: Option<&Given>, sheet: Sheet) {
        let file = given.map(|given| given.value.clone()).unwrap_or_default();
        self.written.insert(file, (sheet, true));
    }

    /// The cache file that is named, with the frames that it selects; one that no command here has written has an unknown content.
    fn cache(&self, options: &Options, sheet: &mut Sheet) -> Option<Cache> {
        let given = options.get("cachefile")?;
        let cache = self.caches.get(&given.value).cloned().unwrap_or_else(|| {
            sheet.remark(
                given,
                format!("what is in `{}` is not known", given.value),
                "no tcpprep here writes it; the client is the sender of a conversation's first frame in the capture",
            );
            Cache { split: Split::Unknown, selected: Vec::new() }
        });
        for (key, value, option) in &cache.selected {
            sheet.text("[capture]", key, value, option);
        }
        Some(cache)
    }

    fn replayed(&mut self, command: &[Word], mut sheet: Sheet) -> Result<()> {
        if self.replayed.is_some() {
            return Err(Failure::invalid(
                Diagnostic::error("this is the second replay")
                    .at(self.source, command.first().map(|word| word.span.clone()))
                    .why("a scenario replays once")
                    .fix("import each by itself"),
            ));
        }
        sheet.is_replayed = true;
        self.replayed = Some(sheet);
        Ok(())
    }

    /// The scenario: what is replayed, else the one file that is written last.
    fn sheet(&mut self) -> Result<Sheet> {
        let last: Vec<_> = self.written.iter().filter(|(_, (_, is_last))| *is_last).collect();
        if let Some(mut sheet) = self.replayed.take() {
            for (file, _) in last {
                let why = "a scenario is what is replayed; import the command that writes it by itself";
                sheet.notes.push(Diagnostic::note(format!("`{file}` is written and not replayed")).why(why));
            }
            return Ok(sheet);
        }
        match last.as_slice() {
            [(_, (sheet, _))] => Ok(sheet.clone()),
            [] => Err(Failure::invalid(
                Diagnostic::error("there is no command that rewrites or replays a capture")
                    .why(format!("these are imported: {PROGRAMS}"))
                    .fix("write the whole command: `restage import 'tcpreplay -i eth0 --pps=100 a.pcap'`"),
            )),
            [(one, _), (two, _), ..] => Err(Failure::invalid(
                Diagnostic::error(format!("`{one}` and `{two}` are two captures"))
                    .why("a scenario has one")
                    .fix("import the commands for each by itself"),
            )),
        }
    }
}

/// The name of a program without its folder.
fn base_name(word: &Word) -> &str {
    word.text.rsplit('/').next().unwrap_or_default()
}
