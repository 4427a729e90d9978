//! Namespaces: the user namespace that gives an ordinary user a lab, and network namespaces held by descriptor alone.
//!
//! A network namespace lives as long as something refers to it: a process in it, a bind mount, or an open descriptor. Only
//! descriptors are used here, so that nothing is left when the process ends, however it ends. See namespaces(7),
//! `user_namespaces(7)`, setns(2). Start reading at [`enter`].
#![expect(
    unsafe_code,
    reason = "clone(2), pidfd_open(2) and the ioctls of namespaces, which no crate of ours wraps safely"
)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, clone, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;

use super::facts::{Facts, Step, refusal};
use crate::diagnostic::{Failure, Result};

/// The stack of a process that makes one namespace, in bytes.
const CLONE_STACK: usize = 128 << 10;

/// What gives this process the right to make a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, as they were found.
    Root,
    /// A user namespace of its own, in which it has every capability over what it makes, and its own user and group id.
    UserNamespace,
}

/// Gets the right to make a lab: with `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` there is nothing to do (but for a read-only /proc/sys,
/// which gets a writable one over it, for this process alone), otherwise the process moves into a new user namespace, in which
/// its user and group id stay what they are.
///
/// To be called while the process has one thread only: the kernel refuses to move a process with several.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`], naming what refuses and the ways out.
pub fn enter() -> Result<Privilege> {
    let facts = Facts::read();
    if facts.privileged() {
        if facts.proc_sys_read_only {
            // Where this is refused too, the error of the first sysctl that can't be written says what to do.
            let _ = mount_own("proc", "/proc");
        }
        return Ok(Privilege::Root);
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refusal(Step::UserNamespace, errno, &facts))?;
    // The files of a program that has file capabilities belong to root: PR_SET_DUMPABLE(2const). Over the machine it has none any more.
    let _ = nix::sys::prctl::set_dumpable(true);
    // The group map of an ordinary user is only accepted once setgroups(2) is given up: `user_namespaces(7)`.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_string()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ] {
        fs::write(file, text).map_err(|error| refusal(Step::UserMap, errno_of(&error), &facts))?;
    }
    Ok(Privilege::UserNamespace)
}

/// Puts a file system of this kind over `path`, in a mount namespace of the calling thread's own: a /proc over one whose `sys` a
/// container engine made read-only, or a /sys that shows the thread's network namespace. Only with capabilities over what it shows: a
/// new user namespace gives none over the pid namespace.
pub(crate) fn mount_own(kind: &str, path: &str) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), path, Some(kind), safe, nothing)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// A network namespace, held by a descriptor: it ends when the last descriptor, socket and process in it are gone.
#[derive(Debug)]
pub struct Namespace {
    descriptor: OwnedFd,
}

impl Namespace {
    /// Makes an empty network namespace: a loopback interface that is down, and nothing else.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when the kernel refuses it.
    pub fn create() -> Result<Self> {
        scratch(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| refusal(Step::NetworkNamespace, errno, &Facts::read()))?;
            Self::current()
        })?
    }

    /// The same, owned by a user namespace in which the user of this process is root: files in sysfs that belong to root are that user's. The
    /// user namespace is below that of this process, which so has every capability over it.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when the kernel refuses it.
    pub fn create_as_root() -> Result<Self> {
        let user = nix::unistd::geteuid();
        if user.is_root() {
            return Self::create();
        }
        let refused = |step, errno| refusal(step, errno, &Facts::read());
        let mut made = Err(refused(Step::UserMap, Errno::EACCES));
        let mut stack = vec![0; CLONE_STACK];
        // It shares memory and descriptors with this process, and is in the new namespaces.
        let in_new = Box::new(|| {
            made = fs::write("/proc/self/uid_map", format!("0 {user} 1"))
                .map_err(|error| refused(Step::UserMap, errno_of(&error)))
                .and_then(|()| Self::current());
            0
        });
        let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
        let shared = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | CloneFlags::CLONE_FILES;
        // SAFETY: this thread waits until the child has ended, so that its stack, its thread-local values and what it writes to are not used
        // by both at once; it ends in no destructor of this process.
        let child = unsafe { clone(in_new, &mut stack, flags | shared, Some(Signal::SIGCHLD as i32)) };
        let child = child.map_err(|errno| refused(Step::UserNamespace, errno))?;
        let _ = waitpid(child, None);
        made
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let file = File::open(path).map_err(|error| Failure::system(format!("can't open `{path}`"), &error))?;
        Ok(Self { descriptor: file.into() })
    }
    /// Another descriptor of it.
    pub fn try_clone(&self) -> Result<Self> {
        let descriptor = self.descriptor.try_clone();
        descriptor.map(Self::from).map_err(|error| Failure::system("can't keep a network namespace", &error))
    }

    /// That of a process, which still runs when this returns; `None` where there is no such process.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] for a process of another user, without `CAP_SYS_PTRACE` over it.
    pub fn of_process(pid: u32) -> io::Result<Option<Self>> {
        let Some(process) = Process::open(pid)? else { return Ok(None) };
        let opened = File::open(format!("/proc/{pid}/ns/net"));
        // Until now the number was that of the same process.
        match (process.runs(), opened) {
            (false, _) => Ok(None),
            (true, Ok(file)) => Ok(Some(Self { descriptor: file.into() })),
            (true, Err(error)) => Err(error),
        }
    }

    /// The user namespace that owns it, in which the right to change it is asked for; `None` where that is not below the caller's own.
    pub fn owner(&self) -> Result<Option<UserNamespace>> {
        // SAFETY: the ioctl takes no argument, and returns a new descriptor or an error (ioctl_ns(2)).
        let answer = unsafe { libc::ioctl(self.descriptor.as_raw_fd(), NS_GET_USERNS) };
        match Errno::result(answer) {
            // SAFETY: the descriptor is new, so that nothing else closes it.
            Ok(descriptor) => Ok(Some(UserNamespace { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })),
            Err(Errno::EPERM) => Ok(None),
            Err(errno) => Err(Failure::system("can't ask whose a network namespace is", &errno.into())),
        }
    }

    /// The number that identifies it: the inode of `/proc/PID/ns/net` (namespaces(7)).
    pub fn inode(&self) -> Result<u64> {
        let found = nix::sys::stat::fstat(&self.descriptor);
        found
            .map(|found| found.st_ino)
            .map_err(|errno| Failure::system("can't look at a network namespace", &errno.into()))
    }

    /// Whether the calling thread is in it.
    pub(crate) fn is_current(&self) -> Result<bool> {
        Ok(Self::current()?.inode()? == self.inode()?)
    }

    /// Runs `work` inside the namespace: on the calling thread where that is in it, else on one that ends with it, so that the caller stays
    /// where it is. Sockets opened there belong to the namespace for ever, and may be used from anywhere. A panic of `work` goes on in the
    /// caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        if self.is_current()? { Ok(work()) } else { self.run_apart(work) }
    }

    /// The same for what changes the thread that it runs on: always on one that ends with it.
    pub fn run_apart<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        scratch(|| {
            self.enter_thread()?;
            Ok(work())
        })?
    }

    /// Moves the calling thread into the namespace, for the rest of its life. Where it is there already, that needs no privilege: setns(2)
    /// asks for `CAP_SYS_ADMIN` also then.
    pub fn enter_thread(&self) -> Result<()> {
        if self.is_current()? {
            return Ok(());
        }
        setns(&self.descriptor, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Failure::system("can't enter a network namespace", &errno.into()))
    }
}

impl From<OwnedFd> for Namespace {
    fn from(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// `NS_GET_USERNS` of `linux/nsfs.h`: `_IO(0xb7, 1)`.
const NS_GET_USERNS: libc::c_ulong = 0xb701;

/// The user that restage runs as, by the number that it had when it was started: in a user namespace that it moved to it may be root.
pub fn user_id() -> u32 {
    static USER: OnceLock<u32> = OnceLock::new();
    *USER.get_or_init(|| nix::unistd::geteuid().as_raw())
}

/// A user namespace, held by a descriptor.
#[derive(Debug)]
pub struct UserNamespace {
    descriptor: OwnedFd,
}

impl UserNamespace {
    /// Whether the calling process is in it.
    pub fn is_current(&self) -> Result<bool> {
        let cant = |error: &io::Error| Failure::system("can't look at a user namespace", error);
        let own = File::open("/proc/self/ns/user").map_err(|error| cant(&error))?;
        let inode = |descriptor: BorrowedFd<'_>| nix::sys::stat::fstat(descriptor).map(|found| found.st_ino);
        let inodes = inode(own.as_fd()).and_then(|own| Ok((own, inode(self.descriptor.as_fd())?)));
        inodes.map(|(own, this)| own == this).map_err(|errno| cant(&errno.into()))
    }

    /// Moves the process into it, where it has every capability if its user made the namespace. To be called while the process has one
    /// thread only.
    ///
    /// # Errors
    /// As setns(2).
    pub fn enter(&self) -> nix::Result<()> {
        user_id();
        setns(&self.descriptor, CloneFlags::CLONE_NEWUSER)
    }
}

/// A process, held by a descriptor: its number is not given to another one while it runs (`pidfd_open(2)`, Linux 5.3).
struct Process(OwnedFd);

impl Process {
    fn open(pid: u32) -> io::Result<Option<Self>> {
        // SAFETY: pidfd_open(2) takes two numbers.
        let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
        match Errno::result(answer) {
            // SAFETY: the descriptor is new, so that nothing else closes it.
            Ok(descriptor) => Ok(Some(Self(unsafe {
                OwnedFd::from_raw_fd(i32::try_from(descriptor).expect("descriptors are small"))
            }))),
            Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it has not ended.
    fn runs(&self) -> bool {
        // SAFETY: pidfd_send_signal(2) takes a descriptor that is open, and numbers; signal 0 sends nothing.
        let answer = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), 0, std::ptr::null::<libc::siginfo_t>(), 0)
        };
        // Of another user's process it says that it may not, and not that there is none.
        Errno::result(answer) != Err(Errno::ESRCH)
    }
}

fn scratch<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, work)
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
