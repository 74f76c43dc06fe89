//! `probe`: waits until a service answers, for hooks. One try is a GET, or a connection that is closed at once; it ends
//! within [`LONGEST_TRY`], so that a hanging service does not hide its recovery. Any address may be probed, this host's
//! own among them, as the operator names it; redirects are not followed, and proxies are not used.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ureq::http::Method;
use url::Url;

use crate::config::Http;
use crate::error::{Context, Error, Result, plain};
use crate::http::auth::{self, UserInfo};
use crate::http::client::{Ask, Caller, Client};
use crate::http::message::Headers;
use crate::http::request_error::fault;
use crate::remote::redacted;
use crate::sys::clock::Deadline;
use crate::sys::{log, socket};

/// The limit of one try.
const LONGEST_TRY: Duration = Duration::from_secs(10);
/// The part of a body that is searched.
const SEARCHED: usize = 64 << 10;

/// A service to wait for.
#[derive(Debug)]
pub struct Probe {
    pub target: Target,
    pub timeout: Duration,
    pub interval: Duration,
    pub statuses: Statuses,
    pub contains: Option<String>,
    /// The number of good tries in a row.
    pub successes: u64,
    pub ca_file: Option<PathBuf>,
}

/// The place of a service.
#[derive(Debug)]
pub enum Target {
    Http(Url),
    /// `host:port`.
    Tcp(String),
    Unix(PathBuf),
}

impl Target {
    /// Parses a target; the error names a right one, and no part of a URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const RIGHT: &str = "it takes http://…, https://…, tcp://HOST:PORT or unix:/PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(RIGHT.to_owned()) };
        }
        if let Some(place) = text.strip_prefix("tcp://") {
            let (host, port) = place.rsplit_once(':').ok_or(RIGHT)?;
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0) && port.bytes().all(|b| b.is_ascii_digit());
            let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#']);
            return if is_port && is_host { Ok(Self::Tcp(place.to_owned())) } else { Err(RIGHT.to_owned()) };
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self::Http).ok_or_else(|| RIGHT.to_owned())
    }

    pub fn is_http(&self) -> bool {
        matches!(self, Self::Http(_))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&redacted(url)),
            Self::Tcp(place) => write!(f, "tcp://{place}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The good statuses.
#[derive(Debug, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl Statuses {
    /// Parses `200,204,300-399`; the error names a right value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let status = |text: &str| {
            let is_number = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|status| is_number && (100..=599).contains(status))
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(status(first)?..=status(last)?).filter(|range| !range.is_empty())
        };
        let all: Option<Vec<_>> = text.split(',').map(range).collect();
        all.map(Self).ok_or_else(|| "it takes statuses and ranges from 100 to 599 (200,204,300-399)".to_owned())
    }

    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Probe {
    /// Tries until the target is healthy; fails with the reason of the last try.
    pub fn run(&self) -> Result<()> {
        let (begin, deadline) = (Instant::now(), Deadline::after(self.timeout));
        let (mut good, mut tries) = (0, 0_u64);
        loop {
            tries += 1;
            let why = match self.attempt(deadline.at_most(LONGEST_TRY)) {
                Ok(()) => {
                    good += 1;
                    if good == self.successes {
                        log::info!("{} is healthy after {:.1} s", self.target, begin.elapsed().as_secs_f64());
                        return Ok(());
                    }
                    format!("only {good} of {} tries in a row were good", self.successes)
                }
                Err(e) => {
                    good = 0;
                    log::debug!("{}: {e}", self.target);
                    e.to_string()
                }
            };
            if deadline.remaining() <= self.interval {
                let (target, limit) = (&self.target, self.timeout.as_secs());
                let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
                return Err(Error::failed(format!("{target} is not healthy within {limit} s: {why}; tried {times}")));
            }
            std::thread::sleep(self.interval); // a signal ends the process from its handler
        }
    }

    /// One try.
    fn attempt(&self, deadline: Deadline) -> Result<()> {
        match &self.target {
            Target::Http(url) => self.get(url.clone(), deadline),
            Target::Tcp(place) => connect(place, deadline),
            Target::Unix(path) => {
                socket::connect_unix(path).map_err(|e| Error::failed(format!("cannot connect: {}", plain(&e))))
            }
        }
    }

    fn get(&self, mut url: Url, deadline: Deadline) -> Result<()> {
        let http = Http { ca_file: self.ca_file.clone(), ..Http::fixed(LONGEST_TRY, LONGEST_TRY) };
        let user = auth::load(&UserInfo::of(&url)?, "", &http)?.headers;
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(Error::failed("its URL has no host"));
        }
        url.set_fragment(None);
        let caller = Caller { whose: None, sign: Box::new(move |_, _| Ok(user.clone())) };
        let limit = deadline.remaining().as_secs_f64();
        let late = || Error::failed(format!("there is no answer within {limit:.1} s"));
        let ask = Ask { method: Method::GET, headers: &Headers::new(), body: None };
        let answer = match Client::direct(url, http.clone(), caller).call(&ask, deadline) {
            Err(_) if deadline.has_passed() => return Err(late()),
            answer => answer.map_err(|fault| fault.error)?,
        };
        if !self.statuses.has(answer.status.as_u16()) {
            return Err(Error::failed(format!("it answers {}", answer.status)));
        }
        let Some(text) = &self.contains else { return Ok(()) };
        match search(&mut answer.body.body.into_reader(), text.as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::failed(format!("its answer does not contain {text:?}"))),
            Err(_) if deadline.has_passed() => Err(late()),
            Err(e) => Err(fault(e.into(), &answer.body.host, &http).error),
        }
    }
}

/// Connects to the first address of `host:port` that accepts, and closes the connection.
fn connect(place: &str, deadline: Deadline) -> Result<()> {
    let found: Vec<SocketAddr> = place.to_socket_addrs().with_context(|| "cannot find its address")?.collect();
    let mut last = Error::failed("its name has no address");
    for address in found {
        let left = deadline.remaining().max(Duration::from_millis(1)); // connect_timeout refuses zero
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(e) => last = Error::failed(format!("cannot connect to {address}: {}", plain(&e))),
        }
    }
    Err(last)
}

/// Whether the first [`SEARCHED`] bytes contain a text. Reads no further than to its end.
fn search(body: &mut dyn Read, text: &[u8]) -> std::io::Result<bool> {
    let (mut content, mut length) = (vec![0; SEARCHED], 0);
    while !has(&content[..length], text) {
        match body.read(&mut content[length..])? {
            0 => return Ok(false),
            more => length += more,
        }
    }
    Ok(true)
}

fn has(content: &[u8], text: &[u8]) -> bool {
    text.is_empty() || content.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_or_refused() {
        let all = Statuses::parse("200,204,300-399").unwrap();
        for (status, is_good) in [(200, true), (201, false), (204, true), (300, true), (399, true), (400, false)] {
            assert_eq!(all.has(status), is_good, "{status}");
        }
        for text in ["", "200,", "20", "2xx", "399-300", "200-", "-200", "600", "+20", "200 "] {
            assert!(Statuses::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets_are_read_or_refused() {
        for text in ["http://u:p@h/x?y#z", "https://[::1]:8443/", "tcp://h:1", "tcp://[::1]:80", "unix:/run/x.sock"] {
            assert!(Target::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "h:80", "tcp://h", "tcp://h:0", "tcp://h:99999", "tcp://:80", "tcp://h:80/x", "unix:x", "ftp://h/"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        assert_eq!(Target::parse("http://u:hunter2@h/x").unwrap().to_string(), "http://h/x");
    }

    #[test]
    fn a_text_is_found_anywhere() {
        assert!(has(b"abc", b"") && has(b"abc", b"bc") && has(b"abc", b"abc") && !has(b"ab", b"abc"));
    }
}
