//! Which scenarios did not pass when they were last run, for `--rerun failed`.
//!
//! They are kept in the user's cache, so that a checkout need not be writable: `$XDG_CACHE_HOME/restage/failed`, or else
//! `~/.cache/restage/failed`, has a file for each folder with such scenarios, named by a hash of the folder's path. Start at [`LastRun::of_user`].

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::Replacement;
use crate::outcome::{Outcome, Verdict};

/// Where the results of the last runs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastRun {
    cache: PathBuf,
}

/// What is kept of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Folder {
    /// Its absolute path, for who looks into the file.
    folder: String,
    /// The scenario files in it that did not pass, with the names of those of their scenarios that did not: a file with a matrix has several.
    failed: BTreeMap<String, BTreeSet<String>>,
}

impl LastRun {
    /// In the cache of the user who runs this; `None` where there is none.
    pub(super) fn of_user() -> Option<Self> {
        Self::below(env::var_os("XDG_CACHE_HOME").as_deref(), env::var_os("HOME").as_deref())
    }

    /// Root leaves the cache of another user alone, whose environment it may have: the user could not change the files.
    fn below(cache: Option<&OsStr>, home: Option<&OsStr>) -> Option<Self> {
        // A relative path is to be ignored (XDG Base Directory Specification).
        let absolute = |path: Option<&OsStr>| path.map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute(cache).or_else(|| Some(absolute(home)?.join(".cache")))?;
        let owner = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.uid());
        let is_of_another = owner(Path::new("/proc/self"))? == 0 && cache.ancestors().find_map(owner)? != 0;
        (!is_of_another).then(|| Self { cache: cache.join("restage").join("failed") })
    }

    /// The failure of a user who has no such place.
    pub(super) fn missing() -> Failure {
        Failure::invalid(
            Diagnostic::error("the results of the last run are not kept")
                .why("neither `XDG_CACHE_HOME` nor `HOME` names a folder of this user")
                .fix("set `XDG_CACHE_HOME` to a folder that this user can write to, and run the scenarios once"),
        )
    }

    /// Of scenarios, each with its file and its name: whether it did not pass when it was last to be run.
    pub(super) fn failed<'a>(&self, scenarios: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Vec<bool> {
        let mut folders: BTreeMap<PathBuf, Folder> = BTreeMap::new();
        let has_failed = |(path, name): (&Path, &str)| {
            let Some((folder, file)) = place(path) else { return false };
            let known = folders.entry(folder.clone()).or_insert_with(|| self.read(&folder));
            // A file that could not be read had only its own name.
            known.failed.get(&file).is_some_and(|names| names.contains(name) || names.contains(stem(&file)))
        };
        scenarios.into_iter().map(has_failed).collect()
    }

    /// Keeps the results of a run. What it did not run keeps its last result, but for what was to be run and was not: that is left to do.
    ///
    /// # Errors
    /// When a file of the cache can't be written.
    pub(super) fn keep(&self, outcomes: &[Outcome]) -> Result<()> {
        let mut folders: BTreeMap<PathBuf, Vec<(String, &Outcome)>> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Skipped) {
            if let Some((folder, file)) = place(Path::new(&outcome.file)) {
                folders.entry(folder).or_default().push((file, outcome));
            }
        }
        folders.iter().try_for_each(|(folder, results)| self.keep_folder(folder, results))
    }

    fn keep_folder(&self, folder: &Path, results: &[(String, &Outcome)]) -> Result<()> {
        let before = self.read(folder);
        let mut failed = before.failed.clone();
        for (file, outcome) in results {
            let names = failed.entry(file.clone()).or_default();
            if outcome.name != stem(file) {
                names.remove(stem(file));
            }
            if outcome.verdict == Verdict::Pass {
                names.remove(&outcome.name)
            } else {
                names.insert(outcome.name.clone())
            };
        }
        failed.retain(|_, names| !names.is_empty());
        if failed == before.failed {
            return Ok(());
        }
        let file = self.file(folder);
        let cant = |error: &io::Error| Failure::system(format!("can't write `{}`", file.display()), error);
        if failed.is_empty() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(cant(&error)),
                _ => Ok(()),
            };
        }
        fs::create_dir_all(&self.cache).map_err(|error| cant(&error))?;
        let text = serde_json::to_string(&Folder { folder: folder.display().to_string(), failed })
            .map_err(|error| cant(&error.into()))?;
        Replacement::write(&file, &text)
    }

    /// What is kept of a folder; nothing where the file is absent or damaged.
    fn read(&self, folder: &Path) -> Folder {
        fs::read(self.file(folder)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn file(&self, folder: &Path) -> PathBuf {
        let hash = XxHash3_128::oneshot(folder.as_os_str().as_bytes());
        self.cache.join(format!("{hash:032x}.json"))
    }
}

/// The folder and the name of a file, whatever path it was given by; `None` for what is no file.
fn place(file: &Path) -> Option<(PathBuf, String)> {
    let real = fs::canonicalize(file).ok().filter(|real| real.is_file())?;
    Some((real.parent()?.to_path_buf(), real.file_name()?.to_string_lossy().into_owned()))
}

fn stem(file: &str) -> &str {
    Path::new(file).file_stem().and_then(OsStr::to_str).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict::{Error, Fail, Invalid, NotRun, Pass, Skipped};

    /// A folder with these files, and a cache beside them.
    fn folder(name: &str, files: &[&str]) -> (PathBuf, LastRun) {
        let folder = env::temp_dir().join(format!("restage-last-run-{name}-{}", std::process::id()));
        for file in files {
            let file = folder.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let last_run = LastRun::below(Some(folder.join("cache").as_os_str()), None).unwrap();
        (folder, last_run)
    }

    fn outcomes(folder: &Path, verdicts: &[(&str, Verdict)]) -> Vec<Outcome> {
        verdicts.iter().map(|(name, verdict)| Outcome::blank(stem(name), &folder.join(name), *verdict)).collect()
    }

    #[test]
    fn what_did_not_pass_is_kept_until_it_passes() {
        let (folder, last_run) = folder("kept", &["a.toml", "b.toml", "c.toml", "d/e.toml"]);
        let files =
            ["a.toml", "b.toml", "c.toml", "d/e.toml", "d/../a.toml", "gone.toml"].map(|file| folder.join(file));
        let failed = || {
            let failed = last_run.failed(files.iter().map(|file| (file.as_path(), stem(file.to_str().unwrap()))));
            let files = files.iter().zip(failed).filter(|(_, failed)| *failed);
            files.map(|(file, _)| file.strip_prefix(&folder).unwrap().display().to_string()).collect::<Vec<_>>()
        };
        assert!(failed().is_empty());
        let keep = |verdicts: &[(&str, Verdict)]| last_run.keep(&outcomes(&folder, verdicts)).unwrap();
        keep(&[("a.toml", Pass), ("b.toml", Fail), ("c.toml", NotRun), ("d/e.toml", Invalid), ("gone.toml", Fail)]);
        assert_eq!(failed(), ["b.toml", "c.toml", "d/e.toml"]);
        keep(&[("c.toml", Pass), ("b.toml", Skipped)]);
        assert_eq!(failed(), ["b.toml", "d/e.toml"]);
        keep(&[("a.toml", Error)]);
        assert_eq!(failed(), ["a.toml", "b.toml", "d/e.toml", "d/../a.toml"]);
        keep(&[("a.toml", Pass), ("b.toml", Pass), ("d/e.toml", Pass)]);
        assert!(failed().is_empty());
        assert_eq!(fs::read_dir(&last_run.cache).unwrap().count(), 0, "nothing is left of what has passed");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn each_case_of_a_matrix_has_its_own_result() {
        let (folder, last_run) = folder("matrix", &["a.toml"]);
        let file = folder.join("a.toml");
        let failed = || last_run.failed(["a[1]", "a[2]"].map(|name| (file.as_path(), name)));
        let keep = |cases: &[(&str, Verdict)]| {
            let outcomes: Vec<_> = cases.iter().map(|(name, verdict)| Outcome::blank(name, &file, *verdict)).collect();
            last_run.keep(&outcomes).unwrap();
        };
        keep(&[("a", Invalid)]);
        assert_eq!(failed(), [true, true]);
        keep(&[("a[1]", Pass), ("a[2]", Fail)]);
        assert_eq!(failed(), [false, true]);
        keep(&[("a[2]", Pass)]);
        assert_eq!(failed(), [false, false]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let (folder, last_run) = folder("damaged", &["a.toml"]);
        last_run.keep(&outcomes(&folder, &[("a.toml", Verdict::Fail)])).unwrap();
        fs::write(last_run.file(&fs::canonicalize(&folder).unwrap()), "{").unwrap();
        assert_eq!(last_run.failed([(folder.join("a.toml").as_path(), "a")]), [false]);
        last_run.keep(&outcomes(&folder, &[("a.toml", Verdict::Fail)])).unwrap();
        assert_eq!(last_run.failed([(folder.join("a.toml").as_path(), "a")]), [true]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let below =
            |cache: Option<&str>, home: Option<&str>| LastRun::below(cache.map(OsStr::new), home.map(OsStr::new));
        let at = |path: &str| Some(LastRun { cache: PathBuf::from(path).join("restage/failed") });
        let (folder, _) = folder("environment", &["here"]);
        let path = folder.to_str().unwrap();
        assert_eq!(below(Some(path), Some("/nowhere")), at(path));
        assert_eq!(below(None, Some(path)), at(&format!("{path}/.cache")));
        assert_eq!(below(Some("relative"), Some(path)), at(&format!("{path}/.cache")));
        assert_eq!(below(Some(&format!("{path}/new")), None), at(&format!("{path}/new")));
        assert_eq!(below(None, None), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
