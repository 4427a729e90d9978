//! tcprewrite, and the options by which tcpreplay-edit changes frames.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::options::{COMMON, Given, Opt, Options, Tables, flag, value};
use super::sheet::Sheet;
use super::shell::Word;
use super::{Cache, Import, Split};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::packet::MacAddr;
use crate::scenario::quoted;

const RANDOM: &str = "a scenario gives the same frames each time; write maps for the addresses instead";
const RANDOM_MAC: &str = "a scenario gives the same frames each time; `[rewrite.both] mac = { … }` maps MAC addresses";
const LINK_LAYER: &str =
    "a run always sends Ethernet, and `restage rewrite` keeps the link type of the capture or writes Ethernet";
const FUZZ: &str = "a scenario gives the same frames each time; change the capture with a fuzzer before";
const FRAGROUTE: &str =
    "restage sends each frame as it is, once; run fragroute's engine with tcprewrite before, and import the rest";

/// What changes frames.
pub(super) const EDIT: &[Opt] = &[
    value("r", "portmap"),
    value("s", "seed").not(RANDOM),
    value("N", "pnat"),
    value("S", "srcipmap"),
    value("D", "dstipmap"),
    value("e", "endpoints"),
    value("", "tcp-sequence").not("restage keeps sequence numbers: the streams stay as they were captured"),
    flag("b", "skipbroadcast"),
    flag("C", "fixcsum"),
    value("m", "mtu"),
    flag("", "mtu-trunc"),
    flag("E", "efcs")
        .not("an FCS that the capture announces is never sent; one that it does not announce has to be cut off before"),
    value("", "ttl"),
    value("", "tos"),
    value("", "tclass"),
    value("", "flowlabel"),
    value("F", "fixlen"),
    flag("", "fixhdrlen"),
    value("", "fuzz-seed").not(FUZZ),
    value("", "fuzz-factor").not(FUZZ),
    flag("", "skipl2broadcast"),
    value("", "dlt"),
    value("", "enet-dmac"),
    value("", "enet-smac"),
    value("", "enet-subsmac"),
    value("", "enet-mac-seed").not(RANDOM_MAC),
    value("", "enet-mac-seed-keep-bytes").not(RANDOM_MAC),
    value("", "enet-vlan"),
    value("", "enet-vlan-tag"),
    value("", "enet-vlan-cfi"),
    value("", "enet-vlan-pri"),
    value("", "enet-vlan-proto"),
    value("", "hdlc-control").not(LINK_LAYER),
    value("", "hdlc-address").not(LINK_LAYER),
    value("", "user-dlt").not(LINK_LAYER),
    value("", "user-dlink").not(LINK_LAYER),
    value("", "fragroute").not(FRAGROUTE),
    value("", "fragdir").not(FRAGROUTE),
    flag("", "skip-soft-errors"),
];

const OWN: &[Opt] = &[
    value("i", "infile"),
    value("o", "outfile"),
    value("c", "cachefile"),
    flag("w", "suppress-warnings").not("it prints less"),
];
pub(super) const ALL: Tables = &[EDIT, OWN, COMMON];

/// One tcprewrite.
pub(super) fn import(command: &[Word], import: &mut Import) -> Result<()> {
    let options = Options::read(import.source, command, ALL, |_| None)?;
    let mut sheet = import.input(command, &options, "infile")?;
    sheet.untranslated_of(&options);
    let cache = import.cache(&options, &mut sheet);
    edit(&options, &mut sheet, cache.as_ref())?;
    import.output(options.get("outfile"), sheet);
    Ok(())
}

/// What the options change in the frames.
pub(super) fn edit(options: &Options, sheet: &mut Sheet, cache: Option<&Cache>) -> Result<()> {
    addresses(options, sheet, cache)?;
    for given in options.all("portmap") {
        ports(given, sheet)?;
    }
    macs(options, sheet, cache.is_some())?;
    vlan(options, sheet)?;
    header(options, sheet)?;
    sizes(options, sheet)?;
    let fixes = ["fixcsum", "pnat", "srcipmap", "dstipmap", "endpoints", "fixlen"];
    if let Some(given) = fixes.iter().find_map(|name| options.get(name)) {
        let because = if options.has("fixcsum") { given.spelled.clone() } else { FIXES.to_owned() };
        sheet.text("[rewrite]", "checksums", "fix", &because);
    }
    if let Some(given) = options.get("dlt") {
        match given.value.as_str() {
            "enet" => sheet.text("[rewrite]", "link-layer", "ethernet", &given.spelled),
            _ => sheet.untranslated(given, LINK_LAYER),
        }
    }
    if let Some(given) = options.get("skip-soft-errors") {
        sheet.text("[rewrite]", "other-frames", "skip", &given.spelled);
    }
    Ok(())
}

const FIXES: &str = "tcprewrite makes the checksums of what it changes right. \"preserve\" keeps wrong ones wrong, to see what the receiver does.";

fn addresses(options: &Options, sheet: &mut Sheet, cache: Option<&Cache>) -> Result<()> {
    let skips = options.has("skipbroadcast");
    let mut pnat = options.all("pnat");
    match (pnat.next(), pnat.next()) {
        (Some(one), None) => prefixes(one, sheet, "[rewrite.both]", skips)?,
        (Some(one), Some(two)) => {
            prefixes(one, sheet, "[rewrite.client]", skips)?;
            prefixes(two, sheet, "[rewrite.server]", skips)?;
        }
        (None, _) => {}
    }
    for (name, table) in [("srcipmap", "[rewrite.source]"), ("dstipmap", "[rewrite.destination]")] {
        if let Some(given) = options.get(name) {
            prefixes(given, sheet, table, skips)?;
        }
    }
    if let Some(given) = options.get("endpoints") {
        let [(client, server)] = pairs(given, sheet)?[..] else {
            return Err(wrong(given, sheet, "two addresses: `--endpoints=172.16.0.1:172.16.0.2`"));
        };
        let all = |to: IpNet| if to.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        if let Some(Cache { split: Split::Servers(servers), .. }) = cache {
            for prefix in servers {
                sheet.map(given, "[rewrite.both]", "ip", &plain(*prefix), &plain(server))?;
            }
            sheet.map(given, "[rewrite.both]", "ip", all(client), &plain(client))?;
        } else {
            sheet.map(given, "[rewrite.client]", "ip", all(client), &plain(client))?;
            sheet.map(given, "[rewrite.server]", "ip", all(server), &plain(server))?;
        }
    }
    if let Some(given) = options.get("skipbroadcast") {
        sheet.remark(
            given,
            format!("`{}` holds always", given.spelled),
            "a multicast or broadcast address changes only by an entry for that address",
        );
    }
    Ok(())
}

/// The entries of a map of prefixes.
fn prefixes(given: &Given, sheet: &mut Sheet, table: &'static str, skips: bool) -> Result<()> {
    for (from, to) in pairs(given, sheet)? {
        if from.addr().is_ipv4() != to.addr().is_ipv4() {
            sheet.remark(
                given,
                format!("{from} to {to} is not translated"),
                "a packet keeps its family: IPv4 addresses become IPv4 addresses, and IPv6 addresses IPv6 ones",
            );
            continue;
        }
        sheet.map(given, table, "ip", &plain(from), &plain(as_long(from, to)))?;
        if !skips && table != "[rewrite.source]" && from.prefix_len() < 4 && from.contains(&multicast(from)) {
            sheet.remark(
                given,
                format!("`{}` leaves multicast and broadcast addresses as they are", given.spelled),
                "such an address changes only by an entry for it, as with --skipbroadcast",
            );
        }
    }
    Ok(())
}

/// A multicast address of the same family.
fn multicast(prefix: IpNet) -> IpAddr {
    if prefix.addr().is_ipv4() { IpAddr::from([224, 0, 0, 1]) } else { IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]) }
}

/// `10.0.0.0/8:10.1.0.0/16,…` and `[2001:db8::/32]:[fd00::/16],…`
fn pairs(given: &Given, sheet: &Sheet) -> Result<Vec<(IpNet, IpNet)>> {
    let what = "pairs of prefixes: `10.0.0.0/8:192.0.2.0/24,[2001:db8::/32]:[fd00::/32]`";
    let prefix = |text: &str| prefix(text).ok_or_else(|| wrong(given, sheet, what));
    let mut pairs = Vec::new();
    for pair in given.value.split(',') {
        let split = match pair.strip_prefix('[') {
            Some(rest) => rest.split_once("]:[").and_then(|(from, to)| Some((from, to.strip_suffix(']')?))),
            None => pair.split_once(':'),
        };
        let (from, to) = split.ok_or_else(|| wrong(given, sheet, what))?;
        pairs.push((prefix(from)?, prefix(to)?));
    }
    Ok(pairs)
}

/// A prefix, or an address alone.
pub(super) fn prefix(text: &str) -> Option<IpNet> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let prefix: Option<IpNet> = text.parse().ok();
    prefix.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(|prefix| prefix.trunc())
}

/// As a scenario writes it: an address alone has no length.
pub(super) fn plain(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() { prefix.addr().to_string() } else { prefix.to_string() }
}

/// The same map with a new prefix that is as long as the old one: what tcprewrite keeps of the old one between the two.
fn as_long(from: IpNet, to: IpNet) -> IpNet {
    match (from, to) {
        (IpNet::V4(from), IpNet::V4(to)) if to.prefix_len() < from.prefix_len() => {
            let kept = u32::from(from.network()) & u32::from(to.hostmask());
            let new = Ipv4Net::new((u32::from(to.network()) | kept).into(), from.prefix_len());
            new.map_or(IpNet::V4(to), IpNet::V4)
        }
        (IpNet::V6(from), IpNet::V6(to)) if to.prefix_len() < from.prefix_len() => {
            let kept = u128::from(from.network()) & u128::from(to.hostmask());
            let new = Ipv6Net::new((u128::from(to.network()) | kept).into(), from.prefix_len());
            new.map_or(IpNet::V6(to), IpNet::V6)
        }
        _ => to,
    }
}

/// `80:8080,8000-8099:81`; in `8000,8080:80` both become 80.
fn ports(given: &Given, sheet: &mut Sheet) -> Result<()> {
    let port = |text: &str, sheet: &Sheet| number(given, sheet, text, 0, u16::MAX.into());
    let mut waiting = Vec::new();
    for part in given.value.split(',') {
        let (from, to) = part.split_once(':').map_or((part, None), |(from, to)| (from, Some(to)));
        let (first, last) = from.split_once('-').unwrap_or((from, from));
        port(first, sheet)?;
        port(last, sheet)?;
        waiting.push(from);
        if let Some(to) = to {
            let to = port(to, sheet)?.to_string();
            for from in waiting.drain(..) {
                sheet.map(given, "[rewrite.both]", "port", from, &to)?;
            }
        }
    }
    if waiting.is_empty() { Ok(()) } else { Err(wrong(given, sheet, "pairs of ports: `80:8080,8000-8099:81`")) }
}

fn macs(options: &Options, sheet: &mut Sheet, has_cache: bool) -> Result<()> {
    let pair = |name, sheet: &Sheet| -> Result<Option<(&Given, Vec<String>)>> {
        let Some(given) = options.get(name) else { return Ok(None) };
        let macs: Result<Vec<String>> = given.value.split(',').map(|text| mac(given, sheet, text)).collect();
        Ok(Some((given, macs?)))
    };
    let (destination, source) = (pair("enet-dmac", sheet)?, pair("enet-smac", sheet)?);
    for (both, table) in [(&destination, "[rewrite.destination]"), (&source, "[rewrite.source]")] {
        let Some((given, macs)) = both else { continue };
        if let ([_, of_client, ..], true) = (macs.as_slice(), has_cache) {
            let is_destination = table == "[rewrite.destination]";
            let (client, server) = if is_destination { (of_client, &macs[0]) } else { (&macs[0], of_client) };
            let other = if is_destination { &source } else { &destination };
            let agrees = other.as_ref().is_none_or(|(_, other)| other.iter().rev().eq(macs));
            if !agrees {
                sheet.untranslated(given, "a client and a server have one MAC address each, and this gives them one as source and another as destination");
                continue;
            }
            for (end, mac) in [("[rewrite.client]", client), ("[rewrite.server]", server)] {
                sheet.text(end, "mac", mac, &given.spelled);
            }
            continue;
        }
        if macs.len() > 1 {
            sheet.remark(
                given,
                format!("of `{}` the first address is taken", given.spelled),
                "the second is for what servers send, and no cache file says which frames these are",
            );
        }
        if let Some(mac) = macs.first() {
            sheet.text(table, "mac", mac, &given.spelled);
        }
    }
    for given in options.all("enet-subsmac") {
        let Some((from, to)) = given.value.split_once(',') else {
            return Err(wrong(given, sheet, "two MAC addresses: `00:12:13:14:15:16,00:22:33:44:55:66`"));
        };
        sheet.map(given, "[rewrite.both]", "mac", &mac(given, sheet, from)?, &mac(given, sheet, to)?)?;
    }
    if let Some(given) = options.get("skipl2broadcast") {
        sheet.remark(
            given,
            format!("`{}` holds always", given.spelled),
            "`mac` changes unicast addresses; a multicast one changes by an entry for it",
        );
    }
    Ok(())
}

/// A MAC address as it is written.
pub(super) fn mac(given: &Given, sheet: &Sheet, text: &str) -> Result<String> {
    let is_mac = text.parse::<MacAddr>().is_ok();
    if is_mac { Ok(text.to_lowercase()) } else { Err(wrong(given, sheet, "MAC addresses, as 00:12:13:14:15:16")) }
}

fn vlan(options: &Options, sheet: &mut Sheet) -> Result<()> {
    let Some(given) = options.get("enet-vlan") else {
        let part = options.given.iter().find(|given| given.opt.name().starts_with("enet-vlan"));
        return part.map_or(Ok(()), |part| Err(wrong(part, sheet, "`--enet-vlan=add` beside it")));
    };
    let before = sheet.get("[rewrite.vlan]", "push").map(|push| push.trim_matches(['[', ']']).to_owned());
    match given.value.as_str() {
        "del" if before.is_none() => sheet.set("[rewrite.vlan]", "pop", "true", &given.spelled),
        "add" if sheet.get("[rewrite.vlan]", "pop").is_none() => {
            let number = |name, most, sheet: &Sheet| match options.get(name) {
                Some(given) => self::number(given, sheet, &given.value, 0, most),
                None => Ok(0),
            };
            let id = number("enet-vlan-tag", 4094, sheet)?;
            let priority = match number("enet-vlan-pri", 7, sheet)? {
                0 => String::new(),
                priority => format!(", priority = {priority}"),
            };
            let dei = if number("enet-vlan-cfi", 1, sheet)? == 1 { ", dei = true" } else { "" };
            let is_ad = options.get("enet-vlan-proto").is_some_and(|given| given.value.eq_ignore_ascii_case("802.1ad"));
            let tag = format!("{{ id = {id}{priority}{dei}{} }}", if is_ad { ", tpid = 0x88a8" } else { "" });
            let tags = before.map_or(tag.clone(), |before| format!("{tag}, {before}"));
            sheet.set("[rewrite.vlan]", "push", format!("[{tags}]"), &given.spelled);
        }
        "add" | "del" => return Err(sheet.again(given, &["another change of the VLAN tags".to_owned()])),
        _ => return Err(wrong(given, sheet, "`add` or `del`")),
    }
    Ok(())
}

fn header(options: &Options, sheet: &mut Sheet) -> Result<()> {
    if let Some(given) = options.get("ttl") {
        let digits = given.value.trim_start_matches(['+', '-']);
        number(given, sheet, digits, 0, 255)?;
        let relative = given.value != digits;
        let toml = if relative { quoted(&given.value) } else { digits.to_owned() };
        if relative && sheet.get("[rewrite.header]", "ttl").is_some() {
            return Err(sheet.again(given, &["--ttl".to_owned()]));
        }
        sheet.set("[rewrite.header]", "ttl", toml, &given.spelled);
    }
    for (name, key, most) in
        [("tos", "tos", 255), ("tclass", "traffic-class", 255), ("flowlabel", "flow-label", 0xf_ffff)]
    {
        if let Some(given) = options.get(name) {
            let number = number(given, sheet, &given.value, 0, most)?;
            sheet.set("[rewrite.header]", key, number.to_string(), &given.spelled);
        }
    }
    Ok(())
}

fn sizes(options: &Options, sheet: &mut Sheet) -> Result<()> {
    if let Some(given) = options.get("mtu") {
        let mtu = number(given, sheet, &given.value, 68, 65_535)?;
        sheet.set("[lab]", "mtu", mtu.to_string(), &given.spelled);
    }
    if let Some(given) = options.get("mtu-trunc") {
        sheet.text("[rewrite]", "oversize", "truncate", &given.spelled);
        if sheet.get("[lab]", "mtu").is_none() {
            sheet.set("[lab]", "mtu", "1500", "Frames are cut to this.");
        }
    }
    if let Some(given) = options.get("fixhdrlen") {
        sheet.text("[rewrite]", "lengths", "fix", &given.spelled);
    }
    if let Some(given) = options.get("fixlen") {
        match given.value.as_str() {
            "pad" => sheet.text("[capture]", "truncated", "pad", &given.spelled),
            "del" => sheet.text("[capture]", "truncated", "skip", &given.spelled),
            "trunc" => sheet.untranslated(
                given,
                "lengths are never shortened to what the snaplen left, because the payload would be another one; `[capture] truncated = \"pad\"` fills it up with zeros",
            ),
            _ => return Err(wrong(given, sheet, "`pad`, `trunc` or `del`")),
        }
    }
    Ok(())
}

/// A whole number in these bounds, also 0x….
pub(super) fn number(given: &Given, sheet: &Sheet, text: &str, least: u64, most: u64) -> Result<u64> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| wrong(given, sheet, &format!("a number from {least} to {most}")))
}

/// A value that can't be one of this option.
pub(super) fn wrong(given: &Given, sheet: &Sheet, what: &str) -> Failure {
    Failure::invalid(
        Diagnostic::error(format!("`{}` has a value that can't be used", given.spelled))
            .at(&sheet.source, Some(given.span.clone()))
            .fix(format!("write {what}")),
    )
}
