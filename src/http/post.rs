//! Sends a POST with JSON to a URL that is a secret itself, for notifications. Redirects are not followed, failures are
//! not retried, and only the head of the response is read. Roots and proxies are those of all requests; headers and
//! credentials of the remote are not sent.

use std::time::Duration;

use ureq::http::Method;
use ureq::http::header::{self, HeaderValue};
use url::Url;

use super::auth::{self, UserInfo};
use super::client::{Ask, Caller, Client};
use crate::config::{Http, Secret};
use crate::error::{Context, Error, Result};
use crate::sys::clock::Deadline;

/// The time limit, not including name resolution.
const LIMIT: Duration = Duration::from_secs(5);

/// Sends `body` to `to`. The error only contains scheme and host of the URL.
pub fn post(to: &Secret, body: &str, http: &Http) -> Result<()> {
    let url = Url::parse(to.reveal()).map_err(|_| Error::config("notify-url is no URL"))?;
    let origin = url.origin().ascii_serialization();
    let deadline = Deadline::after(LIMIT);
    send(url, body, http, deadline).with_context(|| format!("cannot notify {origin}"))
}

fn send(mut url: Url, body: &str, http: &Http, deadline: Deadline) -> Result<()> {
    let http = Http { ca_file: http.ca_file.clone(), ..Http::fixed(LIMIT, LIMIT) };
    let who = auth::load(&UserInfo::of(&url)?, "", &http)?.headers;
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(Error::config("its URL has no host"));
    }
    url.set_fragment(None);
    let caller = Caller { whose: None, sign: Box::new(move |_, _| Ok(who.clone())) };
    let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let ask = Ask { method: Method::POST, headers: &headers, body: Some(body.as_bytes()) };
    let answer = Client::new(url, http, caller).aside().call(&ask, deadline);
    match answer.map(|answer| answer.status) {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) if status.is_redirection() => {
            Err(Error::failed(format!("it answers {}, and redirects are not followed", status.as_u16())))
        }
        Ok(status) => Err(Error::failed(format!("it answers {status}"))),
        Err(_) if deadline.has_passed() => {
            Err(Error::failed(format!("there is no answer within {} s", LIMIT.as_secs())))
        }
        Err(fault) => Err(fault.error),
    }
}
