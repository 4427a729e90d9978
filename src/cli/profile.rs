//! `restage.toml`: options of `restage run` that a project has, by profile.
//!
//! A profile is a table whose keys are the long options of `run`. What it says is put before the command line, unless that says it, too, so
//! that every option has one meaning and one check. Start at [`apply`].

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::usage::nearest;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::file::read_source;

/// The name of the file.
pub(super) const FILE: &str = "restage.toml";
/// The profile that always holds; another one goes before it.
const DEFAULT: &str = "default";
/// Options that choose what a profile is part of, or what is not an option of a project.
const NOT_IN_A_PROFILE: [&str; 4] = ["profile", "config", "help", "list"];

/// Which profile of which file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Choice {
    /// Take options from this profile of restage.toml, beside those of its profile `default`.
    #[arg(long, value_name = "NAME", env = "RESTAGE_PROFILE", help_heading = HEADING)]
    profile: Option<String>,
    /// The file with the profiles. By default restage.toml in the current folder, or in the nearest one above it.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    config: Option<PathBuf>,
}

const HEADING: &str = "Profiles";

/// The command line with the options of the profile; as it is where it is none of `restage run`, or has an error.
///
/// # Errors
/// A file that can't be read, an unknown profile, and options that `run` does not have.
pub(super) fn apply(arguments: &[OsString]) -> Result<Vec<OsString>> {
    let unchanged = Ok(arguments.to_vec());
    if !arguments.iter().any(|argument| argument == "run") {
        return unchanged;
    }
    let mut program = super::CommandLine::command();
    let Ok(matches) = program.try_get_matches_from_mut(arguments) else { return unchanged };
    let Some(("run", given)) = matches.subcommand() else { return unchanged };
    let Some(run) = program.find_subcommand("run") else { return unchanged };
    let wanted = given.get_one::<String>("profile").map(String::as_str);
    let file = match given.get_one::<PathBuf>("config") {
        Some(file) => Some(file.clone()),
        None => find(),
    };
    let Some(file) = file else {
        return match wanted {
            None | Some(DEFAULT) => unchanged,
            Some(name) => Err(Failure::invalid(
                Diagnostic::error(format!("there is no profile `{name}`: there is no {FILE}"))
                    .why("it is looked for in the current folder and in those above it")
                    .fix(format!("write {FILE} with `[profile.{name}]`, or name the file by `--config`")),
            )),
        };
    };
    let options = options(&file, wanted, run, given)?;
    let verb = arguments.iter().position(|argument| argument == "run").map_or(1, |at| at + 1);
    let (before, after) = arguments.split_at(verb.min(arguments.len()));
    Ok([before, &options, after].concat())
}

/// The file in the current folder, or in the nearest one above it.
fn find() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|folder| folder.join(FILE)).find(|file| file.is_file())
}

/// The options of a profile as a command line has them.
fn options(file: &Path, wanted: Option<&str>, run: &Command, given: &ArgMatches) -> Result<Vec<OsString>> {
    let source = read_source(file)?;
    let at = |problem: Diagnostic, span: Range<usize>| problem.at(&source, Some(span));
    let table = DeTable::parse(&source.text).map_err(|error| {
        let problem = Diagnostic::error(format!("`{}` is not TOML", file.display())).why(error.message());
        Failure::invalid(at(problem, error.span().unwrap_or(0..0)))
    })?;
    let mut problems = Vec::new();
    let mut entries: Vec<(&str, &Spanned<DeValue<'_>>, Range<usize>)> = Vec::new();
    let mut names = Vec::new();
    for (key, value) in table.get_ref() {
        let DeValue::Table(profiles) = value.get_ref() else {
            problems.push(at(not_a_profile(key.get_ref()), key.span()));
            continue;
        };
        if key.get_ref() != "profile" {
            problems.push(at(not_a_profile(key.get_ref()), key.span()));
            continue;
        }
        for (name, profile) in profiles {
            names.push(name.get_ref().to_string());
            let DeValue::Table(keys) = profile.get_ref() else {
                problems.push(at(not_a_profile(name.get_ref()), name.span()));
                continue;
            };
            let is_wanted = name.get_ref() == DEFAULT || Some(name.get_ref().as_ref()) == wanted;
            for (key, value) in keys {
                let Some(_) = option(run, key.get_ref()) else {
                    problems.push(at(unknown(key.get_ref(), run), key.span()));
                    continue;
                };
                if is_wanted {
                    let is_default = name.get_ref() == DEFAULT;
                    match entries.iter().position(|(known, ..)| *known == key.get_ref().as_ref()) {
                        // The wanted profile goes before the default one.
                        Some(_) if is_default && wanted != Some(DEFAULT) => {}
                        Some(place) => entries[place] = (key.get_ref(), value, key.span()),
                        None => entries.push((key.get_ref(), value, key.span())),
                    }
                }
            }
        }
    }
    if let Some(name) = wanted.filter(|name| *name != DEFAULT && !names.iter().any(|known| known == name)) {
        let problem = Diagnostic::error(format!("`{}` has no profile `{name}`", file.display()));
        let fix = match names.as_slice() {
            [] => format!("write `[profile.{name}]`"),
            names => format!("its profiles are {}", names.join(", ")),
        };
        problems.push(problem.fix(fix));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut options = Vec::new();
    for (key, value, span) in entries {
        match words(key, value, folder, run, given) {
            Ok(words) => options.extend(words),
            Err(problem) => problems.push(at(problem, span)),
        }
    }
    if problems.is_empty() { Ok(options) } else { Err(Failure { kind: Kind::Invalid, problems }) }
}

/// An option of `run` by its long name.
fn option<'c>(run: &'c Command, name: &str) -> Option<&'c clap::Arg> {
    run.get_arguments().find(|argument| argument.get_long() == Some(name) && !NOT_IN_A_PROFILE.contains(&name))
}

/// An option as words of a command line; none where the command line says it, or excludes it.
fn words(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    folder: &Path,
    run: &Command,
    given: &ArgMatches,
) -> std::result::Result<Vec<OsString>, Diagnostic> {
    let is_given =
        |argument: &clap::Arg| given.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    let Some(argument) = option(run, key) else { return Ok(Vec::new()) };
    // Which of two that exclude each other declares it is of no matter.
    let excludes = |one: &clap::Arg, other: &clap::Arg| {
        run.get_arg_conflicts_with(one).iter().any(|conflict| conflict.get_id() == other.get_id())
    };
    let is_excluded = |given: &clap::Arg| excludes(given, argument) || excludes(argument, given);
    if is_given(argument) || run.get_arguments().filter(|given| is_given(given)).any(is_excluded) {
        return Ok(Vec::new());
    }
    let takes_value = argument.get_action().takes_values();
    let texts = match value.get_ref() {
        DeValue::Boolean(set) if !takes_value => {
            return Ok(if *set { vec![format!("--{key}").into()] } else { Vec::new() });
        }
        DeValue::Array(list) if matches!(argument.get_action(), ArgAction::Append) => {
            list.iter().map(|value| text(value.get_ref())).collect::<Option<Vec<_>>>()
        }
        other if takes_value => text(other).map(|text| vec![text]),
        _ => None,
    };
    let Some(texts) = texts else {
        let wanted = match (takes_value, argument.get_action()) {
            (false, _) => "write true or false",
            (true, ArgAction::Append) => "write a string, or a list of strings",
            (true, _) => "write a string or a number",
        };
        return Err(Diagnostic::error(format!("`{key}` can't have this value")).fix(wanted));
    };
    let words = texts.into_iter().map(|text| {
        // A report is beside the file, wherever restage is started.
        let is_path = key.starts_with("report-") && text != "-";
        let value = if is_path { folder.join(&text).into_os_string() } else { text.into() };
        let mut word = OsString::from(format!("--{key}="));
        word.push(value);
        word
    });
    let words: Vec<OsString> = words.collect();
    // A wrong value is told with its place.
    let alone = ["run".into()].into_iter().chain(words.clone()).chain(["-".into()]);
    match run.clone().no_binary_name(false).try_get_matches_from(alone) {
        Err(error)
            if matches!(
                error.kind(),
                clap::error::ErrorKind::ValueValidation | clap::error::ErrorKind::InvalidValue
            ) =>
        {
            Err(super::usage::problem(&error))
        }
        _ => Ok(words),
    }
}

fn text(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => return None,
    })
}

fn not_a_profile(key: &str) -> Diagnostic {
    Diagnostic::error(format!("`{key}` is no profile"))
        .why(format!("{FILE} has tables like `[profile.{DEFAULT}]` and `[profile.ci]`"))
        .fix("write the options of `restage run` into such a table")
}

fn unknown(key: &str, run: &Command) -> Diagnostic {
    let problem = Diagnostic::error(format!("`restage run` has no option `--{key}` for a profile"));
    let options = run.get_arguments().filter_map(clap::Arg::get_long).filter(|name| !NOT_IN_A_PROFILE.contains(name));
    match nearest(key, &options.collect::<Vec<_>>()) {
        Some(near) => problem.label(format!("did you mean `{near}`?")).fix(format!("write `{near}`")),
        None => problem.fix("`restage run --help` has the options; a key is one without its dashes"),
    }
}
