//! Compares `next` with a matcher too plain to be wrong, which checks every minute of two years.

use time::{OffsetDateTime, Weekday};

use super::random::{Dice, Expression, Field, Item};
use super::*;

/// Europe, America, half an hour in the south, none, and Santiago: at midnight, between two days.
const ZONES: [&str; 5] = [
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "IST-5:30",
    "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
];

/// Whether an expression has the day that `local` lies in.
fn is_day(expression: &Expression, local: i64) -> bool {
    let day = OffsetDateTime::from_unix_timestamp(local).unwrap().date();
    let (date, length) = (i64::from(day.day()), i64::from(day.month().length(day.year())));
    let weekday_of = |other: i64| (i64::from(day.weekday().number_days_from_sunday()) + other - date).rem_euclid(7);
    let is_working = |other: &i64| (1..=5).contains(&weekday_of(*other));
    assert_eq!(weekday_of(date) == 0, day.weekday() == Weekday::Sunday);
    let fits = |field: &Field, value: i64| {
        field.items.iter().any(|item| match item {
            Item::Values(values) => values.contains(&value),
            Item::FromEnd(n) => date + n == length,
            Item::Working(n) => {
                *n <= length && (1..=length).filter(is_working).min_by_key(|other| (other - n).abs()) == Some(date)
            }
            Item::LastWorking => (1..=length).filter(is_working).max() == Some(date),
            Item::Kth(weekday, k) => {
                value == *weekday && (1..=date).filter(|d| weekday_of(*d) == value).count() as i64 == *k
            }
            Item::Last(weekday) => value == *weekday && date + 7 > length,
        })
    };
    let (by_date, by_weekday) = (fits(&expression.date, date), fits(&expression.weekday, weekday_of(date)));
    let both = expression.date.begins_with_star() || expression.weekday.begins_with_star();
    expression.month.has_value(i64::from(u8::from(day.month())))
        && if both { by_date && by_weekday } else { by_date || by_weekday }
}

/// Every minute in which an expression fires.
fn minutes(expression: &Expression, zone: &Zone, from: i64, to: i64) -> Vec<i64> {
    let hours: Vec<bool> = (0..24).map(|hour| expression.hour.has_value(hour)).collect();
    let minutes: Vec<bool> = (0..60).map(|minute| expression.minute.has_value(minute)).collect();
    let first_day = from / DAY - 2;
    let days: Vec<bool> = (first_day..to / DAY + 2).map(|day| is_day(expression, day * DAY)).collect();
    let is_match = |local: i64| {
        let of_day = local % DAY;
        minutes[(of_day / 60 % 60) as usize]
            && hours[(of_day / 3600) as usize]
            && days[(local / DAY - first_day) as usize]
    };
    let is_fixed = !expression.minute.begins_with_star() && !expression.hour.begins_with_star();
    let offset_at = |at: i64| zone.span(at).offset;
    let mut found = Vec::new();
    let (mut latest, mut offset) = (from - 60 + offset_at(from - 60), 0);
    let mut at = from;
    while at < to {
        if at % DAY == 0 && !days[(at / DAY - first_day - 1) as usize..][..3].contains(&true) {
            // Nothing fires on days that do not match, nor on their neighbours: skip all minutes of this day.
            at += DAY;
            latest = at - 60 + offset_at(at - 60);
            continue;
        }
        if at % 1800 == 0 {
            offset = offset_at(at);
        }
        let local = at + offset;
        let mut fires = is_match(local) && (local > latest || !is_fixed);
        if is_fixed && local > latest + 60 {
            fires |= (latest + 60..local).step_by(60).any(is_match);
        }
        latest = latest.max(local);
        if fires {
            found.push(at);
        }
        at += 60;
    }
    found
}

#[test]
fn every_minute_of_two_years_is_looked_at_then_next_finds_the_same() {
    let (from, to) = (1_767_225_600, 1_767_225_600 + 730 * DAY);
    let mut dice = Dice(2026);
    let (mut compared, mut tried, mut fixed) = (0, 0, 0);
    while compared < 500 {
        let expression = Expression::any(&mut dice, false);
        let zone = zone::load::zone(None, Some(dice.among::<&str>(&ZONES))).unwrap();
        tried += 1;
        let text = expression.text();
        let Ok(schedule) = Schedule::parse(&text, &Seed::new("h", "i"), |_| Ok(zone.clone())) else {
            assert_eq!(minutes(&expression, &zone, from, to), [0; 0], "{text} can fire");
            continue;
        };
        let mut at = from - 1;
        for expected in minutes(&expression, &zone, from, to) {
            let next = schedule.next(at);
            assert_eq!(next, Some(expected), "{text} in {zone:?} after {}", schedule.local(at));
            // And so from anywhere between the two.
            let between = at + dice.below(expected - at);
            assert_eq!(schedule.next(between), Some(expected), "{text} in {zone:?} after {}", schedule.local(between));
            at = expected;
        }
        assert!(schedule.next(at).unwrap() >= to, "{text} after {}", schedule.local(at));
        compared += 1;
        fixed += i32::from(matches!(&schedule.rule, Rule::Cron(cron) if cron.is_fixed));
    }
    assert!(tried < 600 && (100..450).contains(&fixed), "{tried} tried, {fixed} fixed: not what this test is about");
}
