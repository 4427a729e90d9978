//! An nftables ruleset, loaded by the program `nft` inside a namespace of ours.
//!
//! `nft` talks to the kernel over netlink and needs `CAP_NET_ADMIN` over the namespace. execve(2) takes the capabilities of a user
//! namespace from a program of an ordinary user, so this one capability is made ambient for the child: capabilities(7). May use
//! `diagnostic`, nix and libc. Start at [`load`].
#![expect(unsafe_code, reason = "pre_exec, and capset(2) and prctl(2), which no crate of ours wraps")]

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;

use super::facts::capability;
use super::namespace::Namespace;
use super::program;
use crate::diagnostic::{Diagnostic, Failure, Result};

/// Loads a ruleset into `namespace`, on top of what is there. `folder` is where an `include "./…"` of it looks; `name` is what error messages call the text, in
/// what nft says of it.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] with nft's own words when it refuses the ruleset, [`crate::diagnostic::Kind::Blocked`] when
/// there is no `nft`. Without a place.
pub fn load(namespace: &Namespace, ruleset: &str, name: &str, folder: &Path) -> Result<()> {
    let Some(nft) = program::find("nft") else {
        return Err(Failure::blocked(
            Diagnostic::error("there is no program `nft` to load the ruleset with")
                .why("it is neither in PATH nor in /usr/sbin or /sbin")
                .fix("install the package `nftables`; `[require] commands = [\"nft\"]` skips the scenario where it is absent"),
        ));
    };
    let mut command = Command::new(nft);
    command.args(["-f", "-"]).current_dir(folder).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: the closure runs in the child of a process that may have threads: it makes system calls only, with structures on
    // its own stack, and allocates nothing.
    unsafe { command.pre_exec(keep_net_admin) };
    let output = namespace
        .run(|| -> io::Result<Output> { feed(command.spawn()?, ruleset) })?
        .map_err(|error| Failure::system("can't run `nft`", &error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(refused(&String::from_utf8_lossy(&output.stderr), output.status, name))
}

fn refused(said: &str, status: ExitStatus, name: &str) -> Failure {
    let said = said.replace("/dev/stdin:", &format!("{name}:"));
    let said = said.trim_end();
    if said.contains("cache initialization failed: Operation not permitted") {
        return Failure::blocked(
            Diagnostic::error("`nft` may not touch the rules of the receiver's namespace")
                .why(said)
                .fix("run restage with `sudo`; `restage doctor` lists what else this machine needs"),
        );
    }
    let why = if said.is_empty() { format!("it ended with {status}, and said nothing") } else { said.to_owned() };
    Failure::invalid(
        Diagnostic::error("`nft` refuses the ruleset")
            .why(why)
            .fix("mend the line that it names; nft(8) describes the language"),
    )
}

/// What the kernel makes of a ruleset, as `nft -j list ruleset` prints it: loaded into a network namespace that ends with that, and that has an
/// interface of this name. With an empty ruleset and `interface` empty: the rules of this namespace.
///
/// # Errors
/// Why that can't be had, in words.
pub fn list(ruleset: &str, folder: &Path, interface: &str) -> std::result::Result<String, String> {
    const SCRIPT: &str = "if [ -n \"$2\" ]; then
        ip link add \"$2\" type dummy 2>/dev/null || ip link add \"$2\" type veth 2>/dev/null
        \"$1\" -f - || exit
    fi
    exec \"$1\" -j list ruleset";
    let nft = program::find("nft").ok_or("there is no program `nft`")?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "sh"]).arg(nft).arg(interface).current_dir(if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    });
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !interface.is_empty() {
        // SAFETY: as in `load`; unshare(2) takes a number only.
        unsafe { command.pre_exec(alone) };
    }
    let output = command.spawn().and_then(|child| feed(child, ruleset));
    let output = output.map_err(|error| format!("no namespace for it can be made: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`nft` says: {}", said.lines().next().unwrap_or("nothing").trim_start_matches("/dev/stdin:")))
}

/// Between fork and exec: a network namespace of its own, and an ordinary user's own user namespace around it.
fn alone() -> io::Result<()> {
    let user = if nix::unistd::geteuid().is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    nix::sched::unshare(user | CloneFlags::CLONE_NEWNET)?;
    keep_net_admin()
}

/// Gives the program its standard input, and waits for its end.
fn feed(mut nft: Child, ruleset: &str) -> io::Result<Output> {
    let mut stdin = nft.stdin.take();
    std::thread::scope(|scope| {
        // On a thread, since it may write messages before it has read everything.
        scope.spawn(move || {
            // One that ends early says itself why. After an `include`, nft wants the end of the line, which a string may lack.
            let _ =
                stdin.as_mut().map(|stdin| stdin.write_all(ruleset.as_bytes()).and_then(|()| stdin.write_all(b"\n")));
        });
        nft.wait_with_output()
    })
}

/// `struct __user_cap_header_struct` of `linux/capability.h`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities; version 3 takes two.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

/// Between fork and exec: dies with the thread that made it, and keeps `CAP_NET_ADMIN` through execve(2).
fn keep_net_admin() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: capget(2) reads the header and writes two structures, as version 3 has them; both live until it returns.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    sets[0].inheritable |= 1 << capability::NET_ADMIN;
    // SAFETY: capset(2) reads the header and two structures.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) })?;
    let raise = libc::c_ulong::from(libc::PR_CAP_AMBIENT_RAISE.cast_unsigned());
    let number = libc::c_ulong::from(capability::NET_ADMIN);
    // SAFETY: this prctl(2) takes numbers only. Root needs no ambient capability, and where it is refused, nft reports it.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0 as libc::c_ulong, 0 as libc::c_ulong) };
    Ok(())
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::diagnostic::{Kind, Style, render};

    #[test]
    fn nfts_own_words_name_the_ruleset() {
        let texts = [
            "/dev/stdin:4:29-29: Error: syntax error, unexpected newline\n        udp dport 4739 acept\n                            ^\n",
            "netlink: Error: cache initialization failed: Operation not permitted\n",
            "",
        ];
        let failures = texts.map(|text| refused(text, ExitStatus::from_raw(1 << 8), "rules.nft"));
        assert_eq!(failures.clone().map(|failure| failure.kind), [Kind::Invalid, Kind::Blocked, Kind::Invalid]);
        let problems: Vec<_> = failures.into_iter().flat_map(|failure| failure.problems).collect();
        insta::assert_snapshot!(render(&problems, Style::Plain));
    }
}
