//! How often something is there: `10`, `">= 3"`. Start at [`HowMany`].

use std::fmt;

use super::super::form::{Scalar, refused, values};
use super::super::require::{Comparison, Operator, Wanted};
use crate::diagnostic::Diagnostic;

/// How often something must be there: a number, or a comparison with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HowMany(Wanted);

values! {
    HowMany: Scalar, how_many, { "type": ["integer", "string"], "minimum": 0, "pattern": r"^(<|<=|>=|>|!=) ?[0-9]+$" };
}

fn how_many(written: &Scalar) -> Result<HowMany, Diagnostic> {
    let form = "write a number like 10, or a comparison like \">= 3\", with one of <, <=, >=, > and !=";
    let wanted = Wanted::read(written)?;
    let is_legal = match &wanted {
        Wanted::Value(number) => matches!(written, Scalar::Integer(_)) && number.parse::<u64>().is_ok(),
        Wanted::Compared(comparison) => comparison.than >= 0,
    };
    if is_legal {
        return Ok(HowMany(wanted));
    }
    Err(match written {
        Scalar::Text(number) if number.parse::<u64>().is_ok() => {
            refused("a number has no quotes", format!("write {number}"))
        }
        _ => refused("it is a whole number, or a comparison with one", form),
    })
}

impl HowMany {
    /// Exactly so often.
    #[cfg(test)]
    pub fn exactly(number: u64) -> Self {
        Self(Wanted::Value(number.to_string()))
    }

    /// So often, or more.
    pub fn at_least(number: u32) -> Self {
        Self(Wanted::Compared(Comparison { operator: Operator::AtLeast, than: number.into() }))
    }

    pub fn holds(&self, seen: u64) -> bool {
        self.0.holds(&seen.to_string())
    }

    /// As reports have it: a number, or the text of a comparison.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.0 {
            Wanted::Value(number) => number.parse::<u64>().map_or_else(|_| number.as_str().into(), Into::into),
            Wanted::Compared(comparison) => comparison.to_string().into(),
        }
    }
}

impl fmt::Display for HowMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
