//! A time zone: the offset of local time from UTC, and its changes. Pure except for `load`, which reads files.
//!
//! The files and the rules are parsed here and not by libc: its zone is global to the process, while each deployment
//! may have its own, and musl silently uses UTC for a zone that it cannot find.

mod file;
pub mod load;
mod rule;
mod span;

use self::rule::Rule;
use self::span::{ALWAYS, Span};

/// A time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// The distance from UTC before the first change, in seconds to the east.
    first: i64,
    /// The times of changes and the new offsets, in order.
    changes: Vec<(i64, i64)>,
    /// The rule after the last change.
    rule: Option<Rule>,
}

/// Local time is less than this ahead of UTC.
const MOST_AHEAD: i64 = 26 * 3600;

impl Zone {
    /// The span that contains `at`.
    pub fn span(&self, at: i64) -> Span {
        #[cfg(test)]
        super::steps::step();
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

    /// The latest local time shown up to `at`: after a change back, the time before the change, until it is passed.
    pub fn latest_shown(&self, at: i64) -> i64 {
        let span = self.span(at);
        let before = self.span(span.start - 1);
        (at + span.offset).max(span.start - 1 + before.offset)
    }

    /// The first time at which a local time is shown; if it is skipped, the time of the change.
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
