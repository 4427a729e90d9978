//! The text of a scenario, which is read once, and what its relative paths are relative to.
//!
//! Start at [`ScenarioText::load`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::variation::Variation;
use super::vocabulary::{VOCABULARY, nearest};
use crate::capture;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::file::{descriptor, is_standard_input, is_stream, misspelt, read_bytes, source_of};

/// A scenario file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioText {
    pub(super) source: Arc<Source>,
    /// The file's name without folder and `.toml`; `stdin` for standard input.
    pub name: String,
    /// The folder that relative paths are joined with.
    pub(super) prefix: PathBuf,
    /// The same folder, absolute.
    pub(super) folder: PathBuf,
    /// What is said of it beside the file.
    #[serde(default)]
    pub(super) variation: Variation,
}

/// What a file of a folder seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// A scenario, whatever is wrong with it.
    Scenario,
    /// It has `[capture]`, and tables that no scenario has.
    Doubtful,
    /// Another program's file.
    Other,
}

impl ScenarioText {
    /// Reads a scenario: a file, `-` for standard input, a pipe. Relative paths in it are relative to the folder of the file, also if it
    /// is read through a symbolic link; those of a stream are relative to the current folder.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] when it can't be read, is too long, or isn't UTF-8.
    pub fn load(path: &Path) -> Result<Self> {
        let is_capture = !is_stream(path) && capture::is_named_capture(path);
        if is_capture {
            return Err(a_capture(path));
        }
        let bytes = read_bytes(path).map_err(|failure| {
            let problem = |problem: Diagnostic| if path.exists() { problem } else { problem.fix(misspelt(path)) };
            Failure { problems: failure.problems.into_iter().map(problem).collect(), ..failure }
        })?;
        Self::of_bytes(path, bytes)
    }

    /// The same, of a file that has been read.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        if capture::begins_like_one(&bytes) { Err(a_capture(path)) } else { Self::of(source_of(path, bytes)?) }
    }

    /// The same, of a text; `source.path` needs no file.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn of(source: Arc<Source>) -> Result<Self> {
        let path = source.path.as_path();
        let linked = path.is_symlink().then(|| std::fs::canonicalize(path).ok()).flatten();
        let real = linked.as_deref().unwrap_or(path);
        let name = match descriptor(path) {
            _ if is_standard_input(path) => "stdin".to_owned(),
            Some(number) => format!("fd{number}"),
            None => real.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let prefix = if is_stream(path) { None } else { real.parent() }.unwrap_or(Path::new(""));
        let folder = if prefix.as_os_str().is_empty() { Path::new(".") } else { prefix };
        let folder = std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder)).map_err(|error| {
            Failure::invalid(
                Diagnostic::error("there is no current folder").why(error.to_string()).fix("`cd` to one that is there"),
            )
        })?;
        Ok(Self { name, prefix: prefix.to_path_buf(), folder, source, variation: Variation::default() })
    }

    /// The same text, in which the interface of the receiver's machine is named.
    pub(crate) fn on_interface(mut self, interface: &str) -> Self {
        self.source = self.variation.set("receiver.interface", interface, &self.source);
        self
    }

    /// The same text with another folder that relative paths are joined with.
    pub(crate) fn moved(self, folder: &Path) -> Self {
        Self { prefix: folder.to_owned(), folder: folder.to_owned(), ..self }
    }

    /// Its tags and its summary, whatever else is wrong with it; `None` where its TOML can't be read.
    pub fn labels(&self) -> Option<(Vec<String>, Option<String>)> {
        let table: toml::Table = self.variation.own(&self.source.text).parse().ok()?;
        let text = |value: &toml::Value| value.as_str().map(str::to_owned);
        let tags = table.get("tags").and_then(toml::Value::as_array);
        Some((tags.into_iter().flatten().filter_map(text).collect(), table.get("summary").and_then(text)))
    }

    /// The path as the user wrote it.
    #[cfg(test)]
    pub fn path(&self) -> &Path {
        &self.source.path
    }
}

/// A text as a TOML string (TOML 1.0, String).
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A capture instead of a scenario.
fn a_capture(path: &Path) -> Failure {
    let shown = path.display();
    Failure::invalid(
        Diagnostic::error(format!("`{shown}` is a capture, not a scenario"))
            .why("a scenario is a TOML file that names the capture: `[capture] file = \"…\"`")
            .fix(format!("`restage try {shown}` replays it, `restage init {shown}` writes a scenario for it")),
    )
}

impl Looks {
    /// Of a file with this content, which may be damaged or in another encoding.
    pub fn of(bytes: &[u8]) -> Self {
        // Without the zeros of UTF-16 and UTF-32, ASCII is left.
        let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        let text = String::from_utf8_lossy(&bytes).replace('\r', "\n");
        let text = text.trim_start_matches(['\u{feff}', '\u{fffd}']);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut keys: Vec<String> = table.get_ref().keys().map(|key| key.get_ref().to_string()).collect();
        if !errors.is_empty() {
            keys.extend(keys_by_line(text));
        }
        let known = VOCABULARY.keys(&[]);
        let has = |word: &str| keys.iter().any(|key| key == word);
        let may_be = |word: &str| keys.iter().any(|key| nearest(key, [word]).is_some());
        if has("format") {
            return Self::Scenario;
        }
        let only_ours = keys.iter().all(|key| nearest(key, known.iter().copied()).is_some());
        let tables = keys.iter().filter(|key| known.contains(&key.as_str())).count();
        match has("capture") {
            true if only_ours || text.contains(".pcap") => Self::Scenario,
            true => Self::Doubtful,
            false if only_ours && (tables > 1 || may_be("capture") && may_be("format")) => Self::Scenario,
            false => Self::Other,
        }
    }
}

/// The keys before the first table, and the tables, of a text whose TOML is broken.
fn keys_by_line(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut in_table = false;
    for line in text.lines().map(str::trim_start) {
        let header = line.strip_prefix('[').map(|rest| rest.trim_start_matches('['));
        in_table |= header.is_some();
        let key = match header {
            Some(header) => header.split([']', '.']).next(),
            None if !in_table => line.split_once('=').and_then(|(key, _)| key.split('.').next()),
            None => None,
        };
        let bare = key.map(|key| key.trim().trim_matches(['"', '\'']).to_owned());
        let word = |key: &String| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
        keys.extend(bare.filter(word));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plainly_is_a_scenario_is_taken_for_one() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let texts: [Vec<u8>; 12] = [
            b"format = 1\n".to_vec(),
            b"\"format\"=\"1\"\n[capture]\n".to_vec(),
            b"Format = 1\n[capture]\nfile = \"a\"\n".to_vec(),
            b"fromat = 1\n[capture]\nfile = \"a\"\n".to_vec(),
            b"[capture]\nfile = \"a\"\n[expect]\narrived = 1\n".to_vec(),
            b"capture.file = \"a\"\n".to_vec(),
            b"fromat = 1\n[captrue]\nfile = \"a\"\n".to_vec(),
            b"\xef\xbb\xbfformat = 1\n".to_vec(),
            b"# \xe9\nfromat = 1\n[capture]\n".to_vec(),
            b"summary = \"no end\nfromat = 1\n[[[\n[capture]\n".to_vec(),
            b"[rewrite]\n[expect]\narrived = 1\n".to_vec(),
            utf16("\u{feff}format = 1\r\n[capture]\r\n"),
        ];
        for text in texts {
            assert_eq!(Looks::of(&text), Looks::Scenario, "{}", String::from_utf8_lossy(&text));
        }
        assert_eq!(Looks::of(&utf16("fromat = 1\n[capture]\nfile = \"a\"\n")), Looks::Scenario);
    }

    #[test]
    fn what_may_be_another_programs_is_not() {
        assert_eq!(Looks::of(b"[capture]\nlimit = 3\n[logging]\nlevel = 1\n"), Looks::Doubtful);
        let texts = [
            "[package]\nformat = 1\n",
            "formatted = 1\n",
            "",
            "[target.x86]\nlinker = \"a\"\n",
            "text = '''\n[capture]\n'''\n",
        ];
        for text in texts {
            assert_eq!(Looks::of(text.as_bytes()), Looks::Other, "{text}");
        }
    }
}
