//! A text examined while it is read: the memory that this takes does not grow with the text. Start at [`examine`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use regex::RegexBuilder;
use regex::bytes::Regex;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::syntax;
use regex_automata::{Anchored, util::start};

use crate::evidence::{Difference, Text};
use crate::scenario::expect::TextRule;

/// So much of the beginning is kept, to be shown.
const HEAD_BYTES: usize = 2048;
/// So much is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest text that a regular expression is matched against as a whole, where that can't be done while it is read.
const WHOLE_BYTES: u64 = 64 << 20;

/// Examines what `open` opens, as far as `rule` asks.
///
/// # Errors
/// When it can't be opened or read.
pub fn examine<R: Read>(rule: &TextRule, open: impl Fn() -> io::Result<R>) -> io::Result<Text> {
    let mut text = Text::default();
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, open()?);
    let mut contains = rule.contains.as_ref().map(|part| Finder::new(&part.value));
    let mut matches = rule.matches.as_ref().map(|pattern| Scanner::new(&pattern.value));
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
        if contains.is_some() || matches.is_some() {
            lossy.feed(chunk, &mut |part| look(part, contains.as_mut(), matches.as_mut()));
        }
        if let Some(comparison) = &mut comparison {
            comparison.feed(chunk);
        }
        reader.consume(length);
    }
    text.lines += u64::from(!ends_line);
    text.head = String::from_utf8_lossy(&head).into_owned();
    lossy.finish(&mut |part| look(part, contains.as_mut(), matches.as_mut()));
    text.contains = contains.is_some_and(|finder| finder.found);
    text.matches = match (matches, &rule.matches) {
        (Some(scanner), Some(pattern)) => match scanner.finish() {
            None => whole(&pattern.value, text.bytes, open)?,
            found => found,
        },
        _ => None,
    };
    text.difference = comparison.and_then(Comparison::finish);
    Ok(text)
}

fn look(part: &str, contains: Option<&mut Finder>, matches: Option<&mut Scanner>) {
    if let Some(finder) = contains {
        finder.feed(part.as_bytes());
    }
    if let Some(scanner) = matches {
        scanner.feed(part.as_bytes());
    }
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Whether a pattern matches somewhere in a text that is not too long to be held; else `None`.
fn whole<R: Read>(pattern: &str, bytes: u64, open: impl Fn() -> io::Result<R>) -> io::Result<Option<bool>> {
    if bytes > WHOLE_BYTES {
        return Ok(None);
    }
    let mut text = Vec::new();
    open()?.take(WHOLE_BYTES).read_to_end(&mut text)?;
    let regex = RegexBuilder::new(pattern).multi_line(true).build();
    Ok(regex.ok().map(|regex| regex.is_match(&String::from_utf8_lossy(&text))))
}

/// Looks for a pattern in a text that comes in parts.
struct Scanner {
    /// `None` where the pattern can't be looked for in this way.
    machine: Option<(DFA, Cache, LazyStateID)>,
    found: bool,
}

impl Scanner {
    fn new(pattern: &str) -> Self {
        let config = DFA::config().unicode_word_boundary(true);
        let syntax = syntax::Config::new().multi_line(true);
        let machine = DFA::builder().configure(config).syntax(syntax).build(pattern).ok().and_then(|dfa| {
            let mut cache = dfa.create_cache();
            let start = dfa.start_state(&mut cache, &start::Config::new().anchored(Anchored::No)).ok()?;
            Some((dfa, cache, start))
        });
        Self { machine, found: false }
    }

    fn feed(&mut self, part: &[u8]) {
        let Some((dfa, cache, state)) = self.machine.as_mut().filter(|_| !self.found) else { return };
        let mut now = *state;
        for byte in part {
            now = match dfa.next_state(cache, now, *byte) {
                Ok(next) if !next.is_tagged() => next,
                Ok(next) if next.is_match() => {
                    self.found = true;
                    return;
                }
                Ok(next) if !next.is_quit() => next,
                _ => {
                    self.machine = None;
                    return;
                }
            };
        }
        *state = now;
    }

    /// Whether it was found; `None` where that is not known.
    fn finish(self) -> Option<bool> {
        if self.found {
            return Some(true);
        }
        let (dfa, mut cache, state) = self.machine?;
        let last = dfa.next_eoi_state(&mut cache, state).ok()?;
        (!last.is_quit()).then(|| last.is_match())
    }
}

/// Looks for a text in one that comes in parts.
struct Finder {
    wanted: Option<Regex>,
    length: usize,
    /// The end of what came, one byte shorter than what is looked for.
    end: Vec<u8>,
    found: bool,
}

impl Finder {
    fn new(wanted: &str) -> Self {
        let regex = Regex::new(&regex::escape(wanted)).ok();
        Self { wanted: regex, length: wanted.len(), end: Vec::new(), found: wanted.is_empty() }
    }

    fn feed(&mut self, part: &[u8]) {
        let Some(wanted) = self.wanted.as_ref().filter(|_| !self.found) else { return };
        let most = self.length - 1;
        self.end.extend_from_slice(part.get(..most.min(part.len())).unwrap_or_default());
        self.found = wanted.is_match(&self.end) || wanted.is_match(part);
        if part.len() >= most {
            self.end.clear();
            self.end.extend_from_slice(part.get(part.len() - most..).unwrap_or_default());
        } else {
            let surplus = self.end.len().saturating_sub(most);
            self.end.drain(..surplus);
        }
    }
}

/// Makes text of bytes that come in parts, as [`String::from_utf8_lossy`] does of all of them.
#[derive(Default)]
struct Lossy {
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
}

impl Lossy {
    fn feed(&mut self, part: &[u8], take: &mut dyn FnMut(&str)) {
        let joined;
        let mut rest = part;
        if !self.begun.is_empty() {
            joined = [self.begun.as_slice(), part].concat();
            self.begun.clear();
            rest = &joined;
        }
        loop {
            let error = match str::from_utf8(rest) {
                Ok(text) => return take(text),
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            take(str::from_utf8(valid).unwrap_or_default());
            let Some(invalid) = error.error_len() else {
                self.begun.extend_from_slice(after);
                return;
            };
            take("\u{fffd}");
            rest = after.get(invalid..).unwrap_or_default();
        }
    }

    fn finish(self, take: &mut dyn FnMut(&str)) {
        if !self.begun.is_empty() {
            take("\u{fffd}");
        }
    }
}

/// Compares a text that comes in parts with a file.
struct Comparison {
    expected: io::Result<BufReader<File>>,
    /// Bytes of the text, and how many lines end before the first difference.
    bytes: u64,
    line: u64,
    differs: bool,
}

impl Comparison {
    fn with(path: &Path) -> Self {
        let expected = File::open(path).map(|file| BufReader::with_capacity(CHUNK_BYTES, file));
        Self { expected, bytes: 0, line: 1, differs: false }
    }

    fn feed(&mut self, mut part: &[u8]) {
        self.bytes += part.len() as u64;
        while !self.differs && !part.is_empty() {
            let Ok(reader) = &mut self.expected else { return };
            let expected = match reader.fill_buf() {
                Ok(expected) => expected,
                Err(error) => return self.expected = Err(error),
            };
            let same = expected.iter().zip(part).take_while(|(left, right)| left == right).count();
            self.line += line_ends(expected.get(..same).unwrap_or_default());
            self.differs = same < part.len() && same < expected.len() || expected.is_empty();
            part = part.get(same..).unwrap_or_default();
            reader.consume(same);
        }
    }

    /// `None` where they are equal.
    fn finish(mut self) -> Option<Difference> {
        let expected = self.expected.and_then(|mut reader| {
            self.differs |= !reader.fill_buf()?.is_empty();
            reader.get_ref().metadata()
        });
        match expected {
            Err(error) => Some(Difference::Unreadable(error.to_string())),
            Ok(_) if !self.differs => None,
            Ok(expected) => Some(Difference::At { line: self.line, expected: expected.len(), actual: self.bytes }),
        }
    }
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
        assert!(text.contains && text.matches == Some(true), "{text:?}");
        assert_eq!(text.bytes, (80 << 20) + 14);
        let absent = TextRule { contains: Some(at("the last word!".to_owned())), ..pattern("^last") };
        let text = examine(&absent, open).unwrap();
        assert!(!text.contains && text.matches == Some(false), "{text:?}");
    }

    #[test]
    fn what_crosses_the_parts_that_are_read_is_found() {
        for before in CHUNK_BYTES - 8..CHUNK_BYTES + 2 {
            let mut bytes = vec![b'y'; before];
            bytes.extend("\nzwölf Bögen\n".as_bytes());
            let rule = TextRule { contains: Some(at("zwölf Bö".to_owned())), ..pattern("^zw.lf B\u{f6}gen$") };
            let text = of(&rule, &bytes);
            assert!(text.contains && text.matches == Some(true) && text.lines == 2, "{before}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_count_as_one_strange_character_each() {
        let binary = b"a\xffb\xe2\x82\n\xe2\x82";
        for (pattern_text, found) in
            [("a.b.$", true), ("^.\\z", true), ("\u{fffd}\n\u{fffd}\\z", true), ("a..b", false)]
        {
            assert_eq!(of(&pattern(pattern_text), binary).matches, Some(found), "{pattern_text}");
            let lossy = String::from_utf8_lossy(binary);
            let whole = regex::Regex::new(&format!("(?m){pattern_text}")).unwrap();
            assert_eq!(whole.is_match(&lossy), found, "{pattern_text}");
        }
        assert_eq!(of(&TextRule::default(), binary).lines, 2);
    }

    #[test]
    fn the_boundary_of_a_word_is_found_beside_other_alphabets() {
        assert_eq!(of(&pattern(r"\bwort\b"), "größe wort straße".as_bytes()).matches, Some(true));
        assert_eq!(of(&pattern(r"\bort\b"), "größe wört straße".as_bytes()).matches, Some(false));
    }
}
