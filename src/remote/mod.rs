//! The `remote` of a deployment, parsed once. Its `Display` has no credentials.

mod beside;
pub mod git;
pub mod place;
mod redacted;
pub mod reference;

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use url::Url;

use self::git::GitRemote;
use self::place::Place;
pub use self::redacted::redacted;
use self::reference::Reference;
use crate::error::{Error, Result};
use crate::model::hex;

/// A parsed `remote`.
#[derive(Clone, PartialEq, Eq)]
pub enum Remote {
    /// `file:///path`, `/path` or `./path`: an archive or a directory on this host.
    File(PathBuf),
    /// `http://` or `https://`: an archive.
    Http(Url),
    /// `s3://`: an archive.
    S3(Object),
    /// A git repository, on this host or another.
    Git(Box<GitRemote>),
}

/// An object in S3. The key is taken literally from the remote: nothing in it is percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The bucket.
    pub bucket: String,
    /// The key, without the slash after the bucket.
    pub key: String,
    /// `?versionId=`: the version to use.
    pub version: Option<String>,
}

impl Object {
    /// Parses the text after `s3://`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Err(Error::config(format!("remote is no s3://bucket/key: {why}")));
        let (text, version) = match text.rsplit_once("?versionId=") {
            Some((text, version)) => (text, Some(version)),
            None => (text, None),
        };
        let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if bucket.is_empty() || bucket.len() > 255 || !bucket.bytes().all(fits) || bucket.starts_with(['.', '-']) {
            return bad(
                "a bucket's name has letters, digits, dots and hyphens (an access point is named by its alias)",
            );
        }
        if bucket.ends_with("--x-s3") {
            return bad("directory buckets (S3 Express) need sessions, which this version does not make");
        }
        if key.is_empty() || key.ends_with('/') {
            return bad("the key of an object is missing");
        }
        if key.len() > 1024 {
            return bad("a key has at most 1024 bytes");
        }
        // In a URL these mean another path, in any spelling.
        if key.split('/').any(|part| matches!(part, "." | "..")) {
            return bad("a key with . or .. between slashes cannot be asked for");
        }
        if version.is_some_and(|v| v.is_empty() || v.len() > 1024 || !v.bytes().all(|b| b.is_ascii_graphic())) {
            return bad("versionId is none");
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), version: version.map(str::to_owned) })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)?;
        match &self.version {
            Some(version) => write!(f, "?versionId={version}"),
            None => Ok(()),
        }
    }
}

impl Remote {
    /// Parses a remote; relative paths start at the working directory.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::config("remote is empty: give a URL or the path of an archive or a directory"));
        }
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(Error::config("remote has a control character in it"));
        }
        if GitRemote::is_meant_by(text) {
            let whole = match text.starts_with('.') {
                true => absolute(text)?.to_string_lossy().into_owned(), // it was text
                false => text.to_owned(),
            };
            let git =
                GitRemote::parse(&whole).map_err(|why| Error::config(format!("remote {}: {why}", anonymous(text))))?;
            return Ok(Self::Git(Box::new(git)));
        }
        if let Some(path) = text.strip_prefix("file://") {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(Error::config(format!(
                    "remote {}: a file URL needs an absolute path: file:///path",
                    anonymous(text)
                )));
            }
            return here(PathBuf::from(path));
        }
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return here(absolute(text)?);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {
                let url = Url::parse(text).map_err(|e| Error::config(format!("remote is no URL: {e}")))?;
                if url.host_str().is_none_or(str::is_empty) {
                    return Err(Error::config("remote has no host"));
                }
                Ok(Self::Http(url))
            }
            Some("s3") => Object::parse(text.split_once("://").map_or("", |(_, rest)| rest)).map(Self::S3),
            Some(other) => {
                Err(Error::config(format!("the scheme {other} is unknown: use https, http, s3, ssh, git or file")))
            }
            None => Err(Error::config(format!(
                "remote {} is neither a URL nor a path: a path begins with / or ./, a URL with https://, http://, s3://, ssh://, git:// or file://, and git by ssh is user@host:path",
                anonymous(text)
            ))),
        }
    }
}

fn absolute(text: &str) -> Result<PathBuf> {
    std::path::absolute(text).map_err(|e| Error::config(format!("remote {text}: {e}")))
}

/// The remote at a path of this host: git if it is a repository (bare, or with one in `.git`); a ref may follow its
/// last `#` unless the whole name exists. Otherwise, and if nothing exists there yet, a file or a directory.
fn here(path: PathBuf) -> Result<Remote> {
    let (repository, reference) = match path.to_str().and_then(|text| text.rsplit_once('#')) {
        Some((front, reference)) if !path.exists() => (Path::new(front), Some(reference)),
        _ => (&*path, None),
    };
    let Some(place) = repository_at(repository) else { return Ok(Remote::File(path)) };
    let reference = reference.map(Reference::parse).transpose();
    let reference = reference.map_err(|why| Error::config(format!("remote {}: {why}", path.display())))?;
    Ok(Remote::Git(Box::new(GitRemote { place: Place::Local(place), path: String::new(), reference })))
}

fn repository_at(path: &Path) -> Option<PathBuf> {
    let is_one = |dir: &Path| dir.join("HEAD").is_file() && dir.join("objects").is_dir() && dir.join("refs").is_dir();
    [path.to_owned(), path.join(".git")].into_iter().find(|dir| is_one(dir))
}

impl Remote {
    /// Identifies this remote: without credentials, and with a hash of a query instead of the query.
    pub fn identity(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Http(url) => match url.query() {
                Some(query) => format!("{text}{}", hex(&Sha256::digest(query)[..8])),
                None => text,
            },
            Self::File(_) | Self::S3(_) | Self::Git(_) => text,
        }
    }
}

/// A text that is no remote, for messages: without a possible user and password.
fn anonymous(text: &str) -> String {
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, place)| format!("…@{place}"))
}

/// What the rest of the program asks a remote: a new kind answers here.
impl Remote {
    /// Its path, if it is on this host: a file, a directory or a repository.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Git(git) => match &git.place {
                Place::Local(path) => Some(path),
                Place::Http(_) | Place::Ssh { .. } | Place::Daemon { .. } => None,
            },
            Self::Http(_) | Self::S3(_) => None,
        }
    }

    /// Whether it is read from its own place: a file or a directory on this host.
    pub fn is_read_in_place(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Http(_) | Self::S3(_) | Self::Git(_) => false,
        }
    }

    /// Whether it is one archive (or a directory), beside which sums and signatures lie; a repository is none.
    pub fn is_archive(&self) -> bool {
        match self {
            Self::File(_) | Self::Http(_) | Self::S3(_) => true,
            Self::Git(_) => false,
        }
    }

    /// Whether parts of it can be fetched.
    pub fn has_ranges(&self) -> bool {
        match self {
            Self::Http(_) | Self::S3(_) => true,
            Self::File(_) | Self::Git(_) => false,
        }
    }

    /// Whether its URL names a user for HTTP.
    pub fn has_user(&self) -> bool {
        let has_user = |url: &Url| !url.username().is_empty();
        match self {
            Self::Http(url) => has_user(url),
            Self::Git(git) => matches!(&git.place, Place::Http(url) if has_user(url)),
            Self::File(_) | Self::S3(_) => false,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(&redacted(url)),
            Self::S3(object) => fmt::Display::fmt(object, f),
            Self::Git(git) => fmt::Display::fmt(git, f),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_remotes_are_read_letter_by_letter() {
        for (text, bucket, key, version) in [
            ("s3://b/k", "b", "k", None),
            ("S3://my.bucket-1/path/to/app.zip", "my.bucket-1", "path/to/app.zip", None),
            ("s3://b//k", "b", "/k", None),
            ("s3://b/a b+c%20d?e#f&\u{e4}:@=", "b", "a b+c%20d?e#f&\u{e4}:@=", None),
            ("s3://b/k?versionId=3sL4.k_-", "b", "k", Some("3sL4.k_-")),
            ("s3://b/k?versionId=a?versionId=b", "b", "k?versionId=a", Some("b")),
            ("s3://b/..k/...", "b", "..k/...", None),
        ] {
            let Remote::S3(object) = Remote::parse(text).unwrap() else { panic!("{text}") };
            assert_eq!((&*object.bucket, &*object.key, object.version.as_deref()), (bucket, key, version), "{text}");
            assert_eq!(Remote::parse(&object.to_string()).unwrap(), Remote::S3(object), "{text}");
        }
    }

    #[test]
    fn what_is_no_s3_remote_is_refused_and_not_repeated() {
        for (text, why) in [
            ("s3://", "a bucket's name"),
            ("s3:///k", "a bucket's name"),
            ("s3://-b/k", "a bucket's name"),
            ("s3://hunter2:x@b/k", "a bucket's name"),
            ("s3://arn:aws:s3:eu-west-1:1:accesspoint/a/k", "by its alias"),
            ("s3://b--use1-az5--x-s3/k", "directory buckets"),
            ("s3://b", "key of an object is missing"),
            ("s3://b/", "key of an object is missing"),
            ("s3://b/dir/", "key of an object is missing"),
            ("s3://b/a/../k", "with . or .."),
            ("s3://b/./k", "with . or .."),
            ("s3://b/k?versionId=", "versionId is none"),
            ("s3://b/k?versionId=a b", "versionId is none"),
        ] {
            let error = Remote::parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
