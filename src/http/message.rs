//! Headers, a response, and its body as it is received.

use std::io::Read;

use ureq::Body;
use ureq::http::StatusCode;
use ureq::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::coding::coded;
use super::request_error::fault;
use super::retry::RequestError;
use crate::config::Http;
use crate::error::{Error, Result};

/// Headers, in order.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// A response: its head, and the unread body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Incoming,
    /// Whether it comes from the configured origin, not from the target of a redirect.
    pub at_origin: bool,
    /// Whether the server uses HTTP/1.0.
    pub http10: bool,
}

/// An unread body, and its sender.
#[derive(Debug)]
pub struct Incoming {
    pub body: Body,
    /// The server or proxy, for messages.
    pub host: String,
    /// Whether it is labelled as gzip, which only a tar.gz may be.
    pub is_gzip: bool,
}

impl Answer {
    /// The first value of a header, when it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Reads a small body to its end.
pub fn whole(body: Incoming, length: Option<u64>, largest: u64, http: &Http) -> Result<Vec<u8>, RequestError> {
    let Incoming { body, host, is_gzip } = body;
    if is_gzip {
        return Err(coded("gzip").into());
    }
    let mut content = Vec::new();
    let read = body.into_reader().take(largest + 1).read_to_end(&mut content);
    read.map_err(|e| fault(e.into(), &host, http))?;
    let content = within(content, largest)?;
    if length.is_some_and(|length| length != content.len() as u64) {
        return Err(RequestError::transient(format!("it ended after {} bytes", content.len())));
    }
    Ok(content)
}

fn within(content: Vec<u8>, largest: u64) -> Result<Vec<u8>> {
    match content.len() as u64 > largest {
        true => Err(Error::refused(format!("it has more than {largest} bytes"))),
        false => Ok(content),
    }
}
