//! Vocabulary of the language that this version knows but can't do yet: refused by name, never as unknown, never ignored.
//!
//! When one of them is built, its row goes, and it moves into the form of its table.

/// One word of a key that has others which work.
struct Later {
    /// Dotted, without indexes.
    path: &'static str,
    word: &'static str,
    /// What to do until then.
    instead: &'static str,
}

const LATER: &[Later] =
    &[Later { path: "rewrite.mac", word: "gateway", instead: "write the router's MAC; `ip neigh` shows it" }];

/// What to do instead of `written` as the value of `path`, if that word comes later.
pub(super) fn word_comes_later(path: &str, written: &str) -> Option<&'static str> {
    LATER.iter().find(|later| later.path == path && later.word == written).map(|later| later.instead)
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Step, VOCABULARY, allowed};
    use super::*;

    #[test]
    fn a_word_that_comes_later_is_not_in_the_forms() {
        for later in LATER {
            let path: Vec<_> = later.path.split('.').map(|key| Step::Key(key.to_owned())).collect();
            match VOCABULARY.at(&path) {
                Some(schema) => assert!(!allowed(schema).contains(&later.word), "{} is in a form", later.word),
                // `rewrite.mac` stands for the `mac` of each side.
                None => assert_eq!(later.path, "rewrite.mac"),
            }
        }
    }
}
