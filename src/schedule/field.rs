//! Parses one field of an expression into a set of bits. Errors name the field, its text, and a right value.

use super::days::Days;
use super::seed::Seed;

/// Why an expression cannot be used, and a right one.
pub type Why = String;

/// The values of a field.
pub struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    /// Its range, for messages.
    range: &'static str,
    /// Names of the values, starting at `least`, short and in full.
    names: &'static [&'static str],
    long_names: &'static [&'static str],
    /// The largest value that `H` chooses: for days the shortest month's last.
    most_hashed: u8,
}

/// Days of a week.
const DAYS: u8 = 7;

const fn field(name: &'static str, least: u8, most: u8, range: &'static str) -> Field {
    Field { name, least, most, range, names: &[], long_names: &[], most_hashed: most }
}

/// 0-59.
pub const SECOND: Field = field("second", 0, 59, "it takes 0-59");
/// 0-59.
pub const MINUTE: Field = field("minute", 0, 59, "it takes 0-59");
/// 0-23.
pub const HOUR: Field = field("hour", 0, 23, "it takes 0-23");
/// 1-31.
pub const DAY: Field = Field { most_hashed: 28, ..field("day", 1, 31, "it takes 1-31") };
/// 1-12.
pub const MONTH: Field =
    Field { names: MONTHS, long_names: LONG_MONTHS, ..field("month", 1, 12, "it takes 1-12 or jan-dec") };
/// 0-6; 7 is read as 0.
pub const WEEKDAY: Field =
    Field { names: WEEKDAYS, long_names: LONG_WEEKDAYS, ..field("weekday", 0, 6, "it takes 0-7 or sun-sat") };

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The full names; either form is accepted.
const LONG_MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const LONG_WEEKDAYS: &[&str] = &["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// Whether a field is open: it begins with `*` (`*/2` too), as in Debian's cron, or is `?`.
pub fn is_open(text: &str) -> bool {
    text.starts_with(['*', '?'])
}

/// A field of plain values.
pub fn plain(field: &Field, text: &str, seed: &Seed) -> Result<u64, Why> {
    text.split(',').try_fold(0, |set, item| Ok(set | field.item(item, seed)?))
}

/// The field for days.
pub fn dates(text: &str, seed: &Seed, days: &mut Days) -> Result<(), Why> {
    for item in text.split(',') {
        let upper = item.to_ascii_uppercase();
        if item == "?" && text == "?" {
            days.dates |= all(&DAY);
        } else if upper == "L" {
            days.from_end |= 1;
        } else if upper == "LW" {
            days.last_working = true;
        } else if let Some(n) = upper.strip_prefix("L-") {
            let n = number(n).filter(|n| *n <= 30);
            days.from_end |= 1 << n.ok_or_else(|| DAY.bad(item, "L- takes 0-30, the days before the last one"))?;
        } else if let Some(n) = upper.strip_suffix('W') {
            let n = number(n).filter(|n| (1..=31).contains(n));
            days.working |= 1 << n.ok_or_else(|| DAY.bad(item, "W takes one day before it, 1W-31W, or LW"))?;
        } else {
            days.dates |= DAY.item(item, seed)?;
        }
    }
    Ok(())
}

/// The field for weekdays.
pub fn weekdays(text: &str, seed: &Seed, days: &mut Days) -> Result<(), Why> {
    for item in text.split(',') {
        let last = item.strip_suffix(['L', 'l']);
        if item == "?" && text == "?" {
            days.weekdays |= all(&WEEKDAY);
        } else if let Some(name) = last {
            let weekday = WEEKDAY.value(name).filter(|_| !name.is_empty());
            days.last |=
                1 << weekday.ok_or_else(|| WEEKDAY.bad(item, "L takes one weekday before it, as 5L or friL"))?;
        } else if let Some(name) = item.strip_prefix(['L', 'l']).filter(|name| WEEKDAY.value(name).is_some()) {
            return Err(WEEKDAY.bad(item, &format!("the L stands behind the weekday: {name}L")));
        } else if let Some((range, k)) = item.split_once('#').filter(|(range, _)| range.contains('-')) {
            return Err(WEEKDAY.bad(item, &each_of(range, k)));
        } else if let Some((name, k)) = item.split_once('#') {
            let weekday = WEEKDAY.need(item, name)?;
            let k = number(k).filter(|k| (1..=5).contains(k));
            let k = k.ok_or_else(|| WEEKDAY.bad(item, "# takes 1-5 behind it, which one of the month"))?;
            days.kth |= 1 << (7 * (k - 1) + weekday);
        } else {
            days.weekdays |= WEEKDAY.item(item, seed)?;
        }
    }
    Ok(())
}

/// The right spelling for a range before `#`: each weekday of it.
fn each_of(range: &str, k: &str) -> Why {
    let ends = range.split_once('-').and_then(|(first, last)| Some((WEEKDAY.value(first)?, WEEKDAY.value(last)?)));
    let Some((first, last)) = ends else { return WEEKDAY.range.to_owned() };
    let last = if last < first { last + DAYS } else { last };
    let each: Vec<String> = (first..=last).map(|day| format!("{}#{k}", WEEKDAYS[usize::from(day % DAYS)])).collect();
    format!("# takes one weekday before it: write {}", each.join(","))
}

fn all(field: &Field) -> u64 {
    (field.least..=field.most).fold(0, |set, n| set | 1 << n)
}

impl Field {
    /// `*`, `5`, `1-5`, `22-2`, `H`, `H(1-5)`, each with or without `/step`; and `5/15`, which begins at 5.
    fn item(&self, item: &str, seed: &Seed) -> Result<u64, Why> {
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => {
                let step = number(step).filter(|n| *n > 0);
                (range, Some(step.ok_or_else(|| self.bad(item, "a step is 1-255"))?))
            }
        };
        if let Some(rest) = range.strip_prefix(['H', 'h']) {
            return self.hashed(item, rest, step, seed);
        }
        let (first, last) = if range == "*" {
            (self.least, self.most)
        } else if let Some((first, last)) = range.split_once('-') {
            // Sunday at the end of a week: `0-7` is all of it, `7-7` a Sunday.
            let ends_in_seven = self.names.len() == 7 && number(last) == Some(7) && number(first) != Some(7);
            (self.need(item, first)?, if ends_in_seven { 7 } else { self.need(item, last)? })
        } else {
            let first = self.need(item, range)?;
            (first, if step.is_some() { self.most } else { first })
        };
        // Beyond the largest value it continues with the least.
        let size = self.most - self.least + 1;
        let last = if last < first { last + size } else { last };
        let values = (first..=last).step_by(step.unwrap_or(1).into());
        Ok(values.fold(0, |set, n| set | 1 << ((n - self.least) % size + self.least)))
    }

    /// A warning about a step in `text` that is larger than the field.
    pub fn oversized_step(&self, text: &str) -> Option<String> {
        let size = self.most - self.least + 1;
        text.split(',').find_map(|item| {
            let (range, step) = item.split_once('/')?;
            let is_odd = number(step)? >= size && range == "*";
            is_odd.then(|| format!("{} {item} is only {}: a step is smaller than {size}", self.name, self.least))
        })
    }

    /// Parses the text after an `H`: nothing, or a range in brackets.
    fn hashed(&self, item: &str, rest: &str, step: Option<u8>, seed: &Seed) -> Result<u64, Why> {
        let (first, last) = match rest.strip_prefix('(').and_then(|r| r.strip_suffix(')')).map(|r| r.split_once('-')) {
            Some(Some((first, last))) => (self.need(item, first)?, self.need(item, last)?),
            None if rest.is_empty() => (self.least, self.most_hashed),
            _ => return Err(self.bad(item, "H stands alone or with a range, as H or H(0-29)")),
        };
        if last < first {
            return Err(self.bad(item, "the range of H goes up"));
        }
        let size = last - first + 1;
        let chosen = |among: u8| first + u8::try_from(seed.choose(self.name, among.into())).unwrap_or(0);
        match step {
            None => Ok(1 << chosen(size)),
            Some(step) => Ok((chosen(step.min(size))..=last).step_by(step.into()).fold(0, |set, n| set | 1 << n)),
        }
    }

    /// A number or a name.
    fn value(&self, text: &str) -> Option<u8> {
        let among = |names: &[&str]| names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = || among(self.names).or_else(|| among(self.long_names));
        match number(text) {
            Some(7) if self.names.len() == 7 => Some(0),
            Some(n) => Some(n).filter(|n| (self.least..=self.most).contains(n)),
            None => named().and_then(|n| u8::try_from(n).ok()).map(|n| n + self.least),
        }
    }

    /// The error for `item`, with a right value.
    fn bad(&self, item: &str, right: &str) -> Why {
        let item = if item.is_empty() { "(nothing)" } else { item };
        format!("{} {item}: {right}", self.name)
    }

    /// The value of `text`, which is part of `item`.
    fn need(&self, item: &str, text: &str) -> Result<u8, Why> {
        self.value(text).ok_or_else(|| self.bad(item, self.range))
    }
}

/// Digits only, and few.
fn number(text: &str) -> Option<u8> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}
