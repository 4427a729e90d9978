//! `[expect]`: what the receiver must show.

mod output;
mod timing;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::timing::{Bound, Percentile};

use super::check::Checker;
use super::form::{Entries, Scalar, Value};
use super::pacing::Rate;
use super::receiver::Receiver;
use super::require::Transport;
use super::{quantity, vocabulary};
use crate::cause::Cause;
use crate::diagnostic::{At, Diagnostic};

/// A count that is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// This many.
    Exactly(u64),
    /// Every selected frame.
    All,
    /// This many or more.
    AtLeast(u64),
    /// This share of the selected frames or more, in percent; 0 to 100.
    Percent(f64),
}

/// A cause of loss that is allowed, with its count.
#[derive(Debug, Clone, PartialEq)]
pub struct AllowedLoss {
    /// The cause; all but `unexplained`.
    pub cause: Cause,
    /// How many.
    pub count: Count,
    /// The entry in the scenario.
    pub span: Range<usize>,
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextRule {
    /// It contains this.
    pub contains: Option<At<String>>,
    /// This regular expression (the `regex` crate's syntax, multi-line) matches somewhere; it compiles.
    pub matches: Option<At<String>>,
    /// It has this many lines.
    pub lines: Option<At<u64>>,
    /// It equals this file, byte for byte; the path is relative to the working directory.
    pub equals_file: Option<At<PathBuf>>,
}

/// `[[expect.command]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandCheck {
    /// Program and arguments, placeholders still in them.
    pub run: At<Vec<String>>,
    /// What its standard output must be.
    pub stdout: TextRule,
    /// What its standard error must be.
    pub stderr: TextRule,
    /// Its exit status; 0 if nothing is said.
    pub status: At<i32>,
}

/// Where `[[expect.output]]` looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFrom {
    /// The application's standard output.
    Stdout,
    /// The application's standard error.
    Stderr,
    /// A file, placeholders still in it.
    File(String),
}

/// `[[expect.output]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCheck {
    /// Where it looks.
    pub from: At<OutputFrom>,
    /// What it must be.
    pub rule: TextRule,
}

/// `[expect]`, with legal values. Nothing is `Some` that the file does not say; what an absent `[expect]` means is the
/// ledger's matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expect {
    /// Whether the file has the table at all.
    pub written: bool,
    /// On the sending interface (a target's default).
    pub sent: Option<At<Count>>,
    /// On the receiver's wire.
    pub arrived: Option<At<Count>>,
    /// Past routing and firewall.
    pub accepted: Option<At<Count>>,
    /// Into a UDP socket's queue.
    pub delivered: Option<At<Count>>,
    /// Read by the application.
    pub consumed: Option<At<Count>>,
    /// `order = "captured"`: frames arrive in the order in which they were sent.
    pub order: Option<At<()>>,
    /// Causes that are allowed.
    pub losses: Vec<AllowedLoss>,
    /// The snapshot of the rewritten frames.
    pub rewritten: Option<At<PathBuf>>,
    /// How far from the schedule, aligned to the median, sends may be.
    pub lateness: Vec<Bound>,
    /// How far from those of the schedule the gaps between consecutive sends may be.
    pub gap_error: Vec<Bound>,
    /// From the first send to the last at most this.
    pub within: Option<At<Duration>>,
    /// Checks by commands, run in order after the application has stopped.
    pub command: Vec<CommandCheck>,
    /// Checks of what the application wrote.
    pub output: Vec<OutputCheck>,
}

/// What the receiver must show. Absent: UDP datagrams consumed = "all", other frames arrived = "all"; with a target, sent = "all".
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// Frames that the sending interface accepted; only with `[target]`.
    #[schemars(range(min = 0), regex(pattern = quantity::COUNT_PATTERN), example = &"all")]
    sent: Option<Value<Scalar>>,
    /// Frames on the receiver's wire: 5548, "all", ">= 5500" or "99.9%".
    #[schemars(range(min = 0), regex(pattern = quantity::COUNT_PATTERN), example = &"all")]
    arrived: Option<Value<Scalar>>,
    /// Frames past the receiver's routing and packet filter.
    #[schemars(range(min = 0), regex(pattern = quantity::COUNT_PATTERN), example = &"all")]
    accepted: Option<Value<Scalar>>,
    /// Datagrams in the queue of a UDP socket.
    #[schemars(range(min = 0), regex(pattern = quantity::COUNT_PATTERN), example = &"all")]
    delivered: Option<Value<Scalar>>,
    /// Datagrams that the application read.
    #[schemars(range(min = 0), regex(pattern = quantity::COUNT_PATTERN), example = &"all")]
    consumed: Option<Value<Scalar>>,
    /// `captured`: frames arrive in the order in which they were sent.
    #[schemars(example = &"captured")]
    order: Option<Value<Order>>,
    /// Causes of loss that are allowed, each with its count.
    #[schemars(example = example_losses(), extend("propertyNames" = { "enum": Cause::names().collect::<Vec<_>>() }))]
    losses: Option<Entries<Scalar>>,
    /// The rewritten frames as reviewed text; written only by --update-snapshots.
    #[schemars(example = &"snapshots/appflow.snap")]
    rewritten: Option<Value<String>>,
    /// How far from the schedule sends may be: for each percentile the most.
    #[schemars(example = timing::example())]
    lateness: Option<Value<timing::Form>>,
    /// How far from the schedule's the gaps between consecutive sends may be: for each percentile the most.
    #[schemars(example = timing::example())]
    gap_error: Option<Value<timing::Form>>,
    /// From the first send to the last at most this.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"5s")]
    within: Option<Value<String>>,
    /// Checks by commands, after the application has stopped.
    command: Option<Vec<Value<output::CommandForm>>>,
    /// Checks of what the application wrote.
    output: Option<Vec<Value<output::OutputForm>>>,
}

/// In which order frames arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// In that in which they were sent.
    Captured,
}

fn example_losses() -> serde_json::Value {
    serde_json::json!({ "SOCKET_RCVBUFF": 0 })
}

/// The legal values of `[expect]`; the lab, or else the target, and the receiver decide what can be seen, the rate whether
/// there is a schedule.
pub(super) fn check(
    form: Option<Value<Form>>,
    lab: bool,
    receiver: &Receiver,
    rate: &At<Rate>,
    checker: &mut Checker,
) -> Expect {
    let written = form.is_some();
    let form = form.map(Value::into_inner).unwrap_or_default();
    if lab {
        if let Some(sent) = &form.sent {
            let problem = Diagnostic::error("`expect.sent` needs `[target]`")
                .why("in the lab the receiver's wire is seen too")
                .fix("expect `arrived` instead");
            checker.refuse(sent.span(), problem);
        }
    } else {
        let counts = [
            ("arrived", &form.arrived),
            ("accepted", &form.accepted),
            ("delivered", &form.delivered),
            ("consumed", &form.consumed),
        ];
        let counts = counts.map(|(name, count)| (name, count.as_ref().map(Value::span)));
        for (name, span) in counts.into_iter().chain([("order", form.order.as_ref().map(Value::span))]) {
            let Some(span) = span else { continue };
            let problem = Diagnostic::error(format!("`expect.{name}` needs the lab"))
                .why("with `[target]` the receiver is elsewhere: what comes there can't be seen");
            checker.refuse(span, problem.fix("expect `sent` instead"));
        }
    }
    let deaf = receiver
        .listens
        .as_ref()
        .filter(|sockets| lab && sockets.value.iter().all(|socket| socket.transport != Transport::Udp));
    if let Some(listens) = deaf {
        for (name, count) in [("delivered", &form.delivered), ("consumed", &form.consumed)] {
            let Some(count) = count else { continue };
            let problem =
                Diagnostic::error(format!("`expect.{name}` needs a UDP socket, and `[receiver] listens` names none"))
                    .why("datagrams are counted in the queues of UDP sockets")
                    .fix("expect `arrived` instead, or name the UDP sockets in `listens`");
            checker.refuse_because(count.span(), listens.span.as_ref(), "receiver.listens", problem);
        }
    }
    Expect {
        written,
        sent: form.sent.and_then(|count| check_count("expect.sent", &count, checker)),
        arrived: form.arrived.and_then(|count| check_count("expect.arrived", &count, checker)),
        accepted: form.accepted.and_then(|count| check_count("expect.accepted", &count, checker)),
        delivered: form.delivered.and_then(|count| check_count("expect.delivered", &count, checker)),
        consumed: form.consumed.and_then(|count| check_count("expect.consumed", &count, checker)),
        order: form.order.map(|order| order.with(())),
        losses: check_losses(form.losses, checker),
        rewritten: form.rewritten.and_then(|path| checker.path("expect.rewritten", &path)),
        lateness: timing::check("expect.lateness", form.lateness, rate, checker),
        gap_error: timing::check("expect.gap-error", form.gap_error, rate, checker),
        within: form.within.and_then(|within| checker.duration("expect.within", &within)),
        command: form.command.map_or(Vec::new(), |checks| output::check_commands(checks, checker)),
        output: form.output.map_or(Vec::new(), |checks| output::check_outputs(checks, lab, receiver, checker)),
    }
}

fn check_count(name: &str, written: &Value<Scalar>, checker: &mut Checker) -> Option<At<Count>> {
    match quantity::count(written.get()) {
        Ok(count) => Some(written.with(count)),
        Err(misread) => {
            let value = match written.get() {
                Scalar::Integer(number) => number.to_string(),
                Scalar::Text(text) => format!("\"{text}\""),
            };
            let problem = Diagnostic::error(format!("`{name}` can't be {value}"));
            checker.refuse(written.span(), problem.why(misread.why).fix(misread.fix));
            None
        }
    }
}

fn check_losses(form: Option<Entries<Scalar>>, checker: &mut Checker) -> Vec<AllowedLoss> {
    let mut losses = Vec::new();
    for entry in form.map_or(Vec::new(), |entries| entries.0) {
        let cause = entry.key.get();
        let known = Cause::by_name(cause).filter(|cause| *cause != Cause::Unexplained);
        if known.is_none() {
            let problem = Diagnostic::error(format!("unknown cause of loss `{cause}`"))
                .why("a cause is a name of Linux's `enum skb_drop_reason`, or one of restage's own");
            let problem = match vocabulary::nearest(cause, Cause::names()) {
                Some(near) => problem.label(format!("did you mean `{near}`?")).fix(format!("write {near}")),
                None => problem.fix(format!("write one of {}", Cause::names().collect::<Vec<_>>().join(", "))),
            };
            checker.refuse(entry.key.span(), problem);
        }
        let count = check_count(&format!("expect.losses.{cause}"), &entry.value, checker);
        if let (Some(cause), Some(count)) = (known, count) {
            losses.push(AllowedLoss { cause, count: count.value, span: entry.span() });
        }
    }
    losses
}
