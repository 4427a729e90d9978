//! `restage watch`: what becomes of the datagrams that others send to a receiver on this machine.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::output::Output;
use super::reports::{ReportArguments, Reports};
use super::run::{Began, a_duration};
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::{count, pps, thousands};
use crate::outcome::{Report, Verdict};
use crate::process::signals;
use crate::report::text;
use crate::run::watching::{SoFar, Wanted, Watching};
use crate::scenario::require::Listener;
use crate::wire::poll::await_readable;

const EXAMPLES: &str = "\
Examples:
  restage watch --interface eth0 --listen udp:4739
  restage watch --interface eth0 --listen udp:514 --from 10.1.0.0/16 --duration 10min --fail-on-loss

Nothing is sent, and nothing is changed. Ctrl-C ends it with the ledger. It needs root, or CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON.";

/// So often a line says how far it is: at a terminal, and elsewhere.
const EVERY: Duration = Duration::from_secs(1);
const EVERY_ELSEWHERE: Duration = Duration::from_mins(1);

/// Watch a receiver that gets its traffic from others: what arrived, what it read, and what was lost and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The interface that datagrams come in on.
    #[arg(long, short, value_name = "NAME")]
    interface: String,
    /// A UDP socket of the receiver, like udp:4739; several may be given. By default every one that is there now.
    #[arg(long, short, value_name = "SOCKET", value_parser = listener)]
    listen: Vec<Listener>,
    /// Only datagrams from this network or address; several may be given.
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    from: Vec<IpNet>,
    /// End after this time, such as 10s or 5min.
    #[arg(long, value_name = "DURATION", value_parser = a_duration)]
    duration: Option<Duration>,
    /// What another machine sent, as its `restage run --sent FILE` wrote it: the ledger begins there. The file is read at the end.
    #[arg(long, value_name = "FILE")]
    sent: Option<PathBuf>,
    /// End with status 1 if a datagram was lost.
    #[arg(long)]
    fail_on_loss: bool,
    #[command(flatten)]
    reports: ReportArguments,
}

fn listener(text: &str) -> std::result::Result<Listener, String> {
    let listener: Listener = text.parse()?;
    if listener.is_udp() {
        Ok(listener)
    } else {
        Err("only UDP sockets are watched: write it like udp:4739".to_owned())
    }
}

fn prefix(text: &str) -> std::result::Result<IpNet, &'static str> {
    let parsed = text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)));
    parsed.map_err(|_| "it is no network or address: write it like 10.1.0.0/16")
}

/// Watches until a limit or a signal ends it.
pub(super) fn watch(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let reports = Reports::new(&arguments.reports, None)?;
    let interruption = signals::interruption()?;
    let began = Began::now();
    let mut stderr = Output::stderr(terminal);
    let wanted = Wanted {
        interface: arguments.interface.clone(),
        listens: arguments.listen.clone(),
        from: arguments.from.clone(),
        evidence: None,
        sent: arguments.sent.clone(),
    };
    let mut watching = Watching::start(wanted)?;
    if watching.listens().is_empty() {
        return Err(Failure::invalid(
            Diagnostic::error("there is nothing to watch")
                .why("no UDP socket of this machine receives from other hosts")
                .fix("start the receiver first, or name its socket: `--listen udp:4739`"),
        ));
    }
    let names: Vec<_> = watching.listens().iter().map(ToString::to_string).collect();
    stderr.write(&format!("watching {} on {}; Ctrl-C ends it\n", names.join(", "), arguments.interface));
    let every = if terminal.progress() { EVERY } else { EVERY_ELSEWHERE };
    let (begun, mut said) = (Instant::now(), (Instant::now(), SoFar::default()));
    loop {
        let left = arguments.duration.map_or(every, |limit| limit.saturating_sub(begun.elapsed()).min(every));
        await_readable(&[interruption.as_fd()], left);
        if signals::has_come(interruption.as_fd()) || arguments.duration.is_some_and(|limit| begun.elapsed() >= limit) {
            break;
        }
        if said.0.elapsed() >= every {
            let now = watching.so_far()?;
            #[expect(clippy::cast_precision_loss, reason = "datagrams are far below 2^53")]
            let rate = (now.arrived - said.1.arrived) as f64 / said.0.elapsed().as_secs_f64();
            stderr.write(&format!(
                "{} arrived, {}; {} dropped by sockets; {} unread\n",
                thousands(now.arrived),
                pps(rate),
                thousands(now.dropped),
                count(now.unread_bytes, "byte")
            ));
            said = (Instant::now(), now);
        }
    }
    let (outcome, begins) = watching.end()?;
    let status = match outcome.verdict {
        Verdict::Fail if !arguments.fail_on_loss => Status::Pass,
        verdict => verdict.into(),
    };
    if let Some(ledger) = &outcome.ledger {
        Output::stdout(terminal).write(&text::watched(ledger, begins, terminal.stdout()));
    }
    stderr.problems(&outcome.problems);
    let report = Report::of_run(began.facts(), vec![outcome]);
    [reports.save_files(&report), reports.save_streams(&report)].into_iter().collect::<Result<()>>()?;
    Ok(status)
}
