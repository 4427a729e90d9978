//! Links between the pages, to files and to headings.

use std::collections::BTreeMap;
use std::fs;

use regex::Regex;

use crate::common::{pages, root};

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().map(|(number, line)| (number + 1, line)).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    })
}

/// What GitHub names the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let headings = prose(text)
        .filter_map(|(_, line)| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().replace(|c: char| !c.is_alphanumeric() && !" -_".contains(c), "");
            let name = kept.trim().replace(' ', "-");
            let times = seen.entry(name.clone()).and_modify(|times| *times += 1).or_insert(0);
            if *times == 0 { name } else { format!("{name}-{times}") }
        })
        .collect()
}

#[test]
fn every_link_has_a_target() {
    let code = Regex::new("`[^`]*`").expect("a legal expression");
    let link = Regex::new(r#"\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)""#).expect("a legal expression");
    let mut dead = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page can be read");
        for (number, line) in prose(&text) {
            let without_code = code.replace_all(line, "");
            for found in link.captures_iter(&without_code) {
                let target = found.get(1).or(found.get(2)).expect("one of the two").as_str();
                if target.contains("://") {
                    continue;
                }
                seen += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
                let has_heading = || {
                    anchor.is_empty()
                        || fs::read_to_string(&path).is_ok_and(|text| anchors(&text).iter().any(|name| name == anchor))
                };
                if !path.exists() || !has_heading() {
                    let page = page.strip_prefix(root()).expect("a page of the project");
                    dead.push(format!("{}:{number}: {target}", page.display()));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} links were found");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn the_index_has_every_page() {
    let folder = root().join("docs");
    let index = fs::read_to_string(folder.join("README.md")).expect("the index");
    let missing: Vec<_> = pages()
        .into_iter()
        .filter_map(|page| Some(page.strip_prefix(&folder).ok()?.display().to_string()))
        // Recipes and captures have an index of their own.
        .filter(|page| page != "README.md" && (!page.starts_with("receivers/") || page == "receivers/README.md"))
        .filter(|page| !index.contains(&format!("({page})")))
        .collect();
    assert!(missing.is_empty(), "docs/README.md has no link to {missing:?}");
}
