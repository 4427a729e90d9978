//! `[expect]`: what the receiver must show.

mod flows;
mod how_many;
mod json;
mod output;
mod replies;
mod timing;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

pub use self::flows::{Column, FieldMatch, FieldRule, FieldValue, FlowCounts, StoredFlows, StoredFormat};
pub use self::how_many::HowMany;
pub use self::json::{JsonLines, JsonPath, JsonRule};
pub use self::output::{CommandCheck, OutputCheck, OutputFrom, Search, TextRule};
pub use self::replies::Replies;
pub use self::timing::{Bound, Percentile};

use super::check::Checker;
use super::form::{self, DurationText, Entries, Scalar, keys, values};
use super::pacing::Rate;
use super::receiver::{Program, Receiver};
use super::require::Listener;
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

/// What the receiver must show. Absent: UDP datagrams consumed = "all", other frames arrived = "all"; with a target, sent = "all".
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Whether the file has the table at all.
    #[serde(skip)]
    pub written: bool,
    /// Frames that the sending interface accepted; only with `[target]`.
    #[schemars(example = &"all")]
    pub sent: Option<At<Count>>,
    /// Frames on the receiver's wire: 5548, "all", ">= 5500" or "99.9%".
    #[schemars(example = &"all")]
    pub arrived: Option<At<Count>>,
    /// Frames that reached a packet socket of the application: of a sniffer, or a DHCP server.
    #[schemars(example = &"all")]
    pub captured: Option<At<Count>>,
    /// Frames past the receiver's routing and packet filter.
    #[schemars(example = &"all")]
    pub accepted: Option<At<Count>>,
    /// Datagrams in the queue of a UDP socket.
    #[schemars(example = &"all")]
    pub delivered: Option<At<Count>>,
    /// Datagrams that the application read.
    #[schemars(example = &"all")]
    pub consumed: Option<At<Count>>,
    /// `captured`: frames arrive in the order in which they were sent.
    #[schemars(example = &"captured")]
    pub order: Option<At<Order>>,
    /// Causes of loss that are allowed, each with its count.
    #[serde(deserialize_with = "losses")]
    #[schemars(with = "Entries<Count>", example = example_losses())]
    #[schemars(extend("propertyNames" = { "enum": Cause::names().collect::<Vec<_>>() }))]
    pub losses: Vec<AllowedLoss>,
    /// The rewritten frames as reviewed text; written only by --update-snapshots.
    #[schemars(example = &"snapshots/appflow.snap")]
    pub rewritten: Option<At<PathBuf>>,
    /// How far from the schedule sends may be: the limit for each percentile.
    #[serde(deserialize_with = "timing::bounds")]
    #[schemars(with = "timing::Form", example = timing::example())]
    pub lateness: At<Vec<Bound>>,
    /// How far the gaps between consecutive sends may be from those of the schedule: the limit for each percentile.
    #[serde(deserialize_with = "timing::bounds")]
    #[schemars(with = "timing::Form", example = timing::example())]
    pub gap_error: At<Vec<Bound>>,
    /// The longest time from the first send to the last.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"5s")]
    pub within: Option<At<Duration>>,
    /// What the application sends back.
    pub replies: Option<At<Replies>>,
    /// What the flow exports hold that are sent.
    pub flows: Option<At<FlowCounts>>,
    /// Checks by commands, run in order after the application has stopped, or before.
    pub command: Vec<CommandCheck>,
    /// Checks of what the application wrote.
    #[serde(deserialize_with = "output::outputs")]
    #[schemars(with = "Vec<output::OutputForm>")]
    pub output: Vec<OutputCheck>,
}

/// In which order frames arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The order in which they were sent.
    Captured,
}

/// A cause that may be allowed.
struct LossCause(Cause);

values! {
    Count: Scalar, quantity::count, { "type": ["integer", "string"], "minimum": 0, "pattern": quantity::COUNT_PATTERN };
}

keys! {
    LossCause, cause;
}

fn example_losses() -> serde_json::Value {
    serde_json::json!({ "SOCKET_RCVBUFF": 0 })
}

fn cause(name: &str) -> Result<LossCause, Diagnostic> {
    if let Some(cause) = Cause::by_name(name).filter(|cause| *cause != Cause::Unexplained) {
        return Ok(LossCause(cause));
    }
    let problem = Diagnostic::error(format!("unknown cause of loss `{name}`"))
        .why("a cause is a name of Linux's `enum skb_drop_reason`, or one of restage's own");
    if name == "KERNEL" {
        // What reports called a loss before 1.0.
        return Err(problem
            .label("what the receiver's kernel answers or absorbs itself is no loss")
            .fix("remove it: such frames fail nothing, and the report has them as `absorbed`"));
    }
    let all = format!("write one of {}", Cause::names().collect::<Vec<_>>().join(", "));
    Err(vocabulary::suggest(problem, name, Cause::names(), '`', all))
}

fn losses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AllowedLoss>, D::Error> {
    let Entries(entries) = Entries::<Count, LossCause>::deserialize(deserializer)?;
    let losses = entries.into_iter().map(|entry| AllowedLoss {
        cause: entry.key.value.0,
        count: entry.value.value,
        span: entry.span(),
    });
    Ok(losses.collect())
}

impl Expect {
    /// Whether it judges when frames are sent, which other load on the machine changes.
    pub fn measures_time(&self) -> bool {
        !self.lateness.value.is_empty() || !self.gap_error.value.is_empty() || self.within.is_some()
    }

    /// Whether a rule compares what is stored with the records that are sent.
    pub fn compares_flows(&self) -> bool {
        self.rules().any(|rule| rule.flows.is_some())
    }

    /// Every rule for a text.
    pub(super) fn rules(&self) -> impl Iterator<Item = &TextRule> {
        let rules = self.command.iter().flat_map(|check| [&check.stdout, &check.stderr]);
        rules.chain(self.output.iter().map(|check| &check.rule))
    }

    /// The longest `within` of a command or an output.
    pub fn longest_within(&self) -> Option<&At<Duration>> {
        let commands = self.command.iter().filter_map(|check| check.within.as_ref());
        commands.chain(self.output.iter().filter_map(|check| check.within.as_ref())).max_by_key(|within| within.value)
    }

    /// The topology and the receiver decide which stages can be observed; the rate decides whether there is a schedule.
    pub(super) fn check(
        &mut self,
        lab: bool,
        runs_already: bool,
        receiver: &Receiver,
        rate: &At<Rate>,
        checker: &mut Checker,
    ) {
        let in_lab = [
            ("arrived", self.arrived.as_ref().map(At::range)),
            ("captured", self.captured.as_ref().map(At::range)),
            ("accepted", self.accepted.as_ref().map(At::range)),
            ("delivered", self.delivered.as_ref().map(At::range)),
            ("consumed", self.consumed.as_ref().map(At::range)),
            ("order", self.order.as_ref().map(At::range)),
        ];
        let in_lab = in_lab.into_iter().filter_map(|(name, span)| Some((name, span?)));
        if !lab {
            for (name, span) in in_lab {
                let problem = Diagnostic::error(format!("`expect.{name}` needs the lab"))
                    .why("with `[target]` the receiver is on another machine, and its stages can't be observed");
                checker.refuse(span, problem.fix("expect `sent` instead"));
            }
        } else if let Some(sent) = &self.sent {
            let problem = Diagnostic::error("`expect.sent` needs `[target]`")
                .why("in the lab the receiver's wire is observed, too")
                .fix("expect `arrived` instead");
            checker.refuse(sent.range(), problem);
        } else if let Some(listens) = &receiver.program.listens
            && !receiver.programs().flat_map(Program::named_sockets).any(Listener::is_udp)
        {
            for (name, span) in in_lab.filter(|(name, _)| matches!(*name, "delivered" | "consumed")) {
                let what = format!("`expect.{name}` needs a UDP socket, and `[receiver] listens` names none");
                let problem = Diagnostic::error(what)
                    .why("datagrams are counted in the queues of UDP sockets")
                    .fix("expect `arrived` instead, or name the UDP sockets in `listens`");
                checker.refuse_because(span, listens.span.as_ref(), "receiver.listens", problem);
            }
        }
        if let (Some(captured), None, true) = (&self.captured, &receiver.program.command, lab) {
            if !runs_already {
                let problem = Diagnostic::error("`expect.captured` needs an application")
                    .why("restage's own receiver has no packet socket")
                    .fix("add `[receiver] command`, or expect `arrived`");
                checker.missing("receiver.command", captured.range(), problem);
            } else if !receiver.listens_on_packets() {
                let problem =
                    Diagnostic::error("`expect.captured` needs a packet socket, and `[receiver] listens` names none")
                        .why("of a receiver that runs already, packet sockets are looked at where `listens` names them")
                        .fix("add `listens = [\"packet:{receiver}\"]` to `[receiver]`, or expect `arrived`");
                checker.missing("receiver.listens", captured.range(), problem);
            }
        }
        if let Some(word) = rate.value.without_deadlines() {
            for (name, bounds) in [("lateness", &self.lateness), ("gap-error", &self.gap_error)] {
                let Some(span) = bounds.span.clone() else { continue };
                let problem = Diagnostic::error(format!("`expect.{name}` needs a schedule"))
                    .why(format!("at rate \"{word}\" no frame has a time at which it is due"))
                    .fix("name a rate such as \"10000 pps\" in `[pacing]`, or expect `within`");
                checker.refuse_because(span, rate.span.as_ref(), "pacing.rate", problem);
            }
        }
        if let Some(file) = &mut self.rewritten {
            checker.join("expect.rewritten", &mut file.value, file.span.as_ref());
        }
        if let Some(replies) = &mut self.replies {
            replies::check(replies, lab, receiver.program.command.is_some() || runs_already, checker);
        }
        if let Some(flows) = &self.flows {
            FlowCounts::check(flows, checker);
        }
        for check in &mut self.command {
            check.check(checker);
        }
        for (index, check) in self.output.iter_mut().enumerate() {
            check.check(index, lab, receiver, checker);
        }
    }
}
