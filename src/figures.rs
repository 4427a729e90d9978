//! Counts, durations, rates and lists as people read them: each kind is written in one way wherever a text shows it.
//!
//! May use nothing else of the crate. Start at [`count`] and [`duration`].

use std::time::Duration;

/// `5548` as `5,548`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 frame`, `5,548 frames`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{} {}", thousands(number), plural(number, noun))
}

/// The noun alone, as it stands after that number. A noun that ends in `y` after a consonant, or in `s`, follows the rules of English.
pub fn plural(number: u64, noun: &str) -> String {
    if number == 1 {
        return noun.to_owned();
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if noun.ends_with('s') => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

/// The noun before its numbers: `frame 7`, `frames 1-3,5`.
pub fn numbered(noun: &str, numbers: &str) -> String {
    format!("{} {numbers}", plural(if numbers.contains([',', '-']) { 2 } else { 1 }, noun))
}

/// The word that agrees with the number: `agree(1, "was", "were")`.
pub fn agree<'a>(number: u64, one: &'a str, many: &'a str) -> &'a str {
    if number == 1 { one } else { many }
}

/// A number of bytes in the largest unit in which it is whole: `64 MiB`, `1500 B`.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, bits)| bytes > 0 && bytes.trailing_zeros() >= *bits);
    unit.map_or_else(|| format!("{bytes} B"), |(unit, bits)| format!("{} {unit}", bytes >> bits))
}

/// A duration in its unit, with at most three digits: `12.3 µs`, `250 ms`, `1.5 s`, `3 min 24 s`, `26 h 5 min`.
pub fn duration(duration: Duration) -> String {
    with_digits(duration.as_secs_f64(), 3)
}

/// The same of seconds; what is no duration counts as none.
pub fn seconds(seconds: f64) -> String {
    with_digits(seconds, 3)
}

/// Two durations in seconds that are compared, with as many digits as they need to differ.
pub fn seconds_apart(one: f64, other: f64) -> (String, String) {
    let pair = |digits| (with_digits(one, digits), with_digits(other, digits));
    (3..12).map(pair).find(|(one, other)| one != other).unwrap_or_else(|| pair(3))
}

/// Seconds in a unit from nanoseconds to hours, with so many digits.
fn with_digits(seconds: f64, digits: usize) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    let minutes = |whole: u64, large: &str, small: &str| match whole % 60 {
        0 => format!("{} {large}", thousands(whole / 60)),
        rest => format!("{} {large} {rest} {small}", thousands(whole / 60)),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive here, and `as` saturates")]
    let whole = seconds.round() as u64;
    match seconds {
        3599.5.. if digits <= 3 => minutes((whole + 30) / 60, "h", "min"),
        99.95.. if digits <= 3 => minutes(whole, "min", "s"),
        _ => {
            let units = [("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)];
            // A value that rounds up to 1,000 of a unit is 1 of the next.
            let least = 1.0 - 0.5 * 10f64.powi(-i32::try_from(digits).unwrap_or(3));
            let fits = |(_, scale): &(&str, f64)| seconds * scale >= least;
            let (unit, scale) = units.into_iter().find(fits).unwrap_or(("s", 1.0));
            format!("{} {unit}", significant(seconds * scale, digits))
        }
    }
}

/// A quantity of at most three digits with its prefix: `1.42 Gbps`, `185 kpps`.
pub fn scaled(quantity: f64, unit: &str) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut scaled = quantity;
    let mut prefixes = PREFIXES.iter().peekable();
    while scaled >= 999.5 && prefixes.len() > 1 {
        scaled /= 1000.0;
        prefixes.next();
    }
    let prefix = prefixes.next().copied().unwrap_or_default();
    format!("{} {prefix}{unit}", significant(scaled, 3))
}

/// A rate in frames per second: `52.1 kpps`, `100 pps`.
pub fn pps(rate: f64) -> String {
    scaled(rate, "pps")
}

/// A number with at most so many digits where it has a fraction, and no zeros at its end.
fn significant(number: f64, digits: usize) -> String {
    let with = |decimals: usize| format!("{number:.decimals$}");
    let fits = |text: &String| text.bytes().filter(u8::is_ascii_digit).count() <= digits;
    match (1..digits).rev().map(with).find(fits) {
        Some(text) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => with(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        let shown = [0, 7, 999, 1000, 5548, 100_000, 1_000_000, u64::MAX].map(thousands);
        let expected = ["0", "7", "999", "1,000", "5,548", "100,000", "1,000,000", "18,446,744,073,709,551,615"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn one_is_singular_and_all_other_numbers_are_plural() {
        let shown = [(0, "frame"), (1, "frame"), (1_000, "frame"), (2, "entry"), (2, "way"), (2, "loss"), (1, "loss")];
        let shown = shown.map(|(number, noun)| count(number, noun));
        assert_eq!(shown, ["0 frames", "1 frame", "1,000 frames", "2 entries", "2 ways", "2 losses", "1 loss"]);
        assert_eq!(
            ["7", "1-3", "1,5"].map(|numbers| numbered("frame", numbers)),
            ["frame 7", "frames 1-3", "frames 1,5"]
        );
        assert_eq!([0, 1, 2].map(|number| agree(number, "was", "were")), ["were", "was", "were"]);
    }

    #[test]
    fn a_duration_has_at_most_three_digits_and_the_unit_that_fits() {
        for (given, shown) in [
            (0.0, "0 s"),
            (1e-9, "1 ns"),
            (0.000_012_345, "12.3 µs"),
            (0.000_999_4, "999 µs"),
            (0.000_999_6, "1 ms"),
            (0.001, "1 ms"),
            (0.25, "250 ms"),
            (0.999_4, "999 ms"),
            (0.999_6, "1 s"),
            (1.5, "1.5 s"),
            (1.234_5, "1.23 s"),
            (9.996, "10 s"),
            (30.0, "30 s"),
            (99.94, "99.9 s"),
            (99.96, "1 min 40 s"),
            (120.0, "2 min"),
            (204.4, "3 min 24 s"),
            (3_599.6, "1 h"),
            (93_900.0, "26 h 5 min"),
            (1e9, "277,777 h 47 min"),
            (f64::NAN, "0 s"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(seconds(given), shown, "{given}");
        }
        assert_eq!(duration(Duration::from_millis(1_500)), "1.5 s");
    }

    #[test]
    fn durations_that_are_compared_are_told_apart() {
        let apart = |one, other| {
            let (one, other) = seconds_apart(one, other);
            format!("{one} and {other}")
        };
        assert_eq!(apart(1e-4, 1.234e-4), "100 µs and 123 µs");
        assert_eq!(apart(1e-4, 1.000_4e-4), "100 µs and 100.04 µs");
        assert_eq!(apart(300.0, 300.2), "300 s and 300.2 s");
        assert_eq!(apart(2.0, 2.0), "2 s and 2 s");
    }

    #[test]
    fn a_rate_has_at_most_three_digits_and_its_unit() {
        let rates = [0.0, 0.5, 9.99, 99.96, 100.0, 999.4, 999.6, 52_123.0, 100_000.0, 1_500_000.0];
        let words = [
            "0 pps",
            "0.5 pps",
            "9.99 pps",
            "100 pps",
            "100 pps",
            "999 pps",
            "1 kpps",
            "52.1 kpps",
            "100 kpps",
            "1.5 Mpps",
        ];
        assert_eq!(rates.map(pps), words);
        assert_eq!([1.418e9, 4e15].map(|rate| scaled(rate, "bps")), ["1.42 Gbps", "4000 Tbps"]);
    }
}
