//! What an application finds around it: processes, interfaces and shared memory of its own, no name server, and a folder that it can
//! reach whatever user it becomes.
//!
//! All of it is in the application's mount namespace, so the machine doesn't change. See `mount_namespaces(7)`. Start at [`Surroundings`].

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd;

/// What an application finds around it, beside its processes and interfaces. The default adds nothing.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Files that it sees in place of the machine's: ours, and the path.
    pub(super) instead: Vec<(PathBuf, PathBuf)>,
    /// The folder that it must be able to reach.
    pub(super) reach: Option<Reach>,
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
    /// Between fork and exec: dies with the thread that made it, sees its own processes and its own interfaces, and starts in `folder`. Without
    /// these file systems (a container's masked /proc forbids new ones) the program still runs. System calls only, with paths that fit into nix's
    /// buffers on the stack: nothing is allocated.
    pub(super) fn enter(&self, folder: &Path) -> io::Result<()> {
        dies_with_its_maker()?;
        // Shared memory too (nfcapd's bookkeeping, say): a killed daemon leaves no segment behind, and none of the machine's is met.
        match unshare(CloneFlags::CLONE_NEWIPC) {
            // A kernel without CONFIG_IPC_NS.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        unshare(CloneFlags::CLONE_NEWNS)?;
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)?;
        for (ours, path) in &self.instead {
            // Where the machine has no such file, nothing needs replacing.
            let _ = mount(Some(ours), path, nothing, MsFlags::MS_BIND, nothing);
        }
        if let Some(reach) = &self.reach {
            // Without it only an application that gives up root is worse off.
            let _ = reach.open(folder);
        }
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), safe | MsFlags::MS_RDONLY, nothing);
        let _ = mount(Some("proc"), "/proc", Some("proc"), safe, nothing);
        Ok(())
    }
}

/// Between fork and exec: dies with the thread that made it.
pub(super) fn dies_with_its_maker() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

impl Reach {
    /// Puts the last folder below parents that every user may pass. Only processes of this mount namespace see
    /// them: for all others the folder stays closed.
    fn open(&self, folder: &Path) -> nix::Result<()> {
        let nothing = None::<&str>;
        let Some(last) = self.below.last() else { return Ok(()) };
        unistd::chdir(last)?;
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &self.closed, Some("tmpfs"), safe, Some("mode=0711,size=64k"))?;
        for folder in &self.below {
            unistd::mkdir(folder, Mode::from_bits_truncate(0o711))?;
        }
        // The working directory is still the folder that the new parents hide.
        mount(Some("."), last, nothing, MsFlags::MS_BIND, nothing)?;
        unistd::chdir(folder)
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
