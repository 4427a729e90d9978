//! bittwist, before and since version 3.

use super::Import;
use super::options::{Opt, Options, Tables, flag, value};
use super::shell::Word;
use super::tcpreplay::{decimal, rate, repeat};
use super::tcprewrite::{number, wrong};
use crate::diagnostic::Result;

const BITTWIST: &[Opt] = &[
    flag("d", "").not("`ip link` lists the interfaces"),
    flag("v", "").not("`restage rewrite SCENARIO -o - | tcpdump -nr -` prints the frames"),
    flag("j", "").not("`[lab] mtu = 9000` lets jumbo frames through"),
    flag("h", "").not("it only prints; `restage help` is there instead"),
    value("i", ""),
    value("s", ""),
    value("l", ""),
    value("c", ""),
    value("m", ""),
    value("p", ""),
    value("r", ""),
    value("t", ""),
];
pub(super) const ALL: Tables = &[BITTWIST];

/// One bittwist.
pub(super) fn import(command: &[Word], import: &mut Import) -> Result<()> {
    let options = Options::read(import.source, command, ALL, |_| None)?;
    let mut sheet = import.inputs(command, &options.files)?;
    sheet.untranslated_of(&options);
    sheet.interface = options.get("i").map(|given| given.value.clone());
    match options.get("s") {
        None => sheet.text("[capture]", "truncated", "pad", "bittwist fills up what the snaplen cut."),
        Some(given) if given.value == "0" => sheet.text("[capture]", "truncated", "pad", &given.spelled),
        Some(given) if given.value == "-1" => sheet.text("[capture]", "truncated", "send", &given.spelled),
        Some(given) => sheet.untranslated(
            given,
            "frames keep their length; `[rewrite] oversize = \"truncate\"` and `[lab] mtu` cut long ones",
        ),
    }
    sheet.only_the_last(&options, &["m", "p", "t", "r"], "rate");
    if let Some(given) = options.given.iter().rfind(|given| ["m", "p", "t", "r"].contains(&given.opt.name())) {
        match given.opt.name() {
            "m" => {
                let speed: f64 = given.value.parse().map_err(|_| wrong(given, &sheet, "a number"))?;
                let rate = if speed > 0.0 { format!("{speed}x") } else { "topspeed".to_owned() };
                sheet.text("[pacing]", "rate", &rate, &given.spelled);
            }
            "p" => {
                rate(given, &mut sheet, "pps")?;
                sheet.remark(
                    given,
                    format!("`{}` is taken for frames per second, as since bittwist 3", given.spelled),
                    &format!("before, it was the seconds between two frames: `rate = \"every {}s\"`", given.value),
                );
            }
            "t" => sheet.text("[pacing]", "rate", &format!("every {}s", decimal(given, &sheet)?), &given.spelled),
            _ => rate(given, &mut sheet, "Mbps")?,
        }
    }
    if let Some(given) = options.get("c") {
        let packets = number(given, &sheet, &given.value, 1, u64::MAX)?;
        sheet.text("[pacing]", "limit", &format!("{packets} packets"), &given.spelled);
    }
    if let Some(given) = options.get("l") {
        repeat(given, &mut sheet)?;
    }
    import.replayed(command, sheet)
}
