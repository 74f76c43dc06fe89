//! Errors of S3: its XML on one line, with the credentials used and a remedy. The server's text is shortened and
//! escaped, and never repeated if it contains the session token.

use std::io::Read;

use ureq::http::HeaderMap;
use url::Url;

use crate::aws::xml::element;
use crate::config::{Secret, is_region};
use crate::error::{Error, Kind};
use crate::http::message::Answer;
use crate::http::status;
use crate::remote::{Object, redacted};
use crate::sys::clock::{now, rfc3339};
use crate::sys::log;

/// The most bytes of an error that are read.
const LONGEST_BODY: u64 = 16 << 10;
/// The most characters of a message that are repeated.
const LONGEST_WORDS: usize = 300;

/// The credentials of a request, for messages.
#[derive(Clone, Debug)]
pub(super) struct Requester {
    /// `asked as AKIA…, which comes from …`.
    pub(super) words: String,
    /// The session token, which no message may contain.
    pub(super) token: Option<Secret>,
}

/// An error response.
#[derive(Debug)]
pub(super) struct S3Error {
    status: u16,
    /// `it answered 403 forbidden`.
    words: String,
    headers: HeaderMap,
    body: String,
}

impl S3Error {
    /// Reads the error response, as far as it arrives.
    pub(super) fn read(answer: Answer) -> Self {
        let (status, words) = (answer.status.as_u16(), status::words(answer.status));
        let mut body = Vec::new();
        if let Err(e) = answer.body.body.into_reader().take(LONGEST_BODY).read_to_end(&mut body) {
            log::debug!("the text of the error broke off: {e}");
        }
        Self { status, words, headers: answer.headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// The region where the bucket is, as the server names it.
    pub(super) fn region(&self) -> Option<String> {
        let in_header = self.header("x-amz-bucket-region").map(str::to_owned);
        let malformed = self.status == 400 && self.code() == "AuthorizationHeaderMalformed";
        let in_body = || malformed.then(|| element(&self.body, "Region")).flatten();
        let may_tell = matches!(self.status, 301 | 302 | 307 | 308 | 400 | 403);
        in_header.or_else(in_body).filter(|region| may_tell && is_region(region))
    }

    /// Whether the only error is that the object does not exist.
    pub(super) fn is_missing(&self) -> bool {
        self.status == 404 && matches!(&*self.code(), "NoSuchKey" | "NoSuchVersion" | "")
    }

    /// The status.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Whether renewed credentials of the same identity would help.
    pub(super) fn is_expired(&self) -> bool {
        matches!(&*self.code(), "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired")
    }

    /// The error to report.
    pub(super) fn error(&self, object: &Object, url: &Url, asker: &Requester) -> Error {
        let code = self.code();
        // S3 reports RequestTimeout with status 400; an expired token is renewed at the next check.
        let passes = code == "RequestTimeout" || self.is_expired();
        let kind = if passes { Kind::Unavailable { retry_after: None } } else { Kind::Failed };
        let is_safe = |text: &String| asker.token.as_ref().is_none_or(|token| !text.contains(token.reveal()));
        let message = element(&self.body, "Message").filter(is_safe).map(|text| plain(&text));
        let mut text = self.words.clone();
        match (code.is_empty(), message) {
            (true, _) => {}
            (false, None) => text.push_str(&format!(" ({code})")),
            (false, Some(message)) => text.push_str(&format!(" ({code}: {})", message.trim_end_matches('.'))),
        }
        let why = self.why(&code, object, url, &asker.words);
        if !why.is_empty() {
            text.push_str("; ");
            text.push_str(&why);
        }
        Error::new(kind, text)
    }

    fn why(&self, code: &str, object: &Object, url: &Url, asked: &str) -> String {
        let origin = url.origin().ascii_serialization();
        let deleted = self.header("x-amz-delete-marker") == Some("true");
        match (self.status, code) {
            (_, "NoSuchBucket") => format!("there is no bucket {} at {origin}", object.bucket),
            (404 | 405, _) if deleted => "the key was deleted: its newest version is a delete marker".to_owned(),
            (_, "NoSuchKey") => format!("the bucket {} has nothing under this key", object.bucket),
            (_, "NoSuchVersion") => format!("the key has no version {}", object.version.as_deref().unwrap_or("null")),
            (_, "RequestTimeTooSkewed") => self.skew(),
            (_, "SignatureDoesNotMatch") => format!("{asked}: the secret key is not that of the access key"),
            (_, "InvalidAccessKeyId") => format!("{asked}: the access key is not known at {origin}"),
            (_, "InvalidObjectState") => "the object is archived and has to be restored first".to_owned(),
            (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "ExpiredTokenException") => asked.to_owned(),
            (401 | 403, _) => format!(
                "{asked}: s3:GetObject may be missing, or the key is (without s3:ListBucket a missing key looks the same)"
            ),
            (404, _) => format!("there is nothing at {}", redacted(url)),
            (300..=399, _) => "S3 is not followed to other hosts: set aws-region, or s3-endpoint".to_owned(),
            _ => String::new(),
        }
    }

    fn skew(&self) -> String {
        let ours = element(&self.body, "RequestTime").unwrap_or_else(|| rfc3339(now()));
        let theirs = element(&self.body, "ServerTime").or_else(|| self.header("date").map(str::to_owned));
        let theirs = theirs.map_or_else(|| "another".to_owned(), |time| plain(&time));
        format!("this host's clock says {}, and the server's {theirs}: set it right", plain(&ours))
    }

    fn code(&self) -> String {
        let code = element(&self.body, "Code").unwrap_or_default();
        code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

/// Escapes a server's text for one line of the log.
fn plain(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars()
        .flat_map(|c| if c == '"' || c == '\'' { vec![c] } else { c.escape_debug().collect() })
        .take(LONGEST_WORDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::source::s3::error::*;
    use ureq::http::{HeaderName, HeaderValue};

    fn complaint(status: u16, headers: &[(&'static str, &str)], body: &str) -> S3Error {
        let pairs = headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap()));
        S3Error { status, words: "it answered".to_owned(), headers: pairs.collect(), body: body.to_owned() }
    }

    #[test]
    fn regions_are_taken_from_where_s3_names_them_and_only_when_they_are_some() {
        const MALFORMED: &str = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        for (status, headers, body, expected) in [
            (301, &[("x-amz-bucket-region", "eu-west-1")][..], "", Some("eu-west-1")),
            (307, &[("x-amz-bucket-region", "eu-west-1")], "", Some("eu-west-1")),
            (400, &[("x-amz-bucket-region", "eu-west-1")], "", Some("eu-west-1")),
            (403, &[("x-amz-bucket-region", "eu-west-1")], "", Some("eu-west-1")),
            (404, &[("x-amz-bucket-region", "eu-west-1")], "", None),
            (301, &[("x-amz-bucket-region", "evil.example/x")], "", None),
            (400, &[], MALFORMED, Some("eu-west-1")),
            (403, &[], MALFORMED, None),
            (400, &[], "<Error><Code>Other</Code><Region>eu-west-1</Region></Error>", None),
            (301, &[], "", None),
        ] {
            assert_eq!(complaint(status, headers, body).region().as_deref(), expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn a_strangers_text_is_one_short_line() {
        assert_eq!(plain("it's \"a\"\n\tb  c\u{1b}[31m"), "it's \"a\" b c\\u{1b}[31m");
        assert_eq!(plain(&"x".repeat(1000)).len(), LONGEST_WORDS);
        assert_eq!(complaint(400, &[], "<Code>Bad\u{1b}[31m&lt;x></Code>").code(), "Bad31mx");
    }
}
