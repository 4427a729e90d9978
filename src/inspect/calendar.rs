//! Times as RFC 3339 writes them.

use super::TimeUnit;

/// Nanoseconds since 1970 as a time of day in UTC, with as many digits as the file has.
pub(super) fn rfc3339(time_ns: u64, unit: TimeUnit) -> String {
    let (seconds, nanoseconds) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match unit {
        TimeUnit::Microsecond => format!("{:06}", nanoseconds / 1000),
        TimeUnit::Nanosecond => format!("{nanoseconds:09}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction}Z")
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01. Years are counted from March here, so that the
/// day that leap years have more is the last.
fn date(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const BEFORE: u64 = 719_468;
    /// Days in 400 years, after which the calendar repeats.
    const CYCLE: u64 = 146_097;
    let days = days + BEFORE;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days together.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (cycle * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_wants() {
        let shown = |seconds: u64| rfc3339(seconds * 1_000_000_000 + 123_456_789, TimeUnit::Microsecond);
        assert_eq!(shown(0), "1970-01-01T00:00:00.123456Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.123456Z");
        assert_eq!(shown(951_868_800), "2000-03-01T00:00:00.123456Z");
        assert_eq!(shown(1_700_000_000), "2023-11-14T22:13:20.123456Z");
        assert_eq!(shown(4_107_542_399), "2100-02-28T23:59:59.123456Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00.123456Z");
        assert_eq!(rfc3339(u64::MAX, TimeUnit::Nanosecond), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = date(0);
        for day in 1..200_000 {
            let (year, month, first) = date(day);
            let next_day = (year, month) == (before.0, before.1) && first == before.2 + 1;
            let next_month = first == 1 && before.2 >= 28 && (year * 12 + month == before.0 * 12 + before.1 + 1);
            assert!(next_day || next_month, "{before:?} {:?}", (year, month, first));
            before = (year, month, first);
        }
    }
}
