//! Which scenarios the paths of a command line mean, and their texts, each read once.
//!
//! A file is one scenario, whatever it is called, and `-` is standard input. A folder means every `*.toml` below it that has `format`, or
//! that plainly is a scenario without it, sorted; other TOML files (Cargo.toml, a linter's settings) are none of ours.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::{MOST_BYTES, is_standard_input, misspelt, read_bytes};
use crate::scenario::{Looks, ScenarioText};

/// A scenario that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// As it was given, or as it was found.
    pub(crate) path: PathBuf,
    /// Its text. What can't be read counts as an invalid scenario.
    pub(crate) text: Result<ScenarioText>,
}

/// What the paths mean.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// In the order of the paths, each once.
    pub(crate) found: Vec<Found>,
    /// Files of folders that may have been meant, and are not taken for scenarios.
    pub(crate) notes: Vec<Diagnostic>,
    seen: HashSet<PathBuf>,
    /// The real paths of the folders that have been looked at, so that symbolic links neither lead in circles nor to the same scenario
    /// twice.
    entered: HashSet<PathBuf>,
}

/// The scenarios of these paths.
///
/// # Errors
/// A folder in which there is none, and no paths: a run of nothing must not look like a success.
pub(crate) fn scenarios(paths: &[PathBuf]) -> Result<Collected> {
    let mut collected = Collected::default();
    for path in paths {
        match fs::metadata(path) {
            _ if path.as_os_str() == "-" => collected.add(path, ScenarioText::load),
            Ok(metadata) if metadata.is_dir() => collected.walk(path),
            Ok(_) => collected.add(path, ScenarioText::load),
            Err(error) => collected.unusable(path, "can't find", &error),
        }
    }
    if collected.found.is_empty() {
        let named: Vec<_> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
        let problem = Diagnostic::error(format!("no scenario in {}", named.join(" and ")))
            .why("a folder means every `*.toml` file below it that has the key `format`")
            .fix("name a scenario file, or a folder that holds one");
        let mut failure = Failure::invalid(problem);
        failure.problems.extend(collected.notes);
        return Err(failure);
    }
    Ok(collected)
}

/// The same file, written in two ways, is one scenario.
fn identity(path: &Path) -> PathBuf {
    if is_standard_input(path) {
        return PathBuf::from("-");
    }
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

impl Collected {
    /// Adds a scenario that was not found before.
    fn add(&mut self, path: &Path, load: impl FnOnce(&Path) -> Result<ScenarioText>) {
        if !self.seen.insert(identity(path)) {
            return;
        }
        let text = if path.to_str().is_some() {
            load(path)
        } else {
            let problem = Diagnostic::error(format!("the path `{}` is not UTF-8", path.display()))
                .why("reports are UTF-8 text, and name it")
                .fix("rename it");
            Err(Failure::invalid(problem))
        };
        self.found.push(Found { path: path.to_path_buf(), text });
    }

    fn unusable(&mut self, path: &Path, what: &str, error: &io::Error) {
        let problem = Diagnostic::error(format!("{what} `{}`", path.display())).why(error.to_string());
        let problem = match error.kind() {
            io::ErrorKind::NotFound => problem.fix(misspelt(path)),
            _ => problem,
        };
        self.found.push(Found { path: path.to_path_buf(), text: Err(Failure::invalid(problem)) });
    }

    fn passed_over(&mut self, path: &Path, why: &str, fix: &str) {
        self.notes.push(Diagnostic::warning(format!("`{}` is not run", path.display())).why(why).fix(fix));
    }

    /// Everything below a folder, sorted by path.
    fn walk(&mut self, folder: &Path) {
        match self.entries(folder) {
            Ok(paths) => paths.iter().for_each(|path| self.look_at(path)),
            Err(error) => self.unusable(folder, "can't read the folder", &error),
        }
    }

    /// What is in a folder, sorted; nothing where it has been looked at before.
    fn entries(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        if !self.entered.insert(fs::canonicalize(folder)?) {
            return Ok(Vec::new());
        }
        let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn look_at(&mut self, path: &Path) {
        let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.walk(path),
            Ok(metadata) if is_toml && metadata.len() > MOST_BYTES => {
                self.passed_over(path, "it is too long for a scenario", "name it itself if it is one");
            }
            Ok(metadata) if is_toml && metadata.is_file() => self.look_into(path),
            Ok(_) if is_toml => self.passed_over(path, "it is no regular file", "name it itself if it is a scenario"),
            Err(error) if is_toml => self.unusable(path, "can't read", &error),
            // Something that is no scenario by its name, be it there or a dangling link.
            Ok(_) | Err(_) => {}
        }
    }

    fn look_into(&mut self, path: &Path) {
        let bytes = match read_bytes(path) {
            Ok(bytes) => bytes,
            Err(failure) => return self.add(path, |_| Err(failure)),
        };
        match Looks::of(&bytes) {
            Looks::Scenario => self.add(path, |path| ScenarioText::of_bytes(path, bytes)),
            Looks::Doubtful => self.passed_over(
                path,
                "it has `[capture]`, but not `format`, and tables that no scenario has",
                "if it is a scenario, write `format = 1` on its first line",
            ),
            Looks::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for one test, deleted with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("restage-collect-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self, name: &str, text: &str) -> &Self {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        /// What is found, relative to the folder; `!` in front of what can't be used.
        fn found(&self) -> Vec<String> {
            let relative = |path: &Path| path.strip_prefix(&self.0).unwrap().display().to_string();
            let collected = scenarios(std::slice::from_ref(&self.0)).unwrap();
            let names = collected.found.iter().map(|found| match &found.text {
                Ok(text) if text.path() == found.path => relative(&found.path),
                Ok(text) => panic!("{} is not {}", text.path().display(), found.path.display()),
                Err(_) => format!("!{}", relative(&found.path)),
            });
            names.collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _may_be_gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_means_its_toml_files_that_have_format_sorted() {
        let folder = Folder::new("sorted");
        folder
            .file("b.toml", "format = 1\n")
            .file("a/z.toml", "# a comment\n\"format\"=1\n")
            .file("a.toml", " format = 1");
        folder
            .file("Cargo.toml", "[package]\nformat = 1\n")
            .file("notes.txt", "format = 1\n")
            .file("x.toml", "formatted = 1\n");
        assert_eq!(folder.found(), ["a/z.toml", "a.toml", "b.toml"]);
    }

    #[test]
    fn a_scenario_with_broken_toml_is_still_found() {
        let folder = Folder::new("broken");
        folder.file("broken.toml", "summary = \"no end\nformat = 1\n[[[\n");
        assert_eq!(folder.found(), ["broken.toml"]);
    }

    #[test]
    fn what_plainly_is_a_scenario_is_found_and_what_may_be_one_is_named() {
        let folder = Folder::new("plain");
        folder.file("a.toml", "fromat = 1\n[capture]\nfile = \"a\"\n").file("B.TOML", "format = 1\n");
        folder.file("c.toml", "[capture]\nlimit = 3\n[logging]\n").file("d.txt", "[capture]\n");
        let utf16: Vec<u8> = "\u{feff}format = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(folder.0.join("e.toml"), utf16).unwrap();
        std::os::unix::fs::symlink("f.toml", folder.0.join("f.toml")).unwrap();
        assert_eq!(folder.found(), ["B.TOML", "a.toml", "!e.toml", "!f.toml"]);
        let notes = scenarios(std::slice::from_ref(&folder.0)).unwrap().notes;
        assert_eq!(notes.len(), 1);
        assert!(notes[0].what.ends_with("c.toml` is not run"));
    }

    #[test]
    fn a_link_to_a_scenario_beside_it_is_the_same_scenario() {
        let folder = Folder::new("beside");
        folder.file("b.toml", "format = 1\n");
        std::os::unix::fs::symlink("b.toml", folder.0.join("a.toml")).unwrap();
        assert_eq!(folder.found(), ["a.toml"]);
    }

    #[test]
    fn a_link_back_to_a_folder_above_ends() {
        let folder = Folder::new("loop");
        folder.file("a/one.toml", "format = 1\n");
        std::os::unix::fs::symlink(&folder.0, folder.0.join("a/back")).unwrap();
        assert_eq!(folder.found(), ["a/one.toml"]);
    }

    #[test]
    fn a_link_to_a_folder_elsewhere_is_followed() {
        let folder = Folder::new("link");
        let elsewhere = Folder::new("elsewhere");
        elsewhere.file("one.toml", "format = 1\n");
        std::os::unix::fs::symlink(&elsewhere.0, folder.0.join("linked")).unwrap();
        assert_eq!(folder.found(), ["linked/one.toml"]);
    }

    #[test]
    fn a_dangling_scenario_is_reported() {
        let folder = Folder::new("dangling");
        std::os::unix::fs::symlink("nowhere", folder.0.join("gone.toml")).unwrap();
        assert_eq!(folder.found(), ["!gone.toml"]);
    }

    #[test]
    fn the_same_file_twice_is_one_scenario() {
        let folder = Folder::new("twice");
        folder.file("one.toml", "format = 1\n");
        let paths = [folder.0.clone(), folder.0.join("one.toml"), folder.0.join("./one.toml")];
        assert_eq!(scenarios(&paths).unwrap().found.len(), 1);
    }

    #[test]
    fn a_path_that_is_not_there_is_an_invalid_scenario() {
        let found = scenarios(&[PathBuf::from("no-such.toml")]).unwrap();
        let [Found { path, text: Err(failure) }] = found.found.as_slice() else { panic!("{found:?}") };
        assert_eq!(path, Path::new("no-such.toml"));
        assert_eq!(failure.problems[0].what, "can't find `no-such.toml`");
    }

    #[test]
    fn a_path_that_no_report_could_name_is_invalid() {
        let folder = Folder::new("utf8");
        let name = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff.toml");
        fs::write(folder.0.join::<&std::ffi::OsStr>(name), "format = 1\n").unwrap();
        assert_eq!(folder.found(), ["!\u{fffd}.toml"]);
    }

    #[test]
    fn a_folder_without_a_scenario_is_an_error() {
        let folder = Folder::new("empty");
        folder.file("Cargo.toml", "[package]\n");
        let failure = scenarios(std::slice::from_ref(&folder.0)).unwrap_err();
        assert_eq!(failure.kind, crate::diagnostic::Kind::Invalid);
    }
}
