//! Keeps the rooms' arrows pointing one way, and what touches the kernel in its two rooms.
//!
//! The sources are read as tokens, so that comments and strings don't count and paths inside macros do. Code that only
//! tests see (`#[cfg(test)]`, `tests.rs`, `tests/`) may use whatever it needs. Start reading at [`ROOMS`].

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What the rooms that account for packets use: everything pure, and others.
macro_rules! accounting {
    ($($more:literal),*) => {
        &[
            "diagnostic", "outcome", "cause", "packet", "flow", "capture", "scenario", "rewrite", "host", "predict", "plan",
            "evidence", $($more),*
        ]
    };
}

/// Each room with the rooms that it may use, beside itself. A new room gets a line here, below everything that it uses.
const ROOMS: &[(&str, &[&str])] = &[
    (FIGURES, &[]),
    ("diagnostic", &[]),
    ("file", &["diagnostic"]),
    ("cause", &[]),
    ("outcome", &["diagnostic", "cause"]),
    ("packet", &["diagnostic"]),
    ("flow", &["packet"]),
    ("capture", &["diagnostic", "file", "packet"]),
    ("inspect", &["diagnostic", "packet", "flow", "capture"]),
    ("scenario", &["diagnostic", "file", "cause", "packet", "flow", "capture"]),
    ("draft", &["diagnostic", "packet", "inspect", "capture", "scenario"]),
    ("rewrite", &["diagnostic", "file", "packet", "flow", "capture", "scenario"]),
    ("host", &["diagnostic", "file", "packet", "scenario"]),
    ("predict", &["diagnostic", "outcome", "cause", "packet", "capture", "scenario", "rewrite", "host"]),
    ("plan", ALL_ABOVE),
    ("evidence", ALL_ABOVE),
    ("ledger", accounting!()),
    ("expect", accounting!("file", "ledger")),
    ("wire", &["diagnostic", "outcome", "packet", "capture", "scenario", "host"]),
    ("process", &["diagnostic", "file", "outcome", "packet", "scenario", "host"]),
    ("testbed", ALL_ABOVE),
    ("run", ALL_ABOVE),
    ("doctor", ALL_ABOVE),
    ("report", &["diagnostic", "file", "outcome", "cause", "flow", "inspect"]),
    ("api", ALL_ABOVE),
    ("schema", ALL_ABOVE),
    ("entry", ALL_ABOVE),
    ("cli", ALL_ABOVE),
    // The crate doc and the program.
    ("lib", &[]),
    ("main", &[]),
];
const ALL_ABOVE: &[&str] = &["every room that stands above"];

/// How figures are written is every room's business.
const FIGURES: &str = "figures";

/// Whether the table lets `room` use `other`.
fn may_use(room: &str, other: &str) -> bool {
    let place = |name| ROOMS.iter().position(|(room, _)| *room == name);
    let (Some(here), Some(there)) = (place(room), place(other)) else { return false };
    let allowed = ROOMS[here].1;
    room == other || there < here && (other == FIGURES || allowed == ALL_ABOVE || allowed.contains(&other))
}

/// Crates that have their home in some rooms, and are strangers in all others.
const HOMES: &[(&str, &[&str])] = &[
    ("nix", &["host", "wire", "process", "testbed", "doctor"]),
    ("libc", &["host", "wire", "process", "testbed", "doctor"]),
    ("netlink_packet_core", &["host", "wire", "process", "testbed", "doctor"]),
    ("netlink_packet_route", &["host", "wire", "process", "testbed", "doctor"]),
    ("netlink_sys", &["host", "wire", "process", "testbed", "doctor"]),
    ("pcap", &["capture"]),
    ("domain", &["packet"]),
    ("toml", &["scenario", "cli"]),
    ("annotate_snippets", &["diagnostic"]),
    ("clap", &["cli"]),
    ("notify", &["cli"]),
    ("indicatif", &["report"]),
    ("askama", &["report"]),
    ("quick_xml", &["report"]),
];

/// Rooms that may hold unsafe code.
const UNSAFE: &[&str] = &["host", "wire", "process", "testbed", "doctor", "entry"];
/// Rooms that may print.
const PRINTING: &[&str] = &["cli", "report"];
/// Lines of a file, unless its head gives the reason with these words.
const LONGEST: usize = 500;
const REASON: &str = "500 lines";

/// Something in a source that a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// `crate::room`, however it is written.
    Room(String),
    /// `name::`, where no module of ours goes before.
    Path(String),
    /// `unsafe`
    Unsafe,
    /// `println!` and its like.
    Print,
}

#[test]
fn every_room_uses_only_the_rooms_above_it() {
    refuse(|room, used| match used {
        Use::Room(other) => {
            // What else the crate's root exports is not a room.
            let known = ROOMS.iter().any(|(name, _)| name == other);
            (known && !may_use(room, other)).then(|| format!("`{room}` may not use `{other}`"))
        }
        Use::Path(_) | Use::Unsafe | Use::Print => None,
    });
}

#[test]
fn every_room_is_in_the_table_below_what_it_uses() {
    for file in sources() {
        let room = room(&file);
        assert!(ROOMS.iter().any(|(name, _)| *name == room), "{} belongs to no room of the table", file.display());
    }
    for (room, allowed) in ROOMS {
        for other in allowed.iter().filter(|_| *allowed != ALL_ABOVE) {
            assert!(may_use(room, other), "`{room}` is to use `{other}`, which doesn't stand above it");
        }
    }
}

#[test]
fn crates_stay_in_their_rooms() {
    refuse(|room, used| match used {
        Use::Path(name) => {
            let (_, homes) = HOMES.iter().find(|(foreign, _)| foreign == name)?;
            (!homes.contains(&room)).then(|| format!("`{name}` is used in {} only", homes.join(" and ")))
        }
        Use::Room(_) | Use::Unsafe | Use::Print => None,
    });
}

#[test]
fn unsafe_code_stays_where_the_kernel_is_touched() {
    refuse(|room, used| {
        (*used == Use::Unsafe && !UNSAFE.contains(&room))
            .then(|| format!("unsafe code belongs in {}", UNSAFE.join(" or ")))
    });
}

#[test]
fn only_the_edge_prints() {
    refuse(|room, used| {
        (*used == Use::Print && !PRINTING.contains(&room)).then(|| format!("only {} print", PRINTING.join(" and ")))
    });
}

/// Words that translate a tone and hide a technical fact (`design/house.md`): none is in anything that users read.
const AVOIDED: &[&str] = &[
    "nobody",
    "somebody",
    "everybody",
    "tells",
    "hears",
    "stands",
    "stand for",
    "comes to",
    "came to",
    "leads to",
    "is spent",
    "group's mac",
    "asked were",
    "that takes no",
    "nothing of it",
];

#[test]
fn messages_and_documents_are_plain_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut look = |place: &Path, text: &str| {
        let text = text.to_lowercase();
        let avoided = AVOIDED.iter().filter(|word| {
            let is_word = |at: usize| {
                let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !letter(text[..at].chars().next_back()) && !letter(text[at + word.len()..].chars().next())
            };
            text.match_indices(**word).any(|(at, _)| is_word(at))
        });
        found.extend(avoided.map(|word| format!("{}: `{word}`", place.display())));
    };
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source can be read");
        let mut literals = Vec::new();
        strings(text.parse().expect("a source is Rust"), &mut literals);
        for literal in &literals {
            look(&file, literal);
        }
    }
    let function = regex::Regex::new(r"\bfn (\w+)").expect("a regular expression");
    for file in ["src", "tests"].iter().flat_map(|folder| rust_files(&root.join(folder))) {
        let text = fs::read_to_string(&file).expect("a source can be read");
        let names: Vec<_> = function.captures_iter(&text).map(|name| name[1].replace('_', " ")).collect();
        look(&file, &names.join("\n"));
    }
    for file in crate::common::pages() {
        look(&file, &fs::read_to_string(&file).expect("a document can be read"));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// String literals, but not those of attributes and of code that only tests see.
fn strings(tokens: TokenStream, found: &mut Vec<String>) {
    let mut is_attribute = false;
    let mut is_test = false;
    for token in tokens {
        match token {
            TokenTree::Punct(punct) => is_attribute = punct.as_char() == '#' || is_attribute && punct.as_char() == '!',
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.starts_with(['"', 'r']) {
                    found.push(text);
                }
            }
            TokenTree::Group(group) if is_attribute && group.delimiter() == Delimiter::Bracket => {
                is_test = group.stream().to_string().replace(' ', "") == "cfg(test)";
                is_attribute = false;
            }
            TokenTree::Group(group) => {
                if !is_test {
                    strings(group.stream(), found);
                }
                is_test = is_test && group.delimiter() != Delimiter::Brace;
            }
            TokenTree::Ident(_) => {}
        }
    }
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(|folder| rust_files(&root.join(folder))) {
        let text = fs::read_to_string(&file).expect("a source can be read");
        let lines = text.lines().count();
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if lines > LONGEST && !head.contains(REASON) {
            long.push(format!(
                "{}: {lines} lines",
                file.strip_prefix(root).expect("it is below the package").display()
            ));
        }
    }
    assert!(long.is_empty(), "split these, or say in the head why they have more than {REASON}:\n{}", long.join("\n"));
}

#[test]
fn sources_begin_with_a_module_comment() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source can be read");
        assert!(text.starts_with("//! "), "{} has no head", file.display());
    }
}

/// Fails with every place that a rule refuses.
fn refuse(rule: impl Fn(&str, &Use) -> Option<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut refused = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source can be read");
        for (line, used) in uses(&text, depth(&file)) {
            if let Some(why) = rule(&room(&file), &used) {
                refused.push(format!(
                    "{}:{line}: {why}",
                    file.strip_prefix(root).expect("it is below the package").display()
                ));
            }
        }
    }
    assert!(refused.is_empty(), "\n{}", refused.join("\n"));
}

/// The sources that are built into the program.
fn sources() -> Vec<PathBuf> {
    let mut files = rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    files.retain(|file| !file.iter().any(|part| part == "tests" || part == "tests.rs"));
    assert!(files.len() > 10, "the sources are found");
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The file's path below `src`.
fn below_src(file: &Path) -> Vec<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let path = file.strip_prefix(src).expect("it is below src").with_extension("");
    path.iter().map(|part| part.to_str().expect("sources have names in UTF-8").to_owned()).collect()
}

fn room(file: &Path) -> String {
    below_src(file).swap_remove(0)
}

/// How many `super` lead from the file's module to the crate's root.
fn depth(file: &Path) -> usize {
    let mut path = below_src(file);
    path.retain(|part| part != "mod" && part != "lib" && part != "main");
    path.len()
}

/// What the text uses, with the line where it stands.
fn uses(text: &str, depth: usize) -> Vec<(usize, Use)> {
    let tokens: TokenStream = text.parse().expect("sources are Rust");
    let mut found = Vec::new();
    walk(tokens, depth, &mut found);
    found
}

fn walk(tokens: TokenStream, depth: usize, found: &mut Vec<(usize, Use)>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens[at..]) {
            at += 2;
            // The item goes up to its braces or its semicolon.
            while at < tokens.len() && !ends_item(&tokens[at]) {
                at += 1;
            }
            at += 1;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let module = at >= 2 && word(tokens.get(at - 2)) == "mod" && group.delimiter() == Delimiter::Brace;
                walk(group.stream(), depth + usize::from(module), found);
            }
            TokenTree::Ident(ident) => {
                let (name, line) = (ident.to_string(), ident.span().start().line);
                let begins = !(at >= 2 && is_path(&tokens[at - 2..]));
                if name == "unsafe" {
                    found.push((line, Use::Unsafe));
                } else if matches!(name.as_str(), "print" | "println" | "eprint" | "eprintln" | "dbg")
                    && is(tokens.get(at + 1), '!')
                {
                    found.push((line, Use::Print));
                } else if begins && (name == "crate" || name == "super") {
                    let supers =
                        (at..tokens.len()).step_by(3).take_while(|at| word(tokens.get(*at)) == "super").count();
                    let last = if name == "crate" { at } else { at + 3 * (supers - 1) };
                    if (name == "crate" || supers == depth) && is_path(&tokens[last + 1..]) {
                        found.extend(rooms_named(tokens.get(last + 3)).into_iter().map(|room| (line, Use::Room(room))));
                    }
                } else if begins && (is_path(&tokens[at + 1..]) || at > 0 && word(tokens.get(at - 1)) == "use") {
                    found.push((line, Use::Path(name)));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

/// The first names after `crate::`: one, or those of a group.
fn rooms_named(after: Option<&TokenTree>) -> Vec<String> {
    match after {
        Some(TokenTree::Ident(ident)) => vec![ident.to_string()],
        Some(TokenTree::Group(group)) => {
            let tokens: Vec<_> = group.stream().into_iter().collect();
            let parts = tokens.split(|token| is(Some(token), ','));
            parts.filter_map(|part| part.first()).map(|first| word(Some(first))).collect()
        }
        _ => Vec::new(),
    }
}

fn is_cfg_test(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [hash, TokenTree::Group(group), ..]
        if is(Some(hash), '#') && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

fn ends_item(token: &TokenTree) -> bool {
    is(Some(token), ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// Whether the tokens begin with `::`.
fn is_path(tokens: &[TokenTree]) -> bool {
    is(tokens.first(), ':') && is(tokens.get(1), ':')
}

fn is(token: Option<&TokenTree>, punctuation: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == punctuation)
}

fn word(token: Option<&TokenTree>) -> String {
    match token {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    }
}

#[test]
fn a_use_is_found_however_it_is_written() {
    let rooms = |text: &str, depth| {
        let rooms = uses(text, depth).into_iter().filter_map(|(line, used)| match used {
            Use::Room(room) => Some((line, room)),
            _ => None,
        });
        rooms.collect::<Vec<_>>()
    };
    let found =
        |list: &[(usize, &str)]| list.iter().map(|(line, room)| (*line, (*room).to_owned())).collect::<Vec<_>>();
    assert_eq!(
        rooms("use crate::host;\nuse crate::{wire, plan::Plan};", 1),
        found(&[(1, "host"), (2, "wire"), (2, "plan")])
    );
    assert_eq!(rooms("fn f() {\n  println!(\"{}\", crate::host::x());\n}", 1), found(&[(2, "host")]));
    assert_eq!(rooms("use super::host;", 1), found(&[(1, "host")]));
    assert_eq!(rooms("use super::host; use super::super::wire;", 2), found(&[(1, "wire")]));
    assert_eq!(rooms("mod inner { use super::super::host; use super::own; }", 1), found(&[(1, "host")]));
    assert_eq!(
        rooms("//! [`crate::host`]\n// crate::host\nconst A: &str = \"crate::host\"; pub(crate) struct B;", 1),
        []
    );
    assert_eq!(
        rooms("#[cfg(test)]\nmod tests { use crate::host; }\n#[cfg(test)] use crate::host;\nuse crate::wire;", 1),
        found(&[(4, "wire")])
    );
}

#[test]
fn crates_unsafe_code_and_printing_are_found() {
    let found: Vec<_> =
        uses("use nix::sched;\nfn f() { unsafe { libc::fork() } }\nfn g() { eprintln!() }\nuse crate::nix::x;", 1)
            .into_iter()
            .filter(|(_, used)| !matches!(used, Use::Room(_)))
            .collect();
    let path = |name: &str| Use::Path(name.to_owned());
    assert_eq!(found, [(1, path("nix")), (2, Use::Unsafe), (2, path("libc")), (3, Use::Print)]);
}
