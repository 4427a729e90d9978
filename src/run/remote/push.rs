//! Copies this program to the receiver's machine, where there is no restage. Start at [`push`].

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::scenario::receiver::AgentPlace;

/// Where it goes, below the home folder there.
const FOLDER: &str = ".cache/restage";

/// Copies this program there, if it is not there yet; its path.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] where the machine is another architecture, or can't be written to.
pub(super) fn push(place: &AgentPlace) -> Result<String> {
    let blocked = |what: String, why: String, fix: &str| Failure::blocked(Diagnostic::error(what).why(why).fix(fix));
    let by_hand = "install restage there by hand";
    let run = |script: &str, input: Stdio| {
        let Some(command) = place.shell(script) else {
            let why = "`via` is a command of yours, and what it does with a shell's script is not known".to_owned();
            return Err(blocked("`--push` can't copy restage there".to_owned(), why, by_hand));
        };
        let (name, arguments) = command.split_first().expect("a place has a command");
        let output = Command::new(name).args(arguments).stdin(input).output();
        let output = output.map_err(|error| Failure::system(format!("can't start `{name}`"), &error))?;
        let said =
            String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or("it said nothing").to_owned();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(blocked(format!("can't copy restage to `{place}`"), said, by_hand))
        }
    };
    let system = run("uname -sm", Stdio::null())?;
    let own = format!("Linux {}", std::env::consts::ARCH);
    if system != own {
        let why = format!("this program is for {own}, and that machine is {system}");
        return Err(blocked(format!("can't copy restage to `{place}`"), why, "install one for that machine there"));
    }
    let cant = |error: &std::io::Error| Failure::system("can't read this program", error);
    let own = File::open("/proc/self/exe").map_err(|error| cant(&error))?;
    let digest = crate::capture::sha256([std::path::Path::new("/proc/self/exe")])?;
    let path = format!("{FOLDER}/restage-{}", digest.get(..16).unwrap_or(&digest));
    // Written beside and renamed, so that no other run finds half of it.
    let script = format!(
        "test -x {path} && echo there || {{ umask 077 && mkdir -p {FOLDER} && cat >{path}.$$ && chmod 700 {path}.$$ && mv {path}.$$ {path}; }}"
    );
    run(&script, Stdio::from(own))?;
    let _ = std::io::stderr().flush();
    Ok(format!("./{path}"))
}
