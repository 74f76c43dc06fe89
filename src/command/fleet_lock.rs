//! A lock at a server of the FleetLock protocol: a POST to `/v1/pre-reboot` acquires it, one to `/v1/steady-state`
//! releases it. The server decides how many hold it, and for how long.
//! <https://coreos.github.io/zincati/development/fleetlock/protocol/>

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;
use ureq::http::header::{self, HeaderName, HeaderValue};
use url::Url;

use super::lock::{SHORT, Step, repeat};
use crate::config::Http;
use crate::error::{Error, Result};
use crate::http::client::{Ask, Caller, Client};
use crate::http::message::{Answer, Headers};
use crate::http::retry::RequestError;
use crate::http::status;
use crate::sys::clock::Deadline;

/// The limit of one request.
const LIMIT: Duration = Duration::from_secs(20);
/// The most bytes of an answer that are read.
const LARGEST: u64 = 16 << 10;
/// The most characters of an answer that are repeated.
const LONGEST: usize = 200;

/// A lock of a group, and its owner.
#[derive(Debug)]
pub struct FleetLock {
    base: Url,
    http: Http,
    body: String,
}

impl FleetLock {
    /// The lock at `url`, whose query may name a group; the error names a right URL.
    pub fn new(url: &Url, owner: String, http: Http) -> Result<Self, String> {
        const RIGHT: &str = "it takes fleetlock+https://HOST[/PATH][?group=NAME]";
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_plain {
            return Err(RIGHT.to_owned());
        }
        let group = match url.query() {
            None => "default",
            Some(query) => query.strip_prefix("group=").ok_or(RIGHT)?,
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if group.is_empty() || !group.bytes().all(fits) {
            return Err(RIGHT.to_owned());
        }
        let body = json!({"client_params": {"id": owner, "group": group}}).to_string();
        let mut base = url.clone();
        base.set_query(None);
        let http = Http { ca_file: http.ca_file, ..Http::fixed(LIMIT, LIMIT) };
        Ok(Self { base, http, body })
    }

    /// Acquires it; waits while the server refuses.
    pub fn acquire(&self, wait: Duration) -> Result<String> {
        let name = self.name();
        repeat("acquire", &name, wait, &mut |deadline| self.post("pre-reboot", format!("acquired {name}"), deadline))
    }

    /// Releases it. The server accepts this from an owner that does not hold it.
    pub fn release(&self) -> Result<String> {
        let name = self.name();
        repeat("release", &name, SHORT, &mut |deadline| self.post("steady-state", format!("released {name}"), deadline))
    }

    fn name(&self) -> String {
        format!("fleetlock+{}", self.base)
    }

    fn post(&self, what: &str, done: String, deadline: Deadline) -> Result<Step, RequestError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v1/{what}", self.base.path().trim_end_matches('/')));
        let headers: Headers = vec![
            (HeaderName::from_static("fleet-lock-protocol"), HeaderValue::from_static("true")),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ];
        let caller = Caller { whose: None, sign: Box::new(|_, _| Ok(Headers::new())) };
        let ask = Ask { method: Method::POST, headers: &headers, body: Some(self.body.as_bytes()) };
        let answer = Client::new(url, self.http.clone(), caller).call(&ask, deadline.at_most(LIMIT))?;
        if answer.status.is_success() {
            return Ok(Step::Done(done));
        }
        if let Some(busy) = status::passing(&answer) {
            return Err(busy);
        }
        // The protocol leaves the status of a refusal to the server: only those that no wait changes are final.
        let is_final = answer.status.is_redirection() || matches!(answer.status.as_u16(), 400 | 401 | 403 | 404 | 405);
        let words = words(answer);
        if is_final { Err(Error::failed(words).into()) } else { Ok(Step::Held(words)) }
    }
}

/// The status, with the kind and the value of an error if there are any.
fn words(answer: Answer) -> String {
    let (status, mut body) = (status::words(answer.status), Vec::new());
    let read = answer.body.body.into_reader().take(LARGEST).read_to_end(&mut body);
    let value: Option<Value> = read.ok().and_then(|_| serde_json::from_slice(&body).ok());
    let text = |key: &str| Some(value.as_ref()?.get(key)?.as_str()?.escape_debug().take(LONGEST).collect::<String>());
    match (text("kind"), text("value")) {
        (Some(kind), Some(value)) => format!("{status} ({kind}: {value})"),
        _ => status,
    }
}
