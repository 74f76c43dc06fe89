mod brute;
mod random;

use super::*;

fn schedule(text: &str) -> Result<Schedule, Why> {
    Schedule::parse(text, &Seed::new("host", "id"), |_| Ok(Zone::default()))
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
