//! Tables of expressions and their times; random, speed and comparison tests are in the modules below.

#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "numbers here are small, and what is left out is said"
)]

mod brute;
mod cronsim;
mod random;
mod refused;
mod speed;

use super::*;

fn schedule(text: &str) -> Result<Schedule, Why> {
    schedule_of(text, "host", "id")
}

fn schedule_of(text: &str, host: &str, id: &str) -> Result<Schedule, Why> {
    Schedule::parse(text, &Seed::new(host, id), |named| zone::load::zone(named, Some("UTC0")))
}

/// The next `count` times after the local time `from`, `2026-03-29T00:00:00+01:00`.
fn next_times(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let from = time::OffsetDateTime::parse(from, &time::format_description::well_known::Rfc3339).unwrap();
    let mut at = from.unix_timestamp();
    (0..count).map(|_| (at = schedule.next(at).unwrap(), schedule.local(at)).1).collect()
}

#[test]
fn expressions_mean_their_next_times() {
    const FROM: i64 = 1_795_327_205; // 2026-11-22T06:00:05Z, a Sunday
    for (text, expected) in [
        ("* * * * *", "2026-11-22T06:01:00Z"),
        ("*/5 * * * *", "2026-11-22T06:05:00Z"),
        ("0 4 * * *", "2026-11-23T04:00:00Z"),
        ("30 22-2 * * *", "2026-11-22T22:30:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 mon", "2027-02-01T00:00:00Z"),
        ("0 0 */28 2 mon#5", "2044-02-29T00:00:00Z"),
        ("0 0 13 * fri", "2026-11-27T00:00:00Z"),
        ("0 0 L * *", "2026-11-30T00:00:00Z"),
        ("0 0 L-3 * *", "2026-11-27T00:00:00Z"),
        ("0 0 LW 1 *", "2027-01-29T00:00:00Z"),
        ("0 0 31W 1 *", "2027-01-29T00:00:00Z"),
        ("0 0 1W 5 *", "2027-05-03T00:00:00Z"),
        ("0 0 * * mon#1", "2026-12-07T00:00:00Z"),
        ("0 0 * * 5#5", "2027-01-29T00:00:00Z"),
        ("0 0 * * friL", "2026-11-27T00:00:00Z"),
        ("* * * * * */10", "2026-11-22T06:00:10Z"),
        ("@monthly", "2026-12-01T00:00:00Z"),
        ("@Yearly", "2027-01-01T00:00:00Z"),
        ("0 0 ? * 7", "2026-11-29T00:00:00Z"),
    ] {
        let schedule = schedule(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(schedule.local(schedule.next(FROM).unwrap()), expected, "{text}");
    }
}

/// The days of change in a zone: a fixed expression runs once for each local time, an open one goes by the clock.
#[test]
fn the_clock_changes_then_what_is_fixed_runs_once_and_what_is_open_goes_on() {
    const BERLIN: &str = "CRON_TZ=CET-1CEST,M3.5.0,M10.5.0/3";
    for (expression, from, expected) in [
        // 02:00 to 03:00 is skipped.
        ("30 2 * * *", "2026-03-28T12:00:00+01:00", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"][..]),
        ("0,15,30 2 * * *", "2026-03-28T12:00:00+01:00", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        ("30 2,3 * * *", "2026-03-28T12:00:00+01:00", &["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]),
        ("0 2,3 * * *", "2026-03-28T12:00:00+01:00", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        ("30 2 * * * 10-12", "2026-03-28T12:00:00+01:00", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:10+02:00"]),
        ("H(0-0) 2 * * * 0", "2026-03-28T12:00:00+01:00", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        ("*/30 2 * * *", "2026-03-28T12:00:00+01:00", &["2026-03-30T02:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("30 */2 * * *", "2026-03-29T00:00:00+01:00", &["2026-03-29T00:30:00+01:00", "2026-03-29T04:30:00+02:00"]),
        ("30 * * * *", "2026-03-29T01:00:00+01:00", &["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]),
        // 02:00 to 03:00 comes twice.
        ("30 2 * * *", "2026-10-24T12:00:00+02:00", &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        ("30 2 * * *", "2026-10-25T02:29:00+01:00", &["2026-10-26T02:30:00+01:00"]),
        ("30 2,3 * * *", "2026-10-25T02:45:00+02:00", &["2026-10-25T03:30:00+01:00"]),
        ("30 * * * *", "2026-10-25T02:00:00+02:00", &["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]),
        ("*/30 2 * * *", "2026-10-25T02:00:00+02:00", &["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"]),
        ("59 * * * * 59", "2026-10-25T02:59:59+02:00", &["2026-10-25T02:59:59+01:00", "2026-10-25T03:59:59+01:00"]),
    ] {
        let schedule = schedule(&format!("{BERLIN} {expression}")).unwrap();
        assert_eq!(next_times(&schedule, from, expected.len()), expected, "{expression} after {from}");
    }
}

/// Samoa crossed the date line: its 30 December 2011 was skipped entirely.
#[test]
fn a_whole_day_is_skipped_then_what_is_fixed_runs_behind_it() {
    let schedule = schedule("CRON_TZ=Pacific/Apia 0 4 30 12 *").unwrap();
    let expected = ["2011-12-31T00:00:00+14:00", "2012-12-30T04:00:00+14:00"];
    assert_eq!(next_times(&schedule, "2011-12-01T00:00:00Z", 2), expected);
}

#[test]
fn every_counts_from_the_epoch_and_a_fleet_does_not_run_in_step() {
    for (text, period) in
        [("@every 90s", 90), ("@every 5m", 300), ("@EVERY 1h30m", 5400), ("@every 8784h", 8784 * 3600)]
    {
        let schedule = schedule(text).unwrap();
        let first = schedule.next(1_000_000_007).unwrap();
        assert!((1..=period).contains(&(first - 1_000_000_007)), "{text}");
        // The times do not depend on the moment of the call.
        for after in [first - period, first - 1, first - period / 2] {
            assert_eq!(schedule.next(after), Some(first), "{text}");
        }
        assert_eq!(schedule.next(first), Some(first + period), "{text}");
    }
    let of = |host: i32| schedule_of("@every 5m", &format!("host-{host}"), "id").unwrap().next(0).unwrap();
    let seconds: std::collections::BTreeSet<i64> = (0..1000).map(of).collect();
    assert!(seconds.len() > 250, "1000 hosts share {} of 300 seconds", seconds.len());
}

#[test]
fn h_is_a_place_of_ones_own_that_does_not_move() {
    let minute = |text: &str, host: &str, id: &str| schedule_of(text, host, id).unwrap().next(-1).unwrap() / 60 % 60;
    let names: Vec<String> = (0..1000).map(|n| format!("host-{n}")).collect();
    let of = |text| names.iter().map(|host| minute(text, host, "id")).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(of("H 0 * * *").len(), 60);
    assert_eq!(of("H(10-14) 0 * * *").into_iter().collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
    assert_eq!(of("H/15 0 * * *").into_iter().collect::<Vec<_>>(), (0..15).collect::<Vec<_>>());
    assert_eq!(minute("H 0 * * *", "a", "b"), minute("H 0 * * *", "a", "b"));
    assert!((0..100).any(|n| minute("H 0 * * *", "a", "b") != minute("H 0 * * *", "a", &n.to_string())));
    // Host and id are kept apart.
    assert_ne!(Seed::new("ab", "c").choose("x", 1 << 40), Seed::new("a", "bc").choose("x", 1 << 40));
    for host in &names {
        let Rule::Cron(cron) = schedule_of("H/15 H H(1-5)/2 H H", host, "").unwrap().rule else { panic!("no cron") };
        assert_eq!((cron.minutes.count_ones(), cron.hours.count_ones(), cron.days.months.count_ones()), (4, 1, 1));
        assert!(cron.days.dates & !0b11_1110 == 0 && (2..=3).contains(&cron.days.dates.count_ones()));
        assert!(cron.days.weekdays < 128 && cron.is_fixed);
        let Rule::Cron(cron) = schedule_of("0 0 H 2 *", host, "").unwrap().rule else { panic!("no cron") };
        assert!(cron.days.dates.trailing_zeros() <= 28, "a day that February has not");
    }
}

#[test]
fn h_is_in_a_field_then_the_second_has_a_place_too() {
    let second = |text: &str, host: u64| schedule_of(text, &host.to_string(), "").unwrap().next(0).unwrap() % 60;
    for text in ["H * * * *", "H/15 * * * *", "0 H(1-5) * * *", "5,h 0 * * *"] {
        let seconds: std::collections::BTreeSet<i64> = (0..1000).map(|host| second(text, host)).collect();
        assert_eq!(seconds.len(), 60, "{text}");
    }
    for text in ["* * * * *", "0 0 * march thu", "@hourly", "H * * * * 0"] {
        assert!((0..100).all(|host| second(text, host) == 0), "{text}");
    }
}

#[test]
fn splay_of_a_period_loads_each_second_alike() {
    let seeds: Vec<Seed> = (0..6000).map(|host| Seed::new(&host.to_string(), "")).collect();
    let mut seconds = [0; 60];
    for seed in &seeds {
        let splayed = schedule("* * * * *").unwrap().with_splay(Duration::from_secs(60), seed);
        let next = splayed.next(59).unwrap();
        assert!((60..120).contains(&next) && splayed.next(next - 1) == Some(next));
        assert_eq!((splayed.next(next), splayed.next_check(59)), (Some(next + 60), Some(next as u64)));
        seconds[usize::try_from(next - 60).unwrap()] += 1;
    }
    assert!(seconds.iter().all(|hosts| (60..140).contains(hosts)), "{seconds:?}");
    let without = schedule("* * * * *").unwrap().with_splay(Duration::ZERO, &seeds[0]);
    assert_eq!((without.next(59), without.first(59)), (Some(60), 59));
}

/// At once; or, if the schedule spreads a fleet, within a minute, and evenly.
#[test]
fn a_daemon_starts_then_its_first_check_is_now_or_in_its_place() {
    let start = 1_000_000_007;
    for text in ["* * * * *", "0 4 * * *", "@daily", "0 0 29 2 *"] {
        assert_eq!(schedule(text).unwrap().first(start), start, "{text}");
    }
    for text in ["* * * * * H", "@every 1m", "@every 90s", "@every 24h", "H 3 * * *", "H 0 29 2 *"] {
        let mut seconds = [0; 61];
        for host in 0..6000 {
            let schedule = schedule_of(text, &host.to_string(), "id").unwrap();
            let first = schedule.first(start);
            let next = schedule.next(start).unwrap();
            assert!(first == next || next > start + 60, "{text}");
            seconds[usize::try_from(first - start).unwrap()] += 1;
        }
        assert!(seconds[0] == 0 && seconds[1..].iter().all(|hosts| (60..145).contains(hosts)), "{text}: {seconds:?}");
    }
}

#[test]
fn what_is_written_in_many_ways_means_the_same() {
    for (one, other) in [
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 0-7", "0 0 * * *"),
        ("0 0 * * 5-7", "0 0 * * fri,sat,SUN"),
        ("0 0 * * 5-1", "0 0 * * 5,6,0,1"),
        ("0 0 * * 7-2", "0 0 * * 0-2"),
        ("0 0 * * 7-7", "0 0 * * 0"),
        ("0 0 * * sat-mon", "0 0 * * 6,0,1"),
        ("0 0 * * 1/2", "0 0 * * 1,3,5"),
        ("50-10/10 * * * *", "50,0,10 * * * *"),
        ("5/20 * * * *", "5,25,45 * * * *"),
        ("*/90 * * * *", "*/60 * * * *"),
        ("0 22-2 * * *", "0 22,23,0,1,2 * * *"),
        ("0 0 30-2 * *", "0 0 30,31,1,2 * *"),
        ("0 0 1 nov-Feb *", "0 0 1 11,12,1,2 *"),
        ("0 0 l-0 * *", "0 0 L * *"),
        ("0 0 lw,15w * *", "0 0 LW,15W * *"),
        ("0 0 * * 7l,sun#2", "0 0 * * 0L,0#2"),
        ("  0\t0  * * *  ", "0 0 * * *"),
        ("0 0 * * * 0", "0 0 * * *"),
        ("0 0 ? * ?", "0 0 * * *"),
        ("TZ=UTC0 0 0 * * *", "CRON_TZ=UTC0 @daily"),
        ("@midnight", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@annually", "0 0 1 1 *"),
    ] {
        let times = |text| next_times(&schedule(text).unwrap(), "2026-01-01T00:00:00Z", 50);
        assert_eq!(times(one), times(other), "{one} and {other}");
    }
}
