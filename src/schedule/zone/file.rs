//! Parses zone files (TZif of RFC 9636, all versions): the changes, and the rule after the last one. The content is not
//! trusted: damage is an error, never a panic.

use super::rule::Rule;
use super::span::ALWAYS;
use super::{MOST_AHEAD, Zone};

/// Parses the content of a file. The error is the defect.
pub fn parse(content: &[u8]) -> Result<Zone, &'static str> {
    read(content).unwrap_or(Err("it is cut off or damaged"))
}

fn read(content: &[u8]) -> Option<Result<Zone, &'static str>> {
    if !content.starts_with(b"TZif") {
        return Some(Err("it is no zone file"));
    }
    let mut rest = content;
    let (mut counts, mut width) = (Counts::read(&mut rest)?, 4);
    if content.get(4) != Some(&0) {
        // All data comes again, with times beyond 2038.
        take(&mut rest, counts.size(4))?;
        (counts, width) = (Counts::read(&mut rest)?, 8);
    }
    if counts.leaps != 0 {
        return Some(Err("it counts leap seconds, and no clock here does"));
    }
    let times = take(&mut rest, counts.times * width)?;
    let kinds = take(&mut rest, counts.times)?;
    let types = take(&mut rest, counts.types * 6)?;
    take(&mut rest, counts.tail())?;
    let mut zone = changes(times.chunks_exact(width).zip(kinds), types)?;
    if width == 8 {
        let footer = rest.strip_prefix(b"\n")?;
        let end = footer.iter().position(|b| *b == b'\n')?;
        let footer = std::str::from_utf8(&footer[..end]).ok()?;
        zone.rule = if footer.is_empty() { None } else { Some(Rule::parse(footer)?) };
    }
    Some(Ok(zone))
}

/// The changes: their times, and the type of each.
fn changes<'a>(list: impl Iterator<Item = (&'a [u8], &'a u8)>, types: &[u8]) -> Option<Zone> {
    let offset = |kind: u8| {
        let at = usize::from(kind) * 6;
        signed(types.get(at..at + 4)?).filter(|offset| offset.abs() < MOST_AHEAD)
    };
    let mut zone = Zone { first: offset(0)?, ..Zone::default() };
    let (mut last, mut now) = (i64::MIN, zone.first);
    for (time, kind) in list {
        let (time, next) = (signed(time)?, offset(*kind)?);
        if time <= last || !(ALWAYS.start..ALWAYS.end).contains(&time) {
            return None;
        }
        last = time;
        // Only the name changed, or a flag.
        if next != now {
            zone.changes.push((time, next));
            now = next;
        }
    }
    Some(zone)
}

/// The number of items of each kind.
struct Counts {
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
    flags: usize,
}

impl Counts {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let header = take(rest, 44)?;
        // A number too large for any file is damage.
        let count = |n: usize| Some(usize::from(u16::try_from(signed(&header[20 + 4 * n..24 + 4 * n])?).ok()?));
        let flags = count(0)? + count(1)?;
        Some(Self { flags, leaps: count(2)?, times: count(3)?, types: count(4)?, letters: count(5)? })
    }

    /// The bytes of everything, with times of `width` bytes.
    fn size(&self, width: usize) -> usize {
        self.times * (width + 1) + self.types * 6 + self.leaps * (width + 4) + self.tail()
    }

    /// The bytes that are not read here, without leap seconds.
    fn tail(&self) -> usize {
        self.letters + self.flags
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// A number of four or eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}
