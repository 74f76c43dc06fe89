//! Validators of responses: ETag, Last-Modified, length. A strong ETag identifies bytes and pins ranges; a weak one
//! only detects changes. Remembered validators are only used for the URL they came from.
//!
//! Validators made from times in whole seconds (Last-Modified, and nginx's ETags of time and length) identify nothing
//! while they are young (RFC 9110, section 8.8.2.2): a file that is rewritten within the same second keeps them. Then
//! the revision is a hash of the content, and the next poll is unconditional. Some servers always send young validators
//! (a cache that repeats Date, a Last-Modified with the time of the response): these are final if they are read again
//! more than a step after they were first seen.

use sha2::{Digest, Sha256};
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::message::Headers;
use crate::model::Known;
use crate::model::{Revision, Validators, hex};
use crate::sys::clock::{self, of_http_date};

/// The longest validator that is kept, in bytes.
const LONGEST: usize = 1024;
/// The longest step of a file system's clock, in seconds.
const STEP: u64 = 2;
/// The key of the time when young validators were first seen, in seconds since 1970.
const YOUNG: &str = "young";

/// The validators that distinguish a representation from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseIdentity {
    etag: Option<String>,
    modified: Option<String>,
    /// The server's version ID of the object.
    version: Option<String>,
    /// When young validators were first seen, by the local clock: the file may still change without changing them.
    young: Option<u64>,
    /// Whether only the content identifies the representation: it is young, or the known one was.
    by_content: bool,
    /// The length of the whole representation in bytes, if the server sent it.
    pub length: Option<u64>,
}

/// The source name of validators of a URL: a hash, since a query may be a credential.
pub fn source_of(url: &str) -> String {
    hex(&Sha256::digest(url)[..8])
}

impl ResponseIdentity {
    /// Reads the headers of a response.
    pub fn of(headers: &HeaderMap) -> Self {
        // The length of a chunked body is unknown before its end.
        let sized = !headers.contains_key(header::TRANSFER_ENCODING);
        let (etag, modified) = (text(headers, &header::ETAG), text(headers, &header::LAST_MODIFIED));
        let is_young = is_young(etag.as_deref(), modified.as_deref(), text(headers, &header::DATE).as_deref());
        let young = is_young.then(clock::now);
        Self {
            etag,
            modified,
            version: None,
            young,
            by_content: is_young,
            length: text(headers, &header::CONTENT_LENGTH).filter(|_| sized).and_then(|t| t.parse().ok()),
        }
    }

    /// Adds the version ID from the header `name`; `null` means that there is none.
    pub fn with_version(self, headers: &HeaderMap, name: &HeaderName) -> Self {
        let version = text(headers, name).filter(|version| version != "null");
        let young = self.young.filter(|_| version.is_none());
        Self { version, young, by_content: young.is_some(), ..self }
    }

    /// Sets the length of the whole representation, if the headers were those of a range.
    pub fn with_length(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }

    /// Adjusts a response that will be read to the known validators. If these were young and are equal, only the
    /// content tells whether it is the same.
    pub fn after(self, known: Option<&Self>) -> Self {
        let Some(known) = known.filter(|known| known.is_called(&self)) else { return self };
        let young = match (known.young, self.young) {
            // After the clock was set back, the time starts again.
            (Some(first), Some(now)) => Some(first.min(now)).filter(|first| now - first <= STEP),
            (None, _) | (_, None) => None,
        };
        Self { young, by_content: known.by_content, ..self }
    }

    /// Makes the revision a hash of the content, in spite of any validators.
    pub fn told_by_content(self) -> Self {
        Self { version: None, by_content: true, ..self }
    }

    /// The known validators of `source`; `None` if they cannot make a poll conditional.
    pub fn remembered(known: Known<'_>, source: &str) -> Option<Self> {
        let validators = known.validators;
        // Validators without a source name come from the operator, and are for this source.
        if validators.get("source").is_some_and(|s| s != source) {
            return None;
        }
        let revision = known.revision.as_str();
        let (etag, modified) = if validators.get("etag").or(validators.get("last-modified")).is_some() {
            (validators.get("etag"), validators.get("last-modified"))
        } else {
            (revision.strip_prefix("etag:"), None)
        };
        let sendable = |t: &&str| is_plain(t) && HeaderValue::from_str(t).is_ok();
        let etag = etag.filter(sendable).map(str::to_owned);
        let modified = modified.filter(sendable).map(str::to_owned);
        let length = validators.get("length").and_then(|l| l.parse().ok());
        let young = validators.get(YOUNG).and_then(|first| first.parse().ok());
        let known = Self { etag, modified, version: None, young, by_content: young.is_some(), length };
        (known.etag.is_some() || known.modified.is_some()).then_some(known)
    }

    /// The headers that make a poll conditional.
    pub fn conditions(&self) -> Headers {
        if self.by_content {
            return Headers::new();
        }
        let condition = |name: HeaderName, value: &Option<String>| {
            value.as_ref().and_then(|v| HeaderValue::from_str(v).ok()).map(|v| (name, v))
        };
        condition(header::IF_NONE_MATCH, &self.etag)
            .or_else(|| condition(header::IF_MODIFIED_SINCE, &self.modified))
            .into_iter()
            .collect()
    }

    /// The ETag, if it identifies exactly these bytes.
    pub fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !self.by_content && is_strong(tag))
    }

    /// Whether `self`, the known validators, match `now`: for servers that ignore conditions.
    pub fn is_still(&self, now: &Self) -> bool {
        !self.by_content && self.is_called(now)
    }

    fn is_called(&self, now: &Self) -> bool {
        match (&self.etag, &now.etag, &self.modified, &now.modified) {
            (Some(a), Some(b), _, _) => opaque(a) == opaque(b),
            // A date that the operator named: a response that is not newer matches.
            (None, _, Some(a), Some(b)) if self.length.is_none() => {
                matches!((of_http_date(a), of_http_date(b)), (Some(known), Some(now)) if now <= known) || a == b
            }
            (_, _, Some(a), Some(b)) => a == b && self.length == now.length,
            _ => false,
        }
    }

    /// The revision; `None` if it has to be computed from the content.
    pub fn revision(&self) -> Option<Revision> {
        if let Some(version) = &self.version {
            return Some(Revision::new(format!("version:{version}")));
        }
        match (&self.etag, &self.modified, self.length) {
            _ if self.by_content => None,
            (Some(etag), _, _) => Some(Revision::new(format!("etag:{etag}"))),
            (None, Some(modified), Some(length)) => Some(Revision::new(format!("modified:{modified}+{length}"))),
            (None, Some(modified), None) => Some(Revision::new(format!("modified:{modified}"))),
            (None, None, _) => None,
        }
    }

    /// The validators to save for the next poll of `source`.
    pub fn validators(&self, source: &str) -> Validators {
        let mut validators = Validators::default().with("source", source);
        if let Some(etag) = &self.etag {
            validators = validators.with("etag", etag.as_str());
        }
        if let Some(modified) = &self.modified {
            validators = validators.with("last-modified", modified.as_str());
        }
        if let Some(length) = self.length {
            validators = validators.with("length", length.to_string());
        }
        match self.young {
            Some(first) => validators.with(YOUNG, first.to_string()),
            None => validators,
        }
    }
}

fn is_strong(etag: &str) -> bool {
    etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"')
}

/// Whether a file `modified` at that time may, at the response's `date`, still change without a change of its
/// validators. A strong ETag says that it cannot, unless it is nginx's of time and length. A date far ahead of the
/// server's clock was set on purpose, and a later change does not get the same date.
fn is_young(etag: Option<&str>, modified: Option<&str>, date: Option<&str>) -> bool {
    let (Some(modified), Some(date)) = (modified.and_then(of_http_date), date.and_then(of_http_date)) else {
        return false;
    };
    let names_bytes = |etag: &str| is_strong(etag) && !etag.starts_with(&format!("\"{modified:x}-"));
    !etag.is_some_and(names_bytes) && date.abs_diff(modified) < STEP
}

/// An ETag without its weakness prefix, as If-None-Match compares it (RFC 9110).
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    is_plain(value).then(|| value.to_owned())
}

/// Whether a value can be saved in a line of text and sent back.
pub fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.len() <= LONGEST && value.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests;
