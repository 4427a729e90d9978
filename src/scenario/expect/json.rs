//! `json` and `json-lines`: what JSON texts must hold, by JSONPath (RFC 9535). Start at [`JsonRule`].

use std::fmt;
use std::sync::LazyLock;

use jsonpath_rust::parser::{model::JpQuery, parse_json_path};
use jsonpath_rust::query::js_path_process;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::form::{Entries, keys, refused, values};
use super::how_many::HowMany;
use crate::diagnostic::{At, Diagnostic};

/// A JSONPath query (RFC 9535).
#[derive(Debug, Clone)]
pub struct JsonPath {
    text: String,
    query: JpQuery,
}

/// What a JSON text must have somewhere: a path selects this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonRule {
    pub path: At<JsonPath>,
    pub value: At<Value>,
}

/// Lines that are JSON texts, of which some are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct JsonLines {
    /// They have these values at these paths (RFC 9535).
    #[serde(rename = "match", deserialize_with = "rules")]
    #[schemars(with = "Entries<AnyValue>", example = example())]
    pub matching: Vec<JsonRule>,
    /// Each of these paths selects something in them.
    #[schemars(example = ["$.alert"])]
    pub has_key: Vec<At<JsonPath>>,
    /// None of these paths selects anything in them.
    #[schemars(example = ["$.anomaly"])]
    pub not_has_key: Vec<At<JsonPath>>,
    /// How many such lines there are: a number, or a comparison like ">= 5". Default: ">= 1".
    #[schemars(example = 5)]
    pub count: Option<At<HowMany>>,
    /// Lines that are left out: `broken-lines`, those that are no JSON text. Default: they fail.
    #[schemars(example = &"broken-lines")]
    pub ignore: Option<Ignore>,
}

/// Which lines are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Ignore {
    /// Those that are no JSON text.
    BrokenLines,
}

/// A value of TOML as JSON has it.
pub(super) struct AnyValue(Value);

struct PathKey(JsonPath);

values! {
    AnyValue: toml::Value, |value: &toml::Value| to_json(value).map(AnyValue), {};
    JsonPath: String, |text: &String| JsonPath::read(text);
}

keys! {
    PathKey, |text: &str| JsonPath::read(text).map(PathKey);
}

/// What must be where.
pub(super) fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<JsonRule>, D::Error> {
    let Entries(entries) = Entries::<AnyValue, PathKey>::deserialize(deserializer)?;
    let rules = entries.into_iter().map(|entry| JsonRule {
        path: At { span: entry.key.span, value: entry.key.value.0 },
        value: At { span: entry.value.span, value: entry.value.value.0 },
    });
    Ok(rules.collect())
}

pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "$.event_type": "alert" })
}

/// Times become strings, as TOML writes them: JSON has none.
fn to_json(value: &toml::Value) -> Result<Value, Diagnostic> {
    Ok(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)
            .ok_or_else(|| refused("JSON has neither `inf` nor `nan`", "write a finite number"))?
            .into(),
        toml::Value::Boolean(yes) => (*yes).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(list) => list.iter().map(to_json).collect::<Result<Vec<_>, _>>()?.into(),
        toml::Value::Table(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.clone(), to_json(value)?)));
            Value::Object(entries.collect::<Result<_, Diagnostic>>()?)
        }
    })
}

/// Functions of RFC 9535, section 2.4.
const FUNCTIONS: [&str; 5] = ["length", "count", "match", "search", "value"];

/// Quoted names and strings of a path.
static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*""#).ok());
/// The name before a parenthesis, or two words beside each other.
static CALLED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"([a-z][a-z0-9_]*)\(|\w\s+\w+").ok());

impl JsonPath {
    pub(super) fn read(text: &str) -> Result<Self, Diagnostic> {
        let refuse =
            |why: String, fix: &str| Err(Diagnostic::error(format!("`{text}` is not a JSONPath")).why(why).fix(fix));
        let form = "write it like \"$.alert.signature_id\", or \"$['@timestamp']\" where a name has other characters than letters, \
                    digits and `_`; RFC 9535 has the syntax";
        if !text.starts_with('$') {
            let why = "a path begins with `$`, the whole JSON text (RFC 9535)".to_owned();
            let meant = format!("$.{}", text.trim_start_matches('.'));
            let is_path = Self::read(&meant).is_ok();
            return refuse(why, &if is_path { format!("write \"{meant}\"") } else { form.to_owned() });
        }
        let query = match parse_json_path(text) {
            Ok(query) => query,
            Err(error) => {
                // The crate's message is several lines of a parser's words: only its first has the place.
                let message = error.to_string();
                let column = message.lines().find_map(|line| line.split("--> 1:").nth(1)?.trim().parse::<usize>().ok());
                let rest =
                    column.map(|column| (column, text.chars().skip(column.saturating_sub(1)).collect::<String>()));
                let why = match rest {
                    Some((_, rest)) if rest.is_empty() => "it has no end".to_owned(),
                    Some((column, rest)) => format!("it can't be read from character {column} on: `{rest}`"),
                    None => "it does not follow RFC 9535".to_owned(),
                };
                return refuse(why, form);
            }
        };
        // The crate also takes names with spaces, and functions of its own.
        let plain = QUOTED.as_ref().map_or_else(|| text.into(), |quoted| quoted.replace_all(text, "''"));
        for found in CALLED.iter().flat_map(|called| called.captures_iter(&plain)) {
            match found.get(1).map(|name| name.as_str()) {
                None => return refuse("it has a space inside a name".to_owned(), form),
                Some(name) if !FUNCTIONS.contains(&name) => {
                    let why = format!("`{name}` is no function of RFC 9535: they are {}", FUNCTIONS.join(", "));
                    return refuse(why, "use one of these");
                }
                Some(_) => {}
            }
        }
        Ok(Self { text: text.to_owned(), query })
    }

    /// The values that it selects.
    pub fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        // A query by `$` always selects parts of the value itself.
        js_path_process(&self.query, value).unwrap_or_default().into_iter().map(|found| found.val).collect()
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JsonPath {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_selects_what_rfc_9535_says() {
        let value = json!({
            "a": [{"n": 1, "s": "x"}, {"n": 5.0, "s": "xy"}, {"n": null}],
            "k.l": {"@t": 1, "ö": [0, 1, 2, 3]},
        });
        for (path, selected) in [
            ("$", json!([value])),
            ("$.a[0].n", json!([1])),
            ("$.a[-1].n", json!([null])),
            ("$.a[3]", json!([])),
            ("$.a.n", json!([])),
            ("$['a'][*]['n']", json!([1, 5.0, null])),
            ("$['k.l']['@t']", json!([1])),
            ("$['k.l'].ö[1:3]", json!([1, 2])),
            ("$['k.l'].ö[::-1]", json!([3, 2, 1, 0])),
            ("$..n", json!([1, 5.0, null])),
            ("$.a[?@.s]['n']", json!([1, 5.0])),
            ("$.a[0]['n','s']", json!([1, "x"])),
            ("$.a[?@.n == 5].s", json!(["xy"])),
            ("$.a[?@.n > 0 && @.n < 3].s", json!(["x"])),
            ("$.a[?!@.s].n", json!([null])),
            ("$.a[?@.n == null].n", json!([null])),
            ("$.a[?length(@.s) == 2].n", json!([5.0])),
            ("$[?count(@.*) == 3][0].n", json!([1])),
            ("$.a[?match(@.s, 'x.')].n", json!([5.0])),
            ("$.a[?search(@.s, 'y')].n", json!([5.0])),
            ("$.a[?value(@.n) == 1].s", json!(["x"])),
            ("$.a[?@.s == 'lenght(']", json!([])),
        ] {
            let query = JsonPath::read(path).unwrap_or_else(|problem| panic!("{path}: {:?}", problem.why));
            let found: Vec<Value> = query.select(&value).into_iter().cloned().collect();
            assert_eq!(json!(found), selected, "{path}");
        }
    }

    #[test]
    fn what_rfc_9535_does_not_have_is_refused() {
        for path in [
            "",
            "a",
            "@.a",
            "$.",
            "$.a b",
            " $",
            "$ ",
            "$a",
            "$.a-b",
            "$.1",
            "$['a",
            "$[a]",
            "$[01]",
            "$[-0]",
            "$[1.0]",
            "$.a[]",
            "$...a",
            "$[?(@.a]",
            "$[?@.a = 1]",
            "$[?@.a === 1]",
            "$[?len(@.a) > 1]",
            "$[?in(@.a, $.b)]",
            "$[?count(1) > 1]",
            "$[?@.a == 1 & @.b]",
            "$.a.length()",
            "$[9007199254740993]",
        ] {
            assert!(JsonPath::read(path).is_err(), "{path}");
        }
        let nested = format!("$[?{}@.a{}]", "(".repeat(100_000), ")".repeat(100_000));
        assert!(JsonPath::read(&nested).is_err());
    }
}
