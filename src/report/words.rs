//! Numbers, durations and sentences as people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `5548` as `5,548`.
pub(super) fn thousands(number: u64) -> String {
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

/// `1 scenario`, `2 scenarios`.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{} {}", thousands(number), plural(number, noun))
}

/// The noun alone, as it stands after that number.
pub(super) fn plural(number: u64, noun: &str) -> String {
    format!("{noun}{}", if number == 1 { "" } else { "s" })
}

/// A duration with the digits that matter: `0.31 s`, `12.3 s`, `3 min 24 s`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive here, and `as` saturates")]
    let whole = seconds.round() as u64;
    format!("{} min {} s", thousands(whole / 60), whole % 60)
}

/// A quantity of three digits with its prefix: `1.42 Gbit/s`, `185 kpps`.
pub(super) fn scaled(quantity: f64, unit: &str) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut scaled = quantity;
    let mut prefixes = PREFIXES.iter().peekable();
    while scaled >= 999.5 && prefixes.len() > 1 {
        scaled /= 1000.0;
        prefixes.next();
    }
    let prefix = prefixes.next().copied().unwrap_or_default();
    let digits = usize::from(scaled < 9.995) + usize::from(scaled < 99.95);
    format!("{scaled:.digits$} {prefix}{unit}")
}

/// The text with its control characters made visible, so that what a capture, a scenario or an application wrote can't
/// steer the terminal. Tabs become four spaces; line ends stay.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let steers =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => shown.push_str("    "),
            c if steers(c) => {
                let _infallible = write!(shown, "{}", c.escape_default());
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The text in lines of at most `width` columns, broken at spaces; a longer word stays whole. Its own line ends are kept.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let columns = word.width();
            if used > 0 && used + 1 + columns > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += columns;
        }
        lines.push(line);
    }
    lines
}

/// The text's beginning, at most `width` columns of it, with `…` where something is left out.
pub(super) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    Cow::Owned(short)
}

/// `text` with spaces after it up to `width` columns.
pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
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
    fn durations_show_the_digits_that_matter() {
        let shown = [0.0, 0.314, 9.99, 9.996, 12.34, 99.94, 99.96, 204.4, 1e9].map(seconds);
        let expected = [
            "0.00 s",
            "0.31 s",
            "9.99 s",
            "10.0 s",
            "12.3 s",
            "99.9 s",
            "1 min 40 s",
            "3 min 24 s",
            "16,666,666 min 40 s",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn rates_have_three_digits_and_a_prefix() {
        let shown = [0.0, 1.5, 999.4, 999.6, 184_933.0, 1.418e9, 4e15].map(|rate| scaled(rate, "bit/s"));
        let expected =
            ["0.00 bit/s", "1.50 bit/s", "999 bit/s", "1.00 kbit/s", "185 kbit/s", "1.42 Gbit/s", "4000 Tbit/s"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(
            visible("red \u{1b}[31m\r bell\u{7} \u{202e}tab\tend\n"),
            "red \\u{1b}[31m\\r bell\\u{7} \\u{202e}tab    end\n"
        );
        assert!(matches!(visible("plain é 漢\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_break_at_spaces_and_nowhere_else() {
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrap("a-word-longer-than-that is whole", 8), ["a-word-longer-than-that", "is whole"]);
        assert_eq!(wrap("first\nsecond", 80), ["first", "second"]);
        assert_eq!(wrap("漢字 漢字 漢字", 9), ["漢字 漢字", "漢字"]);
    }

    #[test]
    fn what_is_too_long_ends_in_an_ellipsis() {
        assert_eq!(shortened("1-3,5,7,9", 9), "1-3,5,7,9");
        assert_eq!(shortened("1-3,5,7,9,11", 9), "1-3,5,7,…");
        assert_eq!(shortened("漢字漢字", 5), "漢字…");
    }
}
