//! Syslog messages (RFC 3164 §4.1, RFC 5424 §6): their times, and text by regular expressions.

use std::fmt::Write as _;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};
use regex::bytes::Regex;

use super::Datagram;
use super::time::{self, Shift};
use crate::scenario::rewrite::TimeTarget;
use crate::scenario::rewrite::payload::pattern;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What changes in messages.
#[derive(Debug, Clone)]
pub(super) struct Syslog {
    time: Option<Timestamp>,
    replace: Vec<(Regex, Vec<u8>)>,
}

impl Syslog {
    pub(super) fn new(time: TimeTarget, replace: &[(String, String)]) -> Self {
        let compiled = replace.iter().map(|(from, to)| {
            let from = pattern(from).expect("the scenario's check has compiled it");
            (from, to.clone().into_bytes())
        });
        Self { time: time::target(time), replace: compiled.collect() }
    }

    /// Shifts the time of a message, then replaces text in it; `None` where times are shifted and it has none.
    pub(super) fn rewrite(&self, shift: &mut Shift, datagram: &mut Datagram<'_>) -> Option<()> {
        if let Some(target) = self.time {
            let (begins, ends, new) = shifted(datagram.bytes, datagram.time_ns, |time| shift.apply(target, time))?;
            datagram.bytes.splice(begins..ends, new.into_bytes());
        }
        for (from, to) in &self.replace {
            let replaced = from.replace_all(datagram.bytes, to.as_slice()).into_owned();
            *datagram.bytes = replaced;
        }
        Some(())
    }
}

/// Where a message has its time, and what that becomes. A message whose time is the nil value, `-`, has an empty one.
fn shifted(
    message: &[u8],
    captured_ns: u64,
    mut shift: impl FnMut(Timestamp) -> Option<Timestamp>,
) -> Option<(usize, usize, String)> {
    let close = message.iter().take(5).position(|byte| *byte == b'>').filter(|_| message.first() == Some(&b'<'))?;
    let priority = message.get(1..close)?;
    if priority.is_empty() || !priority.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let behind = message.get(close + 1..)?;
    if let Some(rest) = behind.strip_prefix(b"1 ") {
        let begins = close + 3;
        let length = rest.iter().position(|byte| *byte == b' ')?;
        let written = std::str::from_utf8(rest.get(..length)?).ok()?;
        if written == "-" {
            return Some((begins, begins, String::new()));
        }
        return Some((begins, begins + length, rfc5424(written, &mut shift)?));
    }
    let begins = close + 1;
    let written = std::str::from_utf8(behind.get(..15)?).ok()?;
    Some((begins, begins + 15, rfc3164(written, captured_ns, &mut shift)?))
}

/// A time of RFC 5424 §6.2.3, with as many digits and the offset that it had; up to 9 digits are taken, as some senders write them, where the RFC
/// has 6. What else the parser takes would be written in a mixture of forms.
fn rfc5424(written: &str, shift: &mut impl FnMut(Timestamp) -> Option<Timestamp>) -> Option<String> {
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^(?-u)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")
            .expect("it is a regular expression")
    });
    static PARSER: DateTimeParser = DateTimeParser::new();
    let form = FORM.captures(written.as_bytes())?;
    let digits = form.get(1).map_or(0, |digits| digits.len());
    let zone = written.get(form.get(2)?.range())?;
    let offset = match PARSER.parse_pieces(written).ok()?.offset()? {
        jiff::fmt::temporal::PiecesOffset::Numeric(numeric) => numeric.offset(),
        _ => Offset::UTC,
    };
    let new = shift(written.parse().ok()?)?;
    let civil = TimeZone::fixed(offset).to_datetime(new);
    let mut text = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    if digits > 0 {
        let nanoseconds = format!("{:09}", civil.subsec_nanosecond());
        let _infallible = write!(text, ".{}", nanoseconds.get(..digits)?);
    }
    text.push_str(zone);
    Some(text)
}

/// A time without year and zone: `Nov 23 00:44:14`. It is taken as UTC, in the year that is next to the capture's time.
fn rfc3164(written: &str, captured_ns: u64, shift: &mut impl FnMut(Timestamp) -> Option<Timestamp>) -> Option<String> {
    let (month, rest) = written.split_at_checked(3)?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i8::try_from(month + 1).ok()?;
    let (day, rest) = rest.strip_prefix(' ')?.split_at_checked(2)?;
    let day: i8 = day.trim_start().parse().ok()?;
    let clock = rest.strip_prefix(' ')?;
    let mut numbers = clock.split(':').map(|number| number.parse::<i8>().ok().filter(|_| number.len() == 2));
    let (hour, minute, second) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let captured = Timestamp::from_nanosecond(captured_ns.into()).ok()?;
    let year = TimeZone::UTC.to_datetime(captured).year();
    let candidates = [year - 1, year, year + 1].into_iter().filter_map(|year| {
        let date = Date::new(year, month, day).ok()?;
        let time = DateTime::from_parts(date, jiff::civil::Time::new(hour, minute, second.min(59), 0).ok()?);
        TimeZone::UTC.to_timestamp(time).ok()
    });
    let old = candidates.min_by_key(|time| time.duration_since(captured).abs())?;
    let new = TimeZone::UTC.to_datetime(shift(old)?);
    let name = MONTHS.get(usize::try_from(new.month() - 1).ok()?)?;
    Some(format!("{name} {:>2} {:02}:{:02}:{:02}", new.day(), new.hour(), new.minute(), new.second()))
}
