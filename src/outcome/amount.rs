//! A number of frames as far as the evidence knows it: exact, or a range with the reason. Start at [`Amount`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of frames: a number in reports where it is exact, else the range that the evidence leaves, and why it leaves one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Form", into = "Form")]
pub struct Amount {
    low: u64,
    high: u64,
    why: String,
}

/// How reports write it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form {
    /// Exactly so many.
    Exact(u64),
    /// Not known exactly.
    #[serde(rename_all = "kebab-case")]
    Range {
        /// The lowest number that the evidence allows.
        at_least: u64,
        /// The highest number that the evidence allows.
        at_most: u64,
        /// Why it is not known exactly.
        why: String,
    },
}

impl From<Form> for Amount {
    fn from(form: Form) -> Self {
        match form {
            Form::Exact(count) => Self::exact(count),
            Form::Range { at_least, at_most, why } => Self::between(at_least, at_most, why),
        }
    }
}

impl From<Amount> for Form {
    fn from(Amount { low, high, why }: Amount) -> Self {
        if low == high { Self::Exact(low) } else { Self::Range { at_least: low, at_most: high, why } }
    }
}

impl From<u64> for Amount {
    fn from(count: u64) -> Self {
        Self::exact(count)
    }
}

impl Amount {
    /// Exactly so many.
    pub const fn exact(count: u64) -> Self {
        Self { low: count, high: count, why: String::new() }
    }

    /// At least `low` and at most `high`; `why` is kept only where they differ.
    pub fn between(low: u64, high: u64, why: impl Into<String>) -> Self {
        let (low, high) = (low.min(high), high.max(low));
        Self { low, high, why: if low == high { String::new() } else { why.into() } }
    }

    /// The lowest number that the evidence allows.
    pub fn low(&self) -> u64 {
        self.low
    }

    /// The highest number that the evidence allows.
    pub fn high(&self) -> u64 {
        self.high
    }

    /// Why it is not known exactly; empty where it is.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The number, where it is known exactly.
    pub fn known(&self) -> Option<u64> {
        (self.low == self.high).then_some(self.low)
    }

    /// Whether it is known to be zero.
    pub fn is_zero(&self) -> bool {
        self.high == 0
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self::between(self.low + other.low, self.high + other.high, self.reason(other))
    }

    /// This less the other one, never below zero.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let (low, high) = (self.low.saturating_sub(other.high), self.high.saturating_sub(other.low));
        Self::between(low, high, self.reason(other))
    }

    /// What both allow; this one where they contradict each other.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        if low > high { self.clone() } else { Self::between(low, high, self.reason(other)) }
    }

    /// At most so many.
    #[must_use]
    pub fn at_most(&self, most: u64) -> Self {
        Self::between(self.low.min(most), self.high.min(most), self.why.clone())
    }

    /// At least so many.
    #[must_use]
    pub fn at_least(&self, least: u64) -> Self {
        Self::between(self.low.max(least), self.high.max(least), self.why.clone())
    }

    /// Whether there is a number that both allow.
    pub fn meets(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    fn reason(&self, other: &Self) -> String {
        if self.why.is_empty() { other.why.clone() } else { self.why.clone() }
    }
}

impl fmt::Display for Amount {
    /// `5548`, or `180 to 200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(count) => write!(f, "{count}"),
            None => write!(f, "{} to {}", self.low, self.high),
        }
    }
}

impl std::iter::Sum for Amount {
    fn sum<Parts: Iterator<Item = Self>>(parts: Parts) -> Self {
        parts.fold(Self::exact(0), |all, part| all.plus(&part))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::Amount;

    fn between(low: u64, high: u64) -> Amount {
        Amount::between(low, high, "the reason")
    }

    #[test]
    fn reports_have_a_number_or_a_range_with_its_reason() {
        let range = json!({ "at-least": 3, "at-most": 5, "why": "the reason" });
        assert_eq!(to_value(Amount::exact(7)).unwrap(), json!(7));
        assert_eq!(to_value(between(3, 5)).unwrap(), range);
        assert_eq!(from_value::<Amount>(range).unwrap(), between(3, 5));
        assert_eq!(from_value::<Amount>(json!(7)).unwrap(), Amount::exact(7));
        assert_eq!(to_value(None::<Amount>).unwrap(), Value::Null);
    }

    #[test]
    fn differences_keep_every_number_that_is_possible() {
        assert_eq!(between(10, 12).minus(&between(1, 3)), between(7, 11));
        assert_eq!(Amount::exact(2).minus(&Amount::exact(5)), Amount::exact(0));
        assert_eq!(between(3, 9).and(&between(5, 20)), between(5, 9));
        assert_eq!(Amount::exact(3).and(&Amount::exact(5)), Amount::exact(3));
        assert_eq!(between(3, 9).plus(&Amount::exact(1)), between(4, 10));
    }
}
