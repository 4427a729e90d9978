//! The ledger against what the receiver counted itself, while others send to it, too. Start at [`trials`].

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::application::GROUP;
use crate::common::{User, run};
use crate::frames::{self, PORT, datagram, datagram_to, datagram_v6, fragments, fragments_v6};
use crate::place::{OWN, Place, is_plain_root};

/// So many datagrams each run has.
const DATAGRAMS: u32 = 40;

/// What a receiver does, and what becomes of the capture's datagrams there.
struct Kind {
    name: &'static str,
    behaviour: &'static str,
    port: u16,
    /// The frames of the datagram with a number.
    frames: fn(u32) -> Vec<Vec<u8>>,
    /// The rate, and how often all is sent.
    pacing: (&'static str, u32),
    /// What is done in the namespace before.
    script: &'static str,
    /// The causes that datagrams may be lost by, with how many where that is certain.
    losses: &'static [(&'static str, Option<u64>)],
    needs: Option<&'static str>,
    /// Whether the run waits for a reader that never comes.
    waits: bool,
}

const ALL: Option<u64> = Some(DATAGRAMS as u64);

const fn kind(name: &'static str, behaviour: &'static str) -> Kind {
    Kind {
        name,
        behaviour,
        port: PORT,
        frames: |number| vec![datagram(number)],
        pacing: ("500 pps", 1),
        script: "",
        losses: &[],
        needs: None,
        waits: false,
    }
}

const DROP: &str =
    "nft 'table inet t { chain c { type filter hook input priority 0; ip saddr 192.0.2.1 udp dport 4739 drop; }; }'";
const DROP_OTHERS: &str =
    "nft 'table inet t { chain c { type filter hook input priority 0; ip saddr 10.99.0.1 udp dport 4739 drop; }; }'";
/// The way back is another one, by a rule of policy routing.
const STRICT: &str = "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; ip rule add to 192.0.2.1 lookup 100 pref 100; ip route add default dev eth0 table 100";

const KINDS: &[Kind] = &[
    kind("it reads all", "reads"),
    kind("it sends to its own port", "sends-to-its-own-port"),
    kind("it reads late", "reads-late"),
    Kind { frames: |number| vec![datagram_v6(number)], ..kind("it reads IPv6", "reads-v6") },
    Kind { pacing: ("topspeed", 50), ..kind("it reads all that comes at top speed", "reads") },
    Kind { pacing: ("20000 pps", 50), ..kind("it reads all that comes fast", "reads") },
    Kind {
        frames: |number| vec![datagram_to(number, GROUP, PORT, 20)],
        script: "ip addr add 192.0.2.20/32 dev eth0",
        ..kind("it reads a group", "reads-a-group")
    },
    Kind { frames: fragments, ..kind("it reads fragments", "reads") },
    Kind { frames: fragments_v6, ..kind("it reads fragments of IPv6", "reads-v6") },
    Kind { losses: &[("SOCKET_RCVBUFF", None)], ..kind("it has a small buffer", "small-buffer") },
    Kind { losses: &[("NO_SOCKET", ALL)], port: PORT + 1, ..kind("it listens on another port", "reads-the-next-port") },
    Kind { losses: &[("NO_SOCKET", ALL)], ..kind("it listens on the loopback only", "reads-on-loopback") },
    Kind { losses: &[("NO_SOCKET", None), ("SOCKET_CLOSED", None)], ..kind("it ends early", "ends-early") },
    Kind {
        losses: &[("NO_SOCKET", None), ("SOCKET_CLOSED", None)],
        ..kind("it closes its socket", "closes-with-data-queued")
    },
    Kind {
        losses: &[("NETFILTER_DROP", ALL)],
        script: DROP,
        needs: Some("nft"),
        ..kind("a rule drops the capture", "reads")
    },
    Kind { script: DROP_OTHERS, needs: Some("nft"), ..kind("a rule drops the others", "reads") },
    Kind { losses: &[("IP_RPFILTER", ALL)], script: STRICT, ..kind("the way back is another one", "reads") },
    Kind {
        losses: &[("NOT_READ", None), ("SOCKET_RCVBUFF", None)],
        waits: true,
        ..kind("it stops reading", "reads-fifteen")
    },
];

/// What others send: how many a second, and to which ports of the receiver.
const OTHERS: &[(&str, u32, &[u16])] = &[
    ("nobody else sends", 0, &[]),
    ("others send to it", 150, &[PORT]),
    ("many others send to it", 4000, &[PORT]),
    ("others send elsewhere", 1000, &[9, 8125]),
];

/// On a busy machine an event may be missed, and a run follows no packets: one of so many must.
const FOLLOWING_RUNS: usize = 5;

pub(crate) fn trials(users: &[User]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (others, pps, ports) in OTHERS.iter().filter(|(_, pps, _)| *pps < 4000) {
        let users = users.to_vec();
        trials.push(Trial::test(format!("packets are followed, {others}"), move || {
            let Some(user) = users.iter().copied().find(|user| is_plain_root(*user)) else { return Ok(()) };
            let mut why = Value::Null;
            for _ in 0..FOLLOWING_RUNS {
                let layers = Observed::of(&KINDS[0], *pps, ports, (user, "auto")).outcome["ledger"]["layers"].clone();
                if layers["followed"] == true {
                    return Ok(());
                }
                why = layers;
            }
            Err(Failed::from(format!("no packets are followed: {why}")))
        }));
    }
    for kind in KINDS {
        for (others, pps, ports) in OTHERS {
            let users = users.to_vec();
            trials.push(Trial::test(format!("truth: {}, {others}", kind.name), move || {
                let modes = users.iter().flat_map(|user| ["auto", "counters", "off"].map(|evidence| (*user, evidence)));
                let modes = modes.filter(|(user, evidence)| *evidence == "auto" || is_plain_root(*user) && !kind.waits);
                let wrong: Vec<String> = modes.flat_map(|mode| wrong(kind, *pps, ports, mode)).collect();
                if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
            }));
        }
    }
    trials
}

fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// What restage says, and what the receiver read.
struct Observed {
    outcome: Value,
    text: String,
    numbers: Vec<u64>,
}

impl Observed {
    fn of(kind: &Kind, pps: u32, ports: &[u16], (user, evidence): (User, &str)) -> Self {
        let mut place = Place::new(user);
        if !kind.script.is_empty() {
            place.shell(kind.script);
        }
        let truth = place.start(kind.behaviour, kind.port);
        if pps > 0 {
            place.others_send(pps, &ports.iter().map(|port| format!("{OWN}:{port}")).collect::<Vec<_>>());
        }
        let frames: Vec<Vec<u8>> = (0..DATAGRAMS).flat_map(kind.frames).collect();
        fs::write(place.folder.join("in.pcap"), frames::pcap(&frames)).expect("it can be written");
        let scenario = place.folder.join("s.toml");
        let text = format!(
            "format = 1\n[capture]\nfile = \"in.pcap\"\n[pacing]\nrate = \"{}\"\nrepeat = {}\n[receiver]\nat = \"pid:{}\"\nsettle = \"300ms\"\n\
             [expect]\nconsumed = \"all\"\n",
            kind.pacing.0,
            kind.pacing.1,
            place.pid()
        );
        fs::write(&scenario, text).expect("it can be written");
        let ran = run(user, [scenario.as_os_str(), "--evidence".as_ref(), evidence.as_ref()]);
        Self { outcome: ran.report["scenarios"][0].clone(), text: ran.text, numbers: read(&truth) }
    }
}

/// What restage says otherwise than the receiver.
fn wrong(kind: &Kind, pps: u32, ports: &[u16], (user, evidence): (User, &str)) -> Vec<String> {
    if let Some(program) = kind.needs.filter(|program| !is_installed(program)) {
        println!("skipped: there is no {program}");
        return Vec::new();
    }
    let Observed { outcome, text, numbers } = Observed::of(kind, pps, ports, (user, evidence));
    let each = (kind.frames)(0).len() as u64;
    let is_followed = outcome["ledger"]["layers"]["followed"] == true;
    let all = said_wrong(kind, &outcome, (&numbers, each), pps == 0 || is_followed);
    all.into_iter().map(|what| format!("{user:?}, {evidence}: {what}\n{text}")).collect()
}

/// The numbers of the datagrams that the receiver read.
fn read(truth: &Path) -> Vec<u64> {
    let text = fs::read_to_string(truth).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// `decided`: whether a number that is not known exactly is wrong, too.
fn said_wrong(kind: &Kind, outcome: &Value, (read, each): (&[u64], u64), decided: bool) -> Vec<String> {
    let (verdict, ledger) = (outcome["verdict"].as_str().unwrap_or("none"), &outcome["ledger"]);
    let mut all = Vec::new();
    if !matches!(verdict, "pass" | "fail") {
        return vec![format!("the verdict is {verdict}")];
    }
    let count = read.len() as u64 * each;
    let (low, high) = range(&ledger["consumed"]);
    if count < low || count > high {
        all.push(format!("consumed is {}, and it read {count}", ledger["consumed"]));
    }
    if (verdict == "pass") != (count == u64::from(DATAGRAMS * kind.pacing.1) * each) && (decided || verdict == "pass") {
        all.push(format!("the verdict is {verdict}, and it read {count}"));
    }
    if decided && low != high && kind.losses.is_empty() {
        all.push(format!("consumed is not exact: {}", ledger["consumed"]));
    }
    for loss in ledger["losses"].as_array().into_iter().flatten() {
        let (cause, (low, high)) = (loss["cause"].as_str().unwrap_or_default(), range(&loss["frames"]));
        match kind.losses.iter().find(|(expected, _)| *expected == cause) {
            // Of a range that begins with 0 it is not said that there was such a loss.
            None if low == 0 => {}
            None => all.push(format!("{} frames lost as {cause}", loss["frames"])),
            Some((_, Some(expected))) if *expected < low || *expected > high => {
                all.push(format!("{} frames lost as {cause}, and {expected} were", loss["frames"]));
            }
            Some(_) => {}
        }
    }
    all
}

/// The lowest and the highest number that a count allows.
fn range(count: &Value) -> (u64, u64) {
    match count.as_u64() {
        Some(count) => (count, count),
        None => (count["at-least"].as_u64().unwrap_or(0), count["at-most"].as_u64().unwrap_or(u64::MAX)),
    }
}
