//! The rules of a zone in POSIX syntax, in TZ or after the changes of a file (RFC 9636): `CET-1CEST,M3.5.0,M10.5.0/3`.

use super::span::{ALWAYS, Span};
use crate::schedule::calendar::{DAY, date_of, day_of, is_leap, length_of, weekday_of};

/// Standard time, and summer time if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// In seconds to the east.
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    /// The start in standard time, and the end in summer time.
    begins: Change,
    ends: Change,
}

/// A day of each year, and the seconds from its midnight on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    time: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Day {
    /// `Mm.w.d`: a weekday of a month, the w-th; 5: the last.
    Weekday { month: i64, week: i64, weekday: i64 },
    /// `Jn`: 1-365, and the 29th of February is not counted.
    Common(i64),
    /// `n`: 0-365.
    Counted(i64),
}

impl Rule {
    /// The span that contains `at`.
    pub fn span(&self, at: i64) -> Span {
        let Some(summer) = &self.summer else { return Span { offset: self.standard, ..ALWAYS } };
        let (year, ..) = date_of((at + self.standard).div_euclid(DAY));
        // When one summer ends and the next one begins at the same moment, it is summer.
        let mut span = Span { offset: self.standard, ..ALWAYS };
        let mut is_summer = false;
        for year in year - 1..=year + 1 {
            for (when, begins) in
                [(summer.begins.of(year) - self.standard, true), (summer.ends.of(year) - summer.offset, false)]
            {
                if when > at {
                    span.end = span.end.min(when);
                } else if when > span.start || (when == span.start && begins) {
                    (span.start, is_summer) = (when, begins);
                }
            }
        }
        if is_summer {
            span.offset = summer.offset;
        }
        span
    }

    /// Parses `CET-1CEST,M3.5.0,M10.5.0/3` or `<+0545>-5:45`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut text = Text(text);
        text.name()?;
        let standard = -text.time(24)?;
        if text.0.is_empty() {
            return Some(Self { standard, summer: None });
        }
        text.name()?;
        let offset = if text.0.is_empty() || text.0.starts_with(',') { standard + 3600 } else { -text.time(24)? };
        if text.0.is_empty() {
            text = Text(",M3.2.0,M11.1.0"); // the default of the C libraries
        }
        let (begins, ends) = (text.change()?, text.change()?);
        let summer = Some(Summer { offset, begins, ends });
        text.0.is_empty().then_some(Self { standard, summer })
    }
}

impl Change {
    /// Its time in a year, in seconds of local time.
    fn of(&self, year: i64) -> i64 {
        let day = match self.day {
            Day::Counted(n) => day_of(year, 1, 1) + n,
            Day::Common(n) => day_of(year, 1, n) + i64::from(is_leap(year) && n >= 60),
            Day::Weekday { month, week, weekday } => {
                let first = day_of(year, month, 1);
                let date = (weekday - weekday_of(first)).rem_euclid(7) + 7 * (week - 1);
                first + if date < length_of(year, month) { date } else { date - 7 }
            }
        };
        day * DAY + self.time
    }
}

/// The text that remains to be parsed.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn take(&mut self, sign: char) -> bool {
        let rest = self.0.strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// `CET`, `<+0545>`: three letters or more.
    fn name(&mut self) -> Option<()> {
        let quoted = self.take('<');
        let fits = |c: char| c.is_ascii_alphabetic() || (quoted && (c.is_ascii_digit() || c == '+' || c == '-'));
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        self.0 = &self.0[end..];
        (end >= 3 && (!quoted || self.take('>'))).then_some(())
    }

    fn number(&mut self, least: i64, most: i64) -> Option<i64> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let number = self.0[..end].parse().ok().filter(|n| (least..=most).contains(n));
        self.0 = &self.0[end..];
        number
    }

    /// `[+-]h[h[h]][:mm[:ss]]` in seconds.
    fn time(&mut self, hours: i64) -> Option<i64> {
        let is_negative = self.take('-');
        if !is_negative {
            self.take('+');
        }
        let mut time = self.number(0, hours)? * 3600;
        for unit in [60, 1] {
            if self.take(':') {
                time += self.number(0, 59)? * unit;
            } else {
                break;
            }
        }
        Some(if is_negative { -time } else { time })
    }

    /// `,M3.5.0/2`.
    fn change(&mut self) -> Option<Change> {
        if !self.take(',') {
            return None;
        }
        let day = if self.take('J') {
            Day::Common(self.number(1, 365)?)
        } else if self.take('M') {
            let month = self.number(1, 12)?;
            let week = self.take('.').then(|| self.number(1, 5))??;
            let weekday = self.take('.').then(|| self.number(0, 6))??;
            Day::Weekday { month, week, weekday }
        } else {
            Day::Counted(self.number(0, 365)?)
        };
        let time = if self.take('/') { self.time(167)? } else { 2 * 3600 };
        Some(Change { day, time })
    }
}
