//! Small questions over HTTP: an answer is a status and a text of at most a mebibyte. Redirects are not followed.

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

/// The most that an answer, or a file with a token, may be.
pub(super) const LARGEST: usize = 1 << 20;

/// What came back.
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// The body.
    pub(super) text: String,
}

/// A caller whose requests carry nothing besides what they ask.
pub(super) fn nobody() -> Caller {
    Caller { whose: None, sign: Box::new(|_: &Url, _: &Headers| Ok(Headers::new())) }
}

/// A header with a value that is not shown.
pub(super) fn secret_header(name: &'static str, value: &Secret) -> Result<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value.reveal())
        .map_err(|_| Error::failed(format!("the value of {name} has characters that no header has")))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

/// One try. Any status is an answer.
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

/// As many tries as trouble of a moment deserves.
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

/// What a stranger said, for a message: its first line, short, and nothing that a terminal obeys. Who repeats the secret that
/// he was told is not quoted.
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
