//! A time zone: how far local time is from UTC, and when that changes. Pure but for `load`, which knows where zones are kept.
//!
//! The files and the rules are read by hand, not by libc: its zone is one for the process, while each deployment may have
//! its own, and musl takes UTC without a word for a zone that it cannot find.

mod file;
mod load;
mod rule;

pub use self::load::load;
use self::rule::Rule;

/// A time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// The distance from UTC before the first change, in seconds to the east.
    first: i64,
    /// When it changes, and to what; in order.
    changes: Vec<(i64, i64)>,
    /// What holds behind the last change.
    rule: Option<Rule>,
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

/// The ends of time: far enough, and no arithmetic here overflows.
const ALWAYS: Span = Span { start: i64::MIN / 4, end: i64::MAX / 4, offset: 0 };

impl Zone {
    /// The stretch that `at` lies in.
    pub fn span(&self, at: i64) -> Span {
        #[cfg(test)]
        super::tests::step();
        let behind = self.changes.partition_point(|(when, _)| *when <= at);
        let (start, offset) = match behind.checked_sub(1) {
            None => (ALWAYS.start, self.first),
            Some(last) => self.changes[last],
        };
        match (&self.rule, self.changes.get(behind)) {
            (_, Some((end, _))) => Span { start, end: *end, offset },
            (None, None) => Span { start, end: ALWAYS.end, offset },
            (Some(rule), None) => {
                let span = rule.span(at);
                Span { start: span.start.max(start), ..span }
            }
        }
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

#[cfg(test)]
mod tests;
