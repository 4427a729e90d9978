//! Values and comparisons: `1500`, `>= 212992`.

use std::cmp::Ordering;
use std::fmt;

use super::super::form::{Scalar, refused};
use crate::diagnostic::Diagnostic;

/// How a value compares with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
    /// `!=`
    NotEqual,
}

impl Operator {
    /// Takes an operator off the front of a text; `None` without one.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        // The longer ones first: `<` begins `<=`.
        [Self::AtMost, Self::AtLeast, Self::NotEqual, Self::Less, Self::Greater]
            .into_iter()
            .find_map(|operator| Some((operator, text.trim().strip_prefix(operator.sign())?.trim())))
    }

    /// Whether it holds, if what was seen compares so with what is wanted.
    pub fn holds(self, seen: Ordering) -> bool {
        match self {
            Self::Less => seen.is_lt(),
            Self::AtMost => seen.is_le(),
            Self::AtLeast => seen.is_ge(),
            Self::Greater => seen.is_gt(),
            Self::NotEqual => seen.is_ne(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Greater => ">",
            Self::NotEqual => "!=",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sign())
    }
}

/// A number that others compare with: `>= 212992`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// How.
    pub operator: Operator,
    /// With what.
    pub than: i64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operator, self.than)
    }
}

/// A value that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This one. Of several words only the white space between them may differ.
    Value(String),
    /// Every number for which this holds.
    Compared(Comparison),
}

impl Wanted {
    /// Whether what was seen will do. What is no number compares with none.
    pub fn holds(&self, seen: &str) -> bool {
        match self {
            Self::Value(value) => value.split_whitespace().eq(seen.split_whitespace()),
            Self::Compared(Comparison { operator, than }) => {
                // The largest value of a sysctl, u64::MAX, is more than an i64 holds.
                seen.trim().parse::<i128>().is_ok_and(|seen| operator.holds(seen.cmp(&i128::from(*than))))
            }
        }
    }

    /// A value that will do: the nearest to the limit.
    pub fn example(&self) -> String {
        match self {
            Self::Value(value) => value.clone(),
            Self::Compared(Comparison { operator, than }) => match operator {
                Operator::AtMost | Operator::AtLeast => *than,
                Operator::Less => than.saturating_sub(1),
                Operator::Greater => than.saturating_add(1),
                Operator::NotEqual => i64::from(*than == 0),
            }
            .to_string(),
        }
    }

    /// Reads a value or a comparison.
    pub(in super::super) fn read(written: &Scalar) -> Result<Self, Diagnostic> {
        let text = match written {
            Scalar::Text(text) if text.trim_start().starts_with(['<', '>', '!', '=']) => text.trim(),
            Scalar::Text(_) | Scalar::Integer(_) => return Ok(Self::Value(written.to_string())),
        };
        let form = "write it like \">= 212992\", with one of <, <=, >=, > and !=";
        match Operator::split(text) {
            Some((operator, number)) => match number.parse() {
                Ok(than) => Ok(Self::Compared(Comparison { operator, than })),
                Err(_) => Err(refused(format!("`{number}` is not a whole number"), form)),
            },
            None => {
                let number = text.trim_start_matches(['=', '>', '<', '!']).trim();
                let sign = text.get(..text.len() - number.len()).unwrap_or_default().trim();
                let (why, meant) = match sign {
                    "=" | "==" => ("an exact value has no operator".to_owned(), Some("")),
                    "=>" => (format!("`{sign}` is no comparison"), Some(">= ")),
                    "=<" => (format!("`{sign}` is no comparison"), Some("<= ")),
                    _ => (format!("`{sign}` is no comparison"), None),
                };
                let fix = match (number.parse::<i64>(), meant) {
                    (Ok(number), Some("")) => format!("write {number}"),
                    (Ok(number), Some(meant)) => format!("write \"{meant}{number}\""),
                    (Ok(_), None) | (Err(_), _) => form.to_owned(),
                };
                Err(refused(why, fix))
            }
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.write_str(value),
            Self::Compared(comparison) => comparison.fmt(f),
        }
    }
}

/// `0, 2 or > 5`.
pub fn any_of(wanted: &[Wanted]) -> String {
    super::super::vocabulary::one_of(&wanted.iter().map(Wanted::to_string).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Wanted {
        Wanted::read(&Scalar::Text(text.to_owned())).unwrap()
    }

    #[test]
    fn a_comparison_holds_on_its_side_of_the_limit() {
        for (text, below, at, above) in [
            ("< 5", true, false, false),
            ("<=5", true, true, false),
            (">= 5", false, true, true),
            (" > 5", false, false, true),
            ("!= 5", true, false, true),
        ] {
            let wanted = read(text);
            assert_eq!([wanted.holds("4"), wanted.holds("5\n"), wanted.holds("6")], [below, at, above], "{text}");
            assert!(wanted.holds(&wanted.example()), "{text}: {}", wanted.example());
            assert!(!wanted.holds("4 5 6") && !wanted.holds(""), "{text}");
        }
        assert!(read("> 0").holds("18446744073709551615"));
        assert!(read("< 0").holds("-1"));
    }

    #[test]
    fn other_texts_are_values() {
        for text in ["4096 131072 6291456", "cubic", "|/usr/lib/core %p", "", "-1"] {
            assert_eq!(read(text), Wanted::Value(text.to_owned()));
        }
        assert!(read("4096 131072 6291456").holds("4096\t131072\t6291456"));
        assert_eq!(any_of(&[read("0"), read(">=2"), read("x")]), "0, >= 2 or x");
    }

    #[test]
    fn a_bad_comparison_says_why_and_what_to_write() {
        let lines = ["= 5", "== 5", "=", ">", ">= many", "=> 5", "<> 5", "! 5", ">= 1.5", "!"].map(|text| {
            let problem = Wanted::read(&Scalar::Text(text.to_owned())).unwrap_err();
            format!("{text:?}: {}; {}\n", problem.why.unwrap(), problem.fix.unwrap())
        });
        insta::assert_snapshot!(lines.concat());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(text in "[<>!=]{0,2} ?-?[0-9]{1,10}") {
            if let Ok(wanted) = Wanted::read(&Scalar::Text(text)) {
                prop_assert_eq!(read(&wanted.to_string()), wanted);
            }
        }
    }
}
