//! From poll to publish: the new release, complete in the store. The live tree is not changed here. A revision is
//! fetched once: a release that was blocked or rolled back stays in the store, and a refused archive is remembered.

use super::Deployment;
use super::check::Check;
use crate::artifact::CacheFile;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::model::Known;
use crate::model::{Reason, ReleaseId, Revision, Validators};
use crate::outcome::Outcome;
use crate::package::{self, Unpacked, Verified};
use crate::report::config_ini;
use crate::report::hold::{self, Hold};
use crate::source::{Offer, Poll, Source};
use crate::store::manifest::Manifest;
use crate::store::state::{Failure, FailureKind, Record, State};
use crate::store::{Release, Staging};
use crate::sys::clock::{now, rfc3339};
use crate::sys::fs::Dir;
use crate::sys::log;
use crate::sys::resolve;

/// How often the source may replace its archive before the check gives up.
const MAX_POLLS: u32 = 3;

/// The next step for the revision that the source offers.
pub enum PollDecision {
    /// Nothing: the revision is live, or on hold.
    Nothing,
    /// The release is complete in the store, and can be made live.
    Ready(Record),
    /// The archive must be fetched.
    Fetch(Offer),
}

/// Calls `what` again while it fails because the source replaced the archive.
pub fn until_settled<T>(settings: &Settings, mut what: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..MAX_POLLS {
        match what() {
            Err(e) if e.kind() == Kind::Superseded => log::info!("{e}; polling again"),
            result => return result,
        }
    }
    let text = format!("{} changed during each of {MAX_POLLS} attempts to fetch it", settings.remote);
    Err(Error::new(Kind::Superseded, text))
}

impl Deployment<'_> {
    /// The new release, complete in the store, or `None` if the offered revision is live or on hold.
    pub fn obtain(&mut self) -> Result<Option<Record>> {
        let settings = self.settings;
        until_settled(settings, || self.poll_and_publish())
    }

    fn poll_and_publish(&mut self) -> Result<Option<Record>> {
        self.offer_seed();
        let polled = self.check.poll();
        self.save()?;
        let offer = match polled? {
            PollDecision::Nothing => return Ok(None),
            PollDecision::Ready(record) => return Ok(Some(record)),
            PollDecision::Fetch(offer) => offer,
        };
        let download = self.places.download();
        self.status.note_working(&self.store);
        let fetched = self.check.fetch(offer, &download);
        self.save()?;
        let fetched = fetched.map_err(|e| self.without_archives(e))?;
        let Some((verified, record)) = fetched else { return Ok(None) };
        if self.store.release(&record.release)?.is_none() {
            self.publish(&verified, &record).map_err(|e| self.without_archives(e))?;
        }
        self.keep_archive(&download, verified.crc(), &record.release);
        self.forget_other_failures(&record);
        Ok(Some(record))
    }

    /// Unpacks a release. A refused archive is remembered, so that it is not fetched again every minute.
    fn publish(&mut self, verified: &Verified, record: &Record) -> Result<Release> {
        match self.unpack_release(verified, record, &self.source, &record.validators) {
            Err(e) if e.kind() == Kind::Refused => {
                if let Some(e) = self.refused_delta(&e) {
                    return Err(e);
                }
                self.places.download().discard();
                self.note_failure(record, FailureKind::Refused, &e.to_string());
                self.save().and(Err(e))
            }
            result => result,
        }
    }

    /// Makes a release of the archive from `source`, which came with the validators `seen`.
    pub fn unpack_release(
        &self,
        verified: &Verified,
        record: &Record,
        source: &Source,
        seen: &Validators,
    ) -> Result<Release> {
        let (staging, manifest, counted) = self.unpack_staging(verified, source, seen)?;
        log::about!(
            log::Level::Info,
            record.facts(None),
            "unpacked release {} ({counted}) of revision {}",
            record.release,
            record.revision
        );
        staging.publish(&self.store, &record.release, &manifest)
    }

    /// Unpacks the archive from `source` as [`Self::unpack_checked`], complete but without a name; also returns its
    /// manifest, and the numbers of its entries and bytes as text.
    pub fn unpack_staging(
        &self,
        verified: &Verified,
        source: &Source,
        seen: &Validators,
    ) -> Result<(Staging, Manifest, String)> {
        let staging = self.store.staging()?;
        let unpacked = self.unpack_checked(verified, Some(staging.dir()), source, seen)?;
        let counted = unpacked.to_string();
        let manifest = self.activation.finish_staging(&staging, unpacked.manifest, self.limit())?;
        Ok((staging, manifest, counted))
    }

    /// Records a release that cannot be made live; nothing was changed. The obstacle may be removed, so the next check
    /// tries again.
    pub fn refuse(&mut self, target: &Record, e: Error) -> Result<Outcome> {
        self.note_failure(target, FailureKind::Refused, &e.to_string());
        if let Some(failure) = &mut self.state.failure {
            failure.policy = "the host".to_owned();
        }
        self.save().and(Err(e))
    }
}

impl Check<'_> {
    /// Unpacks the archive from `source`, which came with the validators `seen`, into `place`; without a place, writes
    /// nothing.
    pub fn unpack_checked(
        &self,
        verified: &Verified,
        place: Option<&Dir>,
        source: &Source,
        seen: &Validators,
    ) -> Result<Unpacked> {
        // A checksum of 32 bits does not prove a file as `trust` demands.
        let live = self.state.current.as_ref().filter(|_| self.doubt.is_none() && !self.demands.is_some());
        let live = live.and_then(|live| self.store.original(&live.release));
        let unpacked = package::unpack(verified, place, live.as_ref(), &self.settings.layout, self.deadline);
        // An archive read from its own place may have changed while it was read: then the tree and a refusal are both
        // void.
        if !source.is_still(seen)? {
            return Err(Error::new(Kind::Superseded, format!("{} changed while it was read", verified.name())));
        }
        unpacked
    }

    /// Polls the source and decides on the next step: a check takes it, a plan reports it.
    pub fn poll(&mut self) -> Result<PollDecision> {
        let known = self.known().cloned();
        let told = config_ini::known(self.settings).filter(|_| self.is_untouched());
        let (nothing, is_told) = (Revision::new(""), told.is_some());
        let asked = match (&known, &told) {
            (Some(r), _) => Some(Known { revision: &r.revision, validators: &r.validators }),
            (None, Some(told)) => Some(Known { revision: &nothing, validators: told }),
            (None, None) => None,
        };
        resolve::forget(); // an answer may take long
        let polled = self.context.source.poll(asked, self.context.deadline)?;
        let offer = match (polled, known) {
            (Poll::Changed(offer), _) => offer,
            (Poll::Unchanged, Some(known)) => return self.pending(known),
            (Poll::Unchanged, None) if is_told => {
                return Ok(PollDecision::Nothing); // the report says so
            }
            (Poll::Unchanged, None) => return Err(Error::failed("the source has nothing new, and nothing was known")),
        };
        let Some(revision) = &offer.revision else { return Ok(PollDecision::Fetch(offer)) };
        if self.is_live(revision) {
            self.note_same(self.unproven(revision.clone(), offer.validators));
            return Ok(PollDecision::Nothing);
        }
        if let Some(target) = self.state.target.clone().filter(|t| self.is_of(t, revision)) {
            if self.is_on_hold(&target, revision, &offer.validators) {
                return Ok(PollDecision::Nothing);
            }
            let target = Record { revision: revision.clone(), validators: offer.validators, ..target };
            return self.seen_again(target);
        }
        let id = self.id_of(revision, None);
        if let Some(record) = self.state.withdrawal(&id, revision).cloned() {
            // With the id that the present configuration gives it.
            let release = self.id_of(revision, record.proof.as_deref());
            if self.is_on_hold(&Record { release, ..record }, revision, &offer.validators) {
                return Ok(PollDecision::Nothing);
            }
        }
        // With `trust` configured, the archive is fetched and verified again: a revision is only the server's word.
        if !self.demands.is_some() && self.store.release(&id)?.is_some() {
            // The source offers a revision again whose release is still in the store.
            let record = self.unproven(revision.clone(), offer.validators);
            self.forget_other_failures(&record);
            return Ok(PollDecision::Ready(record));
        }
        Ok(PollDecision::Fetch(offer))
    }

    /// Fetches and verifies the offered archive. `None`: its content is live already, or it is on hold.
    pub fn fetch(&mut self, offer: Offer, download: &CacheFile) -> Result<Option<(Verified, Record)>> {
        let offered = offer.revision.clone().map(|revision| self.unproven(revision, Validators::default()));
        self.begin_attempt(Reason::Update, offered);
        let artifact = self.context.source.fetch(offer, download, self.context.deadline)?;
        self.findings.fetched = self.findings.fetched.saturating_add(self.source.bytes_of(&artifact));
        let mut record = self.unproven(artifact.revision.clone(), artifact.validators.clone());
        self.begin_attempt(Reason::Update, Some(record.clone()));
        if self.is_live(&record.revision) {
            download.discard();
            self.note_same(record);
            return Ok(None);
        }
        let target = self.state.target.clone().filter(|t| self.is_of(t, &record.revision));
        if self.is_on_hold(target.as_ref().unwrap_or(&record), &record.revision, &record.validators) {
            download.discard();
            return Ok(None);
        }
        let verified = self.verify_artifact(artifact, &record)?;
        record.proof = verified.proof().map(str::to_owned);
        record.release = self.id_of(&record.revision, verified.proof());
        if self.has_live(&record.release) || self.is_on_hold(&record, &record.revision, &record.validators) {
            download.discard();
            if self.has_live(&record.release) {
                self.note_same(record);
            }
            return Ok(None);
        }
        self.begin_attempt(Reason::Update, Some(record.clone()));
        Ok(Some((verified, record)))
    }

    /// Forgets the failures of other releases than this one, which is complete.
    fn forget_other_failures(&mut self, complete: &Record) {
        self.state.failure.take_if(|failure| failure.release != complete.release);
    }

    /// Takes the candidate with the validators that the source has now, so that the next poll is conditional.
    fn seen_again(&mut self, target: Record) -> Result<PollDecision> {
        if self.state.target.as_ref().is_some_and(|known| known.validators != target.validators) {
            self.state.target = Some(target.clone());
            self.is_changed = true;
        }
        self.pending(target)
    }

    /// Decides about a revision that the source still has since the last poll: live, in the store, refused or on hold.
    fn pending(&mut self, known: Record) -> Result<PollDecision> {
        if self.has_live(&known.release) {
            // The candidate is of another source, or was tried by hand; or the source now offers the live release.
            let State { target, failure, rolled_back, .. } = &self.state;
            let is_over = target.is_some() || failure.is_some() || !rolled_back.is_empty();
            (self.state.target, self.state.failure) = (None, None);
            self.state.rolled_back.clear();
            self.is_changed |= is_over;
            return Ok(PollDecision::Nothing);
        }
        if self.is_on_hold(&known, &known.revision, &known.validators) {
            return Ok(PollDecision::Nothing);
        }
        if let Some(failure) = self.state.failure.as_ref().filter(|f| f.release == known.release) {
            match Hold::after(failure, self.settings, &self.demands) {
                Hold::None | Hold::ForGood => {}
                Hold::Until(_) if self.has_new_seal(failure)? => {
                    self.forget_target();
                    return self.poll();
                }
                Hold::Until(_) => {
                    let text = format!("{} (refused before; the source still has the same)", failure.why);
                    return Err(Error::refused(text));
                }
            }
        }
        if self.store.release(&known.release)?.is_some() {
            return Ok(PollDecision::Ready(known));
        }
        // The release is not in the store: ask without conditions, so that it is fetched.
        self.forget_target();
        self.poll()
    }

    /// Whether `known`, which the source now calls `revision`, is on hold; if so, the next poll is conditional on it.
    fn is_on_hold(&mut self, known: &Record, revision: &Revision, validators: &Validators) -> bool {
        let text = match (self.state.withdrawal(&known.release, revision), &self.state.current) {
            (Some(record), Some(live)) => {
                let when = rfc3339(record.since);
                format!("revision {revision} is on hold: rolled back to release {} at {when}", live.release)
            }
            // With nothing live, a release that was rolled back by hand is better than none.
            _ => {
                let failure = self.state.failure.as_ref().filter(|f| f.release == known.release);
                let is_over = |f: &&Failure| Hold::after(f, self.settings, &self.demands) == Hold::ForGood;
                let Some(Failure { count, why, .. }) = failure.filter(is_over) else { return false };
                let s = if *count == 1 { "" } else { "s" };
                format!("revision {revision} is on hold after {count} attempt{s}: {why}")
            }
        };
        self.findings.hold_reason = Some(text + "; `repo-deploy retry` tries it again");
        if self.state.target.as_ref().is_none_or(|t| t.validators != *validators || t.release != known.release) {
            let (revision, validators) = (revision.clone(), validators.clone());
            self.state.target = Some(Record { revision, validators, ..known.clone() });
            self.is_changed = true;
        }
        true
    }

    /// The record whose validators make the next poll conditional: the candidate's, else the live one's. Only a record
    /// from this source in this layout is used; an ETag of another remote means nothing here.
    fn known(&self) -> Option<&Record> {
        let is_from_here = |r: &&Record| self.is_of(r, &r.revision);
        let target = self.state.target.as_ref().filter(is_from_here);
        target.or_else(|| self.state.current.as_ref().filter(is_from_here).filter(|_| self.doubt.is_none()))
    }

    /// Whether the store has no release and no candidate yet.
    fn is_untouched(&self) -> bool {
        self.doubt.is_none() && self.state.current.is_none() && self.state.target.is_none()
    }

    fn has_live(&self, release: &ReleaseId) -> bool {
        self.doubt.is_none() && self.state.current.as_ref().is_some_and(|c| c.release == *release)
    }

    fn is_live(&self, revision: &Revision) -> bool {
        self.doubt.is_none() && self.state.current.as_ref().is_some_and(|c| self.is_of(c, revision))
    }

    fn forget_target(&mut self) {
        self.is_changed |= self.state.target.is_some() || self.state.failure.is_some();
        (self.state.target, self.state.failure) = (None, None);
    }

    /// Takes new validators for the live release, so that the next poll is conditional again.
    fn note_same(&mut self, seen: Record) {
        let Some(current) = &mut self.state.current else { return };
        log::debug!("revision {} has the content that is live: nothing to deploy", seen.revision);
        let has_more = self.state.target.is_some() || !self.state.rolled_back.is_empty();
        if current.validators != seen.validators || current.revision != seen.revision || has_more {
            (current.validators, current.revision) = (seen.validators, seen.revision);
            current.proof = seen.proof.or(current.proof.take());
            (self.state.target, self.state.failure) = (None, None);
            self.state.rolled_back.clear(); // the source offers the live release again
            self.is_changed = true;
        }
    }

    pub fn note_failure(&mut self, target: &Record, kind: FailureKind, why: &str) {
        self.state.target = Some(target.clone());
        self.count_failure(target, kind, why);
        self.state.attempt = 0;
        self.is_changed = true;
    }

    pub fn count_failure(&mut self, target: &Record, kind: FailureKind, why: &str) {
        let before = self.state.failure.take().filter(|f| f.release == target.release).map_or(0, |f| f.count);
        self.state.failure = Some(Failure {
            release: target.release.clone(),
            kind,
            count: before.saturating_add(1),
            when: now(),
            policy: hold::policy(self.settings, &self.demands),
            why: why.to_owned(),
            seal: None,
        });
    }
}
