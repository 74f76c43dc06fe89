//! Resolves a reference to a commit: the patterns for `ls-remote`, and the choice from its answer. No I/O.

use crate::error::{Error, Result};
use crate::remote::reference::{Reference, is_object};

/// The branch to use if no reference is configured.
const USUAL: &str = "refs/heads/master";

/// The remote's default branch.
const HEAD: &str = "HEAD";

/// The patterns for `ls-remote`.
pub(super) fn patterns(reference: Option<&Reference>) -> Vec<String> {
    match reference {
        None => vec![HEAD.to_owned(), USUAL.to_owned()],
        Some(Reference::Name(name) | Reference::Commit(name)) => {
            let mut names = full(name);
            // An annotated tag is an object of its own; `^{}` is the commit it points to.
            names.extend(names.clone().into_iter().filter(|name| !name.starts_with("refs/heads/")).map(|n| n + "^{}"));
            names
        }
    }
}

fn full(name: &str) -> Vec<String> {
    match name == HEAD || name.starts_with("refs/") {
        true => vec![name.to_owned()],
        false => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
    }
}

/// Chooses the commit: a branch before a tag, `master` before HEAD.
pub(super) fn choose(answer: &[u8], reference: Option<&Reference>) -> Result<String> {
    let text = String::from_utf8_lossy(answer);
    let rows: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
    let find = |name: &str| rows.iter().find(|(_, n)| *n == name).map(|(object, _)| *object);
    let (names, what) = match reference {
        None => (
            vec![USUAL.to_owned(), HEAD.to_owned()],
            "there is neither a branch master nor a HEAD: either it is empty, or name a branch with #".to_owned(),
        ),
        Some(Reference::Name(name)) if name == HEAD => (
            full(name),
            "its HEAD names no branch that is there: either it is empty, or name a branch with #".to_owned(),
        ),
        Some(reference) => (
            full(&reference.to_string()),
            format!("there is neither a branch nor a tag {reference}{}", hint(reference)),
        ),
    };
    let found = names.iter().find_map(|name| find(&format!("{name}^{{}}")).or_else(|| find(name)));
    let object = found.ok_or_else(|| Error::failed(what))?;
    match is_object(object) {
        true => Ok(object.to_ascii_lowercase()),
        false => Err(Error::failed("its answer names no commit")),
    }
}

/// A hint for a name that looks like an abbreviated commit.
fn hint(reference: &Reference) -> &'static str {
    let text = reference.to_string();
    match (7..64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => " (a commit needs all of its 40 digits)",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ref_that_is_meant_is_chosen_exactly() {
        let object = |n: u32| format!("{n:040x}");
        let rows = [
            "HEAD",
            "refs/heads/main",
            "refs/heads/v1",
            "refs/tags/v1",
            "refs/tags/v1^{}",
            "refs/tags/v2",
            "refs/tags/v2^{}",
            "refs/heads/x/refs/heads/main",
            "refs/remotes/o/HEAD",
            "refs/notes/commits",
        ];
        let answer: String = (1..).zip(rows).map(|(n, name)| format!("{}\t{name}\n", object(n))).collect();
        for (name, expected) in [
            (None, Some(1)),
            (Some("main"), Some(2)),
            (Some("v1"), Some(3)),
            (Some("v2"), Some(7)),
            (Some("refs/tags/v1"), Some(5)),
            (Some("refs/notes/commits"), Some(10)),
            (Some("master"), None),
            (Some("HEAD"), Some(1)),
        ] {
            let reference = name.map(|name| Reference::Name(name.to_owned()));
            let chosen = choose(answer.as_bytes(), reference.as_ref()).ok();
            assert_eq!(chosen, expected.map(object), "{name:?}");
        }
        let with_master = format!("{answer}{}\trefs/heads/master\n", object(99));
        assert_eq!(choose(with_master.as_bytes(), None).unwrap(), object(99));
        let head = Reference::Name("HEAD".to_owned());
        assert_eq!(choose(with_master.as_bytes(), Some(&head)).unwrap(), object(1));
        assert!(choose(b"", Some(&head)).unwrap_err().to_string().contains("it is empty"));
        assert!(choose(b"", None).unwrap_err().to_string().contains("it is empty"));
        for (name, is_short) in [("0123abc", true), ("0123ab", false), ("feature", false)] {
            let error = choose(answer.as_bytes(), Some(&Reference::Name(name.to_owned()))).unwrap_err().to_string();
            assert_eq!(error.contains("40 digits"), is_short, "{error}");
        }
        assert!(choose(b"--evil\tHEAD\n", None).is_err());
    }
}
