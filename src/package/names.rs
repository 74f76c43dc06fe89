//! Names from untrusted archives: which are accepted, how they compare, how they are shown. Pure. A name is bytes
//! divided by `/`, without one at the end.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::artifact::MAX_NAME;
use crate::model::OUR_DIR;

/// Longest component of a name, in bytes: the limit of every common file system.
const MAX_COMPONENT: usize = 255;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// The prefix of repo-deploy's own temporary entries.
const OUR_PREFIX: &[u8] = b".repo-deploy-";

/// A name without the parts that every reader ignores: `./` in front, and components in between that are `.` or empty.
pub(super) fn bare(name: &[u8]) -> Cow<'_, [u8]> {
    let mut rest = name;
    while let Some(more) = rest.strip_prefix(b"./") {
        rest = &more[more.iter().position(|b| *b != b'/').unwrap_or(more.len())..];
    }
    let mut components = rest.split(|b| *b == b'/');
    let (Some(last), Some(first)) = (components.next_back(), components.next()) else { return Cow::Borrowed(rest) };
    let says_something = |component: &&[u8]| !matches!(*component, b"" | b".");
    if components.clone().all(|component| says_something(&component)) {
        return Cow::Borrowed(rest);
    }
    let kept: Vec<&[u8]> = [first].into_iter().chain(components.filter(says_something)).chain([last]).collect();
    Cow::Owned(kept.join(&b'/'))
}

/// The reason why a name is refused, for any kind of member.
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
        ours if ours.starts_with(OUR_PREFIX) || ours == OUR_DIR.as_bytes() => {
            Some("the name .repo-deploy, and those with .repo-deploy- in front, are ours".into())
        }
        _ => None,
    })
}

/// The length of the first `components` of a name in bytes; `None` if nothing is left, as in tar.
pub(super) fn stripped(name: &[u8], components: usize) -> Option<usize> {
    match components {
        0 => Some(0),
        n => name.iter().enumerate().filter(|(_, b)| **b == b'/').nth(n - 1).map(|(at, _)| at + 1),
    }
}

/// Byte order, but `/` sorts first: the content of a directory comes right after it.
pub(super) fn by_component(a: &[u8], b: &[u8]) -> Ordering {
    let low = |b: &u8| if *b == b'/' { 0 } else { *b };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => low(a).cmp(&low(b)),
        None => a.len().cmp(&b.len()),
    }
}

/// The number of leading components that two paths have in common.
pub(super) fn shared_components(a: &[u8], b: &[u8]) -> usize {
    a.split(|b| *b == b'/').zip(b.split(|b| *b == b'/')).take_while(|(a, b)| a == b).count()
}

/// Removes the last component.
pub(super) fn up(path: &mut Vec<u8>) {
    path.truncate(path.iter().rposition(|b| *b == b'/').unwrap_or(0));
}

/// An untrusted name for a message: control characters escaped, never long.
pub(super) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let mut text: String = String::from_utf8_lossy(name).escape_debug().take(LONGEST + 1).collect();
    if text.chars().count() > LONGEST {
        text.pop();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken() {
        let component = "c".repeat(MAX_COMPONENT);
        let deep = vec!["d"; MAX_DEPTH].join("/");
        let long = [vec!["e".repeat(127); 7].join("/"), "f".repeat(128)].join("/");
        assert_eq!(long.len(), MAX_NAME);
        let plain = [
            "a",
            "a/b",
            "a\\b",
            "...",
            "..a",
            "a..",
            ".a",
            "-rf",
            " ",
            "a b",
            "C:",
            "~",
            "*",
            "héé/日本",
            "repo-deploy-x",
        ];
        for name in plain.into_iter().chain([&*component, &*deep, &*long]) {
            assert_eq!(refusal(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn names_that_are_refused() {
        let component = "c".repeat(MAX_COMPONENT + 1);
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        let long = [vec!["e".repeat(127); 7].join("/"), "f".repeat(129)].join("/");
        let table: [(&[u8], &str); 22] = [
            (b"", "empty"),
            (b"/", "absolute"),
            (b"/etc/passwd", "absolute"),
            (b"//a", "absolute"),
            (b"a//b", "empty component"),
            (b"a/", "empty component"),
            (b".", ". or .."),
            (b"..", ". or .."),
            (b"../a", ". or .."),
            (b"a/../b", ". or .."),
            (b"a/.", ". or .."),
            (b"a/./b", ". or .."),
            (b"a\0b", "control"),
            (b"a\nb", "control"),
            (b"a\x7f", "control"),
            ("a\u{85}b".as_bytes(), "control"),
            (b"a\xff", "UTF-8"),
            (b"\xc0\xafetc", "UTF-8"),
            (b".repo-deploy-0123", "ours"),
            (b"a/.repo-deploy-/b", "ours"),
            (component.as_bytes(), "component"),
            (deep.as_bytes(), "deep"),
        ];
        for (name, word) in table.into_iter().chain([(long.as_bytes(), "longer than 1024")]) {
            let reason = refusal(name).unwrap_or_else(|| panic!("{} is taken", shown(name)));
            assert!(reason.contains(word), "{}: {reason}", shown(name));
        }
    }

    #[test]
    fn dots_are_not_part_of_a_name_and_nothing_else_changes() {
        let table = [
            ("a", "a"),
            ("./a", "a"),
            ("././a", "a"),
            (".//a", "a"),
            ("a/./b", "a/b"),
            ("a/./", "a/"),
            ("./a/././b/", "a/b/"),
            ("./", ""),
            (".//./", ""),
            (".", "."),
            ("a/.", "a/."),
            ("", ""),
            ("/", "/"),
            ("/./a", "/a"),
            ("a//b", "a/b"),
            ("a//", "a/"),
            ("//a", "/a"),
            ("a/.//./b", "a/b"),
            ("./..", ".."),
            ("a/../b", "a/../b"),
            (".a/b.", ".a/b."),
            ("...", "..."),
        ];
        for (name, left) in table {
            assert_eq!(bare(name.as_bytes()), left.as_bytes(), "{name}");
        }
    }

    #[test]
    fn components_are_cut_as_tar_cuts_them() {
        let table = [
            ("a", 0, Some("a")),
            ("a", 1, None),
            ("a/b", 1, Some("b")),
            ("a/b", 2, None),
            ("a/b/c", 1, Some("b/c")),
            ("a/b/c", 2, Some("c")),
            ("a/b/c", 3, None),
            ("a/b/c", usize::MAX, None),
        ];
        for (name, components, left) in table {
            assert_eq!(stripped(name.as_bytes(), components).map(|at| &name[at..]), left, "{name} less {components}");
        }
    }

    /// Every path of up to five of these bytes.
    fn paths() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = vec![Vec::new()];
        for round in 0..5 {
            let longer: Vec<_> = all
                .iter()
                .filter(|p| p.len() == round)
                .flat_map(|p| b"!/a0".iter().map(|b| [p.as_slice(), &[*b]].concat()))
                .collect();
            all.extend(longer);
        }
        all.retain(|p| refusal(p).is_none());
        all
    }

    #[test]
    fn order_is_that_of_lists_of_components() {
        let split = |p: &[u8]| p.split(|b| *b == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let paths = paths();
        for a in &paths {
            for b in &paths {
                assert_eq!(by_component(a, b), split(a).cmp(&split(b)), "{} {}", shown(a), shown(b));
                let shared = split(a).iter().zip(&split(b)).take_while(|(a, b)| a == b).count();
                assert_eq!(shared_components(a, b), shared);
            }
        }
    }

    #[test]
    fn shown_names_are_one_short_line() {
        assert_eq!(shown(b"a\n\x1b[31m\xff\0"), "a\\n\\u{1b}[31m\u{fffd}\\0");
        assert_eq!(shown("é/日本".as_bytes()), "é/日本");
        let long = shown(&vec![b'\n'; 70_000]);
        assert!(long.chars().count() <= 201 && long.ends_with('…'));
        assert!(!long.contains('\n'));
    }
}
