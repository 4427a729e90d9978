//! Which scenarios the paths of a command line mean.
//!
//! A file is one scenario, whatever it is called. A folder means every `*.toml` below it that has `format`, sorted; other
//! TOML files (Cargo.toml, a linter's settings) are none of ours.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Failure, Problem};

/// What a path turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A scenario, to be read.
    Scenario(PathBuf),
    /// Something that can't be read; it counts as an invalid scenario.
    Unusable(PathBuf, Failure),
}

/// The scenarios, in the order of the paths, each once.
///
/// # Errors
/// A folder in which there is none, and no paths: a run of nothing must not look like a success.
pub(crate) fn scenarios(paths: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => below(path, &mut found),
            Ok(_) => found.push(Found::Scenario(path.clone())),
            Err(error) => found.push(unusable(path, "can't find", &error)),
        }
    }
    for found in &mut found {
        if let Found::Scenario(path) = found
            && path.to_str().is_none()
        {
            let problem = Problem::error(format!("the path `{}` is not UTF-8", path.display()))
                .why("reports are UTF-8 text, and name it")
                .fix("rename it");
            *found = Found::Unusable(path.clone(), Failure::invalid(problem));
        }
    }
    let mut seen = HashSet::new();
    found.retain(|found| match found {
        Found::Scenario(path) => seen.insert(identity(path)),
        Found::Unusable(..) => true,
    });
    if found.is_empty() {
        let named: Vec<_> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
        let problem = Problem::error(format!("no scenario in {}", named.join(" and ")))
            .why("a folder means every `*.toml` file below it that has the key `format`")
            .fix("name a scenario file, or a folder that holds one");
        return Err(Failure::invalid(problem));
    }
    Ok(found)
}

/// The same file, written in two ways, is one scenario. Its folder counts, not where a symbolic link leads: paths in a
/// scenario are relative to where it was found.
fn identity(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_path_buf(),
    }
}

/// Everything below a folder, sorted by path.
fn below(folder: &Path, found: &mut Vec<Found>) {
    let mut here = Vec::new();
    walk(folder, &mut HashSet::new(), &mut here);
    here.sort_by(|one, other| path_of(one).cmp(path_of(other)));
    found.append(&mut here);
}

fn path_of(found: &Found) -> &Path {
    match found {
        Found::Scenario(path) | Found::Unusable(path, _) => path,
    }
}

/// `entered`: the real paths of the folders that have been looked at, so that symbolic links neither lead in circles nor
/// to the same scenario twice. Entries are taken by name, so that it doesn't depend on the file system which link counts.
fn walk(folder: &Path, entered: &mut HashSet<PathBuf>, found: &mut Vec<Found>) {
    match entries(folder, entered) {
        Ok(paths) => paths.iter().for_each(|path| look_at(path, entered, found)),
        Err(error) => found.push(unusable(folder, "can't read the folder", &error)),
    }
}

/// What is in a folder, sorted; nothing where it has been looked at before.
fn entries(folder: &Path, entered: &mut HashSet<PathBuf>) -> io::Result<Vec<PathBuf>> {
    if !entered.insert(fs::canonicalize(folder)?) {
        return Ok(Vec::new());
    }
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn look_at(path: &Path, entered: &mut HashSet<PathBuf>, found: &mut Vec<Found>) {
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => walk(path, entered, found),
        Ok(metadata) if toml && metadata.is_file() => match has_format(path) {
            Ok(true) => found.push(Found::Scenario(path.to_path_buf())),
            Ok(false) => {}
            Err(error) => found.push(unusable(path, "can't read", &error)),
        },
        Err(error) if toml => found.push(unusable(path, "can't read", &error)),
        // Something that is no scenario by its name or its kind, be it there or a dangling link.
        Ok(_) | Err(_) => {}
    }
}

/// Whether `format` stands before the first table. Looked for line by line, so that a scenario with a mistake in its TOML
/// is still found, and reported.
fn has_format(path: &Path) -> io::Result<bool> {
    for line in BufReader::new(fs::File::open(path)?).split(b'\n') {
        let line = line?;
        let line = line.trim_ascii_start();
        if line.starts_with(b"[") {
            return Ok(false);
        }
        let key = [&b"format"[..], b"\"format\"", b"'format'"].into_iter().find_map(|key| line.strip_prefix(key));
        if key.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"=")) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Found {
    let problem = Problem::error(format!("{what} `{}`", path.display())).why(error.to_string());
    Found::Unusable(path.to_path_buf(), Failure::invalid(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for each test, gone with it.
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
            let found = scenarios(std::slice::from_ref(&self.0)).unwrap();
            let names = found.iter().map(|found| match found {
                Found::Scenario(path) => relative(path),
                Found::Unusable(path, _) => format!("!{}", relative(path)),
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
        assert_eq!(scenarios(&paths).unwrap().len(), 1);
    }

    #[test]
    fn a_path_that_is_not_there_is_an_invalid_scenario() {
        let found = scenarios(&[PathBuf::from("no-such.toml")]).unwrap();
        let [Found::Unusable(path, failure)] = found.as_slice() else { panic!("{found:?}") };
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
