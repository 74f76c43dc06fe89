//! Expressions that are refused, with messages that name a right value.

use super::schedule;

#[test]
fn an_expression_is_wrong_then_field_value_and_range_are_named() {
    for (text, expected) in [
        ("60 * * * *", "minute 60: it takes 0-59"),
        ("* 24 * * *", "hour 24: it takes 0-23"),
        ("* * 0 * *", "day 0: it takes 1-31"),
        ("* * 32 * *", "day 32: it takes 1-31"),
        ("* * * 13 *", "month 13: it takes 1-12 or jan-dec"),
        ("* * * foo *", "month foo: it takes 1-12 or jan-dec"),
        ("* * * * 8", "weekday 8: it takes 0-7 or sun-sat"),
        ("* * * * mondy", "weekday mondy: it takes 0-7 or sun-sat"),
        ("* * * * mon-xyz", "weekday mon-xyz: it takes 0-7 or sun-sat"),
        ("* * * * * 60", "second 60: it takes 0-59"),
        ("1-60 * * * *", "minute 1-60: it takes 0-59"),
        ("1,2,x * * * *", "minute x: it takes 0-59"),
        ("1, * * * *", "minute (nothing): it takes 0-59"),
        ("-5 * * * *", "minute -5: it takes 0-59"),
        ("+5 * * * *", "minute +5: it takes 0-59"),
        ("300 * * * *", "minute 300: it takes 0-59"),
        ("*/0 * * * *", "minute */0: a step is 1-255"),
        ("*/300 * * * *", "minute */300: a step is 1-255"),
        ("*/ * * * *", "minute */: a step is 1-255"),
        ("1/2/3 * * * *", "minute 1/2/3: a step is 1-255"),
        ("** * * * *", "minute **: it takes 0-59"),
        ("*-5 * * * *", "minute *-5: it takes 0-59"),
        ("? * * * *", "minute ?: it takes 0-59"),
        ("* * ?,1 * *", "day ?: it takes 1-31"),
        ("L * * * *", "minute L: it takes 0-59"),
        ("jan * * * *", "minute jan: it takes 0-59"),
        ("* * L-31 * *", "day L-31: L- takes 0-30, the days before the last one"),
        ("* * 0W * *", "day 0W: W takes one day before it, 1W-31W, or LW"),
        ("* * 1-5W * *", "day 1-5W: W takes one day before it, 1W-31W, or LW"),
        ("* * * * L", "weekday L: L takes one weekday before it, as 5L or friL"),
        ("* * * * 8L", "weekday 8L: L takes one weekday before it, as 5L or friL"),
        ("* * * * 1#6", "weekday 1#6: # takes 1-5 behind it, which one of the month"),
        ("* * * * 1-3#1", "weekday 1-3#1: # takes one weekday before it: write mon#1,tue#1,wed#1"),
        ("* * * * mon-fri#1", "weekday mon-fri#1: # takes one weekday before it: write mon#1,tue#1,wed#1,thu#1,fri#1"),
        ("* * * * sat-sun#2", "weekday sat-sun#2: # takes one weekday before it: write sat#2,sun#2"),
        ("* * * * x-y#1", "weekday x-y#1: it takes 0-7 or sun-sat"),
        ("* * * * L5", "weekday L5: the L stands behind the weekday: 5L"),
        ("* * * * lfri", "weekday lfri: the L stands behind the weekday: friL"),
        ("* * * * Lx", "weekday Lx: it takes 0-7 or sun-sat"),
        ("H(5-1) * * * *", "minute H(5-1): the range of H goes up"),
        ("H(5) * * * *", "minute H(5): H stands alone or with a range, as H or H(0-29)"),
        ("Hx * * * *", "minute Hx: H stands alone or with a range, as H or H(0-29)"),
        ("H(0-60) * * * *", "minute H(0-60): it takes 0-59"),
        ("", "it has 0 of five fields: it takes minute hour day month weekday, as in */5 * * * *"),
        ("* * * *", "it has 4 of five fields: "),
        ("* * * * * * *", "it has 7 of five fields: "),
        ("*/5", "it has 1 of five fields: "),
        (
            "@reboot",
            "@reboot is unknown: it takes @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @every 5m",
        ),
        ("@daily 5", "nothing may follow @daily"),
        ("@every", "@every takes a time from 1s to 8784h, as 90s, 5m, 1h30m"),
        ("@every 0s", "@every takes a time"),
        ("@every 5", "@every takes a time"),
        ("@every 1.5h", "@every takes a time"),
        ("@every 8785h", "@every takes a time"),
        ("@every 99999999999999999999h", "@every takes a time"),
        ("@every 9999999999999999h", "@every takes a time"),
        ("@every 5m 5m", "@every takes a time"),
        ("CRON_TZ=UTC", "CRON_TZ= takes a zone, a blank and an expression: "),
        ("CRON_TZ= * * * * *", "CRON_TZ= takes a zone, a blank and an expression: "),
        ("CRON_TZ=Europe/Berln * * * * *", "cannot load the time zone Europe/Berln of CRON_TZ: it is no file in "),
        ("\u{e4} * * * *", "minute \u{e4}: it takes 0-59"),
        ("* * \u{e4}W * *", "day \u{e4}W: W takes"),
        ("* * * * \u{e4}L", "weekday \u{e4}L: L takes"),
    ] {
        let why = schedule(text).unwrap_err();
        assert!(why.starts_with(expected), "{text}: {why}\n{expected}");
        assert!(!why.contains('\n'), "{why}");
    }
}

#[test]
fn an_expression_can_never_fire_then_it_is_refused() {
    for text in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 31W 4 *",
        "0 0 L-30 2,4 *",
        "0 0 */31 * mon#5", // both must match, as the day begins with *: the first is no fifth Monday
        "0 0 */29 2 1L",
    ] {
        let why = schedule(text).unwrap_err();
        assert!(why == "it never fires: no year has such a day", "{text}: {why}");
    }
    // The hour that each last Sunday of March skips: an open hour is not made up for.
    let zone = "CRON_TZ=CET-1CEST,M3.5.0,M10.5.0/3";
    assert_eq!(schedule(&format!("{zone} * 2 * 3 0L")).unwrap_err(), "it never fires: no year has such a time");
    for text in ["0 2 * 3 0L", "* 3 * 3 0L", "* 2 * 3 0#4"] {
        assert!(schedule(&format!("{zone} {text}")).is_ok(), "{text}");
    }
}

#[test]
fn a_step_is_as_large_as_its_field_then_that_is_told() {
    for (text, expected) in [
        ("*/60 * * * *", Some("minute */60 is only 0: a step is smaller than 60")),
        ("1,*/90 * * * *", Some("minute */90 is only 0: a step is smaller than 60")),
        ("0 */24 * * *", Some("hour */24 is only 0: a step is smaller than 24")),
        ("0 0 */31 * *", Some("day */31 is only 1: a step is smaller than 31")),
        ("0 0 * */12 *", Some("month */12 is only 1: a step is smaller than 12")),
        ("0 0 * * * */60", Some("second */60 is only 0: a step is smaller than 60")),
        ("*/59 */23 * * *", None),
        ("5/60 * * * *", None),
        ("@every 60m", None),
    ] {
        assert_eq!(schedule(text).unwrap().oddity().as_deref(), expected, "{text}");
    }
}

#[test]
fn names_stand_there_in_full_then_they_mean_the_same() {
    for (text, short) in [
        ("* * * * friday", "* * * * fri"),
        ("* * * June-AUGUST Monday-friday", "* * * jun-aug mon-fri"),
        ("* * * * sundayL", "* * * * sunL"),
    ] {
        let (one, other) = (schedule(text).unwrap(), schedule(short).unwrap());
        assert_eq!(one.next(0), other.next(0), "{text}");
    }
}
