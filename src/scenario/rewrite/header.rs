//! `[rewrite.header]`: fields of the IP header. Start at [`check`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::{Scalar, Value};
use super::{HeaderFields, Legal, Ttl, number};
use crate::diagnostic::{At, Diagnostic};

/// What fields of the IP header become, in the headers that `layers` names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1))]
pub(super) struct Form {
    /// TTL of IPv4 and hop limit of IPv6: 64 sets it; "-1" and "+3" change it, down to 0 and up to 255.
    #[schemars(range(min = 0, max = 255), regex(pattern = CHANGE_PATTERN), example = 64)]
    ttl: Option<Value<Scalar>>,
    /// The whole type-of-service byte of IPv4.
    #[schemars(range(min = 0, max = 255), example = 184)]
    tos: Option<Value<i64>>,
    /// The whole traffic class of IPv6.
    #[schemars(range(min = 0, max = 255), example = 184)]
    traffic_class: Option<Value<i64>>,
    /// The differentiated services code point of IPv4 and IPv6; the two bits of ECN stay.
    #[schemars(range(min = 0, max = 63), example = 46)]
    dscp: Option<Value<i64>>,
    /// The flow label of IPv6.
    #[schemars(range(min = 0, max = GREATEST_FLOW_LABEL), example = 0)]
    flow_label: Option<Value<i64>>,
}

const GREATEST_FLOW_LABEL: i64 = 0xf_ffff;

/// What [`ttl`] reads as a string, for editors.
const CHANGE_PATTERN: &str = "^[+-]([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$";

const TTL_FORM: &str = "write a number from 0 to 255 to set it, or a change in quotes, like \"-1\" or \"+3\"";

const TOS: Legal =
    Legal { greatest: 255, why: "the field has eight bits (RFC 791): 0 to 255", fix: "write a number from 0 to 255" };

const TRAFFIC_CLASS: Legal =
    Legal { greatest: 255, why: "the field has eight bits (RFC 8200): 0 to 255", fix: "write a number from 0 to 255" };

const DSCP: Legal = Legal {
    greatest: 63,
    why: "the field has six bits (RFC 2474): 0 to 63",
    fix: "write a number from 0 to 63; the whole byte is `tos` (IPv4) or `traffic-class` (IPv6)",
};

const FLOW_LABEL: Legal = Legal {
    greatest: GREATEST_FLOW_LABEL,
    why: "the field has 20 bits (RFC 8200): 0 to 1048575",
    fix: "write a number from 0 to 1048575",
};

/// The legal values.
pub(super) fn check(written: Value<Form>, checker: &mut Checker) -> HeaderFields {
    let table = written.span();
    let form = written.into_inner();
    let numbers = [&form.tos, &form.traffic_class, &form.dscp, &form.flow_label];
    if form.ttl.is_none() && numbers.iter().all(|number| number.is_none()) {
        let problem = Diagnostic::error("`[rewrite.header]` changes nothing")
            .why("its keys are ttl, tos, traffic-class, dscp, flow-label")
            .fix("write one of them, like `ttl = 64`, or leave the table out");
        let keys = ["ttl", "tos", "traffic-class", "dscp", "flow-label"];
        checker.missing_all("rewrite.header", &keys, table, problem);
    }
    for (name, whole) in [("tos", &form.tos), ("traffic-class", &form.traffic_class)] {
        if let (Some(dscp), Some(whole)) = (&form.dscp, whole) {
            overlap(dscp, (name, whole), checker);
        }
    }
    HeaderFields {
        ttl: form.ttl.and_then(|written| ttl(&written, checker)),
        tos: field("tos", form.tos.as_ref(), &TOS, checker),
        traffic_class: field("traffic-class", form.traffic_class.as_ref(), &TRAFFIC_CLASS, checker),
        dscp: field("dscp", form.dscp.as_ref(), &DSCP, checker),
        flow_label: field("flow-label", form.flow_label.as_ref(), &FLOW_LABEL, checker),
    }
}

fn field<N: TryFrom<i64>>(
    key: &str,
    written: Option<&Value<i64>>,
    legal: &Legal,
    checker: &mut Checker,
) -> Option<At<N>> {
    let written = written?;
    number(&format!("rewrite.header.{key}"), written, legal, checker).map(|value| written.with(value))
}

/// Reports that `dscp` stands beside the field that it is a part of.
fn overlap(dscp: &Value<i64>, whole: (&str, &Value<i64>), checker: &mut Checker) {
    let (dscp, name, whole) = (dscp.span(), whole.0, whole.1.span());
    let (first, later, other) = if dscp.start < whole.start { (dscp, whole, "dscp") } else { (whole, dscp, name) };
    let problem = Diagnostic::error(format!("`dscp` and `{name}` of `[rewrite.header]` exclude each other"))
        .label(format!("line {} has `{other}`", checker.line(first.start)))
        .why(format!("the code point is the upper six bits of what `{name}` sets (RFC 2474)"))
        .fix(format!("keep `{name}` for all eight bits, or `dscp`, which leaves ECN as it is"));
    checker.refuse(later, problem);
}

fn ttl(written: &Value<Scalar>, checker: &mut Checker) -> Option<At<Ttl>> {
    let span = written.span();
    let signed = checker.source.text.get(span.clone()).is_some_and(|text| text.starts_with('+'));
    let read = match written.get() {
        Scalar::Integer(number @ 1..) if signed => Err((
            "without quotes it is a number, and would be what the TTL becomes".to_owned(),
            format!("write \"+{number}\" in quotes for a change, or {number} without a sign"),
        )),
        Scalar::Integer(number) => set(*number),
        Scalar::Text(text) => change(text),
    };
    match read {
        Ok(ttl) => Some(written.with(ttl)),
        Err((why, fix)) => {
            let shown = match written.get() {
                Scalar::Integer(number) if signed => format!("+{number}"),
                Scalar::Integer(number) => number.to_string(),
                Scalar::Text(text) => format!("\"{text}\""),
            };
            let problem = Diagnostic::error(format!("`rewrite.header.ttl` can't be {shown}")).why(why).fix(fix);
            checker.refuse(span, problem);
            None
        }
    }
}

/// Why a text is no TTL, and what to write.
type ParseError = (String, String);

fn set(number: i64) -> Result<Ttl, ParseError> {
    u8::try_from(number).map(Ttl::Set).map_err(|_| match number {
        -255..=-1 => (
            "without quotes it is a number, and a TTL is from 0 to 255 (RFC 791)".to_owned(),
            format!("write \"{number}\" in quotes for a change"),
        ),
        _ => ("a TTL is from 0 to 255 (RFC 791)".to_owned(), TTL_FORM.to_owned()),
    })
}

fn change(text: &str) -> Result<Ttl, ParseError> {
    let refuse = |why: &str, fix: String| Err((why.to_owned(), fix));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(text) {
        return match text.parse::<u8>() {
            Ok(number) => refuse(
                "a text is a change, and begins with its sign",
                format!("write {number} without quotes to set it, or a change like \"-1\" or \"+3\""),
            ),
            Err(_) => refuse("a TTL is from 0 to 255 (RFC 791)", TTL_FORM.to_owned()),
        };
    }
    let (sign, digits) = match text.split_at_checked(1) {
        Some((sign @ ("+" | "-"), digits)) if is_digits(digits) => (sign, digits),
        _ => return refuse("it is neither a number nor a change", TTL_FORM.to_owned()),
    };
    match digits.parse::<u8>() {
        Ok(0) => refuse("it changes nothing", "leave it out, or write a change like \"-1\" or \"+3\"".to_owned()),
        Ok(by) if digits.starts_with('0') => {
            refuse("a change is written without leading zeros", format!("write \"{sign}{by}\""))
        }
        Ok(by) => Ok(Ttl::Change(if sign == "-" { -i16::from(by) } else { i16::from(by) })),
        Err(_) => refuse("a change is from 1 to 255", TTL_FORM.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn the_pattern_for_editors_is_what_is_read() {
        let pattern = Regex::new(CHANGE_PATTERN).unwrap();
        let odd = ["", "+", "-", "--1", "+-1", "- 1", "-1 ", "1-", "+1.5", "−1", "+0", "-0", "-00", "+01", "-007", "é"];
        let texts = (0..=400).flat_map(|by| [format!("+{by}"), format!("-{by}"), by.to_string()]);
        for text in texts.chain(odd.map(str::to_owned)) {
            assert_eq!(pattern.is_match(&text), change(&text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_change_has_its_sign() {
        assert_eq!(change("-1"), Ok(Ttl::Change(-1)));
        assert_eq!(change("+255"), Ok(Ttl::Change(255)));
        assert_eq!((set(0), set(255)), (Ok(Ttl::Set(0)), Ok(Ttl::Set(255))));
    }
}
