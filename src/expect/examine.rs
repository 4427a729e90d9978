//! A text examined while it is read: the memory that this takes does not grow with the text. Start at [`examine`].

use std::io::{self, BufRead, BufReader, Read};

use super::comparison::Comparison;
use super::json;
use super::search::{Lossy, Scanner};
use super::stored;
use crate::evidence::{Found, Text};
use crate::scenario::expect::TextRule;

/// So much of the beginning is kept, to be shown.
const HEAD_BYTES: usize = 2048;
/// So much is read at once.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// So much of a line is kept, to be shown.
const LINE_BYTES: u64 = 400;

/// Examines what `open` opens, as far as `rule` asks.
///
/// # Errors
/// When it can't be opened or read.
pub fn examine<R: Read>(rule: &TextRule, open: impl Fn() -> io::Result<R>) -> io::Result<Text> {
    let mut text = Text::default();
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, open()?);
    let mut scanners: Vec<Scanner> = rule.searches().map(|search| Scanner::new(&search)).collect();
    let mut comparison = rule.equals_file.as_ref().map(|file| Comparison::with(&file.value));
    let mut lossy = Lossy::default();
    let mut head = Vec::new();
    let mut ends_line = true;
    loop {
        let chunk = reader.fill_buf()?;
        let Some(last) = chunk.last() else { break };
        let length = chunk.len();
        let missing = HEAD_BYTES.saturating_sub(head.len());
        head.extend_from_slice(chunk.get(..missing.min(length)).unwrap_or_default());
        text.bytes += length as u64;
        if rule == &TextRule::default() && head.len() >= HEAD_BYTES {
            break;
        }
        text.lines += line_ends(chunk);
        ends_line = *last == b'\n';
        if !scanners.is_empty() {
            lossy.feed(chunk, &mut |part| scanners.iter_mut().for_each(|scanner| scanner.feed(part.as_bytes())));
        }
        if let Some(comparison) = &mut comparison {
            comparison.feed(chunk);
        }
        reader.consume(length);
    }
    text.lines += u64::from(!ends_line);
    text.head = String::from_utf8_lossy(&head).into_owned();
    lossy.finish(&mut |part| scanners.iter_mut().for_each(|scanner| scanner.feed(part.as_bytes())));
    for (search, mut scanner) in rule.searches().zip(scanners) {
        let count = scanner.finish(text.bytes, &open)?;
        // Where it may be too often, the place of the first is worth a look.
        let first = scanner.first_line.filter(|_| search.negated || search.count.is_some());
        let first = first.map(|line| Ok::<_, io::Error>((line, nth_line(open()?, line)?))).transpose()?;
        text.searches.push(Found { count, first });
    }
    text.difference = comparison.map(|comparison| comparison.finish(&open)).transpose()?.flatten();
    if !rule.json.is_empty() {
        text.json = Some(json::select(&rule.json, open()?)?);
    }
    if let Some(lines) = &rule.json_lines {
        text.json_lines = Some(json::lines(&lines.value, open()?)?);
    }
    if let Some(flows) = &rule.flows {
        text.flows = Some(stored::read(&flows.value, open()?)?);
    }
    Ok(text)
}

pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// The beginning of a line, counted from 1.
fn nth_line(text: impl Read, line: u64) -> io::Result<String> {
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, text);
    for _ in 1..line {
        reader.skip_until(b'\n')?;
    }
    let mut bytes = Vec::new();
    reader.take(LINE_BYTES).read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::{CHUNK_BYTES, Text, examine};
    use crate::diagnostic::At;
    use crate::scenario::expect::TextRule;

    fn at<T>(value: T) -> At<T> {
        At { value, span: None }
    }

    fn pattern(pattern: &str) -> TextRule {
        TextRule { matches: Some(at(pattern.to_owned())), ..TextRule::default() }
    }

    fn of(rule: &TextRule, text: &[u8]) -> Text {
        examine(rule, || Ok(text)).expect("bytes can be read")
    }

    /// How often each search found something.
    fn found(text: &Text) -> Vec<Option<u64>> {
        text.searches.iter().map(|found| found.count).collect()
    }

    fn matched(text_pattern: &str, text: &[u8]) -> bool {
        found(&of(&pattern(text_pattern), text)) == [Some(1)]
    }

    /// So many lines without an end to them, and then a last one.
    struct Lines {
        left: usize,
        last: io::Cursor<&'static [u8]>,
    }

    impl Read for Lines {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 {
                return self.last.read(buffer);
            }
            let length = buffer.len().min(self.left);
            buffer[..length].fill(b'y');
            for byte in buffer[..length].iter_mut().step_by(100) {
                *byte = b'\n';
            }
            self.left -= length;
            Ok(length)
        }
    }

    #[test]
    fn a_long_text_is_judged_to_its_end() {
        let open = || Ok(Lines { left: 80 << 20, last: io::Cursor::new(b"\nthe last word") });
        let rule = TextRule { contains: Some(at("\nthe last".to_owned())), ..pattern("y$\n^the last word\\z") };
        let text = examine(&rule, open).unwrap();
        assert_eq!(found(&text), [Some(1), Some(1)]);
        assert_eq!(text.bytes, (80 << 20) + 14);
        let absent = TextRule { contains: Some(at("the last word!".to_owned())), ..pattern("^last") };
        let text = examine(&absent, open).unwrap();
        assert_eq!(found(&text), [Some(0), Some(0)]);
    }

    #[test]
    fn what_crosses_the_parts_that_are_read_is_found() {
        for before in CHUNK_BYTES - 8..CHUNK_BYTES + 2 {
            let mut bytes = vec![b'y'; before];
            bytes.extend("\nzwölf Bögen\n".as_bytes());
            let rule = TextRule { contains: Some(at("zwölf Bö".to_owned())), ..pattern("^zw.lf B\u{f6}gen$") };
            let text = of(&rule, &bytes);
            assert_eq!((found(&text), text.lines), (vec![Some(1), Some(1)], 2), "{before}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_count_as_one_strange_character_each() {
        let binary = b"a\xffb\xe2\x82\n\xe2\x82";
        for (pattern_text, is_found) in
            [("a.b.$", true), ("^.\\z", true), ("\u{fffd}\n\u{fffd}\\z", true), ("a..b", false)]
        {
            assert_eq!(matched(pattern_text, binary), is_found, "{pattern_text}");
            let lossy = String::from_utf8_lossy(binary);
            let whole = regex::Regex::new(&format!("(?m){pattern_text}")).unwrap();
            assert_eq!(whole.is_match(&lossy), is_found, "{pattern_text}");
        }
        assert_eq!(of(&TextRule::default(), binary).lines, 2);
    }

    #[test]
    fn the_boundary_of_a_word_is_found_beside_other_alphabets() {
        assert!(matched(r"\bwort\b", "größe wort straße".as_bytes()));
        assert!(!matched(r"\bort\b", "größe wört straße".as_bytes()));
    }
}
