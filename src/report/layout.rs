//! Sentences as people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// A name in a line: a line end in it is made visible, too.
pub(super) fn visible_name(name: &str) -> String {
    visible(name).replace('\n', "\\n")
}

/// The same on one line, with a space in the place of a line end.
pub(super) fn one_line(text: &str) -> String {
    visible(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text without escape sequences and control characters other than white space: what a program wrote for a terminal.
pub(super) fn unstyled(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
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
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(
            visible("red \u{1b}[31m\r bell\u{7} \u{202e}tab\tend\n"),
            "red \\u{1b}[31m\\r bell\\u{7} \\u{202e}tab    end\n"
        );
        assert_eq!(visible_name("a\nname\r"), "a\\nname\\r");
        assert!(matches!(visible("plain é 漢\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_for_a_terminal_is_left_out() {
        assert_eq!(
            unstyled("\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7}bell\u{7}\0\ttab\nend\u{7f}\n"),
            "red bell\ttab\nend\n"
        );
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
