//! `restage plan`: what would happen, without sending; needs no privilege.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::entries;
use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Result, Severity};
use crate::execute;
use crate::plan::fate::{End, Fate};
use crate::plan::survey::Carried;
use crate::plan::{Plan, survey};
use crate::scenario::pacing::Rate;
use crate::scenario::site::SiteWords;
use crate::scenario::{self, Scenario};

/// How many rows of a table are shown; the JSON form has them all.
const MOST_ROWS: usize = 20;

/// Show what a run would do, and what would become of every frame, without sending any.
///
/// Needs no privilege.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The scenario.
    scenario: PathBuf,
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
    let (scenario, plan) = planned(arguments)?;
    if arguments.json {
        stdout.write(&format!("{:#}\n", as_json(&scenario, &plan)));
    } else {
        stdout.write(&as_text(&scenario, &plan));
    }
    stderr.problems(&plan.notes);
    let lost = plan.fates.iter().any(|fate| matches!(fate.end, End::Lost(_)));
    let status = if arguments.fail_on_loss && lost { Status::Fail } else { Status::Pass };
    Ok(status.max(stdout.status()).max(stderr.status()))
}

fn planned(arguments: &Arguments) -> Result<(Scenario, Plan)> {
    let scenario = scenario::read(&arguments.scenario)?;
    // Nothing is sent, so nobody has to allow the interface; without it the MTU isn't known, and "sender" has no MAC.
    let named = match &scenario.site {
        SiteWords::Target { interface } => vec![interface.value.clone()],
        SiteWords::Lab(_) => Vec::new(),
    };
    let target = execute::target_facts(&scenario, &named)?;
    let plan = crate::plan::plan(&scenario, target.as_ref())?;
    Ok((scenario, plan))
}

fn as_text(scenario: &Scenario, plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |label: &str, content: &str| {
        let _infallible = writeln!(text, "{label:<10}{content}");
    };
    line("scenario", &scenario.name);
    let counts = plan.counts;
    let mut skipped = String::new();
    for (frames, why) in
        [(counts.skipped_truncated, "the snaplen cut them"), (counts.skipped_oversize, "they are longer than the MTU")]
    {
        if frames > 0 {
            let _infallible = write!(skipped, ", {frames} skipped since {why}");
        }
    }
    line(
        "capture",
        &format!("{}: {} frames, {} selected{skipped}", scenario.capture.files, counts.read, counts.selected),
    );
    for entry in entries::as_lines(&plan.rewriter, &plan.hits) {
        line("rewrite", &entry);
    }
    match (&scenario.site, &plan.site) {
        (SiteWords::Target { interface }, _) => {
            line("target", &format!("{} (MTU {})", interface.value, plan.medium.mtu))
        }
        (SiteWords::Lab(_), Some(site)) => {
            let addresses: Vec<String> = site.addresses.iter().take(4).map(ToString::to_string).collect();
            let more = site.addresses.len().saturating_sub(4);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            line("lab", &format!("receiver {} with {}{more}, MTU {}", site.mac, addresses.join(", "), plan.medium.mtu));
            let listens: Vec<String> = site.listens.iter().map(ToString::to_string).collect();
            let who = scenario
                .receiver
                .command
                .as_ref()
                .and_then(|command| command.value.first())
                .map_or("built-in", String::as_str);
            line(
                "receiver",
                &format!(
                    "{who}, listens on {}",
                    if listens.is_empty() { "nothing".to_owned() } else { listens.join(", ") }
                ),
            );
        }
        (SiteWords::Lab(_), None) => {}
    }
    let repeat = scenario.pacing.repeat.value;
    let times = if repeat > 1 { format!(", {repeat} times") } else { String::new() };
    let pace = match plan.duration {
        None => "as fast as possible".to_owned(),
        Some(duration) => format!("{} in {duration:?}", rate(scenario.pacing.rate.value)),
    };
    line("pacing", &format!("{pace}{times}; judged after {:?} at the latest", plan.timeout));
    if !plan.fates.is_empty() {
        text.push_str("\nwhat the receiver would do with the frames\n");
        for fate in plan.fates.iter().take(MOST_ROWS) {
            let _infallible = writeln!(text, "  {:>9}  {:<22}{}", fate.frames.count(), end(fate), describe(fate));
            let _infallible = writeln!(text, "             frames {}", fate.frames);
            if matches!(fate.end, End::Lost(_)) {
                let _infallible = writeln!(text, "             why: {}\n             fix: {}", fate.why, fate.fix);
            }
        }
        if plan.fates.len() > MOST_ROWS {
            let _infallible =
                writeln!(text, "  … and {} more kinds of packet (`--json` has them all)", plan.fates.len() - MOST_ROWS);
        }
        if !plan.survey.unclassed.is_empty() {
            let _infallible = writeln!(
                text,
                "  {:>9}  not told apart: more than {} kinds of packet",
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
        Rate::BitsPerSecond(rate) => format!("at {rate} bit/s"),
        Rate::Every(interval) => format!("one every {interval:?}"),
        Rate::TopSpeed => "as fast as possible".to_owned(),
        Rate::Find => "at the highest rate without loss".to_owned(),
    }
}

fn end(fate: &Fate) -> String {
    match fate.end {
        End::Delivered => "delivered".to_owned(),
        End::Kernel => "kernel".to_owned(),
        End::Open => "not known before".to_owned(),
        End::Lost(cause) => format!("lost: {}", cause.name()),
    }
}

fn describe(fate: &Fate) -> String {
    match fate.key.carried {
        Carried::Ip { source, destination, protocol, port } => {
            let name = match protocol {
                1 => "ICMP".to_owned(),
                2 => "IGMP".to_owned(),
                6 => "TCP".to_owned(),
                17 => "UDP".to_owned(),
                58 => "ICMPv6".to_owned(),
                132 => "SCTP".to_owned(),
                other => format!("IP protocol {other}"),
            };
            let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
            format!("{name} {source} > {destination}{port}")
        }
        Carried::Other { ethertype: Some(0x0806) } => "ARP".to_owned(),
        Carried::Other { ethertype: Some(ethertype) } => format!("EtherType 0x{ethertype:04x} to {}", fate.key.mac),
        Carried::Other { ethertype: None } => format!("802.3 to {}", fate.key.mac),
    }
}

fn as_json(scenario: &Scenario, plan: &Plan) -> Value {
    let fates: Vec<Value> = plan
        .fates
        .iter()
        .map(|fate| {
            let lost = match fate.end {
                End::Lost(cause) => Some(cause.name()),
                _ => None,
            };
            json!({
                "packets": fate.frames.count(), "frames": fate.frames.to_string(), "end": end(fate), "cause": lost,
                "what": describe(fate), "why": fate.why, "fix": fate.fix,
            })
        })
        .collect();
    json!({
        "format": 1,
        "name": scenario.name,
        "read": plan.counts.read,
        "selected": plan.counts.selected,
        "skipped-truncated": plan.counts.skipped_truncated,
        "skipped-oversize": plan.counts.skipped_oversize,
        "repeat": scenario.pacing.repeat.value,
        "seconds": plan.duration.map(|duration| duration.as_secs_f64()),
        "timeout": plan.timeout.as_secs_f64(),
        "mtu": plan.medium.mtu,
        "rewrite": entries::as_json(&plan.rewriter, &plan.hits),
        "addresses": plan.site.as_ref().map(|site| &site.addresses),
        "mac": plan.site.as_ref().map(|site| site.mac),
        "listens": plan.listens().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "fates": fates,
        "notes": plan.notes.iter().filter(|note| note.severity != Severity::Error).map(|note| &note.what).collect::<Vec<_>>(),
    })
}
