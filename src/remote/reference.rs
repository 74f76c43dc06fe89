//! The ref to deploy from a repository: the name of a branch or a tag, by the rules of git-check-ref-format, or a
//! commit. Pure.

use std::fmt;

/// A ref as written after `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A branch or a tag; with `refs/` in front exactly that ref.
    Name(String),
    /// A full commit, in lower case.
    Commit(String),
}

impl Reference {
    /// Parses a ref; the error is the broken rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_object(text) {
            return Ok(Self::Commit(text.to_ascii_lowercase()));
        }
        match refusal(text) {
            None => Ok(Self::Name(text.to_owned())),
            Some(why) => Err(format!("behind # stands no branch, tag or full commit: {why}")),
        }
    }
}

/// Whether a text is the full name of an object: SHA-1 or SHA-256.
pub fn is_object(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn refusal(name: &str) -> Option<&'static str> {
    const SIGNS: [char; 8] = [' ', '~', '^', ':', '?', '*', '[', '\\'];
    let parts = || name.split('/');
    let rules = [
        (name.is_empty(), "it is empty"),
        (name.len() > 250, "it is longer than 250 bytes"),
        (name.starts_with('-'), "it begins with -"),
        (name.chars().any(|c| c.is_control() || SIGNS.contains(&c)), "it has a blank or a sign that no ref can have"),
        (name.contains("..") || name.contains("@{") || name == "@", "it has .. or @{ in it, which no ref can have"),
        (parts().any(str::is_empty), "it has an empty component"),
        (parts().any(|p| p.starts_with('.') || p.ends_with(".lock")), "a component begins with . or ends in .lock"),
        (name.ends_with('.'), "it ends in a dot"),
    ];
    rules.into_iter().find(|(is_broken, _)| *is_broken).map(|(_, why)| why)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Commit(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_names_by_gits_rules_or_full_commits() {
        for name in ["main", "v1.0", "feature/a#1", "a@b", "refs/heads/x", "ü", "deadbeef", &"a".repeat(41)] {
            assert_eq!(Reference::parse(name), Ok(Reference::Name(name.to_owned())));
        }
        for commit in ["A".repeat(40), "0123456789abcdef".repeat(4)] {
            assert_eq!(Reference::parse(&commit), Ok(Reference::Commit(commit.to_ascii_lowercase())));
        }
        for name in [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "a\tb",
            "a\0b",
            "@",
            "a@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a.",
            "..",
            "\u{85}",
        ] {
            assert!(Reference::parse(name).is_err(), "{name:?}");
        }
    }
}
