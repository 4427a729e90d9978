//! Every ```` ```console ```` block is run, and prints what the page shows.
//!
//! - The commands of a page are run by a shell, one after the other, in one folder: a copy of scenarios, docs/receivers and tests/failing;
//!   or, where the page says `<!-- folder: FILES -->`, a folder with these files. They are run as root and as an ordinary user.
//! - ```` ```toml file=NAME ```` is a file that later commands read. `<!-- needs: PROGRAMS -->` skips the page where one is missing.
//! - ```` ```console status=1 ```` is the exit status of the block's last command; 0 otherwise, and of all others.
//! - A line `...` is any output. Times, rates, the sender, the evidence (root has more) and the wrapping of lines may differ from the page.
//! - ```` ```console not-run: REASON ```` is what no test can run.

#![expect(clippy::print_stdout, reason = "a page that is skipped is named")]

use std::collections::BTreeSet;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use regex::Regex;

use crate::common::{User, both, fresh_folder, pages, program, root, stage, users};

/// How many blocks are not run. It is written here so that one more is noticed.
const NOT_RUN: usize = 16;

/// A block between fences, with the words behind the opening one and the number of its first line.
struct Block<'a> {
    language: &'a str,
    words: &'a str,
    first: usize,
    lines: Vec<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut lines = text.lines().enumerate();
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        if let Some(opening) = line.strip_prefix("```") {
            let (language, words) = opening.split_once(' ').unwrap_or((opening, ""));
            let lines = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            found.push(Block { language, words, first: number + 1, lines });
        }
    }
    found
}

impl Block<'_> {
    fn is_run(&self) -> bool {
        self.language == "console" && !self.words.starts_with("not-run: ")
    }

    /// The commands, each with the lines of its output.
    fn commands(&self) -> Vec<(&str, std::ops::Range<usize>)> {
        let starts: Vec<usize> = (0..self.lines.len()).filter(|at| self.lines[*at].starts_with("$ ")).collect();
        let ends = starts.iter().skip(1).copied().chain([self.lines.len()]);
        starts.iter().zip(ends).map(|(start, end)| (&self.lines[*start][2..], start + 1..end)).collect()
    }
}

/// Output without what differs from run to run, or from user to user.
pub(crate) fn normal(output: &str) -> String {
    let rules = [
        (r"(?m)^ *warning: the rate was not kept.*\n(?:.+\n)*", ""),
        // A line may end between a number and its unit.
        (r"\d[\d,.]*\s*(?:ns|µs|ms|s|min|h)\b", "TIME"),
        (r"\d[\d,.]*\s*[kMG]?(?:pps|bps)\b", "RATE"),
        (r"\((?:xdp|packet), ", "(SENDER, "),
        (r"evidence: (?:kernel|stage)", "evidence: LAYER"),
        (r"\s\[[a-z_0-9.]+\]", ""),
        // A long command is cut, where the number of digits before decides it.
        (r"/tmp/restage-\d+/(\S+?)-\d+(?:-\d*)?(?:/?\w*…|/(?:work\b)?)", "/tmp/restage/$1/"),
        (r"\s+", " "),
    ];
    let text = rules.iter().fold(output.to_owned(), |text, (pattern, with)| {
        Regex::new(pattern).expect("a legal expression").replace_all(&text, *with).into_owned()
    });
    text.trim().to_owned()
}

fn is_shown(shown: &[&str], output: &str) -> bool {
    const ANY: &str = "\u{1}";
    let shown: Vec<&str> = shown.iter().map(|line| if *line == "..." { ANY } else { line }).collect();
    let pattern =
        regex::escape(&normal(&shown.join("\n"))).replace(&format!(" {ANY}"), ANY).replace(&format!("{ANY} "), ANY);
    Regex::new(&format!("^{}$", pattern.replace(ANY, ".*"))).expect("an escaped text").is_match(&normal(output))
}

/// What a page says in a comment of one line, such as `<!-- needs: nfcapd -->`.
fn directive<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("<!-- {name}: "))?.strip_suffix(" -->"))?;
    Some(line.split(", ").collect())
}

fn folder_for(text: &str) -> PathBuf {
    let folder = fresh_folder("docs");
    let files = directive(text, "folder").unwrap_or_else(|| vec!["scenarios", "docs", "tests"]);
    let copied = Command::new("cp").arg("-r").args(files.iter().map(|file| stage().join(file))).arg(&folder).status();
    assert!(copied.expect("cp runs").success(), "{files:?}");
    let opened = Command::new("chmod").args(["-R", "a+rwX"]).arg(&folder).status();
    assert!(opened.expect("chmod runs").success());
    folder
}

fn shell(command: &str, user: User, folder: &Path) -> Output {
    let path = format!("{}:{}", stage().display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = program(user, Path::new("/bin/sh"));
    shell.args(["-c", &format!("{{ {command}\n}} 2>&1")]).current_dir(folder).env("PATH", path).env("HOME", folder);
    shell.output().expect("a shell runs")
}

/// The programs that a page needs and that are not installed. That fails where `RESTAGE_REQUIRE_LAB=1`.
fn missing(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page can be read");
    let needed = directive(&text, "needs").unwrap_or_default();
    // Where restage looks, too.
    let daemons = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).chain(daemons).collect();
    let is_there = |name: &&str| folders.iter().any(|folder| folder.join(name).exists());
    let missing: Vec<String> = needed.into_iter().filter(|name| !is_there(name)).map(str::to_owned).collect();
    let required = std::env::var_os("RESTAGE_REQUIRE_LAB").is_some_and(|value| value == "1");
    assert!(missing.is_empty() || !required, "{}: not installed: {missing:?}", page.display());
    if !missing.is_empty() {
        println!("skipped: {}: not installed: {}", page.display(), missing.join(", "));
    }
    missing
}

/// Runs a page; the new page, and what differs.
fn run(page: &Path, user: User) -> (String, Vec<String>) {
    let text = fs::read_to_string(page).expect("a page can be read");
    let folder = folder_for(&text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut differs = Vec::new();
    // From the last one, so that the numbers of those before stay.
    let mut anew = Vec::new();
    for block in blocks(&text) {
        if let Some(name) = block.words.strip_prefix("file=") {
            fs::write(folder.join(name), block.lines.join("\n") + "\n").expect("a file in the page's folder");
        } else if block.is_run() {
            let commands = block.commands();
            let last = commands.len().saturating_sub(1);
            for (number, (command, shown)) in commands.into_iter().enumerate() {
                let status = block
                    .words
                    .strip_prefix("status=")
                    .filter(|_| number == last)
                    .map_or(0, |word| word.parse().expect("a number"));
                let done = shell(command, user, &folder);
                let output = both(&done);
                if done.status.code() != Some(status) || !is_shown(&block.lines[shown.clone()], &output) {
                    let place = format!(
                        "{}:{}",
                        page.strip_prefix(root()).expect("a page").display(),
                        block.first + shown.start
                    );
                    differs.push(format!("{place}: as {user:?}, {}:\n$ {command}\n{output}", done.status));
                    anew.push((block.first + shown.start..block.first + shown.end, output));
                }
            }
        }
    }
    for (range, output) in anew.into_iter().rev() {
        lines.splice(range, output.lines().map(str::to_owned));
    }
    (lines.join("\n") + "\n", differs)
}

#[test]
fn commands_print_what_the_pages_show() {
    let update = std::env::var_os("RESTAGE_UPDATE").is_some();
    // Pages show what an ordinary user sees.
    let users: Vec<User> = if update { users().last().copied().into_iter().collect() } else { users().to_vec() };
    let only = std::env::var("RESTAGE_PAGE").unwrap_or_default();
    let has_commands =
        |page: &PathBuf| blocks(&fs::read_to_string(page).expect("a page can be read")).iter().any(Block::is_run);
    let pages: Vec<PathBuf> = pages()
        .into_iter()
        .filter(|page| page.to_string_lossy().contains(&only))
        .filter(has_commands)
        .filter(|page| missing(page).is_empty())
        .collect();
    let turns: Vec<(PathBuf, User)> =
        pages.iter().flat_map(|page| iter::repeat(page.clone()).zip(users.clone())).collect();
    let turns = Mutex::new(turns.into_iter());
    let wrong = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some((page, user)) = turns.lock().expect("no other thread panicked").next() else { return };
                    let (fresh, differs) = run(&page, user);
                    if update {
                        fs::write(&page, fresh).expect("a page can be written");
                    } else {
                        wrong.lock().expect("no other thread panicked").extend(differs);
                    }
                }
            });
        }
    });
    let wrong: Vec<String> = wrong.into_inner().expect("no thread panicked").into_iter().collect();
    assert!(wrong.is_empty(), "`RESTAGE_UPDATE=1 cargo test --test docs` writes the pages anew\n{}", wrong.join("\n"));
}

#[test]
fn blocks_that_no_test_runs_are_marked_and_counted() {
    let mut unmarked = Vec::new();
    let mut not_run = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page can be read");
        // The `sh` blocks of this page are what `restage import` reads; the tests of `draft::import` do.
        let languages: &[&str] =
            if page.ends_with("coming-from-tcpreplay.md") { &["console"] } else { &["console", "sh", "bash", "shell"] };
        for block in blocks(&text).iter().filter(|block| languages.contains(&block.language)) {
            if block.words.starts_with("not-run: ") {
                not_run += 1;
            } else if !block.is_run() || !block.lines.first().is_some_and(|line| line.starts_with("$ ")) {
                unmarked.push(format!("{}:{}", page.display(), block.first));
            }
        }
    }
    assert!(unmarked.is_empty(), "neither ```console with `$ ` nor `not-run: REASON`:\n{}", unmarked.join("\n"));
    assert_eq!(not_run, NOT_RUN);
}
