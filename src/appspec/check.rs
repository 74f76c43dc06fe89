//! Checks of single values of an appspec, with a remedy for wrong ones.

use std::path::{Component, Path, PathBuf};

use super::{Behaviour, Event, shown};
use crate::sys::sort::sort;

/// A value, or the reason why it is wrong.
pub(super) type Checked<T> = Result<T, String>;

/// Longest time for a script, in seconds: a week.
const MAX_TIMEOUT: u32 = 7 * 24 * 3600;

/// Whether it is 0, with any number of zeros as a fraction.
pub(super) fn is_version(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_zero = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b == b'0');
    is_zero(whole) && is_zero(fraction)
}

pub(super) fn behaviour(text: &str) -> Checked<Behaviour> {
    match text {
        "DISALLOW" => Ok(Behaviour::Disallow),
        "OVERWRITE" => Ok(Behaviour::Overwrite),
        "RETAIN" => Ok(Behaviour::Retain),
        other => Err(format!("{} is unknown: write DISALLOW, OVERWRITE or RETAIN, in capitals", shown(other))),
    }
}

/// A path relative to the bundle's root, with or without a leading slash.
pub(super) fn in_bundle(text: &str) -> Checked<PathBuf> {
    let path = plain(text)?;
    Ok(path.strip_prefix("/").map(Path::to_owned).unwrap_or(path))
}

/// An absolute path of the host.
pub(super) fn on_host(text: &str) -> Checked<PathBuf> {
    let path = plain(text)?;
    if path.is_absolute() {
        return Ok(path);
    }
    Err(format!("{} is relative: write an absolute path, which begins with /", shown(text)))
}

/// A path without `..`; empty components and `.` are left out.
fn plain(text: &str) -> Checked<PathBuf> {
    if text.is_empty() {
        return Err("this is empty: write a path".into());
    }
    if text.chars().any(|c| c.is_control()) {
        return Err(format!("{} has a control character in it", shown(text)));
    }
    if text.contains('\\') {
        return Err(format!("{} has a backslash in it: write / between directories", shown(text)));
    }
    let path = Path::new(text);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{} has .. in it: write the path without", shown(text)));
    }
    Ok(path.components().filter(|part| *part != Component::CurDir).collect())
}

/// 1 to 4 octal digits.
pub(super) fn mode(text: &str) -> Checked<u32> {
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    mode.ok_or_else(|| format!("mode: {} is no mode: write 1 to 4 octal digits, like \"0644\"", shown(text)))
}

pub(super) fn timeout(text: &str) -> Checked<u32> {
    // Some readers take a leading zero for octal.
    let is_number = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| is_number && (1..=MAX_TIMEOUT).contains(seconds));
    seconds.ok_or_else(|| format!("{} is no time: write seconds, from 1 to {MAX_TIMEOUT}", shown(text)))
}

/// The name or number of a user or a group.
pub(super) fn account(text: &str) -> Checked<String> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ':' | '/' | ',');
    if text.is_empty() || text.len() > 255 || text.starts_with('-') || !text.chars().all(fits) {
        return Err(format!("{} is no name of a user or a group", shown(text)));
    }
    Ok(text.to_owned())
}

/// The user or the type of an SELinux label.
pub(super) fn label(text: &str) -> Checked<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > 255 || !text.bytes().all(fits) {
        return Err(format!("{} is no part of a label of SELinux", shown(text)));
    }
    Ok(text.to_owned())
}

/// The range of an SELinux label: sensitivities, and categories or ranges of them, each category once.
pub(super) fn range(text: &str) -> Checked<String> {
    let number = |text: &str, letter: char| -> Option<u32> {
        let digits = text.strip_prefix(letter).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let pair = |text: &str, between: char, letter: char| {
        let (low, high) = text.split_once(between).unwrap_or((text, text));
        Some((number(low, letter)?, number(high, letter)?)).filter(|(low, high)| low <= high)
    };
    let (levels, categories) = text.split_once(':').map_or((text, None), |(levels, rest)| (levels, Some(rest)));
    let categories: Option<Vec<_>> =
        categories.into_iter().flat_map(|list| list.split(',')).map(|part| pair(part, '.', 'c')).collect();
    let is_good = |mut categories: Vec<(u32, u32)>| {
        sort(&mut categories, &mut Ord::cmp);
        categories.iter().all(|(_, high)| *high <= 1023) && categories.windows(2).all(|two| two[0].1 < two[1].0)
    };
    if pair(levels, '-', 's').is_none() || !categories.is_some_and(is_good) {
        return Err(format!("{} is no range of SELinux: write it like s0, s0-s3 or s0:c0.c7,c9", shown(text)));
    }
    Ok(text.to_owned())
}

/// A glob in which only `*` is special.
pub(super) fn glob(text: &str) -> Checked<String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(format!("{} matches nothing: write a name, in which * stands for any characters", shown(text)));
    }
    Ok(text.to_owned())
}

pub(super) fn event(text: &str) -> Checked<Event> {
    if let Some(event) = Event::ALL.into_iter().find(|event| event.name() == text) {
        return Ok(event);
    }
    if let Some(event) = Event::ALL.into_iter().find(|event| event.name().eq_ignore_ascii_case(text)) {
        return Err(format!("the event {} is unknown: write {}", shown(text), event.name()));
    }
    if ["Start", "DownloadBundle", "Install", "BlockTraffic", "AllowTraffic", "End"].contains(&text) {
        return Err(format!("the event {text} has no scripts: use the ones before and after it"));
    }
    let known = Event::ALL.map(Event::name).join(", ");
    Err(format!("the event {} is unknown: known are {known}", shown(text)))
}
