//! A ZIP over HTTP: polled with one conditional GET whose answer, when it is news, is the one that is fetched. So a poll
//! and a fetch are one request, and the revision is that of the response that carried the bytes.
//!
//! This file and `identity` are what an HTTP source is. `client` is one request to an origin, with proxies (`proxy`),
//! redirects (`redirect`, `reach`) and retries (`retry`, `status`, `fault`) over ureq (`wire`, `head`, `tls`); `download` (`part`,
//! `range`, `coding`) takes a body to a file, and `glimpse` as much of one as tells what is in it. Both serve any source that can sign a request; where it reads answers
//! in another way than HTTP does, it says so (`dialect`). Who we are is in `credentials`
//! (`netrc`, `keyfile`).

pub(super) mod client;
pub(super) mod coding;
pub(super) mod credentials;
pub(super) mod dialect;
pub(super) mod download;
pub(super) mod fault;
pub(super) mod glimpse;
mod head;
pub(super) mod identity;
pub(super) mod keyfile;
mod netrc;
mod part;
pub mod post;
mod proxy;
mod range;
mod reach;
mod redirect;
pub(super) mod retry;
pub(super) mod status;
mod tls;
mod wire;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ureq::http::StatusCode;
use url::Url;

use self::client::{Caller, Client, Headers};
use self::credentials::UserInfo;
use self::glimpse::Offered;
use self::identity::{Identity, source_of};
use self::retry::Patience;
use super::inspect::{self, Remark};
use super::{Known, Offer, OfferKind, Poll};
use crate::artifact::{Artifact, CacheFile, Content};
use crate::config::{Http, Settings};
use crate::error::{Context, Error, Result};
use crate::remote::redacted;
use crate::sys::clock::Deadline;

/// A ZIP at a URL.
#[derive(Debug)]
pub struct HttpSource {
    /// Without user, password and fragment.
    url: Url,
    user: UserInfo,
    http: Http,
    max_download: u64,
    /// See [`crate::source::Source::look_ahead`].
    pub(super) is_ahead: bool,
}

/// What was said once need not be said at every check of a daemon.
static WARNED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An answer whose body nobody has read yet.
#[derive(Debug)]
pub struct HttpOffer {
    pub(super) client: Client,
    pub(super) identity: Identity,
    pub(super) body: Offered,
}

impl HttpSource {
    /// The source at `url`. Nothing is read or asked yet.
    pub fn new(url: &Url, settings: &Settings) -> Result<Self> {
        credentials::extra_headers(&settings.http)?;
        Self::at(url, settings.http.clone(), settings.max_download)
    }

    fn at(url: &Url, http: Http, max_download: u64) -> Result<Self> {
        let user = UserInfo::of(url)?;
        let mut url = url.clone();
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(Error::config(format!("remote {} has no host", redacted(&url))));
        }
        url.set_fragment(None);
        Ok(Self { url, user, http, max_download, is_ahead: false })
    }

    /// Asks for another revision than `known`.
    pub fn poll(&mut self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Poll> {
        let what = || format!("cannot poll {}", redacted(&self.url));
        let (client, warnings) = self.client().context(what)?;
        warn_once(warnings);
        let answer = poll(client, known, deadline).context(what)?;
        Ok(match answer {
            None => Poll::Unchanged,
            Some(offer) => {
                let revision = offer.identity.revision();
                let validators = offer.identity.validators(&source_of(self.url.as_str()));
                Poll::Changed(Offer { revision, validators, kind: OfferKind::Http(Box::new(offer)) })
            }
        })
    }

    /// Fetches what was offered to `download`, going on with what an earlier run left there of the same bytes.
    pub fn fetch(&mut self, offer: HttpOffer, download: &CacheFile, deadline: Deadline) -> Result<Artifact> {
        let HttpOffer { client, identity, body } = offer;
        let fetched = download::fetch(&client, identity, None, body.whole(), download, self.max_download, deadline)
            .context(|| format!("cannot fetch {}", client.name()))?;
        Ok(Artifact {
            revision: fetched.revision,
            validators: fetched.identity.validators(&source_of(client.url().as_str())),
            content: Content::Archive(fetched.file),
            name: client.name(),
        })
    }

    /// A client for one check, with what the operator's files say now.
    fn client(&self) -> Result<(Client, Vec<String>)> {
        let host = self.url.host_str().unwrap_or_default();
        let credentials = credentials::load(&self.user, host, &self.http)?;
        let headers = credentials.headers;
        let sign = Box::new(move |_: &Url, _: &Headers| Ok(headers.clone()));
        let caller = Caller { whose: credentials.whose, sign };
        let client = Client::new(self.url.clone(), self.http.clone(), caller).looking_ahead(self.is_ahead);
        Ok((client, credentials.warnings))
    }

    /// What is wrong with the files that it reads: see [`super::inspect`].
    pub(super) fn inspect(&self) -> Vec<Remark> {
        let read = self.client().map(|(_, warnings)| warnings);
        let mut remarks = inspect::credentials(&self.http, read);
        if self.url.scheme() == "https" {
            remarks.extend(inspect::roots(&self.http));
        }
        remarks
    }

    /// A client of what lies beside the archive. Another origin than the archive's gets no credentials but those in its own
    /// URL, or what netrc has for it.
    pub(super) fn client_beside(&self, url: &Url) -> Result<Client> {
        let is_ours = url.origin() == self.url.origin();
        let Http { connect_timeout, stall_timeout, netrc, ca_file, .. } = self.http.clone();
        let http = if is_ours {
            self.http.clone()
        } else {
            Http { netrc, ca_file, ..Http::limited(connect_timeout, stall_timeout) }
        };
        let mut source = Self::at(url, http, self.max_download)?;
        if is_ours && url.username().is_empty() && url.password().is_none() {
            source.user = self.user.clone();
        }
        let (client, warnings) = source.client()?;
        warn_once(warnings);
        Ok(client)
    }
}

/// Reads the roots that are believed.
pub(super) fn check_roots(http: &Http) -> Result<()> {
    let env = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    tls::config(&[("ca-file", http.ca_file.clone()), ("SSL_CERT_FILE", env)]).map(drop)
}

/// Says what nobody has said yet.
pub(super) fn warn_once(warnings: Vec<String>) {
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    for warning in warnings {
        if !warned.contains(&warning) {
            log::warn!("{warning}");
            warned.push(warning);
        }
    }
}

/// One conditional GET. `None`: what is there is what is known.
fn poll(client: Client, known: Option<Known<'_>>, deadline: Deadline) -> Result<Option<HttpOffer>> {
    let known = known.and_then(|known| Identity::remembered(known, &source_of(client.url().as_str())));
    let ask = known.as_ref().map_or_else(Headers::new, Identity::conditions);
    let answer = glimpse::poll(&client, &ask, &mut Patience::new(deadline))?;
    match answer.status {
        StatusCode::NOT_MODIFIED if !ask.is_empty() => return Ok(None),
        _ if glimpse::is_offer(&answer, &client) => {}
        _ => return Err(status::refusal(&answer, &client)),
    }
    let identity = Identity::of(&answer.headers);
    let (identity, body) = glimpse::offered(answer, identity)?;
    if known.as_ref().is_some_and(|known| known.is_still(&identity)) {
        return Ok(None);
    }
    let identity = identity.after(known.as_ref());
    Ok(Some(HttpOffer { client, identity, body }))
}

/// What stands percent-encoded in a part of a URL.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).filter(|hex| *byte == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let value =
            escape.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn percent_decoding_table() {
        for (text, expected) in
            [("a", "a"), ("%41%2f", "A/"), ("a%", "a%"), ("%4", "%4"), ("%zz", "%zz"), ("%+1", "%+1"), ("%25%25", "%%")]
        {
            assert_eq!(percent_decoded(text), expected.as_bytes(), "{text}");
        }
    }
}
