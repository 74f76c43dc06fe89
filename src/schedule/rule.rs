//! The rule of a schedule: a cron expression, or a period.

use super::calendar::DAY;
use super::days::Days;

/// The times of a schedule.
#[derive(Clone, Debug)]
pub enum Rule {
    /// By the calendar.
    Cron(Cron),
    /// At a fixed period in seconds, with an offset from the epoch.
    Every {
        /// Its length.
        period: i64,
        /// The offset.
        phase: i64,
    },
}

/// A cron expression as sets of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// Bit n: second n.
    pub seconds: u64,
    /// Bit n: minute n.
    pub minutes: u64,
    /// Bit n: hour n.
    pub hours: u64,
    /// The days.
    pub days: Days,
    /// Neither minute nor hour begins with `*`.
    pub is_fixed: bool,
}

impl Cron {
    /// The first match from `local` on, in seconds of local time.
    pub fn next(&self, local: i64) -> Option<i64> {
        let day = local.div_euclid(DAY);
        if self.days.is_match(day)
            && let Some(second) = self.second_of_day(local.rem_euclid(DAY))
        {
            return Some(day * DAY + second);
        }
        Some(self.days.next(day + 1)? * DAY + self.second_of_day(0)?)
    }

    /// The first match of a day from `second` on.
    fn second_of_day(&self, second: i64) -> Option<i64> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let first = |set: u64, least: i64| Some(i64::from((set & !0 << least).trailing_zeros())).filter(|n| *n < 64);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = first(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = first(self.minutes, minute + 1) {
                return Some(hour * 3600 + minute * 60 + first(self.seconds, 0)?);
            }
        }
        Some(first(self.hours, hour + 1)? * 3600 + first(self.minutes, 0)? * 60 + first(self.seconds, 0)?)
    }
}
