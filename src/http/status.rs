//! Status codes: content, a transient failure, or an error with a remedy.

use ureq::http::StatusCode;
use ureq::http::header;
use url::Url;

use super::coding;
use super::message::Answer;
use super::request_error::PLAIN_TO_TLS;
use super::retry::{RequestError, retry_after};
use crate::error::{Error, Result};

/// The error for a status that is transient.
pub fn passing(answer: &Answer) -> Option<RequestError> {
    let busy = answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status.is_server_error();
    let hint = answer.header(&header::RETRY_AFTER).and_then(retry_after);
    busy.then(|| RequestError::busy(words(answer.status), hint))
}

/// The error for an unexpected status of a request for `url` with the credentials `whose`.
pub(super) fn refusal(answer: &Answer, url: &Url, whose: Option<&str>) -> Error {
    let hint = match answer.status.as_u16() {
        401 | 403 if !answer.at_origin => {
            format!("; credentials go to {} only, and this came from a redirect", url.origin().ascii_serialization())
        }
        401 | 403 => match whose {
            Some(whose) => format!("; asked as {whose}"),
            None => "; asked without credentials: set http-user and http-password-file, or netrc".to_owned(),
        },
        404 | 410 => "; there is nothing at this URL".to_owned(),
        // nginx, Apache and Go send this for a plain request to a TLS port.
        400 if answer.at_origin && url.scheme() == "http" => PLAIN_TO_TLS.to_owned(),
        407 => "; the proxy wants other credentials: put them into the proxy's URL".to_owned(),
        304 => ", and nothing was asked on a condition".to_owned(),
        206 => ", and no range was asked for".to_owned(),
        _ => String::new(),
    };
    Error::failed(format!("{}{hint}", words(answer.status)))
}

/// Checks that the body is not encoded. A gzip label is only recorded: the bytes show later whether it is a tar.gz.
pub fn check_plain(answer: &mut Answer) -> Result<()> {
    answer.body.is_gzip = coding::is_gzip(&answer.headers)?;
    let mut codings = answer.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next(), answer.http10) {
        (None, _, _) => Ok(()),
        (Some(one), None, false) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Error::refused("it is sent with a Transfer-Encoding other than chunked")),
    }
}

pub fn words(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("no status we know").to_lowercase();
    format!("it answered {} {reason}", status.as_u16())
}
