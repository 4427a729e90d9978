//! Times as RFC 3339 writes them.

use jiff::Timestamp;

use super::TimeUnit;

/// Nanoseconds since 1970 as a time of day in UTC, with as many digits as the file has.
pub(super) fn rfc3339(time_ns: u64, unit: TimeUnit) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).expect("64 bits of nanoseconds end in the year 2554");
    match unit {
        TimeUnit::Microsecond => format!("{time:.6}"),
        TimeUnit::Nanosecond => format!("{time:.9}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_wants() {
        let shown = |seconds: u64| rfc3339(seconds * 1_000_000_000 + 123_456_789, TimeUnit::Microsecond);
        assert_eq!(shown(0), "1970-01-01T00:00:00.123456Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.123456Z");
        assert_eq!(shown(1_700_000_000), "2023-11-14T22:13:20.123456Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00.123456Z");
        assert_eq!(rfc3339(1_000_000_000, TimeUnit::Nanosecond), "1970-01-01T00:00:01.000000000Z");
        assert_eq!(rfc3339(u64::MAX, TimeUnit::Nanosecond), "2554-07-21T23:34:33.709551615Z");
    }
}
