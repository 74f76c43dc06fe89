//! An archive in S3 or a compatible service. Poll and fetch are one conditional GET of the key, which only needs
//! s3:GetObject. The transport is that of HTTP, with its retries, limits and resumed downloads; redirects are not
//! followed.
//!
//! This module polls: it chooses credentials and region, and interprets responses. `address` builds URLs, `sign` signs,
//! `error` reads errors, `integrity` checks the bytes. Credentials come from the chain in `crate::aws`.

mod address;
pub mod conditional;
mod error;
mod integrity;
mod sign;

use std::cell::RefCell;
use std::rc::Rc;

use ureq::http::header::{HeaderName, HeaderValue};
use ureq::http::{HeaderMap, StatusCode, header};
use url::Url;

use self::address::{Address, Endpoint};
use self::error::{Requester, S3Error};
use super::delta::Delta;
use super::inspect::{self, Remark};
use super::offer::{Offer, Poll};
use crate::artifact::{Artifact, CacheFile, Content};
use crate::aws::endpoint::Service;
use crate::aws::{CA_BUNDLE, Chain};
use crate::config::keys::Name;
use crate::config::{Aws, Http, Settings};
use crate::error::{Context, Error, Result};
use crate::http::auth::extra_headers;
use crate::http::client::{Caller, Client};
use crate::http::download;
use crate::http::message::whole;
use crate::http::message::{Answer, Headers};
use crate::http::range_reader::{self, PolledBody};
use crate::http::response_policy::{BodyDigest, ResponsePolicy};
use crate::http::retry::RetryBudget;
use crate::http::validators::{ResponseIdentity, source_of};
use crate::model::Known;
use crate::model::Validators;
use crate::remote::Object;
use crate::sys::clock::Deadline;
use crate::sys::log;

/// The default region.
const REGION: &str = "us-east-1";
const VERSION: HeaderName = HeaderName::from_static("x-amz-version-id");
/// Requests the checksums stored with the object.
const CHECKSUM_MODE: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-amz-checksum-mode"), HeaderValue::from_static("ENABLED"));

/// A ZIP in a bucket.
#[derive(Debug)]
pub struct S3Source {
    object: Object,
    aws: Aws,
    /// The endpoint at the last poll.
    endpoint: Endpoint,
    http: Http,
    max_download: u64,
    chain: Rc<RefCell<Chain>>,
    /// Whether a missing object is a result, not an error.
    may_lack: bool,
    /// See [`super::Source::look_ahead`].
    pub(super) is_ahead: bool,
    pub(super) delta: Delta,
}

/// A response with an unread body.
#[derive(Debug)]
pub struct S3Offer {
    pub(super) client: Client,
    pub(super) identity: ResponseIdentity,
    proof: Option<Box<dyn BodyDigest>>,
    pub(super) body: PolledBody,
    /// The region of the bucket, if the server had to correct it.
    region: Option<String>,
}

impl S3Source {
    /// The source of `object`. No file is read and no request is sent yet.
    pub fn new(object: &Object, settings: &Settings) -> Result<Self> {
        let Settings { http, aws, max_download, .. } = settings;
        if extra_headers(http)?.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
            return Err(Error::config("cannot use http-header Authorization with s3://: requests are signed"));
        }
        let chain = Chain::new(aws).with_http(http);
        let endpoint = Endpoint::new(aws, || chain.place_without_profile(Service::S3))?;
        endpoint.address(object, REGION)?;
        let (object, aws, http, chain) = (object.clone(), aws.clone(), http.clone(), Rc::new(RefCell::new(chain)));
        let (max_download, delta) = (*max_download, Delta::new(settings));
        Ok(Self { object, aws, endpoint, http, max_download, chain, may_lack: false, is_ahead: false, delta })
    }

    /// Problems with the files that the source reads: see [`super::inspect`].
    pub(super) fn inspect(&self) -> Vec<Remark> {
        let mut remarks = inspect::roots(&self.http);
        remarks.extend(self.chain.borrow().check_files().err().map(|e| (Name::AwsProfile, false, e.to_string())));
        remarks
    }

    /// Asks for another revision than `known`.
    pub fn poll(&mut self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Poll<S3Offer>> {
        let what = || format!("cannot poll {}", self.object);
        self.endpoint = Endpoint::new(&self.aws, || self.chain.borrow().place(Service::S3)).with_context(what)?;
        let offer = self.ask(known, deadline).with_context(what)?;
        Ok(match offer {
            None => Poll::Unchanged,
            Some(offer) => {
                let revision = offer.identity.revision();
                let validators = self.validators(&offer.identity, offer.region.as_deref());
                Poll::Changed(Offer { revision, validators, kind: offer })
            }
        })
    }

    /// Fetches the offered archive to `download`, resuming a partial download of the same bytes.
    pub fn fetch(&mut self, offer: S3Offer, download: &CacheFile, deadline: Deadline) -> Result<Artifact> {
        let S3Offer { client, identity, mut proof, mut body, region } = offer;
        let (object, limit) = (&self.object, self.max_download);
        let what = || format!("cannot fetch {object}");
        let parts = self.delta.fetch((&client, &identity), &mut body, &mut proof, (download, limit), deadline);
        let fetched = match parts.with_context(what)? {
            Some(fetched) => fetched,
            None => {
                download::fetch(&client, identity, proof, body.whole(), download, limit, deadline).with_context(what)?
            }
        };
        let validators = self.validators(&fetched.identity, region.as_deref());
        let (content, name) = (Content::Archive(fetched.file), self.object.to_string());
        Ok(Artifact { revision: fetched.revision, validators, content, crc: fetched.crc, name })
    }

    /// Fetches a small object, such as a sidecar file; `None` if it does not exist.
    pub(super) fn beside(&self, object: &Object, largest: u64, deadline: Deadline) -> Result<Option<Vec<u8>>> {
        let Self { aws, endpoint, http, max_download, chain, .. } = self;
        let (aws, endpoint, http, chain) = (aws.clone(), endpoint.clone(), http.clone(), chain.clone());
        let (subject, max_download) = (object.clone(), *max_download);
        let (may_lack, is_ahead, delta) = (true, false, Delta::default());
        let there = Self { object: subject, may_lack, is_ahead, aws, endpoint, http, max_download, chain, delta };
        let mut patience = RetryBudget::new(deadline);
        loop {
            let Some(offer) = there.ask(None, deadline)? else { return Ok(None) };
            let Some(body) = offer.body.whole() else { return Err(Error::failed("it answered with a part")) };
            match whole(body, offer.identity.length, largest, offer.client.http()) {
                Ok(content) => return Ok(Some(content)),
                Err(fault) => patience.after(fault, &object.to_string())?,
            }
        }
    }

    /// Sends one conditional GET; once more if the bucket is in another region, and once more with renewed credentials
    /// if they have expired. `None` if the known revision is still current, or if the object may be missing and is.
    fn ask(&self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Option<S3Offer>> {
        let source = self.name();
        let mut learned = known.and_then(|known| learned(known, &source));
        let known = known.and_then(|known| ResponseIdentity::remembered(known, &source));
        let ask = known.as_ref().map_or_else(Headers::new, ResponseIdentity::conditions);
        let mut region = self.region(learned.as_deref(), deadline)?;
        let mut patience = RetryBudget::new(deadline);
        let (mut moved, mut renewed) = (false, false);
        loop {
            let (client, asker) = self.client(&region, deadline)?;
            let answer = range_reader::poll(&client, &ask, &mut patience)?;
            match answer.status {
                StatusCode::NOT_MODIFIED if !ask.is_empty() => return Ok(None),
                _ if range_reader::is_offer(&answer, &client) => {
                    return offered(client, answer, known.as_ref(), learned);
                }
                _ => {}
            }
            let complaint = S3Error::read(answer);
            let elsewhere = complaint.region().filter(|there| *there != region && !moved);
            if let Some(there) = elsewhere {
                log::debug!("the bucket {} is in {there}, not in {region}", self.object.bucket);
                (moved, learned, region) = (true, Some(there.clone()), there);
            } else if complaint.is_expired() && !renewed {
                log::debug!("the credentials have expired: asking for new ones");
                renewed = true;
                self.chain.borrow_mut().refused();
            } else if self.may_lack && complaint.is_missing() {
                return Ok(None);
            } else {
                return Err(complaint.error(&self.object, client.url(), &asker));
            }
        }
    }

    /// The validators for the next poll, with the region of the bucket.
    fn validators(&self, identity: &ResponseIdentity, region: Option<&str>) -> Validators {
        let validators = identity.validators(&self.name());
        match region {
            Some(region) => validators.with("region", region),
            None => validators,
        }
    }

    fn region(&self, learned: Option<&str>, deadline: Deadline) -> Result<String> {
        if let Some(region) = learned {
            return Ok(region.to_owned());
        }
        Ok(self.chain.borrow_mut().region(deadline)?.unwrap_or_else(|| REGION.to_owned()))
    }

    /// A client for one check, and the credentials it uses, for messages.
    fn client(&self, region: &str, deadline: Deadline) -> Result<(Client, Requester)> {
        let asker = match self.chain.borrow_mut().credentials(deadline)? {
            Ok(c) => {
                Requester { words: format!("asked as {}, which comes from {}", c.access_key, c.whose), token: c.token }
            }
            Err(why) => {
                Requester { words: format!("asked without credentials, since none were found ({why})"), token: None }
            }
        };
        let address = self.endpoint.address(&self.object, region)?;
        let url = address.url.clone();
        let mut plain = extra_headers(&self.http)?;
        plain.push(CHECKSUM_MODE);
        let (chain, object, region) = (self.chain.clone(), self.object.clone(), region.to_owned());
        let signer = Signer { chain, address, object, region, plain, deadline };
        let caller = Caller { whose: None, sign: Box::new(move |url, ask| signer.headers(url, ask)) };
        let speech = S3Responses { object: self.object.clone(), asker: asker.clone() };
        let client = Client::new(url, self.http.clone(), caller).looking_ahead(self.is_ahead);
        let client = client.asking_for_end(self.delta.end());
        Ok((client.speaking(speech).trusting(CA_BUNDLE), asker))
    }

    /// The source name of validators: object and endpoint, independent of the region.
    fn name(&self) -> String {
        source_of(&format!("{} {}", self.object, self.endpoint.name()))
    }
}

/// Signs each try anew, since temporary credentials may have been renewed.
struct Signer {
    chain: Rc<RefCell<Chain>>,
    address: Address,
    object: Object,
    region: String,
    plain: Headers,
    deadline: Deadline,
}

impl Signer {
    fn headers(&self, url: &Url, ask: &Headers) -> Result<Headers> {
        if *url != self.address.url {
            return Err(Error::failed("cannot sign a request for another URL"));
        }
        match self.chain.borrow_mut().credentials(self.deadline)? {
            Ok(credentials) => sign::signed(&self.address, &self.object, &self.region, &credentials, ask, &self.plain),
            Err(_) => Ok(self.plain.clone()),
        }
    }
}

/// Interprets responses of S3.
struct S3Responses {
    object: Object,
    asker: Requester,
}

impl ResponsePolicy for S3Responses {
    /// The signature is for this host. A redirect of S3 only corrects the region; its host is not trusted.
    fn is_redirected(&self) -> bool {
        false
    }

    fn identity(&self, headers: &HeaderMap) -> ResponseIdentity {
        ResponseIdentity::of(headers).with_version(headers, &VERSION)
    }

    fn proof(&self, headers: &HeaderMap) -> Result<Option<Box<dyn BodyDigest>>> {
        Ok(integrity::checks(headers)?.map(|checks| Box::new(checks) as Box<dyn BodyDigest>))
    }

    fn refusal(&self, answer: Answer, url: &Url, _: Option<&str>) -> Error {
        S3Error::read(answer).error(&self.object, url, &self.asker)
    }
}

/// The region that an earlier poll learned.
fn learned(known: Known<'_>, source: &str) -> Option<String> {
    let validators = known.validators;
    let region = validators.get("region").filter(|_| validators.get("source") == Some(source))?;
    Some(region.to_owned())
}

fn offered(
    client: Client,
    answer: Answer,
    known: Option<&ResponseIdentity>,
    region: Option<String>,
) -> Result<Option<S3Offer>> {
    let (headers, identity) = (answer.headers.clone(), client.dialect().identity(&answer.headers));
    let (identity, body) = range_reader::offered(answer, &client, identity)?;
    // The server ignores If-None-Match.
    if known.is_some_and(|known| known.is_still(&identity)) {
        return Ok(None);
    }
    let identity = identity.after(known);
    let proof = match &body {
        PolledBody::Whole(_) => client.dialect().proof(&headers)?,
        // The checksums in the answer may be those of the range; its ETag is that of the object.
        PolledBody::End(_) | PolledBody::Taken => {
            integrity::of_etag(&headers).map(|checks| Box::new(checks) as Box<dyn BodyDigest>)
        }
    };
    Ok(Some(S3Offer { client, identity, proof, body, region }))
}
