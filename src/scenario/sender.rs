//! `[[sender]]`: the machines that send, each its share of the frames.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checker;
use super::expect::{Expect, Order};
use super::form;
use super::pacing::{Limit, Pacing, Rate};
use super::receiver::{AgentPlace, Place};
use super::step::Step;
use super::topology::{AgentTopology, Topology, why_no_interface};
use crate::diagnostic::{At, Diagnostic};

/// A machine that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// How its agent is started.
    pub at: At<AgentPlace>,
    /// The interface there.
    pub interface: At<String>,
    /// Which of the frames it sends; the same for all.
    pub share: At<Share>,
}

/// Which of the frames a machine sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Whole flows, in turn: the packets between two addresses and ports, in both directions.
    #[default]
    Flows,
    /// Whole exporters, in turn: the packets from one address.
    Exporters,
    /// Every frame: what the capture holds arrives once from each machine.
    Copies,
}

/// A machine that sends its share of the frames. With several all begin at the same time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// Where it is: `ssh:HOST`, `docker-exec:NAME` or `kubectl:NAMESPACE/POD`. Default: this machine.
    #[serde(default)]
    #[schemars(example = &"ssh:root@gen1")]
    at: Option<At<Place>>,
    /// A command that connects its standard input and output with those of the words behind it, which it runs on that machine.
    #[serde(default, deserialize_with = "form::command")]
    #[schemars(with = "Vec<String>", length(min = 1), example = ["ip", "netns", "exec", "gen1"])]
    via: Option<At<Vec<String>>>,
    /// The interface there that sends.
    #[serde(default)]
    #[schemars(required, length(min = 1, max = 15), example = &"eth1")]
    interface: Option<At<String>>,
    /// Which frames: `flows` (each flow from one machine), `exporters` (each source address from one machine) or `copies` (every frame from
    /// each machine). The same for all. Default: flows.
    #[serde(default)]
    #[schemars(example = &"exporters")]
    share: Option<At<Share>>,
}

/// The machines that send; empty where this one does, or one of them is wrong.
pub(super) fn check(forms: Vec<At<Form>>, checker: &mut Checker) -> Vec<Sender> {
    let shares = forms.iter().map(|form| form.value.share.as_ref().map_or(Share::default(), |share| share.value));
    let shares: Vec<Share> = shares.collect();
    if let Some(index) = shares.iter().position(|share| shares.first() != Some(share)) {
        let form = &forms[index];
        let span = form.value.share.as_ref().map_or(form.range(), At::range);
        let problem = Diagnostic::error("every `[[sender]]` has the same `share`")
            .why("the frames are divided among all of them, or each sends all")
            .fix("write the same `share` in each, or in none");
        checker.refuse(span, problem);
    }
    let count = forms.len();
    let senders: Vec<Sender> = forms.into_iter().filter_map(|form| check_one(form, checker)).collect();
    for (index, sender) in senders.iter().enumerate() {
        let is_twin =
            |other: &&Sender| other.at.value == sender.at.value && other.interface.value == sender.interface.value;
        if let Some(twin) = senders.iter().take(index).find(is_twin) {
            let line = checker.line(twin.interface.range().start);
            let problem = Diagnostic::error("two of `[[sender]]` are the same interface of the same machine")
                .why(format!("the other one is on line {line}"))
                .fix("keep one of them");
            checker.refuse(sender.interface.range(), problem);
        }
    }
    if senders.len() == count { senders } else { Vec::new() }
}

/// The topology where other machines send; `span` is the first of their tables, `other` that of `[lab]` or `[target]`.
pub(super) fn topology(
    senders: Vec<Sender>,
    span: Range<usize>,
    other: Option<Range<usize>>,
    at: Option<At<Place>>,
    checker: &mut Checker,
) -> Option<Topology> {
    if let Some(other) = other {
        let problem = Diagnostic::error("`[[sender]]` excludes `[lab]` and `[target]`")
            .why("frames are sent by the machines that it names, each by its own interface")
            .fix("remove this table");
        checker.refuse(other, problem);
        return None;
    }
    let Some(At { value: Place::There(place), span: at }) = at else {
        let problem = Diagnostic::error("`[[sender]]` needs a receiver that is reached by a network")
            .why("what several machines send is put together where it arrives")
            .fix("add `[receiver]` with `at = \"ssh:HOST\"`; on this machine `via = [\"env\"]`, which starts restage here");
        checker.missing("receiver.at", span, problem);
        return None;
    };
    let agent = Some(AgentTopology { at: At { value: place, span: at }, runs_already: true });
    let interface = senders.first()?.interface.clone();
    Some(Topology::Target { interface, agent, senders })
}

/// Nothing says which of two machines sent first.
pub(super) fn refuse_order(order: &At<Order>, checker: &mut Checker) {
    let problem = Diagnostic::error("`expect.order` and `[[sender]]` exclude each other")
        .why("the clocks of several machines are not compared: which frame was sent first is not known")
        .fix("remove it; or send from this machine, with `[target] interface`");
    checker.refuse(order.range(), problem);
}

/// Where only sending shows when a limit is reached, each machine would reach it by itself.
pub(super) fn refuse_limit(pacing: &Pacing, checker: &mut Checker) {
    let limit = pacing.limit.as_ref().filter(|limit| matches!(limit.value, Limit::Duration(_)));
    let Some(limit) = limit.filter(|_| pacing.rate.value == Rate::TopSpeed) else { return };
    let problem = Diagnostic::error("a `pacing.limit` in time at top speed and `[[sender]]` exclude each other")
        .why("how many frames are sent in that time is another number on each machine")
        .fix("limit packets or bytes, or set a rate");
    checker.refuse(limit.range(), problem);
}

/// Whether a record of a copy comes behind its template is not known: an exporter's frames come from several machines.
pub(super) fn refuse_flows(senders: &[Sender], expect: &Expect, checker: &mut Checker) {
    if !senders.iter().any(|sender| sender.share.value == Share::Copies) {
        return;
    }
    let counted = expect.flows.as_ref().map(|flows| ("expect.flows", flows.range()));
    let commands = expect.command.iter().flat_map(|check| {
        [("expect.command.stdout.flows", &check.stdout), ("expect.command.stderr.flows", &check.stderr)]
    });
    let rules = commands.chain(expect.output.iter().map(|check| ("expect.output.flows", &check.rule)));
    let compared = rules.filter_map(|(key, rule)| Some((key, rule.flows.as_ref()?.range())));
    for (key, span) in counted.into_iter().chain(compared) {
        let problem = Diagnostic::error(format!("`{key}` and `share = \"copies\"` exclude each other"))
            .why("the clocks of several machines are not compared: which template comes before which records is not known")
            .fix("remove it; or write `share = \"exporters\"`, and make copies by `[rewrite.flows] copies`");
        checker.refuse(span, problem);
    }
}

/// Machines that send are given their frames before, and stop for nothing between.
pub(super) fn refuse_steps(steps: &[Step], checker: &mut Checker) {
    let Some(first) = steps.first() else { return };
    let problem = Diagnostic::error("`[[step]]` and `[[sender]]` exclude each other")
        .why("the machines send by themselves once they have begun, each its own frames")
        .fix("remove the steps; or send from this machine, with `[target] interface`");
    checker.refuse(first.span.clone(), problem);
}

fn check_one(form: At<Form>, checker: &mut Checker) -> Option<Sender> {
    let table = form.range();
    let Form { at, via, interface, share } = form.value;
    if let (Some(at), Some(via)) = (&at, &via) {
        let problem = Diagnostic::error("`sender.at` and `sender.via` exclude each other")
            .why("both say where the machine is, and `via` how it is reached")
            .fix("remove one of them");
        checker.refuse_because(via.range(), at.span.as_ref(), "sender.at", problem);
        return None;
    }
    let at = match (at, via) {
        (_, Some(At { value, span })) => At { value: AgentPlace::Via(value), span },
        (Some(At { value: Place::There(place), span }), None) => At { value: place, span },
        (Some(At { value: Place::Here(place), span }), None) => {
            let problem = Diagnostic::error(format!("`sender.at` can't be \"{place}\""))
                .why("frames are sent by restage itself, which is started there")
                .fix(
                    "write how it is started: `via = [\"ip\", \"netns\", \"exec\", \"NAME\"]`, or \"docker-exec:NAME\"",
                );
            checker.refuse(span.unwrap_or_default(), problem);
            return None;
        }
        (None, None) => At::default_value(AgentPlace::Via(Vec::new())),
    };
    let Some(interface) = interface else {
        let problem = Diagnostic::error("`[[sender]]` names no `interface`");
        let problem = problem.fix("add `interface = \"…\"`; `ip -br link` lists those of a machine");
        checker.missing("sender.interface", table, problem);
        return None;
    };
    if let Some(why) = why_no_interface(&interface.value) {
        let problem = Diagnostic::error(format!("`{}` is not an interface", interface.value)).why(why);
        checker.refuse(interface.range(), problem.fix("write a name that `ip -br link` lists there"));
        return None;
    }
    Some(Sender { at, interface, share: share.unwrap_or_default() })
}
