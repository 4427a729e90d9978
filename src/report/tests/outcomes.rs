//! One outcome of each kind, made by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::diagnostic::{Diagnostic, Source};
use crate::outcome::{
    Absorbed, Amount, Application, CaptureFile, Check, Disagreement, Lateness, LatenessBucket, Layer, Ledger, Loss,
    Outcome, OverTime, Replay, Stage, Step, StepResult, TimedBy, Verdict,
};

/// The scenario that problems point into.
pub(super) const SCENARIO: &str = "format = 1\n\n[capture]\nfile = \"appflow.pcap\"\n\n[expect]\nconsumed = \"all\"\n";

pub(super) fn all() -> Vec<Outcome> {
    vec![
        pass(),
        pass_with_a_loss(),
        rp_filter(),
        several_losses(),
        unexplained(),
        kernel_and_foreign(),
        target(),
        tcp(),
        bare_check(),
        not_accepted(),
        wrong_output(),
        not_decided(),
        ended_early(),
        does_not_stop(),
        application_died(),
        invalid(),
        blocked(),
        skipped(),
    ]
}

fn outcome(name: &str, verdict: Verdict, seconds: f64) -> Outcome {
    let file = format!("scenarios/{name}.toml");
    Outcome {
        id: file.clone(),
        summary: Some("A summary".to_owned()),
        tags: vec!["ipfix".to_owned(), "smoke".to_owned()],
        captures: vec![CaptureFile { file: "scenarios/captures/a.pcap".to_owned(), sha256: Some("ab".repeat(32)) }],
        started: Some("2026-01-02T03:04:05.678Z".parse().expect("a time")),
        seconds,
        ..Outcome::blank(name, Path::new(&file), verdict)
    }
}

fn in_scenario(problem: Diagnostic, name: &str, words: &str) -> Diagnostic {
    let source = Arc::new(Source { path: PathBuf::from(format!("scenarios/{name}.toml")), text: SCENARIO.to_owned() });
    let start = SCENARIO.find(words).expect("the words stand in the scenario");
    problem.at(&source, Some(start..start + words.len()))
}

/// `counts`: sent, arrived, accepted, delivered, consumed. `None` for what can't be seen is put in by the caller.
fn ledger(counts: [u64; 5], losses: Vec<Loss>) -> Ledger {
    let [sent, arrived, accepted, delivered, consumed] = counts;
    Ledger {
        reordered: Some(0),
        read: sent,
        selected: sent,
        rewritten: sent,
        sent,
        arrived: Some(arrived.into()),
        accepted: Some(accepted.into()),
        delivered: Some(delivered.into()),
        consumed: Some(consumed.into()),
        losses,
        ..Ledger::default()
    }
}

fn loss(stage: Stage, cause: &str, packets: u64, frames: Option<&str>) -> Loss {
    Loss {
        stage,
        cause: cause.into(),
        frames: packets.into(),
        evidence: Layer::Stage,
        numbers: frames.map(str::to_owned),
        numbers_assumed: false,
        expected: false,
        why: format!("the rule behind {cause}"),
        fix: format!("what to do about {cause}"),
    }
}

fn expected(loss: Loss) -> Loss {
    Loss { expected: true, ..loss }
}

fn check(what: &str, expected: &str, actual: u64) -> Check {
    Check {
        what: what.into(),
        expected: json!(expected),
        actual: json!(actual),
        passed: false,
        undecided: false,
        line: None,
        problem: None,
    }
}

fn consumed_check(name: &str, actual: u64, of: u64) -> Check {
    let what = format!("expected all {of} frames consumed, {actual} were");
    let problem = in_scenario(Diagnostic::error(what).label("not met"), name, "consumed = \"all\"");
    Check { line: Some(7), problem: Some(problem), ..check("consumed", "all", actual) }
}

fn replay() -> Replay {
    Replay {
        sender: "packet".to_owned(),
        sender_why: "the scenario names it".to_owned(),
        senders: Vec::new(),
        seconds: 0.03,
        pps: Some(184_933.0),
        bits_per_second: Some(1.418e9),
        lateness_us: Some(Lateness { p50: 1.2, p90: 4.0, p99: 9.8, p999: 20.0, max: 40.1 }),
        lateness_histogram: vec![
            LatenessBucket { below_us: 1.0, frames: 3 },
            LatenessBucket { below_us: 2.0, frames: 1 },
        ],
        over_time: Some(OverTime { bucket_seconds: 0.01, sent: vec![2, 2], arrived: Some(vec![2, 1]), lost: None }),
        lateness_from_first_us: None,
        gap_error_us: None,
        scheduled_seconds: None,
        timed_by: TimedBy::Sender,
        max_lossless: None,
    }
}

pub(super) fn pass() -> Outcome {
    Outcome {
        ledger: Some(ledger([720; 5], Vec::new())),
        replay: Some(replay()),
        ..outcome("appflow-reaches-nfcapd", Verdict::Pass, 0.314)
    }
}

pub(super) fn pass_with_a_loss() -> Outcome {
    Outcome {
        ledger: Some(ledger([12, 12, 12, 7, 7], vec![expected(loss(Stage::Delivered, "NO_SOCKET", 5, Some("1-5")))])),
        problems: vec![
            Diagnostic::warning("2 timestamps go back"),
            Diagnostic::note("the receiver's MAC is 02:00:00:00:00:02"),
        ],
        ..outcome("dns", Verdict::Pass, 12.3)
    }
}

pub(super) fn rp_filter() -> Outcome {
    let lost = Loss {
        evidence: Layer::Kernel,
        why: "net.ipv4.conf.all.rp_filter = 1 makes it 1 on every interface, and 10.44.1.17 has no route back through rx0"
            .to_owned(),
        fix: "map the source into 192.0.2.0/24, or add a route to it, or set both values to 0".to_owned(),
        ..loss(Stage::Accepted, "IP_RPFILTER", 5548, Some("1-5548"))
    };
    let check = consumed_check("appflow-ipfix", 0, 5548);
    // As the judge does: the weightiest loss explains the check.
    let explained = check.problem.clone().map(|problem| problem.why(&lost.why).fix(&lost.fix));
    Outcome {
        ledger: Some(ledger([5548, 5548, 0, 0, 0], vec![lost])),
        replay: Some(replay()),
        checks: vec![Check { problem: explained, ..check }],
        ..outcome("appflow-ipfix", Verdict::Fail, 0.41)
    }
}

pub(super) fn several_losses() -> Outcome {
    let losses = vec![
        loss(Stage::Sent, "UNSENDABLE", 1, Some("17")),
        loss(Stage::Accepted, "OTHERHOST", 20, Some("20-39")),
        loss(Stage::Accepted, "IP_RPFILTER", 1_000_000, Some("100-1000099")),
        loss(
            Stage::Delivered,
            "UDP_CSUM",
            30,
            Some("1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49"),
        ),
        loss(Stage::Consumed, "NOT_READ", 9, None),
    ];
    let counts = ledger([1_999_999, 1_999_999, 999_979, 999_949, 999_940], losses);
    Outcome {
        ledger: Some(Ledger {
            read: 2_345_678,
            selected: 2_000_000,
            rewritten: 2_000_000,
            disagreements: vec![Disagreement {
                cause: "OTHERHOST".into(),
                kernel: Some(20),
                stage: Some(21),
                predicted: None,
            }],
            ..counts
        }),
        replay: Some(Replay { pps: None, bits_per_second: None, lateness_us: None, ..replay() }),
        checks: vec![consumed_check("several", 999_940, 2_000_000), check("losses.OTHERHOST", "0", 20)],
        ..outcome("several", Verdict::Fail, 204.4)
    }
}

pub(super) fn unexplained() -> Outcome {
    let lost = Loss {
        why: "12 datagrams left the input chain and came to no socket, and no counter moved".to_owned(),
        fix: "run again as root, where the kernel's own drop reasons can be read".to_owned(),
        ..loss(Stage::Delivered, "unexplained", 12, None)
    };
    Outcome {
        ledger: Some(ledger([100, 100, 100, 88, 88], vec![lost])),
        checks: vec![consumed_check("unexplained", 88, 100)],
        ..outcome("unexplained", Verdict::Fail, 0.2)
    }
}

pub(super) fn kernel_and_foreign() -> Outcome {
    let numbers = Some("1-3".to_owned());
    let absorbed =
        vec![Absorbed { stage: Stage::Delivered, frames: Amount::exact(3), evidence: Layer::Predicted, numbers }];
    let losses = vec![loss(Stage::Delivered, "NO_SOCKET", 1, Some("9"))];
    Outcome {
        ledger: Some(Ledger { foreign: 7, absorbed, ..ledger([10, 10, 10, 6, 6], losses) }),
        checks: vec![check("losses", "none", 1)],
        ..outcome("arp-and-dns", Verdict::Fail, 0.2)
    }
}

pub(super) fn target() -> Outcome {
    let seen = ledger([4, 0, 0, 0, 0], vec![loss(Stage::Sent, "NOT_SENT", 6, Some("5-10"))]);
    Outcome {
        ledger: Some(Ledger {
            read: 10,
            selected: 10,
            rewritten: 10,
            arrived: None,
            accepted: None,
            delivered: None,
            consumed: None,
            ..seen
        }),
        checks: vec![check("sent", "all", 4)],
        ..outcome("to-the-wire", Verdict::Fail, 60.0)
    }
}

pub(super) fn tcp() -> Outcome {
    let seen = ledger([10, 9, 9, 0, 0], vec![loss(Stage::Arrived, "FRAME_TOO_LONG", 1, Some("4"))]);
    Outcome {
        ledger: Some(Ledger { delivered: None, consumed: None, ..seen }),
        checks: vec![check("arrived", "all", 9)],
        ..outcome("tcp", Verdict::Fail, 0.2)
    }
}

/// What is lost before a stage that can't be seen stands before the next that can.
pub(super) fn accepted_unseen() -> Outcome {
    let losses =
        vec![loss(Stage::Accepted, "IP_RPFILTER", 2, Some("1,2")), loss(Stage::Delivered, "NO_SOCKET", 1, Some("3"))];
    Outcome {
        ledger: Some(Ledger { accepted: None, ..ledger([10, 10, 0, 7, 7], losses) }),
        checks: vec![check("consumed", "all", 7)],
        ..outcome("unseen", Verdict::Fail, 0.2)
    }
}

pub(super) fn bare_check() -> Outcome {
    Outcome {
        ledger: Some(ledger([5; 5], Vec::new())),
        checks: vec![Check { line: Some(12), ..check("command nfdump", "1401 lines", 1400) }],
        ..outcome("bare", Verdict::Fail, 0.2)
    }
}

/// A loss that `losses` allows is larger than the one that fails the run, and no reason for it.
pub(super) fn not_accepted() -> Outcome {
    let losses = vec![
        expected(loss(Stage::Accepted, "OTHERHOST", 30, Some("1-30"))),
        loss(Stage::Accepted, "NETFILTER_DROP", 1, Some("31")),
        loss(Stage::Accepted, "IP_CSUM", 1, Some("32")),
        expected(loss(Stage::Delivered, "NO_SOCKET", 40, Some("33-72"))),
    ];
    Outcome {
        ledger: Some(ledger([100, 100, 68, 28, 28], losses)),
        checks: vec![check("accepted", "70", 68)],
        ..outcome("not-accepted", Verdict::Fail, 0.2)
    }
}

/// All losses are expected, and the application's output is not.
pub(super) fn wrong_output() -> Outcome {
    let problem = Diagnostic::error("expected 1,401 lines of what `nfdump` printed, there are 1,400");
    let check = Check { problem: Some(problem), ..check("command nfdump stdout lines", "1401", 1400) };
    Outcome {
        ledger: Some(ledger([20, 20, 20, 19, 19], vec![expected(loss(Stage::Delivered, "NO_SOCKET", 1, Some("7")))])),
        checks: vec![check],
        ..outcome("wrong-output", Verdict::Fail, 0.2)
    }
}

/// The evidence leaves a range.
pub(super) fn not_decided() -> Outcome {
    let lost =
        Loss { frames: Amount::between(0, 20, "copies are counted"), ..loss(Stage::Delivered, "NO_SOCKET", 0, None) };
    let problem = Diagnostic::error(
        "expected all 100 frames to be delivered; can't be decided: the evidence says between 80 and 100",
    );
    let check =
        Check { undecided: true, problem: Some(problem.why("copies are counted")), ..check("delivered", "all", 0) };
    let seen = ledger([100; 5], vec![lost]);
    let delivered = Some(Amount::between(80, 100, "copies are counted"));
    Outcome {
        ledger: Some(Ledger { delivered: delivered.clone(), consumed: delivered, ..seen }),
        checks: vec![check],
        ..outcome("not-decided", Verdict::Fail, 0.2)
    }
}

/// The application ended, and so packets were lost: its end is first.
pub(super) fn ended_early() -> Outcome {
    Outcome {
        problems: vec![Diagnostic::error("the application ended in the middle of the run: signal 11 (SIGSEGV)")],
        ..rp_filter()
    }
}

pub(super) fn application_died() -> Outcome {
    let lines: Vec<_> = (1..=25).map(|line| format!("line {line}")).collect();
    Outcome {
        problems: vec![Diagnostic::error("`nfcapd` ended before its sockets were bound").fix("see what it wrote")],
        application: Some(Application {
            name: None,
            command: ["nfcapd", "-p", "4739"].map(str::to_owned).to_vec(),
            ended: "exit status 255".to_owned(),
            stdout: "hello\n".to_owned(),
            stderr: lines.join("\n") + "\n\u{1b}[31mbind: address in use\u{1b}[0m\n",
        }),
        processes: vec![Application {
            name: Some("postgres".to_owned()),
            command: ["postgres", "-D", "db"].map(str::to_owned).to_vec(),
            ended: "exit status 0".to_owned(),
            stdout: String::new(),
            stderr: "database system is shut down\n".to_owned(),
        }],
        ..outcome("dies", Verdict::Error, 0.1)
    }
}

/// Nothing is sent after a step that fails.
pub(super) fn a_step_fails() -> Outcome {
    let step = |number, what: &str, result| {
        let line = 10 + 3 * number;
        Step { number, line, what: what.to_owned(), result, seconds: Some(0.1), sent: None, ended: None }
    };
    let said = "step 2 failed: `rndc` ended with exit status 1";
    Outcome {
        ledger: Some(ledger([5; 5], Vec::new())),
        steps: vec![
            Step { sent: Some(5), ..step(1, "frames 1-5", StepResult::Done) },
            step(2, "run rndc reload", StepResult::Failed),
            Step { seconds: None, ..step(3, "frames 6-", StepResult::NotDone) },
        ],
        checks: vec![Check {
            what: "step 2".into(),
            expected: "run rndc reload".into(),
            actual: "failed".into(),
            passed: false,
            undecided: false,
            line: Some(16),
            problem: Some(Diagnostic::error(said).why("it said: connection refused")),
        }],
        ..outcome("reloads", Verdict::Fail, 0.3)
    }
}

/// Every expectation is met, and yet the run failed.
pub(super) fn does_not_stop() -> Outcome {
    Outcome {
        ledger: Some(ledger([5; 5], Vec::new())),
        problems: vec![
            Diagnostic::error("`nfcapd` did not end within 5 s of SIGTERM")
                .fix("handle the signal, or name another one in `stop`"),
        ],
        ..outcome("does-not-stop", Verdict::Fail, 5.2)
    }
}

pub(super) fn silent_application() -> Outcome {
    let died = application_died();
    let application =
        died.application.map(|said| Application { stdout: String::new(), stderr: "\n".to_owned(), ..said });
    Outcome { application, ..died }
}

pub(super) fn invalid() -> Outcome {
    let problems = vec![
        in_scenario(Diagnostic::error("unknown key `fil`").label("not a key of `[capture]`"), "broken", "file")
            .why("a key that restage does not know would do nothing, silently")
            .fix("did you mean `file`?"),
        in_scenario(Diagnostic::error("`consumed` can't be observed"), "broken", "consumed").fix("use `arrived`"),
    ];
    Outcome { problems, ..outcome("broken", Verdict::Invalid, 0.0) }
}

pub(super) fn blocked() -> Outcome {
    let problem = Diagnostic::error("a user namespace was refused")
        .why("kernel.apparmor_restrict_unprivileged_userns = 1, and restage has no AppArmor profile")
        .fix("run it as root, or set the sysctl to 0");
    Outcome { problems: vec![problem], ..outcome("no-lab", Verdict::Blocked, 0.01) }
}

pub(super) fn skipped() -> Outcome {
    Outcome { skipped: Some("`snmptrapd` is not installed".to_owned()), ..outcome("snmp-traps", Verdict::Skipped, 0.0) }
}
