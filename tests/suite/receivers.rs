//! The recipes of docs/receivers: each passes as every user, has a page, and is listed in the index.

use std::env::var_os;
use std::fs::read_to_string;

use crate::common::{root, scenarios_in};
use crate::scenarios::all_pass_as_every_user;

/// Recipes whose program Debian has no package of: `.ci/install` can't install it.
const NOT_IN_DEBIAN: [&str; 1] = ["logstash"];

/// Where `RESTAGE_REQUIRE_LAB=1`, as in CI, all programs that Debian has are installed: a skipped recipe is a failure there.
#[test]
fn every_recipe_passes_as_every_user() {
    let all_installed = var_os("RESTAGE_REQUIRE_LAB").is_some_and(|value| value == "1");
    all_pass_as_every_user("docs/receivers", |name, reason| {
        println!("{name} is skipped: {reason}");
        let is_excused = NOT_IN_DEBIAN.iter().any(|program| name.starts_with(program));
        assert!(!all_installed || is_excused, "{name} is skipped, though .ci/install has its program: {reason}");
    });
}

#[test]
fn every_recipe_has_a_page_and_a_line_in_the_index() {
    let folder = root().join("docs/receivers");
    let index = read_to_string(folder.join("README.md")).expect("the index");
    for recipe in scenarios_in(&folder) {
        let name = recipe.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let page = read_to_string(folder.join(format!("{name}.md"))).unwrap_or_default();
        assert!(page.starts_with("# "), "{name}.toml has no page {name}.md");
        assert!(page.contains(&format!("({name}.toml)")), "{name}.md has no link to {name}.toml");
        assert!(index.contains(&format!("({name}.md)")), "README.md has no link to {name}.md");
    }
}
