//! Time: the wall clock in seconds for records and logs, the monotonic clock for limits. Texts are RFC 3339 in UTC, so
//! that the log needs neither a time zone nor a file.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::macros::format_description;

/// Seconds since 1970-01-01 00:00:00 UTC; 0 when the clock stands before it.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// `2026-11-22T06:00:05Z`.
pub fn rfc3339(seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    i64::try_from(seconds)
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
        .and_then(|t| t.format(&format).ok())
        .unwrap_or_else(|| format!("@{seconds}"))
}

/// A date of HTTP (RFC 9110, section 5.6.7): `Sun, 22 Nov 2026 06:00:05 GMT`.
pub fn http_date(seconds: u64) -> String {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    i64::try_from(seconds)
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
        .and_then(|t| t.format(&format).ok())
        .unwrap_or_default()
}

/// Reads a date of HTTP; seconds since 1970.
pub fn of_http_date(text: &str) -> Option<u64> {
    let date = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc2822).ok()?;
    Some(u64::try_from(date.unix_timestamp()).unwrap_or(0))
}

/// Parses `2026-11-22T06:00:05Z`, also with an offset, with a blank for the T or without a colon in the offset. Returns
/// seconds since 1970, 0 for earlier times.
pub fn moment(text: &str) -> Option<u64> {
    let (date, rest) = text.trim().split_once([' ', 'T'])?;
    let sign = rest.rfind(['+', '-', 'Z'])?;
    let (time, offset) = rest.split_at(sign);
    let colon = if offset.len() == 5 && !offset.contains(':') { ":" } else { "" };
    let (hours, minutes) = offset.split_at_checked(3).unwrap_or((offset, ""));
    let whole = format!("{date}T{time}{hours}{colon}{minutes}");
    let parsed = OffsetDateTime::parse(&whole, &time::format_description::well_known::Rfc3339).ok()?;
    Some(u64::try_from(parsed.unix_timestamp()).unwrap_or(0))
}

/// The moment by which one check must be over. Copied into every step that may take long.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `after` from now on.
    pub fn after(after: Duration) -> Self {
        let now = Instant::now();
        // A limit that the clock cannot express is as good as none: thirty years.
        Self(now.checked_add(after).unwrap_or_else(|| now + Duration::from_secs(946_080_000)))
    }

    /// The time left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this deadline and `after` from now on.
    pub fn at_most(self, after: Duration) -> Self {
        Self(self.0.min(Self::after(after).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_327_205), "2026-11-22T06:00:05Z");
        assert_eq!(rfc3339(u64::MAX), "@18446744073709551615");
    }

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("2026-11-22T06:00:05Z", Some(1_795_327_205)),
            ("2026-11-22 06:00:05+0000", Some(1_795_327_205)),
            ("2026-11-22 07:00:05+01:00", Some(1_795_327_205)),
            ("2026-11-22 00:00:05.5-0600", Some(1_795_327_205)),
            ("1970-01-01 00:00:00+0000", Some(0)),
            ("1969-12-31 00:00:00+0000", Some(0)),
            ("2026-11-22 06:00:05", None),
            ("2026-11-22", None),
            ("\u{e4} \u{e4}+\u{e4}\u{e4}", None),
            ("a +\u{20ac}\u{20ac}", None),
            ("", None),
        ] {
            assert_eq!(moment(text), seconds, "{text}");
        }
    }

    #[test]
    fn dates_of_http_are_written_and_read() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"); // RFC 9110's own
        for seconds in [0, 784_111_777, 1_795_327_205] {
            assert_eq!(of_http_date(&http_date(seconds)), Some(seconds));
        }
        assert_eq!(of_http_date("yesterday"), None);
    }

    #[test]
    fn a_limit_beyond_the_clock_is_no_panic() {
        assert!(!Deadline::after(Duration::MAX).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
        assert!(Deadline::after(Duration::MAX).at_most(Duration::ZERO).has_passed());
    }
}
