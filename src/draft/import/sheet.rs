//! A scenario in the making: what the commands so far say about one file.
//!
//! restage maps each frame once, while commands that follow each other map what the one before has written. So a key remembers which command
//! set it. Start at [`Sheet`].

use std::sync::Arc;

use ipnet::IpNet;

use super::options::{Given, Options};
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::draft::{Draft, Table, list};
use crate::scenario::quoted;

/// The tables in the order of the file.
const TABLES: [&str; 10] = [
    "[capture]",
    "[rewrite]",
    "[rewrite.source]",
    "[rewrite.destination]",
    "[rewrite.both]",
    "[rewrite.client]",
    "[rewrite.server]",
    "[rewrite.vlan]",
    "[rewrite.header]",
    "[lab]",
];
const PACING: &str = "[pacing]";

/// A scenario in the making.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    pub(super) source: Arc<Source>,
    /// The captures, as the commands name them.
    pub(super) files: Vec<String>,
    /// Where the frames were sent.
    pub(super) interface: Option<String>,
    pub(super) is_replayed: bool,
    /// The number of the command that is being read.
    pub(super) command: usize,
    /// What is not translated, or does something else.
    pub(super) notes: Vec<Diagnostic>,
    settings: Vec<Setting>,
}

#[derive(Debug, Clone)]
struct Setting {
    table: &'static str,
    key: &'static str,
    value: Value,
    comments: Vec<String>,
    command: usize,
}

#[derive(Debug, Clone)]
enum Value {
    /// As TOML.
    One(String),
    Map(Vec<(String, String)>),
}

impl Sheet {
    pub(super) fn new(source: &Arc<Source>, files: Vec<String>) -> Self {
        Self {
            source: Arc::clone(source),
            files,
            interface: None,
            is_replayed: false,
            command: 0,
            notes: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// A key whose value is TOML; it replaces that of an earlier command.
    pub(super) fn set(&mut self, table: &'static str, key: &'static str, toml: impl Into<String>, because: &str) {
        self.settings.retain(|setting| (setting.table, setting.key) != (table, key));
        let comments = Vec::from_iter((!because.is_empty()).then(|| because.to_owned()));
        let (value, command) = (Value::One(toml.into()), self.command);
        self.settings.push(Setting { table, key, value, comments, command });
    }

    /// The same, a text.
    pub(super) fn text(&mut self, table: &'static str, key: &'static str, text: &str, because: &str) {
        self.set(table, key, quoted(text), because);
    }

    /// Selects frames that also this expression takes.
    pub(super) fn filter(&mut self, expression: &str, because: &str) {
        let is = |setting: &Setting| (setting.table, setting.key) == ("[capture]", "filter");
        let before = self.settings.iter().position(is).map(|at| self.settings.remove(at));
        let both =
            before.as_ref().map(|before| format!("({}) and ({expression})", before.value.toml().trim_matches('"')));
        self.text("[capture]", "filter", both.as_deref().unwrap_or(expression), because);
        if let (Some(before), Some(now)) = (before, self.settings.last_mut()) {
            now.comments.splice(0..0, before.comments);
        }
    }

    /// The TOML of a key.
    pub(super) fn get(&self, table: &str, key: &str) -> Option<&str> {
        let is = |setting: &&Setting| (setting.table, setting.key) == (table, key);
        match &self.settings.iter().find(is)?.value {
            Value::One(toml) => Some(toml),
            Value::Map(_) => None,
        }
    }

    /// An entry of a map.
    ///
    /// # Errors
    /// Where an earlier command has mapped what this one would map again.
    pub(super) fn map(
        &mut self,
        given: &Given,
        table: &'static str,
        key: &'static str,
        from: &str,
        to: &str,
    ) -> Result<()> {
        let earlier = self.settings.iter().filter(|setting| setting.key == key && setting.command < self.command);
        for setting in earlier {
            let again = match &setting.value {
                Value::One(_) => true,
                Value::Map(entries) => {
                    entries.iter().any(|(before, after)| overlap(before, from) || overlap(after, from))
                }
            };
            if again && may_be_one_field(setting.table, table) {
                return Err(self.again(given, &setting.comments));
            }
        }
        let command = self.command;
        let is = |setting: &&mut Setting| (setting.table, setting.key) == (table, key);
        let Some(setting) = self.settings.iter_mut().find(is) else {
            let value = Value::Map(vec![(from.to_owned(), to.to_owned())]);
            self.settings.push(Setting { table, key, value, comments: vec![given.spelled.clone()], command });
            return Ok(());
        };
        let Value::Map(entries) = &mut setting.value else {
            return Ok(());
        };
        if !setting.comments.contains(&given.spelled) {
            setting.comments.push(given.spelled.clone());
        }
        setting.command = command;
        if entries.iter().any(|(before, _)| covers(before, from)) {
            self.remark(
                given,
                format!("the entry for {from} is left out"),
                "an entry before it matches the same, and the first one that matches counts",
            );
        } else {
            entries.push((from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    /// What two commands would do one after the other.
    pub(super) fn again(&self, given: &Given, before: &[String]) -> Failure {
        Failure::invalid(
            Diagnostic::error(format!("`{}` changes what an earlier command has changed", given.spelled))
                .at(&self.source, Some(given.span.clone()))
                .why(format!("restage changes each field once, and `{}` comes first", before.join(" ")))
                .fix("write one option that maps the captured value to the last one"),
        )
    }

    /// Says what an option does otherwise than the old program.
    pub(super) fn remark(&mut self, given: &Given, what: impl Into<String>, why: &str) {
        self.notes.push(Diagnostic::note(what).at(&self.source, Some(given.span.clone())).why(why));
    }

    /// Says that an option is not translated.
    pub(super) fn untranslated(&mut self, given: &Given, why: &str) {
        self.remark(given, format!("`{}` is not translated", given.spelled), why);
    }

    /// Where several options exclude each other, the last one counts.
    pub(super) fn only_the_last(&mut self, options: &Options, names: &[&str], what: &str) {
        let mut given: Vec<_> = options.given.iter().filter(|given| names.iter().any(|name| given.is(name))).collect();
        let Some(last) = given.pop() else { return };
        for given in given {
            self.untranslated(given, &format!("a scenario has one {what}, and `{}` is taken", last.spelled));
        }
    }

    /// Says it of all options that have no counterpart.
    pub(super) fn untranslated_of(&mut self, options: &Options) {
        for given in &options.given {
            if let Some(why) = given.opt.untranslated {
                self.untranslated(given, why);
            }
        }
    }

    /// The draft. `name`: how the scenario names a file.
    pub(super) fn draft(&self, commands: &[String], name: impl Fn(&str) -> String) -> Draft {
        let mut draft = Draft::default();
        let mut head = Table::new("").comment("Imported from:");
        for command in commands {
            head = head.comment(format!("  {command}"));
        }
        draft.push(head.key("format", "1"));
        if !self.notes.is_empty() {
            let mut notes = Table::new("").comment("What it does otherwise than these commands:");
            for note in &self.notes {
                notes = notes.comment(format!("- {}: {}", note.what, note.why.as_deref().unwrap_or_default()));
            }
            draft.push(notes);
        }
        let mut tables = TABLES.to_vec();
        tables.push(PACING);
        for header in tables {
            let mut table = Table::new(header);
            if header == "[capture]" {
                let files: Vec<_> = self.files.iter().map(|file| name(file)).collect();
                table = match files.as_slice() {
                    [file] => table.text("file", file),
                    files => table.key("files", list(files)),
                };
            }
            let is_mapped = self.settings.iter().any(|setting| matches!(setting.value, Value::Map(_)));
            if header == "[rewrite]" && is_mapped {
                table = table.key("allow-unused", "true").because(
                    "The old command says nothing about an entry that matches no frame. Without this line it is an error.",
                );
            }
            for setting in self.settings.iter().filter(|setting| setting.table == header) {
                table = table.key(setting.key, setting.value.toml());
                for comment in &setting.comments {
                    table = table.because(comment.clone());
                }
            }
            draft.push(table);
        }
        draft.push(self.destination());
        draft
    }

    /// Where the frames go, in comments.
    fn destination(&self) -> Table {
        let table = Table::new("");
        match &self.interface {
            Some(interface) => table
                .comment(format!(
                    "No frame leaves this machine: restage makes a sender and a receiver. To send by {interface} as before, write this (without \
                     [lab]), and `restage run SCENARIO --allow-interface {interface}`:"
                ))
                .comment("[target]")
                .comment(format!("interface = {}", quoted(interface))),
            None if self.is_replayed => table,
            None => table.comment("`restage rewrite SCENARIO -o FILE` writes the rewritten frames, `restage run SCENARIO` replays them."),
        }
    }
}

impl Value {
    fn toml(&self) -> String {
        match self {
            Self::One(toml) => toml.clone(),
            Self::Map(entries) => {
                let key =
                    |from: &str| if from.bytes().all(|c| c.is_ascii_digit()) { from.to_owned() } else { quoted(from) };
                let entries: Vec<_> = entries.iter().map(|(from, to)| format!("{} = {}", key(from), key(to))).collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// Whether two tables can change the same field of a frame.
fn may_be_one_field(one: &str, other: &str) -> bool {
    let sides = ["[rewrite.source]", "[rewrite.destination]"];
    let ends = ["[rewrite.client]", "[rewrite.server]"];
    one == other || !(sides.contains(&one) && sides.contains(&other) || ends.contains(&one) && ends.contains(&other))
}

/// What an entry matches.
enum Matched {
    Prefix(IpNet),
    Ports(u32, u32),
    Other(String),
}

fn matched(text: &str) -> Matched {
    if let Some(prefix) =
        text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
    {
        return Matched::Prefix(prefix);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Matched::Ports(first, last),
        _ => Matched::Other(text.to_lowercase()),
    }
}

fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one) || {
        let (Matched::Ports(a, b), Matched::Ports(c, d)) = (matched(one), matched(other)) else { return false };
        a <= d && c <= b
    }
}

/// Whether all that `part` matches is matched by `whole`.
fn covers(whole: &str, part: &str) -> bool {
    match (matched(whole), matched(part)) {
        (Matched::Prefix(whole), Matched::Prefix(part)) => whole.contains(&part),
        (Matched::Ports(a, b), Matched::Ports(c, d)) => a <= c && d <= b,
        (Matched::Other(whole), Matched::Other(part)) => whole == part,
        _ => false,
    }
}
