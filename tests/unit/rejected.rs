//! Every file in `tests/rejected` breaks a rule of the language: the whole message is the test.

use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source, Style, render};
use crate::scenario;
use proptest::prelude::*;

fn problems(path: &str, text: &str) -> Vec<Diagnostic> {
    let source = Arc::new(Source { path: path.into(), text: text.to_owned() });
    scenario::check_text(source).map_or_else(|failure| failure.problems, |_| Vec::new())
}

#[test]
fn every_rejected_file_has_its_reviewed_message() {
    insta::glob!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rejected"), "*.toml", |path| {
        let name = Path::new("tests/rejected").join(path.file_name().unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        let problems = problems(name.to_str().unwrap(), &text);
        assert!(!problems.is_empty(), "{} is accepted", name.display());
        for problem in &problems {
            assert!(problem.place.is_some(), "{} has a problem without a place: {}", name.display(), problem.what);
            assert!(problem.fix.is_some(), "{} has a problem without a fix: {}", name.display(), problem.what);
        }
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("rejected", render(&problems, Style::Plain));
        });
    });
}

#[test]
fn every_problem_of_a_file_is_reported_at_once_on_its_line() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rejected/many_problems.toml"));
    let problems = problems("many.toml", &text.unwrap());
    let lines: Vec<_> = problems.iter().map(|problem| problem.place.as_ref().unwrap().line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 6, 9, 12, 13, 16, 19, 22, 23, 26]);
}

#[test]
fn a_file_that_is_no_scenario_is_not_read_to_its_end() {
    let lines: Vec<_> = (0..1000).map(|number| format!("key-{number} = {number}\n")).collect();
    let problems = problems("many.toml", &lines.concat());
    assert_eq!(problems.len(), 65);
    assert_eq!(problems.last().unwrap().what, "there are more problems than these");
}

/// Scraps of the language, so that most texts get past the first brace.
fn scrap() -> impl Strategy<Value = String> {
    let known = [
        "format = 1\n",
        "[capture]\n",
        "file = \"a.pcap\"\n",
        "frames = \"1-\"\n",
        "[rewrite.source]\n",
        "[rewrite.both]\n",
        "[rewrite.client]\n",
        "[rewrite.vlan]\n",
        "pop = ",
        "push = ",
        "map = ",
        "{ id = 4095 }\n",
        "{ \"*\" = 010 }\n",
        "[rewrite.header]\n",
        "ttl = ",
        "dscp = ",
        "\"-1\"\n",
        "ip = ",
        "mac = ",
        "port = ",
        "{ \"10.0.0.0/8\" = \"192.0.2.0/24\" }\n",
        "{ 53 = 54 }\n",
        "\"receiver\"\n",
        "[pacing]\n",
        "rate = \"max-lossless\"\n",
        "limit = \"10 MiB\"\n",
        "burst = 2\n",
        "lateness = ",
        "{ p99 = \"1ms\" }\n",
        "save-capture = \"a/../b.pcapng\"\n",
        "[lab]\n",
        "[target]\n",
        "interface = \"é\"\n",
        "[[expect.command]]\n",
        "[[expect.output]]\n",
        "run = [\"{work}\", 5]\n",
        "stdout = { lines = 1 }\n",
        "[expect]\n",
        "delivered = ",
        "\"9é9%\"\n",
        "[receiver]\n",
        "listens = []\n",
        "command = [[]]\n",
        "sysctl.a.b = 1\n",
        "1979-05-27\n",
        "[require]\n",
        "[[lab]]\n",
        "capture.x.y = 1\n",
        "\"\"\"\n",
        "'",
        "\"",
        "{",
        "}",
        "[",
        "]",
        "=",
        ".",
        ",",
        "\r\n",
        "\t",
        "\n",
        "# é\n",
        "\u{feff}",
        "99999999999999999999999\n",
        "1e400\n",
    ];
    prop_oneof![6 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_or_the_renderer_panic(scraps in prop::collection::vec(scrap(), 0..30)) {
        let text = scraps.concat();
        let problems = problems("any.toml", &text);
        for problem in &problems {
            let place = problem.place.as_ref().expect("a problem of a text has a place");
            prop_assert!(text.get(place.span.clone()).is_some(), "{:?} is not inside the text: {}", place.span, problem.what);
        }
        render(&problems, Style::Plain);
        render(&problems, Style::Colour);
    }

    #[test]
    fn a_place_anywhere_can_be_rendered(text in "[a-zé\t\r\n ]{0,40}", start in 0_usize..60, length in 0_usize..60) {
        let source = Arc::new(Source { path: "any.toml".into(), text });
        let problem = Diagnostic::error("x").at(&source, Some(start..start + length)).label("é").why("a\nb").fix("c");
        let text = render(&[problem], Style::Plain);
        prop_assert!(text.starts_with("error: x\n"));
    }
}
