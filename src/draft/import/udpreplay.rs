//! udpreplay, which sends the datagrams of a capture from sockets of its own.

use super::Import;
use super::options::{Opt, Options, Tables, flag, value};
use super::shell::Word;
use super::tcpreplay::repeat;
use super::tcprewrite::{number, wrong};
use crate::diagnostic::Result;

const SOCKET: &str = "frames are sent as they were captured, and no socket option holds for them";

const UDPREPLAY: &[Opt] = &[
    value("i", ""),
    flag("b", "").not(SOCKET),
    flag("l", "").not(SOCKET),
    value("s", ""),
    value("c", ""),
    value("r", ""),
    value("t", ""),
];
pub(super) const ALL: Tables = &[UDPREPLAY];

/// One udpreplay.
pub(super) fn import(command: &[Word], import: &mut Import) -> Result<()> {
    let options = Options::read(import.source, command, ALL, |_| None)?;
    let mut sheet = import.inputs(command, &options.files)?;
    sheet.untranslated_of(&options);
    sheet.interface = options.get("i").map(|given| given.value.clone());
    sheet.filter("ip and udp", "udpreplay sends IPv4 datagrams alone. Here they keep their captured source.");
    sheet.text("[capture]", "truncated", "skip", "udpreplay leaves out what the snaplen cut.");
    sheet.only_the_last(&options, &["s", "c"], "rate");
    if let Some(given) = options.get("s") {
        let factor: f64 = given.value.parse().map_err(|_| wrong(given, &sheet, "a number"))?;
        if factor <= 0.0 {
            sheet.text("[pacing]", "rate", "topspeed", &given.spelled);
        } else {
            sheet.text("[pacing]", "rate", &format!("{}x", 1.0 / factor), &given.spelled);
            sheet.remark(
                given,
                format!("`{}` is taken as what udpreplay 1.0 does", given.spelled),
                "it multiplies the gaps between frames: 2 is half as fast",
            );
        }
    }
    if let Some(given) =
        options.given.iter().rfind(|given| given.is("s") || given.is("c")).filter(|given| given.is("c"))
    {
        match number(given, &sheet, &given.value, 0, u64::MAX)? {
            0 => sheet.text("[pacing]", "rate", "topspeed", &given.spelled),
            gap => sheet.text("[pacing]", "rate", &format!("every {gap}ms"), &given.spelled),
        }
    }
    if let Some(given) = options.get("t") {
        let ttl = number(given, &sheet, &given.value, 0, 255)?;
        sheet.set(
            "[rewrite.header]",
            "ttl",
            ttl.to_string(),
            &format!("{} (udpreplay: of multicast datagrams)", given.spelled),
        );
    }
    if let Some(given) = options.get("r") {
        if given.value == "-1" {
            sheet.untranslated(
                given,
                "a run has an end; write how often in `[pacing] repeat`, or how long in `[pacing] limit`",
            );
        } else {
            repeat(given, &mut sheet)?;
        }
    }
    import.replayed(command, sheet)
}
