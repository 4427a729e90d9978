//! Every rule for a text, on texts that meet it and texts that don't: the messages are in a snapshot.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::judge;
use crate::diagnostic::{Source, Style, render};
use crate::evidence::{Evidence, Output};
use crate::expect::examine;
use crate::scenario::{self, Scenario};

const EVE: &str = r#"{"event_type":"alert","alert":{"signature_id":2100498},"n":1.0}
{"event_type":"flow","alert":null}

{"event_type":"alert","alert":{"signature_id":7},"tags":["a","b"]}
"#;

/// Rules, each with texts.
const TABLE: &[(&str, &[&str])] = &[
    ("contains = 'flow'", &["a flow", "a cow", ""]),
    ("not-contains = 'ERROR'", &["all is well", "one\ntwo: ERROR here\n", ""]),
    ("matches = '^20$'", &["1\n20\n", "1\n120\n"]),
    ("not-matches = '(?i)^error'", &["no error\n", "fine\nError: x\n"]),
    ("contains = 'ab', count = 2", &["ab ab", "ab ab ab", "x"]),
    ("contains = 'ab', count = '>= 2'", &["ab ab ab", "ab"]),
    ("contains = 'ab', count = 0", &["x", "x\nab"]),
    ("matches = '^a', count = '< 2'", &["a\nb", "a\na"]),
    ("contains = 'a', not-contains = 'b', matches = 'c', not-matches = 'd'", &["ac", "ab", "d"]),
    ("lines = 2", &["1\n2\n", "1\n2", "1\n", "1\n2\n3\n"]),
    ("lines = '>= 2'", &["1\n2\n3\n", "1\n", ""]),
    (
        "json = { '$.event_type' = 'alert' }",
        &["{\"event_type\": \"alert\"}", "{\"event_type\": \"flow\"}", "{\"a\": 1}", "[1, 2", ""],
    ),
    (
        "json = { '$.a' = 1, '$.b' = [1, 2.0], '$.c' = { x = true } }",
        &[
            "{\"a\": 1.0, \"b\": [1, 2], \"c\": {\"x\": true}}",
            "{\"a\": \"1\", \"b\": [1], \"c\": {\"x\": true, \"y\": null}}",
            "{\"a\": 1,\n \"b\": [1, 2}",
        ],
    ),
    (
        "json = { '$.flows[*].bytes' = 7 }",
        &[
            "{\"flows\": [{\"bytes\": 6}, {\"bytes\": 7}]}",
            "{\"flows\": [{\"bytes\": 1}, {\"bytes\": 2}, {\"bytes\": 3}, {\"bytes\": 4}, {\"bytes\": 5}, {\"bytes\": 6}]}",
        ],
    ),
    (
        "json = { '$.time' = 2026-01-02T03:04:05Z, '$[?@.n > 5].n' = 6 }",
        &["{\"time\": \"2026-01-02T03:04:05Z\", \"x\": {\"n\": 6}}"],
    ),
    (
        "json-lines = { match = { '$.event_type' = 'alert' }, count = 2 }",
        &[EVE, "{\"event_type\": \"alert\"}", "{\"event_type\": \"alert\"}\nnot JSON\n"],
    ),
    (
        "json-lines = { match = { '$.event_type' = 'alert', '$.alert.signature_id' = 2100498 } }",
        &[EVE, "{\"event_type\":\"alert\"}\n{\"alert\":{\"signature_id\":2100498}}\n", ""],
    ),
    (
        "json-lines = { has-key = ['$.tags[1]'], not-has-key = ['$.n'], count = '>= 1' }",
        &[EVE, "{\"tags\": [1]}\n{\"tags\": [1, 2], \"n\": null}\n"],
    ),
    ("json-lines = { count = '<= 1' }", &["", "1\n", "1\n2\n"]),
    ("json-lines = { ignore = 'broken-lines', count = 1 }", &["starting\n{}\n{\"a\":", "starting\n"]),
    ("json-lines = {}", &["{}\r\n\r\n", "{}\n{\"a\" 1}\n"]),
];

fn scenario(rule: &str) -> Scenario {
    let text = format!(
        "format = 1\n[capture]\nfile = \"a.pcap\"\n[[expect.command]]\nrun = [\"report\"]\nstdout = {{ {rule} }}\n"
    );
    let source = Source { path: Path::new("a.toml").into(), text };
    scenario::check_text(Arc::new(source))
        .unwrap_or_else(|failure| panic!("{}", render(&failure.problems, Style::Plain)))
}

#[test]
fn every_rule_on_texts_that_meet_it_and_texts_that_do_not() {
    let mut table = String::new();
    for (rule, texts) in TABLE {
        let _infallible = writeln!(table, "{rule}");
        let scenario = scenario(rule);
        for text in *texts {
            let examined =
                examine(&scenario.expect.command[0].stdout, || Ok(text.as_bytes())).expect("bytes can be read");
            let output = Output { stdout: examined, status: Some(0), ..Output::default() };
            let evidence = Evidence { commands: [(0, output)].into(), ..Evidence::default() };
            let checks = judge(&scenario, &evidence, None);
            let shown = if *text == EVE { "(eve)".to_owned() } else { format!("{text:?}") };
            let _infallible = writeln!(table, "  {shown}");
            for check in checks.iter().skip(1) {
                let what = check.what.to_string().replace("command report stdout ", "");
                let _infallible = writeln!(
                    table,
                    "    {}: {what}: {} / {}",
                    if check.passed { "pass" } else { "FAIL" },
                    check.expected,
                    check.actual
                );
                if let Some(problem) = &check.problem {
                    let _infallible =
                        writeln!(table, "      {}\n      {}", problem.what, problem.why.as_deref().unwrap_or_default());
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}
