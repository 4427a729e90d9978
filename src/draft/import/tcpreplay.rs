//! tcpreplay and tcpreplay-edit.

use super::options::{COMMON, Given, Opt, Options, Tables, flag, value};
use super::sheet::Sheet;
use super::shell::Word;
use super::tcprewrite::{EDIT, edit, number, wrong};
use super::{Cache, Import, Split};
use crate::diagnostic::Result;

const NETMAP: &str = "`[pacing] sender` chooses between a packet socket and AF_XDP";
const FLOWS: &str =
    "restage counts frames at each stage of the receiver; `restage inspect` shows the conversations of a capture";
const UNIQUE: &str = "each repetition sends the same frames; `[matrix]` with a `[rewrite.source] ip` map runs a scenario with several addresses";

const REPLAY: &[Opt] = &[
    flag("q", "quiet").not("`restage run -q` prints less"),
    value("T", "timer").not("`[pacing] precision` says how the sender waits for a deadline"),
    value("", "maxsleep"),
    flag("K", "preload-pcap").not("frames are always ready before their deadline"),
    value("c", "cachefile"),
    flag("2", "dualfile"),
    value("i", "intf1"),
    value("I", "intf2"),
    flag("", "listnics").not("`ip link` lists the interfaces"),
    value("l", "loop"),
    value("", "loopdelay-ms").not("repetitions follow each other at once; `rate = \"every …\"` spreads all frames evenly"),
    flag("", "pktlen").not("restage sends a frame in its captured length; `[capture] truncated = \"pad\"` fills up frames that the snaplen cut"),
    value("L", "limit"),
    value("", "duration"),
    value("x", "multiplier"),
    value("p", "pps"),
    value("M", "mbps"),
    flag("t", "topspeed"),
    flag("o", "oneatatime").not("a run needs no one who presses keys; `[capture] frames = \"1\"` replays one frame"),
    value("", "pps-multi"),
    flag("", "unique-ip").not(UNIQUE),
    value("", "unique-ip-loops").not(UNIQUE),
    flag("", "netmap").not(NETMAP),
    value("", "nm-delay").not(NETMAP),
    flag("", "xdp"),
    value("", "xdp-batch-size").not(NETMAP),
    flag("", "no-flow-stats").not(FLOWS),
    value("", "flow-expiry").not(FLOWS),
    flag("P", "pid").not("`kill -USR1` and the process number that `ps` shows make a run print how far it is"),
    value("", "stats").not("a long run prints how far it is once a minute"),
    flag("w", "suppress-warnings").not("it prints less"),
];
const TCPREPLAY: Tables = &[REPLAY, COMMON];
pub(super) const TCPREPLAY_EDIT: Tables = &[REPLAY, EDIT, COMMON];

/// One tcpreplay, or tcpreplay-edit.
pub(super) fn import(command: &[Word], is_edit: bool, import: &mut Import) -> Result<()> {
    let tables = if is_edit { TCPREPLAY_EDIT } else { TCPREPLAY };
    let options = Options::read(import.source, command, tables, |_| None)?;
    let mut sheet = import.inputs(command, &options.files)?;
    sheet.untranslated_of(&options);
    let cache = import.cache(&options, &mut sheet);
    if is_edit {
        edit(&options, &mut sheet, cache.as_ref())?;
    }
    interfaces(&options, &mut sheet, cache);
    pacing(&options, &mut sheet)?;
    import.replayed(command, sheet)
}

fn interfaces(options: &Options, sheet: &mut Sheet, cache: Option<Cache>) {
    sheet.interface = options.get("intf1").map(|given| given.value.clone());
    if let Some(given) = options.get("dualfile") {
        sheet.text("[capture]", "order", "time", &given.spelled);
    } else if sheet.files.len() > 1 {
        sheet.text(
            "[capture]",
            "order",
            "sequence",
            "The time between two files passes, too; `[pacing] max-gap` shortens it.",
        );
    }
    let Some(given) = options.get("intf2") else { return };
    let filter = match cache.map(|cache| cache.split) {
        Some(Split::Servers(prefixes)) => {
            let nets: Vec<_> = prefixes.iter().map(|prefix| format!("src net {prefix}")).collect();
            Some(format!("not ({})", nets.join(" or ")))
        }
        Some(Split::Filter(clients)) => Some(clients),
        Some(Split::Unknown) | None => None,
    };
    match filter {
        Some(filter) => {
            sheet.filter(&filter, &format!("What clients send: the receiver is the server. {}", given.spelled));
            sheet.remark(given, format!("`{}` has no second receiver", given.spelled), "what servers send is left out: the receiver is the server itself");
        }
        None => sheet.untranslated(
            given,
            "there is one receiver, and it gets both directions; `[capture] filter`, such as \"udp dst port 53\", chooses the one that goes to it",
        ),
    }
}

fn pacing(options: &Options, sheet: &mut Sheet) -> Result<()> {
    const PACING: &str = "[pacing]";
    let rates = ["multiplier", "pps", "mbps", "topspeed"];
    sheet.only_the_last(options, &rates, "rate");
    if let Some(given) = options.given.iter().rfind(|given| rates.iter().any(|name| given.is(name))) {
        match given.opt.name() {
            "multiplier" => sheet.text(PACING, "rate", &format!("{}x", decimal(given, sheet)?), &given.spelled),
            "pps" => rate(given, sheet, "pps")?,
            "mbps" => rate(given, sheet, "Mbps")?,
            _ => sheet.text(PACING, "rate", "topspeed", &given.spelled),
        }
    }
    if let Some(given) = options.get("pps-multi") {
        sheet.set(PACING, "burst", number(given, sheet, &given.value, 1, u32::MAX.into())?.to_string(), &given.spelled);
    }
    if let Some(given) = options.get("maxsleep")
        && number(given, sheet, &given.value, 0, u64::MAX)? > 0
    {
        sheet.text(PACING, "max-gap", &format!("{}ms", given.value), &given.spelled);
    }
    let limits = ["duration", "limit"];
    sheet.only_the_last(options, &limits, "limit");
    if let Some(given) = options.given.iter().rfind(|given| limits.iter().any(|name| given.is(name))) {
        let most = number(given, sheet, &given.value, 1, u64::MAX)?;
        let limit = if given.is("limit") { format!("{most} packets") } else { format!("{most}s") };
        sheet.text(PACING, "limit", &limit, &given.spelled);
    }
    if let Some(given) = options.get("loop") {
        repeat(given, sheet)?;
    }
    if let Some(given) = options.get("xdp") {
        sheet.text(PACING, "sender", "xdp", &given.spelled);
    }
    Ok(())
}

/// `0` is for ever.
pub(super) fn repeat(given: &Given, sheet: &mut Sheet) -> Result<()> {
    match number(given, sheet, &given.value, 0, u32::MAX.into())? {
        0 if sheet.get("[pacing]", "limit").is_some() => {
            sheet.set("[pacing]", "repeat", "1000000", &format!("{}: until the limit", given.spelled));
        }
        0 => sheet.untranslated(
            given,
            "a run has an end; write how often in `[pacing] repeat`, or how long in `[pacing] limit`",
        ),
        times => sheet.set("[pacing]", "repeat", times.to_string(), &given.spelled),
    }
    Ok(())
}

/// A rate in this unit; 0 is as fast as possible.
pub(super) fn rate(given: &Given, sheet: &mut Sheet, unit: &str) -> Result<()> {
    let rate = if given.value.parse() == Ok(0.0) {
        "topspeed".to_owned()
    } else {
        format!("{} {unit}", decimal(given, sheet)?)
    };
    sheet.text("[pacing]", "rate", &rate, &given.spelled);
    Ok(())
}

/// A number above 0, without exponent.
pub(super) fn decimal(given: &Given, sheet: &Sheet) -> Result<f64> {
    let number = given.value.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| wrong(given, sheet, "a number above 0"))
}
