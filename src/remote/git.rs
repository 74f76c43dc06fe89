//! Git remotes, in a syntax of this program: a repository ([`Place`]), a path in it and a ref, taken literally.
//!
//! The repository ends with the first segment that ends in `.git`; the path follows, and `#` begins the ref.

use std::fmt;

use super::place::{Place, Why, is_foreign, split_short};
use super::reference::Reference;

/// A parsed git remote.
#[derive(Clone, PartialEq, Eq)]
pub struct GitRemote {
    /// The repository.
    pub place: Place,
    /// The directory in it; empty: all of it.
    pub path: String,
    /// The ref to deploy; `None`: `master`, and if that does not exist, the branch that the remote's HEAD names.
    pub reference: Option<Reference>,
}

impl GitRemote {
    /// Parses a text in the form of a git remote: a scheme or short form of git, or a segment that ends in `.git`.
    pub fn parse(text: &str) -> Result<Self, Why> {
        let (place, rest) = divide(text);
        let (path, reference) = match rest.split_once('#') {
            Some((path, reference)) => (path, Some(Reference::parse(reference)?)),
            None => (rest, None),
        };
        Ok(Self { place: Place::parse(place)?, path: directory(path)?, reference })
    }

    /// Whether a text has the form of a git remote.
    pub fn is_meant_by(text: &str) -> bool {
        if is_foreign(text) {
            return true; // so that it is refused with git's words
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return is_short(text) || (is_path(text) && segment(text).is_some());
        };
        match scheme.to_ascii_lowercase().as_str() {
            "ssh" | "git" | "git+ssh" | "ssh+git" | "git+http" | "git+https" => true,
            "http" | "https" | "file" => segment(text).is_some(),
            _ => false,
        }
    }
}

fn is_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

/// `user@host:path`, and `host:path.git`: a colon before the first slash.
fn is_short(text: &str) -> bool {
    let Some((host, path)) = split_short(text) else { return false };
    !host.contains('/') && !host.is_empty() && (host.contains('@') || segment(path).is_some())
}

/// The end of the first segment that ends in `.git`; a query or a ref is not searched.
fn segment(text: &str) -> Option<usize> {
    let until = text.find(['#', '?']).unwrap_or(text.len());
    let from = match text.find("://") {
        Some(at) => at + 3 + text[at + 3..until.max(at + 3)].find('/')?,
        None => 0,
    };
    let mut at = from;
    for part in text.get(from..until)?.split('/') {
        let end = at + part.len();
        if part.ends_with(".git") {
            return Some(end);
        }
        at = end + 1;
    }
    None
}

/// Splits a text into repository, and path with ref.
fn divide(text: &str) -> (&str, &str) {
    let end = segment(text).or_else(|| text.find('#')).unwrap_or(text.len());
    text.split_at(end)
}

/// The path of a directory in a repository, without slashes around it.
fn directory(text: &str) -> Result<String, Why> {
    if text.contains('?') {
        return Err("there is a ? behind the repository: git's URLs have no query".to_owned());
    }
    let path = text.trim_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    for part in path.split('/') {
        match part {
            "" => return Err("the path in the repository has an empty component".to_owned()),
            "." | ".." => return Err("the path in the repository has . or .. as a component".to_owned()),
            name if name.starts_with('-') => {
                return Err("a component of the path in the repository begins with -".to_owned());
            }
            name if name.chars().any(char::is_control) => {
                return Err("the path in the repository has a control character in it".to_owned());
            }
            _ => {}
        }
    }
    Ok(path.to_owned())
}

impl fmt::Display for GitRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        self.reference.as_ref().map_or(Ok(()), |reference| write!(f, "#{reference}"))
    }
}

impl fmt::Debug for GitRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
