//! Sysctls of the calling thread's network namespace, and their effective values where `all` and an interface both count.
//!
//! `/proc/sys/net` always shows the namespace of the thread that opens it. May use `diagnostic`. Start at [`effective`].

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::diagnostic::{Diagnostic, Failure, Result};

const ROOT: &str = "/proc/sys";

/// Reads a sysctl by its dotted key. White space around and between fields becomes single spaces.
///
/// A dot inside an interface's name is written `/`, as sysctl(8) does.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] when there is no such key, [`crate::diagnostic::Kind::Blocked`] when it can't be read.
pub fn read(key: &str) -> Result<String> {
    let path = path_of(key)?;
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        Err(error) if error.kind() == ErrorKind::NotFound || path.is_dir() => Err(unknown(key, &path)),
        Err(error) => {
            Err(Failure::blocked(Diagnostic::error(format!("can't read sysctl `{key}`")).why(error.to_string())))
        }
    }
}

/// Writes a sysctl by its dotted key.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] when there is no such key, when the kernel doesn't take the value, or when the key
/// is the machine's and not the namespace's; [`crate::diagnostic::Kind::Blocked`] when `/proc/sys` is read-only.
pub fn write(key: &str, value: &str) -> Result<()> {
    let path = path_of(key)?;
    let Err(error) = fs::write(&path, value) else { return Ok(()) };
    let what = format!("can't set sysctl `{key}` to `{value}`");
    let with_current = |why: &str| match read(key) {
        Ok(current) => format!("{why}; now it is `{current}`"),
        Err(_) => why.to_owned(),
    };
    Err(match error.kind() {
        ErrorKind::NotFound | ErrorKind::IsADirectory => unknown(key, &path),
        ErrorKind::InvalidInput => Failure::invalid(
            Diagnostic::error(what)
                .why(with_current("the kernel doesn't take this value"))
                .fix("give a value that the kernel's documentation of this sysctl names"),
        ),
        ErrorKind::ReadOnlyFilesystem => Failure::blocked(
            Diagnostic::error(what)
                .why("/proc/sys is mounted read-only, as container engines do")
                .fix("start the container with `--security-opt systempaths=unconfined`, or with `--privileged`"),
        ),
        ErrorKind::PermissionDenied => Failure::invalid(
            Diagnostic::error(what).why(with_current("it belongs to the machine, not to a namespace")).fix(format!(
                "set it on the machine, with `sudo sysctl -w {key}={value}`, and name it in `[require] sysctl`"
            )),
        ),
        _ => Failure::system(what, &error),
    })
}

pub(crate) fn write_if_there(key: &str, value: &str) -> Result<()> {
    let path = path_of(key)?;
    if path.exists() { write(key, value) } else { Ok(()) }
}

/// Writes those of these names that are there, all of one group of sysctls: the kernel looks up the group but once.
pub(crate) fn write_all_there<'a>(group: &str, values: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let Ok(folder) = File::open(path_of(group)?) else { return Ok(()) };
    for (name, value) in values {
        let opened = openat(&folder, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).map(File::from);
        match opened.map_err(io::Error::from).and_then(|mut file| file.write_all(value.as_bytes())) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // The second try says why.
            Err(_) => write(&format!("{group}.{name}"), value)?,
        }
    }
    Ok(())
}

/// An interface's name in a key: a dot inside a name is written as a slash (sysctl(8)).
pub(crate) fn name(interface: &str) -> String {
    interface.replace('.', "/")
}

/// The effective value of a sysctl, and how the kernel gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    pub value: String,
    /// The keys that count. If all of them have one value, that is the effective one.
    pub keys: Vec<String>,
    /// Whether the calling thread's network namespace has it for itself; the others are the machine's.
    pub own: bool,
    /// Every value that counts, and the rule.
    pub how: String,
}

/// How the kernel combines `net.ipv4.conf.all.NAME` and `net.ipv4.conf.INTERFACE.NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Larger,
    Either,
    Both,
}

/// The rule for a name below `net.ipv4.conf.INTERFACE`, from the `IN_DEV_…` macros in the kernel's
/// `include/linux/inetdevice.h`; `None` where only the interface's own value counts.
fn rule(name: &str) -> Option<Rule> {
    match name {
        "rp_filter" | "arp_accept" | "arp_announce" | "arp_ignore" | "arp_notify" => Some(Rule::Larger),
        "accept_local"
        | "arp_filter"
        | "bc_forwarding"
        | "drop_unicast_in_l2_multicast"
        | "log_martians"
        | "promote_secondaries"
        | "proxy_arp"
        | "route_localnet"
        | "secure_redirects"
        | "send_redirects"
        | "shared_media"
        | "src_valid_mark" => Some(Rule::Either),
        "accept_source_route" | "arp_evict_nocarrier" | "bootp_relay" => Some(Rule::Both),
        _ => None,
    }
}

/// The effective value of `key`: for `net.ipv4.conf.INTERFACE.NAME` what the kernel makes of it and of `net.ipv4.conf.all.NAME`,
/// for every other key its own value.
pub fn effective(key: &str) -> Result<Effective> {
    Ok(Effective { own: belongs_to_namespace(key)?, ..joined(key, read)? })
}

/// Whether a sysctl is a network namespace's own. What is the machine's below `net` is read-only in a new one.
fn belongs_to_namespace(key: &str) -> Result<bool> {
    let writable = fs::metadata(path_of(key)?).is_ok_and(|file| file.permissions().mode() & 0o222 != 0);
    Ok(writable && names(key).first().is_some_and(|first| first == "net"))
}

/// The effective value of a key by the kernel's rules; `lookup` has the value of each key.
pub(super) fn joined<E>(
    key: &str,
    lookup: impl Fn(&str) -> std::result::Result<String, E>,
) -> std::result::Result<Effective, E> {
    let own = lookup(key)?;
    match names(key).iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["net", "ipv4", "conf", interface, name] if !matches!(*interface, "all" | "default") => match rule(name) {
            Some(rule) => {
                let all_key = format!("net.ipv4.conf.all.{name}");
                let all = lookup(&all_key)?;
                Ok(join(rule, &all_key, &all, key, &own))
            }
            None => Ok(plain(key, own)),
        },
        _ => Ok(plain(key, own)),
    }
}

fn plain(key: &str, value: String) -> Effective {
    let how = format!("{key} = {value}");
    Effective { value, keys: vec![key.to_owned()], own: false, how }
}

fn join(rule: Rule, all_key: &str, all: &str, own_key: &str, own: &str) -> Effective {
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    let (value, words) = match rule {
        Rule::Larger => (number(all).max(number(own)), "the larger counts"),
        Rule::Either => (i64::from(number(all) != 0 || number(own) != 0), "either switches it on"),
        Rule::Both => (i64::from(number(all) != 0 && number(own) != 0), "only both switch it on"),
    };
    Effective {
        value: value.to_string(),
        keys: vec![all_key.to_owned(), own_key.to_owned()],
        own: false,
        how: format!("{all_key} = {all}, {own_key} = {own}: {words}"),
    }
}

/// The file of a key. It is always inside `/proc/sys`.
fn path_of(key: &str) -> Result<PathBuf> {
    let mut path = PathBuf::from(ROOT);
    for name in names(key) {
        if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(Failure::invalid(
                Diagnostic::error(format!("`{}` is not the key of a sysctl", key.escape_debug()))
                    .why("a key is names with a dot between them, such as `net.ipv4.conf.all.rp_filter`"),
            ));
        }
        path.push(name);
    }
    Ok(path)
}

/// The names in a key. The first separator decides which one separates, the other one is a dot in a name:
/// `net.ipv4.conf.eth0/100.rp_filter` and `net/ipv4/conf/eth0.100/rp_filter` are the same key.
fn names(key: &str) -> Vec<String> {
    match key.find(['.', '/']).and_then(|at| key.as_bytes().get(at)) {
        Some(b'/') => key.split('/').map(str::to_string).collect(),
        _ => key.split('.').map(|name| name.replace('/', ".")).collect(),
    }
}

fn unknown(key: &str, path: &Path) -> Failure {
    let problem = Diagnostic::error(format!("no sysctl `{key}`")).why(if path.is_dir() {
        "this is the name of a group of sysctls".to_string()
    } else {
        "this kernel has none of this name, in this network namespace".to_string()
    });
    Failure::invalid(match nearest(key, path) {
        Some(near) => problem.fix(format!("write `{near}`, if that is meant")),
        None => problem,
    })
}

/// The key that exists and differs from `key` by a slip in one name.
fn nearest(key: &str, path: &Path) -> Option<String> {
    let wrong = path.ancestors().find(|ancestor| ancestor.parent().is_some_and(Path::is_dir) && !ancestor.exists())?;
    let (folder, wrong_name) = (wrong.parent()?, wrong.file_name()?.to_str()?);
    let rest = path.strip_prefix(wrong).ok()?;
    let exists = |name: &String| if rest.as_os_str().is_empty() { true } else { folder.join(name).join(rest).exists() };
    let (_, near) = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(exists)
        .map(|name| (strsim::osa_distance(wrong_name, &name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min()?;
    let position = wrong.strip_prefix(ROOT).ok()?.iter().count() - 1;
    let mut fixed = names(key);
    *fixed.get_mut(position)? = near;
    Some(fixed.iter().map(|name| name.replace('.', "/")).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::{Rule, join, names, path_of};

    #[test]
    fn the_first_separator_separates_and_the_other_is_a_dot() {
        for key in ["net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"] {
            assert_eq!(names(key), ["net", "ipv4", "conf", "eth0.100", "rp_filter"]);
        }
    }

    #[test]
    fn no_key_is_outside_proc_sys() {
        for key in ["", ".", "..", "a..b", "/etc/passwd", "a/../../x", "./x", ".//.x", "net.//.x", "a\0b"] {
            assert!(path_of(key).is_err(), "{key:?} is {:?}", path_of(key));
        }
    }

    #[test]
    fn all_and_the_interface_are_combined_as_the_kernel_does() {
        let value = |rule, all, own| join(rule, "all", all, "rx0", own).value;
        for (all, own, larger, either, both) in
            [("0", "0", "0", "0", "0"), ("1", "0", "1", "1", "0"), ("1", "2", "2", "1", "1"), ("2", "1", "2", "1", "1")]
        {
            assert_eq!(value(Rule::Larger, all, own), larger);
            assert_eq!(value(Rule::Either, all, own), either);
            assert_eq!(value(Rule::Both, all, own), both);
        }
    }
}
