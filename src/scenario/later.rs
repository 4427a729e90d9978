//! Words of the language that this version knows but can't do yet: refused by name, never as unknown, never ignored.
//!
//! When one of them is built, its row goes, and its key moves into the form of its table.

/// One key, or one word of a key that has others which work.
struct Later {
    /// Dotted, without indexes.
    path: &'static str,
    /// `None`: the key, whatever it says.
    word: Option<&'static str>,
    /// What to do until then.
    instead: &'static str,
}

const fn key(path: &'static str, instead: &'static str) -> Later {
    Later { path, word: None, instead }
}

const fn word(path: &'static str, word: &'static str, instead: &'static str) -> Later {
    Later { path, word: Some(word), instead }
}

const LATER: &[Later] = &[
    word("rewrite.mac", "gateway", "write the router's MAC; `ip neigh` shows it"),
    key(
        "expect.accepted",
        "expect `arrived` (on the receiver's wire) or `delivered` (in a socket's queue); with `[target]`, `sent`",
    ),
];

/// What to do instead of the key `path`, if the whole key comes later.
pub(super) fn key_comes_later(path: &str) -> Option<&'static str> {
    LATER.iter().find(|later| later.path == path && later.word.is_none()).map(|later| later.instead)
}

/// What to do instead of `written` as the value of `path`, if that word comes later.
pub(super) fn word_comes_later(path: &str, written: &str) -> Option<&'static str> {
    LATER.iter().find(|later| later.path == path && later.word == Some(written)).map(|later| later.instead)
}

#[cfg(test)]
mod tests {
    use super::super::words::{Step, WORDS, allowed};
    use super::*;

    #[test]
    fn a_word_that_comes_later_is_not_in_the_forms() {
        for later in LATER {
            let path: Vec<_> = later.path.split('.').map(|key| Step::Key(key.to_owned())).collect();
            match (later.word, WORDS.at(&path)) {
                (None, schema) => assert!(schema.is_none(), "{} is in a form: its row must go", later.path),
                (Some(word), Some(schema)) => assert!(!allowed(schema).contains(&word), "{word} is in a form"),
                // `rewrite.mac` stands for the `mac` of each side.
                (Some(_), None) => assert_eq!(later.path, "rewrite.mac"),
            }
        }
    }
}
