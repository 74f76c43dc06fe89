//! Downloads a body to a file. After a broken connection it is resumed if a strong ETag identifies the bytes (`Range`
//! with `If-Match`), else all of it is requested again and must have the same validators. Received bytes are counted:
//! no more than the announced length, and no more than `max-download`.

use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};
use ureq::http::StatusCode;
use ureq::http::header::{self, HeaderValue};

use super::client::Client;
use super::coding::{BEGINNING, coded, is_tar_gz};
use super::connector::BUFFER;
use super::content_range::ContentRange;
use super::message::{Answer, Headers, Incoming};
use super::partial_download::PartialDownload;
use super::request_error::{fault, out_of_time};
use super::response_policy::BodyDigest;
use super::retry::{RequestError, RetryBudget, check_stop};
use super::status::check_plain;
use super::validators::{ResponseIdentity, source_of};
use crate::artifact::CacheFile;
use crate::console::Progress;
use crate::error::{Error, Kind, Result};
use crate::model::OF_CONTENT;
use crate::model::{Revision, hex};
use crate::sys::clock::Deadline;
use crate::sys::log;

/// A complete download.
#[derive(Debug)]
pub struct Fetched {
    pub file: File,
    /// Its CRC-32, if it was summed while it came.
    pub crc: Option<u32>,
    pub identity: ResponseIdentity,
    /// The revision of the response that carried the bytes.
    pub revision: Revision,
}

/// A running download.
struct Download<'a> {
    client: &'a Client,
    source: String,
    identity: ResponseIdentity,
    part: PartialDownload,
    /// Only if the revision is a hash of the content.
    hash: Option<Sha256>,
    /// Only if the server sent a checksum.
    proof: Option<Box<dyn BodyDigest>>,
    progress: Progress,
    limit: u64,
    patience: RetryBudget,
    /// Whether a response was labelled as gzip.
    is_gzip: bool,
}

/// Fetches `identity` to `to`; `body` is the response that offered it, if it was complete. If `proof` fails, the
/// download is discarded.
pub fn fetch(
    client: &Client,
    identity: ResponseIdentity,
    proof: Option<Box<dyn BodyDigest>>,
    body: Option<Incoming>,
    to: &CacheFile,
    limit: u64,
    deadline: Deadline,
) -> Result<Fetched> {
    check_limit(identity.length, limit)?;
    let source = source_of(client.url().as_str());
    let part = PartialDownload::open(to, &source, &identity)?;
    let progress = Progress::start("fetching", identity.length);
    let hash = identity.revision().is_none().then(Sha256::new);
    let patience = RetryBudget::new(deadline);
    let is_gzip = body.as_ref().is_some_and(|body| body.is_gzip);
    let mut download = Download { client, source, identity, part, hash, proof, progress, limit, patience, is_gzip };
    match download.run(body).and_then(|()| download.prove()) {
        Ok(()) => download.complete(),
        Err(error) => Err(download.fail(error)),
    }
}

pub(super) fn check_limit(length: Option<u64>, limit: u64) -> Result<()> {
    match length {
        Some(length) if length > limit => Err(Error::refused(format!("it is {length} bytes long: {}", over(limit)))),
        _ => Ok(()),
    }
}

fn over(limit: u64) -> String {
    format!("max-download allows {limit}")
}

pub(super) fn superseded() -> Error {
    Error::new(Kind::Superseded, "it was replaced while it was being fetched")
}

impl Download<'_> {
    fn run(&mut self, offered: Option<Incoming>) -> Result<()> {
        let mut body = offered;
        if self.part.length() > 0 {
            log::info!("going on with {} after {} bytes", self.client.name(), self.part.length());
            self.progress.advance(self.part.length());
            self.take_up()?;
            body = None;
        }
        self.part.check_room(self.identity.length.map_or(0, |total| total.saturating_sub(self.part.length())))?;
        while body.is_some() || self.identity.length != Some(self.part.length()) {
            let now = match body.take() {
                Some(body) => body,
                None => self.ask()?,
            };
            let before = self.part.length();
            match self.pour(now) {
                Ok(()) => return Ok(()),
                Err(fault) => {
                    // A slow server must not cause endless retries: only at least a whole buffer counts as progress.
                    if self.identity.strong_etag().is_some() && self.part.length() - before >= BUFFER as u64 {
                        self.patience.renew();
                    }
                    self.patience.after(fault, &self.client.name())?;
                }
            }
        }
        Ok(())
    }

    /// Requests the rest or the whole; the body of the response continues the download as it is then.
    fn ask(&mut self) -> Result<Incoming> {
        let mut ask = Headers::new();
        let mut ranged = false;
        if let Some(etag) = self.identity.strong_etag().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            ask.push((header::IF_MATCH, etag));
            if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.part.length())) {
                ranged = self.identity.length.is_some() && self.part.length() > 0;
                ask.extend(ranged.then_some((header::RANGE, range)));
            }
        }
        let answer = self.client.get(&ask, &mut self.patience)?;
        match answer.status {
            StatusCode::OK => self.all_of_it(answer),
            StatusCode::PARTIAL_CONTENT if ranged => self.rest_of_it(answer),
            StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE if !ask.is_empty() => Err(superseded()),
            _ => Err(self.client.refusal(answer)),
        }
    }

    fn all_of_it(&mut self, mut answer: Answer) -> Result<Incoming> {
        check_plain(&mut answer)?;
        let dialect = self.client.dialect();
        let now = dialect.identity(&answer.headers).after(Some(&self.identity));
        if now.revision() != self.identity.revision() {
            return Err(superseded());
        }
        check_limit(now.length, self.limit)?;
        self.part.restart(&self.source, &now)?;
        self.hash = now.revision().is_none().then(Sha256::new);
        self.proof = dialect.proof(&answer.headers)?;
        self.identity = now;
        Ok(answer.body)
    }

    fn rest_of_it(&mut self, mut answer: Answer) -> Result<Incoming> {
        check_plain(&mut answer)?;
        if ResponseIdentity::of(&answer.headers).strong_etag() != self.identity.strong_etag() {
            return Err(superseded());
        }
        let (first, total) = (self.part.length(), self.identity.length.unwrap_or_default());
        let range = answer.header(&header::CONTENT_RANGE).and_then(ContentRange::parse);
        if range.is_none_or(|range| !range.is_rest(first, total)) {
            return Err(Error::failed(format!("it answered bytes {first}- of {total} with another range")));
        }
        Ok(answer.body)
    }

    /// Appends the body to the file, up to its end.
    fn pour(&mut self, body: Incoming) -> Result<(), RequestError> {
        let Incoming { body, host, is_gzip } = body;
        self.is_gzip |= is_gzip;
        let mut reader = body.into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            check_stop()?;
            if self.patience.deadline().has_passed() {
                return Err(out_of_time().into());
            }
            match reader.read(&mut buffer) {
                Ok(0) => return self.check_end(),
                Ok(n) => self.take(buffer.get(..n).unwrap_or_default())?,
                Err(e) => return Err(self.broken(e.into(), &host)),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let length = self.part.length() + bytes.len() as u64;
        if length > self.limit {
            return Err(Error::refused(format!("it is more than {} bytes long: {}", self.limit, over(self.limit))));
        }
        if let Some(total) = self.identity.length.filter(|total| length > *total) {
            return Err(Error::refused(format!("it is longer than the {total} bytes it said")));
        }
        self.part.append(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        if let Some(proof) = &mut self.proof {
            proof.take(bytes);
        }
        self.progress.advance(bytes.len() as u64);
        Ok(())
    }

    fn check_end(&self) -> Result<(), RequestError> {
        match self.identity.length {
            Some(total) if self.part.length() != total => Err(self.after("it ended")),
            _ => Ok(()),
        }
    }

    fn broken(&self, error: ureq::Error, host: &str) -> RequestError {
        fault(error, host, self.client.http()).at(&self.position())
    }

    fn after(&self, what: &str) -> RequestError {
        RequestError::transient(format!("{}: {what}", self.position()))
    }

    fn position(&self) -> String {
        match self.identity.length {
            Some(total) => format!("after {} of {total} bytes", self.part.length()),
            None => format!("after {} bytes", self.part.length()),
        }
    }

    /// Bytes of an earlier run also count for the checksum.
    fn take_up(&mut self) -> Result<()> {
        let Some(proof) = &mut self.proof else { return Ok(()) };
        let deadline = self.patience.deadline();
        self.part.read_again(|bytes| {
            check_stop()?;
            proof.take(bytes);
            if deadline.has_passed() { Err(out_of_time()) } else { Ok(()) }
        })
    }

    fn prove(&mut self) -> Result<()> {
        if self.is_gzip && !is_tar_gz(&self.part.beginning(BEGINNING)?) {
            return Err(coded("gzip, and is no tar.gz"));
        }
        self.proof.take().map_or(Ok(()), |proof| proof.check())
    }

    fn complete(self) -> Result<Fetched> {
        let content = self.hash.map(|hash| Revision::new(format!("{OF_CONTENT}{}", hex(&hash.finalize()))));
        let revision = self.identity.revision().or(content).ok_or_else(|| Error::failed("it has no revision"))?;
        let (file, crc) = self.part.complete(self.client.is_ahead())?;
        Ok(Fetched { file, crc, identity: self.identity, revision })
    }

    /// Keeps the file after an error only if the next check can resume it.
    fn fail(self, error: Error) -> Error {
        let resumable = self.identity.strong_etag().is_some() && self.identity.length.is_some();
        let keep = resumable && matches!(error.kind(), Kind::Unavailable { .. } | Kind::Stopped(_));
        if !keep && let Err(e) = self.part.discard() {
            log::warn!("{e}");
        }
        error
    }
}
