//! `[rewrite.vlan]`: exactly one of `pop`, `push` and `map`. Start at [`check`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::{BoolOrWord, Entries, Value};
use super::super::words::{self, Step};
use super::{Legal, Popped, Vlan, VlanEntry, number};
use crate::diagnostic::Problem;

/// What happens to the VLAN tags of Ethernet frames: one of `pop`, `push` and `map`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct Form {
    /// `true`: the outermost tag is taken off; `"all"`: every tag is.
    #[schemars(extend("enum" = [true, "all"]), example = true)]
    pop: Option<Value<BoolOrWord>>,
    /// A tag (0x8100) that is put before all others.
    #[schemars(example = push_example())]
    push: Option<Value<PushForm>>,
    /// Old identifier of the outermost tag to new identifier; `*` is every one that no other entry names.
    #[schemars(example = map_example())]
    map: Option<Value<Entries<i64>>>,
}

/// The tag that is put before all others.
#[derive(Debug, Deserialize, JsonSchema)]
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
}

const GREATEST_ID: i64 = 4094;

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
    serde_json::json!({ "10": 20, "*": 30 })
}

/// The legal value; `None` if there is none.
pub(super) fn check(written: Value<Form>, checker: &mut Checker) -> Option<Vlan> {
    let table = written.span();
    let Form { pop, push, map } = written.into_inner();
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
        let problem = Problem::error("`[rewrite.vlan]` changes nothing")
            .why("it says what happens to VLAN tags: `pop`, `push` or `map`")
            .fix("write one of them, like `pop = true`, or leave the table out");
        checker.missing_all("rewrite.vlan", &["pop", "push", "map"], table, problem);
        return None;
    };
    for (other, span) in others {
        let problem = Problem::error(format!("`{first}` and `{other}` of `[rewrite.vlan]` exclude each other"))
            .label(format!("line {} has `{first}`", checker.line(begin.start)))
            .why("order never matters, so nothing says which of the two comes first")
            .fix("keep one of the two");
        checker.refuse(span.clone(), problem);
    }
    let pop = pop.and_then(|pop| check_pop(&pop, checker));
    let push = push.and_then(|push| check_push(push, checker));
    let map = map.map(|map| check_map(map, checker));
    pop.or(push).or(map)
}

fn check_pop(written: &Value<BoolOrWord>, checker: &mut Checker) -> Option<Vlan> {
    let (shown, why) = match written.get() {
        BoolOrWord::Bool(true) => return Some(Vlan::Pop { tags: Popped::Outermost, span: written.span() }),
        BoolOrWord::Word(word) if word == "all" => {
            return Some(Vlan::Pop { tags: Popped::All, span: written.span() });
        }
        BoolOrWord::Bool(false) => ("false".to_owned(), "tags stay as they are where nothing is written"),
        BoolOrWord::Word(word) => (format!("`{word}`"), "it is `true` for the outermost tag, or `\"all\"`"),
    };
    let problem = Problem::error(format!("`rewrite.vlan.pop` can't be {shown}"))
        .why(why)
        .fix("leave `pop` out, or write `pop = true` to take the outermost tag off");
    checker.refuse(written.span(), problem);
    None
}

fn check_push(written: Value<PushForm>, checker: &mut Checker) -> Option<Vlan> {
    let span = written.span();
    let form = written.into_inner();
    let priority =
        form.priority.map_or(Some(0), |written| number("rewrite.vlan.push.priority", &written, &PRIORITY, checker));
    let Some(id) = form.id else {
        let problem = Problem::error("`rewrite.vlan.push` has no `id`")
            .why("a tag names its VLAN")
            .fix("write it like push = { id = 100 }");
        checker.missing("rewrite.vlan.push.id", span, problem);
        return None;
    };
    let id = number("rewrite.vlan.push.id", &id, &ID, checker)?;
    Some(Vlan::Push { id, priority: priority?, dei: form.dei.is_some_and(Value::into_inner), span })
}

fn check_map(written: Value<Entries<i64>>, checker: &mut Checker) -> Vlan {
    let span = written.span();
    let entries = written.into_inner().0;
    if entries.is_empty() {
        let problem = Problem::error("`rewrite.vlan.map` has no entry")
            .why("it says which identifier becomes which")
            .fix("write it like map = { 10 = 20 }, or leave it out");
        checker.refuse(span, problem);
    }
    let mut map = Vec::with_capacity(entries.len());
    for entry in entries {
        let from = old(entry.key.get()).map_err(|problem| checker.refuse(entry.key.span(), problem));
        let key = words::dotted(&[Step::Key(entry.key.get().clone())]);
        let to = number(&format!("rewrite.vlan.map.{key}"), &entry.value, &ID, checker);
        // Two keys with the same value are the same text, which TOML refuses.
        if let (Ok(from), Some(to)) = (from, to) {
            map.push(VlanEntry { from, to, span: entry.span() });
        }
    }
    Vlan::Map(map)
}

/// The identifier that a key says; `None` for `*`.
fn old(text: &str) -> Result<Option<u16>, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let problem = Problem::error(format!("`{text}` is no VLAN to map from"));
    Err(match text.parse::<u16>().ok().filter(|_| digits) {
        _ if text == "*" => return Ok(None),
        Some(id) if i64::from(id) > GREATEST_ID => problem.why(ID.why).fix(ID.fix),
        Some(id) if text.len() > 1 && text.starts_with('0') => problem
            .why("an identifier is written without leading zeros, so that it stands once")
            .fix(format!("write {id}")),
        Some(id) => return Ok(Some(id)),
        None if digits => problem.why(ID.why).fix(ID.fix),
        None => problem
            .why("it is neither an identifier from 0 to 4094 nor \"*\"")
            .fix("write an identifier like 10, or \"*\" for all that no other entry names; a range is several entries"),
    })
}
