//! `[expect.replies]`: what the application sent back.

use std::fmt::Write as _;
use std::ops::Range;

use serde_json::{Value, json};

use super::counts::{holds, least, value};
use super::snapshot::Reviewed;
use super::{Snapshots, difference, line};
use crate::capture::FrameRanges;
use crate::diagnostic::{At, Diagnostic};
use crate::evidence::{Evidence, Replies};
use crate::figures::{agree, count, numbered, thousands};
use crate::ledger::replies::{account, answered, replies_to, unmatched, unseen};
use crate::outcome::{Check, CheckId};
use crate::packet::dns;
use crate::packet::exchange::Came;
use crate::plan::{Plan, Question, Questions};
use crate::scenario::Scenario;
use crate::scenario::expect::Count;

/// So many questions are shown whose answers differ.
const MOST_SHOWN: usize = 4;
/// Where all of a difference is.
const ALL: &str = "`snapshot` writes all that came into a file";
/// Bytes of a payload in a line of hexadecimal digits.
const ROW: usize = 16;

pub(super) fn judge(scenario: &Scenario, plan: &Plan, evidence: &Evidence, snapshots: Snapshots) -> Vec<Check> {
    let (Some(At { value: expected, .. }), Some(questions)) = (&scenario.expect.replies, &plan.questions) else {
        return Vec::new();
    };
    let Some(replies) = &evidence.replies else { return Vec::new() };
    let judge = Judge { scenario, plan, evidence, questions, replies, takes_errors: expected.filter.is_some() };
    let mut checks = Vec::new();
    checks.extend(expected.count.as_ref().map(|count| judge.count(count)));
    checks.extend(expected.like.as_ref().map(|like| judge.like(like.span.as_ref())));
    checks.extend(expected.snapshot.as_ref().map(
        |path| match judge.undecided("replies.snapshot", path.span.as_ref()) {
            Some(check) => check,
            None => {
                let listing = judge.listing();
                Reviewed { key: "replies.snapshot", what: "replies", path, listing: &listing }
                    .judge(scenario, snapshots)
            }
        },
    ));
    checks
}

/// How many replies are waited for when the frames up to this one were sent: as many as the expectations need at least.
pub fn awaited(scenario: &Scenario, plan: &Plan, last_frame: u64) -> u64 {
    let (Some(At { value: expected, .. }), Some(questions)) = (&scenario.expect.replies, &plan.questions) else {
        return 0;
    };
    let asked = || questions.list.iter().filter(|question| question.frame <= last_frame);
    let due = asked().map(|question| question.due).sum();
    let counted = expected.count.as_ref().map_or(0, |count| least(count.value, due));
    // Which of the questions a number counts is not known.
    let counted = if last_frame == u64::MAX { counted } else { counted.min(due) };
    let captured = asked().filter(|question| !captured(question, questions).payloads.is_empty()).count();
    if expected.like.is_some() { counted.max(captured as u64) } else { counted }
}

/// The answers to a question in the capture.
fn captured(question: &Question, questions: &Questions) -> Came {
    let mut captured = Came::default();
    for asked in &question.captured {
        captured.payloads.extend(questions.captured.to(asked, question.to_group).payloads);
    }
    captured
}

struct Judge<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    evidence: &'a Evidence,
    questions: &'a Questions,
    replies: &'a Replies,
    /// Whether ICMP errors count: where a filter chooses what does.
    takes_errors: bool,
}

impl Judge<'_> {
    /// How many there are, or how many questions are answered.
    fn count(&self, expected: &At<Count>) -> Check {
        let is_number = matches!(expected.value, Count::Exactly(_) | Count::AtLeast(_));
        let why = unseen(self.replies).or_else(|| unmatched(self.questions, self.replies).filter(|_| !is_number));
        if let Some(why) = why {
            return self.open("replies.count", expected.span.as_ref(), value(expected.value), why);
        }
        let due = self.questions.due();
        let (base, actual) = if is_number {
            (0, self.replies.taken + if self.takes_errors { self.replies.taken_errors } else { 0 })
        } else {
            (due, self.questions.list.iter().map(|question| self.answered(question)).sum())
        };
        let problem = (!holds(expected.value, actual, base)).then(|| {
            let what = match expected.value {
                Count::Exactly(number) => {
                    format!("expected {}, {} came", replies(number), thousands(actual))
                }
                Count::AtLeast(number) => format!("expected at least {}, {} came", replies(number), thousands(actual)),
                Count::All => {
                    format!("expected an answer to {}, {} came", count(base, "question"), thousands(actual))
                }
                Count::Percent(share) => {
                    let (least, all) = (thousands(least(expected.value, base)), count(base, "question"));
                    format!("expected answers to at least {share} % of {all} ({least}), {} came", thousands(actual))
                }
            };
            let problem = Diagnostic::error(what);
            if actual > least(expected.value, base) {
                return problem.fix(
                    "write the number that is right; \"all\" takes one answer to each question, however many come",
                );
            }
            self.explain(problem)
        });
        let problem = problem.map_or(Ok(json!(actual)), |problem| Err((json!(actual), problem)));
        self.judged("replies.count", expected.span.as_ref(), value(expected.value), problem)
    }

    /// How many of the answers to a question came, of those that are due.
    fn answered(&self, question: &Question) -> u64 {
        let came = replies_to(question, self.replies);
        let errors = if self.takes_errors { came.errors.min(question.due) } else { 0 };
        answered(question, &came).max(errors)
    }

    /// Adds which questions have no answer, and what came instead.
    fn explain(&self, problem: Diagnostic) -> Diagnostic {
        let mut without = FrameRanges::default();
        let open = self.questions.list.iter().filter(|question| self.answered(question) < question.due);
        open.for_each(|question| without.add(question.frame));
        let mut whys = Vec::new();
        if !without.is_empty() {
            whys.push(format!("no answer to {}", numbered("frame", &without.shown())));
        }
        let figures = account(self.plan, self.evidence);
        let errors = figures.map(|figures| figures.errors_in_words()).unwrap_or_default();
        let fix = if self.takes_errors && !errors.is_empty() {
            "the kernel limits its ICMP errors to 6 at once and 1 a second for each host: `[lab] sysctl = { \"net.ipv4.icmp_ratelimit\" = 0, \
             \"net.ipv6.icmp.ratelimit\" = 0 }` lifts the limit"
        } else if errors.is_empty() {
            "see what the application says of them in its output; an answer that comes later needs a longer `[receiver] settle`"
        } else {
            "see in the ledger which packets reached no socket, and let the application listen there"
        };
        if !errors.is_empty() {
            whys.push(format!("the receiver's kernel sent ICMP errors: {errors}"));
        }
        let problem = if whys.is_empty() { problem } else { problem.why(whys.join("; ")) };
        problem.fix(fix)
    }

    /// Whether each answer of the capture came, and no other.
    fn like(&self, span: Option<&Range<usize>>) -> Check {
        if let Some(check) = self.undecided("replies.like", span) {
            return check;
        }
        if let Some(why) = &self.questions.captured.incomplete {
            return self.open("replies.like", span, json!("captured"), format!("in the capture, {why}"));
        }
        let (mut compared, mut differing, mut cut) = (0, FrameRanges::default(), FrameRanges::default());
        let mut shown = Vec::new();
        for question in &self.questions.list {
            let captured = captured(question, self.questions);
            if captured.payloads.is_empty() {
                continue;
            }
            let came = replies_to(question, self.replies);
            if captured.payloads.iter().chain(&came.payloads).any(|(_, is_whole)| !is_whole) {
                cut.add(question.frame);
                continue;
            }
            compared += 1;
            let (captured, came) = (texts(&captured), texts(&came));
            if captured != came {
                differing.add(question.frame);
                if shown.len() < MOST_SHOWN {
                    let lines = difference::lines(&captured.concat(), &came.concat(), ["captured", "now"], ALL);
                    shown.push(format!("answer to frame {}: {lines}", question.frame));
                }
            }
        }
        if differing.is_empty() && !cut.is_empty() {
            let why =
                format!("the answers to {} are in fragments, or cut by the snaplen", numbered("frame", &cut.shown()));
            return self.open("replies.like", span, json!("captured"), why);
        }
        let actual = json!({ "compared": compared, "different": differing.count() });
        let problem = (!differing.is_empty()).then(|| {
            let (all, different) = (count(compared, "captured answer"), differing.count());
            let verb = agree(different, "differs", "differ");
            Diagnostic::error(format!("expected {all} to come again, {} {verb}", thousands(different)))
                .why(format!("those to {}\n{}", numbered("frame", &differing.shown()), shown.join("\n")))
                .fix("mend the application's data; or review the new answers once: `snapshot = \"snapshots/replies.snap\"` in place of `like`")
        });
        let result = problem.map_or(Ok(actual.clone()), |problem| Err((actual, problem)));
        self.judged("replies.like", span, json!("captured"), result)
    }

    /// Every answer as text, by the frame that asks first.
    fn listing(&self) -> String {
        let mut text = String::new();
        for question in &self.questions.list {
            let came = replies_to(question, self.replies);
            let (asked, port) = question.sent.asked;
            let _infallible = writeln!(text, "frame {} asks {asked} port {port}", question.frame);
            let answers = texts(&came);
            for answer in &answers {
                text.push_str(answer);
            }
            match (answers.is_empty(), came.errors > 0) {
                (_, true) => text.push_str("  ICMP error\n"),
                (true, false) => text.push_str("  no answer\n"),
                (false, false) => {}
            }
        }
        text
    }

    /// The check of a key where what came is not all known.
    fn undecided(&self, key: &'static str, span: Option<&Range<usize>>) -> Option<Check> {
        let why = unseen(self.replies).or_else(|| unmatched(self.questions, self.replies))?;
        Some(self.open(key, span, json!(null), why))
    }

    /// A check that can't be decided, with the reason.
    fn open(&self, key: &'static str, span: Option<&Range<usize>>, expected: Value, why: String) -> Check {
        let problem = Diagnostic::error(format!("`{key}` can't be decided: not all that came back is known")).why(why);
        let fix = "pace slower (`[pacing] rate`), or select fewer frames (`[capture] frames`)";
        Check { undecided: true, ..self.judged(key, span, expected, Err((json!(null), problem.fix(fix)))) }
    }

    fn judged(
        &self,
        key: &'static str,
        span: Option<&Range<usize>>,
        expected: Value,
        result: Result<Value, (Value, Diagnostic)>,
    ) -> Check {
        let (actual, problem) = match result {
            Ok(actual) => (actual, None),
            Err((actual, problem)) => (actual, Some(problem.at(&self.scenario.source, span.cloned()))),
        };
        Check {
            what: CheckId::Other(key.to_owned()),
            expected,
            actual,
            passed: problem.is_none(),
            undecided: false,
            line: line(self.scenario, span),
            problem,
        }
    }
}

fn replies(number: u64) -> String {
    if number == 1 { "1 reply".to_owned() } else { format!("{} replies", thousands(number)) }
}

/// What answers say, each once, in an order that does not depend on when they came.
fn texts(came: &Came) -> Vec<String> {
    let mut texts: Vec<_> = came.payloads.iter().map(|(payload, is_whole)| text(payload, *is_whole)).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// A payload field by field where it is a DNS message, line by line where it is text, else in hexadecimal digits.
fn text(payload: &[u8], is_whole: bool) -> String {
    let mut text = String::new();
    if let Some(fields) = dns::fields(payload).filter(|_| is_whole) {
        for (name, value) in fields {
            let _infallible = writeln!(text, "  {name}: {value}");
        }
        return text;
    }
    let _infallible =
        writeln!(text, "  {}{}", count(payload.len() as u64, "byte"), if is_whole { "" } else { ", cut" });
    if let Some(lines) = str::from_utf8(payload).ok().filter(|lines| is_text(lines)) {
        for line in lines.split_inclusive('\n') {
            // An answer with other line ends is another one.
            let escaped = line.trim_end_matches('\n').replace('\\', "\\\\").replace('\r', "\\r").replace('\t', "\\t");
            let _infallible = writeln!(text, "  {escaped}{}", if line.ends_with('\n') { "" } else { "\\" });
        }
        return text;
    }
    for (row, bytes) in payload.chunks(ROW).enumerate() {
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String =
            bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
        let _infallible = writeln!(text, "  {:04x}  {:<47}  {shown}", row * ROW, digits.join(" "));
    }
    text
}

/// Whether a payload is lines to read, as in SIP.
fn is_text(payload: &str) -> bool {
    payload.contains('\n') && !payload.chars().any(|char| char.is_control() && !"\r\n\t".contains(char))
}

#[cfg(test)]
mod tests {
    use super::text;

    /// What is shown of payloads that are no DNS messages: different payloads never look alike.
    #[test]
    fn payloads_are_lines_or_hexadecimal_digits() {
        let cases: [(&[u8], bool, &str); 6] = [
            (b"SIP/2.0 200 OK\r\nTo: a\r\n\r\n", true, "  25 bytes\n  SIP/2.0 200 OK\\r\n  To: a\\r\n  \\r\n"),
            (b"a\tb\nno end", true, "  10 bytes\n  a\\tb\n  no end\\\n"),
            (b"a\\r\n", true, "  4 bytes\n  a\\\\r\n"),
            (b"a\n", false, "  2 bytes, cut\n  a\n"),
            (b"one line", true, "  8 bytes\n  0000  6f 6e 65 20 6c 69 6e 65                          one.line\n"),
            (b"\0\n", true, "  2 bytes\n  0000  00 0a                                            ..\n"),
        ];
        for (payload, is_whole, expected) in cases {
            assert_eq!(text(payload, is_whole), expected, "{payload:?}");
        }
    }
}
