//! The pictures on the pages are what restage shows. `RESTAGE_UPDATE=1 cargo test --test docs pictures` draws them anew.

use std::fs;

use anstyle_svg::{Term, WIN10_CONSOLE};
use regex::Regex;

use crate::commands::normal;
use crate::common::{both, restage, root, users};

const FAILING: &str = "tests/failing/no-route-back-under-strict-rp-filter.toml";

/// Compares a picture with the one that is committed, or writes it.
fn assert_fresh(name: &str, fresh: &str, is_same: impl Fn(&str) -> bool) {
    let path = root().join("docs/pictures").join(name);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("RESTAGE_UPDATE").is_some() && !is_same(&committed) {
        fs::write(&path, fresh).expect("a picture can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(is_same(&committed), "docs/pictures/{name} is stale: run RESTAGE_UPDATE=1 cargo test --test docs pictures");
}

/// What a picture of a terminal shows, without times and rates.
fn words(svg: &str) -> String {
    let body = svg.split_once("<text").map_or("", |(_, body)| body);
    normal(&Regex::new("<[^>]*>|[▲>─━│|╭╰^]").expect("a legal expression").replace_all(body, " "))
}

#[test]
fn the_terminal_is_as_restage_prints() {
    let Some(user) = users().last() else { return };
    let output = restage(*user).args(["--color", "always", "run", FAILING]).output().expect("restage runs");
    let shown = format!("$ restage run {FAILING}\n{}", both(&output));
    let fresh = Term::new().palette(WIN10_CONSOLE).render_svg(&shown).replace("opacity: 0.4", "opacity: 0.65");
    let expected = words(&fresh);
    assert!(expected.contains("720 × IP_RPFILTER"), "{shown}");
    assert_fresh("terminal.svg", &fresh, |committed| words(committed) == expected);
}

#[test]
fn the_ledger_is_as_in_the_html_report() {
    let Some(user) = users().last() else { return };
    let mut restage = restage(*user);
    restage.args(["run", FAILING, "--set", r#"lab.routes=["10.44.1.12/31"]"#, "--set", "capture.frames=1-600"]);
    let output = restage.args(["--report-html", "-"]).output().expect("restage runs");
    let page = String::from_utf8(output.stdout).expect("a page is UTF-8");
    let between = |begin: &str, end: &str| {
        let start = page.find(begin).unwrap_or_else(|| panic!("no {begin} in {page}"));
        let length = page[start..].find(end).unwrap_or_else(|| panic!("no {end} in {page}"));
        &page[start..start + length + end.len()]
    };
    // The colours, light and dark, and the rules of this picture.
    let colours = between(":root {", "\n  }\n}\n");
    let rules = page.lines().filter(|line| line.starts_with(".flow") || line.starts_with("svg text"));
    let style = format!("<style>\n{colours}{}\n</style>", rules.collect::<Vec<_>>().join("\n"));
    let svg = between("<svg class=\"flow\"", "</svg>").replacen(
        "<svg",
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"432\"",
        1,
    );
    let fresh = svg.replacen('>', &format!(">\n{style}\n"), 1) + "\n";
    assert_fresh("ledger.svg", &fresh, |committed| committed == fresh);
}
