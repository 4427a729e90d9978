//! What the programs of a receiver find around them: interfaces and shared memory of their own, files in place of the machine's, empty folders
//! of their own, no name server, and a work folder that they can reach whatever user they become.
//!
//! All of it is in a mount namespace, so the machine doesn't change. It is made once, before the first of them is started: see
//! [`super::inside::Inside::new`], `mount_namespaces(7)`, tmpfs(5). Start at [`Surroundings`].

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::facts::{Facts, Step, refusal};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd;

/// The share of the machine's memory that one private folder may hold.
const PRIVATE_SIZE: &str = "mode=1777,size=25%";

/// What the programs of a receiver find around them, beside processes and interfaces. The default adds nothing.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Files that it sees in place of the machine's: ours, and the path.
    pub(super) instead: Vec<(PathBuf, PathBuf)>,
    /// Files that must be there, where the machine may have none: ours, and the path.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The folder that it must be able to reach.
    pub(super) reach: Option<Reach>,
    /// Folders that are empty at first and its own.
    pub private: Vec<Private>,
    /// Files and folders of the machine that it sees in private folders, too.
    pub visible: Vec<PathBuf>,
}

/// A folder of the application's own.
#[derive(Debug, Clone)]
pub struct Private {
    pub folder: PathBuf,
    /// Whether the application is not started without it.
    pub required: bool,
}

/// A folder below one that only this user may enter: an application that gives up root could not reach it.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// The folder that only this user may enter.
    pub(super) closed: PathBuf,
    /// The folders from there to the last one, which is to be reached.
    pub(super) below: Vec<PathBuf>,
}

impl Surroundings {
    /// Makes them for the calling thread, which stays in them. Without a file system of its own interfaces (a container may forbid one) a program
    /// still runs.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where a file or a folder can't be put in its place.
    pub(super) fn enter(&self) -> Result<()> {
        let namespaces = |errno| match errno {
            // Of what happens here only namespaces have such a limit.
            Errno::ENOSPC => refusal(Step::Surroundings, errno, &Facts::read()),
            errno => Failure::system("can't make the surroundings of the application", &errno.into()),
        };
        // Shared memory too (nfcapd's bookkeeping, say): a killed daemon leaves no segment behind, and none of the machine's is met.
        match unshare(CloneFlags::CLONE_NEWIPC) {
            // A kernel without CONFIG_IPC_NS.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(namespaces(errno)),
        }
        own_mounts().map_err(namespaces)?;
        for (ours, path) in &self.instead {
            // Where the machine has no such file, nothing needs replacing.
            let _ = bind(ours, path);
        }
        self.put_files()?;
        if let Some(reach) = &self.reach {
            // Without it only an application that gives up root is worse off.
            let _ = reach.open();
        }
        self.hide()?;
        let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), SAFE.union(MsFlags::MS_RDONLY), NOTHING);
        Ok(())
    }

    /// Puts each of the files in its place. Where the machine has none of this name, the folder that would hold it is made anew, with everything
    /// that is in it.
    fn put_files(&self) -> Result<()> {
        let mut made: Vec<PathBuf> = Vec::new();
        for (ours, path) in &self.files {
            let cant = |error: &io::Error| {
                let problem = Diagnostic::error(format!("can't put a file at `{}`", path.display()));
                Failure::blocked(problem.why(error.to_string()).fix("write another path into `[receiver.files]`"))
            };
            if !path.exists() {
                let there = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
                if !made.iter().any(|made| there.starts_with(made)) {
                    make_anew(there).map_err(|error| cant(&error))?;
                    made.push(there.to_owned());
                }
                path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| cant(&error))?;
                File::create(path).map_err(|error| cant(&error))?;
            }
            bind(ours, path).map_err(|errno| cant(&errno.into()))?;
        }
        Ok(())
    }

    /// Puts an empty folder over each private one, and what stays visible into it.
    fn hide(&self) -> Result<()> {
        enum What<'a> {
            Private(&'a Private),
            Visible(OwnedFd, bool),
        }
        let mut places: Vec<(PathBuf, What)> = Vec::new();
        for private in &self.private {
            let folder = fs::canonicalize(&private.folder).unwrap_or_else(|_| private.folder.clone());
            if !places.iter().any(|(other, _)| *other == folder) {
                places.push((folder, What::Private(private)));
            }
        }
        let privates: Vec<PathBuf> = places.iter().map(|(folder, _)| folder.clone()).collect();
        for path in &self.visible {
            let is_hidden = privates.iter().any(|private| path.starts_with(private) && path != private);
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            if let (true, Ok(opened)) = (is_hidden, open(path, flags, Mode::empty())) {
                places.push((path.clone(), What::Visible(opened, path.is_dir())));
            }
        }
        // Each begins in what the ones above it have made.
        places.sort_by_key(|(path, _)| path.components().count());
        let mut ours: Vec<PathBuf> = Vec::new();
        let mut theirs: Vec<PathBuf> = Vec::new();
        for (path, what) in places {
            let depth = |folders: &[PathBuf]| {
                let above = folders.iter().filter(|folder| path.starts_with(folder));
                above.map(|folder| folder.components().count()).max().unwrap_or(0)
            };
            let is_ours = depth(&ours) > depth(&theirs);
            match what {
                What::Private(private) => {
                    let made = if is_ours { fs::create_dir_all(&path) } else { Ok(()) };
                    let mounted = made.and_then(|()| {
                        let own = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
                        Ok(mount(Some("tmpfs"), &path, Some("tmpfs"), own, Some(PRIVATE_SIZE))?)
                    });
                    match mounted {
                        Ok(()) => ours.push(path),
                        Err(error) if private.required => return Err(no_private_folder(&private.folder, &error)),
                        Err(_) => {}
                    }
                }
                What::Visible(opened, is_folder) => {
                    if !is_ours || path.exists() {
                        continue;
                    }
                    let place = path
                        .parent()
                        .map_or(Ok(()), fs::create_dir_all)
                        .and_then(|()| if is_folder { fs::create_dir(&path) } else { File::create(&path).map(drop) });
                    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
                    place.and_then(|()| Ok(bind(Path::new(&source), &path)?)).map_err(|error| {
                        let problem = Diagnostic::error(format!("can't show `{}` to the application", path.display()));
                        let fix = "move it to a folder that isn't private";
                        Failure::blocked(problem.why(error.to_string()).fix(fix))
                    })?;
                    theirs.push(path);
                }
            }
        }
        Ok(())
    }
}

const NOTHING: Option<&str> = None;
const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// A mount namespace of this process's own, from which nothing gets back.
pub(super) fn own_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)
}

/// A /proc of this process's pid namespace, where the system allows one.
pub(super) fn own_processes() {
    let _ = mount(Some("proc"), "/proc", Some("proc"), SAFE, NOTHING);
}

fn bind(what: &Path, path: &Path) -> nix::Result<()> {
    mount(Some(what), path, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
}

/// Between fork and exec: dies with the thread that made it.
pub(super) fn dies_with_its_maker() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Puts a folder of ours over one of the machine's, with the same entries, so that others can be added.
fn make_anew(folder: &Path) -> io::Result<()> {
    let old = open(folder, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let old = PathBuf::from(format!("/proc/self/fd/{}", old.as_raw_fd()));
    let entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755,size=1m"))?;
    for entry in entries {
        let (theirs, ours, kind) = (old.join(entry.file_name()), folder.join(entry.file_name()), entry.file_type()?);
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&theirs)?, &ours)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&ours)?;
        } else {
            File::create(&ours)?;
        }
        bind(&theirs, &ours)?;
    }
    Ok(())
}

fn no_private_folder(folder: &Path, error: &io::Error) -> Failure {
    let problem = Diagnostic::error(format!("`{}` can't be private", folder.display()));
    let problem = if error.kind() == io::ErrorKind::NotFound {
        problem.why("there is no such folder, and nothing of the machine is changed").fix(format!(
            "make the folder above it private as well: `private = [\"{}\", \"{}\"]`",
            folder.parent().unwrap_or(folder).display(),
            folder.display()
        ))
    } else {
        problem.why(error.to_string()).fix("name another folder in `[receiver] private`, or remove it")
    };
    Failure::blocked(problem)
}

impl Reach {
    /// Puts the last folder below parents that every user may pass. Only processes of this mount namespace see them: for all others the
    /// folder stays closed.
    fn open(&self) -> nix::Result<()> {
        let Some(last) = self.below.last() else { return Ok(()) };
        unistd::chdir(last)?;
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &self.closed, Some("tmpfs"), safe, Some("mode=0711,size=64k"))?;
        for folder in &self.below {
            unistd::mkdir(folder, Mode::from_bits_truncate(0o711))?;
        }
        // The working directory is still the folder that the new parents hide.
        mount(Some("."), last, NOTHING, MsFlags::MS_BIND, NOTHING)
    }
}

/// The files that make look-ups of names fail at once, since nothing in a lab answers them, as they are to be written: path and text.
/// `hosts: files` asks no server, for the C library and for Go; without a `nameserver` the others ask 127.0.0.1, which refuses.
pub(super) fn without_name_servers() -> Vec<(&'static Path, String)> {
    const RESOLVER: &str = "# restage: nothing answers look-ups in a lab\noptions timeout:1 attempts:1\n";
    const SWITCH: &str = "/etc/nsswitch.conf";
    let mut files = vec![(Path::new("/etc/resolv.conf"), RESOLVER.to_owned())];
    if let Ok(text) = std::fs::read_to_string(SWITCH) {
        let is_hosts = |line: &str| line.trim_start().starts_with("hosts:");
        let line = |line: &str| if is_hosts(line) { "hosts: files\n".to_owned() } else { format!("{line}\n") };
        let mut switch: String = text.lines().map(line).collect();
        if !text.lines().any(is_hosts) {
            switch.push_str("hosts: files\n");
        }
        files.push((Path::new(SWITCH), switch));
    }
    files
}
