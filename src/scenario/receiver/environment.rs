//! `env`, `cwd` and `exit`: how the application is started, and how it must end.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::form::{self, Argument, Entries, Fields, Scalar, WordOr, keys, refused, values};
use super::super::placeholders;
use crate::diagnostic::{At, Diagnostic};

/// A variable of the application's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: At<VariableValue>,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableValue {
    /// The scenario, placeholders still in it.
    Text(String),
    /// The variable of this name in restage's own environment: a secret, which no report shows.
    FromEnv(String),
}

/// How the application must end after its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit status; 128 and a number also stands for the signal of that number.
    Status(i32),
    Any,
}

/// A secret: it comes from the environment only.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FromEnv {
    /// The variable of restage's own environment that has the value.
    #[schemars(example = &"TOKEN")]
    from_env: Name,
}

/// The name of a variable.
#[derive(Debug)]
struct Name(String);

values! {
    VariableValue: WordOr<Fields<FromEnv>>, variable_value;
    Exit: Scalar, exit, { "type": ["integer", "string"], "minimum": 0, "maximum": 255, "pattern": "^any$" };
}

keys! {
    Name, name;
}

form::schema!(Name, _generator => schemars::json_schema!({ "type": "string" }));

fn name(text: &str) -> Result<Name, Diagnostic> {
    if text.is_empty() || text.contains(['=', '\0']) {
        let problem = Diagnostic::error(format!("`{text}` can't be the name of a variable"));
        return Err(problem
            .why("the name of a variable has at least one character, and no `=`")
            .fix("write it like \"TOKEN\""));
    }
    Ok(Name(text.to_owned()))
}

fn variable_value(written: &WordOr<Fields<FromEnv>>) -> Result<VariableValue, Diagnostic> {
    match written {
        WordOr::Word(text) if text.contains('\0') => {
            Err(refused("a variable can't hold the character NUL", "remove it"))
        }
        WordOr::Word(text) => {
            placeholders::check(text, &placeholders::NAMES).map(|()| VariableValue::Text(text.clone()))
        }
        WordOr::Other(Fields(FromEnv { from_env })) => Ok(VariableValue::FromEnv(from_env.0.clone())),
    }
}

fn exit(written: &Scalar) -> Result<Exit, Diagnostic> {
    let wrong = || refused("an exit status is from 0 to 255", "write 0 for success, another status, or \"any\"");
    match written {
        Scalar::Integer(status) => {
            i32::try_from(*status).ok().filter(|status| (0..=255).contains(status)).map(Exit::Status).ok_or_else(wrong)
        }
        Scalar::Text(word) if word == "any" => Ok(Exit::Any),
        Scalar::Text(_) => Err(wrong()),
    }
}

pub(super) fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Variable>, D::Error> {
    let Entries(entries) = Entries::<VariableValue, Name>::deserialize(deserializer)?;
    Ok(entries.into_iter().map(|entry| Variable { name: entry.key.value.0, value: entry.value }).collect())
}

/// A folder that doesn't depend on where anything else is.
pub(super) fn cwd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<String>>, D::Error> {
    let written = At::<Argument>::deserialize(deserializer)?;
    let path = written.value.0.clone();
    if !["{work}", "{scenario}"].iter().any(|folder| path.starts_with(folder)) && !Path::new(&path).is_absolute() {
        let problem = refused(
            "a relative path could begin in the scenario's folder or in the application's",
            "begin it with {work}, {scenario} or /",
        );
        return Err(form::error(&problem));
    }
    Ok(Some(written.with(path)))
}

pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "LANG": "C", "TOKEN": { "from-env": "TOKEN" } })
}
