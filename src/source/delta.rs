//! Fetches a ZIP as a delta: the parts that differ from the seed, an older archive in the cache. `package::delta` decides
//! on the parts, and states what proves the result; `http::assembly` fetches them.
//!
//! The poll has asked for the end of the archive only, pinned by a strong ETag. Whatever does not fit from then on (no
//! ZIP, a damaged seed, a server that answers a range with another one, a digest that differs) ends in a fetch of the
//! whole archive, and never in an error of its own.

use super::archive_seed::ArchiveSeed;
use super::etag_digest::EtagDigest;
use crate::artifact::CacheFile;
use crate::config::Settings;
use crate::error::{Kind, Result};
use crate::http::assembly::{Assembly, is_begun};
use crate::http::client::Client;
use crate::http::download::Fetched;
use crate::http::range_reader::{PartialArchive, PolledBody};
use crate::http::response_policy::BodyDigest;
use crate::http::validators::ResponseIdentity;
use crate::package::delta::{self, Directory, Plan, Target};
use crate::sys::clock::Deadline;
use crate::sys::log;

/// How much longer than in the seed the end of an archive may be before it needs a second request, in bytes.
const SPARE: u64 = 4096;

/// The seed of a source, and the use that the last fetch made of it.
#[derive(Debug, Default)]
pub struct Delta {
    seed: Option<ArchiveSeed>,
    /// Whether `trust` proves each archive after the fetch.
    is_proven: bool,
    /// Whether no seed is used any more.
    is_off: bool,
    /// The number of bytes that the last fetch read in parts.
    pub bytes: u64,
    /// Whether the last fetch assembled an archive from them.
    pub is_assembled: bool,
}

/// The bytes of a new archive and the place where they are written.
type Offer<'a> = (&'a Client, &'a ResponseIdentity);

impl Delta {
    /// No seed yet.
    pub(super) fn new(settings: &Settings) -> Self {
        Self { is_proven: settings.trust.is_demanding(), ..Self::default() }
    }

    /// Sets the seed of the next fetch.
    pub(super) fn set_seed(&mut self, seed: Option<ArchiveSeed>) {
        self.seed = seed.filter(|_| !self.is_off);
    }

    /// Uses no seed from now on.
    pub(super) fn stop(&mut self) {
        (self.is_off, self.seed) = (true, None);
    }

    /// The number of bytes at the end of an archive that a poll asks for.
    pub(super) fn end(&self) -> Option<u64> {
        self.seed.as_ref().map(|seed| (seed.end + seed.end / 16 + SPARE).min(seed.length))
    }

    /// Fetches the archive whose end a poll has got. `proof` is the digest of the whole archive, if the source named one.
    /// `None`: it has to be fetched whole.
    pub(super) fn fetch(
        &mut self,
        offer: Offer<'_>,
        body: &mut PolledBody,
        proof: &mut Option<Box<dyn BodyDigest>>,
        (to, limit): (&CacheFile, u64),
        deadline: Deadline,
    ) -> Result<Option<Fetched>> {
        (self.bytes, self.is_assembled) = (0, false);
        let Some(seed) = self.seed.take() else { return Ok(None) };
        if !matches!(body, PolledBody::End(_)) || is_begun(offer.0, offer.1, to) {
            return Ok(None);
        }
        match self.assemble(offer, body, proof, &seed, (to, limit), deadline) {
            Ok(fetched) => {
                self.is_assembled = fetched.is_some();
                Ok(fetched)
            }
            Err(e) if matches!(e.kind(), Kind::Stopped(_) | Kind::Unavailable { retry_after: Some(_) }) => Err(e),
            Err(e) => {
                log::debug!("cannot fetch a delta of {}: {e}; fetching all of it", offer.0.name());
                Ok(None)
            }
        }
    }

    fn assemble(
        &mut self,
        (client, identity): Offer<'_>,
        body: &mut PolledBody,
        proof: &mut Option<Box<dyn BodyDigest>>,
        seed: &ArchiveSeed,
        (to, limit): (&CacheFile, u64),
        deadline: Deadline,
    ) -> Result<Option<Fetched>> {
        let Some(mut end) = PartialArchive::end(client, identity, body, limit, deadline)? else { return Ok(None) };
        self.bytes = end.bytes;
        let Some(directory) = delta::directory_of(&end.file)? else { return Ok(None) };
        let is_there = end.reach(client, identity, directory, deadline)?;
        self.bytes = end.bytes;
        if !is_there {
            return Ok(None);
        }
        let digest = match proof.take() {
            Some(digest) => {
                seed.check(deadline, &mut |_| ())?;
                Some(digest)
            }
            None => learned(seed, identity, deadline)?,
        };
        let is_proven = self.is_proven || digest.is_some();
        let Some(plan) = plan(seed, &end, is_proven)? else {
            log::debug!("a delta of {} would be most of it: fetching all of it", client.name());
            return Ok(None);
        };
        let lengths = (end.total, plan.fetch);
        let mut parts = Parts(Assembly::start(client, identity, lengths, digest, to, deadline)?);
        let assembled = plan.assemble(&seed.file, &end.file, &mut parts);
        self.bytes += parts.0.fetched;
        assembled?;
        let fetched = parts.0.finish(&|file| plan.check(file))?;
        log::debug!(
            "fetched {} of {} bytes as a delta: {} of {} members are in the archive of the live release",
            self.bytes,
            end.total,
            plan.copied,
            plan.members
        );
        Ok(Some(fetched))
    }
}

/// The plan. `None`: the whole archive has to be fetched.
fn plan(seed: &ArchiveSeed, end: &PartialArchive, is_proven: bool) -> Result<Option<Plan>> {
    let (Some(old), Some(new)) = (Directory::read(&seed.file)?, Directory::read(&end.file)?) else { return Ok(None) };
    delta::plan(&seed.file, &old, &new, end.from(), is_proven)
}

/// Checks the seed, and returns the digest of the whole archive if the ETag is one: that of the seed was.
fn learned(seed: &ArchiveSeed, identity: &ResponseIdentity, deadline: Deadline) -> Result<Option<Box<dyn BodyDigest>>> {
    let new = identity.strong_etag().and_then(EtagDigest::new);
    let mut old = seed.etag.as_deref().and_then(EtagDigest::new);
    seed.check(deadline, &mut |bytes| old.iter_mut().for_each(|old| old.take(bytes)))?;
    let is_digest = old.is_some_and(|old| old.holds() && new.as_ref().is_some_and(|new| new.is_like(&old)));
    Ok(new.filter(|_| is_digest).map(|new| Box::new(new) as Box<dyn BodyDigest>))
}

struct Parts<'a>(Assembly<'a>);

impl Target for Parts<'_> {
    fn fetch(&mut self, at: u64, length: u64) -> Result<()> {
        self.0.fetch(at, length)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.append(bytes)
    }
}
