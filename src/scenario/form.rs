//! What the tables of the language are made of: values that know their place, tables with free keys, values of several shapes.
//!
//! A table is a struct that serde reads and schemars describes: a new key is one field. A value with a grammar is its own type
//! ([`values!`]), whose error says why it can't be read and what to write; [`super::reading`] adds the key and the place. `untagged`, `flatten`,
//! internally tagged enums and the serde-untagged crate lose the place of an error, so what can have several shapes has a visitor here
//! ([`shapes!`]). Start at [`At`].

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use regex::RegexBuilder;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::{placeholders, quantity};
use crate::diagnostic::{At, Diagnostic};

impl<T> At<T> {
    /// Its bytes in the file; the file's first byte for a default.
    pub(super) fn range(&self) -> Range<usize> {
        self.span.clone().unwrap_or_default()
    }

    /// The same place with another value.
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At { value, span: self.span.clone() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::deserialize(deserializer)?;
        let span = Some(spanned.span());
        Ok(Self { value: spanned.into_inner(), span })
    }
}

/// What [`super::reading`] finds the problem by in serde's error.
pub(super) const MARK: char = '\u{1}';
/// What a problem has in the place of its key's path.
pub(super) const KEY: char = '\u{2}';
/// What a remedy has in the place of the last key of the path.
pub(super) const LAST_KEY: char = '\u{3}';

/// A value that can't be read: `reading` says which key has it.
pub(super) fn refused(why: impl Into<String>, fix: impl Into<String>) -> Diagnostic {
    Diagnostic::error("").why(why).fix(fix)
}

/// The problem as an error of serde, which gets the place of the value that is being read.
pub(super) fn error<E: Error>(problem: &Diagnostic) -> E {
    error_at(problem, None)
}

/// The same with a place: toml knows none of what is wrong with an entry of a list.
pub(super) fn error_at<E: Error>(problem: &Diagnostic, span: Option<Range<usize>>) -> E {
    E::custom(format!("{MARK}{}", serde_json::json!((span, problem))))
}

/// Implements [`JsonSchema`] for a type of this language; schemas are always inlined.
macro_rules! schema {
    ($name:ident $(<$param:ident>)?, $generator:ident => $schema:expr) => {
        impl $(<$param: schemars::JsonSchema>)? schemars::JsonSchema for $name $(<$param>)? {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(super) use schema;

/// Makes types values of the language: what they are read from, by which function, and their schema.
macro_rules! values {
    ($($name:ident: $written:ty, $read:expr $(, $schema:tt)?;)+) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let written = toml::Spanned::<$written>::deserialize(deserializer)?;
                let refuse = |problem| $crate::scenario::form::error_at(&problem, Some(written.span()));
                $read(written.get_ref()).map_err(refuse)
            }
        }

        values!(@$name, $written $(, $schema)?);
    )+};
    (@$name:ident, $written:ty) => {
        $crate::scenario::form::schema!($name, generator => generator.subschema_for::<$written>());
    };
    (@$name:ident, $written:ty, $schema:tt) => {
        $crate::scenario::form::schema!($name, _generator => schemars::json_schema!($schema));
    };
}
pub(super) use values;

/// The same for types of keys.
macro_rules! keys {
    ($($name:ident, $read:expr;)+) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let written = String::deserialize(deserializer)?;
                $read(written.as_str()).map_err(|problem| $crate::scenario::form::error(&problem))
            }
        }
    )+};
}
pub(super) use keys;

/// Reads a type that has several shapes.
macro_rules! shapes {
    ($name:ident $(<$param:ident>)?, $expected:literal, $($shape:ident $value:ident => $read:expr),+) => {
        impl<'de $(, $param: Deserialize<'de>)?> Visitor<'de> for Shapes<$name $(<$param>)?> {
            type Value = $name $(<$param>)?;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expected)
            }

            $(shapes!(@$shape $value => $read);)+
        }

        impl<'de $(, $param: Deserialize<'de>)?> Deserialize<'de> for $name $(<$param>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Shapes::<Self>(PhantomData))
            }
        }
    };
    (@flag $value:ident => $read:expr) => {
        fn visit_bool<E: Error>(self, $value: bool) -> Result<Self::Value, E> {
            Ok($read)
        }
    };
    (@integer $value:ident => $read:expr) => {
        fn visit_i64<E: Error>(self, $value: i64) -> Result<Self::Value, E> {
            Ok($read)
        }
    };
    (@text $value:ident => $read:expr) => {
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let $value = text.to_owned();
            Ok($read)
        }
    };
    // Whatever the value's own type reads.
    (@one $value:ident => $read:expr) => {
        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            Deserialize::deserialize(number.into_deserializer()).map(|$value| $read)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Deserialize::deserialize(text.into_deserializer()).map(|$value| $read)
        }

        shapes!(@table $value => $read);
    };
    (@table $value:ident => $read:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(MapAccessDeserializer::new(map)).map(|$value| $read)
        }
    };
    (@list $value:ident => $read:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(|$value| $read)
        }
    };
}

struct Shapes<T>(PhantomData<T>);

/// An integer or a string: counts, and values of sysctls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    Integer(i64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A boolean or a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BoolOrWord {
    Bool(bool),
    Word(String),
}

/// One word, or what has more to say: a table or a list.
#[derive(Debug, Clone)]
pub(super) enum WordOr<T> {
    Word(String),
    Other(T),
}

/// A table with fixed keys, where the value may have other shapes too: a list is never taken for its fields in their order.
#[derive(Debug, Clone)]
pub(super) struct Fields<T>(pub(super) T);

/// `true`, `false`, or a table, which is `true` with more to say.
#[derive(Debug, Clone)]
pub(super) enum Switch<T> {
    Is(bool),
    With(T),
}

impl<T: Default> Switch<T> {
    /// What the table says, or its defaults; `None` for `false`.
    pub(super) fn into_option(self) -> Option<T> {
        match self {
            Self::Is(on) => on.then(T::default),
            Self::With(table) => Some(table),
        }
    }
}

/// One value, or a list of such values.
#[derive(Debug, Clone)]
pub(super) enum OneOrMore<T> {
    One(T),
    List(Vec<At<T>>),
}

shapes!(Scalar, "an integer or a string", integer number => Scalar::Integer(number), text text => Scalar::Text(text));
shapes!(BoolOrWord, "a boolean or a string", flag yes => BoolOrWord::Bool(yes), text text => BoolOrWord::Word(text));
shapes!(WordOr<T>, "a string, a table or a list", text word => WordOr::Word(word), table table => WordOr::Other(table), list list => WordOr::Other(list));
shapes!(Switch<T>, "true, false or a table", flag on => Switch::Is(on), table table => Switch::With(table));
shapes!(Fields<T>, "a table", table table => Fields(table));
shapes!(OneOrMore<T>, "one value or a list of them", one value => OneOrMore::One(value), list list => OneOrMore::List(list));

schema!(At<T>, generator => T::json_schema(generator));
schema!(Scalar, _generator => json_schema!({ "type": ["integer", "string"] }));
schema!(BoolOrWord, _generator => json_schema!({ "type": ["boolean", "string"] }));
schema!(WordOr<T>, generator => json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<T>()] }));
schema!(Switch<T>, generator => json_schema!({ "anyOf": [{ "type": "boolean" }, generator.subschema_for::<T>()] }));
schema!(Fields<T>, generator => T::json_schema(generator));
schema!(OneOrMore<T>, generator => {
    let one = generator.subschema_for::<T>();
    json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
});

impl<T> At<OneOrMore<T>> {
    pub(super) fn into_list(self) -> Vec<At<T>> {
        match self.value {
            OneOrMore::One(value) => vec![At { value, span: self.span }],
            OneOrMore::List(list) => list,
        }
    }
}

/// A table whose keys are values of the language themselves (prefixes, ports, sysctls), in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Entries<V, K = String>(pub(super) Vec<Entry<V, K>>);

/// One line of such a table.
#[derive(Debug, Clone)]
pub(super) struct Entry<V, K = String> {
    pub(super) key: At<K>,
    pub(super) value: At<V>,
}

impl<V, K> Entry<V, K> {
    /// From the key's first byte to the value's last.
    pub(super) fn span(&self) -> Range<usize> {
        let (key, value) = (self.key.range(), self.value.range());
        if value.end > key.start { key.start..value.end } else { key }
    }
}

impl<'de, V: Deserialize<'de>, K: Deserialize<'de>> Deserialize<'de> for Entries<V, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Shapes::<Self>(PhantomData))
    }
}

impl<'de, V: Deserialize<'de>, K: Deserialize<'de>> Visitor<'de> for Shapes<Entries<V, K>> {
    type Value = Entries<V, K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.push(Entry { key, value });
        }
        entries.sort_by_key(|entry: &Entry<V, K>| entry.key.range().start);
        Ok(Entries(entries))
    }
}

impl<V: JsonSchema, K> JsonSchema for Entries<V, K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Entries".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<V>() })
    }
}

/// The schema of [`duration`].
pub(super) struct DurationText;

schema!(DurationText, _generator => json_schema!({ "type": "string", "pattern": quantity::DURATION_PATTERN }));

/// Reads a duration.
pub(super) fn duration<'de, D: Deserializer<'de>, R: From<At<Duration>>>(deserializer: D) -> Result<R, D::Error> {
    let text = At::<String>::deserialize(deserializer)?;
    quantity::duration(&text.value).map(|duration| text.with(duration).into()).map_err(|problem| error(&problem))
}

impl From<At<u8>> for u8 {
    fn from(number: At<u8>) -> Self {
        number.value
    }
}

impl From<At<u16>> for u16 {
    fn from(number: At<u16>) -> Self {
        number.value
    }
}

/// Reads a whole number of a range.
pub(super) fn number<'de, D, N, R>(
    deserializer: D,
    range: RangeInclusive<i64>,
    why: &str,
    fix: &str,
) -> Result<R, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i64>,
    R: From<At<N>>,
{
    let written = At::<i64>::deserialize(deserializer)?;
    match N::try_from(written.value) {
        Ok(number) if range.contains(&written.value) => Ok(written.with(number).into()),
        _ => Err(error(&refused(why, fix))),
    }
}

/// Functions that read whole numbers, for `deserialize_with`.
macro_rules! numbers {
    ($($name:ident -> $type:ty, $range:expr, $why:expr, $fix:expr;)+) => {$(
        fn $name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<$type, D::Error> {
            $crate::scenario::form::number(deserializer, $range, $why, $fix)
        }
    )+};
}
pub(super) use numbers;

/// Reads a program with its arguments: not empty, only known placeholders.
pub(super) fn command<'de, D: Deserializer<'de>, R: From<At<Vec<String>>>>(deserializer: D) -> Result<R, D::Error> {
    let words = At::<Vec<Argument>>::deserialize(deserializer)?;
    if words.value.first().is_none_or(|program| program.0.trim().is_empty()) {
        let problem = Diagnostic::error("`\u{2}` names no program")
            .why("the first entry of the list is the program, the others are its arguments")
            .fix("write it like \u{3} = [\"nfcapd\", \"-p\", \"4739\"]");
        return Err(error(&problem));
    }
    let span = words.span.clone();
    Ok(At { value: words.value.into_iter().map(|word| word.0).collect(), span }.into())
}

/// A text with placeholders.
#[derive(Debug)]
pub(super) struct Argument(pub(super) String);

values! {
    Argument: String, |text: &String| placeholders::check(text, &placeholders::NAMES).map(|()| Argument(text.clone()));
}

/// Reads a regular expression, in which `^` and `$` are the ends of lines.
pub(super) fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<String>>, D::Error> {
    let written = At::<String>::deserialize(deserializer)?;
    let Err(wrong) = RegexBuilder::new(&written.value).multi_line(true).build() else { return Ok(Some(written)) };
    // The crate's message is several lines, with its own caret; the last one says what is wrong.
    let message = wrong.to_string();
    let why = message.lines().last().unwrap_or_default();
    let problem = Diagnostic::error("this is not a regular expression").why(why.trim_start_matches("error: "));
    let fix = "mend it; its syntax is https://docs.rs/regex/latest/regex/#syntax, and 'single quotes' keep backslashes";
    Err(error(&problem.fix(fix)))
}
