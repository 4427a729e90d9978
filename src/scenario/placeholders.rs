//! `{sender}`, `{receiver}`, `{work}` and `{scenario}`: words that a command, a path or a sysctl may hold.
//!
//! Braces around anything but a lower-case word stay as they are, so that `{print $1}` needs no escape. Start at [`fill`].

use std::ops::Range;
use std::path::Path;

use super::vocabulary;
use crate::diagnostic::Diagnostic;

/// The values of the placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places<'a> {
    /// The sending interface; in the lab `tx0`.
    pub sender: &'a str,
    /// The receiving interface; in the lab `rx0`.
    pub receiver: &'a str,
    /// The empty folder that belongs to the application.
    pub work: &'a Path,
    /// The scenario's folder, absolute.
    pub scenario: &'a Path,
}

/// The known words.
pub(super) const NAMES: [&str; 4] = ["sender", "receiver", "work", "scenario"];

/// `text` with every known placeholder replaced. Inserted text is not searched again.
pub fn fill(text: &str, places: &Places<'_>) -> String {
    replace(text, |name| match name {
        "sender" => Some(places.sender.to_owned()),
        "receiver" => Some(places.receiver.to_owned()),
        "work" => Some(places.work.to_string_lossy().into_owned()),
        "scenario" => Some(places.scenario.to_string_lossy().into_owned()),
        _ => None,
    })
}

/// `text` with only `{receiver}` replaced, for a text whose other braces belong to another language.
pub fn fill_receiver(text: &str, receiver: &str) -> String {
    replace(text, |name| (name == "receiver").then(|| receiver.to_owned()))
}

/// `text` with the placeholders replaced for which there is a value.
pub(super) fn replace(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut copied = 0;
    for (name, range) in find(text) {
        if let Some(value) = value(name) {
            filled.push_str(&text[copied..range.start]);
            filled.push_str(&value);
            copied = range.end;
        }
    }
    filled.push_str(&text[copied..]);
    filled
}

/// Every `{word}` of a text: the word, and the bytes with their braces.
pub(super) fn find(text: &str) -> Vec<(&str, Range<usize>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        from = open + 1;
        let Some(close) = text[from..].find(['{', '}']).map(|at| from + at) else { break };
        let name = &text[from..close];
        let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if text[close..].starts_with('}') && is_word {
            found.push((name, open..close + 1));
        }
        from = if text[close..].starts_with('{') { close } else { close + 1 };
    }
    found
}

/// Refuses placeholders that are not among `known`.
pub(super) fn check(text: &str, known: &[&str]) -> Result<(), Diagnostic> {
    let Some((name, _)) = find(text).into_iter().find(|(name, _)| !known.contains(name)) else { return Ok(()) };
    let braced: Vec<_> = known.iter().map(|name| format!("{{{name}}}")).collect();
    let problem = Diagnostic::error(format!("unknown placeholder `{{{name}}}`"))
        .why(format!("known here: {}", braced.join(", ")));
    Err(match vocabulary::nearest(name, known.iter().copied()) {
        Some(near) => problem.label(format!("did you mean `{{{near}}}`?")).fix(format!("write {{{near}}}")),
        None => problem.fix("use one of these, or remove it"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lab() -> Places<'static> {
        Places { sender: "tx0", receiver: "rx0", work: Path::new("/w"), scenario: Path::new("/s") }
    }

    #[test]
    fn known_words_are_filled() {
        assert_eq!(fill("{work}/{receiver}-{sender}.{scenario}", &lab()), "/w/rx0-tx0./s");
    }

    #[test]
    fn other_braces_stay() {
        for text in ["{print $1}", "{}", "{", "}", "{{", "a{b", "{Work}", "{ work }", "{unknown}", "[0-9]{3}"] {
            assert_eq!(fill(text, &lab()), text);
        }
        assert_eq!(fill("{{work}}", &lab()), "{/w}");
    }

    #[test]
    fn a_ruleset_keeps_its_own_braces() {
        let text = "iifname {receiver} udp dport {domain} {accept}; {work}";
        assert_eq!(fill_receiver(text, "rx0"), "iifname rx0 udp dport {domain} {accept}; {work}");
    }

    #[test]
    fn what_was_put_in_is_not_filled_again() {
        let places = Places { work: Path::new("/{sender}"), ..lab() };
        assert_eq!(fill("{work}", &places), "/{sender}");
    }

    proptest! {
        #[test]
        fn text_without_braces_is_untouched(text in "[^{]*") {
            prop_assert_eq!(fill(&text, &lab()), text);
        }

        #[test]
        fn no_text_panics(text in "[{}a-zé ]*") {
            let _ = fill(&text, &lab());
        }
    }
}
