//! The schedule of checks: a cron expression, parsed into a set of bits for each field, and its next time. Pure: the
//! time, the zone and the seed of `H` come from the caller.
//!
//! Daylight saving follows Debian's cron. An expression with fixed minute and hour (neither begins with `*`) runs once
//! for each local time: right after the gap if it is skipped in spring, the first time if it comes twice in autumn. Any
//! other runs whenever the local time matches.

mod calendar;
mod days;
mod field;
mod parse;
mod rule;
mod seed;
#[cfg(test)]
mod steps;
pub mod zone;

use std::time::Duration;

use self::calendar::{DAY, rfc3339};
pub use self::field::Why;
use self::rule::{Cron, Rule};
pub use self::seed::Seed;
use self::zone::Zone;

/// A parsed schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    zone: Zone,
    oddity: Option<String>,
    /// Seconds by which every time is delayed: this host's share of `splay`.
    delay: i64,
    /// This host's share of a minute, from 1 to 60 s, if the schedule spreads a fleet.
    share: Option<i64>,
}

/// The longest wait for the first check of a schedule that spreads a fleet.
const MINUTE: i64 = 60;

/// Zones differ by less than this: a time that is further ahead does not depend on the present offset.
const FAR: i64 = 3 * DAY;

/// The calendar and the rules of a zone repeat themselves after 400 years.
const HORIZON: i64 = 146_097 * DAY;

/// The date from which an expression must fire at all: 2026-01-01.
const REFERENCE: i64 = 1_767_225_600;

impl Schedule {
    /// Parses an expression. `load` loads a zone: the one that `CRON_TZ=` names, or the one of this machine. The error
    /// names the wrong field and value, and a right one.
    pub fn parse(text: &str, seed: &Seed, load: impl FnOnce(Option<&str>) -> Result<Zone, Why>) -> Result<Self, Why> {
        let (zone, rest) = parse::zone(text)?;
        let (rule, zone, oddity) = (parse::rule(rest, seed)?, load(zone)?, parse::oddity(rest));
        let share = parse::is_spread(rest).then(|| share_of_a_minute(seed));
        let schedule = Self { rule, zone, oddity, delay: 0, share };
        match schedule.next(REFERENCE) {
            Some(_) => Ok(schedule),
            None => Err("it never fires: no year has such a time".to_owned()),
        }
    }

    /// The same schedule with every time delayed by the share of `splay` that `seed` has: from 0 to less than all of it,
    /// so that a splay of one period loads each of its seconds alike.
    pub fn with_splay(mut self, splay: Duration, seed: &Seed) -> Self {
        if !splay.is_zero() {
            self.delay = i64::try_from(seed.choose("splay", splay.as_secs())).unwrap_or(0);
            self.share = Some(share_of_a_minute(seed));
        }
        self
    }

    /// The time of the first check of a daemon that starts at `start`: at once. If the schedule spreads a fleet, its
    /// next time, or after this host's share of a minute if the next time is further away.
    pub fn first(&self, start: i64) -> i64 {
        let Some(share) = self.share else { return start };
        match self.next(start) {
            Some(next) if next <= start.saturating_add(MINUTE) => next,
            Some(_) | None => start.saturating_add(share),
        }
    }

    /// A warning about a part of the expression that is probably a mistake.
    pub fn oddity(&self) -> Option<String> {
        self.oddity.clone()
    }

    /// The first time after `after`, in seconds since 1970 UTC. `None`: there is none in 400 years, which only a change
    /// of the zone's own rules could cause.
    pub fn next(&self, after: i64) -> Option<i64> {
        let after = after.saturating_sub(self.delay);
        let next = match &self.rule {
            Rule::Every { period, phase } => after + period - (after - phase).rem_euclid(*period),
            Rule::Cron(cron) if cron.is_fixed => self.next_fixed(cron, after)?,
            Rule::Cron(cron) => self.next_open(cron, after)?,
        };
        Some(next + self.delay)
    }

    /// [`Self::next`] for times as records have them.
    pub fn next_check(&self, after: u64) -> Option<u64> {
        u64::try_from(self.next(i64::try_from(after).ok()?)?).ok()
    }

    /// A time in this schedule's zone.
    pub fn local(&self, at: i64) -> String {
        rfc3339(at, self.zone.span(at).offset)
    }

    /// The next time at which the local clock shows a match.
    fn next_open(&self, cron: &Cron, after: i64) -> Option<i64> {
        let mut at = after + 1;
        // `wall` is the first match from the local time `from` on.
        let (mut from, mut wall) = (i64::MAX, i64::MIN);
        while at - after < HORIZON {
            let span = self.zone.span(at);
            let local = at + span.offset;
            if local < from || local > wall {
                (from, wall) = (local, cron.next(local)?);
            }
            let found = wall - span.offset;
            if found < span.end {
                return Some(found);
            }
            // It is beyond a change of the clock. Changes that are far from both ends do not matter.
            at = if span.end - at > FAR { span.end.max(found - FAR) } else { span.end };
        }
        None
    }

    /// The next time of a fixed expression: each local time once.
    fn next_fixed(&self, cron: &Cron, after: i64) -> Option<i64> {
        let mut wall = self.zone.latest_shown(after);
        loop {
            wall = cron.next(wall + 1)?;
            let at = self.zone.first_shown(wall);
            if at > after {
                return Some(at);
            }
        }
    }
}

/// The share of a minute, from 1 to 60 s.
fn share_of_a_minute(seed: &Seed) -> i64 {
    1 + i64::try_from(seed.choose("start", MINUTE.unsigned_abs())).unwrap_or(0)
}

#[cfg(test)]
mod tests;
