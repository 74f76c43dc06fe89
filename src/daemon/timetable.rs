//! When the next check of a deployment is due: the schedule, the start of the daemon, commands, and jumps of the clock.
//! Pure: the time comes from the caller.

use crate::schedule::Schedule;

/// The times of one deployment's checks.
#[derive(Debug)]
pub struct Timetable {
    /// `None`: checked once.
    schedule: Option<Schedule>,
    /// When the next check is due, in seconds since 1970; 0: now.
    due: u64,
    /// The time of the clock from which `due` was computed.
    since: u64,
}

impl Timetable {
    /// The times from the start of the daemon at `now` on. The first check is due at once, unless the schedule spreads
    /// a fleet.
    pub fn new(schedule: Option<Schedule>, now: u64) -> Self {
        let first = schedule.as_ref().and_then(|schedule| u64::try_from(schedule.first(i64::try_from(now).ok()?)).ok());
        Self { schedule, due: first.filter(|first| *first > now).unwrap_or(0), since: now }
    }

    /// The schedule; `None`: checked once.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// Whether checks repeat.
    pub fn repeats(&self) -> bool {
        self.schedule.is_some()
    }

    /// Makes the next check due now, or as soon as the running one ends.
    pub fn check_soon(&mut self) {
        self.due = 0;
    }

    /// When the next check is due; 0: now.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// A clock that was set back must not delay the next check by more than a period.
    pub fn look_at_the_clock(&mut self, now: u64) {
        if now < self.since {
            (self.due, self.since) = (self.due.min(self.after(now)), now);
        }
    }

    /// Called when a check begins. Times that pass while it runs are merged into one.
    pub fn begin(&mut self, now: u64) {
        (self.due, self.since) = (self.after(now), now);
    }

    fn after(&self, now: u64) -> u64 {
        self.schedule.as_ref().and_then(|schedule| schedule.next_check(now)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Seed, zone::load};

    fn times(text: &str, now: u64) -> Timetable {
        let seed = Seed::new("host", "id");
        let schedule = Schedule::parse(text, &seed, |named| load::zone(named, Some("UTC0"))).unwrap();
        Timetable::new(Some(schedule), now)
    }

    #[test]
    fn plain_schedules_begin_now_and_spread_ones_within_a_minute() {
        assert_eq!(times("* * * * *", 1000).due(), 0);
        assert!((1001..=1060).contains(&times("@every 24h", 1000).due()));
        assert_eq!((Timetable::new(None, 1000).due(), Timetable::new(None, 1000).repeats()), (0, false));
    }

    #[test]
    fn the_clock_is_set_back_then_the_next_check_comes_within_a_period() {
        for text in ["* * * * *", "* * * * * H", "@every 1m"] {
            let mut times = times(text, 1_000_000);
            times.begin(1_000_000);
            let due = times.due();
            assert!((1_000_001..=1_000_060).contains(&due));
            for now in [1_000_000, 1_000_030, due, due + 500] {
                times.look_at_the_clock(now);
                assert_eq!(times.due(), due, "{text}: times that pass are one check");
            }
            times.look_at_the_clock(5000);
            assert!((5001..=5060).contains(&times.due()), "{text}: {}", times.due());
            times.check_soon();
            times.look_at_the_clock(4000);
            assert_eq!(times.due(), 0);
        }
    }
}
