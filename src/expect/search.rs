//! What is looked for in a text that comes in parts, and how often it is there. Start at [`Scanner`].

use std::io::{self, Read};

use regex::RegexBuilder;
use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::{start, syntax};

use super::examine::line_ends;
use crate::scenario::expect::Search;

/// The longest text that a regular expression is matched against as a whole, where that can't be done while it is read.
const WHOLE_BYTES: u64 = 64 << 20;
/// How far behind a match is looked whether it goes on.
const MOST_KEPT: usize = 1 << 20;

/// Looks for a pattern in a text that comes in parts, as leftmost-first matching finds it in the whole text.
pub(super) struct Scanner {
    pattern: String,
    /// Whether all matches are counted, or the first one ends the search.
    counts: bool,
    /// `None` where the pattern can't be looked for in this way.
    machine: Option<Machine>,
    count: u64,
    /// The line in which the first match ends, from 1.
    pub(super) first_line: Option<u64>,
    /// Line ends before the part that is being read, and whether one is right before it.
    lines: u64,
    after_line_end: bool,
}

struct Machine {
    dfa: DFA,
    cache: Cache,
    state: LazyStateID,
    /// The byte that was read last.
    last: Option<u8>,
    /// The last byte of a match that may go on, and what was read behind it.
    open: Option<(Option<u8>, Vec<u8>)>,
}

/// What a byte brings.
enum Step {
    Nothing,
    /// A match ends before it, and may go on.
    Match,
    /// No match goes on with it, nor begins before it.
    Dead,
    /// The machine can't go on.
    Unknown,
}

impl Scanner {
    pub(super) fn new(search: &Search<'_>) -> Self {
        let pattern = search.pattern().into_owned();
        Self {
            machine: Machine::new(&pattern),
            pattern,
            counts: search.count.is_some(),
            count: 0,
            first_line: None,
            lines: 0,
            after_line_end: false,
        }
    }

    /// Whether what comes can't change anything.
    fn is_done(&self) -> bool {
        self.machine.is_none() || !self.counts && self.count > 0
    }

    pub(super) fn feed(&mut self, part: &[u8]) {
        if self.is_done() {
            return;
        }
        let mut at = 0;
        // What was read behind the end of a match is read again, from its end to its beginning.
        let mut again: Vec<u8> = Vec::new();
        loop {
            let Some(machine) = &mut self.machine else { return };
            let byte = match again.pop() {
                Some(byte) => byte,
                None => match part.get(at) {
                    Some(byte) => {
                        at += 1;
                        *byte
                    }
                    None => break,
                },
            };
            match machine.step(byte) {
                Step::Nothing => {}
                Step::Match => {
                    if self.first_line.is_none() {
                        // The byte is the one behind the match; at the beginning of a part, the match is in the part before.
                        let before = part.get(..at.saturating_sub(2)).map_or(0, line_ends);
                        let crossed = u64::from(at == 1 && self.after_line_end);
                        self.first_line = Some(self.lines + before + 1 - crossed);
                    }
                    if !self.counts {
                        self.count = 1;
                        return;
                    }
                }
                Step::Dead => {
                    self.count += 1;
                    match machine.restart() {
                        Some(kept) => again.extend(kept.into_iter().rev()),
                        None => self.machine = None,
                    }
                }
                Step::Unknown => self.machine = None,
            }
        }
        self.lines += line_ends(part);
        self.after_line_end = part.last() == Some(&b'\n');
    }

    /// How often it was found; `None` where that is not known. `open` opens the text again, which has so many bytes.
    pub(super) fn finish<R: Read>(&mut self, bytes: u64, open: impl Fn() -> io::Result<R>) -> io::Result<Option<u64>> {
        if !self.counts && self.count > 0 {
            return Ok(Some(self.count));
        }
        while let Some(machine) = &mut self.machine {
            let next = machine.dfa.next_eoi_state(&mut machine.cache, machine.state);
            match next {
                Ok(next) if next.is_match() => {
                    self.first_line = self.first_line.or(Some(self.lines + 1 - u64::from(self.after_line_end)));
                    return Ok(Some(self.count + 1));
                }
                Ok(next) if next.is_quit() => self.machine = None,
                Ok(_) if machine.open.is_none() => return Ok(Some(self.count)),
                Ok(_) => {
                    self.count += 1;
                    match machine.restart() {
                        Some(kept) => self.feed(&kept),
                        None => self.machine = None,
                    }
                }
                Err(_) => self.machine = None,
            }
        }
        whole(&self.pattern, bytes, open)
    }
}

impl Machine {
    fn new(pattern: &str) -> Option<Self> {
        let config = DFA::config().unicode_word_boundary(true).skip_cache_capacity_check(true);
        let syntax = syntax::Config::new().multi_line(true);
        let dfa = DFA::builder().configure(config).syntax(syntax).build(pattern).ok()?;
        let mut cache = dfa.create_cache();
        let state = dfa.start_state(&mut cache, &start::Config::new().anchored(Anchored::No)).ok()?;
        Some(Self { dfa, cache, state, last: None, open: None })
    }

    fn step(&mut self, byte: u8) -> Step {
        let Ok(next) = self.dfa.next_state(&mut self.cache, self.state, byte) else { return Step::Unknown };
        let mut step = Step::Nothing;
        if next.is_match() {
            self.open = Some((self.last, Vec::new()));
            step = Step::Match;
        } else if next.is_quit() {
            return Step::Unknown;
        }
        if let Some((_, kept)) = &mut self.open {
            kept.push(byte);
            if next.is_dead() {
                step = Step::Dead;
            } else if kept.len() > MOST_KEPT {
                return Step::Unknown;
            }
        }
        (self.state, self.last) = (next, Some(byte));
        step
    }

    /// Goes on behind the match that is over, and gives what was read there already; `None` where it can't go on there.
    fn restart(&mut self) -> Option<Vec<u8>> {
        let (last, kept) = self.open.take()?;
        let behind = start::Config::new().anchored(Anchored::No).look_behind(last);
        self.state = self.dfa.start_state(&mut self.cache, &behind).ok()?;
        self.last = last;
        Some(kept)
    }
}

/// How often a pattern matches in a text that is not too long to be held; else `None`.
fn whole<R: Read>(pattern: &str, bytes: u64, open: impl Fn() -> io::Result<R>) -> io::Result<Option<u64>> {
    if bytes > WHOLE_BYTES {
        return Ok(None);
    }
    let mut text = Vec::new();
    open()?.take(WHOLE_BYTES).read_to_end(&mut text)?;
    let regex = RegexBuilder::new(pattern).multi_line(true).build();
    Ok(regex.ok().map(|regex| regex.find_iter(&String::from_utf8_lossy(&text)).count() as u64))
}

/// Makes text of bytes that come in parts, as [`String::from_utf8_lossy`] does of all of them.
#[derive(Default)]
pub(super) struct Lossy {
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
}

impl Lossy {
    pub(super) fn feed(&mut self, part: &[u8], take: &mut dyn FnMut(&str)) {
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

    pub(super) fn finish(self, take: &mut dyn FnMut(&str)) {
        if !self.begun.is_empty() {
            take("\u{fffd}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::At;
    use crate::scenario::expect::{HowMany, TextRule};

    /// How often a pattern is found in a text that comes in parts of so many bytes, and the line of the first.
    fn counted(pattern: &str, text: &str, part: usize) -> (Option<u64>, Option<u64>) {
        let count = Some(At::default_value(HowMany::exactly(0)));
        let rule = TextRule { matches: Some(At::default_value(pattern.to_owned())), count, ..TextRule::default() };
        let mut scanner = Scanner::new(&rule.searches().next().expect("a search"));
        text.as_bytes().chunks(part).for_each(|part| scanner.feed(part));
        let count = scanner.finish(text.len() as u64, || Ok(text.as_bytes())).expect("bytes can be read");
        (count, scanner.first_line)
    }

    #[test]
    fn matches_are_counted_as_in_the_whole_text() {
        let text = "ab abab\nabc\n\nzwölf ab";
        for (pattern, count) in [
            ("ab", 5),
            ("(ab)+", 4),
            ("^ab", 2),
            ("ab$", 2),
            (r"ab\z", 1),
            (r"\Aab", 1),
            ("b|abab", 4),
            ("abab|b", 4),
            (r"(?s)ab.*ab", 1),
            ("(?s)b.*x|a", 5),
            (r"\bab\b", 2),
            (r"(?-u:\b)ab(?-u:\b)", 2),
            ("\n", 3),
            ("ö", 1),
            ("[^x]", 21),
            ("x", 0),
        ] {
            for part in 1..=text.len() {
                assert_eq!(counted(pattern, text, part).0, Some(count), "{pattern} in parts of {part}");
            }
        }
    }

    #[test]
    fn the_line_of_the_first_match_is_that_of_its_end() {
        let text = "one\ntwo\n\nthree";
        for (pattern, line) in [("one", 1), ("two", 2), ("o\n", 2), ("\n\n", 3), ("three", 4), ("t", 2)] {
            for part in 1..=text.len() {
                assert_eq!(counted(pattern, text, part).1, Some(line), "{pattern} in parts of {part}");
            }
        }
    }

    proptest! {
        #[test]
        fn counting_in_parts_is_counting_in_the_whole(
            pattern in "[ab]([ab.]|a\\*|b\\+|\\(ab\\|b\\)|\\$|\\^|\\n){0,4}",
            text in "[ab\n]{0,40}",
            part in 1_usize..9,
        ) {
            let regex = RegexBuilder::new(&pattern).multi_line(true).build();
            prop_assume!(regex.is_ok());
            let count = regex.map_or(0, |regex| regex.find_iter(&text).count() as u64);
            prop_assert_eq!(counted(&pattern, &text, part).0, Some(count));
        }
    }
}
