//! The Gregorian calendar, in days since 1970-01-01 and seconds of a day. Pure, for every year of an i64 of seconds.

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// The day of a date; month 1-12, day 1-31.
pub fn day_of(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March: the leap day is the last, and months before it follow one pattern of 153 days in five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
        - 719_469
}

/// The date of a day: year, month, day.
pub fn date_of(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468; // since 0000-03-01
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (late, date) = (i64::from(month > 9), day - (153 * month + 2) / 5 + 1);
    (era * 400 + year + late, month + 3 - 12 * late, date)
}

/// 0 for Sunday to 6 for Saturday.
pub fn weekday_of(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

/// Whether a year has a 29th of February.
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The number of days of a month (1-12).
pub fn length_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A local time in RFC 3339, with its offset from UTC. An offset that is no whole number of minutes (before 1972 in
/// Liberia) cannot be written so: the time is then in UTC.
pub fn rfc3339(at: i64, offset: i64) -> String {
    let offset = if offset % 60 == 0 { offset } else { 0 };
    let local = at + offset;
    let (year, month, day) = date_of(local.div_euclid(DAY));
    let second = local.rem_euclid(DAY);
    let (sign, away) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    let zone = if offset == 0 { "Z".to_owned() } else { format!("{sign}{:02}:{:02}", away / 60, away % 60) };
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{zone}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_two_ways_to_say_the_same_over_four_centuries() {
        let (mut year, mut month, mut date) = (1800, 1, 1);
        for day in day_of(1800, 1, 1)..day_of(2210, 1, 1) {
            assert_eq!((date_of(day), day_of(year, month, date)), ((year, month, date), day));
            date += 1;
            if date > length_of(year, month) {
                (date, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!((year, month, date), (2210, 1, 1));
        // Known days: the epoch was a Thursday, and 2000-02-29 a Tuesday.
        assert_eq!((day_of(1970, 1, 1), weekday_of(0)), (0, 4));
        assert_eq!((day_of(2000, 2, 29), weekday_of(11_016)), (11_016, 2));
        assert_eq!((is_leap(1900), is_leap(2000), is_leap(2024), is_leap(2026)), (false, true, true, false));
    }

    #[test]
    fn times_are_written_with_their_distance() {
        for (at, offset, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (0, -1, "1970-01-01T00:00:00Z"),
            (1_795_327_205, 3600, "2026-11-22T07:00:05+01:00"),
            (1_795_327_205, -12_600, "2026-11-22T02:30:05-03:30"),
            (-1, 20_700, "1970-01-01T05:44:59+05:45"),
        ] {
            assert_eq!(rfc3339(at, offset), text);
        }
    }
}
