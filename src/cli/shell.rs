//! `restage shell`: a shell where the receiver of a scenario is.

use std::path::PathBuf;
use std::process::Command;

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use super::varying::Varying;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::program;
use crate::plan;
use crate::testbed::Testbed;

const EXAMPLES: &str = "\
Examples:
  restage shell appflow.toml
  restage shell appflow.toml -- ip route get 10.44.1.11
  restage shell appflow.toml -- nft list ruleset

The lab is gone when the shell ends. Nothing is sent, and the scenario's application is not started.";

/// Start a shell in the receiver's namespace of a lab: its addresses, routes, sysctls and packet filter are those of a run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The scenario.
    scenario: PathBuf,
    #[command(flatten)]
    varying: Varying,
    /// Run this there, in place of $SHELL.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Brings the lab up and waits for the shell.
pub(super) fn shell(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let scenario = arguments.varying.one(&arguments.scenario)?;
    if let Some(existing) = scenario.topology.existing() {
        return Err(Failure::invalid(
            Diagnostic::error("`restage shell` needs the lab")
                .at(&scenario.source, existing.at.span.clone())
                .why("the receiver is in a network namespace that is there already")
                .fix(
                    "start a shell there: `ip netns exec NAME sh`, `nsenter -t PID -n sh` or `docker exec -it NAME sh`",
                ),
        ));
    }
    if scenario.topology.lab().is_none() {
        return Err(Failure::invalid(
            Diagnostic::error("`restage shell` needs the lab")
                .why("with `[target]` the receiver is on another machine")
                .fix("log in there; or replace `[target]` by `[lab]`"),
        ));
    }
    let plan = plan::plan(&scenario, Testbed::facts(&scenario)?)?;
    Testbed::enter(&scenario)?;
    let testbed = Testbed::prepare(&scenario, &plan, None)?;
    let receiver = testbed.receiver();
    receiver.enter_thread()?;
    let mut words = arguments.command.iter().cloned();
    let shell =
        || std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".to_owned());
    let program = words.next().unwrap_or_else(shell);
    if arguments.command.is_empty() {
        let text = format!(
            "the receiver of `{}`: interface {}; `exit` removes the lab\n",
            scenario.name,
            receiver.interface()
        );
        Output::stderr(terminal).write(&text);
    }
    let found = program::find(&program).ok_or_else(|| Failure::invalid(program::missing(&program)))?;
    let mut command = Command::new(found);
    command
        .args(words)
        .env("RESTAGE_RECEIVER", receiver.interface())
        .env("RESTAGE_SENDER", testbed.sender().interface());
    let ended = command.status().map_err(|error| {
        Failure::invalid(
            Diagnostic::error(format!("can't start `{program}`"))
                .why(error.to_string())
                .fix("name a program that is installed"),
        )
    })?;
    Ok(if ended.success() { Status::Pass } else { Status::Fail })
}
