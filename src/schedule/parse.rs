//! Parses the text of an expression into its rule. Errors name the wrong field and value, and a right one.

use super::days::Days;
use super::field::{self, HOUR, MINUTE, MONTH, SECOND, Why};
use super::rule::{Cron, Rule};
use super::seed::Seed;

/// Names for expressions.
const NAMED: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The names, for messages.
const KNOWN: &str = "@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @every 5m";

/// The longest `@every`: a year.
const LONGEST: i64 = 366 * 24 * 3600;

/// Splits off a leading `CRON_TZ=Area/City` (or `TZ=`).
pub fn zone(text: &str) -> Result<(Option<&str>, &str), Why> {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((None, text));
    };
    match rest.split_once([' ', '\t']) {
        Some((zone, rest)) if !zone.is_empty() => Ok((Some(zone), rest.trim_start())),
        _ => Err("CRON_TZ= takes a zone, a blank and an expression: CRON_TZ=Europe/Berlin 0 4 * * *".to_owned()),
    }
}

/// Parses the text after the zone.
pub fn rule(text: &str, seed: &Seed) -> Result<Rule, Why> {
    let mut words = text.split_ascii_whitespace();
    match words.next() {
        Some(word) if word.eq_ignore_ascii_case("@every") => every(words.next(), words.next(), seed),
        Some(word) if word.starts_with('@') => match NAMED.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
            Some((_, meaning)) if words.next().is_none() => cron(meaning, seed).map(Rule::Cron),
            Some((name, _)) => Err(format!("nothing may follow {name}")),
            None => Err(format!("{word} is unknown: it takes {KNOWN}")),
        },
        _ => cron(text, seed).map(Rule::Cron),
    }
}

fn cron(text: &str, seed: &Seed) -> Result<Cron, Why> {
    // An H without seconds would spread a fleet over minutes, and have all of it check in the first second of each.
    let (mut fields, mut count) = (["", "", "", "", "", if has_share(text) { "H" } else { "0" }], 0);
    for word in text.split_ascii_whitespace() {
        if let Some(field) = fields.get_mut(count) {
            *field = word;
        }
        count += 1;
    }
    if !(5..=6).contains(&count) {
        return Err(format!(
            "it has {count} of five fields: it takes minute hour day month weekday, as in */5 * * * *, and perhaps seconds \
             behind them; or @hourly, @daily, @every 5m"
        ));
    }
    let [minute, hour, date, month, weekday, second] = fields;
    let mut days = Days { months: field::plain(&MONTH, month, seed)?, ..Days::default() };
    field::dates(date, seed, &mut days)?;
    field::weekdays(weekday, seed, &mut days)?;
    days.either = !field::is_open(date) && !field::is_open(weekday);
    if days.next(0).is_none() {
        return Err("it never fires: no year has such a day".to_owned());
    }
    Ok(Cron {
        minutes: field::plain(&MINUTE, minute, seed)?,
        hours: field::plain(&HOUR, hour, seed)?,
        seconds: field::plain(&SECOND, second, seed)?,
        days,
        is_fixed: !field::is_open(minute) && !field::is_open(hour),
    })
}

/// Whether the times differ by host: `@every`, or an `H` in a field.
pub fn is_spread(text: &str) -> bool {
    text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("@every")) || has_share(text)
}

/// Whether a field has an `H`; no name of a month or weekday begins with it.
fn has_share(text: &str) -> bool {
    text.split(|c: char| c.is_ascii_whitespace() || c == ',').any(|item| item.starts_with(['H', 'h']))
}

/// A warning about a step that is larger than its field: `*/60` is a 0, not every sixtieth minute.
pub fn oddity(text: &str) -> Option<String> {
    let fields = [MINUTE, HOUR, field::DAY, MONTH, field::WEEKDAY, SECOND];
    let words = text.split_ascii_whitespace().filter(|_| !text.starts_with('@'));
    words.zip(fields).find_map(|(word, field)| field.oversized_step(word))
}

/// `@every 1h30m`: counted from the epoch, shifted by this deployment's share. So a restart does not change the times,
/// and a fleet does not run in step.
fn every(time: Option<&str>, more: Option<&str>, seed: &Seed) -> Result<Rule, Why> {
    let period = time.filter(|_| more.is_none()).and_then(seconds).filter(|n| (1..=LONGEST).contains(n));
    let period = period.ok_or("@every takes a time from 1s to 8784h, as 90s, 5m, 1h30m")?;
    let phase = seed.choose("every", period.unsigned_abs()).try_into().unwrap_or(0);
    Ok(Rule::Every { period, phase })
}

/// `90s`, `5m`, `1h30m`.
fn seconds(text: &str) -> Option<i64> {
    let (mut sum, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    Some(sum)
}
