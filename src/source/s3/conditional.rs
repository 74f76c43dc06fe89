//! A small object in S3 that is read whole and changed on a condition: PUT with If-None-Match: * creates it, with
//! If-Match changes exactly the bytes that were read. Each call is one request (two, if the bucket is in another
//! region); retries are the caller's. Needs s3:GetObject and s3:PutObject.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ureq::http::header::{self, HeaderValue};
use ureq::http::{Method, StatusCode};

use super::REGION;
use super::address::Endpoint;
use super::error::{Requester, S3Error};
use super::sign;
use crate::aws::endpoint::Service;
use crate::aws::{CA_BUNDLE, Chain};
use crate::config::{Aws, Http};
use crate::error::{Error, Result};
use crate::http::client::{Ask, Caller, Client};
use crate::http::message::{Answer, Headers, whole};
use crate::http::retry::RequestError;
use crate::http::status;
use crate::remote::Object;
use crate::sys::clock::{Deadline, of_http_date};

/// The limit of one request.
const LIMIT: Duration = Duration::from_secs(20);

/// The object.
#[derive(Debug)]
pub struct ConditionalObject {
    object: Object,
    endpoint: Endpoint,
    http: Http,
    chain: Rc<RefCell<Chain>>,
    region: Option<String>,
}

/// The object as it was read.
#[derive(Debug)]
pub struct Reading {
    /// The content and its ETag; `None`: there is no object.
    pub content: Option<(Vec<u8>, String)>,
    /// The server's time, in seconds since 1970.
    pub date: u64,
}

impl ConditionalObject {
    /// The object; sends no request yet.
    pub fn new(object: &Object, aws: &Aws, http: &Http) -> Result<Self> {
        let chain = Chain::new(aws).with_http(http);
        let endpoint = Endpoint::new(aws, || chain.place(Service::S3))?;
        let http = Http { ca_file: http.ca_file.clone(), ..Http::fixed(LIMIT, LIMIT) };
        Ok(Self { object: object.clone(), endpoint, http, chain: Rc::new(RefCell::new(chain)), region: None })
    }

    /// Reads it, at most `largest` bytes.
    pub fn get(&mut self, largest: u64, deadline: Deadline) -> Result<Reading, RequestError> {
        let deadline = deadline.at_most(LIMIT);
        let (answer, client, requester) = self.send(Headers::new(), None, deadline)?;
        let date = answer.header(&header::DATE).and_then(of_http_date);
        let date = date.ok_or_else(|| Error::failed("its answer has no Date, by which leases end"))?;
        if answer.status == StatusCode::OK {
            let etag = answer.header(&header::ETAG).filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
            let etag = etag.ok_or_else(|| Error::failed("its answer has no strong ETag"))?;
            let content = whole(answer.body, None, largest, &self.http)?;
            return Ok(Reading { content: Some((content, etag)), date });
        }
        let error = S3Error::read(answer);
        match error.is_missing() {
            true => Ok(Reading { content: None, date }),
            false => Err(error.error(&self.object, client.url(), &requester).into()),
        }
    }

    /// Replaces the content that has the ETag `was`, or creates the object. False: another writer was faster.
    pub fn put(&mut self, content: &[u8], was: Option<&str>, deadline: Deadline) -> Result<bool, RequestError> {
        let condition = match was {
            None => (header::IF_NONE_MATCH, HeaderValue::from_static("*")),
            Some(etag) => (
                header::IF_MATCH,
                HeaderValue::from_str(etag).map_err(|_| Error::failed("its ETag cannot be sent back"))?,
            ),
        };
        let deadline = deadline.at_most(LIMIT);
        let (answer, client, requester) = self.send(vec![condition], Some(content), deadline)?;
        if answer.status.is_success() {
            return Ok(true);
        }
        let error = S3Error::read(answer);
        match error.status() {
            409 | 412 => Ok(false),
            404 if was.is_some() && error.is_missing() => Ok(false),
            _ => Err(error.error(&self.object, client.url(), &requester).into()),
        }
    }

    /// One request. A busy server is a transient error.
    fn send(
        &mut self,
        ask: Headers,
        content: Option<&[u8]>,
        deadline: Deadline,
    ) -> Result<(Answer, Client, Requester), RequestError> {
        let mut has_moved = false;
        loop {
            let region = match &self.region {
                Some(region) => region.clone(),
                None => self.chain.borrow_mut().region(deadline)?.unwrap_or_else(|| REGION.to_owned()),
            };
            let (client, requester) = self.client(&region, content, deadline)?;
            let method = if content.is_some() { Method::PUT } else { Method::GET };
            let answer = client.call(&Ask { method, headers: &ask, body: content }, deadline)?;
            if answer.status == StatusCode::NOT_IMPLEMENTED {
                return Err(Error::failed("it does not support conditional writes (501)").into());
            }
            if let Some(busy) = status::passing(&answer) {
                return Err(busy);
            }
            let is_elsewhere = matches!(answer.status.as_u16(), 301 | 302 | 307 | 308 | 400 | 403);
            if !is_elsewhere || has_moved {
                return Ok((answer, client, requester));
            }
            let error = S3Error::read(answer);
            match error.region().filter(|there| *there != region) {
                Some(there) => (self.region, has_moved) = (Some(there), true),
                None => return Err(error.error(&self.object, client.url(), &requester).into()),
            }
        }
    }

    fn client(&self, region: &str, content: Option<&[u8]>, deadline: Deadline) -> Result<(Client, Requester)> {
        let keys = match self.chain.borrow_mut().credentials(deadline)? {
            Ok(keys) => keys,
            Err(why) => return Err(Error::failed(format!("a lock needs credentials, and none were found ({why})"))),
        };
        let words = format!("asked as {}, which comes from {}", keys.access_key, keys.whose);
        let requester = Requester { words, token: keys.token.clone() };
        let (address, object) = (self.endpoint.address(&self.object, region)?, self.object.clone());
        let (url, region, content) = (address.url.clone(), region.to_owned(), content.map(<[u8]>::to_vec));
        let sign = move |_: &url::Url, ask: &Headers| match &content {
            Some(content) => sign::signed_put(content, &address, &object, &region, &keys, ask),
            None => sign::signed(&address, &object, &region, &keys, ask, &Headers::new()),
        };
        let caller = Caller { whose: None, sign: Box::new(sign) };
        Ok((Client::new(url, self.http.clone(), caller).trusting(CA_BUNDLE), requester))
    }
}
