//! The days that match the fields for day, month and weekday, and the next such day. A month is handled as a whole, as
//! a set of bits, so that the search for a rare day costs a few operations for each month.

use super::calendar::{date_of, day_of, length_of, weekday_of};

/// The calendar repeats itself after this many months: a day that does not match within them never does.
const MONTHS: usize = 400 * 12;

/// Sets of bits for the three fields. Bit 0 of days and months is never set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Days {
    /// Bit n: month n.
    pub months: u64,
    /// Bit n: day n.
    pub dates: u64,
    /// Bit n: n days before the last one (`L`, `L-n`).
    pub from_end: u64,
    /// Bit n: the working day nearest to day n, in the same month (`nW`).
    pub working: u64,
    /// The last working day (`LW`).
    pub last_working: bool,
    /// Bit n: weekday n; Sunday is 0.
    pub weekdays: u64,
    /// Bit 7 * (k - 1) + n: the k-th weekday n of a month (`n#k`).
    pub kth: u64,
    /// Bit n: the last weekday n of a month (`nL`).
    pub last: u64,
    /// A match of either the dates or the weekdays is enough, as neither field begins with `*`.
    pub either: bool,
}

impl Days {
    /// The first day that matches, from `day` on; `None`: none ever does.
    pub fn next(&self, day: i64) -> Option<i64> {
        let (mut year, mut month, date) = date_of(day);
        let mut first = day - date + 1;
        let mut ahead = !0 << date;
        for _ in 0..=MONTHS {
            #[cfg(test)]
            super::steps::step();
            let length = length_of(year, month);
            if self.months >> month & 1 == 1 {
                let found = self.of_month(length, weekday_of(first)) & ahead;
                if found != 0 {
                    return Some(first + i64::from(found.trailing_zeros()) - 1);
                }
            }
            ahead = !0;
            first += length;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        None
    }

    /// Whether a day matches.
    pub fn is_match(&self, day: i64) -> bool {
        let (year, month, date) = date_of(day);
        self.months >> month & 1 == 1
            && self.of_month(length_of(year, month), weekday_of(day_of(year, month, 1))) >> date & 1 == 1
    }

    /// The matching days of a month of this length that begins with this weekday: bit n for day n.
    fn of_month(&self, length: i64, begins: i64) -> u64 {
        let all = (2 << length) - 2;
        let week = |set: u64| repeat(set, begins);
        let mut dates = self.dates | (self.from_end << 32).reverse_bits() >> (31 - length);
        // Bit n of `from_end`, mirrored at bit 31: day length - n.
        let (saturday, sunday) = (week(1 << 6), week(1));
        let working = self.working & all;
        dates |= working & !(saturday | sunday);
        // Off by one day, or by two where that would leave the month.
        dates |= (working & saturday & !2) >> 1 | (working & saturday & 2) << 2;
        dates |= (working & sunday & !(1 << length)) << 1 | (working & sunday & 1 << length) >> 2;
        if self.last_working {
            dates |= 1 << (63 - i64::from((all & !(saturday | sunday)).leading_zeros()));
        }
        let mut weekdays = week(self.weekdays) | week(self.last) & all & !0 << (length - 6);
        for k in 0..5 {
            weekdays |= week(self.kth >> (7 * k) & 0x7f) & 0xfe << (7 * k);
        }
        all & if self.either { dates | weekdays } else { dates & weekdays }
    }
}

/// A set of weekdays as days of a month that begins with the weekday `begins`.
fn repeat(set: u64, begins: i64) -> u64 {
    let turned = (set >> begins | set << (7 - begins)) & 0x7f;
    (turned * 0x1020_4081) << 1
}
