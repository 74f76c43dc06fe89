//! What a source may read otherwise than HTTP has it: where the bytes come from is the same transport for all, and what an
//! answer means is each source's own.

use ureq::http::HeaderMap;

use super::client::Client;
use super::message::Answer;
use super::status;
use super::validators::ResponseIdentity;
use crate::error::{Error, Result};

/// How answers are read.
pub trait ResponsePolicy {
    /// Whether a redirect is followed; else its answer is handed back as it is.
    fn is_redirected(&self) -> bool {
        true
    }

    /// What the headers of an answer say it is.
    fn identity(&self, headers: &HeaderMap) -> ResponseIdentity {
        ResponseIdentity::of(headers)
    }

    /// What the bytes have to come to, when the headers of a 200 tell. An error: what they tell cannot be.
    fn proof(&self, _headers: &HeaderMap) -> Result<Option<Box<dyn BodyDigest>>> {
        Ok(None)
    }

    /// Why an answer that nobody waits for is an error.
    fn refusal(&self, answer: Answer, client: &Client) -> Error {
        status::refusal(&answer, client)
    }
}

/// Plain HTTP.
#[derive(Debug)]
pub(super) struct Http;

impl ResponsePolicy for Http {}

/// What the bytes of a body have to come to.
pub trait BodyDigest: std::fmt::Debug {
    /// Takes the next bytes, of the whole thing from its start.
    fn take(&mut self, bytes: &[u8]);

    /// That was all: whether it is what it has to be.
    fn check(self: Box<Self>) -> Result<()>;
}
