//! Writes an archive to the file of a download from bytes that are known and parts that are fetched, in order. The parts
//! are pinned to the same bytes by a strong ETag. Limits, retries, progress and checksums are those of a download; but
//! an interrupted assembly is not resumed: only the bytes of the source are, and not all of these are.

use std::fs::File;
use std::io::Read;

use super::client::Client;
use super::connector::BUFFER;
use super::download::Fetched;
use super::message::Incoming;
use super::partial_download::PartialDownload;
use super::range_reader::part;
use super::request_error::{fault, out_of_time};
use super::response_policy::BodyDigest;
use super::retry::{RequestError, RetryBudget, check_stop};
use super::validators::{ResponseIdentity, source_of};
use crate::artifact::CacheFile;
use crate::console::Progress;
use crate::error::{Error, Result};
use crate::sys::clock::Deadline;

/// An archive that is being written.
pub struct Assembly<'a> {
    client: &'a Client,
    identity: &'a ResponseIdentity,
    part: PartialDownload,
    /// Bytes that are not written yet.
    buffer: Vec<u8>,
    proof: Option<Box<dyn BodyDigest>>,
    progress: Progress,
    patience: RetryBudget,
    total: u64,
    /// The number of bytes fetched.
    pub fetched: u64,
}

/// Whether a download of the same bytes was interrupted, and can be resumed.
pub fn is_begun(client: &Client, identity: &ResponseIdentity, to: &CacheFile) -> bool {
    PartialDownload::is_begun(to, &source_of(client.url().as_str()), identity)
}

impl<'a> Assembly<'a> {
    /// Starts to write an archive of `total` bytes to `to`, of which `fetch` have to be fetched. `proof` is compared at
    /// the end.
    pub fn start(
        client: &'a Client,
        identity: &'a ResponseIdentity,
        (total, fetch): (u64, u64),
        proof: Option<Box<dyn BodyDigest>>,
        to: &CacheFile,
        deadline: Deadline,
    ) -> Result<Self> {
        let part = PartialDownload::unnoted(to)?;
        part.check_room(total)?;
        let (progress, patience) = (Progress::start("fetching", Some(fetch)), RetryBudget::new(deadline));
        let buffer = Vec::with_capacity(BUFFER);
        Ok(Self { client, identity, part, buffer, proof, progress, patience, total, fetched: 0 })
    }

    /// Appends bytes that are known.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        check_stop()?;
        if self.patience.deadline().has_passed() {
            return Err(out_of_time());
        }
        self.keep(bytes)
    }

    /// Fetches and appends `length` bytes at the offset `at`, which is the end of what is written.
    pub fn fetch(&mut self, at: u64, length: u64) -> Result<()> {
        let (mut first, end) = (at, at + length);
        while first < end {
            let body = part(self.client, self.identity, (first, end, self.total), &mut self.patience)?;
            let before = first;
            if let Err(fault) = self.pour(body, &mut first, end) {
                if first - before >= BUFFER as u64 {
                    self.patience.renew();
                }
                self.patience.after(fault, &self.client.name())?;
            }
        }
        Ok(())
    }

    fn pour(&mut self, body: Incoming, first: &mut u64, end: u64) -> Result<(), RequestError> {
        let Incoming { body, host, .. } = body;
        let has_length = body.content_length().is_some();
        let mut reader = body.into_reader();
        let mut buffer = vec![0; BUFFER];
        while *first < end {
            check_stop()?;
            if self.patience.deadline().has_passed() {
                return Err(out_of_time().into());
            }
            let n = reader.read(&mut buffer).map_err(|e| fault(e.into(), &host, self.client.http()))?;
            if n == 0 {
                return Err(RequestError::transient(format!(
                    "it ended {} bytes before the end of a part",
                    end - *first
                )));
            }
            if n as u64 > end - *first {
                return Err(Error::failed("it sent more than the part that was asked for").into());
            }
            self.keep(buffer.get(..n).unwrap_or_default())?;
            *first += n as u64;
            self.fetched += n as u64;
            self.progress.advance(n as u64);
        }
        // To its end, so that the connection is free for the next part; what the server says about it tells nothing here.
        if has_length {
            let _ = reader.read(&mut buffer); // all bytes of the part are there
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(proof) = &mut self.proof {
            proof.take(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.part.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Checks the length, the checksums, and with `check` the file; returns the complete archive.
    pub fn finish(mut self, check: &dyn Fn(&File) -> Result<()>) -> Result<Fetched> {
        self.flush()?;
        if self.part.length() != self.total {
            return Err(Error::failed(format!("it has {} bytes instead of {}", self.part.length(), self.total)));
        }
        if let Some(proof) = self.proof.take() {
            proof.check()?;
        }
        let revision = self.identity.revision().ok_or_else(|| Error::failed("it has no revision"))?;
        let (file, crc) = self.part.complete(false)?;
        check(&file)?;
        Ok(Fetched { file, crc, identity: self.identity.clone(), revision })
    }
}
