//! The JUnit report keeps the rules of Jenkins' junit-10.xsd and of windyroad's JUnit.xsd: what both allow, and what one of them requires.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{Outcome, outcomes, report};
use crate::report::junit;

/// An element as it was read.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    fn of(start: &BytesStart<'_>) -> Self {
        let name = String::from_utf8(start.name().as_ref().to_vec()).expect("UTF-8");
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.expect("an attribute, once");
            let key = String::from_utf8(attribute.key.as_ref().to_vec()).expect("UTF-8");
            (key, attribute.normalized_value(XmlVersion::Explicit1_0).expect("it is well formed").into_owned())
        });
        Self { name, attributes: attributes.collect(), ..Self::default() }
    }
}

/// The document's root.
fn parse(text: &str) -> Element {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => open.push(Element::of(&start)),
            Event::Empty(start) => open.last_mut().expect("the document").children.push(Element::of(&start)),
            Event::End(_) => {
                let ended = open.pop().expect("it was opened");
                open.last_mut().expect("the document").children.push(ended);
            }
            Event::Text(text) => open.last_mut().expect("the document").text += &text.decode().expect("UTF-8"),
            Event::GeneralRef(_) => open.last_mut().expect("the document").text.push('&'),
            Event::Decl(_) => {}
            Event::Eof => break,
            other => panic!("nothing else is written: {other:?}"),
        }
    }
    let [document] = open.try_into().expect("everything was closed");
    let [root] = document.children.try_into().expect("one root");
    root
}

/// What both schemas say of an element: all of its attributes, which windyroad's requires but `message`, and its children in their order.
fn rules(element: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match element {
        "testsuites" => (&[], &["testsuite"]),
        "testsuite" => (
            &["errors", "failures", "hostname", "id", "name", "package", "skipped", "tests", "time", "timestamp"],
            &["properties", "testcase", "system-out", "system-err"],
        ),
        "properties" => (&[], &["property"]),
        "property" => (&["name", "value"], &[]),
        "testcase" => (
            &["classname", "name", "time"],
            &["skipped", "error", "failure", "rerunFailure", "rerunError", "flakyFailure", "flakyError"],
        ),
        "skipped" | "error" | "failure" => (&["message", "type"], &[]),
        // Of Jenkins' schema only.
        "rerunFailure" | "rerunError" | "flakyFailure" | "flakyError" => (&["message", "type"], &[]),
        "system-out" | "system-err" => (&[], &[]),
        other => panic!("there is no element `{other}`"),
    }
}

fn check(element: &Element) {
    let (attributes, children) = rules(&element.name);
    assert!(element.attributes.keys().map(String::as_str).eq(attributes.iter().copied()), "{element:#?}");
    for (name, value) in &element.attributes {
        match name.as_str() {
            "name" | "hostname" | "classname" => {
                assert!(!value.is_empty() && value.trim() == value, "{name} has a value: {element:#?}");
            }
            "tests" | "failures" | "errors" | "skipped" | "id" => {
                assert!(value.parse::<u32>().is_ok(), "{name}: {value}")
            }
            "time" => assert!(value.chars().all(|c| c.is_ascii_digit() || c == '.'), "{name}: {value}"),
            "timestamp" => {
                let shape: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                assert_eq!(shape, "0000-00-00T00:00:00");
            }
            _ => {}
        }
    }
    let places: Vec<_> =
        element.children.iter().map(|child| children.iter().position(|name| *name == child.name)).collect();
    let is_in_order = places.is_sorted() || element.name == "testcase";
    assert!(is_in_order && !places.contains(&None), "{} has other children, or another order", element.name);
    let of = |name: &str| element.children.iter().filter(|child| child.name == name).count();
    match element.name.as_str() {
        "testsuite" => {
            assert_eq!((of("properties"), of("system-out"), of("system-err")), (1, 1, 1));
            let having = |name| {
                let cases = element.children.iter().filter(|child| child.name == "testcase");
                cases.filter(|case| case.children.iter().any(|child| child.name == name)).count()
            };
            let counts = [
                ("tests", of("testcase")),
                ("failures", having("failure")),
                ("errors", having("error")),
                ("skipped", having("skipped")),
            ];
            for (name, count) in counts {
                assert_eq!(element.attributes[name], count.to_string(), "{name} of {element:#?}");
            }
        }
        "testcase" => assert!(of("skipped") + of("error") + of("failure") <= 1),
        "testsuites" => {
            let ids = element.children.iter().map(|suite| suite.attributes["id"].as_str());
            assert!(ids.eq(
                (0..element.children.len()).map(|id| id.to_string()).collect::<Vec<_>>().iter().map(String::as_str)
            ));
        }
        _ => {}
    }
    let has_text = matches!(element.name.as_str(), "error" | "failure" | "system-out" | "system-err")
        || element.name.starts_with("rerun")
        || element.name.starts_with("flaky");
    assert!(has_text || element.text.trim().is_empty(), "no text in {element:#?}");
    element.children.iter().for_each(check);
}

#[test]
fn every_outcome_keeps_the_rules_of_both_schemas() {
    check(&parse(&junit::text(&report(outcomes::all())).unwrap()));
}

#[test]
fn tries_are_written_as_surefire_writes_them() {
    let after = |earlier_tries: &[Outcome], outcome| Outcome { earlier_tries: earlier_tries.to_vec(), ..outcome };
    let flaky = after(&[outcomes::rp_filter(), outcomes::blocked()], outcomes::pass());
    let broken = after(&[outcomes::blocked(), outcomes::blocked()], outcomes::rp_filter());
    let text = junit::text(&report(vec![flaky, broken])).unwrap();
    check(&parse(&text));
    assert_snapshot!(text);
}

#[test]
fn the_junit_report_distinguishes_failures_errors_and_skipped() {
    assert_snapshot!(junit::text(&report(outcomes::all())).unwrap());
}

/// XML 1.0 has no such characters, not even escaped.
#[test]
fn a_junit_report_is_xml_whatever_a_program_wrote() {
    let odd = "\u{0}\u{8}\u{1b}[31m\u{fffe}]]>&<\u{7f}\"'";
    let mut outcome = outcomes::application_died();
    outcome.name.push_str(odd);
    outcome.id = format!("a/{odd}/ .toml");
    outcome.summary = Some(odd.to_owned());
    outcome.tags = vec![odd.to_owned()];
    outcome.seconds = f64::NAN;
    outcome.problems[0].what.push_str(odd);
    let application = outcome.application.as_mut().expect("it died");
    (application.stdout, application.stderr) = (odd.to_owned(), odd.repeat(3));
    let nameless = Outcome { name: " ".to_owned(), id: "/".to_owned(), started: None, run: 7, ..outcomes::pass() };
    let text = junit::text(&report(vec![outcome, nameless])).unwrap();
    let is_xml =
        |c: char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    assert!(text.chars().all(is_xml), "{text:?}");
    assert!(!text.contains("]]>"), "{text}");
    check(&parse(&text));
}

#[test]
fn a_class_is_named_by_the_path_from_the_root_of_the_repository() {
    let ids = ["scenarios/dns/queries.toml", "v1.2/tls1.3.toml", "/tmp/a.toml", "-", "no-ending"];
    let outcomes = ids.map(|id| Outcome { id: id.to_owned(), file: "../x.toml".to_owned(), ..outcomes::pass() });
    let root = parse(&junit::text(&report(outcomes.to_vec())).unwrap());
    let names = root.children.iter().map(|suite| {
        let case = suite.children.iter().find(|child| child.name == "testcase").expect("a case");
        format!("{} in {:?}", case.attributes["classname"], suite.attributes["package"])
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "scenarios.dns.queries in \"scenarios.dns\"",
            "v1_2.tls1_3 in \"v1_2\"",
            "tmp.a in \"tmp\"",
            "- in \"\"",
            "no-ending in \"\""
        ]
    );
}
