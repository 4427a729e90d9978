//! `restage plan`: what would happen, without sending; needs no privilege. What would become of the frames is in `predictions`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::output::Output;
use super::predictions;
use super::status::Status;
use super::terminal::Terminal;
use super::varying::Varying;
use crate::api;
use crate::diagnostic::{Diagnostic, Result, Severity};
use crate::figures::{self, count, thousands};
use crate::file::Claims;
use crate::host::{Filter, Host};
use crate::plan::{Facts, Plan, rewrite_report, survey};
use crate::predict::Disposition;
use crate::run::remote;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::scenario::receiver::Program;
use crate::scenario::require::Transport;
use crate::testbed::Testbed;

/// Show what a run would do, and predict what the receiver would do with every frame, without sending any.
///
/// Needs no privilege.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The scenario; `-` is standard input.
    scenario: PathBuf,
    #[command(flatten)]
    varying: Varying,
    /// Take this interface of this machine for the receiver, with the addresses, routes, sysctls and sockets that are there.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Exit with 1 if any frame would be lost.
    #[arg(long)]
    fail_on_loss: bool,
}

/// Prints what would happen; nothing is sent.
pub(super) fn plan(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    let Planned { scenario, plan, filter } = planned(arguments)?;
    if arguments.json {
        stdout.json(&api::Plan::new(&scenario, &plan, filter))?;
    } else {
        stdout.write(&as_text(&scenario, &plan, filter.as_deref()));
    }
    stderr.problems(&plan.notes);
    let lost = plan.predictions.iter().any(|prediction| matches!(prediction.disposition, Disposition::Lost(_)));
    let status = if arguments.fail_on_loss && lost { Status::Fail } else { Status::Pass };
    Ok(status.max(stdout.status()).max(stderr.status()))
}

/// A plan, and for whom.
struct Planned {
    scenario: Scenario,
    plan: Plan,
    /// What is to be said of the receiver's packet filter.
    filter: Option<String>,
}

fn planned(arguments: &Arguments) -> Result<Planned> {
    let scenario = arguments.varying.one(&arguments.scenario)?;
    Claims::new(scenario.inputs())?;
    let facts = if arguments.interface.is_some() { Testbed::facts(&scenario)? } else { remote::facts(&scenario)? };
    let Some(interface) = &arguments.interface else {
        let filter = facts.filter.clone();
        let mut plan = crate::plan::plan(&scenario, facts)?;
        plan.notes.extend(Testbed::warnings(&scenario, &plan)?);
        plan.notes.extend(crate::plan::flow_notes(&scenario, &plan)?);
        // What a run has to be allowed.
        let limits = Testbed::limit(&scenario, &plan, None).err().into_iter().flat_map(|failure| failure.problems);
        plan.notes.extend(limits.map(|problem| Diagnostic { severity: Severity::Warning, ..problem }));
        let filter = match filter {
            Filter::None => None,
            Filter::Rules(_) => {
                Some("the ruleset was loaded into a separate namespace, and its rules are evaluated".to_owned())
            }
            Filter::Unseen(why) => Some(format!("the ruleset can't be predicted: {why}")),
        };
        return Ok(Planned { scenario, plan, filter });
    };
    let host = Host::read(interface)?;
    let (mtu, caveats) = (host.interface.mtu_bytes, host.caveats());
    let (what, look) = host.firewall.description();
    let mut plan = crate::plan::plan(&scenario, Facts { receiver: Some(host), ..facts })?;
    plan.notes.extend(caveats);
    plan.notes.extend(crate::plan::flow_notes(&scenario, &plan)?);
    if plan.survey.longest > mtu {
        plan.notes.push(
            Diagnostic::warning(format!(
                "some frames are longer than the MTU of `{interface}`, which is {}",
                count(mtu.into(), "byte")
            ))
            .why(format!(
                "the longest layer 3 packet has {}, and most cards drop such a frame",
                count(plan.survey.longest.into(), "byte")
            ))
            .fix(format!("`ip link set {interface} mtu {}`", plan.survey.longest)),
        );
    }
    let look = look.map(|look| format!(" ({look})")).unwrap_or_default();
    Ok(Planned { scenario, plan, filter: Some(format!("not looked at: {what}{look}")) })
}

fn as_text(scenario: &Scenario, plan: &Plan, filter: Option<&str>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, content: &str| {
        let _infallible = writeln!(text, "{label:<10}{content}");
    };
    line("scenario", &scenario.name);
    let counts = plan.counts;
    let mut skipped = String::new();
    for (frames, why) in counts.skipped() {
        let _infallible = write!(skipped, ", {} skipped: {why}", thousands(frames));
    }
    line(
        "capture",
        &format!(
            "{}: {}, {} selected{skipped}",
            scenario.capture.files,
            count(counts.read, "frame"),
            thousands(counts.selected)
        ),
    );
    for entry in rewrite_report(&plan.rewriter, &plan.stats).lines() {
        line("rewrite", &entry);
    }
    match (scenario.topology.interface(), &plan.host) {
        (_, Some(host)) if host.is_there_already() => {
            let at = scenario.topology.existing().map_or_else(String::new, |existing| existing.at.value.to_string());
            let given =
                if host.addresses.is_empty() { "nothing that is not there".to_owned() } else { addresses(host) };
            line(
                "pair",
                &format!(
                    "{} with {}, MTU {}, into {at}; it is given {given}",
                    host.interface.name, host.mac, plan.medium.mtu
                ),
            );
            let udp = host.sockets.iter().filter(|socket| socket.transport == Transport::Udp).count();
            let command = scenario.receiver.program.command.as_ref().and_then(|command| command.value.first());
            let who =
                command.map_or_else(|| "runs already".to_owned(), |program| format!("{program} is started there"));
            line("receiver", &format!("{who}; {}", count(udp as u64, "UDP socket")));
        }
        (_, Some(host)) if host.real => {
            let sockets = match host.sockets.iter().filter(|socket| socket.transport == Transport::Udp).count() {
                1 => "1 UDP socket is".to_owned(),
                more => format!("{more} UDP sockets are"),
            };
            let machine =
                scenario.topology.agent().map_or("this machine".to_owned(), |agent| format!("`{}`", agent.at.value));
            let who = format!("{} of {machine}, {} with {}", host.interface.name, host.mac, addresses(host));
            line("receiver", &format!("{who}; {sockets} bound"));
        }
        (Some(interface), _) => {
            line("target", &format!("{} (MTU {})", interface.value, plan.medium.mtu));
        }
        (None, Some(host)) => {
            line("lab", &format!("receiver {} with {}, MTU {}", host.mac, addresses(host), plan.medium.mtu));
            let listens: Vec<String> = host.listens.iter().map(ToString::to_string).collect();
            let first = |program: &Program| program.command.as_ref().and_then(|command| command.value.first()).cloned();
            let programs: Vec<String> = scenario.receiver.programs().filter_map(first).collect();
            let who = if programs.is_empty() { "built-in".to_owned() } else { programs.join(", then ") };
            line(
                "receiver",
                &format!(
                    "{who}, listens on {}",
                    if listens.is_empty() { "nothing".to_owned() } else { listens.join(", ") }
                ),
            );
        }
        (None, None) => {}
    }
    if let Some(filter) = filter {
        line("filter", filter);
    }
    let repeat = scenario.pacing.repeat.value;
    let times = if repeat > 1 { format!(", {repeat} times") } else { String::new() };
    let pace = match plan.duration {
        None => "as fast as possible".to_owned(),
        Some(duration) => format!("{} in {}", rate(scenario.pacing.rate.value), figures::duration(duration)),
    };
    for (index, step) in api::PlannedStep::all(scenario, plan).into_iter().enumerate() {
        let frames = step.frames.map_or_else(String::new, |frames| format!(": {}", count(frames, "frame")));
        line(if index == 0 { "steps" } else { "" }, &format!("{} {}{frames}", step.number, step.what));
    }
    line("pacing", &format!("{pace}{times}; judged after {} at the latest", figures::duration(plan.timeout)));
    if !plan.predictions.is_empty() {
        text.push_str("\nwhat the receiver would do with the frames\n");
        text.push_str(&predictions::as_text(&plan.predictions));
        if !plan.survey.unclassed.is_empty() {
            let _infallible = writeln!(
                text,
                "  {:>9}  not distinguished: more than {} kinds of packet",
                plan.survey.unclassed.count(),
                survey::MOST_CLASSES
            );
        }
    }
    text
}

fn rate(rate: Rate) -> String {
    match rate {
        Rate::Captured => "at captured times".to_owned(),
        Rate::Speed(factor) => format!("at {factor} times the captured speed"),
        Rate::PacketsPerSecond(rate) => format!("at {rate} pps"),
        Rate::BitsPerSecond(rate) => format!("at {}", figures::scaled(rate, "bps")),
        Rate::Every(interval) => format!("one every {}", figures::duration(interval)),
        Rate::TopSpeed => "as fast as possible".to_owned(),
        Rate::MaxLossless => "at the highest rate without loss".to_owned(),
    }
}

fn addresses(host: &Host) -> String {
    let first: Vec<String> = host.addresses.iter().take(4).map(ToString::to_string).collect();
    match (host.addresses.len(), host.addresses.len().saturating_sub(4)) {
        (0, _) => "no address".to_owned(),
        (_, 0) => first.join(", "),
        (_, more) => format!("{} and {more} more", first.join(", ")),
    }
}
