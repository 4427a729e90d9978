//! `kernel`: the version that `uname -r` shows.

use std::fmt;

use super::super::form::{refused, values};
use super::comparison::Operator;
use crate::diagnostic::Diagnostic;

values! {
    KernelRule: String, |text: &String| read(text), { "type": "string", "pattern": r"^(<|<=|>=|>|!=) ?[0-9]+\.[0-9]+(\.[0-9]+)?$" };
}

/// A comparison with the kernel's version. As many numbers are compared as are written: 5.17.3 is `<= 5.17`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRule {
    /// How.
    pub operator: Operator,
    /// Major, minor and perhaps patch.
    pub version: Vec<u32>,
}

impl KernelRule {
    /// Whether it holds for a release such as `6.1.0-13-amd64`; `None` where that doesn't begin with a version. What a release
    /// leaves out is 0.
    pub fn holds(&self, release: &str) -> Option<bool> {
        let version = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut seen = version.split('.').map_while(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
        if seen.is_empty() {
            return None;
        }
        seen.resize(self.version.len(), 0);
        Some(self.operator.holds(seen.cmp(&self.version)))
    }
}

impl fmt::Display for KernelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version: Vec<_> = self.version.iter().map(u32::to_string).collect();
        write!(f, "{} {}", self.operator, version.join("."))
    }
}

fn read(text: &str) -> Result<KernelRule, Diagnostic> {
    let text = text.trim();
    match (Operator::split(text), version(text)) {
        (Some((operator, rest)), _) => match version(rest) {
            Some(version) => Ok(KernelRule { operator, version }),
            None => Err(refused(
                format!("`{rest}` is not a version: two or three numbers with dots between them"),
                "write it like \">= 5.17\"",
            )),
        },
        (None, Some(_)) => Err(refused("a version alone doesn't say how to compare", format!("write \">= {text}\""))),
        (None, None) => Err(refused(
            "it is one of <, <=, >=, > and !=, and a version",
            "write it like \">= 5.17\"; `uname -r` shows this machine's",
        )),
    }
}

fn version(text: &str) -> Option<Vec<u32>> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = text.split('.').map(|part| part.parse().ok().filter(|_| is_number(part)));
    parts.collect::<Option<Vec<u32>>>().filter(|parts| matches!(parts.len(), 2 | 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> KernelRule {
        let (operator, rest) = Operator::split(text).unwrap();
        KernelRule { operator, version: version(rest).unwrap() }
    }

    #[test]
    fn as_many_numbers_are_compared_as_are_written() {
        for (rule_text, release, holds) in [
            (">= 5.17", "5.17.0-rc1", Some(true)),
            (">= 5.17", "6.1.0-13-amd64", Some(true)),
            (">= 5.17", "5.4.0-150-generic", Some(false)),
            ("<= 5.17", "5.17.3", Some(true)),
            ("> 5.17", "5.17.3", Some(false)),
            (">= 5.17.4", "5.17.3", Some(false)),
            (">= 5.17.1", "5.17", Some(false)),
            ("!= 6.18", "6.18.44-fc-v595", Some(false)),
            ("< 5.10", "5.9", Some(true)),
            (">= 4.4", "4.4.0-19041-Microsoft", Some(true)),
            (">= 4.4", "five", None),
            (">= 4.4", "", None),
        ] {
            assert_eq!(rule(rule_text).holds(release), holds, "{release} {rule_text}");
        }
        assert_eq!(rule(">=5.17.1").to_string(), ">= 5.17.1");
    }

    #[test]
    fn a_version_is_two_or_three_numbers() {
        for text in ["", "5", "5.", ".5", "5.1.2.3", "5.x", "5.-1", "5.+1", "5. 1", "5.99999999999"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
