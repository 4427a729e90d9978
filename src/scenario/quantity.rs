//! Quantities with units: durations, rates, limits, counts. Start at [`duration`].
//!
//! A number is written in full (`10000`, `1.5`), without separators or exponent; a space before the unit is optional.

use std::time::Duration;

use super::expect::Count;
use super::form::{Scalar, refused};
use super::pacing::{Limit, Rate};
use super::{refused_words, vocabulary};
use crate::diagnostic::Diagnostic;

fn misread<T>(why: impl Into<String>, fix: impl Into<String>) -> Result<T, Diagnostic> {
    Err(refused(why, fix))
}

/// What [`duration`] reads, for editors; only the pattern accepts `0s`.
pub(super) const DURATION_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?(ns|us|ms|s|min|h)$";

/// What [`rate`] reads, for editors.
pub(super) const RATE_PATTERN: &str = r"^(captured|topspeed|max-lossless|[0-9]+(\.[0-9]+)? ?(x|[kM]?pps|[kMG]?bps)|every [0-9]+(\.[0-9]+)? ?(ns|us|ms|s|min|h))$";

/// What [`limit`] reads, for editors; only the pattern accepts 0 and parts of a byte or a packet.
pub(super) const LIMIT_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?(packets?|B|kB|MB|GB|KiB|MiB|GiB|ns|us|ms|s|min|h)$";

/// What [`size`] reads, for editors; only the pattern accepts 0 and parts of a byte.
pub(super) const SIZE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|KiB|MiB|GiB)$";

const DURATION_FORM: &str = "write a number and one of ns, us, ms, s, min, h, like \"250ms\"";
const RATE_FORM: &str =
    "write \"captured\", \"4x\", \"10000 pps\", \"250 Mbps\", \"every 10ms\", \"topspeed\" or \"max-lossless\"";
const SIZE_FORM: &str = "write it like \"512 MiB\"";
const LIMIT_FORM: &str = "write it like \"1000 packets\", \"10 MiB\" or \"60s\"";

/// What [`count`] reads as a string, for editors.
pub(super) const COUNT_PATTERN: &str = r"^(all|>= ?[0-9]+|[0-9]+(\.[0-9]+)? ?%)$";

/// Reads `250ms`, `1.5s`, `2min`: above 0, exact to the nanosecond.
pub(super) fn duration(text: &str) -> Result<Duration, Diagnostic> {
    let (number, unit) = number_and_unit(text, DURATION_FORM)?;
    let unit_ns: u128 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => {
            return misread(
                "the unit is missing",
                format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds"),
            );
        }
        "m" => {
            return misread("`m` may be minutes or milliseconds", format!("write \"{number}min\" or \"{number}ms\""));
        }
        other => return misread(format!("`{other}` is no unit of time"), unit_fix(number, other, DURATION_FORM)),
    };
    match u64::try_from(product(number, unit_ns, "nothing is timed below a nanosecond", DURATION_FORM)?) {
        Ok(0) => misread("it must be above 0", DURATION_FORM),
        Ok(ns) => Ok(Duration::from_nanos(ns)),
        Err(_) => misread("it is longer than 584 years", DURATION_FORM),
    }
}

/// A number times its unit, which must be a whole number; `parts` says why.
fn product(number: &str, unit: u128, parts: &str, form: &str) -> Result<u128, Diagnostic> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let Ok(digits) = format!("{whole}{fraction}").parse::<u128>() else {
        return misread("the number is too large", form);
    };
    let scale = u32::try_from(fraction.len()).ok().and_then(|places| 10_u128.checked_pow(places));
    let (Some(total), Some(scale)) = (digits.checked_mul(unit), scale) else {
        return misread("the number has too many digits", form);
    };
    if total % scale != 0 {
        return misread(parts, "write fewer digits after the point");
    }
    Ok(total / scale)
}

fn unit_fix(number: &str, unit: &str, form: &str) -> String {
    let likely = match unit.to_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "msec" | "msecs" | "milliseconds" | "millis" => "ms",
        "µs" | "μs" | "usec" | "usecs" | "microseconds" => "us",
        "mins" | "minute" | "minutes" => "min",
        "hour" | "hours" => "h",
        _ => return form.to_owned(),
    };
    format!("write \"{number}{likely}\"")
}

/// Reads a pacing rate.
pub(super) fn rate(text: &str) -> Result<Rate, Diagnostic> {
    match text {
        "captured" => return Ok(Rate::Captured),
        "topspeed" => return Ok(Rate::TopSpeed),
        "max-lossless" => return Ok(Rate::MaxLossless),
        _ => {}
    }
    if let Some(new) = refused_words::renamed("pacing.rate", text) {
        return misread(format!("`{text}` is an old name, the rate is called `{new}` now"), format!("write \"{new}\""));
    }
    if let Some(interval) = text.strip_prefix("every ") {
        let fix = "write the time from one frame to the next, like \"every 10ms\"";
        return duration(interval).map(Rate::Every).map_err(|problem| problem.fix(fix));
    }
    if let Some(word) = vocabulary::nearest(text, ["captured", "topspeed", "max-lossless"]) {
        return misread(format!("`{text}` is not a rate"), format!("write \"{word}\""));
    }
    let (number, unit) = number_and_unit(text, RATE_FORM)?;
    let (factor, rate): (f64, fn(f64) -> Rate) = match unit {
        "x" => (1.0, Rate::Speed),
        "pps" => (1.0, Rate::PacketsPerSecond),
        "kpps" => (1e3, Rate::PacketsPerSecond),
        "Mpps" => (1e6, Rate::PacketsPerSecond),
        "bps" => (1.0, Rate::BitsPerSecond),
        "kbps" => (1e3, Rate::BitsPerSecond),
        "Mbps" => (1e6, Rate::BitsPerSecond),
        "Gbps" => (1e9, Rate::BitsPerSecond),
        "" => {
            let fix = format!("write \"{number} pps\", \"{number} Mbps\" or \"{number}x\"");
            return misread("the unit is missing", fix);
        }
        other => return misread(format!("`{other}` is no unit of a rate"), rate_fix(number, other)),
    };
    // Every text of digits and one point is a number for Rust: at worst an infinite one.
    let value = number.parse::<f64>().map_or(f64::INFINITY, |number| number * factor);
    if value <= 0.0 {
        return misread("it must be above 0", RATE_FORM);
    }
    if !value.is_finite() {
        return misread("the number is too large", RATE_FORM);
    }
    Ok(rate(value))
}

fn rate_fix(number: &str, unit: &str) -> String {
    let likely = match unit {
        "X" | "times" => "x",
        "Kpps" | "KPPS" | "k" | "K" => " kpps",
        "mpps" | "MPPS" => " Mpps",
        "PPS" | "packets/s" | "p/s" | "fps" => " pps",
        "Kbps" | "KBPS" | "kbit/s" | "Kbit/s" | "kbit" => " kbps",
        "mbps" | "MBPS" | "Mbit/s" | "Mb/s" | "Mbit" | "mbit" => " Mbps",
        "gbps" | "GBPS" | "Gbit/s" | "Gb/s" | "Gbit" | "gbit" => " Gbps",
        "ms" | "s" | "us" | "ns" | "min" => return format!("write \"every {number}{unit}\""),
        "kBps" | "MBps" | "GBps" | "kB/s" | "MB/s" | "GB/s" => {
            return "rates are in bits: take the figure eight times, with kbps, Mbps or Gbps".to_owned();
        }
        _ => return RATE_FORM.to_owned(),
    };
    format!("write \"{number}{likely}\"")
}

/// Reads `1000 packets`, `10 MiB`, `60s`: above 0.
pub(super) fn limit(text: &str) -> Result<Limit, Diagnostic> {
    let (number, unit) = number_and_unit(text, LIMIT_FORM)?;
    match unit {
        "packet" | "packets" => above_zero(number, 1, "there is no part of a packet", LIMIT_FORM).map(Limit::Packets),
        "ns" | "us" | "ms" | "s" | "m" | "min" | "h" => duration(text).map(Limit::Duration),
        "" => {
            let fix = format!("write \"{number} packets\", \"{number} MiB\" or \"{number}s\"");
            misread("the unit is missing", fix)
        }
        unit => match bytes_of(unit) {
            Some(factor) => above_zero(number, factor, PARTS_OF_A_BYTE, LIMIT_FORM).map(Limit::Bytes),
            None => misread(format!("`{unit}` is no unit of a limit"), limit_fix(number, unit, LIMIT_FORM)),
        },
    }
}

/// Reads `512 MiB`: a number of bytes above 0.
pub(super) fn size(text: &str) -> Result<u64, Diagnostic> {
    let (number, unit) = number_and_unit(text, SIZE_FORM)?;
    match bytes_of(unit) {
        Some(factor) => above_zero(number, factor, PARTS_OF_A_BYTE, SIZE_FORM),
        None if unit.is_empty() => misread("the unit is missing", format!("write \"{number} MiB\"")),
        None => misread(format!("`{unit}` is no unit of a size"), limit_fix(number, unit, SIZE_FORM)),
    }
}

fn bytes_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    })
}

fn above_zero(number: &str, factor: u128, parts: &str, form: &str) -> Result<u64, Diagnostic> {
    match u64::try_from(product(number, factor, parts, form)?) {
        Ok(0) => misread("it must be above 0", form),
        Ok(count) => Ok(count),
        Err(_) => misread("the number is too large", form),
    }
}

const PARTS_OF_A_BYTE: &str = "there is no part of a byte";

fn limit_fix(number: &str, unit: &str, form: &str) -> String {
    let likely = match unit {
        "frame" | "frames" | "pkt" | "pkts" | "p" | "Packet" | "Packets" => "packets",
        "b" | "byte" | "bytes" => "B",
        "k" | "K" | "KB" | "kb" | "Kb" => "kB",
        "M" | "mb" | "Mb" => "MB",
        "G" | "g" | "gb" | "Gb" => "GB",
        "kib" | "kiB" | "Ki" => "KiB",
        "mib" | "miB" | "Mi" => "MiB",
        "gib" | "giB" | "Gi" => "GiB",
        _ => return unit_fix(number, unit, form),
    };
    format!("write \"{number} {likely}\"")
}

/// Splits `10 pps` into `10` and `pps`. The number is digits, or digits, a point and digits.
fn number_and_unit<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), Diagnostic> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if text.starts_with(['-', '+']) {
        return misread("a number here has no sign", form);
    }
    if number.is_empty() {
        return misread("it doesn't begin with a number", form);
    }
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = match number.split_once('.') {
        None => is_digits(number),
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
    };
    if rest.starts_with([',', '_', '\'']) {
        let plain: String = text.chars().filter(|c| !matches!(c, ',' | '_' | '\'')).collect();
        return misread("digits are written without separators", format!("write \"{plain}\""));
    }
    if rest.starts_with(['e', 'E']) && rest[1..].starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return misread("numbers have no exponent here", "write the number in full");
    }
    if !well_formed {
        return misread(format!("`{number}` is not a number"), form);
    }
    Ok((number, rest.strip_prefix(' ').unwrap_or(rest)))
}

const COUNT_FORM: &str = "write 5548, \"all\", \">= 5500\" or \"99.9%\"";

/// Reads an expected count.
pub(super) fn count(written: &Scalar) -> Result<Count, Diagnostic> {
    let text = match written {
        Scalar::Integer(number) => {
            return match u64::try_from(*number) {
                Ok(number) => Ok(Count::Exactly(number)),
                Err(_) => misread("a count is 0 or more", COUNT_FORM),
            };
        }
        Scalar::Text(text) => text.trim(),
    };
    if text == "all" {
        return Ok(Count::All);
    }
    if let Some(least) = text.strip_prefix(">=") {
        return match least.trim().parse() {
            Ok(least) => Ok(Count::AtLeast(least)),
            Err(_) => misread(format!("`{}` is not a count", least.trim()), "write a whole number, like \">= 5500\""),
        };
    }
    if let Some(share) = text.strip_suffix('%') {
        if share.contains(',') {
            return misread("a comma is no decimal point", format!("write \"{}%\"", share.trim().replace(',', ".")));
        }
        let (number, unit) = number_and_unit(share.trim(), "write a share like \"99.9%\"")?;
        let percent = number.parse().unwrap_or(f64::INFINITY);
        if !unit.is_empty() {
            return misread(format!("`{share}` is not a number"), "write a share like \"99.9%\"");
        }
        if percent > 100.0 {
            return misread("a share goes from 0 % to 100 %", "write \"all\", or a share like \"99.9%\"");
        }
        return Ok(Count::Percent(percent));
    }
    if text.parse::<u64>().is_ok() {
        return misread("a plain count is a number, not a string", format!("write {text} without quotes"));
    }
    if let Some(Ok(above)) = text.strip_prefix('>').map(|above| above.trim().parse::<u64>()) {
        return misread("`>` is not in the language", format!("write \">= {}\"", above.saturating_add(1)));
    }
    if text.starts_with('<') {
        return misread("an expectation is a lower limit or an exact count", COUNT_FORM);
    }
    misread("it is not a count", COUNT_FORM)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn fixes<T: std::fmt::Debug>(read: fn(&str) -> Result<T, Diagnostic>, texts: &[&str]) -> String {
        let lines = texts.iter().map(|text| match read(text) {
            Ok(value) => format!("{text:?} = {value:?}\n"),
            Err(problem) => format!("{text:?}: {}; {}\n", problem.why.unwrap(), problem.fix.unwrap()),
        });
        lines.collect()
    }

    #[test]
    fn durations_are_exact() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0.1us"), Ok(Duration::from_nanos(100)));
        assert_eq!(duration("2min"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
    }

    #[test]
    fn a_bad_duration_says_why_and_what_to_write() {
        let texts = [
            "",
            "5",
            "5m",
            "5 sec",
            "5  s",
            "-1s",
            "0s",
            "0.0ms",
            "1.5ns",
            "1e3s",
            "1,000ms",
            "1_000ms",
            ".5s",
            "5.s",
            "1.2.3s",
            "99999999999999999999h",
            "999999999999999999999999999999999999999999s",
            "ms",
            "5 parsecs",
            "0.00000000000000000000000000000000000000000001s",
        ];
        insta::assert_snapshot!(fixes(duration, &texts));
    }

    #[test]
    fn rates_have_their_unit() {
        let texts = [
            "captured",
            "topspeed",
            "max-lossless",
            "4x",
            "0.5x",
            "10000 pps",
            "10kpps",
            "1.5 Mpps",
            "250 Mbps",
            "100 kbps",
            "1 Gbps",
            "64 bps",
            "every 10ms",
        ];
        insta::assert_snapshot!(fixes(rate, &texts));
    }

    #[test]
    fn a_bad_rate_says_why_and_what_to_write() {
        let texts = [
            "",
            "fast",
            "Captured",
            "Max-lossless",
            "find",
            "10000",
            "10,000 pps",
            "10 PPS",
            "250 mbps",
            "250 Mbit/s",
            "30 MB/s",
            "10ms",
            "every 0s",
            "every",
            "every 10",
            "0x",
            "0 pps",
            "-4x",
            "1e5 pps",
            "4 times",
            "10 furlongs",
        ];
        insta::assert_snapshot!(fixes(rate, &texts));
    }

    #[test]
    fn limits_are_packets_bytes_or_a_time() {
        assert_eq!(limit("1000 packets"), Ok(Limit::Packets(1000)));
        assert_eq!(limit("1 packet"), Ok(Limit::Packets(1)));
        assert_eq!(limit("1500 B"), Ok(Limit::Bytes(1500)));
        assert_eq!(limit("1.5 kB"), Ok(Limit::Bytes(1500)));
        assert_eq!(limit("2MB"), Ok(Limit::Bytes(2_000_000)));
        assert_eq!(limit("1 GB"), Ok(Limit::Bytes(1_000_000_000)));
        assert_eq!(limit("512 KiB"), Ok(Limit::Bytes(524_288)));
        assert_eq!(limit("10 MiB"), Ok(Limit::Bytes(10_485_760)));
        assert_eq!(limit("0.5 GiB"), Ok(Limit::Bytes(536_870_912)));
        assert_eq!(limit("60s"), Ok(Limit::Duration(Duration::from_mins(1))));
        assert_eq!(limit("250 ms"), Ok(Limit::Duration(Duration::from_millis(250))));
    }

    #[test]
    fn a_bad_limit_says_why_and_what_to_write() {
        let texts = [
            "",
            "1000",
            "packets",
            "0 packets",
            "0 B",
            "0s",
            "-5 packets",
            "1.5 packets",
            "0.3 KiB",
            "1,000 packets",
            "1e6 packets",
            "1000 frames",
            "10 mb",
            "10 KB",
            "10 bytes",
            "10 seconds",
            "5m",
            "10 furlongs",
            "99999999999999999999 packets",
            "99999999999 GiB",
        ];
        insta::assert_snapshot!(fixes(limit, &texts));
    }

    #[test]
    fn counts_are_exact_or_a_lower_limit() {
        let read = |text: &str| count(&Scalar::Text(text.to_owned()));
        assert_eq!(count(&Scalar::Integer(5548)), Ok(Count::Exactly(5548)));
        assert_eq!(read("all"), Ok(Count::All));
        assert_eq!(read(">= 5500"), Ok(Count::AtLeast(5500)));
        assert_eq!(read(">=5500"), Ok(Count::AtLeast(5500)));
        assert_eq!(read("99.9%"), Ok(Count::Percent(99.9)));
        assert_eq!(read("100 %"), Ok(Count::Percent(100.0)));
        let texts = ["", "5548", "> 5", "< 5", ">= many", "101%", "99,9%", "-1%", "ALL", "most", "9 9%"];
        insta::assert_snapshot!(fixes(|text| count(&Scalar::Text(text.to_owned())), &texts));
    }

    proptest! {
        /// The pattern that editors are given accepts exactly what is read, but for 0 and figures beyond every limit.
        #[test]
        fn the_duration_pattern_is_what_is_read(text in r"[0-9]{1,4}(\.[0-9]{1,3})? ?(ns|us|ms|s|min|h|m|x|)") {
            let pattern = Regex::new(DURATION_PATTERN).unwrap();
            match duration(&text) {
                Ok(_) => prop_assert!(pattern.is_match(&text)),
                Err(problem) => prop_assert!(!pattern.is_match(&text) || problem.why.as_ref().unwrap().contains("above 0") || problem.why.as_ref().unwrap().contains("nanosecond")),
            }
        }

        #[test]
        fn the_rate_pattern_is_what_is_read(text in r"(every )?[0-9]{1,4}(\.[0-9]{1,3})? ?(x|pps|kpps|Mpps|Gpps|bps|kbps|Mbps|Gbps|Tbps|ms|)") {
            let pattern = Regex::new(RATE_PATTERN).unwrap();
            match rate(&text) {
                Ok(_) => prop_assert!(pattern.is_match(&text)),
                Err(problem) => prop_assert!(!pattern.is_match(&text) || problem.why.as_ref().unwrap().contains("above 0")),
            }
        }

        #[test]
        fn the_limit_pattern_is_what_is_read(text in r"[0-9]{1,4}(\.[0-9]{1,3})? ?(packets?|frames|[kMGT]?B|[KMGT]iB|ms|s|m|)") {
            let pattern = Regex::new(LIMIT_PATTERN).unwrap();
            match limit(&text) {
                Ok(_) => prop_assert!(pattern.is_match(&text)),
                Err(problem) => prop_assert!(!pattern.is_match(&text) || problem.why.as_ref().unwrap().contains("above 0") || problem.why.as_ref().unwrap().contains("no part of")),
            }
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in ".{0,30}") {
            let _ = duration(&text);
            let _ = rate(&text);
            let _ = limit(&text);
            let _ = count(&Scalar::Text(text));
        }
    }
}
