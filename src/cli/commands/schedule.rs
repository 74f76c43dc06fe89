//! `repo-deploy schedule`: the next times of a schedule, one a line, in the zone of the schedule.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::options;
use crate::cli::session::{Session, print, usage};
use crate::config;
use crate::error::{Error, Result};
use crate::schedule::Schedule;
use crate::sys::clock;

/// Lists the next times of a schedule.
pub static SCHEDULE: CommandSpec = CommandSpec {
    name: "schedule",
    operands: "[N]",
    summary: "list the next check times",
    about: "Lists the next N times of the schedule (5 without N), in its time zone, with this host's share of splay. \
            Needs no remote.",
    options: &[&options::FROM],
    is_configured: true,
    example: "repo-deploy schedule 3 --schedule @daily --from 2026-03-28T12:00:00Z",
    action: Action::Run(run),
};

/// How many times are listed without N.
const FEW: usize = 5;

/// And how many at most.
const MANY: usize = 100_000;

fn run(session: &Session) -> Result<ExitCode> {
    let count = count(session.args.operands.first())?;
    let mut warnings = Vec::new();
    let timings = config::timings(&session.args.request, &session.environment, &mut warnings);
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    let from = session.args.from.unwrap_or_else(|| i64::try_from(clock::now()).unwrap_or(i64::MAX));
    let timings = timings?;
    let mut schedules = Vec::new();
    for timing in &timings {
        schedules.push((timing.id.as_str(), timing.schedule()?));
    }
    print(&listed(&schedules, from, count)?)
}

/// Reads N.
fn count(text: Option<&String>) -> Result<usize> {
    let Some(text) = text else { return Ok(FEW) };
    let number = text.parse().ok().filter(|n| (1..=MANY).contains(n) && text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| usage(format!("cannot do schedule {text}: it takes a whole number from 1 to {MANY}")))
}

/// The times, those of several deployments one after the other as they come, each with its id.
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
        let schedule = |text: &str| {
            Schedule::parse(text, &Seed::new("h", "i"), |named| zone::load::zone(named, Some("UTC0"))).unwrap()
        };
        let web = ("web", schedule("CRON_TZ=IST-5:30 0 12 * * *"));
        let batch = ("batch", schedule("0 */12 * * *"));
        let from = 1_795_305_600; // 2026-11-22T00:00:00Z
        assert_eq!(listed(std::slice::from_ref(&web), from, 1).unwrap(), "2026-11-22T12:00:00+05:30\n");
        assert_eq!(
            listed(&[web, batch], from, 3).unwrap(),
            "2026-11-22T12:00:00+05:30 web\n2026-11-22T12:00:00Z batch\n2026-11-23T00:00:00Z batch\n"
        );
    }

    #[test]
    fn numbers_are_read_or_refused() {
        for (text, expected) in
            [("1", Some(1)), ("100000", Some(100_000)), ("0", None), ("100001", None), ("+1", None), ("x", None)]
        {
            assert_eq!(count(Some(&text.to_owned())).ok(), expected, "{text}");
        }
        assert_eq!(count(None).unwrap(), 5);
    }
}
