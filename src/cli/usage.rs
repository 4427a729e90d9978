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
                Some(source) => problem.why(source.to_string()),
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
    match (suggested.into_iter().find_map(text), text(ContextKind::Usage)) {
        _ if error.kind() == ErrorKind::InvalidSubcommand => {
            let verbs = super::CommandLine::command();
            let verbs: Vec<&str> =
                verbs.get_subcommands().filter(|verb| !verb.is_hide_set()).map(clap::Command::get_name).collect();
            let problem = problem.why(format!("the verbs are {}", verbs.join(", ")));
            match nearest(&verb, &verbs) {
                Some(verb) => problem.fix(format!("did you mean `restage {verb}`?")),
                None => problem.fix("`restage --help` says what each does"),
            }
        }
        (Some(suggested), _) => problem.fix(format!("did you mean `{}`?", suggested.trim_matches('`'))),
        (None, Some(usage)) => {
            let usage = usage.trim().trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
            problem.fix(format!("write `{usage}`; `--help` says more"))
        }
        (None, None) if value.is_empty() => problem.fix(format!("write `{written}`; `--help` says more")),
        // What it may be has been said.
        (None, None) => problem,
    }
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
        let lines: [&[&str]; 22] = [
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
