//! Which expectations hold, and which losses count, on a plan of eight datagrams: ledgers and evidence are made by hand.

use std::path::Path;
use std::time::Duration;

use super::timing::rate_not_kept;
use super::{Snapshots, examine, judge};
use crate::cause::Cause;
use crate::diagnostic::At;
use crate::evidence::{Arriving, Evidence, Output, Sending};
use crate::outcome::{Amount, Lateness, Layer, Ledger, Loss, SenderReport, Stage};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::expect::{AllowedLoss, Bound, CommandCheck, Count, Expect, HowMany, Order, Percentile, TextRule};
use crate::scenario::receiver::Listens;

/// 8 UDP datagrams; the scenario expects `expect` and nothing else.
pub(super) fn planned(expect: Expect) -> (Scenario, Plan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/the-rewritten-frames-are-as-reviewed.toml");
    let mut scenario = crate::Scenario::from_file(&path).expect("a legal scenario");
    let plan = crate::plan::plan(&scenario, crate::plan::Facts::default()).expect("a plan");
    scenario.expect = expect;
    (scenario, plan)
}

/// As `[expect]` has it.
fn count(count: Count) -> Option<At<Count>> {
    At::default_value(count).into()
}

fn drop(cause: Cause, count: Count) -> AllowedLoss {
    AllowedLoss { cause, count, span: 0..1 }
}

pub(super) fn loss(cause: Cause, stage: Stage, packets: impl Into<Amount>) -> Loss {
    let row = cause.row();
    Loss {
        stage,
        cause,
        frames: packets.into(),
        evidence: Layer::Stage,
        numbers: None,
        numbers_assumed: false,
        expected: false,
        why: row.why.to_owned(),
        fix: row.fix.to_owned(),
    }
}

pub(super) fn range(low: u64, high: u64) -> Amount {
    Amount::between(low, high, "a reason")
}

/// All 8 were sent; `reached` are arrived, accepted, delivered and consumed.
pub(super) fn ledger(reached: [u64; 4], losses: Vec<Loss>) -> Ledger {
    let [arrived, accepted, delivered, consumed] = reached.map(|count| Some(Amount::exact(count)));
    Ledger {
        read: 8,
        selected: 8,
        rewritten: 8,
        sent: 8,
        arrived,
        accepted,
        delivered,
        consumed,
        losses,
        ..Ledger::default()
    }
}

pub(super) fn in_order() -> Evidence {
    Evidence { arriving: Some(Arriving { arrived: 8, ..Arriving::default() }), ..Evidence::default() }
}

/// The names of the checks that fail, a `?` behind those that can't be decided; and the causes of the losses that count.
fn judged(expect: Expect, ledger: Ledger) -> (String, String) {
    judged_of(&planned(expect), ledger, &in_order())
}

pub(super) fn judged_of(
    (scenario, plan): &(Scenario, Plan),
    mut ledger: Ledger,
    evidence: &Evidence,
) -> (String, String) {
    let checks = judge(scenario, plan, evidence, &mut ledger, Snapshots::Compare).checks;
    let failed = checks.iter().filter(|check| !check.passed);
    let failed: Vec<_> =
        failed.map(|check| format!("{}{}", check.what, if check.undecided { "?" } else { "" })).collect();
    let counting = ledger.losses.iter().filter(|loss| !loss.expected);
    let counting: Vec<_> = counting.map(|loss| loss.cause.to_string()).collect();
    assert!(counting.is_empty() || !failed.is_empty(), "a loss that counts fails the run");
    (failed.join(" "), counting.join(" "))
}

fn is(failed: &str, counting: &str) -> (String, String) {
    (failed.to_owned(), counting.to_owned())
}

#[test]
fn without_expectations_all_must_arrive_and_be_consumed() {
    let nothing = Expect::default;
    assert_eq!(judged(nothing(), ledger([8; 4], vec![])), is("", ""));
    let lost = vec![loss(Cause::NoSocket, Stage::Delivered, 1)];
    assert_eq!(judged(nothing(), ledger([8, 8, 7, 7], lost)), is("consumed", "NO_SOCKET"));
    let lost = vec![loss(Cause::CpuBacklog, Stage::Arrived, 1)];
    assert_eq!(judged(nothing(), ledger([7; 4], lost)), is("arrived consumed", "CPU_BACKLOG"));
}

#[test]
fn a_loss_of_another_protocol_counts_where_nothing_else_explains_what_is_missing() {
    let other = || loss(Cause::UnhandledProto, Stage::Accepted, 1);
    let socket = loss(Cause::NoSocket, Stage::Delivered, 1);
    assert_eq!(judged(Expect::default(), ledger([8, 7, 7, 7], vec![other()])), is("consumed", "UNHANDLED_PROTO"));
    let lost = vec![other(), socket];
    assert_eq!(judged(Expect::default(), ledger([8, 7, 7, 7], lost)), is("consumed", "NO_SOCKET"));
}

#[test]
fn where_sockets_are_not_watched_arriving_is_enough() {
    let (mut scenario, plan) = planned(Expect::default());
    scenario.receiver.program.listens = Some(At::default_value(Listens::default()));
    let lost = || vec![loss(Cause::NoSocket, Stage::Delivered, 8)];
    let unwatched = (scenario, plan);
    assert_eq!(judged_of(&unwatched, ledger([8, 8, 0, 0], lost()), &in_order()), is("", ""));
    assert_eq!(judged(Expect::default(), ledger([8, 8, 0, 0], lost())), is("consumed", "NO_SOCKET"));
}

#[test]
fn a_count_allows_so_many_losses_and_nothing_unexplained() {
    let at_least_6 = || Expect { consumed: count(Count::AtLeast(6)), ..Expect::default() };
    let lost = |amount: Amount| vec![loss(Cause::NoSocket, Stage::Delivered, amount)];
    for (consumed, losses, failed, counting) in [
        (6, lost(2.into()), "", ""),
        (5, lost(3.into()), "consumed", "NO_SOCKET"),
        // More came than was lost leaves: frames came twice.
        (6, lost(3.into()), "losses", "NO_SOCKET"),
        (6, lost(range(1, 3)), "", ""),
        (6, lost(range(3, 4)), "losses", "NO_SOCKET"),
        (7, vec![loss(Cause::Unexplained, Stage::Delivered, 1)], "losses", "unexplained"),
        (7, vec![loss(Cause::Unexplained, Stage::Delivered, range(0, 1))], "", ""),
    ] {
        let what = format!("{consumed} consumed, {losses:?}");
        let found = judged(at_least_6(), ledger([8, 8, 8, consumed], losses));
        assert_eq!(found, is(failed, counting), "{what}");
    }
}

#[test]
fn losses_behind_the_last_stage_that_is_judged_are_expected() {
    let arrived = |count_of| Expect { arrived: count(count_of), ..Expect::default() };
    let behind = vec![loss(Cause::IpCsum, Stage::Accepted, 8), loss(Cause::Unexplained, Stage::Delivered, 1)];
    assert_eq!(judged(arrived(Count::All), ledger([8, 0, 0, 0], behind.clone())), is("", ""));
    let accepted = Expect { accepted: count(Count::AtLeast(0)), ..Expect::default() };
    assert_eq!(judged(accepted, ledger([8, 0, 0, 0], behind)), is("", ""));
    // A loss at the stage itself is judged.
    let at = vec![loss(Cause::CpuBacklog, Stage::Arrived, 2)];
    assert_eq!(judged(arrived(Count::AtLeast(7)), ledger([7; 4], at)), is("losses", "CPU_BACKLOG"));
    // Of two stages, the one that fails is about what was lost before it.
    let both = Expect { arrived: count(Count::All), consumed: count(Count::AtLeast(4)), ..Expect::default() };
    let lost = vec![loss(Cause::CpuBacklog, Stage::Arrived, 1), loss(Cause::NoSocket, Stage::Delivered, 1)];
    assert_eq!(judged(both, ledger([7, 7, 6, 6], lost)), is("arrived", "CPU_BACKLOG"));
}

#[test]
fn datagrams_are_not_lost_by_what_only_other_protocols_meet() {
    let others = || {
        vec![
            loss(Cause::UnhandledProto, Stage::Accepted, 1),
            loss(Cause::IpNoproto, Stage::Delivered, 1),
            loss(Cause::TcpCsum, Stage::Delivered, 1),
        ]
    };
    let consumed = Expect { consumed: count(Count::All), ..Expect::default() };
    assert_eq!(judged(consumed, ledger([8; 4], others())), is("", ""));
    let delivered = Expect { delivered: count(Count::All), ..Expect::default() };
    assert_eq!(judged(delivered, ledger([8; 4], others())), is("", ""));
    let accepted = Expect { accepted: count(Count::All), ..Expect::default() };
    assert_eq!(judged(accepted, ledger([8; 4], others())), is("losses", "UNHANDLED_PROTO"));
}

#[test]
fn drops_are_required_to_be_that_many() {
    let allows_2 = || Expect { losses: vec![drop(Cause::NoSocket, Count::Exactly(2))], ..Expect::default() };
    let of = |amount: Amount| loss(Cause::NoSocket, Stage::Delivered, amount);
    for (losses, failed, counting) in [
        (vec![of(2.into())], "", ""),
        (vec![of(3.into())], "losses.NO_SOCKET", "NO_SOCKET"),
        (vec![of(1.into())], "losses.NO_SOCKET", ""),
        (vec![], "losses.NO_SOCKET", ""),
        (vec![of(range(1, 3))], "losses.NO_SOCKET?", "NO_SOCKET"),
        (vec![of(2.into()), loss(Cause::IpCsum, Stage::Accepted, 1)], "losses", "IP_CSUM"),
        (vec![of(1.into()), loss(Cause::IpCsum, Stage::Accepted, 1)], "losses.NO_SOCKET", "IP_CSUM"),
        // Nothing is expected of consumed.
        (vec![of(2.into()), loss(Cause::NotRead, Stage::Consumed, 1)], "", ""),
    ] {
        let what = format!("{losses:?}");
        assert_eq!(judged(allows_2(), ledger([8, 8, 6, 6], losses)), is(failed, counting), "{what}");
    }
    let (scenario, plan) = planned(allows_2());
    let checks = judge(&scenario, &plan, &in_order(), &mut ledger([8; 4], vec![]), Snapshots::Compare).checks;
    assert_eq!((checks[0].expected.to_string(), checks[0].actual.to_string()), ("2".to_owned(), "0".to_owned()));
}

#[test]
fn a_range_that_does_not_decide_fails_and_says_so() {
    let consumed = Expect { consumed: count(Count::All), ..Expect::default() };
    let mut open = ledger([8; 4], vec![loss(Cause::SocketRcvbuff, Stage::Delivered, range(0, 2))]);
    open.consumed = Some(range(6, 8));
    assert_eq!(judged(consumed, open), is("consumed?", "SOCKET_RCVBUFF"));
}

#[test]
fn what_could_not_be_observed_fails() {
    let expect =
        Expect { accepted: count(Count::All), order: Some(At::default_value(Order::Captured)), ..Expect::default() };
    let unseen = Ledger { accepted: None, ..ledger([8; 4], vec![]) };
    assert_eq!(judged_of(&planned(expect), unseen, &Evidence::default()), is("accepted order", ""));
    let late = Arriving { arrived: 8, reordered: 1, first_reordered: Some(3), ..Arriving::default() };
    let expect = Expect { order: Some(At::default_value(Order::Captured)), ..Expect::default() };
    let evidence = Evidence { arriving: Some(late), ..Evidence::default() };
    assert_eq!(judged_of(&planned(expect), ledger([8; 4], vec![]), &evidence), is("order", ""));
}

#[test]
fn all_is_what_can_reach_a_stage_in_all_rounds() {
    let all = |stage: Stage| {
        let mut expect = Expect::default();
        *(if stage == Stage::Accepted { &mut expect.accepted } else { &mut expect.consumed }) = count(Count::All);
        expect
    };
    let of = |planned: &(Scenario, Plan), reached: u64| {
        let reached = Some(Amount::exact(reached));
        let ledger = Ledger { accepted: reached.clone(), consumed: reached, ..ledger([8; 4], vec![]) };
        judged_of(planned, ledger, &in_order()).0
    };
    let with = |stage, change: fn(&mut Scenario, &mut Plan)| {
        let (mut scenario, mut plan) = planned(all(stage));
        change(&mut scenario, &mut plan);
        (scenario, plan)
    };
    for stage in [Stage::Accepted, Stage::Consumed] {
        let twice = with(stage, |_, plan| plan.rounds = 2);
        assert_eq!([8, 16].map(|reached| of(&twice, reached)), [stage.name(), ""]);
    }
    // What there are too many kinds of carries IP, too.
    let crowded = with(Stage::Accepted, |_, plan| plan.survey.unclassed.add(9));
    assert_eq!([8, 9].map(|reached| of(&crowded, reached)), ["accepted", ""]);
    // Datagrams in an encapsulation are among all, unless they are expected to be lost in it.
    let seen = || ledger([8, 7, 7, 7], vec![loss(Cause::UnhandledProto, Stage::Accepted, 1)]);
    let hidden = with(Stage::Consumed, |_, plan| plan.survey.hidden_udp_frames.add(1));
    assert_eq!(judged_of(&hidden, seen(), &in_order()), is("consumed", "UNHANDLED_PROTO"));
    let expected = with(Stage::Consumed, |scenario, plan| {
        plan.survey.hidden_udp_frames.add(1);
        scenario.expect.losses = vec![drop(Cause::UnhandledProto, Count::Exactly(1))];
    });
    assert_eq!(judged_of(&expected, seen(), &in_order()), is("", ""));
}

const DEVIATIONS: Lateness = Lateness { p50: 10.0, p90: 20.0, p99: 30.0, p999: 40.0, max: 50.0 };

/// What fails where each of these bounds is so many microseconds.
fn bounded(bounds: [u64; 5], gaps: bool) -> String {
    let percentiles = [Percentile::P50, Percentile::P90, Percentile::P99, Percentile::P999, Percentile::Max];
    let bound = |(percentile, most)| Bound { percentile, most: Duration::from_micros(most), span: 0..1 };
    let bounds: Vec<Bound> = percentiles.into_iter().zip(bounds).map(bound).collect();
    let (lateness, gap_error) = if gaps { (vec![], bounds) } else { (bounds, vec![]) };
    let sending = Sending {
        lateness: Some(if gaps { Lateness { p50: 0.0, p90: 0.0, p99: 0.0, p999: 0.0, max: 0.0 } } else { DEVIATIONS }),
        gap_error: Some(DEVIATIONS),
        ..Sending::default()
    };
    let expect =
        Expect { lateness: At::default_value(lateness), gap_error: At::default_value(gap_error), ..Expect::default() };
    judged_of(&planned(expect), ledger([8; 4], vec![]), &Evidence { sending, ..in_order() }).0
}

#[test]
fn each_percentile_is_held_to_its_own_bound() {
    assert_eq!(bounded([10, 20, 30, 40, 50], false), "");
    assert_eq!(bounded([9, 20, 30, 40, 50], false), "lateness.p50");
    assert_eq!(bounded([10, 19, 30, 40, 50], false), "lateness.p90");
    assert_eq!(bounded([10, 20, 29, 40, 50], false), "lateness.p99");
    assert_eq!(bounded([10, 20, 30, 39, 50], false), "lateness.p999");
    assert_eq!(bounded([10, 20, 30, 40, 49], false), "lateness.max");
    assert_eq!(bounded([10, 20, 30, 40, 50], true), "");
    assert_eq!(
        bounded([9, 19, 29, 39, 49], true),
        "gap-error.p50 gap-error.p90 gap-error.p99 gap-error.p999 gap-error.max"
    );
    // One frame has no deviation.
    let bound = Bound { percentile: Percentile::Max, most: Duration::from_nanos(1), span: 0..1 };
    let expect = Expect { lateness: At::default_value(vec![bound]), ..Expect::default() };
    assert_eq!(judged(expect, ledger([8; 4], vec![])), is("", ""));
}

#[test]
fn sending_takes_at_most_the_time_that_is_expected() {
    let within = |seconds: f64, scheduled: Option<f64>| {
        let expect = Expect { within: Some(At::default_value(Duration::from_secs(2))), ..Expect::default() };
        let sending = Sending { seconds, scheduled_seconds: scheduled, ..Sending::default() };
        let (scenario, plan) = planned(expect);
        let evidence = Evidence { sending, ..in_order() };
        let checks = judge(&scenario, &plan, &evidence, &mut ledger([8; 4], vec![]), Snapshots::Compare).checks;
        checks.into_iter().find(|check| !check.passed).and_then(|check| check.problem)
    };
    assert_eq!(within(2.0, None), None);
    assert!(within(2.001, None).is_some_and(|problem| problem.what.contains("it took 2.001 s")));
    let why = |scheduled| within(4.0, Some(scheduled)).and_then(|problem| problem.why).expect("a reason");
    assert_eq!(why(3.0), "the schedule itself takes 3 s");
    assert_eq!(why(2.0), "the machine, or the interface, was not fast enough");
}

#[test]
fn a_rate_that_is_not_kept_is_named_with_what_was_achieved() {
    let (scenario, _) = planned(Expect::default());
    let sending = |tried| Sending { tried, seconds: 0.019, scheduled_seconds: Some(0.009_5), ..Sending::default() };
    let told = |tried, find| {
        let evidence = Evidence { sending: sending(tried), max_lossless: find, ..Evidence::default() };
        rate_not_kept(&scenario, &evidence).map(|problem| problem.what)
    };
    let twenty = "the rate was not kept: requested 2 kpps, achieved 1 kpps";
    assert_eq!([19, 20].map(|tried| told(tried, None)), [None, Some(twenty.to_owned())]);
    let find =
        crate::outcome::RateSearch { pps: None, limit: None, queued: None, unfinished: None, trials: Vec::new() };
    assert_eq!(told(20, Some(find)), None, "a search has no schedule");
}

#[test]
fn a_machine_that_does_not_keep_the_rate_is_named() {
    let (scenario, _) = planned(Expect::default());
    let sender = |at: &str, seconds| SenderReport {
        at: at.to_owned(),
        interface: "eth1".to_owned(),
        sent: 100,
        seconds,
        scheduled_seconds: Some(1.0),
        lateness_us: None,
    };
    let told = |senders: &[SenderReport]| {
        // All of them together took longer, since they began at different times.
        let sending = Sending { tried: 300, seconds: 2.0, scheduled_seconds: Some(1.0), ..Sending::default() };
        let evidence = Evidence { sending, senders: senders.to_vec(), ..Evidence::default() };
        rate_not_kept(&scenario, &evidence).map(|problem| (problem.what, problem.why.unwrap_or_default()))
    };
    assert_eq!(told(&[sender("a", 1.0), sender("b", 1.001)]), None);
    let (what, why) = told(&[sender("a", 1.2), sender("b", 1.5), sender("c", 1.0)]).expect("two are slower");
    assert_eq!(what, "`b` did not keep the rate");
    let expected = "sending took 1.5 s, the schedule 1 s, by its own clock: it, or its interface `eth1`, was not fast enough; 1 other machine did not \
                    keep it, either";
    assert_eq!(why, expected);
}

#[test]
fn the_output_of_a_command_is_held_to_each_rule() {
    let check = |stdout: TextRule, (text, status): (&str, Option<i32>)| {
        let output = Output {
            stdout: examine(&stdout, || Ok(text.as_bytes())).expect("it can be read"),
            status,
            ..Output::default()
        };
        let command = CommandCheck {
            run: At::default_value(vec!["nfdump".to_owned()]),
            status: At::default_value(0),
            stdout,
            stderr: TextRule::default(),
            within: None,
            when: None,
        };
        let expect = Expect { command: vec![command], ..Expect::default() };
        let evidence = Evidence { commands: [(0, output)].into(), ..in_order() };
        judged_of(&planned(expect), ledger([8; 4], vec![]), &evidence).0.replace("command nfdump ", "")
    };
    let said = |text| (text, Some(0));
    let none = TextRule::default;
    assert_eq!(check(none(), said("")), "");
    assert_eq!(check(none(), ("", Some(1))), "status");
    assert_eq!(check(none(), ("", None)), "status", "a signal ended it");
    let lines = || TextRule { lines: Some(At::default_value(HowMany::exactly(2))), ..none() };
    assert_eq!([check(lines(), said("1\n2\n")), check(lines(), said("1\n"))], ["", "stdout lines"]);
}
