//! A DNS message as text, field by field (RFC 1035 §4.1), so that two can be compared and reviewed.
//!
//! What differs from answer to answer is left out: the identifier, times to live, and the server's part of a cookie (RFC 7873). Records of a
//! section are sorted, since servers rotate them. Start at [`fields`].

use std::fmt::Write as _;

use domain::base::message::RecordSection;
use domain::base::opt::{OptRecord, UnknownOptData};
use domain::base::{Message, ParsedName, Rtype};
use domain::rdata::AllRecordData;

/// The cookie's option code (RFC 7873 §4).
const COOKIE: u16 = 10;
/// Of a message's header, in bytes.
const HEADER: usize = 12;

/// Whether the message asks; `None` where `payload` is no whole DNS message with a question in it and nothing behind it.
pub(crate) fn asks(payload: &[u8]) -> Option<bool> {
    let message = Message::from_slice(payload).ok()?;
    let counts = message.header_counts();
    if counts.qdcount() == 0 {
        return None;
    }
    let mut length = HEADER;
    let mut questions = message.question();
    for question in questions.by_ref() {
        question.ok()?;
    }
    let mut section = questions.answer().ok()?;
    loop {
        for record in section.by_ref() {
            let record = record.ok()?;
            record.to_record::<AllRecordData<_, ParsedName<_>>>().ok()??;
        }
        length = length.max(section.pos());
        match section.next_section().ok()? {
            Some(next) => section = next,
            None => break,
        }
    }
    (length == payload.len()).then(|| !message.header().qr())
}

/// The fields of a message, each with its name; `None` where `payload` is no whole DNS message.
pub(crate) fn fields(payload: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let message = Message::from_slice(payload).ok()?;
    let header = message.header();
    let set = [
        ("qr", header.qr()),
        ("aa", header.aa()),
        ("tc", header.tc()),
        ("rd", header.rd()),
        ("ra", header.ra()),
        ("ad", header.ad()),
        ("cd", header.cd()),
    ];
    let flags: Vec<&str> = set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
    let mut fields = vec![
        ("opcode", header.opcode().to_mnemonic_str().map_or_else(|| header.opcode().to_string(), str::to_owned)),
        ("rcode", message.opt_rcode().to_string()),
        ("flags", flags.join(" ")),
    ];
    for question in message.question() {
        let question = question.ok()?;
        fields.push(("question", format!("{}. {} {}", question.qname(), question.qclass(), question.qtype())));
    }
    let (_, answer, authority, additional) = message.sections().ok()?;
    for (name, section) in [("answer", answer), ("authority", authority), ("additional", additional)] {
        fields.extend(records(section)?.into_iter().map(|record| (name, record)));
    }
    fields.extend(message.opt().map(|opt| ("edns", edns(&opt))));
    Some(fields)
}

/// The records of a section but for the pseudo-record of EDNS, sorted.
fn records(section: RecordSection<'_, [u8]>) -> Option<Vec<String>> {
    let mut records = Vec::new();
    for record in section {
        let record = record.ok()?;
        if record.rtype() == Rtype::OPT {
            continue;
        }
        let record = record.into_record::<AllRecordData<_, ParsedName<_>>>().ok()??;
        records.push(format!("{}. {} {} {}", record.owner(), record.class(), record.rtype(), record.data()));
    }
    records.sort_unstable();
    Some(records)
}

/// The pseudo-record of EDNS (RFC 6891 §6.1).
fn edns(opt: &OptRecord<&[u8]>) -> String {
    let mut text = format!("version {} udp {}", opt.version(), opt.udp_payload_size());
    if opt.dnssec_ok() {
        text.push_str(" do");
    }
    for option in opt.opt().iter::<UnknownOptData<_>>().flatten() {
        let code = option.code().to_int();
        let _infallible = write!(text, " option {code} ");
        if code == COOKIE {
            text.push('…');
            continue;
        }
        for byte in *option.data() {
            let _infallible = write!(text, "{byte:02x}");
        }
    }
    text
}
