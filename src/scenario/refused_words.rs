//! Words that are refused by name, never as unknown: those of earlier versions, and those of the language that this version can't do yet.
//!
//! When a word of a later version is built, its row goes, and it moves into the form of its table.

/// Old words, and what they are called since format 1 was settled: the key that has them (dotted, without indexes; a table for its keys).
const RENAMED: &[(&str, &str, &str)] = &[
    ("receiver", "keep", "save-capture"),
    ("require", "listener", "listens"),
    ("expect", "drops", "losses"),
    ("pacing.rate", "find", "max-lossless"),
];

/// Words that come later: the key that has them (dotted, without indexes), and what to do until then.
const LATER: &[(&str, &str, &str)] = &[("rewrite.mac", "gateway", "write the router's MAC; `ip neigh` shows it")];

fn row(table: &[(&str, &str, &'static str)], path: &str, word: &str) -> Option<&'static str> {
    table.iter().find(|row| row.0 == path && row.1 == word).map(|row| row.2)
}

/// What `word`, a key of the table `path` or its value, is called now.
pub(super) fn renamed(path: &str, word: &str) -> Option<&'static str> {
    row(RENAMED, path, word)
}

/// What to do instead of `word` as the value of `path`, if that word comes later.
pub(super) fn comes_later(path: &str, word: &str) -> Option<&'static str> {
    row(LATER, path, word)
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Step, VOCABULARY, allowed};
    use super::*;

    #[test]
    fn a_refused_word_is_not_in_the_forms() {
        for (path, word, _) in RENAMED.iter().chain(LATER) {
            let path: Vec<_> = path.split('.').map(|key| Step::Key((*key).to_owned())).collect();
            assert!(!VOCABULARY.keys(&path).contains(word), "{word} is a key");
            assert!(VOCABULARY.at(&path).is_none_or(|schema| !allowed(schema).contains(word)), "{word} is a value");
        }
    }

    #[test]
    fn a_new_name_of_a_key_is_in_the_forms() {
        for (path, _, new) in RENAMED.iter().filter(|(path, _, _)| !path.contains('.')) {
            assert!(VOCABULARY.keys(&[Step::Key((*path).to_owned())]).contains(new), "{new}");
        }
    }
}
