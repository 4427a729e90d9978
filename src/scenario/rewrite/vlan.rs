//! `[rewrite.vlan]`: exactly one of `pop`, `push` and `map`, and which tag it is about. Start at [`check`].

use std::ops::{Range, RangeInclusive};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{self, BoolOrWord, Entries, Fields, OneOrMore, Scalar, numbers, refused, values};
use super::super::vocabulary::{self, Step};
use super::{TagPosition, Vlan, VlanEntry, duplicate};
use crate::diagnostic::{At, Diagnostic};
use crate::packet::layers::is_vlan_tag;

/// What happens to the VLAN tags of Ethernet and Linux "cooked" frames: one of `pop`, `push` and `map`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "oneOf" = [{ "required": ["pop"] }, { "required": ["push"] }, { "required": ["map"] }]))]
pub(super) struct Form {
    /// Which tag is popped or mapped, and where tags are pushed: `outer`, `inner` (the last one before what the frame
    /// carries), or a number, counted from the outermost: 2 is the second. Default: outer.
    #[schemars(extend("enum" = ["outer", "inner", 2, 3, 4, 5, 6, 7, 8]), example = &"inner")]
    tag: Option<At<TagPosition>>,
    /// `true`: the tag is removed; `"all"`: every tag is.
    #[schemars(extend("enum" = [true, "all"]), example = true)]
    pop: Option<At<Pop>>,
    /// A tag that is inserted, or a list of tags, the outermost first.
    #[serde(deserialize_with = "push")]
    #[schemars(with = "OneOrMore<NewTag>", example = push_example())]
    push: Option<At<Vec<NewTag>>>,
    /// Old identifier, or range of them, to a new identifier, or to a range of as many; `*` is every one that no other entry names.
    #[schemars(example = map_example())]
    map: Option<At<Entries<Scalar>>>,
}

/// A VLAN tag that is inserted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTag {
    /// VLAN identifier, 0 to 4094.
    #[serde(deserialize_with = "id")]
    #[schemars(with = "i64", range(min = 0, max = GREATEST_ID), example = 100)]
    pub id: u16,
    /// Priority code point, 0 to 7. Default: 0.
    #[serde(default, deserialize_with = "priority")]
    #[schemars(with = "i64", range(min = 0, max = 7), example = 3)]
    pub priority: u8,
    /// Drop eligible indicator. Default: false.
    #[serde(default)]
    #[schemars(example = false)]
    pub dei: bool,
    /// Tag protocol identifier: 0x8100 (802.1Q, the default), 0x88a8 (802.1ad, the outer tag of `QinQ`), or 0x9100, 0x9200, 0x9300.
    #[serde(default = "customer_tag", deserialize_with = "tpid")]
    #[schemars(with = "i64", extend("enum" = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300]), example = 0x88a8)]
    pub tpid: u16,
    /// Its value in the scenario.
    #[serde(skip)]
    pub span: Range<usize>,
}

/// Which tags are taken off.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pop {
    One,
    All,
}

const GREATEST_ID: i64 = 4094;

/// The deepest tag that a number names.
const DEEPEST: i64 = 8;

const WHY_ID: &str = "a VLAN identifier is from 0 to 4094; 4095 is reserved (IEEE 802.1Q)";
const FIX_ID: &str = "write an identifier from 0 to 4094";

numbers! {
    id -> u16, 0..=GREATEST_ID, WHY_ID, FIX_ID;
    priority -> u8, 0..=7, "a tag has three bits for it: 0 to 7", "write 0 to 7, or leave it out for 0";
}

values! {
    TagPosition: Scalar, tag;
    Pop: BoolOrWord, pop;
}

fn push_example() -> serde_json::Value {
    serde_json::json!({ "id": 100, "priority": 3 })
}

fn map_example() -> serde_json::Value {
    serde_json::json!({ "10": 20, "100-199": "300-399", "*": 30 })
}

/// The legal value; `None` if there is none.
pub(super) fn check(written: At<Form>, checker: &mut Checker) -> Option<Vlan> {
    let table = written.range();
    let Form { tag, pop, push, map } = written.value;
    let mut named: Vec<_> = [
        pop.as_ref().map(|pop| ("pop", pop.range())),
        push.as_ref().map(|push| ("push", push.range())),
        map.as_ref().map(|map| ("map", map.range())),
    ]
    .into_iter()
    .flatten()
    .collect();
    named.sort_by_key(|(_, span)| span.start);
    let Some(((first, begin), others)) = named.split_first() else {
        let problem = Diagnostic::error("`[rewrite.vlan]` changes nothing")
            .why("it says what happens to VLAN tags: `pop`, `push` or `map`")
            .fix("write one of them, like `pop = true`, or leave the table out");
        checker.missing_all("rewrite.vlan", &["pop", "push", "map"], table, problem);
        return None;
    };
    for (other, span) in others {
        let problem = Diagnostic::error(format!("`{first}` and `{other}` of `[rewrite.vlan]` exclude each other"))
            .label(format!("line {} has `{first}`", checker.line(begin.start)))
            .why("order never matters, so nothing says which of the two comes first")
            .fix("keep one of the two");
        checker.refuse(span.clone(), problem);
    }
    if let (Some(tag), Some(At { value: Pop::All, .. })) = (&tag, &pop) {
        let problem = Diagnostic::error("`tag` and `pop = \"all\"` of `[rewrite.vlan]` exclude each other")
            .why("`tag` names one tag, and `\"all\"` takes every one off")
            .fix("leave `tag` out, or write `pop = true` to take that one off");
        checker.refuse(tag.range(), problem);
    }
    let position = tag.map_or(TagPosition::Outside(1), |tag| tag.value);
    let pop = pop.map(|pop| Vlan::Pop { tag: (pop.value == Pop::One).then_some(position), span: pop.range() });
    let push = push.map(|tags| Vlan::Push { tags: tags.value, position });
    pop.or(push).or(map.map(|map| check_map(map, position, checker)))
}

fn tag(written: &Scalar) -> Result<TagPosition, Diagnostic> {
    const FORM: &str = "write \"outer\", \"inner\", or a number from 2 to 8";
    let (why, fix) = match written {
        Scalar::Text(word) if word == "outer" => return Ok(TagPosition::Outside(1)),
        Scalar::Text(word) if word == "inner" => return Ok(TagPosition::Innermost),
        Scalar::Integer(number @ 2..=DEEPEST) => {
            return Ok(TagPosition::Outside(u8::try_from(*number).unwrap_or(u8::MAX)));
        }
        Scalar::Integer(1) => ("the first tag is the outer one", "write \"outer\", or leave `tag` out"),
        Scalar::Integer(_) => ("tags are counted from the outermost, and looked at up to the eighth", FORM),
        Scalar::Text(_) => ("it is one of the tags of a frame", FORM),
    };
    Err(vocabulary::suggest(refused(why, fix), &written.to_string(), ["outer", "inner"], '"', fix))
}

fn pop(written: &BoolOrWord) -> Result<Pop, Diagnostic> {
    let why = match written {
        BoolOrWord::Bool(true) => return Ok(Pop::One),
        BoolOrWord::Word(word) if word == "all" => return Ok(Pop::All),
        BoolOrWord::Bool(false) => "tags stay as they are where nothing is written",
        BoolOrWord::Word(_) => "it is `true` for one tag (`tag` says which), or `\"all\"`",
    };
    Err(refused(why, "leave `pop` out, or write `pop = true` to take the outermost tag off"))
}

fn push<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<Vec<NewTag>>>, D::Error> {
    let written = At::<OneOrMore<Fields<NewTag>>>::deserialize(deserializer)?;
    let span = written.span.clone();
    let tags = written.into_list();
    if tags.is_empty() {
        let problem = Diagnostic::error("`\u{2}` has no tag")
            .why("a list holds the tags that are inserted, the outermost first")
            .fix("write it like push = [{ id = 100, tpid = 0x88a8 }, { id = 10 }], or leave it out");
        return Err(form::error(&problem));
    }
    let value = tags.into_iter().map(|tag| NewTag { span: tag.range(), ..tag.value.0 }).collect();
    Ok(Some(At { value, span }))
}

fn customer_tag() -> u16 {
    0x8100
}

fn tpid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let written = i64::deserialize(deserializer)?;
    u16::try_from(written).ok().filter(|tpid| is_vlan_tag(*tpid)).ok_or_else(|| {
        form::error(&refused(
            "a VLAN tag begins with 0x8100 (802.1Q) or 0x88a8 (802.1ad), or, before 802.1ad, with 0x9100, 0x9200 or 0x9300",
            "write 0x8100 or 0x88a8",
        ))
    })
}

fn check_map(written: At<Entries<Scalar>>, tag: TagPosition, checker: &mut Checker) -> Vlan {
    let span = written.range();
    let Entries(written) = written.value;
    if written.is_empty() {
        let problem = Diagnostic::error("`rewrite.vlan.map` has no entry")
            .why("it says which identifier becomes which")
            .fix("write it like map = { 10 = 20 }, or leave it out");
        checker.refuse(span, problem);
    }
    let mut entries: Vec<VlanEntry> = Vec::with_capacity(written.len());
    for entry in written {
        let from = old(&entry.key.value).map_err(|problem| checker.refuse(entry.key.range(), problem));
        let to = new(&entry.key, &entry.value, from.as_ref().ok().and_then(Option::as_ref), checker);
        let (Ok(from), Some(to)) = (from, to) else { continue };
        let span = entry.span();
        match entries.iter().find_map(|other| Some((other, common(other.from.as_ref()?, from.as_ref()?)?))) {
            Some((first, common)) => duplicate(&common, &first.span, &span, checker),
            None => entries.push(VlanEntry { from, to, span }),
        }
    }
    Vlan::Map { tag, entries }
}

/// The identifiers that two ranges share, in words.
fn common(one: &RangeInclusive<u16>, other: &RangeInclusive<u16>) -> Option<String> {
    let (first, last) = (*one.start().max(other.start()), *one.end().min(other.end()));
    match first.cmp(&last) {
        std::cmp::Ordering::Less => Some(format!("VLANs {first} to {last}: each")),
        std::cmp::Ordering::Equal => Some(format!("VLAN {first}")),
        std::cmp::Ordering::Greater => None,
    }
}

/// One identifier, or two with `-` between them: why it is neither, and what to write.
fn identifiers(text: &str) -> Result<RangeInclusive<u16>, (&'static str, String)> {
    let one = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>().ok().filter(|_| digits) {
            Some(id) if i64::from(id) > GREATEST_ID => Err((WHY_ID, FIX_ID.to_owned())),
            Some(id) if text.len() > 1 && text.starts_with('0') => {
                Err(("an identifier is written without leading zeros, so that it has one form", format!("write {id}")))
            }
            Some(id) => Ok(id),
            None if digits => Err((WHY_ID, FIX_ID.to_owned())),
            None => Err((
                "it is neither an identifier from 0 to 4094 nor a range of them",
                "write an identifier like 10, or a range like \"100-199\"".to_owned(),
            )),
        }
    };
    let (first, last) = match text.split_once('-') {
        None => (one(text)?, one(text)?),
        Some((first, last)) => (one(first)?, one(last)?),
    };
    match first.cmp(&last) {
        std::cmp::Ordering::Greater => Err(("the range ends before it begins", format!("write \"{last}-{first}\""))),
        std::cmp::Ordering::Equal if text.contains('-') => {
            Err(("a range of one identifier is written as that identifier", format!("write {first}")))
        }
        _ => Ok(first..=last),
    }
}

/// The identifiers that a key says; `None` for `*`.
fn old(text: &str) -> Result<Option<RangeInclusive<u16>>, Diagnostic> {
    if text == "*" {
        return Ok(None);
    }
    identifiers(text).map(Some).map_err(|(why, fix)| {
        let fix = match why {
            why if why.starts_with("it is neither") => {
                "write an identifier like 10, a range like \"100-199\", or \"*\" for all that no other entry names"
                    .to_owned()
            }
            _ => fix,
        };
        Diagnostic::error(format!("`{text}` is no VLAN to map from")).why(why).fix(fix)
    })
}

/// What identifiers become: one, or a range of as many.
fn new(
    key: &At<String>,
    written: &At<Scalar>,
    from: Option<&RangeInclusive<u16>>,
    checker: &mut Checker,
) -> Option<RangeInclusive<u16>> {
    let path = vocabulary::dotted(&[Step::Key(key.value.clone())]);
    let name = format!("rewrite.vlan.map.{path}");
    let text = match &written.value {
        Scalar::Integer(number) => {
            let id = u16::try_from(*number).ok().filter(|id| i64::from(*id) <= GREATEST_ID);
            if id.is_none() {
                let problem = Diagnostic::error(format!("`{name}` can't be {number}")).why(WHY_ID).fix(FIX_ID);
                checker.refuse(written.range(), problem);
            }
            return id.map(|id| id..=id);
        }
        Scalar::Text(text) => text,
    };
    let problem = Diagnostic::error(format!("`{name}` can't be \"{text}\""));
    let problem = match identifiers(text) {
        Err((why, fix)) => problem.why(why).fix(fix),
        Ok(to) if to.start() == to.end() => {
            problem.why("one identifier is a number").fix(format!("write {} without quotes", to.start()))
        }
        Ok(to) => match from {
            Some(from) if from.len() == to.len() => return Some(to),
            Some(from) => {
                let as_many = u16::try_from(from.len() - 1).unwrap_or(u16::MAX);
                let last = to.start().saturating_add(as_many);
                let problem = problem.why(match from.len() {
                    1 => format!("`{}` is one identifier, and becomes one", key.value),
                    more => format!(
                        "`{}` has {more} identifiers, this range {}: a range becomes one identifier, or a range of as many",
                        key.value,
                        to.len()
                    ),
                });
                if as_many > 0 && i64::from(last) <= GREATEST_ID {
                    problem.fix(format!("write \"{}-{last}\", or one identifier", to.start()))
                } else {
                    problem.fix("write one identifier")
                }
            }
            None if key.value == "*" => {
                problem.why("`*` is every identifier, and becomes one").fix("write one identifier, like 30")
            }
            // What is wrong with the key was said.
            None => return None,
        },
    };
    checker.refuse(written.range(), problem);
    None
}
