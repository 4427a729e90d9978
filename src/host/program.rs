//! Finding programs: in `PATH`, then where daemons live, which `PATH` of an ordinary user often lacks.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::diagnostic::Diagnostic;

/// Where `name` is: looked for in `PATH`, then in `/usr/sbin` and `/sbin`. A name with a `/` is taken as it is, relative to
/// the working directory. `None` if there is no such file that may be executed.
pub fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    if name.is_empty() {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(name))
        .find(|path| executable(path))
}

/// The library that gives a program another wall clock (faketime(1)); `None` where it is not installed.
pub fn faketime() -> Option<PathBuf> {
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
    let of_architectures = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = ["/usr/local/lib", "/usr/lib64", "/usr/lib"].map(PathBuf::from).into_iter().chain(of_architectures);
    folders.map(|folder| folder.join(LIBRARY)).find(|library| library.is_file())
}

/// What to say where [`find`] finds none.
pub fn missing(name: &str) -> Diagnostic {
    if Path::new(name).is_file() && name.contains('/') {
        return Diagnostic::error(format!("`{name}` can't be executed"))
            .why("this user has no permission to")
            .fix(format!("`chmod a+rx {name}`, or start it by its interpreter: `command = [\"sh\", \"{name}\"]`"));
    }
    let why = if name.contains('/') {
        "there is no such file that this user may see"
    } else {
        "it was looked for in PATH, then in /usr/sbin and /sbin"
    };
    Diagnostic::error(format!("there is no program `{name}` here"))
        .why(why)
        .fix(format!("install it; `[require] commands = [\"{name}\"]` skips the scenario where it is absent"))
}

fn executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
