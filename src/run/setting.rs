//! What the programs of the receiver find: variables, a folder to start in, files, folders of their own, an account, limits and a clock.
//! Start at [`Site::prepare`].

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::application::{Prepared, Site};
use crate::diagnostic::{At, Failure, Result};
use crate::host::program;
use crate::process::order::{Account, Rights};
use crate::process::surroundings::{Private, Surroundings};
use crate::process::work::is_root;
use crate::scenario::receiver::{Clock, File, FileContent, Program, VariableValue, render};

/// Folders that every application has for itself.
const ALWAYS_PRIVATE: [&str; 2] = ["/tmp", "/dev/shm"];
/// The most bytes that a file of `[receiver.files]` is read from.
const LONGEST_FILE: u64 = 64 << 20;
/// Files are readable for whatever user the application becomes.
const FILE_MODE: u32 = 0o644;

/// What a program of the receiver finds, beside the surroundings of all.
pub(super) struct Setting {
    pub(super) environment: Vec<(String, String)>,
    /// Where it starts.
    pub(super) folder: PathBuf,
    pub(super) rights: Rights,
    /// How many bytes of an output are kept.
    pub(super) most_output: u64,
}

impl Site<'_> {
    /// What a program finds that runs beside no application.
    pub(super) fn plain_setting(&self) -> Setting {
        Setting {
            environment: Vec::new(),
            folder: self.folder.work().to_owned(),
            rights: Rights::default(),
            most_output: self.scenario.receiver.program.limits.output.value.bytes,
        }
    }

    /// Finds the programs of the receiver, in the order in which they are started, and makes what they will find. `first_ns`: the time of the
    /// capture's first frame.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where a program, a secret, a folder, an account or a file is not there.
    pub(super) fn prepare(&self, first_ns: Option<u64>) -> Result<(Vec<Prepared<'_>>, Surroundings)> {
        let mut surroundings = self.folder.surroundings().clone();
        let mut all = Vec::new();
        // The application's account gets `{work}`, with what is in it by then.
        for words in self.scenario.receiver.programs().rev() {
            let Some(command) = &words.command else { continue };
            let found = Rc::new(self.find(command)?);
            let setting = Rc::new(self.setting(words, first_ns, &mut surroundings)?);
            all.push(Prepared { words, found, setting });
        }
        all.reverse();
        self.make_private(&all, &mut surroundings)?;
        Ok((all, surroundings))
    }

    fn setting(&self, words: &Program, first_ns: Option<u64>, surroundings: &mut Surroundings) -> Result<Setting> {
        let mut setting = self.plain_setting();
        setting.most_output = words.limits.output.value.bytes;
        setting.environment = self.environment(words)?;
        if words.clock.value == Clock::Captured {
            // What the scenario writes itself comes last and holds; LD_PRELOAD has both already.
            let written = std::mem::replace(&mut setting.environment, self.clock(words, first_ns)?);
            setting.environment.extend(written.into_iter().filter(|(name, _)| name != "LD_PRELOAD"));
        }
        let mut made = Vec::new();
        for file in &words.files {
            made.push(self.write(file, surroundings)?);
        }
        setting.folder = self.start_folder(words)?;
        setting.rights = Rights {
            account: self.account(words)?,
            capabilities: words.capabilities.iter().map(|capability| capability.value.number).collect(),
            memory: words.limits.memory.as_ref().map(|size| size.value.bytes),
            files: words.limits.files.as_ref().map(|files| files.value),
        };
        match &setting.rights.account {
            Some(account) if words.name.is_none() => self.folder.give_to(account)?,
            Some(account) => {
                made.push(setting.folder.clone());
                self.folder.give_paths_to(&made, account)?;
            }
            None => {}
        }
        Ok(setting)
    }

    fn environment(&self, words: &Program) -> Result<Vec<(String, String)>> {
        let value = |value: &At<VariableValue>| match &value.value {
            VariableValue::Text(text) => Ok(self.fill(text)),
            VariableValue::FromEnv(name) => secret(name).map_err(|why| {
                let what = format!("the environment of restage has no variable `{name}`");
                let problem = self.problem(what, value.span.as_ref()).why(why);
                Failure::blocked(problem.fix(format!("set it before restage starts: `{name}=… restage run …`")))
            }),
        };
        words.env.iter().map(|variable| Ok((variable.name.clone(), value(&variable.value)?))).collect()
    }

    fn start_folder(&self, words: &Program) -> Result<PathBuf> {
        let Some(cwd) = &words.cwd else { return Ok(self.folder.work().to_owned()) };
        let folder = PathBuf::from(self.fill(&cwd.value));
        if folder.starts_with(self.folder.work()) {
            fs::create_dir_all(&folder)
                .map_err(|error| Failure::system(format!("can't make `{}`", folder.display()), &error))?;
        } else if !folder.is_dir() {
            let what = format!("there is no folder `{}`", folder.display());
            let why = format!("{} starts in it, and this user sees no such folder", words.who());
            let fix = "make it, or remove `cwd`: it starts in {work} then";
            return Err(Failure::blocked(self.problem(what, cwd.span.as_ref()).why(why).fix(fix)));
        }
        Ok(folder)
    }

    /// Variables by which libfaketime shifts the wall clock. An offset holds for every process that the application starts, whenever that is.
    fn clock(&self, words: &Program, first_ns: Option<u64>) -> Result<Vec<(String, String)>> {
        let problem = |what: &str| self.problem(what.to_owned(), words.clock.span.as_ref());
        let Some(library) = program::faketime() else {
            let fix = "install it: the package is called libfaketime or faketime";
            return Err(Failure::blocked(
                problem("there is no libfaketime here").why("`clock = \"captured\"` needs it").fix(fix),
            ));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let first = u128::from(first_ns.unwrap_or_default());
        let (sign, offset) = if first < now { ("-", now - first) } else { ("+", first - now) };
        let offset = format!("{sign}{}.{:06}", offset / 1_000_000_000, offset % 1_000_000_000 / 1_000);
        let mut preload = library.display().to_string();
        if let Some((_, others)) = self.environment(words)?.into_iter().find(|(name, _)| name == "LD_PRELOAD") {
            preload = format!("{preload}:{others}");
        }
        let variables = [
            ("LD_PRELOAD", preload.as_str()),
            ("FAKETIME", &offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }

    /// The account that a program runs as, where that is another one.
    fn account(&self, words: &Program) -> Result<Option<Account>> {
        let Some(user) = &words.user else { return Ok(None) };
        let Some(account) = Account::named(&user.value) else {
            let what = format!("there is no account `{}` here", user.value);
            let problem = self.problem(what, user.span.as_ref()).why(format!("{} runs as it", words.who()));
            return Err(Failure::blocked(problem.fix("install the package that makes it, or name another account")));
        };
        // An ordinary user can't become another one, and a note says so.
        Ok(Some(account).filter(|account| is_root() && !account.is_current()))
    }

    /// Writes one of the files: into `{work}`, or beside it where the programs see it in `/etc`; where it is.
    fn write(&self, file: &File, surroundings: &mut Surroundings) -> Result<PathBuf> {
        let name = &file.name.value;
        let path = if name.is_absolute() {
            let ours = self.folder.beside(&format!("etc-{}", surroundings.files.len()));
            surroundings.files.push((ours.clone(), name.clone()));
            ours
        } else {
            self.folder.work().join(name)
        };
        let (content, mode) = self.content(file)?;
        let write = || -> std::io::Result<()> {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            file.write_all(&content)?;
            // Whatever the umask is.
            file.set_permissions(fs::Permissions::from_mode(mode))
        };
        write().map_err(|error| {
            let what = format!("can't write the file `{}` of the receiver", name.display());
            let fix = "give it another name: a name is that of one file, or of the folder of others";
            Failure::blocked(self.problem(what, file.name.span.as_ref()).why(error.to_string()).fix(fix))
        })?;
        Ok(path)
    }

    /// What is in a file, and its mode.
    fn content(&self, file: &File) -> Result<(Vec<u8>, u32)> {
        let span = file.content.span.as_ref();
        let (from, replace) = match &file.content.value {
            FileContent::Text(text) => return Ok((self.fill(text).into_bytes(), FILE_MODE)),
            FileContent::From { file, replace } => (file, replace),
        };
        let (bytes, mode) = read(from).map_err(|why| {
            let problem = self.problem(format!("can't read a file of the receiver `{}`", from.display()), span);
            let fix = "check the name, which is relative to the scenario's folder, and the file's permissions";
            Failure::invalid(problem.why(why).fix(fix))
        })?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(binary) if replace.is_empty() => return Ok((binary.into_bytes(), mode)),
            Err(_) => {
                let problem = self.problem(format!("`{}` is not UTF-8", from.display()), span);
                let fix = "remove `replace`: the file is copied as it is then; or convert it";
                return Err(Failure::invalid(problem.why("`replace` searches texts").fix(fix)));
            }
        };
        let rendered = render(&text, replace, |text| self.fill(text)).map_err(|unused| {
            let what = format!("`{}` is not in `{}`", unused.old.value, from.display());
            let why = "an entry of `replace` that matches nothing would leave the file as it is";
            let problem = self.problem(what, unused.old.span.as_ref()).why(why);
            Failure::invalid(problem.fix("compare it with the file, or remove the entry"))
        })?;
        Ok((rendered.into_bytes(), mode))
    }

    /// The folders that the programs have for themselves, and what they see in them of the machine: `{work}`, the scenario's folder, and what
    /// their commands name.
    fn make_private(&self, all: &[Prepared<'_>], surroundings: &mut Surroundings) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let scenario = &self.scenario.folder;
        let mut privates = Vec::new();
        for folder in &self.scenario.receiver.private {
            if real(&folder.value) == *scenario {
                let what = format!("`{}` can't be private: the scenario lies in it", folder.value.display());
                let why = "the application sees the scenario's folder, and nothing else of a private one";
                let fix = "move the scenario into a folder of its own below it";
                return Err(Failure::blocked(self.problem(what, folder.span.as_ref()).why(why).fix(fix)));
            }
            privates.push(Private { folder: folder.value.clone(), required: true });
        }
        let always = ALWAYS_PRIVATE.map(PathBuf::from).into_iter().filter(|folder| real(folder) != *scenario);
        privates.extend(always.map(|folder| Private { folder, required: false }));
        let mut visible = vec![self.folder.base().to_owned(), scenario.clone()];
        visible.extend(all.iter().map(|prepared| prepared.setting.folder.clone()));
        let folders: Vec<PathBuf> = privates.iter().map(|private| real(&private.folder)).collect();
        for named in self.named_paths(all) {
            for path in [real(&named), named] {
                // The first folder below a private one: a program finds its libraries, a configuration what it includes.
                let tops = folders.iter().filter_map(|folder| {
                    let first = path.strip_prefix(folder).ok()?.components().next()?;
                    Some(folder.join(first))
                });
                let is_new = |top: &PathBuf| !self.folder.base().starts_with(top);
                visible.extend(tops.filter(is_new));
            }
        }
        surroundings.private = privates;
        surroundings.visible = visible;
        Ok(())
    }

    /// The files and folders that the commands and variables name.
    fn named_paths(&self, all: &[Prepared<'_>]) -> Vec<PathBuf> {
        const BETWEEN: &[char] =
            &[' ', '\t', '\n', '\'', '"', '=', ':', ';', ',', '|', '&', '<', '>', '(', ')', '`', '@'];
        let words = self.scenario.commands().flat_map(|command| &command.value).map(|word| self.fill(word));
        let values = all.iter().flat_map(|prepared| &prepared.setting.environment).map(|(_, value)| value.clone());
        let texts: Vec<String> = words.chain(values).collect();
        let parts = texts.iter().flat_map(|text| text.split(BETWEEN).chain([text.as_str()]));
        let paths = parts.filter(|part| part.starts_with('/')).map(PathBuf::from).filter(|path| path.exists());
        paths.chain(all.iter().map(|prepared| prepared.found.program().to_owned())).collect()
    }
}

/// A variable of restage's own environment; why there is none otherwise.
fn secret(name: &str) -> std::result::Result<String, &'static str> {
    match std::env::var(name) {
        Ok(value) => Ok(value),
        Err(std::env::VarError::NotPresent) => Err("the application gets its value, which is a secret and in no file"),
        Err(std::env::VarError::NotUnicode(_)) => Err("its value is not UTF-8"),
    }
}

/// Reads a file, and gives the mode of what is made of it: one that may be executed stays so.
fn read(path: &Path) -> std::result::Result<(Vec<u8>, u32), String> {
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if found.len() > LONGEST_FILE {
        return Err("it is longer than 64 MiB".to_owned());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok((bytes, FILE_MODE | found.permissions().mode() & 0o111))
}
