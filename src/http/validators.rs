//! What a response says it is: ETag, Last-Modified, length. A strong ETag names bytes and pins what follows it; a weak
//! one only tells whether there is news. Remembered ones count for the URL they came from and for no other.
//!
//! What is made of times of whole seconds (Last-Modified, and the ETags that nginx makes of time and length) names nothing
//! while it is young (RFC 9110, section 8.8.2.2): a file that is rewritten within the same second keeps it. Then the revision
//! is a hash of the content, and the next poll asks without conditions. There are servers whose answers are young for ever (a
//! cache that repeats Date, a Last-Modified that is the time of the answer): what is read under the same name more than a step
//! after that was seen first is final all the same.

use sha2::{Digest, Sha256};
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::message::Headers;
use crate::model::Known;
use crate::model::{Revision, Validators, hex};
use crate::sys::clock::{self, of_http_date};

/// Longer ones are not kept.
const LONGEST: usize = 1024;
/// The longest step of a file system's clock, in seconds.
const STEP: u64 = 2;
/// Remembered with validators that were young: when they were seen first, in seconds since 1970.
const YOUNG: &str = "young";

/// How a representation is told from another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseIdentity {
    etag: Option<String>,
    modified: Option<String>,
    /// What the server calls this version of the thing.
    version: Option<String>,
    /// When it was seen first by our clock, if it was sent so soon after the change that another one may get the same.
    young: Option<u64>,
    /// Whether only the content tells what it is: it is young, or what is known of it was.
    by_content: bool,
    /// The whole thing's length in bytes, when the server said so.
    pub length: Option<u64>,
}

/// The name under which a URL's validators are remembered: a hash, since a query can be a credential.
pub fn source_of(url: &str) -> String {
    hex(&Sha256::digest(url)[..8])
}

impl ResponseIdentity {
    /// What the headers of a response say.
    pub fn of(headers: &HeaderMap) -> Self {
        // A body in chunks has the length it turns out to have.
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

    /// The same with the name of its version, from the header `name`; `null` is none.
    pub fn with_version(self, headers: &HeaderMap, name: &HeaderName) -> Self {
        let version = text(headers, name).filter(|version| version != "null");
        let young = self.young.filter(|_| version.is_none());
        Self { version, young, by_content: young.is_some(), ..self }
    }

    /// The same with the length of the whole thing, where the headers were those of a part.
    pub fn with_length(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }

    /// The same, of an answer that is going to be read, where `known` is what is known of it: where that was young, and has
    /// the same name, only the content tells whether it is the same.
    pub fn after(self, known: Option<&Self>) -> Self {
        let Some(known) = known.filter(|known| known.is_called(&self)) else { return self };
        let young = match (known.young, self.young) {
            // A clock that was set back begins anew.
            (Some(first), Some(now)) => Some(first.min(now)).filter(|first| now - first <= STEP),
            (None, _) | (_, None) => None,
        };
        Self { young, by_content: known.by_content, ..self }
    }

    /// The same, whose revision is a hash of the content whatever names it has.
    pub fn told_by_content(self) -> Self {
        Self { version: None, by_content: true, ..self }
    }

    /// What we know already of `source`; `None` when that is of no use to a server.
    pub fn remembered(known: Known<'_>, source: &str) -> Option<Self> {
        let validators = known.validators;
        // Without a name they come from the operator, who means this source.
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

    /// What a poll says to hear only of something else.
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

    /// The ETag that names exactly these bytes.
    pub fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !self.by_content && is_strong(tag))
    }

    /// Whether `self`, which we know, is what `now` is: for servers that answer a condition with the whole thing.
    pub fn is_still(&self, now: &Self) -> bool {
        !self.by_content && self.is_called(now)
    }

    fn is_called(&self, now: &Self) -> bool {
        match (&self.etag, &now.etag, &self.modified, &now.modified) {
            (Some(a), Some(b), _, _) => opaque(a) == opaque(b),
            // The operator's word: what is not newer is known.
            (None, _, Some(a), Some(b)) if self.length.is_none() => {
                matches!((of_http_date(a), of_http_date(b)), (Some(known), Some(now)) if now <= known) || a == b
            }
            (_, _, Some(a), Some(b)) => a == b && self.length == now.length,
            _ => false,
        }
    }

    /// The revision; `None` when only the content can tell.
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

    /// What makes the next poll of `source` conditional.
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

/// Whether what was `modified` then may, at the time of the answer's `date`, be changed once more without another name. A
/// strong ETag is the server's word that it may not, but for one that is nginx's: time and length. A date far ahead of the
/// server's clock was set by somebody, and no change gets it again.
fn is_young(etag: Option<&str>, modified: Option<&str>, date: Option<&str>) -> bool {
    let (Some(modified), Some(date)) = (modified.and_then(of_http_date), date.and_then(of_http_date)) else {
        return false;
    };
    let names_bytes = |etag: &str| is_strong(etag) && !etag.starts_with(&format!("\"{modified:x}-"));
    !etag.is_some_and(names_bytes) && date.abs_diff(modified) < STEP
}

/// An ETag without what makes it weak: how RFC 9110 compares for If-None-Match.
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    is_plain(value).then(|| value.to_owned())
}

/// Whether a value can be kept in a line of text and sent back.
pub fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.len() <= LONGEST && value.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests;
