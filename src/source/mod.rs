//! Sources of revisions. A poll asks a source, cheaply, whether it has another revision than the known one; a fetch
//! then gets exactly the revision that the poll offered.

pub mod archive_seed;
pub mod delta;
mod etag_digest;
pub mod file;
pub mod git;
pub mod http;
pub mod inspect;
mod offer;
pub mod parse_revision;
pub mod s3;
mod sidecar;

use std::path::Path;

use self::archive_seed::ArchiveSeed;
use self::delta::Delta;
use self::inspect::Remark;
use crate::artifact::{Artifact, CacheFile};
use crate::config::Settings;
use crate::error::Result;
pub use crate::http::range_reader::PartialArchive;
use crate::http::retry;
use crate::model::{Known, OF_CONTENT, Revision, Validators};
use crate::remote::Remote;
use crate::sys::clock::Deadline;

/// Sets the log level of failed tries: info if `is_news`, debug if an earlier check has already logged the failure. If
/// the source was `lost` at the last check, a request is tried once until the source answers again: the schedule tries
/// it again, and when the source is back no fleet has tries left over for it.
pub fn begin_check(is_news: bool, lost: bool) {
    retry::set_told(!is_news);
    retry::set_lost(lost);
}

/// A source, by the kind of its remote.
#[derive(Debug)]
pub enum Source {
    /// An archive or directory on this host.
    File(file::FileSource),
    /// An archive over HTTP.
    Http(Box<http::HttpSource>),
    /// An archive in S3.
    S3(Box<s3::S3Source>),
    /// A git repository.
    Git(Box<git::GitSource>),
}

/// The result of a poll of any source.
pub type Poll = offer::Poll<OfferKind>;

/// An offer of any source.
pub type Offer = offer::Offer<OfferKind>;

/// The data of an offer, by the kind of the remote.
#[derive(Debug)]
pub enum OfferKind {
    /// The open archive or directory.
    File(file::FileOffer),
    /// The response over HTTP.
    Http(Box<http::HttpOffer>),
    /// The response of S3.
    S3(Box<s3::S3Offer>),
    /// The commit.
    Git(git::GitOffer),
}

impl Offer {
    /// Makes the revision a hash of the content, even if the source sent an ETag or a version.
    fn tell_by_content(&mut self) {
        let identity = match &mut self.kind {
            OfferKind::Http(offer) => &mut offer.identity,
            OfferKind::S3(offer) => &mut offer.identity,
            OfferKind::File(_) | OfferKind::Git(_) => return,
        };
        *identity = std::mem::take(identity).told_by_content();
        self.revision = None;
    }

    /// Opens the beginning and the end of the offered archive for a plan; fails if the archive is larger than `limit`.
    /// `None` if the archive has to be fetched whole.
    pub fn glimpse(&mut self, limit: u64, deadline: Deadline) -> Result<Option<PartialArchive>> {
        match &mut self.kind {
            OfferKind::Http(o) => PartialArchive::open(&o.client, &o.identity, &mut o.body, limit, deadline),
            OfferKind::S3(o) => PartialArchive::open(&o.client, &o.identity, &mut o.body, limit, deadline),
            OfferKind::File(_) | OfferKind::Git(_) => Ok(None),
        }
    }

    /// Extends a partial archive down to the offset `from`. False if the missing part is too large.
    pub fn reach(&self, glimpse: &mut PartialArchive, from: u64, deadline: Deadline) -> Result<bool> {
        match &self.kind {
            OfferKind::Http(o) => glimpse.reach(&o.client, &o.identity, from, deadline),
            OfferKind::S3(o) => glimpse.reach(&o.client, &o.identity, from, deadline),
            OfferKind::File(_) | OfferKind::Git(_) => Ok(false),
        }
    }
}

impl Source {
    /// Prepares for a plan, which deploys nothing: a poll asks only for the end of an archive if the server supports
    /// it, and a complete download is kept for a later run.
    pub fn look_ahead(&mut self) {
        match self {
            Self::Http(source) => source.is_ahead = true,
            Self::S3(source) => source.is_ahead = true,
            Self::File(source) => source.is_ahead = true,
            Self::Git(_) => {}
        }
    }

    /// Sets the archive that the next offer may be fetched as a delta of.
    pub fn set_seed(&mut self, seed: Option<ArchiveSeed>) {
        if let Some(delta) = self.delta_mut() {
            delta.set_seed(seed);
        }
    }

    /// Fetches whole archives from now on.
    pub fn stop_deltas(&mut self) {
        if let Some(delta) = self.delta_mut() {
            delta.stop();
        }
    }

    /// The use that the last fetch made of a seed; `None`: the source has no deltas.
    pub fn delta(&self) -> Option<&Delta> {
        match self {
            Self::Http(source) => Some(&source.delta),
            Self::S3(source) => Some(&source.delta),
            Self::File(_) | Self::Git(_) => None,
        }
    }

    fn delta_mut(&mut self) -> Option<&mut Delta> {
        match self {
            Self::Http(source) => Some(&mut source.delta),
            Self::S3(source) => Some(&mut source.delta),
            Self::File(_) | Self::Git(_) => None,
        }
    }

    /// The number of bytes that were read for an artifact of the last fetch.
    pub fn bytes_of(&self, artifact: &Artifact) -> u64 {
        match self.delta() {
            Some(delta) if delta.is_assembled => delta.bytes,
            Some(delta) => artifact.bytes().saturating_add(delta.bytes),
            None => artifact.bytes(),
        }
    }

    /// The source of a deployment; `cache` is its cache directory. Files named in the settings (passwords, roots) are
    /// read at every poll, not here.
    pub fn new(settings: &Settings, cache: &Path) -> Result<Self> {
        Ok(match &settings.remote {
            Remote::File(path) => Self::File(file::FileSource::new(path, settings)),
            Remote::Http(url) => Self::Http(Box::new(http::HttpSource::new(url, settings)?)),
            Remote::S3(object) => Self::S3(Box::new(s3::S3Source::new(object, settings)?)),
            Remote::Git(remote) => Self::Git(Box::new(git::GitSource::new(remote, settings, cache)?)),
        })
    }

    /// Asks for another revision than `known`.
    pub fn poll(&mut self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Poll> {
        let answer = match self {
            Self::File(source) => source.poll(known, deadline)?.map(OfferKind::File),
            Self::Http(source) => source.poll(known, deadline)?.map(|offer| OfferKind::Http(Box::new(offer))),
            Self::S3(source) => source.poll(known, deadline)?.map(|offer| OfferKind::S3(Box::new(offer))),
            Self::Git(source) => source.poll(known, deadline)?.map(OfferKind::Git),
        };
        retry::set_lost(false);
        Ok(answer)
    }

    /// Polls unconditionally. If `revision` is a hash of the content, the revision of the offer will be one too.
    pub fn offer_like(&mut self, revision: &Revision, deadline: Deadline) -> Result<Option<Offer>> {
        let Poll::Changed(mut offer) = self.poll(None, deadline)? else { return Ok(None) };
        if revision.as_str().starts_with(OF_CONTENT) {
            offer.tell_by_content();
        }
        Ok(Some(offer))
    }

    /// Fetches the offered revision. An archive that needs a file is written to `download`.
    pub fn fetch(&mut self, offer: Offer, download: &CacheFile, deadline: Deadline) -> Result<Artifact> {
        match (self, offer.kind) {
            (Self::File(source), OfferKind::File(offer)) => source.fetch(offer, download, deadline),
            (Self::Http(source), OfferKind::Http(offer)) => source.fetch(*offer, download, deadline),
            (Self::S3(source), OfferKind::S3(offer)) => source.fetch(*offer, download, deadline),
            (Self::Git(source), OfferKind::Git(offer)) => source.fetch(offer, deadline),
            _ => Err(crate::error::Error::failed("cannot fetch an offer from another source")),
        }
    }

    /// Problems with the files that this source reads.
    pub fn inspect(&self) -> Vec<Remark> {
        match self {
            Self::File(source) => source.inspect(),
            Self::Http(source) => source.inspect(),
            Self::S3(source) => source.inspect(),
            Self::Git(source) => source.inspect(),
        }
    }

    /// Whether the source now has another revision than the fetched one.
    pub fn has_replaced(&mut self, fetched: Known<'_>, deadline: Deadline) -> Result<bool> {
        if !self.is_still(fetched.validators)? {
            return Ok(true);
        }
        Ok(match self.poll(Some(fetched), deadline)? {
            Poll::Unchanged => false,
            Poll::Changed(offer) => offer.revision.is_some_and(|now| now != *fetched.revision),
        })
    }

    /// Whether the files that were unpacked are still as offered. Only a file remote, which is read in place, can
    /// change while it is read.
    pub fn is_still(&self, fetched: &Validators) -> Result<bool> {
        match self {
            Self::File(source) => source.is_still(fetched),
            Self::Http(_) | Self::S3(_) | Self::Git(_) => Ok(true),
        }
    }
}
