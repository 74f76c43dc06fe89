//! The work of finding the next time, counted in months and spans of a zone: they take the time, and a count is the
//! same on every machine.

use super::random::{Dice, Expression};
use super::*;
use crate::schedule::steps::steps;

#[test]
fn the_rarest_time_is_found_within_few_steps() {
    let zones = ["Europe/Berlin", "Australia/Lord_Howe", "CET-1CEST,M3.5.0,M10.5.0/3", "UTC0"];
    let mut dice = Dice(7);
    let mut texts: Vec<String> = (0..500).map(|_| Expression::any(&mut dice, false).text()).collect();
    // The 29th of February on a given weekday comes once in 28 years, or in 40.
    texts.extend(["0 0 */28 2 1#5", "* * */28 2 1#5", "0 0 29 2 *", "* * 29 2 *", "* * 31 * 1#5"].map(str::to_owned));
    let mut most = 0;
    for text in texts {
        for zone in zones {
            let load = |_: Option<&str>| zone::load::zone(None, Some(zone));
            let Ok(schedule) = Schedule::parse(&text, &Seed::new("h", "i"), load) else { continue };
            let mut at = 3_700_000_000 + dice.below(1_000_000_000); // around 2100, which is no leap year
            for _ in 0..5 {
                let taken = steps(|| at = schedule.next(at).unwrap());
                assert!(taken <= 550, "{text} in {zone}: {taken} steps to {}", schedule.local(at));
                most = most.max(taken);
            }
        }
    }
    // An hour that comes twice in autumn, after its second time.
    let again = schedule("CRON_TZ=CET-1CEST,M3.5.0,M10.5.0/3 0-59 2 * * * *").unwrap();
    let taken = steps(|| assert_eq!(again.next(1_792_890_000), Some(1_792_890_000 + 24 * 3600)));
    assert!(taken <= 50, "{taken} steps");
    assert!(most > 300, "{most}: the rare ones are not among them");
}

#[test]
fn what_never_fires_is_refused_within_the_steps_of_four_centuries() {
    let zone = "CRON_TZ=CET-1CEST,M3.5.0,M10.5.0/3";
    for text in ["0 0 30 2 *".to_owned(), "* * */31 * 1#5".to_owned(), format!("{zone} * 2 * 3 0L")] {
        let taken = steps(|| assert!(schedule(&text).is_err(), "{text}"));
        assert!(taken <= 12_000, "{text}: {taken} steps");
    }
}
