//! bittwiste, which edits one kind of header at a time.

use super::Import;
use super::options::{Given, Opt, Options, Tables, flag, value};
use super::sheet::Sheet;
use super::shell::Word;
use super::tcprewrite::{mac, number, plain, prefix, wrong};
use crate::diagnostic::Result;

const PAYLOAD: &str = "the payload is what was captured; change the capture before";
const FIELD: &str = "restage does not change this field; change the capture before";
const COPIES: &str = "`[pacing] repeat` sends the frames again";

pub(super) const GENERAL: &[Opt] = &[
    value("I", ""),
    value("O", ""),
    value("L", "").not(PAYLOAD),
    value("X", "").not(PAYLOAD),
    flag("C", ""),
    value("M", "").not("the link type of a capture is taken as it is written; `editcap -T` changes it"),
    value("D", "").not(PAYLOAD),
    value("R", ""),
    value("S", "")
        .not("`editcap -A START -B STOP` cuts a capture by time; `[capture] frames` selects frames by number"),
    value("N", "").not(COPIES),
    value("G", "").not("`[pacing] rate = \"every 1ms\"` sets the time between frames"),
    value("P", "").not("nothing is random in a scenario"),
    value("T", ""),
    flag("h", "").not("it only prints; `restage help` is there instead"),
];
const ETH: &[Opt] = &[value("d", ""), value("s", ""), value("t", "").not(FIELD)];
const ARP_FIELD: &str = "ARP follows the maps of IP addresses and MACs in `[rewrite.source]` and `[rewrite.destination]`, and has none of its own";
const ARP: &[Opt] = &[
    value("o", "").not(FIELD),
    value("s", "").not(ARP_FIELD),
    value("p", "").not(ARP_FIELD),
    value("t", "").not(ARP_FIELD),
    value("q", "").not(ARP_FIELD),
];
const IP: &[Opt] = &[
    value("c", ""),
    value("e", "").not(FIELD),
    value("i", "").not(FIELD),
    value("f", "").not(FIELD),
    value("o", "").not(FIELD),
    value("t", ""),
    value("p", "").not(FIELD),
    value("s", ""),
    value("d", ""),
];
const IP6: &[Opt] = &[
    value("c", ""),
    value("e", "").not(FIELD),
    value("f", ""),
    value("n", "").not(FIELD),
    value("h", ""),
    value("s", ""),
    value("d", ""),
];
const ICMP: &[Opt] = &[value("t", "").not(FIELD), value("c", "").not(FIELD)];
const TCP: &[Opt] = &[
    value("s", ""),
    value("d", ""),
    value("q", "").not(FIELD),
    value("a", "").not(FIELD),
    value("f", "").not(FIELD),
    value("w", "").not(FIELD),
    value("u", "").not(FIELD),
];
const UDP: &[Opt] = &[value("s", ""), value("d", "")];
const VLAN_TAGS: &str = "`[rewrite.vlan]` maps the identifiers of VLAN tags, adds tags and removes them";
const VLAN: &[Opt] = &[
    value("t", "").not(VLAN_TAGS),
    value("p", "").not(VLAN_TAGS),
    value("c", "").not(VLAN_TAGS),
    value("d", "").not(VLAN_TAGS),
    value("i", "").not(VLAN_TAGS),
    value("v", "").not(VLAN_TAGS),
];

/// The options behind `-T HEADER`.
pub(super) const HEADERS: [(&str, Tables); 9] = [
    ("eth", &[ETH]),
    ("vlan", &[VLAN]),
    ("arp", &[ARP]),
    ("ip", &[IP]),
    ("ip6", &[IP6]),
    ("icmp", &[ICMP]),
    ("icmp6", &[ICMP]),
    ("tcp", &[TCP]),
    ("udp", &[UDP]),
];

fn of_header(given: &Given) -> Option<Tables> {
    let name = given.spelled.strip_prefix("-T").map(|_| given.value.as_str())?;
    HEADERS.iter().find(|(header, _)| *header == name).map(|(_, tables)| *tables)
}

/// One bittwiste.
pub(super) fn import(command: &[Word], import: &mut Import) -> Result<()> {
    let options = Options::read(import.source, command, &[GENERAL], of_header)?;
    let mut sheet = import.input(command, &options, "I")?;
    sheet.untranslated_of(&options);
    let at = options.given.iter().position(|given| given.spelled.starts_with("-T"));
    let (general, of_header) = options.given.split_at(at.unwrap_or(options.given.len()));
    for given in general.iter().filter(|given| given.spelled.starts_with("-R")) {
        sheet.text("[capture]", "frames", &given.value, &given.spelled);
    }
    if !general.iter().any(|given| given.spelled.starts_with("-C")) {
        sheet.text("[rewrite]", "checksums", "fix", "bittwiste makes checksums right unless -C is written.");
    }
    if let [header, fields @ ..] = of_header {
        if self::of_header(header).is_none() {
            return Err(wrong(header, &sheet, "a header: eth, vlan, arp, ip, ip6, icmp, icmp6, tcp or udp"));
        }
        for given in fields.iter().filter(|given| given.opt.untranslated.is_none()) {
            field(&header.value, given, &mut sheet)?;
        }
    }
    import.output(options.get("O"), sheet);
    Ok(())
}

/// One field of a header.
fn field(header: &str, given: &Given, sheet: &mut Sheet) -> Result<()> {
    let letter = given.spelled.chars().nth(1).unwrap_or_default();
    if given.value.split(',').any(|part| part == "rand") {
        sheet.untranslated(given, "a scenario gives the same frames each time; write the value");
        return Ok(());
    }
    let table = if letter == 's' { "[rewrite.source]" } else { "[rewrite.destination]" };
    let pair = given.value.split_once(',');
    match (header, letter) {
        ("eth", _) => match pair {
            Some((from, to)) => sheet.map(given, table, "mac", &mac(given, sheet, from)?, &mac(given, sheet, to)?)?,
            None => sheet.text(table, "mac", &mac(given, sheet, &given.value)?, &given.spelled),
        },
        ("ip" | "ip6", 's' | 'd') => {
            let all = if header == "ip" { "0.0.0.0/0" } else { "::/0" };
            let (from, to) = pair.unwrap_or((all, &given.value));
            let read =
                |text| prefix(text).ok_or_else(|| wrong(given, sheet, "an address, or two: `192.0.2.1,192.0.2.2`"));
            let (from, to) = (read(from)?, read(to)?);
            if to.prefix_len() < to.max_prefix_len() {
                sheet.untranslated(given, "a scenario gives the same frames each time; write one address");
            } else {
                sheet.map(given, table, "ip", &plain(from), &plain(to))?;
            }
        }
        ("tcp" | "udp", _) => {
            let (from, to) = pair.unwrap_or(("0-65535", &given.value));
            let to = number(given, sheet, to, 0, u16::MAX.into())?.to_string();
            sheet.map(given, table, "port", from, &to)?;
            sheet.remark(
                given,
                format!("`{}` changes the ports of all protocols", given.spelled),
                &format!("bittwiste changes those of {header} alone; `[capture] filter = \"{header}\"` selects it"),
            );
        }
        (_, 'c') => header_field(given, sheet, "dscp", 63)?,
        (_, 'f') => header_field(given, sheet, "flow-label", 0xf_ffff)?,
        _ if pair.is_some() => {
            sheet.untranslated(given, "a field of the IP header gets one value; `[capture] filter` selects packets")
        }
        _ => header_field(given, sheet, "ttl", 255)?,
    }
    Ok(())
}

fn header_field(given: &Given, sheet: &mut Sheet, key: &'static str, most: u64) -> Result<()> {
    let number = number(given, sheet, &given.value, 0, most)?;
    sheet.set("[rewrite.header]", key, number.to_string(), &given.spelled);
    Ok(())
}
