//! Parses a revision that the operator names into the revision and validators that a poll of the source would have
//! saved, so that the next poll is as conditional. A wrong revision only costs one needless deployment.
//!
//! The validators have no source name: the operator means this source, at any endpoint.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Source;
use crate::error::{Context, Error, Kind, Result};
use crate::http::validators::is_plain;
use crate::model::{Revision, Validators, hex};
use crate::remote::reference;
use crate::sys::clock::of_http_date;
use crate::sys::fs as sysfs;
use crate::sys::resolve::{self, Last, Way};

/// A revision, and the validators for the next conditional poll.
pub type PinnedRevision = (Revision, Validators);

impl Source {
    /// Parses `text` as a revision of this source; `archive` is a local copy of that revision.
    pub fn recall(&self, text: &str, archive: &Path) -> Result<PinnedRevision> {
        let text = text.trim();
        let (recalled, forms) = match self {
            Self::File(_) => (hash(text), "sha256:HEX (an archive) or tree:HEX (a directory)"),
            Self::Http(_) => {
                (http(text), "etag:\"...\", modified:DATE+LENGTH or sha256:HEX, or an ETag with its quotes")
            }
            Self::S3(_) => (s3(text, archive)?, "version:ID or etag:\"...\", or an ETag with its quotes"),
            Self::Git(source) => {
                let commit = reference::is_object(text).then(|| text.to_ascii_lowercase());
                (commit.map(|commit| source.recall(commit)), "a full commit")
            }
        };
        recalled.ok_or_else(|| {
            let what = match text {
                "" => "an empty --revision".to_owned(),
                text if is_plain(text) => format!("--revision {text}"),
                _ => "a --revision with such signs".to_owned(),
            };
            Error::new(Kind::Usage, format!("cannot use {what}: of this remote it is what status -v prints: {forms}"))
        })
    }
}

fn hash(text: &str) -> Option<PinnedRevision> {
    let (kind, digits) = text.split_once(':')?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fits = matches!((kind, digits.len()), ("sha256", 64) | ("tree", 32));
    (fits && is_hex).then(|| (Revision::new(text), Validators::default()))
}

fn http(text: &str) -> Option<PinnedRevision> {
    if let Some(modified) = text.strip_prefix("modified:") {
        let (date, length) = match modified.rsplit_once('+') {
            Some((date, length)) => (date, Some(length)),
            None => (modified, None),
        };
        of_http_date(date).filter(|_| is_plain(text))?;
        let mut validators = Validators::default().with("last-modified", date);
        if let Some(length) = length {
            validators = validators.with("length", length.parse::<u64>().ok()?.to_string());
        }
        return Some((Revision::new(text), validators));
    }
    hash(text).filter(|_| text.starts_with("sha256:")).or_else(|| etag(text))
}

fn etag(text: &str) -> Option<PinnedRevision> {
    let is_quoted = |tag: &str| tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
    let is_tag = |tag: &str| is_quoted(tag.strip_prefix("W/").unwrap_or(tag));
    let tag = match text.strip_prefix("etag:") {
        Some(tag) => tag,
        None => Some(text).filter(|text| is_tag(text))?,
    };
    if !is_plain(tag) {
        return None;
    }
    if !is_tag(tag) {
        log::warn!(
            "--revision {text}: an ETag has quotes with most servers, and a shell takes them away: 'etag:\"...\"'"
        );
    }
    Some((Revision::new(format!("etag:{tag}")), Validators::default().with("etag", tag)))
}

/// A poll cannot ask for a version, only for an ETag. The ETag of an object uploaded in one piece is its MD5; any other
/// ETag, or if `archive` is a directory, is learnt at the first poll.
fn s3(text: &str, archive: &Path) -> Result<Option<PinnedRevision>> {
    let Some(version) = text.strip_prefix("version:") else { return Ok(etag(text)) };
    if !is_plain(version) || version == "null" || version.contains(' ') {
        return Ok(None);
    }
    let what = || format!("cannot read {}", archive.display());
    let place = resolve::find(archive, Way::Any, Last::Follow).map_err(std::io::Error::from).with_context(what)?;
    let mut validators = Validators::default();
    if place.meta.is_none_or(|meta| meta.kind != sysfs::Kind::Dir) {
        let (file, _) = place.open_file().map_err(std::io::Error::from).with_context(what)?;
        validators = validators.with("etag", format!("\"{}\"", md5(file).with_context(what)?));
    }
    Ok(Some((Revision::new(text), validators)))
}

fn md5(mut file: File) -> std::io::Result<String> {
    let (mut sum, mut buffer) = (md5::Context::new(), vec![0; 128 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&sum.finalize().0)),
            got => sum.consume(&buffer[..got]),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::validators::ResponseIdentity;
    use crate::model::Known;
    use crate::source::parse_revision::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const MON: &str = "Mon, 02 Nov 2026 10:00:00 GMT";

    #[test]
    fn what_a_server_said_is_asked_for_again() {
        for (text, revision, condition) in [
            ("etag:\"a\"".to_owned(), "etag:\"a\"".to_owned(), "if-none-match: \"a\"".to_owned()),
            ("\"a\"".into(), "etag:\"a\"".into(), "if-none-match: \"a\"".into()),
            ("W/\"a b\"".into(), "etag:W/\"a b\"".into(), "if-none-match: W/\"a b\"".into()),
            ("etag:plain".into(), "etag:plain".into(), "if-none-match: plain".into()),
            (format!("modified:{MON}+7"), format!("modified:{MON}+7"), format!("if-modified-since: {MON}")),
            (format!("modified:{MON}"), format!("modified:{MON}"), format!("if-modified-since: {MON}")),
        ] {
            let (found, validators) = http(&text).unwrap();
            assert_eq!(found.as_str(), revision);
            let identity =
                ResponseIdentity::remembered(Known { revision: &found, validators: &validators }, "any").unwrap();
            let (name, value) = identity.conditions().pop().unwrap();
            assert_eq!(format!("{name}: {}", value.to_str().unwrap()), condition);
            // The server's response has the same revision.
            assert_eq!(identity.revision().unwrap(), found, "{text}");
        }
        assert_eq!(http(&format!("sha256:{HEX}")).unwrap().1, Validators::default());
    }

    #[test]
    fn what_is_no_revision_is_none() {
        for text in
            ["", "a", "\"", "\"\"", "\"a", "a\"", "etag:", "etag:\"\u{e4}\"", "W/a", "version:1", "modified:now"]
        {
            assert!(http(text).is_none(), "{text}");
        }
        for text in [format!("modified:{MON}+x"), format!("modified:{MON}+-1"), format!("tree:{}", &HEX[..32])] {
            assert!(http(&text).is_none(), "{text}");
        }
        for text in [HEX.into(), format!("sha256:{}", &HEX[1..]), format!("SHA256:{HEX}"), format!("tree:{HEX}")] {
            assert!(hash(&text).is_none(), "{text}");
        }
        assert!(hash(&format!("sha256:{HEX}")).is_some() && hash(&format!("tree:{}", &HEX[..32])).is_some());
        for text in ["version:", "version:null", "version:a b", "a", "3sL4.k_-"] {
            assert!(s3(text, Path::new("/")).unwrap().is_none(), "{text}");
        }
        let (revision, validators) = s3("version:3sL4.k_-", Path::new("/dev")).unwrap().unwrap();
        assert_eq!((revision.as_str(), validators), ("version:3sL4.k_-", Validators::default()));
    }
}
