//! An archive over HTTP. A poll is one conditional GET; if the archive has changed, the fetch reads the body of the
//! same response, so the revision always belongs to the bytes that are deployed. The transport is `crate::http`.

use ureq::http::StatusCode;
use url::Url;

use super::delta::Delta;
use super::inspect::{self, Remark};
use super::offer::{Offer, Poll};
use crate::artifact::{Artifact, CacheFile, Content};
use crate::config::{Http, Settings};
use crate::error::{Context, Error, Result};
use crate::http::auth::UserInfo;
use crate::http::client::{Caller, Client};
use crate::http::message::Headers;
use crate::http::range_reader::PolledBody;
use crate::http::retry::RetryBudget;
use crate::http::validators::{ResponseIdentity, source_of};
use crate::http::{auth, download, range_reader, warn_once};
use crate::model::Known;
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
    /// See [`super::Source::look_ahead`].
    pub(super) is_ahead: bool,
    pub(super) delta: Delta,
}

/// A response with an unread body.
#[derive(Debug)]
pub struct HttpOffer {
    pub(super) client: Client,
    pub(super) identity: ResponseIdentity,
    pub(super) body: PolledBody,
}

impl HttpSource {
    /// The source at `url`. No file is read and no request is sent yet.
    pub fn new(url: &Url, settings: &Settings) -> Result<Self> {
        auth::extra_headers(&settings.http)?;
        let source = Self::at(url, settings.http.clone(), settings.max_download)?;
        Ok(Self { delta: Delta::new(settings), ..source })
    }

    fn at(url: &Url, http: Http, max_download: u64) -> Result<Self> {
        let user = UserInfo::of(url)?;
        let mut url = url.clone();
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(Error::config(format!("remote {} has no host", redacted(&url))));
        }
        url.set_fragment(None);
        Ok(Self { url, user, http, max_download, is_ahead: false, delta: Delta::default() })
    }

    /// Asks for another revision than `known`.
    pub fn poll(&mut self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Poll<HttpOffer>> {
        let what = || format!("cannot poll {}", redacted(&self.url));
        let (client, warnings) = self.client().with_context(what)?;
        warn_once(warnings);
        let answer = poll(client, known, deadline).with_context(what)?;
        Ok(match answer {
            None => Poll::Unchanged,
            Some(offer) => {
                let revision = offer.identity.revision();
                let validators = offer.identity.validators(&source_of(self.url.as_str()));
                Poll::Changed(Offer { revision, validators, kind: offer })
            }
        })
    }

    /// Fetches the offered archive to `download`, resuming a partial download of the same bytes.
    pub fn fetch(&mut self, offer: HttpOffer, download: &CacheFile, deadline: Deadline) -> Result<Artifact> {
        let HttpOffer { client, identity, mut body } = offer;
        let (what, limit) = (|| format!("cannot fetch {}", client.name()), self.max_download);
        let parts = self.delta.fetch((&client, &identity), &mut body, &mut None, (download, limit), deadline);
        let fetched = match parts.with_context(what)? {
            Some(fetched) => fetched,
            None => {
                download::fetch(&client, identity, None, body.whole(), download, limit, deadline).with_context(what)?
            }
        };
        Ok(Artifact {
            revision: fetched.revision,
            validators: fetched.identity.validators(&source_of(client.url().as_str())),
            content: Content::Archive(fetched.file),
            crc: fetched.crc,
            name: client.name(),
        })
    }

    /// A client for one check, with the credentials that the operator's files contain now.
    fn client(&self) -> Result<(Client, Vec<String>)> {
        let host = self.url.host_str().unwrap_or_default();
        let credentials = auth::load(&self.user, host, &self.http)?;
        let headers = credentials.headers;
        let sign = Box::new(move |_: &Url, _: &Headers| Ok(headers.clone()));
        let caller = Caller { whose: credentials.whose, sign };
        let client = Client::new(self.url.clone(), self.http.clone(), caller).looking_ahead(self.is_ahead);
        let client = client.asking_for_end(self.delta.end());
        Ok((client, credentials.warnings))
    }

    /// Problems with the files that the source reads: see [`super::inspect`].
    pub(super) fn inspect(&self) -> Vec<Remark> {
        let read = self.client().map(|(_, warnings)| warnings);
        let mut remarks = inspect::credentials(&self.http, read);
        if self.url.scheme() == "https" {
            remarks.extend(inspect::roots(&self.http));
        }
        remarks
    }

    /// A client for a sidecar file. If its origin is not the archive's, it gets only the credentials in its own URL or
    /// in netrc.
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

/// Sends one conditional GET. `None` if the known revision is still current.
fn poll(client: Client, known: Option<Known<'_>>, deadline: Deadline) -> Result<Option<HttpOffer>> {
    let known = known.and_then(|known| ResponseIdentity::remembered(known, &source_of(client.url().as_str())));
    let ask = known.as_ref().map_or_else(Headers::new, ResponseIdentity::conditions);
    let answer = range_reader::poll(&client, &ask, &mut RetryBudget::new(deadline))?;
    match answer.status {
        StatusCode::NOT_MODIFIED if !ask.is_empty() => return Ok(None),
        _ if range_reader::is_offer(&answer, &client) => {}
        _ => return Err(client.refusal(answer)),
    }
    let identity = ResponseIdentity::of(&answer.headers);
    let (identity, body) = range_reader::offered(answer, &client, identity)?;
    if known.as_ref().is_some_and(|known| known.is_still(&identity)) {
        return Ok(None);
    }
    let identity = identity.after(known.as_ref());
    Ok(Some(HttpOffer { client, identity, body }))
}
