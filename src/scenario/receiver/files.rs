//! `[receiver.files]` and `private`: files and folders that the application finds.

use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{self, Entries, Fields, WordOr, refused, values};
use super::super::placeholders;
use crate::diagnostic::{At, Diagnostic};

/// A file that is written before the application starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path: relative to `{work}`, or an absolute one in `/etc`.
    pub name: At<PathBuf>,
    pub content: At<FileContent>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// This text, placeholders still in it.
    Text(String),
    /// What another file holds.
    From {
        /// That file, joined with the scenario's folder.
        file: PathBuf,
        /// Texts in it, and what is written in their place, placeholders still in it.
        replace: Vec<Replacement>,
    },
}

/// One entry of `replace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    pub old: At<String>,
    pub new: String,
}

/// A file of the scenario's folder, with other words in some places.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FromFile {
    /// The file, relative to the scenario.
    #[schemars(example = &"config/named.conf")]
    from: String,
    /// Texts in it, each with what is written in its place.
    #[serde(default = "nothing")]
    #[schemars(with = "Entries<String>", example = example_replace())]
    replace: Entries<form::Argument>,
}

values! {
    FileContent: WordOr<Fields<FromFile>>, content;
}

fn nothing() -> Entries<form::Argument> {
    Entries(Vec::new())
}

fn example_replace() -> serde_json::Value {
    serde_json::json!({ "/etc/bind": "{work}" })
}

pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "named.conf": { "from": "config/named.conf", "replace": { "/etc/bind": "{work}" } } })
}

fn content(written: &WordOr<Fields<FromFile>>) -> Result<FileContent, Diagnostic> {
    let (from, replace) = match written {
        WordOr::Word(text) => return Ok(FileContent::Text(text.clone())),
        WordOr::Other(Fields(FromFile { from, replace })) => (from, replace),
    };
    if from.is_empty() {
        let problem = Diagnostic::error("`\u{2}.from` is empty");
        return Err(problem.fix("name a file, relative to the scenario's folder"));
    }
    if replace.0.iter().any(|entry| entry.key.value.is_empty()) {
        let problem = Diagnostic::error("`\u{2}.replace` has an entry without a text to replace");
        return Err(problem.fix("write the text that is in the file, like { \"/etc/bind\" = \"{work}\" }"));
    }
    let replace =
        replace.0.iter().map(|entry| Replacement { old: entry.key.clone(), new: entry.value.value.0.clone() });
    Ok(FileContent::From { file: from.into(), replace: replace.collect() })
}

pub(super) fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<File>, D::Error> {
    let Entries(entries) = Entries::<FileContent>::deserialize(deserializer)?;
    let files = entries.into_iter().map(|entry| File {
        name: At { value: PathBuf::from(&entry.key.value), span: entry.key.span },
        content: entry.value,
    });
    Ok(files.collect())
}

impl File {
    /// `table`: the one that its `files` are in.
    pub(super) fn check(&mut self, table: &str, checker: &mut Checker) {
        if let Some(problem) = name_problem(table, &self.name.value) {
            checker.refuse(self.name.range(), problem);
        }
        if let FileContent::From { file, .. } = &mut self.content.value {
            checker.join(&format!("{table}.files.from"), file, self.content.span.as_ref());
        }
    }
}

/// Why a file can't have this name.
fn name_problem(table: &str, name: &Path) -> Option<Diagnostic> {
    let text = name.to_string_lossy();
    let what = format!("`{table}.files` can't have a file `{text}`");
    let is_in_etc = name.strip_prefix("/etc").is_ok_and(|rest| !rest.as_os_str().is_empty());
    let below = |part: Component| matches!(part, Component::Normal(_) | Component::RootDir);
    if let Some(rest) = text.strip_prefix("{work}/") {
        let problem = Diagnostic::error(what).why("names are relative to {work}");
        return Some(problem.fix(format!("write \"{rest}\"")));
    }
    if text.is_empty() || text.ends_with('/') || !name.components().all(below) {
        let problem = Diagnostic::error(what).why("a name is that of a file, and stays below {work}");
        return Some(problem.fix("write it like \"named.conf\" or \"conf.d/zones.conf\""));
    }
    if name.is_absolute() && !is_in_etc {
        let why = "files are written below {work}; of the machine's own files the application sees others in /etc only";
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        return Some(Diagnostic::error(what).why(why).fix(format!("write \"{name}\", which is \"{{work}}/{name}\"")));
    }
    None
}

/// Reads the folders that the application has for itself.
pub(super) fn private<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<At<PathBuf>>, D::Error> {
    let folders = Vec::<At<PrivateFolder>>::deserialize(deserializer)?;
    Ok(folders.into_iter().map(|folder| folder.with(folder.value.0.clone())).collect())
}

struct PrivateFolder(PathBuf);

values! {
    PrivateFolder: String, |text: &String| private_folder(text);
}

/// Folders without which no program runs, or that restage makes itself.
const SHARED: [&str; 10] = ["/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr"];

fn private_folder(text: &str) -> Result<PrivateFolder, Diagnostic> {
    let path = Path::new(text);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    if !path.is_absolute() || !is_plain {
        return Err(refused("it is not an absolute path", "write it like \"/run\""));
    }
    if path == Path::new("/etc") {
        let why = "without what is in it hardly any program runs";
        return Err(refused(why, "put files into it: `[receiver.files] \"/etc/app.conf\" = …`"));
    }
    if SHARED.iter().any(|shared| path == Path::new(shared)) || path.starts_with("/proc") || path.starts_with("/sys") {
        return Err(refused("without what is in it no program runs", "name a folder that it writes to, like \"/run\""));
    }
    Ok(PrivateFolder(path.components().collect()))
}

/// Replaces the placeholders and the texts of `replace` in a text, each where it is found first; what was put in is not searched again. The
/// first entry that is not found, otherwise.
pub fn render<'a>(
    text: &str,
    replace: &'a [Replacement],
    fill: impl Fn(&str) -> String,
) -> Result<String, &'a Replacement> {
    let mut longest_first: Vec<&Replacement> = replace.iter().collect();
    longest_first.sort_by_key(|entry| std::cmp::Reverse(entry.old.value.len()));
    let placeholders: Vec<_> =
        placeholders::find(text).into_iter().filter(|(name, _)| placeholders::NAMES.contains(name)).collect();
    let mut found = vec![false; longest_first.len()];
    let mut rendered = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(index) = longest_first.iter().position(|entry| rest.starts_with(&entry.old.value)) {
            found[index] = true;
            rendered.push_str(&fill(&longest_first[index].new));
            at += longest_first[index].old.value.len();
        } else if let Some((_, range)) = placeholders.iter().find(|(_, range)| range.start == at) {
            rendered.push_str(&fill(&text[range.clone()]));
            at = range.end;
        } else {
            let next = rest.chars().next().unwrap_or_default();
            rendered.push(next);
            at += next.len_utf8();
        }
    }
    match replace
        .iter()
        .find(|entry| longest_first.iter().zip(&found).any(|(one, found)| one.old == entry.old && !found))
    {
        Some(unused) => Err(unused),
        None => Ok(rendered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_rendered_once() {
        let fill = |text: &str| text.replace("{work}", "/w").replace("{receiver}", "rx0");
        let render = |text: &str, entries: &[(&str, &str)]| {
            let entries: Vec<_> = entries
                .iter()
                .map(|(old, new)| Replacement { old: At::default_value((*old).to_owned()), new: (*new).to_owned() })
                .collect();
            super::render(text, &entries, fill).map_err(|unused| unused.old.value.clone())
        };
        for (text, entries, rendered) in [
            ("{work}/a {unknown} {print $1} {", &[][..], Ok("/w/a {unknown} {print $1} {")),
            ("dir /etc/bind;", &[("/etc/bind", "{work}")], Ok("dir /w;")),
            ("eth0 eth01", &[("eth0", "{receiver}"), ("eth01", "lo")], Ok("rx0 lo")),
            ("a b", &[("a", "b"), ("b", "a")], Ok("b a")),
            ("é{work}é", &[("é", "{work}")], Ok("/w/w/w")),
            ("{work}", &[("{work}", "x")], Ok("x")),
            ("a", &[("a", "b"), ("c", "d")], Err("c")),
            ("", &[("c", "d")], Err("c")),
        ] {
            assert_eq!(render(text, entries), rendered.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn names_stay_below_the_work_folder() {
        for (name, is_legal) in [
            ("named.conf", true),
            ("a/b/c", true),
            ("/etc/bind/named.conf", true),
            ("/etc", false),
            ("/etc/", false),
            ("/usr/share/x", false),
            ("../x", false),
            ("a/../../x", false),
            ("/etc/../root/x", false),
            ("{work}/x", false),
            ("", false),
            ("a/", false),
        ] {
            assert_eq!(name_problem("receiver", Path::new(name)).is_none(), is_legal, "{name}");
        }
    }
}
