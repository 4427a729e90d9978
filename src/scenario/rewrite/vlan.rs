//! `[rewrite.vlan]`: exactly one of `pop`, `push` and `map`, and which tag it is about. Start at [`check`].

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::{BoolOrWord, Entries, Fields, Scalar, TableOrList, Value};
use super::super::vocabulary::{self, Step};
use super::{Legal, NewTag, TagPosition, Vlan, VlanEntry, duplicate, number};
use crate::diagnostic::Diagnostic;
use crate::packet::layers::is_vlan_tag;

/// What happens to the VLAN tags of Ethernet and Linux "cooked" frames: one of `pop`, `push` and `map`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1, "oneOf" = [{ "required": ["pop"] }, { "required": ["push"] }, { "required": ["map"] }]))]
pub(super) struct Form {
    /// Which tag is popped or mapped, and where tags are pushed: `outer` (the default), `inner` (the last one before what the frame
    /// carries), or a number, counted from the outermost: 2 is the second.
    #[schemars(extend("enum" = ["outer", "inner", 2, 3, 4, 5, 6, 7, 8]), example = &"inner")]
    tag: Option<Value<Scalar>>,
    /// `true`: the tag is removed; `"all"`: every tag is.
    #[schemars(extend("enum" = [true, "all"]), example = true)]
    pop: Option<Value<BoolOrWord>>,
    /// A tag that is inserted, or a list of tags, the outermost first.
    #[schemars(example = push_example())]
    push: Option<Value<TableOrList<PushForm>>>,
    /// Old identifier, or range of them, to a new identifier, or to a range of as many; `*` is every one that no other entry names.
    #[schemars(example = map_example())]
    map: Option<Value<Entries<Scalar>>>,
}

/// A tag that is inserted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PushForm {
    /// VLAN identifier.
    #[schemars(required, range(min = 0, max = GREATEST_ID), example = 100)]
    id: Option<Value<i64>>,
    /// Priority code point. Default: 0.
    #[schemars(range(min = 0, max = 7), example = 3)]
    priority: Option<Value<i64>>,
    /// Drop eligible indicator. Default: false.
    #[schemars(example = false)]
    dei: Option<Value<bool>>,
    /// Tag protocol identifier: 0x8100 (802.1Q, the default), 0x88a8 (802.1ad, the outer tag of `QinQ`), or 0x9100, 0x9200, 0x9300.
    #[schemars(extend("enum" = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300]), example = 0x88a8)]
    tpid: Option<Value<i64>>,
}

const GREATEST_ID: i64 = 4094;

/// The deepest tag that a number names.
const DEEPEST: i64 = 8;

const ID: Legal = Legal {
    greatest: GREATEST_ID,
    why: "a VLAN identifier is from 0 to 4094; 4095 is reserved (IEEE 802.1Q)",
    fix: "write an identifier from 0 to 4094",
};

const PRIORITY: Legal =
    Legal { greatest: 7, why: "a tag has three bits for it: 0 to 7", fix: "write 0 to 7, or leave it out for 0" };

fn push_example() -> serde_json::Value {
    serde_json::json!({ "id": 100, "priority": 3 })
}

fn map_example() -> serde_json::Value {
    serde_json::json!({ "10": 20, "100-199": "300-399", "*": 30 })
}

/// The legal value; `None` if there is none.
pub(super) fn check(written: Value<Form>, checker: &mut Checker) -> Option<Vlan> {
    let table = written.span();
    let Form { tag, pop, push, map } = written.into_inner();
    let mut named: Vec<_> = [
        pop.as_ref().map(|pop| ("pop", pop.span())),
        push.as_ref().map(|push| ("push", push.span())),
        map.as_ref().map(|map| ("map", map.span())),
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
    let position = match &tag {
        None => Some(TagPosition::Outside(1)),
        Some(tag) => check_tag(tag, checker),
    };
    let pop = pop.and_then(|pop| check_pop(&pop, tag.as_ref(), position, checker));
    let push = push.and_then(|push| check_push(push, position, checker));
    let map = map.and_then(|map| check_map(map, position, checker));
    pop.or(push).or(map)
}

fn check_tag(written: &Value<Scalar>, checker: &mut Checker) -> Option<TagPosition> {
    const FORM: &str = "write \"outer\", \"inner\", or a number from 2 to 8";
    let (why, fix) = match written.get() {
        Scalar::Text(word) if word == "outer" => return Some(TagPosition::Outside(1)),
        Scalar::Text(word) if word == "inner" => return Some(TagPosition::Innermost),
        Scalar::Integer(number @ 2..=DEEPEST) => return u8::try_from(*number).ok().map(TagPosition::Outside),
        Scalar::Integer(1) => ("the first tag is the outer one", "write \"outer\", or leave `tag` out"),
        Scalar::Integer(_) => ("tags are counted from the outermost, and looked at up to the eighth", FORM),
        Scalar::Text(_) => ("it is one of the tags of a frame", FORM),
    };
    let shown = match written.get() {
        Scalar::Integer(number) => number.to_string(),
        Scalar::Text(word) => format!("\"{word}\""),
    };
    let mut problem = Diagnostic::error(format!("`rewrite.vlan.tag` can't be {shown}")).why(why);
    problem = match vocabulary::nearest(&written.get().to_string(), ["outer", "inner"]) {
        Some(near) => problem.label(format!("did you mean \"{near}\"?")).fix(format!("write \"{near}\"")),
        None => problem.fix(fix),
    };
    checker.refuse(written.span(), problem);
    None
}

fn check_pop(
    written: &Value<BoolOrWord>,
    tag: Option<&Value<Scalar>>,
    position: Option<TagPosition>,
    checker: &mut Checker,
) -> Option<Vlan> {
    let span = written.span();
    let (shown, why) = match written.get() {
        BoolOrWord::Bool(true) => return Some(Vlan::Pop { tag: Some(position?), span }),
        BoolOrWord::Word(word) if word == "all" => {
            if let Some(tag) = tag {
                let problem = Diagnostic::error("`tag` and `pop = \"all\"` of `[rewrite.vlan]` exclude each other")
                    .why("`tag` names one tag, and `\"all\"` takes every one off")
                    .fix("leave `tag` out, or write `pop = true` to take that one off");
                checker.refuse(tag.span(), problem);
            }
            return Some(Vlan::Pop { tag: None, span });
        }
        BoolOrWord::Bool(false) => ("false".to_owned(), "tags stay as they are where nothing is written"),
        BoolOrWord::Word(word) => (format!("`{word}`"), "it is `true` for one tag (`tag` says which), or `\"all\"`"),
    };
    let problem = Diagnostic::error(format!("`rewrite.vlan.pop` can't be {shown}"))
        .why(why)
        .fix("leave `pop` out, or write `pop = true` to take the outermost tag off");
    checker.refuse(span, problem);
    None
}

fn check_push(
    written: Value<TableOrList<PushForm>>,
    position: Option<TagPosition>,
    checker: &mut Checker,
) -> Option<Vlan> {
    let span = written.span();
    let tags: Vec<Option<NewTag>> = match written.into_inner() {
        TableOrList::One(form) => vec![check_new_tag(form, span, "rewrite.vlan.push", checker)],
        TableOrList::List(forms) if forms.is_empty() => {
            let problem = Diagnostic::error("`rewrite.vlan.push` has no tag")
                .why("a list holds the tags that are inserted, the outermost first")
                .fix("write it like push = [{ id = 100, tpid = 0x88a8 }, { id = 10 }], or leave it out");
            checker.refuse(span, problem);
            return None;
        }
        TableOrList::List(forms) => forms
            .into_iter()
            .enumerate()
            .map(|(index, form)| {
                let span = form.span();
                let Fields(form) = form.into_inner();
                check_new_tag(form, span, &format!("rewrite.vlan.push.{index}"), checker)
            })
            .collect(),
    };
    let tags: Option<Vec<NewTag>> = tags.into_iter().collect();
    Some(Vlan::Push { tags: tags?, position: position? })
}

fn check_new_tag(form: PushForm, span: std::ops::Range<usize>, path: &str, checker: &mut Checker) -> Option<NewTag> {
    let priority =
        form.priority.map_or(Some(0), |written| number("rewrite.vlan.push.priority", &written, &PRIORITY, checker));
    let tpid = form.tpid.map_or(Some(0x8100), |written| check_tpid(&written, checker));
    let Some(id) = form.id else {
        let problem = Diagnostic::error("`rewrite.vlan.push` has no `id`")
            .why("a tag names its VLAN")
            .fix("write it like push = { id = 100 }");
        checker.missing(&format!("{path}.id"), span, problem);
        return None;
    };
    let id = number("rewrite.vlan.push.id", &id, &ID, checker)?;
    Some(NewTag { tpid: tpid?, id, priority: priority?, dei: form.dei.is_some_and(Value::into_inner), span })
}

fn check_tpid(written: &Value<i64>, checker: &mut Checker) -> Option<u16> {
    let tpid = u16::try_from(*written.get()).ok().filter(|tpid| is_vlan_tag(*tpid));
    if tpid.is_none() {
        let problem = Diagnostic::error(format!("`rewrite.vlan.push.tpid` can't be {:#06x}", written.get()))
            .why("a VLAN tag begins with 0x8100 (802.1Q) or 0x88a8 (802.1ad), or, before 802.1ad, with 0x9100, 0x9200 or 0x9300")
            .fix("write 0x8100 or 0x88a8");
        checker.refuse(written.span(), problem);
    }
    tpid
}

fn check_map(written: Value<Entries<Scalar>>, position: Option<TagPosition>, checker: &mut Checker) -> Option<Vlan> {
    let span = written.span();
    let written = written.into_inner().0;
    if written.is_empty() {
        let problem = Diagnostic::error("`rewrite.vlan.map` has no entry")
            .why("it says which identifier becomes which")
            .fix("write it like map = { 10 = 20 }, or leave it out");
        checker.refuse(span, problem);
    }
    let mut entries: Vec<VlanEntry> = Vec::with_capacity(written.len());
    for entry in written {
        let from = old(entry.key.get()).map_err(|problem| checker.refuse(entry.key.span(), problem));
        let to = new(&entry.key, &entry.value, from.as_ref().ok().and_then(Option::as_ref), checker);
        let (Ok(from), Some(to)) = (from, to) else { continue };
        let span = entry.span();
        match entries.iter().find_map(|other| Some((other, common(other.from.as_ref()?, from.as_ref()?)?))) {
            Some((first, common)) => duplicate(&common, &first.span, &span, checker),
            None => entries.push(VlanEntry { from, to, span }),
        }
    }
    Some(Vlan::Map { tag: position?, entries })
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
            Some(id) if i64::from(id) > GREATEST_ID => Err((ID.why, ID.fix.to_owned())),
            Some(id) if text.len() > 1 && text.starts_with('0') => {
                Err(("an identifier is written without leading zeros, so that it has one form", format!("write {id}")))
            }
            Some(id) => Ok(id),
            None if digits => Err((ID.why, ID.fix.to_owned())),
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
    key: &Value<String>,
    written: &Value<Scalar>,
    from: Option<&RangeInclusive<u16>>,
    checker: &mut Checker,
) -> Option<RangeInclusive<u16>> {
    let path = vocabulary::dotted(&[Step::Key(key.get().clone())]);
    let name = format!("rewrite.vlan.map.{path}");
    let text = match written.get() {
        Scalar::Integer(number) => {
            let id = u16::try_from(*number).ok().filter(|id| i64::from(*id) <= GREATEST_ID);
            if id.is_none() {
                let problem = Diagnostic::error(format!("`{name}` can't be {number}")).why(ID.why).fix(ID.fix);
                checker.refuse(written.span(), problem);
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
                    1 => format!("`{}` is one identifier, and becomes one", key.get()),
                    more => format!(
                        "`{}` has {more} identifiers, this range {}: a range becomes one identifier, or a range of as many",
                        key.get(),
                        to.len()
                    ),
                });
                if as_many > 0 && i64::from(last) <= GREATEST_ID {
                    problem.fix(format!("write \"{}-{last}\", or one identifier", to.start()))
                } else {
                    problem.fix("write one identifier")
                }
            }
            None if key.get() == "*" => {
                problem.why("`*` is every identifier, and becomes one").fix("write one identifier, like 30")
            }
            // What is wrong with the key was said.
            None => return None,
        },
    };
    checker.refuse(written.span(), problem);
    None
}
