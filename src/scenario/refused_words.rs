//! Words of earlier versions, which are refused by name, never as unknown.

/// Old words, and what they are called since format 1 was settled: the key that has them (dotted, without indexes; a table for its keys).
const RENAMED: &[(&str, &str, &str)] = &[
    ("receiver", "keep", "save-capture"),
    ("require", "listener", "listens"),
    ("expect", "drops", "losses"),
    ("pacing.rate", "find", "max-lossless"),
];

/// What `word`, a key of the table `path` or its value, is called now.
pub(super) fn renamed(path: &str, word: &str) -> Option<&'static str> {
    RENAMED.iter().find(|row| row.0 == path && row.1 == word).map(|row| row.2)
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Step, VOCABULARY, allowed};
    use super::*;

    #[test]
    fn a_refused_word_is_not_in_the_forms() {
        for (path, word, _) in RENAMED {
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
