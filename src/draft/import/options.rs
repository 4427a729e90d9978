//! The options of a program: which it has, and which a command line gives.
//!
//! Start at [`Options::read`].

use std::sync::Arc;

use super::shell::Word;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};

/// An option that a program has.
#[derive(Debug)]
pub(super) struct Opt {
    /// One letter, or empty.
    short: &'static str,
    /// Without its hyphens; empty for a program that has only short ones.
    long: &'static str,
    takes: Takes,
    /// Why it is not translated, and what to do instead.
    pub(super) untranslated: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// A value only behind `=`.
    Maybe,
}

/// An option without a value.
pub(super) const fn flag(short: &'static str, long: &'static str) -> Opt {
    Opt { short, long, takes: Takes::Nothing, untranslated: None }
}

/// An option with a value.
pub(super) const fn value(short: &'static str, long: &'static str) -> Opt {
    Opt { short, long, takes: Takes::Value, untranslated: None }
}

impl Opt {
    /// It has no counterpart, for this reason.
    pub(super) const fn not(mut self, why: &'static str) -> Self {
        self.untranslated = Some(why);
        self
    }

    const fn maybe(mut self) -> Self {
        self.takes = Takes::Maybe;
        self
    }

    #[cfg(test)]
    pub(super) fn takes_value(&self) -> bool {
        self.takes == Takes::Value
    }

    /// As programs look it up.
    pub(super) fn name(&self) -> &'static str {
        if self.long.is_empty() { self.short } else { self.long }
    }
}

const PRINTS: &str = "it only prints; `restage help` and `restage --version` are there instead";
const PRESETS: &str = "files with options are not read; write the options that it holds on the command line";

/// What every program of tcpreplay has.
pub(super) const COMMON: &[Opt] = &[
    value("d", "dbug").not("it chooses what is printed for debugging; `restage run -v` shows more"),
    value("A", "decode").not(DECODED),
    flag("v", "verbose").not(DECODED),
    flag("V", "version").not(PRINTS),
    flag("h", "less-help").not(PRINTS),
    flag("H", "help").not(PRINTS),
    flag("!", "more-help").not(PRINTS),
    flag("", "save-opts").maybe().not(PRESETS),
    value("", "load-opts").not(PRESETS),
    flag("", "no-load-opts").not(PRESETS),
];
const DECODED: &str = "`restage rewrite SCENARIO -o - | tcpdump -nr -` prints the frames";

/// An option that a command line gives.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) opt: &'static Opt,
    /// As it is written, with its value.
    pub(super) spelled: String,
    /// Its value; empty where it takes none.
    pub(super) value: String,
    pub(super) span: std::ops::Range<usize>,
}

impl Given {
    pub(super) fn is(&self, name: &str) -> bool {
        self.opt.name() == name
    }
}

/// The options and files of a command.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) given: Vec<Given>,
    pub(super) files: Vec<Word>,
}

/// The tables of options that hold from here on.
pub(super) type Tables = &'static [&'static [Opt]];

impl Options {
    /// Reads the words behind the program's name as getopt(3) does. `after`: the tables that hold behind an option, where those are others.
    ///
    /// # Errors
    /// An option that the program does not have, and one whose value is missing.
    pub(super) fn read(
        source: &Arc<Source>,
        command: &[Word],
        mut tables: Tables,
        after: impl Fn(&Given) -> Option<Tables>,
    ) -> Result<Self> {
        let mut options = Self { given: Vec::new(), files: Vec::new() };
        let [program, words @ ..] = command else { return Ok(options) };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            if text == "--" {
                options.files.extend(words.cloned());
                break;
            }
            let has_long = tables.iter().any(|table| table.iter().any(|opt| !opt.long.is_empty()));
            if let (Some(long), true) = (text.strip_prefix("--"), has_long) {
                let (name, inline) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let opt = by_long(tables, name).ok_or_else(|| unknown(source, program, word, text, tables))?;
                options.give(source, opt, word, inline.map(str::to_owned), &mut words, text)?;
            } else if text.len() > 1 && text.starts_with('-') {
                for (at, letter) in text[1..].char_indices() {
                    let opt = by_short(tables, letter)
                        .ok_or_else(|| unknown(source, program, word, &format!("-{letter}"), tables))?;
                    let rest = &text[1 + at + letter.len_utf8()..];
                    let inline = (opt.takes == Takes::Value && !rest.is_empty()).then(|| rest.to_owned());
                    let ends = opt.takes == Takes::Value;
                    options.give(source, opt, word, inline, &mut words, &format!("-{letter}"))?;
                    if ends {
                        break;
                    }
                }
            } else {
                options.files.push(word.clone());
            }
            if let Some(next) = options.given.last().and_then(&after) {
                tables = next;
            }
        }
        Ok(options)
    }

    fn give<'w>(
        &mut self,
        source: &Arc<Source>,
        opt: &'static Opt,
        word: &Word,
        inline: Option<String>,
        words: &mut impl Iterator<Item = &'w Word>,
        written: &str,
    ) -> Result<()> {
        let mut span = word.span.clone();
        let mut spelled = written.to_owned();
        let value = match (&opt.takes, inline) {
            (Takes::Nothing, Some(_)) => {
                return Err(Failure::invalid(
                    Diagnostic::error(format!("`--{}` takes no value", opt.long)).at(source, Some(span)),
                ));
            }
            (Takes::Nothing | Takes::Maybe, None) => String::new(),
            (_, Some(value)) => {
                if !written.contains('=') {
                    spelled += &value;
                }
                value
            }
            (Takes::Value, None) => {
                let Some(value) = words.next() else {
                    return Err(Failure::invalid(
                        Diagnostic::error(format!("`{written}` has no value")).at(source, Some(span)),
                    ));
                };
                // A value of a variable is behind what names it.
                span.end = value.span.end.max(span.end);
                spelled = format!("{written} {}", value.text);
                value.text.clone()
            }
        };
        self.given.push(Given { opt, spelled, value, span });
        Ok(())
    }

    /// Those with this name, in their order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Given> {
        self.given.iter().filter(move |given| given.is(name))
    }

    /// The last one with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.given.iter().rfind(|given| given.is(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// An option may be cut short where that leaves no doubt.
fn by_long(tables: Tables, name: &str) -> Option<&'static Opt> {
    let all = || tables.iter().flat_map(|table| table.iter()).filter(|opt| !opt.long.is_empty());
    if let Some(opt) = all().find(|opt| opt.long == name) {
        return Some(opt);
    }
    let mut begun = all().filter(|opt| opt.long.starts_with(name));
    begun.next().filter(|_| !name.is_empty() && begun.next().is_none())
}

fn by_short(tables: Tables, letter: char) -> Option<&'static Opt> {
    tables.iter().flat_map(|table| table.iter()).find(|opt| opt.short.chars().eq([letter]))
}

fn unknown(source: &Arc<Source>, program: &Word, word: &Word, written: &str, tables: Tables) -> Failure {
    let written = written.split('=').next().unwrap_or(written);
    let program = program.text.rsplit('/').next().unwrap_or_default();
    let problem = Diagnostic::error(format!("{program} has no option `{written}`")).at(source, Some(word.span.clone()));
    let name = written.trim_start_matches('-');
    let near = tables
        .iter()
        .flat_map(|table| table.iter())
        .filter(|opt| opt.long.len() > 2)
        .map(|opt| (strsim::damerau_levenshtein(opt.long, name), opt.long))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    Failure::invalid(match near {
        Some((_, long)) => problem.fix(format!("did you mean `--{long}`?")),
        None => problem.fix(format!("see `man {program}`; if a newer version has it, leave it out")),
    })
}
