//! The archive of the live release as the seed of a delta: kept in the cache from its publication on, used for the next
//! offer, and removed once another release is live. Without it the next archive is fetched whole.

use super::Deployment;
use super::check::Check;
use crate::artifact::CacheFile;
use crate::error::{Error, Kind};
use crate::model::ReleaseId;
use crate::source::archive_seed::ArchiveSeeds;

impl Deployment<'_> {
    fn archives(&self) -> ArchiveSeeds {
        ArchiveSeeds::new(self.places.seed())
    }

    /// Whether the source fetches deltas.
    fn has_deltas(&self) -> bool {
        self.settings.remote.has_ranges()
    }

    fn keeps_archives(&self) -> bool {
        self.settings.archive_seed && self.has_deltas()
    }

    /// Gives the source the archive of the live release.
    pub fn offer_seed(&mut self) {
        if !self.has_deltas() {
            return;
        }
        let archives = self.archives();
        self.prune_these(&archives, self.state.target.as_ref().map(|target| &target.release));
        let live = self.state.current.as_ref().filter(|_| self.keeps_archives() && self.settings.delta);
        let seed = live.and_then(|live| archives.open(&live.release, live.validators.get("etag")));
        self.context.source.set_seed(seed);
    }

    /// Keeps a download, whose CRC-32 may be known and whose release is complete, until another one is live.
    pub fn keep_archive(&self, download: &CacheFile, crc: Option<u32>, release: &ReleaseId) {
        if !self.keeps_archives() {
            return download.discard();
        }
        self.archives().keep(download, crc, release);
        self.prune_archives(Some(release));
    }

    /// Removes the archives of all releases but the live one and `next`, which may become live.
    pub fn prune_archives(&self, next: Option<&ReleaseId>) {
        self.prune_these(&self.archives(), next);
    }

    fn prune_these(&self, archives: &ArchiveSeeds, next: Option<&ReleaseId>) {
        let live = self.state.current.as_ref().map(|live| &live.release);
        let needed: Vec<&ReleaseId> = live.into_iter().chain(next).collect();
        archives.retain(if self.keeps_archives() { &needed } else { &[] });
    }

    /// The error to go on with after a fetch or an unpacking failed with `e`. The archives in the cache may take the room
    /// that was missing: without them it is tried once more.
    pub fn without_archives(&mut self, e: Error) -> Error {
        if e.kind() != Kind::Failed || self.archives().retain(&[]) == 0 {
            return e;
        }
        self.context.source.set_seed(None);
        Error::new(Kind::Superseded, format!("removed the archive of the live release from the cache: {e}"))
    }
}

impl Check<'_> {
    /// The error for a refused archive, if it was assembled from a seed: all of it is fetched instead, because the seed
    /// or a prediction may be wrong, and not the archive.
    pub fn refused_delta(&mut self, e: &Error) -> Option<Error> {
        let is_assembled = self.source.delta().is_some_and(|delta| delta.is_assembled);
        if e.kind() != Kind::Refused || !is_assembled {
            return None;
        }
        self.context.source.stop_deltas();
        self.places.download().discard();
        Some(Error::new(Kind::Superseded, format!("the archive was fetched as a delta, and is fetched whole: {e}")))
    }
}
