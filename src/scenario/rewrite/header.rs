//! `[rewrite.header]`: fields of the IP header. Start at [`check`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::{Scalar, numbers, refused, values};
use super::Ttl;
use crate::diagnostic::{At, Diagnostic};

/// What fields of the IP header become, in the headers that `layers` names. The IPv4 header checksum follows; packets that ICMP errors quote
/// keep theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1))]
pub struct HeaderFields {
    /// TTL of IPv4 and hop limit of IPv6: 64 sets it; "-1" and "+3" change it, down to 0 and up to 255.
    #[schemars(example = 64)]
    pub ttl: Option<At<Ttl>>,
    /// The whole type-of-service byte of IPv4; never together with `dscp`.
    #[serde(deserialize_with = "tos")]
    #[schemars(with = "i64", range(min = 0, max = 255), example = 184)]
    pub tos: Option<At<u8>>,
    /// The whole traffic class of IPv6; never together with `dscp`.
    #[serde(deserialize_with = "traffic_class")]
    #[schemars(with = "i64", range(min = 0, max = 255), example = 184)]
    pub traffic_class: Option<At<u8>>,
    /// The differentiated services code point of IPv4 and IPv6; the two bits of ECN stay (RFC 2474, RFC 3168).
    #[serde(deserialize_with = "dscp")]
    #[schemars(with = "i64", range(min = 0, max = 63), example = 46)]
    pub dscp: Option<At<u8>>,
    /// The flow label of IPv6, 20 bits.
    #[serde(deserialize_with = "flow_label")]
    #[schemars(with = "i64", range(min = 0, max = GREATEST_FLOW_LABEL), example = 0)]
    pub flow_label: Option<At<u32>>,
}

const GREATEST_FLOW_LABEL: i64 = 0xf_ffff;

/// What [`change`] reads, for editors.
const CHANGE_PATTERN: &str = "^[+-]([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$";

const TTL_FORM: &str = "write a number from 0 to 255 to set it, or a change in quotes, like \"-1\" or \"+3\"";

values! {
    Ttl: Scalar, ttl, { "type": ["integer", "string"], "minimum": 0, "maximum": 255, "pattern": CHANGE_PATTERN };
}

numbers! {
    tos -> Option<At<u8>>, 0..=255, "the field has eight bits (RFC 791): 0 to 255", "write a number from 0 to 255";
    traffic_class -> Option<At<u8>>, 0..=255, "the field has eight bits (RFC 8200): 0 to 255", "write a number from 0 to 255";
    dscp -> Option<At<u8>>, 0..=63, "the field has six bits (RFC 2474): 0 to 63",
        "write a number from 0 to 63; the whole byte is `tos` (IPv4) or `traffic-class` (IPv6)";
    flow_label -> Option<At<u32>>, 0..=GREATEST_FLOW_LABEL, "the field has 20 bits (RFC 8200): 0 to 1048575",
        "write a number from 0 to 1048575";
}

/// What is odd about the table, or about two of its keys.
pub(super) fn check(written: At<HeaderFields>, checker: &mut Checker) -> HeaderFields {
    let table = written.range();
    let fields = written.value;
    if fields == HeaderFields::default() {
        let problem = Diagnostic::error("`[rewrite.header]` changes nothing")
            .why("its keys are ttl, tos, traffic-class, dscp, flow-label")
            .fix("write one of them, like `ttl = 64`, or leave the table out");
        let keys = ["ttl", "tos", "traffic-class", "dscp", "flow-label"];
        checker.missing_all("rewrite.header", &keys, table, problem);
    }
    for (name, whole) in [("tos", &fields.tos), ("traffic-class", &fields.traffic_class)] {
        if let (Some(dscp), Some(whole)) = (&fields.dscp, whole) {
            overlap(dscp, (name, whole), checker);
        }
    }
    if let Some(At { value: Ttl::Set(number @ 1..), span: Some(span) }) = &fields.ttl
        && checker.source.text.get(span.clone()).is_some_and(|text| text.starts_with('+'))
    {
        let problem = Diagnostic::error(format!("`rewrite.header.ttl` can't be +{number}"))
            .why("without quotes it is a number, and would be what the TTL becomes")
            .fix(format!("write \"+{number}\" in quotes for a change, or {number} without a sign"));
        checker.refuse(span.clone(), problem);
    }
    fields
}

/// Reports that `dscp` is written beside the field that contains it.
fn overlap(dscp: &At<u8>, whole: (&str, &At<u8>), checker: &mut Checker) {
    let (dscp, name, whole) = (dscp.range(), whole.0, whole.1.range());
    let (first, later, other) = if dscp.start < whole.start { (dscp, whole, "dscp") } else { (whole, dscp, name) };
    let problem = Diagnostic::error(format!("`dscp` and `{name}` of `[rewrite.header]` exclude each other"))
        .label(format!("line {} has `{other}`", checker.line(first.start)))
        .why(format!("the code point is the upper six bits of what `{name}` sets (RFC 2474)"))
        .fix(format!("keep `{name}` for all eight bits, or `dscp`, which leaves ECN as it is"));
    checker.refuse(later, problem);
}

fn ttl(written: &Scalar) -> Result<Ttl, Diagnostic> {
    match written {
        Scalar::Integer(number @ 0..=255) => Ok(Ttl::Set(u8::try_from(*number).unwrap_or(u8::MAX))),
        Scalar::Integer(number @ -255..=-1) => Err(refused(
            "without quotes it is a number, and a TTL is from 0 to 255 (RFC 791)",
            format!("write \"{number}\" in quotes for a change"),
        )),
        Scalar::Integer(_) => Err(refused("a TTL is from 0 to 255 (RFC 791)", TTL_FORM)),
        Scalar::Text(text) => change(text),
    }
}

fn change(text: &str) -> Result<Ttl, Diagnostic> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(text) {
        return match text.parse::<u8>() {
            Ok(number) => Err(refused(
                "a text is a change, and begins with its sign",
                format!("write {number} without quotes to set it, or a change like \"-1\" or \"+3\""),
            )),
            Err(_) => Err(refused("a TTL is from 0 to 255 (RFC 791)", TTL_FORM)),
        };
    }
    let (sign, digits) = match text.split_at_checked(1) {
        Some((sign @ ("+" | "-"), digits)) if is_digits(digits) => (sign, digits),
        _ => return Err(refused("it is neither a number nor a change", TTL_FORM)),
    };
    match digits.parse::<u8>() {
        Ok(0) => Err(refused("it changes nothing", "leave it out, or write a change like \"-1\" or \"+3\"")),
        Ok(by) if digits.starts_with('0') => {
            Err(refused("a change is written without leading zeros", format!("write \"{sign}{by}\"")))
        }
        Ok(by) => Ok(Ttl::Change(if sign == "-" { -i16::from(by) } else { i16::from(by) })),
        Err(_) => Err(refused("a change is from 1 to 255", TTL_FORM)),
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
        assert_eq!([0, 255].map(|number| ttl(&Scalar::Integer(number))), [Ok(Ttl::Set(0)), Ok(Ttl::Set(255))]);
    }
}
