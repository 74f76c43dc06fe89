//! What a response says it is: ETag, Last-Modified, length. A strong ETag names bytes and pins what follows it; a weak
//! one only tells whether there is news. Remembered ones count for the URL they came from and for no other.

use sha2::{Digest, Sha256};
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::client::Headers;
use crate::model::{Revision, Validators, hex};
use crate::source::Known;
use crate::sys::clock::of_http_date;

/// Longer ones are not kept.
const LONGEST: usize = 1024;

/// How a representation is told from another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Identity {
    etag: Option<String>,
    modified: Option<String>,
    /// What the server calls this version of the thing.
    version: Option<String>,
    /// The whole thing's length in bytes, when the server said so.
    pub(in crate::source) length: Option<u64>,
}

/// The name under which a URL's validators are remembered: a hash, since a query can be a credential.
pub(in crate::source) fn source_of(url: &str) -> String {
    hex(&Sha256::digest(url)[..8])
}

impl Identity {
    /// What the headers of a response say.
    pub(in crate::source) fn of(headers: &HeaderMap) -> Self {
        // A body in chunks has the length it turns out to have.
        let sized = !headers.contains_key(header::TRANSFER_ENCODING);
        Self {
            etag: text(headers, &header::ETAG),
            modified: text(headers, &header::LAST_MODIFIED),
            version: None,
            length: text(headers, &header::CONTENT_LENGTH).filter(|_| sized).and_then(|t| t.parse().ok()),
        }
    }

    /// The same with the name of its version, from the header `name`; `null` is none.
    pub(in crate::source) fn with_version(self, headers: &HeaderMap, name: &HeaderName) -> Self {
        Self { version: text(headers, name).filter(|version| version != "null"), ..self }
    }

    /// The same with the length of the whole thing, where the headers were those of a part.
    pub(in crate::source) fn with_length(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }

    /// What we know already of `source`; `None` when that is of no use to a server.
    pub(in crate::source) fn remembered(known: Known<'_>, source: &str) -> Option<Self> {
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
        (etag.is_some() || modified.is_some()).then_some(Self { etag, modified, version: None, length })
    }

    /// What a poll says to hear only of something else.
    pub(in crate::source) fn conditions(&self) -> Headers {
        let condition = |name: HeaderName, value: &Option<String>| {
            value.as_ref().and_then(|v| HeaderValue::from_str(v).ok()).map(|v| (name, v))
        };
        condition(header::IF_NONE_MATCH, &self.etag)
            .or_else(|| condition(header::IF_MODIFIED_SINCE, &self.modified))
            .into_iter()
            .collect()
    }

    /// The ETag that names exactly these bytes.
    pub(in crate::source) fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"'))
    }

    /// Whether `self`, which we know, is what `now` is: for servers that answer a condition with the whole thing.
    pub(in crate::source) fn is_still(&self, now: &Self) -> bool {
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
    pub(in crate::source) fn revision(&self) -> Option<Revision> {
        if let Some(version) = &self.version {
            return Some(Revision::new(format!("version:{version}")));
        }
        match (&self.etag, &self.modified, self.length) {
            (Some(etag), _, _) => Some(Revision::new(format!("etag:{etag}"))),
            (None, Some(modified), Some(length)) => Some(Revision::new(format!("modified:{modified}+{length}"))),
            (None, Some(modified), None) => Some(Revision::new(format!("modified:{modified}"))),
            (None, None, _) => None,
        }
    }

    /// What makes the next poll of `source` conditional.
    pub(in crate::source) fn validators(&self, source: &str) -> Validators {
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
        validators
    }
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
pub(in crate::source) fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.len() <= LONGEST && value.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(headers: &[(&'static str, &str)]) -> Identity {
        let pairs = headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap()));
        Identity::of(&pairs.collect())
    }

    const MON: &str = "Mon, 02 Nov 2026 10:00:00 GMT";
    const TUE: &str = "Tue, 03 Nov 2026 10:00:00 GMT";

    #[test]
    fn revision_table() {
        for (headers, expected) in [
            (&[("etag", "\"a\"")][..], Some("etag:\"a\"".to_owned())),
            (&[("etag", "W/\"a\""), ("last-modified", MON)], Some("etag:W/\"a\"".to_owned())),
            (&[("last-modified", MON), ("content-length", "7")], Some(format!("modified:{MON}+7"))),
            (&[("last-modified", MON), ("transfer-encoding", "chunked")], Some(format!("modified:{MON}"))),
            (&[("content-length", "7")], None),
            (&[("etag", "")], None),
            (&[("etag", "\"a\tb\"")], None),
            (&[], None),
        ] {
            assert_eq!(identity(headers).revision().map(|r| r.to_string()), expected, "{headers:?}");
        }
        assert_eq!(identity(&[("etag", &"x".repeat(1025))]).revision(), None);
    }

    #[test]
    fn only_a_quoted_etag_without_w_is_strong() {
        for (etag, strong) in [("\"a\"", true), ("W/\"a\"", false), ("a", false), ("\"", false), ("\"\"", true)] {
            assert_eq!(identity(&[("etag", etag)]).strong().is_some(), strong, "{etag}");
        }
    }

    #[test]
    fn is_still_table() {
        for (known, now, expected) in [
            (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
            (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("etag", "\"a\""), ("last-modified", MON)], &[("etag", "\"b\""), ("last-modified", MON)], false),
            (&[("last-modified", MON)], &[("last-modified", MON)], true),
            (&[("last-modified", MON)], &[("last-modified", TUE)], false),
            (
                &[("last-modified", MON), ("content-length", "1")],
                &[("last-modified", MON), ("content-length", "2")],
                false,
            ),
            (&[("etag", "\"a\"")], &[("last-modified", MON)], false),
            (&[], &[], false),
        ] {
            assert_eq!(identity(known).is_still(&identity(now)), expected, "{known:?} {now:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_what_was_seen() {
        let revision = Revision::new("any");
        for headers in [
            &[("etag", "\"a\""), ("last-modified", MON), ("content-length", "7")][..],
            &[("etag", "W/\"a=b; c\"")],
            &[("last-modified", MON), ("content-length", "0")],
        ] {
            let seen = identity(headers);
            let validators = seen.validators("here");
            let known = Known { revision: &revision, validators: &validators };
            assert_eq!(Identity::remembered(known, "here"), Some(seen), "{headers:?}");
            assert_eq!(Identity::remembered(known, "elsewhere"), None, "{headers:?}");
        }
    }

    #[test]
    fn remembered_without_validators_is_what_the_revision_says() {
        let none = Validators::default();
        for (revision, condition) in [
            ("etag:\"a\"", Some("if-none-match: \"a\"")),
            ("etag:", None),
            ("sha256:00", None),
            ("etag:\"a\r\nX: y\"", None),
        ] {
            let revision = Revision::new(revision);
            let known = Known { revision: &revision, validators: &none };
            let conditions = Identity::remembered(known, "here").map(|i| i.conditions());
            let shown = conditions.map(|c| format!("{}: {}", c[0].0, c[0].1.to_str().unwrap()));
            assert_eq!(shown.as_deref(), condition, "{revision}");
        }
    }

    #[test]
    fn a_condition_is_the_etag_or_else_the_date() {
        let both = identity(&[("etag", "\"a\""), ("last-modified", MON)]).conditions();
        assert_eq!(both, [(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""))]);
        let date = identity(&[("last-modified", MON)]).conditions();
        assert_eq!(date, [(header::IF_MODIFIED_SINCE, HeaderValue::from_static(MON))]);
    }
}
