//! The report for CI servers: `run --report-junit`, in the form that Jenkins reads and most others do.
//!
//! It keeps the rules of two schemas: junit-10.xsd of Jenkins' xunit plugin, and the JUnit.xsd of windyroad, which is stricter: a case has one
//! child at most, so that properties and output are of the suite. Therefore each scenario is a suite with one case, as each class is one for
//! JUnit. A verdict of `fail` is a failure, `skipped` and `not run` are skipped, `invalid`, `blocked` and `error` are errors; `type` has the
//! verdict. The tries of a scenario that was tried again are elements of Maven's Surefire, which Jenkins' schema has and windyroad's has not.
//! Start at [`text`].

use std::borrow::Cow;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::ElementWriter;

use super::layout::unstyled;
use super::{Look, ledger, text as story, word};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::outcome::{Application, Outcome, Report, RunFacts, Verdict};

type Xml = Writer<Vec<u8>>;

/// The report as XML.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where the XML writer refuses something.
pub fn text(report: &Report) -> Result<String> {
    let refused = |why: String| Failure::error(Diagnostic::error("can't make the JUnit report").why(why));
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(report, &mut xml).map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8(xml.into_inner()).map_err(|error| refused(error.to_string()))?;
    Ok(text + "\n")
}

fn write(report: &Report, xml: &mut Xml) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites").write_inner_content(|xml| {
        let mut scenarios = report.scenarios.iter().enumerate();
        scenarios.try_for_each(|(number, outcome)| suite(number, outcome, report.runs.get(outcome.run), xml))
    })?;
    Ok(())
}

/// Begins an element with these attributes.
fn element<'a>(xml: &'a mut Xml, name: &'a str, attributes: &[(&str, &str)]) -> ElementWriter<'a, Vec<u8>> {
    let attributes = attributes.iter().map(|(name, value)| (*name, in_xml(value)));
    attributes.fold(xml.create_element(name), |element, (name, value)| element.with_attribute((name, value.as_ref())))
}

fn suite(number: usize, outcome: &Outcome, run: Option<&RunFacts>, xml: &mut Xml) -> io::Result<()> {
    let (package, class) = class_name(outcome);
    let started = outcome.started.or(run.map(|run| run.started)).unwrap_or_default();
    // No time zone may be in it: it is UTC.
    let started = started.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let status = Status::of(tries(outcome).0.verdict);
    let count = |of: Status| if of == status { "1" } else { "0" };
    let attributes = [
        ("name", class.as_str()),
        ("package", package.as_str()),
        ("id", &number.to_string()),
        ("timestamp", &started),
        ("hostname", &token(run.map_or("localhost", |run| run.hostname.as_str()))),
        ("tests", "1"),
        ("failures", count(Status::Failure)),
        ("errors", count(Status::Error)),
        ("skipped", count(Status::Skipped)),
        ("time", &seconds(outcome)),
    ];
    let [stdout, stderr] = printed(outcome);
    element(xml, "testsuite", &attributes).write_inner_content(|xml| {
        element(xml, "properties", &[]).write_inner_content(|xml| properties(outcome, run, xml))?;
        case(outcome, status, &class, xml)?;
        output("system-out", &stdout, xml)?;
        output("system-err", &stderr, xml)
    })?;
    Ok(())
}

/// Standard output and standard error of the application, then of each process, with its name above.
fn printed(outcome: &Outcome) -> [String; 2] {
    let of = |stream: fn(&Application) -> &String| {
        let application = outcome.application.as_ref().map(stream).cloned().unwrap_or_default();
        let processes = outcome.processes.iter().filter(|process| !stream(process).is_empty());
        processes.fold(application, |all, process| {
            let separator = if all.is_empty() || all.ends_with('\n') { "" } else { "\n" };
            format!("{all}{separator}process {}:\n{}", process.name.as_deref().unwrap_or_default(), stream(process))
        })
    };
    [of(|program| &program.stdout), of(|program| &program.stderr)]
}

/// What is known of a scenario beside its verdict.
fn properties(outcome: &Outcome, run: Option<&RunFacts>, xml: &mut Xml) -> io::Result<()> {
    let mut property = |name: &str, value: &str| {
        element(xml, "property", &[("name", &token(name)), ("value", value)]).write_empty().map(|_| ())
    };
    property("file", &outcome.id)?;
    if let Some(summary) = &outcome.summary {
        property("summary", summary)?;
    }
    if !outcome.tags.is_empty() {
        property("tags", &outcome.tags.join(", "))?;
    }
    if let Some(run) = run {
        property("restage", &run.version)?;
        property("kernel", &run.kernel)?;
    }
    let Some(ledger) = &outcome.ledger else { return Ok(()) };
    for (stage, frames) in ledger::stages(ledger) {
        if let Some(frames) = frames {
            property(&format!("ledger.{stage}"), &frames.to_string())?;
        }
    }
    ledger
        .losses
        .iter()
        .try_for_each(|loss| property(&format!("loss.{}.{}", loss.stage, loss.cause), &loss.frames.to_string()))
}

fn case(outcome: &Outcome, status: Status, class: &str, xml: &mut Xml) -> io::Result<()> {
    let attributes = [("name", &*token(&outcome.name)), ("classname", class), ("time", &seconds(outcome))];
    let case = element(xml, "testcase", &attributes);
    let (judged, others) = tries(outcome);
    if status == Status::Success && others.is_empty() {
        return case.write_empty().map(|_| ());
    }
    let again = if outcome.is_flaky() { ["flakyFailure", "flakyError"] } else { ["rerunFailure", "rerunError"] };
    case.write_inner_content(|xml| {
        status.element().map_or(Ok(()), |name| finding(name, judged, xml))?;
        let name = |other: &Outcome| again[usize::from(other.verdict != Verdict::Fail)];
        others.into_iter().try_for_each(|other| finding(name(other), other, xml))
    })?;
    Ok(())
}

/// The try that the case is judged by, and the others, as Surefire has them: a scenario that passed has its tries before, one that failed is
/// judged by its first try and has those after it.
fn tries(outcome: &Outcome) -> (&Outcome, Vec<&Outcome>) {
    let mut tries: Vec<_> = outcome.earlier_tries.iter().collect();
    if tries.is_empty() || !outcome.verdict.is_failure() {
        return (outcome, tries);
    }
    tries.push(outcome);
    (tries.remove(0), tries)
}

/// Why a try did not pass.
fn finding(name: &str, outcome: &Outcome, xml: &mut Xml) -> io::Result<()> {
    let why = element(xml, name, &[("type", word(outcome.verdict)), ("message", &story::headline(outcome))]);
    if Status::of(outcome.verdict) == Status::Skipped {
        return why.write_empty().map(|_| ());
    }
    why.write_text_content(BytesText::new(&in_xml(&story::of_try(outcome, Look::FILE)))).map(|_| ())
}

fn output(name: &str, text: &str, xml: &mut Xml) -> io::Result<()> {
    let text = unstyled(text);
    xml.create_element(name).write_text_content(BytesText::new(&in_xml(&text)))?;
    Ok(())
}

/// What JUnit knows of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success,
    Failure,
    Error,
    Skipped,
}

impl Status {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Success,
            Verdict::Fail => Self::Failure,
            Verdict::Invalid | Verdict::Blocked | Verdict::Error => Self::Error,
            Verdict::Skipped | Verdict::NotRun => Self::Skipped,
        }
    }

    /// The element that says so.
    fn element(self) -> Option<&'static str> {
        match self {
            Self::Success => None,
            Self::Failure => Some("failure"),
            Self::Error => Some("error"),
            Self::Skipped => Some("skipped"),
        }
    }
}

/// The folder of a scenario, and the scenario in it, as CI servers write packages and classes: `scenarios.dns` and `scenarios.dns.queries` for
/// `scenarios/dns/queries.toml`. A dot in a name would be taken for a folder, and is an underscore.
fn class_name(outcome: &Outcome) -> (String, String) {
    let path = outcome.id.strip_suffix(".toml").unwrap_or(&outcome.id);
    let parts: Vec<_> =
        path.split('/').filter(|part| !part.is_empty()).map(|part| token(part).replace('.', "_")).collect();
    let folder = parts.get(..parts.len().saturating_sub(1)).unwrap_or_default();
    (folder.join("."), token(&parts.join(".")).into_owned())
}

/// A text that is to have something in it, without spaces around it.
fn token(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.is_empty() { "unnamed".into() } else { text.into() }
}

/// The text with U+FFFD for what XML has no place for, not even escaped (XML 1.0 §2.2).
fn in_xml(text: &str) -> String {
    let is_allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect()
}

/// JUnit has no way to say "unknown": what is no duration counts as none.
fn seconds(outcome: &Outcome) -> String {
    let seconds = if outcome.seconds.is_finite() { outcome.seconds.max(0.0) } else { 0.0 };
    format!("{seconds:.3}")
}
