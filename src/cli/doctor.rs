//! `restage doctor`: can this machine make a lab, as this user; if not, what refuses, and the ways out. With `--interface`: would such packets
//! come to their socket here; if not, why.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::Result;
use crate::doctor::questions::{self, Question};
use crate::doctor::{Finding, State, probe};
use crate::scenario::require::Listener;

/// Check whether this user can make a lab on this machine; or, with `--interface`, whether packets would reach their socket here.
///
/// Needs no privilege, and sends nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// An interface of this machine that packets come in on.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Where something is to listen: `udp:4739`, `udp:192.0.2.20:4739`, `tcp:80`; may be given again.
    #[arg(long, value_name = "SOCKET", requires = "interface")]
    listen: Vec<Listener>,
    /// Where packets come from: an address or a prefix; may be given again. Default: the interface's networks.
    #[arg(long, value_name = "PREFIX", requires = "interface", value_parser = source)]
    from: Vec<IpNet>,
}

/// An address, or a prefix.
fn source(text: &str) -> std::result::Result<IpNet, String> {
    let address = text.parse().map(std::net::IpAddr::into);
    address
        .or_else(|_| text.parse::<IpNet>().map(|net| net.trunc()))
        .map_err(|_| "it is neither an address like 10.44.1.13 nor a prefix like 10.44.1.0/24".to_owned())
}

/// Prints every finding. A lab that can't be made is blocked, and so is a packet that was asked about and would not come to its socket.
pub(super) fn doctor(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let (findings, blocked) = match &arguments.interface {
        None => {
            let findings = probe();
            // The first finding is the lab itself; what works less well stops nothing.
            let bad = findings.first().is_some_and(|finding| finding.state == State::Bad);
            (findings, bad)
        }
        Some(interface) => {
            let question = Question {
                interface: interface.clone(),
                listens: arguments.listen.clone(),
                from: arguments.from.clone(),
            };
            let answer = questions::ask(&question)?;
            (answer.findings, answer.loses)
        }
    };
    let mut stdout = Output::stdout(terminal);
    stdout.write(&as_text(&findings));
    Ok(stdout.status().max(if blocked { Status::Blocked } else { Status::Pass }))
}

fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let state = match finding.state {
            State::Good => "good",
            State::Bad => "bad ",
            State::Unknown => "?   ",
        };
        let _infallible = writeln!(text, "{state}  {}\n      {}", finding.what, finding.why.replace('\n', "\n      "));
        if let Some(fix) = &finding.fix {
            let _infallible = writeln!(text, "      fix: {}", fix.replace('\n', "\n           "));
        }
    }
    text
}
