//! `repo-deploy schedule [N] [--from TIME]`: the next times of a schedule, one a line, in the zone of the schedule.

use std::ffi::OsStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::usage;
use crate::config::Timing;
use crate::error::{Error, Result};
use crate::schedule::Schedule;
use crate::sys::clock;

/// How many times are told when nobody says.
const FEW: usize = 5;

/// And how many at most.
const MANY: usize = 100_000;

/// What was asked for.
#[derive(Debug)]
pub struct Times {
    /// The schedules, each of its deployment.
    pub timings: Vec<Timing>,
    /// How many times.
    pub count: usize,
    /// After when; `None`: now.
    pub from: Option<i64>,
}

/// Reads N.
pub fn count(text: Option<&String>) -> Result<usize> {
    let Some(text) = text else { return Ok(FEW) };
    let number = text.parse().ok().filter(|n| (1..=MANY).contains(n) && text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| usage(format!("cannot do schedule {text}: it takes a whole number from 1 to {MANY}")))
}

/// Reads the value of `--from`.
pub fn from(text: &OsStr) -> Result<i64> {
    let text = text.to_string_lossy();
    let time = OffsetDateTime::parse(&text, &Rfc3339).map(OffsetDateTime::unix_timestamp);
    time.map_err(|_| {
        usage(format!("cannot use --from {text}: it takes a time as 2026-03-29T00:00:00Z or 2026-03-29T00:00:00+01:00"))
    })
}

impl Times {
    /// The times, those of several deployments one after the other as they come, each with its id.
    pub fn text(&self) -> Result<String> {
        let from = self.from.unwrap_or_else(|| i64::try_from(clock::now()).unwrap_or(i64::MAX));
        let mut schedules = Vec::new();
        for timing in &self.timings {
            schedules.push((timing.id.as_str(), timing.schedule()?));
        }
        listed(&schedules, from, self.count)
    }
}

fn listed(schedules: &[(&str, Schedule)], from: i64, count: usize) -> Result<String> {
    let mut next: Vec<i64> = schedules.iter().map(|(_, schedule)| schedule.next(from).unwrap_or(i64::MAX)).collect();
    let mut text = String::new();
    for _ in 0..count {
        let first = next.iter_mut().zip(schedules).min_by_key(|(at, _)| **at).filter(|(at, _)| **at < i64::MAX);
        let Some((at, (id, schedule))) = first else {
            return Err(Error::config("cannot find a next time: the schedule never fires again"));
        };
        text += &schedule.local(*at);
        if schedules.len() > 1 {
            text.push(' ');
            text += id;
        }
        text.push('\n');
        *at = schedule.next(*at).unwrap_or(i64::MAX);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Seed, zone};

    #[test]
    fn times_of_several_come_in_their_order_each_in_its_zone() {
        let schedule =
            |text: &str| Schedule::parse(text, &Seed::new("h", "i"), |named| zone::load(named, Some("UTC0"))).unwrap();
        let web = ("web", schedule("CRON_TZ=IST-5:30 0 12 * * *"));
        let batch = ("batch", schedule("0 */12 * * *"));
        let from = from(OsStr::new("2026-11-22T00:00:00+00:00")).unwrap();
        assert_eq!(listed(std::slice::from_ref(&web), from, 1).unwrap(), "2026-11-22T12:00:00+05:30\n");
        assert_eq!(
            listed(&[web, batch], from, 3).unwrap(),
            "2026-11-22T12:00:00+05:30 web\n2026-11-22T12:00:00Z batch\n2026-11-23T00:00:00Z batch\n"
        );
    }

    #[test]
    fn numbers_and_times_are_read_or_refused() {
        for (text, expected) in
            [("1", Some(1)), ("100000", Some(100_000)), ("0", None), ("100001", None), ("+1", None), ("x", None)]
        {
            assert_eq!(count(Some(&text.to_owned())).ok(), expected, "{text}");
        }
        assert_eq!(count(None).unwrap(), 5);
        for text in ["", "now", "2026-11-22", "2026-11-22T06:00:00", "2026-02-29T00:00:00Z"] {
            assert_eq!(from(OsStr::new(text)).unwrap_err().exit_code(), 64, "{text}");
        }
    }
}
