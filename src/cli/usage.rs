//! What is wrong with a command line, in the form of every other problem; and the answers to `--help` and `--version`.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::output::Output;
use super::status::Status;
use super::terminal::{Colour, Terminal};
use crate::diagnostic::{Diagnostic, Style};

/// The colours that a command line asks for which could not be read as a whole.
pub(super) fn colour(arguments: &[OsString]) -> Colour {
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let asks = |word: &str| {
        arguments.iter().any(|argument| *argument == format!("--color={word}"))
            || arguments.windows(2).any(|pair| pair[0] == "--color" && pair[1] == word)
    };
    if asks("always") {
        Colour::Always
    } else if asks("never") {
        Colour::Never
    } else {
        Colour::Auto
    }
}

/// Prints what clap has to say.
pub(super) fn answer(error: &clap::Error, terminal: &Terminal) -> Status {
    let rendered = |style| match style {
        Style::Plain => error.render().to_string(),
        Style::Colour => error.render().ansi().to_string(),
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut stdout = Output::stdout(terminal);
            stdout.write(&rendered(stdout.look().style));
            stdout.status()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let mut stderr = Output::stderr(terminal);
            stderr.write(&rendered(stderr.look().style));
            Status::Invalid
        }
        _ => {
            Output::stderr(terminal).problems(&[problem(error)]);
            Status::Invalid
        }
    }
}

/// The error in our words. What clap has only as a sentence stays that sentence.
pub(super) fn problem(error: &clap::Error) -> Diagnostic {
    let text = |kind| error.get(kind).map(plain).filter(|text| !text.is_empty());
    let written = text(ContextKind::InvalidArg).unwrap_or_default();
    let argument = bare(&written);
    let verb = text(ContextKind::InvalidSubcommand).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let problem = match error.kind() {
        ErrorKind::UnknownArgument => Diagnostic::error(format!("there is no argument `{argument}` here")),
        ErrorKind::InvalidSubcommand => Diagnostic::error(format!("there is no verb `{verb}`")),
        ErrorKind::InvalidValue if value.is_empty() => Diagnostic::error(format!("`{argument}` has no value")),
        ErrorKind::InvalidValue => Diagnostic::error(format!("`{argument}` can't be `{value}`")),
        ErrorKind::ValueValidation => {
            let problem = Diagnostic::error(format!("`{argument}` can't be `{value}`"));
            match std::error::Error::source(error) {
                Some(source) => problem.why(plainly(&source.to_string())),
                None => problem,
            }
        }
        ErrorKind::MissingRequiredArgument => Diagnostic::error(format!("`{argument}` is missing")),
        ErrorKind::ArgumentConflict => {
            let prior = text(ContextKind::PriorArg).unwrap_or_default();
            let prior = if prior.contains(',') { prior.as_str() } else { bare(&prior) };
            if prior == argument || prior.is_empty() {
                Diagnostic::error(format!("`{argument}` is given more than once"))
            } else {
                Diagnostic::error(format!("`{argument}` and `{prior}` exclude each other"))
            }
        }
        _ => {
            let sentence = error.render().to_string();
            let first = sentence.lines().next().unwrap_or_default();
            Diagnostic::error(first.strip_prefix("error: ").unwrap_or(first))
        }
    };
    let problem = match text(ContextKind::ValidValue) {
        Some(valid) => problem.why(format!("it is one of {valid}")),
        None => problem,
    };
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let usage = text(ContextKind::Usage).unwrap_or_default();
    let usage = usage.trim().trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    match suggested.into_iter().find_map(text) {
        _ if error.kind() == ErrorKind::InvalidSubcommand => unknown_verb(problem, &verb),
        _ if is_unknown && !argument.starts_with('-') && usage.contains("[-- <COMMAND>...]") => {
            let line = usage.replace("[OPTIONS] ", "").replace("[-- <COMMAND>...]", &format!("-- {argument} …"));
            problem.why("an application is written behind `--`").fix(format!("write `{line}`"))
        }
        suggested if is_unknown => match (misplaced(argument, &usage), suggested) {
            (Some((why, fix)), _) => problem.why(why).fix(fix),
            (None, Some(suggested)) => problem.fix(format!("did you mean `{}`?", suggested.trim_matches('`'))),
            (None, None) => problem.fix(format!("write `{usage}`; `--help` says more")),
        },
        Some(suggested) => problem.fix(format!("did you mean `{}`?", suggested.trim_matches('`'))),
        None if !usage.is_empty() => problem.fix(format!("write `{usage}`; `--help` says more")),
        None if value.is_empty() => problem.fix(format!("write `{written}`; `--help` says more")),
        // What it may be has been said.
        None => problem,
    }
}

/// What Rust and clap say of a number, as the other options say it.
fn plainly(why: &str) -> String {
    let ends = why.split_once(" is not in ").and_then(|(_, range)| range.split_once(".."));
    match ends {
        Some((least, most)) if most == u64::MAX.to_string() || most == u32::MAX.to_string() || most.is_empty() => {
            format!("it is a whole number, {least} or more")
        }
        Some((least, most)) => format!("it is a whole number from {least} to {}", most.trim_start_matches('=')),
        None if why == "invalid digit found in string" => "it is a whole number".to_owned(),
        None => why.to_owned(),
    }
}

/// What other programs call verbs.
const SYNONYMS: &[(&str, &str)] = &[
    ("completion", "completions"),
    ("convert", "import"),
    ("create", "init"),
    ("exec", "run"),
    ("explain", "help"),
    ("generate", "init"),
    ("info", "inspect"),
    ("lint", "check"),
    ("list", "run --list"),
    ("ls", "run --list"),
    ("new", "init"),
    ("predict", "plan"),
    ("record", "capture"),
    ("replay", "try"),
    ("show", "inspect"),
    ("snapshot", "review"),
    ("test", "run"),
    ("validate", "check"),
    ("verify", "check"),
    ("version", "--version"),
];

fn unknown_verb(problem: Diagnostic, written: &str) -> Diagnostic {
    let program = super::CommandLine::command();
    let verbs: Vec<&str> =
        program.get_subcommands().filter(|verb| !verb.is_hide_set()).map(clap::Command::get_name).collect();
    let problem = problem.why(format!("the verbs are {}", verbs.join(", ")));
    let synonym = SYNONYMS.iter().find(|(word, _)| *word == written).map(|(_, ours)| *ours);
    match synonym.or_else(|| nearest(written, &verbs)) {
        Some(verb) => problem.fix(format!("did you mean `restage {verb}`?")),
        None => problem.fix("`restage --help` says what each does"),
    }
}

/// Of an option that only other verbs have, or that is written before the verb: which verbs, and what to do.
fn misplaced(argument: &str, usage: &str) -> Option<(String, String)> {
    let long = argument.strip_prefix("--")?;
    let program = super::CommandLine::command();
    let has = |verb: &&clap::Command, long| verb.get_arguments().any(|argument| argument.get_long() == Some(long));
    let verbs: Vec<&str> =
        program.get_subcommands().filter(|verb| has(verb, long)).map(clap::Command::get_name).collect();
    let first = verbs.first()?;
    let named: Vec<String> = verbs.iter().map(|verb| format!("`restage {verb}`")).collect();
    let here = usage.split_whitespace().nth(1).and_then(|verb| program.find_subcommand(verb));
    let fix = match (here, long) {
        (None, _) => format!("write it behind the verb: `restage {first} {argument} …`"),
        (Some(here), "rate") if has(&here, "set") => "write `--set pacing.rate=…`".to_owned(),
        (Some(here), "filter") if has(&here, "set") => "write `--set capture.filter=…`".to_owned(),
        (Some(_), _) => format!("leave it out, or write `restage {first} {argument} …`"),
    };
    Some((format!("it is an option of {}", named.join(", ")), fix))
}

/// The word that was meant: two letters away at most, of a short one, one or two that changed places.
pub(super) fn nearest<'a>(written: &str, words: &[&'a str]) -> Option<&'a str> {
    let distance = |word: &str| strsim::damerau_levenshtein(&written.to_lowercase(), word);
    let best = words.iter().copied().min_by_key(|word| distance(word))?;
    (distance(best) <= best.len().max(written.len()) / 3).then_some(best)
}

/// The argument as users know it: `--jobs <N>` is `--jobs`, `<PATHS>...` is `PATHS`.
fn bare(argument: &str) -> &str {
    let argument = argument.trim_matches('`');
    let first = argument.split_whitespace().next().unwrap_or(argument);
    first.trim_end_matches("...").trim_matches(['<', '>', '[', ']'])
}

/// A value of clap's as text; several are listed in back-ticks.
fn plain(value: &ContextValue) -> String {
    let unstyled = |text: &StyledStr| text.to_string();
    match value {
        ContextValue::Bool(value) => value.to_string(),
        ContextValue::String(value) => value.clone(),
        ContextValue::Strings(values) => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
        ContextValue::StyledStr(value) => unstyled(value),
        ContextValue::StyledStrs(values) => values.iter().map(unstyled).collect::<Vec<_>>().join(", "),
        ContextValue::Number(value) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::diagnostic::render;

    fn said(arguments: &[&str]) -> String {
        let arguments = ["restage"].iter().chain(arguments);
        let error = super::super::CommandLine::try_parse_from(arguments).expect_err("a wrong command line");
        render(&[problem(&error)], Style::Plain)
    }

    #[test]
    fn a_wrong_command_line_is_told_like_every_other_problem() {
        let lines: [&[&str]; 33] = [
            &["rum", "scenarios"],
            &["frobnicate"],
            &["rnu", "scenario.toml"],
            &["chek", "scenario.toml"],
            &["run"],
            &["run", "--reprot-json", "x", "scenarios"],
            &["run", "--jobs", "0", "scenarios"],
            &["run", "--jobs", "many", "scenarios"],
            &["run", "--color", "blue", "scenarios"],
            &["run", "--strict", "--strict", "scenarios"],
            &["schema", "nothing"],
            &["run", "scenarios", "--report-json"],
            &["run", "scenarios", "--max-fail", "0"],
            &["run", "scenarios", "--retry-delay", "1s"],
            &["run", "scenarios", "--retries", "2", "--retry-delay", "2m"],
            &["run", "scenarios", "--retries", "2", "--retry-delay", "1s", "--retry-backoff", "linear"],
            &["run", "scenarios", "--list", "--report-json", "x"],
            &["run", "scenarios", "--jobs", "2", "--jobs", "3"],
            &["run", "scenarios", "--retries", "many"],
            &["run", "scenarios", "--durations", "-1"],
            &["run", "scenarios", "--rerun", "all"],
            &["run", "scenarios", "--slow-after", "5"],
            &["replay", "dns.pcap"],
            &["ls"],
            &["--verbose", "run", "scenarios"],
            &["run", "scenarios", "--rate", "500pps"],
            &["check", "scenarios", "--top", "3"],
            &["init", "dns.pcap", "dnsmasq", "-k"],
            &["inspect", "dns.pcap", "dns.pcap"],
            &["inspect", "dns.pcap", "--top", "0"],
            &["capture", "-i", "lo", "--count", "0"],
            &["capture", "-i", "lo", "--count", "many"],
            &["capture", "-i", "lo", "--snaplen", "0"],
        ];
        let texts: Vec<_> = lines.iter().map(|line| format!("$ restage {}\n{}", line.join(" "), said(line))).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn a_line_that_cannot_be_read_still_has_its_colours() {
        let line = |words: &[&str]| colour(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&["restage", "--color=never", "rum"]), Colour::Never);
        assert_eq!(line(&["restage", "rum", "--color", "always"]), Colour::Always);
        assert_eq!(line(&["restage", "rum"]), Colour::Auto);
    }
}
