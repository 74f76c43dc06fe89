//! Names that strangers chose: which of them can be taken at all, how they compare, how they are shown. Pure. A name is
//! bytes divided by `/`, without one at the end.

use std::cmp::Ordering;

/// Longest name, in bytes.
const MAX_NAME: usize = 1024;
/// Longest component of a name, in bytes: what every file system takes.
const MAX_COMPONENT: usize = 255;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// How the names of our own half-made things begin.
const OUR_PREFIX: &[u8] = b".repo-deploy-";
/// Why a name cannot be taken, whatever it names.
pub(super) fn refusal(name: &[u8]) -> Option<String> {
    if name.is_empty() {
        return Some("its name is empty".into());
    }
    if name.len() > MAX_NAME {
        return Some(format!("its name is longer than {MAX_NAME} bytes"));
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return Some("its name is not UTF-8".into());
    };
    if text.chars().any(char::is_control) {
        return Some("its name has a control character in it".into());
    }
    if text.contains('\\') {
        return Some("its name has a backslash in it (made on Windows? names are divided by /)".into());
    }
    if text.starts_with('/') {
        return Some("its name is absolute".into());
    }
    if text.split('/').count() > MAX_DEPTH {
        return Some(format!("it is more than {MAX_DEPTH} directories deep"));
    }
    name.split(|b| *b == b'/').find_map(|component| match component {
        b"" => Some("its name has an empty component".into()),
        b"." | b".." => Some("its name has . or .. as a component".into()),
        long if long.len() > MAX_COMPONENT => Some(format!("a component of its name has over {MAX_COMPONENT} bytes")),
        ours if ours.starts_with(OUR_PREFIX) => Some("names with .repo-deploy- in front are ours".into()),
        _ => None,
    })
}

/// How many bytes of the name the first `components` take; `None` when nothing is left, as tar has it.
pub(super) fn stripped(name: &[u8], components: usize) -> Option<usize> {
    match components {
        0 => Some(0),
        n => name.iter().enumerate().filter(|(_, b)| **b == b'/').nth(n - 1).map(|(at, _)| at + 1),
    }
}

/// Byte order, but `/` before everything: what is in a directory follows right after it.
pub(super) fn by_component(a: &[u8], b: &[u8]) -> Ordering {
    let low = |b: &u8| if *b == b'/' { 0 } else { *b };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => low(a).cmp(&low(b)),
        None => a.len().cmp(&b.len()),
    }
}

/// How many components two paths begin with in common.
pub(super) fn shared_components(a: &[u8], b: &[u8]) -> usize {
    a.split(|b| *b == b'/').zip(b.split(|b| *b == b'/')).take_while(|(a, b)| a == b).count()
}

/// Cuts the last component.
pub(super) fn up(path: &mut Vec<u8>) {
    path.truncate(path.iter().rposition(|b| *b == b'/').unwrap_or(0));
}

/// A stranger's name for a message: control characters escaped, never long.
pub(super) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let mut text: String = String::from_utf8_lossy(name).escape_debug().take(LONGEST + 1).collect();
    if text.chars().count() > LONGEST {
        text.pop();
        text.push('…');
    }
    text
}
