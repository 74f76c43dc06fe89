//! From poll to publish: the new release, complete in the store. Nothing live changes in here. What the source has is
//! fetched once: a release that was blocked or sent back stays, and an archive that was refused is remembered.

use super::Deployment;
use crate::artifact::CacheFile;
use crate::error::{Error, Kind, Result};
use crate::model::Known;
use crate::model::{Reason, ReleaseId, Revision, Validators};
use crate::outcome::Outcome;
use crate::package::{self, Verified};
use crate::report::hold::{self, Hold};
use crate::report::{config_ini, status_file};
use crate::source::{Offer, Poll, Source};
use crate::store::Release;
use crate::store::state::{Failure, FailureKind, Record, State};
use crate::sys::clock::{now, rfc3339};

/// How often a source may replace what it offered before the check gives up.
const MAX_POLLS: u32 = 3;

/// What is to be done about what the source has.
pub enum PollDecision {
    /// Nothing: it is live, or on hold.
    Nothing,
    /// It is complete in the store, and can be made live.
    Ready(Record),
    /// It has to be fetched.
    Fetch(Offer),
}

impl Deployment<'_> {
    /// The new release, complete in the store, or nothing when what the source has is live already.
    pub fn obtain(&mut self) -> Result<Option<Record>> {
        let mut obtained = None;
        self.until_settled(&mut |deployment| {
            obtained = deployment.poll_and_publish()?;
            Ok(())
        })?;
        Ok(obtained)
    }

    /// Does `what` again when the source replaced meanwhile what it was about.
    pub fn until_settled(&mut self, what: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        for _ in 0..MAX_POLLS {
            match what(self) {
                Err(e) if e.kind() == Kind::Superseded => log::info!("{e}; polling again"),
                result => return result,
            }
        }
        let text = format!("{} changed during each of {MAX_POLLS} attempts to fetch it", self.settings.remote);
        Err(Error::new(Kind::Superseded, text))
    }

    fn poll_and_publish(&mut self) -> Result<Option<Record>> {
        let offer = match self.poll()? {
            PollDecision::Nothing => return Ok(None),
            PollDecision::Ready(record) => return Ok(Some(record)),
            PollDecision::Fetch(offer) => offer,
        };
        let download = self.places.download();
        status_file::write_working(&self.store);
        let Some((verified, record)) = self.fetch(offer, &download)? else { return Ok(None) };
        if self.store.release(&record.release)?.is_none() {
            self.publish(&verified, &record)?;
        }
        download.discard();
        Ok(Some(self.obtained(record)))
    }

    /// Asks the source, and says what is to be done about the answer: a check does it, a plan tells it.
    pub fn poll(&mut self) -> Result<PollDecision> {
        let known = self.known().cloned();
        let told = config_ini::known(self.settings).filter(|_| self.is_untouched());
        let (nothing, is_told) = (Revision::new(""), told.is_some());
        let asked = match (&known, &told) {
            (Some(r), _) => Some(Known { revision: &r.revision, validators: &r.validators }),
            (None, Some(told)) => Some(Known { revision: &nothing, validators: told }),
            (None, None) => None,
        };
        let polled = self.source.poll(asked, self.deadline)?;
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
            let (revision, validators) = (revision.clone(), offer.validators);
            let release = self.id_of(&revision, None);
            self.note_same(Record { release, revision, validators, since: now(), proof: None })?;
            return Ok(PollDecision::Nothing);
        }
        if let Some(target) = self.state.target.clone().filter(|t| self.is_of(t, revision)) {
            if self.is_on_hold(&target, revision, &offer.validators)? {
                return Ok(PollDecision::Nothing);
            }
            let target = Record { revision: revision.clone(), validators: offer.validators, ..target };
            return self.seen_again(target);
        }
        let id = self.id_of(revision, None);
        if let Some(record) = self.state.withdrawal(&id, revision).cloned() {
            // As the configuration has it now.
            let release = self.id_of(revision, record.proof.as_deref());
            if self.is_on_hold(&Record { release, ..record }, revision, &offer.validators)? {
                return Ok(PollDecision::Nothing);
            }
        }
        // What has to be proven is proven anew: a revision is no more than the server's word.
        if !self.demands.is_some() && self.store.release(&id)?.is_some() {
            // The source has gone back to something that is still here.
            let (revision, validators) = (revision.clone(), offer.validators);
            let record = Record { release: id, revision, validators, since: now(), proof: None };
            return Ok(PollDecision::Ready(self.obtained(record)));
        }
        Ok(PollDecision::Fetch(offer))
    }

    /// What was offered, proven, and the record of what it becomes. `None`: what is live has this content, or it is on hold.
    pub fn fetch(&mut self, offer: Offer, download: &CacheFile) -> Result<Option<(Verified, Record)>> {
        self.begin_attempt(Reason::Update, offer.revision.as_ref().map(|revision| self.unfetched(revision)));
        let artifact = self.source.fetch(offer, download, self.deadline)?;
        self.fetched = self.fetched.saturating_add(artifact.bytes());
        let (revision, validators) = (artifact.revision.clone(), artifact.validators.clone());
        let release = self.id_of(&revision, None);
        let mut record = Record { release, revision, validators, since: now(), proof: None };
        self.begin_attempt(Reason::Update, Some(record.clone()));
        if self.is_live(&record.revision) {
            download.discard();
            self.note_same(record)?;
            return Ok(None);
        }
        let target = self.state.target.clone().filter(|t| self.is_of(t, &record.revision));
        if self.is_on_hold(target.as_ref().unwrap_or(&record), &record.revision, &record.validators)? {
            download.discard();
            return Ok(None);
        }
        let verified = self.verify_artifact(artifact, &record)?;
        record.proof = verified.proof().map(str::to_owned);
        record.release = self.id_of(&record.revision, verified.proof());
        if self.has_live(&record.release) || self.is_on_hold(&record, &record.revision, &record.validators)? {
            download.discard();
            if self.has_live(&record.release) {
                self.note_same(record)?;
            }
            return Ok(None);
        }
        self.begin_attempt(Reason::Update, Some(record.clone()));
        Ok(Some((verified, record)))
    }

    /// A revision of which nothing is here yet.
    fn unfetched(&self, revision: &Revision) -> Record {
        let (release, validators) = (self.id_of(revision, None), Validators::default());
        Record { release, revision: revision.clone(), validators, since: now(), proof: None }
    }

    /// A release that is complete in the store; what failed before it no longer counts.
    fn obtained(&mut self, record: Record) -> Record {
        self.state.failure = self.state.failure.take().filter(|f| f.release == record.release);
        record
    }

    /// Unpacks; what is refused is remembered, so that it is not fetched again every minute.
    fn publish(&mut self, verified: &Verified, record: &Record) -> Result<Release> {
        match self.unpack_release(verified, record, &self.source, &record.validators) {
            Err(e) if e.kind() == Kind::Refused => {
                self.places.download().discard();
                self.note_failure(record, FailureKind::Refused, &e.to_string())?;
                Err(e)
            }
            result => result,
        }
    }

    /// Makes a release of what came from `source`, which said `seen` with it.
    pub fn unpack_release(
        &self,
        verified: &Verified,
        record: &Record,
        source: &Source,
        seen: &Validators,
    ) -> Result<Release> {
        let staging = self.store.staging()?;
        let unpacked = package::unpack(verified, staging.dir(), &self.settings.layout, self.deadline);
        // Read from where it lies, it may have changed under us: then neither the tree nor the refusal means anything.
        if !source.is_still(seen)? {
            return Err(Error::new(Kind::Superseded, format!("{} changed while it was read", verified.name())));
        }
        let unpacked = unpacked?;
        let counted = unpacked.to_string();
        let manifest = self.activation.finish_staging(&staging, unpacked.manifest, self.limit())?;
        log::info!("unpacked release {} ({counted}) of revision {}", record.release, record.revision);
        staging.publish(&self.store, &record.release, &manifest)
    }

    /// The candidate under what the source says of it now: remembered, so that the next poll is as cheap as it can be.
    fn seen_again(&mut self, target: Record) -> Result<PollDecision> {
        if self.state.target.as_ref().is_some_and(|known| known.validators != target.validators) {
            self.state.target = Some(target.clone());
            self.note()?;
        }
        self.pending(target)
    }

    /// What the source had when we last looked, and still has: live already, staged, refused or given up.
    fn pending(&mut self, known: Record) -> Result<PollDecision> {
        if self.has_live(&known.release) {
            // A candidate of another source, or one that was tried by hand; or the source has followed.
            let State { target, failure, rolled_back, .. } = &self.state;
            let is_over = target.is_some() || failure.is_some() || !rolled_back.is_empty();
            (self.state.target, self.state.failure) = (None, None);
            self.state.rolled_back.clear();
            if is_over {
                self.note()?;
            }
            return Ok(PollDecision::Nothing);
        }
        if self.is_on_hold(&known, &known.revision, &known.validators)? {
            return Ok(PollDecision::Nothing);
        }
        if let Some(failure) = self.state.failure.as_ref().filter(|f| f.release == known.release) {
            match Hold::after(failure, self.settings, &self.demands) {
                Hold::None | Hold::ForGood => {}
                Hold::Until(_) if self.has_new_seal(failure)? => {
                    self.forget_target()?;
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
        self.forget_target()?;
        self.poll()
    }

    /// Whether `known`, which the source calls `revision` now, is not to be tried: then it is what the next poll asks against.
    fn is_on_hold(&mut self, known: &Record, revision: &Revision, validators: &Validators) -> Result<bool> {
        let text = match (self.state.withdrawal(&known.release, revision), &self.state.current) {
            (Some(record), Some(live)) => {
                let when = rfc3339(record.since);
                format!("revision {revision} is on hold: rolled back to release {} at {when}", live.release)
            }
            // Where nothing is live it is better than nothing.
            _ => {
                let failure = self.state.failure.as_ref().filter(|f| f.release == known.release);
                let is_over = |f: &&Failure| Hold::after(f, self.settings, &self.demands) == Hold::ForGood;
                let Some(Failure { count, why, .. }) = failure.filter(is_over) else { return Ok(false) };
                let s = if *count == 1 { "" } else { "s" };
                format!("revision {revision} is on hold after {count} attempt{s}: {why}")
            }
        };
        self.why = Some(text + "; `repo-deploy retry` tries it again");
        if self.state.target.as_ref().is_none_or(|t| t.validators != *validators || t.release != known.release) {
            let (revision, validators) = (revision.clone(), validators.clone());
            self.state.target = Some(Record { revision, validators, ..known.clone() });
            self.note()?;
        }
        Ok(true)
    }

    /// The revision to ask against: the candidate's, else the live one's. Only one that came from this source in this
    /// layout; another remote's ETag means nothing here.
    fn known(&self) -> Option<&Record> {
        let is_from_here = |r: &&Record| self.is_of(r, &r.revision);
        let target = self.state.target.as_ref().filter(is_from_here);
        target.or_else(|| self.state.current.as_ref().filter(is_from_here).filter(|_| self.doubt.is_none()))
    }

    /// Whether the store knows of nothing yet.
    fn is_untouched(&self) -> bool {
        self.doubt.is_none() && self.state.current.is_none() && self.state.target.is_none()
    }

    fn has_live(&self, release: &ReleaseId) -> bool {
        self.doubt.is_none() && self.state.current.as_ref().is_some_and(|c| c.release == *release)
    }

    fn is_live(&self, revision: &Revision) -> bool {
        self.doubt.is_none() && self.state.current.as_ref().is_some_and(|c| self.is_of(c, revision))
    }

    /// Whether a record is of this revision of this source in this layout, and its proof is enough for today. A record
    /// of what was refused has none, and nothing was unpacked for it.
    pub fn is_of(&self, record: &Record, revision: &Revision) -> bool {
        let proof = record.proof.as_deref();
        self.is_release(&record.release, revision, proof) && (proof.is_none() || self.demands.is_met_by(proof))
    }

    fn forget_target(&mut self) -> Result<()> {
        if self.state.target.is_none() && self.state.failure.is_none() {
            return Ok(());
        }
        (self.state.target, self.state.failure) = (None, None);
        self.note()
    }

    /// The live release under other validators: remember those, so that the next poll is conditional again.
    fn note_same(&mut self, seen: Record) -> Result<()> {
        let Some(current) = &mut self.state.current else { return Ok(()) };
        log::debug!("revision {} has the content that is live: nothing to deploy", seen.revision);
        let has_more = self.state.target.is_some() || !self.state.rolled_back.is_empty();
        if current.validators != seen.validators || current.revision != seen.revision || has_more {
            (current.validators, current.revision) = (seen.validators, seen.revision);
            current.proof = seen.proof.or(current.proof.take());
            (self.state.target, self.state.failure) = (None, None);
            self.state.rolled_back.clear(); // the source has followed
            self.note()?;
        }
        Ok(())
    }

    /// A release that cannot be made live: nothing has been touched. What is in the way may go, so the next check looks again.
    pub fn refuse(&mut self, target: &Record, e: Error) -> Result<Outcome> {
        self.note_failure(target, FailureKind::Refused, &e.to_string())?;
        if let Some(failure) = &mut self.state.failure {
            failure.policy = "the host".to_owned();
        }
        self.note()?;
        Err(e)
    }

    pub fn note_failure(&mut self, target: &Record, kind: FailureKind, why: &str) -> Result<()> {
        self.state.target = Some(target.clone());
        self.count_failure(target, kind, why);
        self.state.attempt = 0;
        self.note()
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

    /// Whether `release` is this revision's. One that was seeded by its name alone does not know what else tells its content.
    pub fn is_release(&self, release: &ReleaseId, revision: &Revision, proof: Option<&str>) -> bool {
        let bare = Revision::new(revision.as_str());
        *release == self.id_of(revision, proof) || *release == self.id_of(&bare, proof)
    }

    /// The id of a revision, with the proof of its bytes: what was proven is never mistaken for what was not.
    pub fn id_of(&self, revision: &Revision, proof: Option<&str>) -> ReleaseId {
        let mut layout = self.settings.layout.identity();
        match proof {
            Some(proof) => layout.push_str(&format!(" {proof}")),
            None if self.demands.is_some() => layout.push_str(" unproven"),
            None => {}
        }
        ReleaseId::of(&self.settings.remote.identity(), revision, &layout)
    }
}
