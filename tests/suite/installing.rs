//! What a package of restage has beside the program: completions and manual pages. And `restage shell`.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::common::small::{capture, datagrams, scenario};
use crate::common::{User, both, fresh_folder, restage, users};

fn output(user: User, arguments: &[&str]) -> Output {
    restage(user).args(arguments).stdin(Stdio::null()).output().expect("restage runs")
}

/// The verbs, as `--help` lists them.
fn verbs() -> Vec<String> {
    let help = both(&output(User::Caller, &["--help"]));
    let listed = help.lines().skip_while(|line| !line.starts_with("Verbs:")).skip(1);
    // A longer description goes on below, further in.
    let begins = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let verbs =
        listed.take_while(|line| !line.is_empty()).filter(begins).filter_map(|line| line.split_whitespace().next());
    verbs.map(str::to_owned).collect()
}

#[test]
fn every_shell_completes_every_verb() {
    assert!(verbs().len() > 10, "{:?}", verbs());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output(User::Caller, &["completions", shell]);
        assert_eq!(script.status.code(), Some(0), "{shell}: {}", both(&script));
        for verb in verbs() {
            assert!(both(&script).contains(&verb), "{shell} knows no {verb}");
        }
    }
    let folder = fresh_folder("completions");
    let file = folder.join("restage");
    fs::write(&file, output(User::Caller, &["completions", "bash"]).stdout).expect("it can be written");
    let read = Command::new("bash").arg("-n").arg(&file).output().expect("bash runs");
    assert!(read.status.success(), "{}", both(&read));
}

#[test]
fn the_program_and_every_verb_have_a_page() {
    let folder = fresh_folder("man");
    let pages = folder.join("man1");
    let written = output(User::Caller, &["man", "--folder", pages.to_str().expect("UTF-8")]);
    assert_eq!(written.status.code(), Some(0), "{}", both(&written));
    for verb in verbs() {
        let page = fs::read_to_string(pages.join(format!("restage-{verb}.1"))).expect("it was written");
        assert!(page.contains(&format!(".TH RESTAGE-{}", verb.to_uppercase())), "{page}");
        assert_eq!(both(&output(User::Caller, &["man", &verb])), page);
    }
    assert!(fs::read_to_string(pages.join("restage.1")).expect("it was written").contains("restage\\-run(1)"));
    let unknown = output(User::Caller, &["man", "rnu"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(both(&unknown).contains("did you mean `restage man run`?"), "{}", both(&unknown));
}

#[test]
fn a_shell_is_where_the_receiver_is() {
    for user in users() {
        let path = scenario(&capture(&datagrams(1), 10), "[lab]\naddresses = [\"192.0.2.77/24\"]\n");
        let path = path.join("s.toml");
        let path = path.to_str().expect("UTF-8");
        let shown = output(*user, &["shell", path, "--", "ip", "-br", "address", "show", "rx0"]);
        assert_eq!(shown.status.code(), Some(0), "{}", both(&shown));
        assert!(both(&shown).contains("192.0.2.77/24"), "{}", both(&shown));
        let failed = output(*user, &["shell", path, "--", "sh", "-c", "test -n \"$RESTAGE_RECEIVER\" && exit 7"]);
        assert_eq!(failed.status.code(), Some(1), "{}", both(&failed));
        let missing = output(*user, &["shell", path, "--", "no-such-program"]);
        assert_eq!(missing.status.code(), Some(2), "{}", both(&missing));
    }
}
