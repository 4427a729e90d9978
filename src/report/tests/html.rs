//! The page: what is in it, and that nothing that a scenario or an application wrote is HTML in it. `tests/suite/html.rs` opens pages in a browser.

use insta::assert_snapshot;
use regex::Regex;
use sha2::{Digest, Sha256};

use super::{Outcome, outcomes, report};
use crate::diagnostic::{Diagnostic, Place};
use crate::outcome::{Application, Check, RewriteEntry, Step, Verdict};
use crate::report::html;

/// The page between its style and its script.
fn body(outcomes: Vec<Outcome>) -> String {
    let page = html::text(&report(outcomes)).unwrap();
    let from = page.find("<body>").expect("a body");
    let to = page.find("<script>").expect("a script");
    page[from..to].to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[test]
fn the_policy_of_the_page_allows_its_own_script_only() {
    let page = html::text(&report(vec![outcomes::pass()])).unwrap();
    let script = page.split_once("<script>").expect("it has one").1.split_once("</script>").expect("it ends").0;
    let hash = format!("sha256-{}", base64(&Sha256::digest(script)));
    assert!(page.contains(&format!("script-src '{hash}';")), "write {hash} into SCRIPT_HASH of src/report/html.rs");
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let page = html::text(&report(outcomes::all())).unwrap();
    let reference = Regex::new(r#"(?:src|href|url)\s*[=(]\s*["']?([^"' >)]*)"#).unwrap();
    for found in reference.captures_iter(&page) {
        assert!(found[1].starts_with('#') || &found[1] == "data:,", "{}", &found[0]);
    }
}

#[test]
fn a_loss_is_shown_with_why_and_what_to_do() {
    assert_snapshot!(body(vec![outcomes::rp_filter()]));
}

#[test]
fn scenarios_that_were_not_sent_show_what_is_wrong() {
    assert_snapshot!(body(vec![outcomes::invalid(), outcomes::skipped()]));
}

/// Each outcome with this text wherever a scenario, an application or a machine can put one.
fn with(text: &str) -> String {
    let text = || text.to_owned();
    let mut outcome = outcomes::several_losses();
    let place = Place { file: text().into(), line: 1, column: 2, text: text(), span: 0..3 };
    let problem =
        Diagnostic { place: Some(place), label: Some(text()), ..Diagnostic::error(text()).why(text()).fix(text()) };
    let application =
        Application { name: Some(text()), command: vec![text()], ended: text(), stdout: text(), stderr: text() };
    for loss in outcome.ledger.iter_mut().flat_map(|ledger| &mut ledger.losses) {
        (loss.cause, loss.why, loss.fix) = (text().as_str().into(), text(), text());
        loss.numbers = Some(text());
    }
    let check = Check {
        problem: Some(problem.clone()),
        what: text().as_str().into(),
        expected: text().into(),
        ..outcome.checks[1].clone()
    };
    let replay = outcome.replay.as_mut().expect("it was sent");
    replay.sender = text();
    outcome.rewrite.entries =
        vec![RewriteEntry { table: text(), entry: text(), becomes: Some(text()), frames: 1, first_frame: None }];
    outcome.captures.iter_mut().for_each(|capture| (capture.file, capture.sha256) = (text(), Some(text())));
    let outcome = Outcome {
        name: text(),
        file: text(),
        id: text(),
        summary: Some(text()),
        tags: vec![text()],
        checks: vec![check],
        steps: vec![Step { what: text(), ended: Some(text()), ..outcomes::a_step_fails().steps[1].clone() }],
        problems: vec![problem],
        processes: vec![application.clone()],
        application: Some(application),
        earlier_tries: vec![Outcome { name: text(), ..outcomes::application_died() }],
        ..outcome
    };
    let skipped = Outcome { skipped: Some(text()), verdict: Verdict::Skipped, ..outcomes::skipped() };
    let mut report = report(vec![outcome, skipped]);
    (report.runs[0].hostname, report.runs[0].kernel, report.runs[0].version) = (text(), text(), text());
    html::text(&report).unwrap()
}

/// The tags of a page with the names of their attributes.
fn tags(page: &str) -> Vec<String> {
    let tag = Regex::new(r#"<(/?[a-zA-Z]+)((?:\s+[a-zA-Z-]+(?:="[^"]*")?)*)\s*/?>"#).unwrap();
    let attribute = Regex::new(r#"([a-zA-Z-]+)(?:="[^"]*")?"#).unwrap();
    let found = tag.captures_iter(page).map(|found| {
        let names: Vec<_> = attribute.captures_iter(&found[2]).map(|name| name[1].to_owned()).collect();
        format!("{} {}", &found[1], names.join(" "))
    });
    found.collect()
}

#[test]
fn a_page_has_the_same_tags_whatever_is_written_in_a_scenario_or_by_an_application() {
    let plain = with("plain");
    let hostile =
        with("\"'><img src=x onerror=alert(1)><script>alert(2)</script></pre></style><!-- &amp; \u{1b}[31m\u{202e}");
    assert!(tags(&plain).len() > 100);
    same(&tags(&plain), &tags(&hostile));
    assert!(!hostile.contains("<img") && hostile.matches("<script").count() == 1 && !hostile.contains("<!--"));
    let steering: Vec<_> = hostile.lines().filter(|line| line.contains(['\u{1b}', '\u{202e}'])).collect();
    assert_eq!(steering, [""; 0]);
}

/// Says which tag is the first that differs.
fn same(plain: &[String], hostile: &[String]) {
    let differs = plain.iter().zip(hostile).position(|(plain, hostile)| plain != hostile);
    assert_eq!(differs.map(|place| (&plain[place], &hostile[place])), None);
    assert_eq!(plain.len(), hostile.len());
}

#[test]
fn each_scenario_has_a_link_of_its_own() {
    let twice = [outcomes::pass(), outcomes::pass(), Outcome { id: "/a b/ü.toml".to_owned(), ..outcomes::pass() }];
    let page = body(twice.to_vec());
    let ids = Regex::new(r#"<details class="[^"]*" id="([^"]*)""#).unwrap();
    let ids: Vec<_> = ids.captures_iter(&page).map(|found| found[1].to_owned()).collect();
    assert_eq!(ids, ["scenarios-appflow-reaches-nfcapd", "scenarios-appflow-reaches-nfcapd~2", "a-b--"]);
    for id in ids {
        assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
    }
}
