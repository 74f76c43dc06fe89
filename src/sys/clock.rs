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

    /// What is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier one of this and `after` from now on.
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
    fn a_limit_beyond_the_clock_is_no_panic() {
        assert!(!Deadline::after(Duration::MAX).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
        assert!(Deadline::after(Duration::MAX).at_most(Duration::ZERO).has_passed());
    }
}
