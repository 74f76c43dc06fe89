//! Files beside an archive: its signature, its sums. Their location is written in full, and then of the same kind as
//! the remote (the same transport fetches it), or relative to the remote, as a link in a page is. Pure.

use std::path::{Path, PathBuf};

use super::{Object, Remote};
use crate::error::Error;

impl Remote {
    /// The location that `text` names, relative to this remote. The error names a right value and does not quote
    /// `text`, which may hold a password.
    pub fn beside(&self, text: &str) -> Result<Self, String> {
        let there = match (self, text.contains("://")) {
            (_, true) => Self::parse(text).map_err(why)?,
            (Self::Http(url), _) => {
                let joined = url.join(text).map_err(|e| format!("it is neither a URL nor relative to one: {e}"))?;
                Self::parse(joined.as_str()).map_err(why)?
            }
            (Self::S3(object), _) => {
                let from_root = text.strip_prefix('/');
                let dir = object.key.rfind('/').map_or("", |slash| &object.key[..=slash]);
                let key = from_root.map_or_else(|| format!("{dir}{text}"), str::to_owned);
                Object::parse(&format!("{}/{key}", object.bucket)).map(Self::S3).map_err(why)?
            }
            (Self::File(path), _) => Self::File(path.parent().unwrap_or(Path::new("/")).join(text)),
            (Self::Git(_), _) => return Err("nothing lies beside a git repository".to_owned()),
        };
        match (self, &there) {
            (Self::Http(from), Self::Http(to)) if from.scheme() == "https" && to.scheme() == "http" => {
                Err("the remote is https, and this is not".to_owned())
            }
            (Self::Http(_), Self::Http(_)) | (Self::S3(_), Self::S3(_)) | (Self::File(_), Self::File(_)) => Ok(there),
            (Self::Http(_), _) => Err("the remote is a URL: it takes one too, or what is relative to that".to_owned()),
            (Self::S3(_), _) => {
                Err("the remote is in S3: it takes s3:// too, or what is relative to the key".to_owned())
            }
            (Self::File(_), _) => Err("the remote is a path: it takes one too".to_owned()),
            (Self::Git(_), _) => Err("nothing lies beside a git repository".to_owned()),
        }
    }

    /// This location with `suffix` added to the name; a query stays, a version does not. `None`: a git repository has
    /// no such file.
    pub fn with_suffix(&self, suffix: &str) -> Option<Self> {
        Some(match self {
            Self::Http(url) => {
                let mut url = url.clone();
                url.set_path(&format!("{}{suffix}", url.path()));
                Self::Http(url)
            }
            Self::S3(Object { bucket, key, .. }) => {
                Self::S3(Object { bucket: bucket.clone(), key: format!("{key}{suffix}"), version: None })
            }
            Self::File(path) => {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                Self::File(PathBuf::from(path))
            }
            Self::Git(_) => return None,
        })
    }
}

/// The error about a location that is not the remote itself.
fn why(e: Error) -> String {
    let text = e.to_string();
    text.strip_prefix("remote ").map_or_else(|| text.clone(), |rest| format!("it {rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_table() {
        for (remote, text, expected) in [
            ("https://h/d/app.zip", "SHA256SUMS", "https://h/d/SHA256SUMS"),
            ("https://h/d/app.zip", "/SHA256SUMS", "https://h/SHA256SUMS"),
            ("https://h/d/app.zip", "../sums", "https://h/sums"),
            ("https://h/d/app.zip?token=1", "app.sig", "https://h/d/app.sig"),
            ("https://h/d/app.zip", "https://other:8443/x?y", "https://other:8443/x?…"),
            ("http://h/app.zip", "https://h/x", "https://h/x"),
            ("s3://b/d/app.zip?versionId=1", "sums", "s3://b/d/sums"),
            ("s3://b/app.zip", "sums", "s3://b/sums"),
            ("s3://b/d/app.zip", "/sums", "s3://b/sums"),
            ("s3://b/d/app.zip", "s3://c/sums", "s3://c/sums"),
            ("/srv/d/app.zip", "sums", "/srv/d/sums"),
            ("/srv/d/app.zip", "/etc/sums", "/etc/sums"),
            ("/srv/d/app.zip", "file:///etc/sums", "/etc/sums"),
        ] {
            let there = Remote::parse(remote).unwrap().beside(text).map(|there| there.to_string());
            assert_eq!(there.as_deref(), Ok(expected), "{remote} {text}");
        }
        for (remote, text, why) in [
            ("https://h/app.zip", "http://h/x", "the remote is https"),
            ("https://h/app.zip", "s3://b/x", "the remote is a URL"),
            ("https://h/app.zip", "file:///x", "the remote is a URL"),
            ("https://h/app.zip", "ftp://u:hunter2@h/x", "the scheme ftp is unknown"),
            ("s3://b/app.zip", "https://h/x", "the remote is in S3"),
            ("s3://b/app.zip", "../x", "with . or .."),
            ("/srv/app.zip", "https://h/x", "the remote is a path"),
            ("https://h/app.git", "sums", "nothing lies beside a git repository"),
        ] {
            let error = Remote::parse(remote).unwrap().beside(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{remote} {text}: {error}");
        }
    }

    #[test]
    fn a_suffix_stands_behind_the_name() {
        for (remote, expected) in [
            ("https://u:p@h/d/app.zip?v=1", "https://u:p@h/d/app.zip.minisig?v=1"),
            ("https://h/a%20b.zip", "https://h/a%20b.zip.minisig"),
        ] {
            let Some(Remote::Http(url)) = Remote::parse(remote).unwrap().with_suffix(".minisig") else { panic!() };
            assert_eq!(url.as_str(), expected);
        }
        for (remote, expected) in
            [("s3://b/d/app.zip?versionId=1", "s3://b/d/app.zip.minisig"), ("/srv/app.zip", "/srv/app.zip.minisig")]
        {
            assert_eq!(Remote::parse(remote).unwrap().with_suffix(".minisig").unwrap().to_string(), expected);
        }
    }
}
