//! Small requests over HTTP. A reply has a status and a text of at most a mebibyte. Redirects are not followed.

use std::io::Read;

use ureq::http::header::{HeaderName, HeaderValue};
use url::Url;

use crate::config::{Http, Secret};
use crate::error::{Error, Result};
use crate::http::client::{Ask, Caller, Client};
use crate::http::message::{Answer, Headers};
use crate::http::request_error::fault;
use crate::http::retry::{RequestError, RetryBudget};
use crate::http::status;
use crate::sys::clock::Deadline;

/// Names a file of additional trusted roots for all requests to AWS.
pub const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The largest reply, and the largest token file, in bytes.
pub(super) const LARGEST: usize = 1 << 20;

/// A response.
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// The body.
    pub(super) text: String,
}

/// A caller without credentials.
pub(super) fn nobody() -> Caller {
    Caller { whose: None, sign: Box::new(|_: &Url, _: &Headers| Ok(Headers::new())) }
}

/// An http(s) URL without user, password and fragment.
pub(super) fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (url.has_host() && is_plain).then_some(url)
}

/// A header whose value is never shown.
pub(super) fn secret_header(name: &'static str, value: &Secret) -> Result<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value.reveal())
        .map_err(|_| Error::failed(format!("the value of {name} has characters that no header has")))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

/// Sends a request once. No status is an error.
pub(super) fn once(client: &Client, http: &Http, ask: &Ask<'_>, deadline: Deadline) -> Result<Reply, RequestError> {
    read(client.call(ask, deadline)?, http)
}

fn read(answer: Answer, http: &Http) -> Result<Reply, RequestError> {
    let mut text = Vec::new();
    let mut body = answer.body.body.into_reader().take(LARGEST as u64 + 1);
    body.read_to_end(&mut text).map_err(|e| fault(e.into(), &answer.body.host, http))?;
    if text.len() > LARGEST {
        return Err(Error::failed(format!("its answer is larger than {LARGEST} bytes")).into());
    }
    let text = String::from_utf8(text).map_err(|_| Error::failed("its answer is not UTF-8"))?;
    Ok(Reply { status: answer.status.as_u16(), text })
}

/// Sends a request, with retries after transient failures.
pub(super) fn patiently(client: &Client, http: &Http, ask: &Ask<'_>, deadline: Deadline) -> Result<Reply> {
    let mut patience = RetryBudget::new(deadline);
    loop {
        let answer = client.call(ask, deadline);
        let answer = answer.and_then(|answer| status::passing(&answer).map_or(Ok(answer), Err));
        match answer.and_then(|answer| read(answer, http)) {
            Ok(reply) => return Ok(reply),
            Err(fault) => patience.after(fault, &client.origin())?,
        }
    }
}

/// A server's text, for messages: its first line, shortened and escaped, and not at all if it contains the secret
/// `told` that was sent to the server.
pub(super) fn quoted(text: &str, told: Option<&Secret>) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    if told.is_some_and(|told| line.contains(told.reveal())) {
        return "(not repeated: our secret is in it)".to_owned();
    }
    let short: String = line.chars().take(200).collect();
    short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use crate::aws::web::quoted;

    #[test]
    fn a_quoted_line_is_short_and_harmless() {
        for (text, expected) in
            [("plain", "plain"), ("it's \"so\"\nmore", "it's \"so\""), ("\x1b[2J", "\\u{1b}[2J"), ("", "")]
        {
            assert_eq!(quoted(text, None), expected);
        }
        assert_eq!(quoted(&"x".repeat(1000), None).len(), 200);
        let told = crate::config::Secret::new("hunter2");
        assert_eq!(quoted("is hunter2 right?", Some(&told)), "(not repeated: our secret is in it)");
        assert_eq!(quoted("no\nhunter2", Some(&told)), "no");
    }
}
