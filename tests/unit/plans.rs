//! What scenarios of many kinds are planned to do, as one reviewed table: figures, the lab's receiver, predictions, notes and refusals.

use std::fmt::Write as _;
use std::path::Path;

use super::{Facts, LinkFacts, Plan, plan};
use crate::diagnostic::Diagnostic;
use crate::packet::MacAddr;
use crate::scenario::Scenario;

/// The capture, and further lines of a scenario; `[capture]` is open at their beginning.
const SCENARIOS: &[(&str, &str)] = &[
    ("syslog.pcap", ""),
    ("syslog.pcap", "[pacing]\nrepeat = 3\nrate = \"100 pps\"\n"),
    ("syslog.pcap", "[pacing]\nrepeat = 3\nrate = \"100 pps\"\nlimit = \"50 packets\"\n"),
    ("syslog.pcap", "[pacing]\nrepeat = 2\nrate = \"every 10ms\"\nburst = 8\n"),
    ("syslog.pcap", "[pacing]\nrate = \"topspeed\"\n"),
    ("syslog.pcap", "[pacing]\nrate = \"max-lossless\"\n"),
    ("syslog.pcap", "[pacing]\nrate = \"4x\"\n"),
    ("syslog.pcap", "[receiver]\ncommand = [\"a\"]\nsettle = \"20s\"\nready = { within = \"60s\" }\n"),
    ("syslog.pcap", "[receiver]\ncommand = [\"a\"]\nready = { within = \"5s\" }\n"),
    ("hours", "[pacing]\nrate = \"1 pps\"\n"),
    (
        "syslog.pcap",
        "frames = \"1-3\"\n[lab]\naddresses = [\"192.0.2.1/24\"]\nmac = \"02:00:00:00:00:77\"\nroutes = []\n",
    ),
    ("syslog.pcap", "frames = \"41-\"\n"),
    ("syslog.pcap", "filter = \"tcp\"\n"),
    ("syslog.pcap", "filter = \"tcp\"\nframes = \"1-5\"\n"),
    ("syslog.pcap", "filter = \"udp\"\nframes = \"41-50\"\n"),
    ("syslog-in-a-vlan.pcap", "filter = \"udp\"\n"),
    ("syslog-in-a-vlan.pcap", ""),
    ("syslog-to-a-group.pcap", ""),
    ("syslog-to-a-group.pcap", "[rewrite.destination]\nip = { \"239.0.0.0/8\" = \"192.0.2.20/32\" }\n"),
    ("syslog-to-a-group.pcap", "[rewrite.destination]\nip = { \"224.0.0.0/4\" = \"192.0.2.20/32\" }\n"),
    ("syslog-over-ipv6.pcap", ""),
    ("syslog-in-fragments.pcap", "[pacing]\nrepeat = 2\n"),
    ("syslog-in-jumbo-frames.pcap", ""),
    ("syslog-in-jumbo-frames.pcap", "[lab]\nmtu = 3000\n"),
    ("syslog-in-jumbo-frames.pcap", "[rewrite]\noversize = \"skip\"\n"),
    ("syslog-in-jumbo-frames.pcap", "[rewrite]\noversize = \"truncate\"\n"),
    (
        "syslog.pcap",
        "[rewrite]\noversize = \"skip\"\n[rewrite.payload.syslog]\nreplace = { '$' = \"0123456789012345678901234567890123456789\" }\n[lab]\nmtu = 160\n",
    ),
    (
        "softflowd-netflow-v5.pcap",
        "[rewrite.source]\nip = { \"0.0.0.0/0\" = \"198.18.0.1/32\" }\n[rewrite.flows]\ncopies = 2\n",
    ),
    ("syslog-in-jumbo-frames.pcap", "[lab]\nmtu = 9000\n"),
    ("syslog-cut-by-snaplen.pcap", ""),
    ("syslog-cut-by-snaplen.pcap", "truncated = \"skip\"\n"),
    ("syslog-cut-by-snaplen.pcap", "truncated = \"pad\"\n"),
    ("syslog-cut-by-snaplen.pcap", "truncated = \"send\"\n"),
    ("syslog-on-any-interface.pcap", ""),
    ("syslog-with-offloaded-checksums.pcap", ""),
    ("dns-over-tcp.pcap", "[receiver]\ncommand = [\"a\"]\n"),
    (
        "dns-over-tcp.pcap",
        "[receiver]\ncommand = [\"a\"]\nlistens = [\"tcp:53\"]\n[[expect.output]]\nfrom = \"stdout\"\ncontains = \"x\"\n",
    ),
    ("dns-over-tcp.pcap", "[expect]\nconsumed = \"all\"\n"),
    ("dns.pcap", "filter = \"udp\"\n"),
    ("dns.pcap", "filter = \"udp\"\n[rewrite.both]\nmac = \"receiver\"\n"),
    ("dns.pcap", "filter = \"udp dst port 53\"\n[expect.replies]\ncount = \"all\"\n"),
    ("syslog.pcap", "[rewrite.source]\nip = { \"10.99.0.0/16\" = \"192.0.2.0/24\" }\n"),
    ("syslog.pcap", "[target]\ninterface = \"eth9\"\n"),
    ("syslog-in-jumbo-frames.pcap", "[target]\ninterface = \"eth9\"\n"),
    ("syslog-on-any-interface.pcap", "[target]\ninterface = \"eth9\"\n"),
    (
        "syslog-in-fragments.pcap",
        "[receiver]\nvia = [\"env\"]\n[[sender]]\ninterface = \"eth8\"\nshare = \"copies\"\n[[sender]]\ninterface = \"eth9\"\nshare = \"copies\"\n",
    ),
    (
        "syslog-in-fragments.pcap",
        "[receiver]\nvia = [\"env\"]\n[[sender]]\ninterface = \"eth8\"\nshare = \"flows\"\n[[sender]]\ninterface = \"eth9\"\nshare = \"flows\"\n",
    ),
    (
        "syslog.pcap",
        "[receiver]\nvia = [\"env\"]\n[[sender]]\ninterface = \"eth8\"\nshare = \"copies\"\n[[sender]]\ninterface = \"eth9\"\nshare = \"copies\"\n",
    ),
];

fn planned(capture: &str, lines: &str) -> crate::diagnostic::Result<Plan> {
    let (file, timeout) = if capture == "hours" { ("syslog.pcap", "timeout = \"5s\"\n") } else { (capture, "") };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/captures").join(file);
    let text = format!("format = 1\n{timeout}[capture]\nfile = \"{}\"\n{lines}", file.display());
    let scenario = Scenario::from_text(&text)?;
    let sender =
        scenario.topology.interface().map(|_| LinkFacts { mac: MacAddr([2, 0, 0, 0, 0, 9]), mtu: 1500, gateway: None });
    plan(&scenario, Facts { sender, ..Facts::default() })
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    let _infallible = writeln!(
        text,
        "  {} frames, {:?}, timeout {:?}, MTU {}, framing {:?}",
        plan.frames(),
        plan.duration,
        plan.timeout,
        plan.medium.mtu,
        plan.medium.framing
    );
    if let Some(host) = &plan.host {
        let listens: Vec<_> = host.listens.iter().map(ToString::to_string).collect();
        let _infallible = writeln!(
            text,
            "  receiver {} {:?}, listens {listens:?}, joined {:?}, fragments {:?}",
            host.mac, host.addresses, host.joined, plan.reassembly_timeout
        );
    }
    for prediction in &plan.predictions {
        let (frames, end) = (prediction.class.frames.shown(), &prediction.disposition);
        let _infallible = writeln!(text, "  frames {frames}: {end:?} before {}; {}", prediction.stage, prediction.why);
    }
    if !plan.sent_to.is_empty() {
        let _infallible = writeln!(text, "  sent to {:?}", plan.sent_to);
    }
    text.extend(plan.notes.iter().map(|note| message("note", note)));
    text
}

fn message(kind: &str, problem: &Diagnostic) -> String {
    let [why, fix] = [&problem.why, &problem.fix].map(|text| text.as_deref().unwrap_or("-"));
    format!("  {kind}: {}\n    why: {why}\n    fix: {fix}\n", problem.what)
}

#[test]
fn every_kind_of_scenario_is_planned_or_refused_as_reviewed() {
    let mut table = String::new();
    for (capture, lines) in SCENARIOS {
        let _infallible = writeln!(table, "{capture} {}", lines.trim_end().replace('\n', ", "));
        table += &match planned(capture, lines) {
            Ok(plan) => shown(&plan),
            Err(failure) => failure.problems.iter().map(|problem| message("refused", problem)).collect(),
        };
    }
    insta::assert_snapshot!(table.replace(env!("CARGO_MANIFEST_DIR"), "…"));
}
