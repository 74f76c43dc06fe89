//! Where a deployment comes from: the `remote` of the configuration, parsed once. Its `Display` has no credentials.

use std::fmt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use url::Url;

use crate::error::{Error, Result};
use crate::model::hex;

/// A parsed `remote`.
#[derive(Clone, PartialEq, Eq)]
pub enum Remote {
    /// `file:///path`, `/path` or `./path`: a ZIP or a directory on this host.
    File(PathBuf),
    /// `http://` or `https://`: a ZIP.
    Http(Url),
}

impl Remote {
    /// Reads a remote as CONTRACT says; relative paths start at the working directory.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::config("remote is empty: give a URL or the path of a ZIP or a directory"));
        }
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(Error::config("remote has a control character in it"));
        }
        if let Some(path) = text.strip_prefix("file://") {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(Error::config(format!(
                    "remote {}: a file URL needs an absolute path: file:///path",
                    anonymous(text)
                )));
            }
            return Ok(Self::File(PathBuf::from(path)));
        }
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            let path = std::path::absolute(text).map_err(|e| Error::config(format!("remote {text}: {e}")))?;
            return Ok(Self::File(path));
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
            Some(other) => Err(Error::config(format!("the scheme {other} is unknown: use http, https or file"))),
            None => Err(Error::config(format!(
                "remote {} is neither a URL nor a path: a path begins with / or ./, a URL with http://, https:// or file://",
                anonymous(text)
            ))),
        }
    }
}

impl Remote {
    /// What tells this remote from others: no credentials, and of a query only its hash.
    pub fn identity(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Http(url) => match url.query() {
                Some(query) => format!("{text}{}", hex(&Sha256::digest(query)[..8])),
                None => text,
            },
            Self::File(_) => text,
        }
    }
}

/// What is not a remote, for messages: without what may be a user and a password.
fn anonymous(text: &str) -> String {
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, place)| format!("…@{place}"))
}

/// A URL for messages: no user, no password, no query (a presigned one is a credential), no fragment.
pub fn redacted(url: &Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push_str(&format!(":{port}"));
    }
    text.push_str(url.path());
    if url.query().is_some() {
        text.push_str("?…");
    }
    text
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(&redacted(url)),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
