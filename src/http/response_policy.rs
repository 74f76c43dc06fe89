//! How a source interprets responses, if it differs from plain HTTP. The transport is the same for all sources.

use ureq::http::HeaderMap;
use url::Url;

use super::message::Answer;
use super::status;
use super::validators::ResponseIdentity;
use crate::error::{Error, Result};

/// Interprets responses.
pub trait ResponsePolicy {
    /// Whether redirects are followed; if not, they are returned as they are.
    fn is_redirected(&self) -> bool {
        true
    }

    /// The validators in the headers of a response.
    fn identity(&self, headers: &HeaderMap) -> ResponseIdentity {
        ResponseIdentity::of(headers)
    }

    /// The expected checksums of the body, if the headers of a 200 have any. Fails if they are malformed.
    fn proof(&self, _headers: &HeaderMap) -> Result<Option<Box<dyn BodyDigest>>> {
        Ok(None)
    }

    /// The error for an unexpected response to a request for `url` with the credentials `whose`.
    fn refusal(&self, answer: Answer, url: &Url, whose: Option<&str>) -> Error {
        status::refusal(&answer, url, whose)
    }
}

/// Plain HTTP.
#[derive(Debug)]
pub(super) struct Http;

impl ResponsePolicy for Http {}

/// Running checksums of a body, and their expected values.
pub trait BodyDigest: std::fmt::Debug {
    /// Adds the next bytes; the first call starts at the beginning of the whole body.
    fn take(&mut self, bytes: &[u8]);

    /// Compares the checksums after the last byte.
    fn check(self: Box<Self>) -> Result<()>;
}
