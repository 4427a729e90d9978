//! The folder of one run: `{work}` for the application, and beside it, never in it, what restage keeps itself.
//!
//! `<tmp>/restage-<uid>/<scenario>-<pid>-<n>/` holds `work/`, `stdout`, `stderr` and `lock`. The lock is held by the process
//! that made the folder, so that a folder whose lock is free is not in use, and [`sweep`] removes it.
//!
//! `restage-<uid>` is closed to other users, so no one else can look at or change what an application writes. An application that root
//! starts and that gives up root sees the same folder below parents that it may pass, and may write to it: [`WorkFolder::surroundings`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown as chown};
use std::path::{Path, PathBuf};

use super::leftover::{Leftover, Registered};
use super::order::Account;
use super::surroundings::{Reach, Surroundings, without_name_servers};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::namespace::user_id;

/// How many bytes of a scenario's name are in its folder's name.
const MOST_NAME_BYTES: usize = 64;

/// Marks the folder of a run as one that stays.
const KEPT: &str = "kept";

/// The folder of one run. Dropping it removes it.
#[derive(Debug)]
pub struct WorkFolder {
    folder: PathBuf,
    work: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    surroundings: Surroundings,
    /// Held for as long as the folder is in use.
    _lock: File,
    /// Whether it is not to be removed, or no more.
    removed: bool,
    registered: Option<Registered>,
}

impl WorkFolder {
    /// Makes the folder of a run of the scenario `name`.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when the folder above all runs belongs to another user.
    pub fn create(name: &str) -> Result<Self> {
        let base = base_folder();
        let _creating = lock_base(&base)?;
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        let name = name.get(..MOST_NAME_BYTES).unwrap_or(&name).trim_start_matches('.');
        let mut number = 0;
        let folder = loop {
            let folder = base.join(format!("{name}-{}-{number}", std::process::id()));
            match private_folder(&folder) {
                Ok(()) => break folder,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(cant("make", &folder, &error)),
            }
        };
        let registered = Registered::new(Leftover::Folder(folder.clone()));
        let lock = open_lock(&folder.join("lock"))
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(|error| cant("lock", &folder, &error))?;
        let work = folder.join("work");
        fs::create_dir(&work).map_err(|error| cant("make", &work, &error))?;
        let mut surroundings = Surroundings::default();
        for (index, (path, text)) in without_name_servers().into_iter().enumerate() {
            let ours = folder.join(format!("instead-{index}"));
            open_to_all(&ours, 0o644, |ours| fs::write(ours, text)).map_err(|error| cant("write", &ours, &error))?;
            surroundings.instead.push((ours, path.to_owned()));
        }
        if is_root() {
            open_to_all(&work, 0o777, |_| Ok(())).map_err(|error| cant("open", &work, &error))?;
            surroundings.reach = Some(Reach { closed: base, below: vec![folder.clone(), work.clone()] });
        }
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        Ok(Self {
            folder,
            work,
            stdout,
            stderr,
            surroundings,
            _lock: lock,
            removed: false,
            registered: Some(registered),
        })
    }

    /// `{work}`: empty at first, the application's alone.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// What a program that is started in `{work}` finds around it. As root, every user of its own can reach and write `{work}`, under the
    /// same path; for all other processes of the machine it stays closed.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    pub fn stdout(&self) -> &Path {
        &self.stdout
    }

    pub fn stderr(&self) -> &Path {
        &self.stderr
    }

    /// The folder above all runs of this user.
    pub fn base(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// The folder of this run, which the application does not see.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Gives `{work}`, with everything in it, to an account.
    pub fn give_to(&self, account: &Account) -> Result<()> {
        let give = |path: &Path| chown(path, Some(account.uid), Some(account.gid));
        let mut waiting = vec![self.work.clone()];
        while let Some(path) = waiting.pop() {
            let entries = if path.is_symlink() || !path.is_dir() { None } else { fs::read_dir(&path).ok() };
            waiting.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()));
            give(&path).map_err(|error| cant("give away", &path, &error))?;
        }
        Ok(())
    }

    /// Gives those of these files and folders to an account that are below `{work}`.
    pub fn give_paths_to(&self, paths: &[PathBuf], account: &Account) -> Result<()> {
        for path in paths.iter().filter(|path| path.starts_with(&self.work) && **path != self.work) {
            chown(path, Some(account.uid), Some(account.gid)).map_err(|error| cant("give away", path, &error))?;
        }
        Ok(())
    }

    /// Keeps the folder after this process has ended; where it is.
    pub fn keep(&mut self) -> Result<&Path> {
        let marker = self.folder.join(KEPT);
        File::create(&marker).map_err(|error| cant("write", &marker, &error))?;
        self.removed = true;
        self.registered = None;
        Ok(&self.folder)
    }

    /// Whether nothing more can be written to its file system.
    pub fn is_full(&self) -> bool {
        let found = nix::sys::statvfs::statvfs(&self.work);
        found.is_ok_and(|found| found.blocks() > 0 && found.blocks_available() == 0)
    }

    #[cfg(test)]
    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        remove_all(&self.folder).map_err(|error| cant("remove", &self.folder, &error))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if !self.removed {
            // An error can't be reported here; the next run sweeps what remains.
            let _ = remove_all(&self.folder);
        }
    }
}

/// Removes the folders that no process holds any more, and says how many there were.
pub fn sweep() -> Result<usize> {
    let base = base_folder();
    if !base.exists() {
        return Ok(0);
    }
    let _sweeping = lock_base(&base)?;
    let mut removed = 0;
    for entry in fs::read_dir(&base).map_err(|error| cant("read", &base, &error))?.flatten() {
        let folder = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || in_use(&folder) {
            continue;
        }
        remove_all(&folder).map_err(|error| cant("remove", &folder, &error))?;
        removed += 1;
    }
    Ok(removed)
}

/// Whether this process runs as root, whose applications may become other users.
pub fn is_root() -> bool {
    user_id() == 0
}

/// A folder without a lock isn't in use: it was made and locked under the lock of the folder above. One that is kept is the user's.
fn in_use(folder: &Path) -> bool {
    if folder.join(KEPT).exists() {
        return true;
    }
    match File::open(folder.join("lock")) {
        Ok(lock) => lock.try_lock().is_err(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

fn base_folder() -> PathBuf {
    std::env::temp_dir().join(format!("restage-{}", user_id()))
}

/// Makes the folder above all runs if need be, makes sure that no one else can write there, and locks it against other
/// processes that make or sweep.
fn lock_base(base: &Path) -> Result<File> {
    match private_folder(base) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(cant("make", base, &error)),
        _ => {}
    }
    let found = fs::symlink_metadata(base).map_err(|error| cant("look at", base, &error))?;
    let whose = if !found.is_dir() {
        Some("it is not a folder".to_string())
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        Some(format!("it belongs to user {}", found.uid()))
    } else if found.mode() & 0o077 != 0 {
        Some(format!("others may enter it: its mode is {:o}", found.mode() & 0o777))
    } else {
        None
    };
    if let Some(whose) = whose {
        return Err(Failure::blocked(
            Diagnostic::error(format!("can't use the folder `{}`", base.display()))
                .why(format!("{whose}, and the files of applications must be safe from others"))
                .fix("remove it, or set `TMPDIR` to a folder of your own"),
        ));
    }
    open_lock(&base.join(".lock"))
        .and_then(|lock| lock.lock().map(|()| lock))
        .map_err(|error| cant("lock", base, &error))
}

/// Makes something, and gives it this mode whatever the umask is.
fn open_to_all(path: &Path, mode: u32, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    make(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path)
}

/// Removes a folder, also one in which an application left folders that it may not write to. The process that made it and one that sweeps
/// may do so at the same time.
fn remove_all(folder: &Path) -> io::Result<()> {
    loop {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound && folder.exists() => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                open_up(folder)?;
                return fs::remove_dir_all(folder);
            }
            other => return other,
        }
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn cant(what: &str, path: &Path, error: &io::Error) -> Failure {
    let mut failure = Failure::system(format!("can't {what} `{}`", path.display()), error);
    if error.kind() == io::ErrorKind::PermissionDenied {
        let fix = "set `TMPDIR` to a folder that this user may write to: `TMPDIR=/tmp restage …`";
        failure.problems.iter_mut().for_each(|problem| problem.fix = Some(fix.to_owned()));
    }
    failure
}
