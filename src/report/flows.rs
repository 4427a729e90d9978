//! What flow exports hold, for people: a block for each exporter.

use std::fmt::Write as _;

use super::layout::{padded, visible_name};
use super::{Look, Role, paint};
use crate::figures::{count, thousands};
use crate::flow::{FlowExporter, FlowExports, FlowTemplate, Format, Numbers, Undecodable};
use crate::inspect::Inspection;

/// Columns of a label and the space after it.
const LABEL: usize = 13;

/// The whole text, with at most `top` exporters, and so many templates of each.
pub fn text(found: &Inspection, flows: &FlowExports, top: usize, look: Look) -> String {
    let mut text = String::new();
    let mut line = |label: &str, content: &str| {
        let label = paint(look.style, Role::Strong, &padded(label, LABEL));
        let _infallible = writeln!(text, "{label}{content}");
    };
    line("capture", &format!("{}: {}", visible_name(&found.file), count(found.frames, "frame")));
    let exporters = count(flows.exporters.len() as u64, "exporter");
    line("flow exports", &format!("{} of {exporters}", count(flows.datagrams, "datagram")));
    let records = flows.sum(|exporter| exporter.records);
    let options = flows.sum(|exporter| exporter.options_records);
    let counters = flows.sum(|exporter| exporter.counter_samples);
    line("records", &kinds(records, options, counters));
    if let Some(first) = flows.damaged.first {
        let damaged = count(flows.damaged.datagrams, "datagram");
        line("", &format!("{damaged} with lengths that do not fit, or cut (first frame {})", thousands(first)));
    }
    if flows.incomplete > 0 {
        let datagrams = count(flows.incomplete, "UDP datagram");
        line("", &format!("{datagrams} in fragments that are not all there: not read"));
    }
    if flows.unlisted > 0 {
        line("", &format!("{} of exporters beyond the limit, not listed", count(flows.unlisted, "message")));
    }
    if flows.unlisted_templates > 0 {
        let definitions = count(flows.unlisted_templates, "definition");
        line("", &format!("{definitions} of templates beyond the limit, not listed"));
    }
    if flows.unlisted_undecodable > 0 {
        line(
            "",
            &format!("{} not read, of ids beyond the limit, not listed", count(flows.unlisted_undecodable, "set")),
        );
    }
    for exporter in flows.exporters.iter().take(top) {
        block(&mut text, exporter, top, look);
    }
    more(&mut text, flows.exporters.len(), top, "exporter");
    text
}

fn block(text: &mut String, exporter: &FlowExporter, top: usize, look: Look) {
    let title = paint(look.style, Role::Strong, &title(exporter));
    let _infallible = writeln!(text, "\n{title}");
    let mut line = |label: &str, content: &str| {
        let _infallible = writeln!(text, "  {}{content}", padded(label, LABEL - 2));
    };
    let exported = match &exporter.exported {
        Some((first, last)) if first == last => format!(", exported {first}"),
        Some((first, last)) => format!(", exported {first} to {last}"),
        None => String::new(),
    };
    line("messages", &format!("{}{exported}", thousands(exporter.messages)));
    line("records", &kinds(exporter.records, exporter.options_records, exporter.counter_samples));
    for gaps in exporter.sequence.iter().chain(&exporter.samples) {
        line("sequence", &sequence(gaps));
    }
    if !exporter.sampling.is_empty() {
        let intervals: Vec<String> =
            exporter.sampling.iter().map(|interval| format!("1 of {}", thousands(*interval))).collect();
        line("sampling", &intervals.join(", "));
    }
    for (index, template) in exporter.templates.iter().take(top).enumerate() {
        line(if index == 0 { "templates" } else { "" }, &about_template(template));
        line("", &format!("  {}", fields(template)));
    }
    if let Some(more) = exporter.templates.len().checked_sub(top).filter(|more| *more > 0) {
        line("", &format!("… and {}", count(more as u64, "more template")));
    }
    if exporter.unreadable_lists > 0 {
        line("not read", &count(exporter.unreadable_lists, "list"));
    }
    for undecodable in &exporter.undecodable {
        line("not read", &not_read(undecodable));
    }
}

fn title(exporter: &FlowExporter) -> String {
    let source = match exporter.port {
        Some(port) => std::net::SocketAddr::new(exporter.address, port).to_string(),
        None => exporter.address.to_string(),
    };
    let agent = exporter.agent.filter(|agent| *agent != exporter.address);
    let agent = agent.map_or_else(String::new, |agent| format!(", agent {agent}"));
    let word = match exporter.format {
        Format::Ipfix => "domain",
        Format::NetflowV9 => "source id",
        Format::NetflowV5 => "engine",
        Format::Sflow5 => "sub-agent",
        Format::NetflowV1 | Format::NetflowV7 => {
            return format!("{} {source} > {}", exporter.version, exporter.collector);
        }
    };
    format!("{} {source} > {}{agent}, {word} {}", exporter.version, exporter.collector, exporter.domain)
}

fn kinds(records: u64, options: u64, counters: u64) -> String {
    let mut parts = vec![format!("{} of flows", thousands(records))];
    if options > 0 {
        parts.push(format!("{} of options", thousands(options)));
    }
    if counters > 0 {
        parts.push(format!("{} of counters", thousands(counters)));
    }
    parts.join(", ")
}

fn sequence(gaps: &Numbers) -> String {
    let mut parts = Vec::new();
    if let Some(first) = gaps.first_gap {
        let missing = count(gaps.missing, gaps.of);
        parts.push(format!(
            "{}, {missing} missing (first: before frame {})",
            count(gaps.gaps, "gap"),
            thousands(first)
        ));
    }
    if let Some(first) = gaps.first_back {
        let times = count(gaps.back, "time");
        parts.push(format!("lower than before {times} (first frame {})", thousands(first)));
    }
    let of = crate::figures::plural(2, gaps.of);
    if parts.is_empty() { format!("of {of}: no gap") } else { format!("of {of}: {}", parts.join("; ")) }
}

fn about_template(template: &FlowTemplate) -> String {
    let what = if template.options { "options, " } else { "" };
    let changes = match template.changes {
        0 => String::new(),
        changes => format!(", {} with other fields", count(changes, "time")),
    };
    let withdrawals = match template.withdrawals {
        0 => String::new(),
        withdrawals => format!(", withdrawn {}", count(withdrawals, "time")),
    };
    format!(
        "{}: {what}{}; defined {}{changes}{withdrawals}, first in frame {}",
        template.id,
        count(template.records, "record"),
        count(template.definitions, "time"),
        thousands(template.first),
    )
}

fn fields(template: &FlowTemplate) -> String {
    let fields = template.fields.iter().map(|field| {
        let scope = if field.scope { "scope " } else { "" };
        let length = field.length.map_or_else(|| "*".to_owned(), |length| length.to_string());
        format!("{scope}{} {length}", field.name)
    });
    fields.collect::<Vec<_>>().join(", ")
}

fn not_read(undecodable: &Undecodable) -> String {
    let comes = match (undecodable.template, undecodable.template_comes) {
        (None, _) => String::new(),
        (Some(_), Some(frame)) => format!("; it is in frame {}", thousands(frame)),
        (Some(_), None) => "; it never comes".to_owned(),
    };
    format!(
        "{} of {}: {} (first frame {}){comes}",
        count(undecodable.sets, "set"),
        count(undecodable.bytes, "byte"),
        undecodable.why,
        thousands(undecodable.first),
    )
}

fn more(text: &mut String, all: usize, top: usize, noun: &str) {
    if let Some(more) = all.checked_sub(top).filter(|more| *more > 0) {
        let _infallible = writeln!(text, "\n… and {}", count(more as u64, &format!("more {noun}")));
    }
}
