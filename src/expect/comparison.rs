//! A text that comes in parts compared with a file. Start at [`Comparison`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::difference;
use super::examine::{CHUNK_BYTES, line_ends};
use crate::evidence::Difference;

/// So much of both texts, from the first line that differs on, is looked at for the lines to show.
const SHOWN_BYTES: u64 = 64 << 10;

pub(super) struct Comparison {
    path: PathBuf,
    expected: io::Result<BufReader<File>>,
    /// Bytes of the text.
    bytes: u64,
    /// Bytes before the first difference, and before its line.
    same: u64,
    line_start: u64,
    line: u64,
    differs: bool,
}

impl Comparison {
    pub(super) fn with(path: &Path) -> Self {
        let expected = File::open(path).map(|file| BufReader::with_capacity(CHUNK_BYTES, file));
        Self { path: path.to_owned(), expected, bytes: 0, same: 0, line_start: 0, line: 1, differs: false }
    }

    pub(super) fn feed(&mut self, mut part: &[u8]) {
        self.bytes += part.len() as u64;
        while !self.differs && !part.is_empty() {
            let Ok(reader) = &mut self.expected else { return };
            let expected = match reader.fill_buf() {
                Ok(expected) => expected,
                Err(error) => return self.expected = Err(error),
            };
            let same = expected.iter().zip(part).take_while(|(left, right)| left == right).count();
            let equal = expected.get(..same).unwrap_or_default();
            self.line += line_ends(equal);
            if let Some(end) = equal.iter().rposition(|byte| *byte == b'\n') {
                self.line_start = self.same + end as u64 + 1;
            }
            self.same += same as u64;
            self.differs = same < part.len() && same < expected.len() || expected.is_empty();
            part = part.get(same..).unwrap_or_default();
            reader.consume(same);
        }
    }

    /// `None` where they are equal. `open` opens the text again.
    pub(super) fn finish<R: Read>(mut self, open: impl Fn() -> io::Result<R>) -> io::Result<Option<Difference>> {
        let expected = self.expected.and_then(|mut reader| {
            self.differs |= !reader.fill_buf()?.is_empty();
            reader.get_ref().metadata()
        });
        let expected = match expected {
            Err(error) => return Ok(Some(Difference::Unreadable(error.to_string()))),
            Ok(_) if !self.differs => return Ok(None),
            Ok(expected) => expected.len(),
        };
        let (old, old_is_cut) = from(File::open(&self.path)?, self.line_start)?;
        let (new, new_is_cut) = from(open()?, self.line_start)?;
        let lines = difference::first_lines(&old, &new, old_is_cut || new_is_cut);
        Ok(Some(Difference::At { line: self.line, expected, actual: self.bytes, lines }))
    }
}

/// What follows this offset, in whole lines, and whether it is cut.
fn from(mut text: impl Read, offset: u64) -> io::Result<(String, bool)> {
    io::copy(&mut text.by_ref().take(offset), &mut io::sink())?;
    let mut bytes = Vec::new();
    text.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() as u64 == SHOWN_BYTES;
    if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n').filter(|_| is_cut) {
        bytes.truncate(end + 1);
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), is_cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a text differs from a file with this content.
    fn difference(expected: &str, text: &str) -> Option<(u64, String)> {
        let path = std::env::temp_dir().join(format!("restage-comparison-{}-{:p}", std::process::id(), &expected));
        std::fs::write(&path, expected).expect("a file in the temporary folder");
        let mut comparison = Comparison::with(&path);
        text.as_bytes().chunks(3).for_each(|part| comparison.feed(part));
        let found = comparison.finish(|| Ok(text.as_bytes())).expect("both can be read");
        std::fs::remove_file(&path).expect("the file is there");
        match found {
            None => None,
            Some(Difference::At { line, lines, .. }) => Some((line, lines)),
            Some(Difference::Unreadable(why)) => panic!("{why}"),
        }
    }

    #[test]
    fn the_lines_around_the_first_difference_are_shown() {
        for (expected, text, line, lines) in [
            ("a\nb\nc\n", "a\nB\nc\n", 2, "\n-b\n+B"),
            ("a\n", "a\nb\n", 2, "\n+b"),
            ("a\nb\n", "", 1, "\n-a\n-b"),
            ("a\n", "a", 1, "\n-a\n+a (no line end)"),
            ("a\n", "a\r\n", 1, "\n-a\n+a\r"),
        ] {
            assert_eq!(difference(expected, text), Some((line, lines.to_owned())), "{expected:?} {text:?}");
        }
        assert_eq!(difference("a\nb", "a\nb"), None);
        assert_eq!(difference("", ""), None);
    }

    #[test]
    fn of_long_texts_the_first_lines_that_differ_are_shown() {
        let text = |word: &str| format!("{}{word}\n{}", "same\n".repeat(50_000), "more\n".repeat(50_000));
        assert_eq!(difference(&text("old"), &text("other")), Some((50_001, "\n-old\n+other".to_owned())));
    }
}
