//! One update from poll to commit: read this first. [`check`] is the whole of it: open, recover, obtain a release, deploy
//! it. Up to `begin` nothing live has changed, and a crash costs nothing but the work; from there to the commit the state
//! on disk says what to finish.

pub mod hooks;
mod places;
mod recover;
pub mod report;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::activate::Activation;
use crate::config::Settings;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{Outcome, Reason, ReleaseId, Revision, Validators};
use crate::package;
use crate::source::{Known, Poll, Source};
use crate::store::state::{Failure, FailureKind, Found, Phase, Record, State};
use crate::store::{Recorded, Release, Store};
use crate::sys::clock::{Deadline, now};
use crate::sys::signal;
use hooks::Verdict;
use recover::Heal;

/// How often a source may replace what it offered before the check gives up.
const MAX_POLLS: u32 = 3;
/// How long a refused archive is left alone while the source still offers it, in seconds.
const REFUSED_FOR: u64 = 3600;

/// One deployment at work: the store is locked while this lives.
struct Deployment<'a> {
    settings: &'a Settings,
    store: Store,
    activation: Activation,
    source: Source,
    state: State,
    /// Why the live tree is in doubt, when it is.
    doubt: Option<String>,
    deadline: Deadline,
}

/// Checks the source once, deploys what is new, and reports.
pub fn check(settings: &Settings) -> Result<Outcome> {
    let mut deployment = Deployment::open(settings)?;
    let result = deployment.update();
    let result = match (&deployment.doubt, result) {
        (Some(doubt), Err(e)) => Err(Error::new(Kind::InDoubt, format!("{doubt}; {e}"))),
        (_, result) => result,
    };
    report::write(&deployment.store, &deployment.state, &result);
    result
}

impl<'a> Deployment<'a> {
    fn open(settings: &'a Settings) -> Result<Self> {
        let places::Places { mode, store: root } = places::locate(settings)?;
        let store = Store::open(&root)?;
        let (state, doubt) = match store.recorded()? {
            Recorded::State(state) => (*state, None),
            Recorded::Nothing => (State::fresh(settings.local.clone(), mode, Found::Absent), None),
            Recorded::Unreadable(reason) => {
                let doubt = format!("the state in {} cannot be read: {reason}", root.display());
                log::error!("{doubt}; keeping the live tree, and deploying anew to settle it");
                (State::fresh(settings.local.clone(), mode, Found::Absent), Some(doubt))
            }
        };
        if state.local != settings.local {
            return Err(Error::config(format!(
                "the store {} belongs to local = {}, not {}: give this deployment an id of its own",
                root.display(),
                state.local.display(),
                settings.local.display()
            )));
        }
        let mut state = state;
        forget_lost(&mut state, &store)?;
        let activation = Activation::new(mode, &settings.local, &root, &settings.preserve);
        let deadline = Deadline::after(settings.timeout);
        Ok(Self { settings, store, activation, source: Source::new(settings)?, state, doubt, deadline })
    }

    fn update(&mut self) -> Result<Outcome> {
        if let Some(healed) = self.recover()? {
            return Ok(healed);
        }
        report::hold_off(&self.store)?;
        let Some(target) = self.obtain()? else { return Ok(Outcome::Unchanged) };
        self.deploy(target, Reason::Update)
    }

    /// The new release, complete in the store, or nothing when what the source has is live already.
    fn obtain(&mut self) -> Result<Option<Record>> {
        for _ in 0..MAX_POLLS {
            match self.poll_and_publish() {
                Err(e) if e.kind() == Kind::Superseded => log::info!("{e}; polling again"),
                result => return result,
            }
        }
        let text = format!("{} changed during each of {MAX_POLLS} attempts to fetch it", self.settings.remote);
        Err(Error::new(Kind::Superseded, text))
    }

    fn poll_and_publish(&mut self) -> Result<Option<Record>> {
        let known = self.known().cloned();
        let asked = known.as_ref().map(|r| Known { revision: &r.revision, validators: &r.validators });
        let offer = match (self.source.poll(asked, self.deadline)?, known) {
            (Poll::Changed(offer), _) => offer,
            (Poll::Unchanged, Some(known)) => return self.candidate(known),
            (Poll::Unchanged, None) => return Err(Error::failed("the source has nothing new, and nothing was known")),
        };
        if let Some(revision) = &offer.revision {
            let id = self.id_of(revision);
            if self.is_live(&id) {
                self.forget_target()?;
                return Ok(None);
            }
            if let Some(target) = self.state.target.clone().filter(|t| t.release == id) {
                return self.candidate(target);
            }
        }
        let download = places::download(self.settings, self.store.root())?;
        let artifact = self.source.fetch(offer, &download, self.deadline)?;
        let (revision, validators) = (artifact.revision.clone(), artifact.validators.clone());
        let record = Record { release: self.id_of(&revision), revision, validators, since: now() };
        if self.is_live(&record.release) {
            places::discard(&download);
            return self.note_same(record);
        }
        if self.store.release(&record.release)?.is_none() {
            self.publish(artifact, &record)?;
        }
        places::discard(&download);
        self.state.failure = self.state.failure.take().filter(|f| f.release == record.release);
        Ok(Some(record))
    }

    /// Verifies and unpacks; what is refused is remembered, so that it is not fetched again every minute.
    fn publish(&mut self, artifact: crate::artifact::Artifact, record: &Record) -> Result<Release> {
        let verified = package::verify(artifact)?;
        let staging = self.store.staging()?;
        let unpacked = package::unpack(&verified, staging.dir(), &self.settings.layout, self.deadline);
        // Read from where it lies, it may have changed under us: then neither the tree nor the refusal means anything.
        if !self.source.is_still(&record.validators)? {
            let text = format!("{} changed while it was read", self.settings.remote);
            return Err(Error::new(Kind::Superseded, text));
        }
        let unpacked = match unpacked {
            Ok(unpacked) => unpacked,
            Err(e) if e.kind() == Kind::Refused => {
                drop(staging);
                places::discard(&places::download(self.settings, self.store.root())?);
                self.note_failure(record, FailureKind::Refused, &e.to_string())?;
                return Err(e);
            }
            Err(e) => return Err(e),
        };
        log::info!(
            "unpacked release {} ({} entries, {} bytes) of revision {}",
            record.release,
            unpacked.entries,
            unpacked.bytes,
            record.revision
        );
        staging.publish(&self.store, &record.release)
    }

    /// What the source had when we last looked, and still has: live already, staged, refused or given up.
    fn candidate(&mut self, known: Record) -> Result<Option<Record>> {
        if self.is_live(&known.release) {
            return Ok(None);
        }
        if let Some(failure) = self.state.failure.as_ref().filter(|f| f.release == known.release) {
            let limit = self.settings.max_attempts;
            let recent = now().saturating_sub(failure.when) < REFUSED_FOR;
            if failure.kind == FailureKind::Refused && failure.policy == self.policy() && recent {
                return Err(Error::refused(format!("{} (refused before; the source still has the same)", failure.why)));
            }
            if failure.kind != FailureKind::Refused && limit > 0 && failure.count >= limit {
                log::info!(
                    "revision {} is left alone after {} attempts: {}",
                    known.revision,
                    failure.count,
                    failure.why
                );
                return Ok(None);
            }
        }
        if self.store.release(&known.release)?.is_some() {
            return Ok(Some(known));
        }
        // The release is not in the store: ask without conditions, so that it is fetched.
        self.forget_target()?;
        self.poll_and_publish()
    }

    /// Frames the one dangerous moment: pre hooks, begin, activate, post hooks, commit or revert.
    fn deploy(&mut self, target: Record, reason: Reason) -> Result<Outcome> {
        let release = self.release(&target.release)?;
        self.state.target = Some(target.clone());
        self.state.attempt = 1;
        let deferred = signal::defer();
        match self.pre_hooks(&release, reason)? {
            Verdict::Passed => {}
            Verdict::Stopped(signal) => return Err(stopped(signal)),
            Verdict::Failed(why) => {
                self.note_failure(&target, FailureKind::Blocked, &why)?;
                log::warn!("blocked: {why}; the next check tries again");
                return Ok(Outcome::Blocked);
            }
        }
        self.begin()?;
        let outcome = self.go_live(&release, reason);
        drop(deferred);
        outcome
    }

    /// Says durably what is about to happen.
    fn begin(&mut self) -> Result<()> {
        self.state.phase = Phase::Activating;
        self.store.record(&self.state)
    }

    /// Activates the target and lets its post hooks judge it.
    fn go_live(&mut self, release: &Release, reason: Reason) -> Result<Outcome> {
        if let Err(e) = self.activation.activate(release) {
            log::error!("{e}");
            return self.revert(&e.to_string());
        }
        // Hooks that cannot even be listed have not passed.
        match self.post_hooks(reason).unwrap_or_else(|e| Verdict::Failed(e.to_string())) {
            Verdict::Passed => self.commit(),
            Verdict::Stopped(signal) => Err(stopped(signal)),
            Verdict::Failed(why) => self.revert(&why),
        }
    }

    fn commit(&mut self) -> Result<Outcome> {
        let Some(mut current) = self.state.target.take() else { return Err(Error::failed("nothing to commit")) };
        current.since = now();
        log::info!(
            "deployed revision {} as release {} at {}",
            current.revision,
            current.release,
            self.settings.local.display()
        );
        let replaced = self.state.current.replace(current);
        // Deploying the same release anew, to settle a doubt, has no other one before it.
        if replaced.as_ref().map(|r| &r.release) != self.state.current.as_ref().map(|r| &r.release) {
            self.state.previous = replaced;
        }
        (self.state.phase, self.state.attempt, self.state.failure) = (Phase::Idle, 0, None);
        // The new release is live, and the state on disk says that it is being activated: the next check finishes that.
        self.store.record(&self.state).map_err(in_doubt)?;
        self.doubt = None;
        self.prune();
        Ok(Outcome::Deployed)
    }

    /// Goes back to the release that was live, and remembers why.
    fn revert(&mut self, why: &str) -> Result<Outcome> {
        log::error!("{why}; going back");
        if let Some(target) = self.state.target.clone() {
            self.count_failure(&target, FailureKind::Reverted, why);
        }
        (self.state.phase, self.state.attempt) = (Phase::Reverting, 1);
        self.store.record(&self.state).map_err(in_doubt)?;
        self.finish_revert()
    }

    fn finish_revert(&mut self) -> Result<Outcome> {
        // What is left of the check's time is not the way back's business: it gets its own.
        self.deadline = Deadline::after(self.settings.timeout);
        let verdict = match self.state.current.clone() {
            Some(current) => {
                let release = self.release(&current.release).map_err(in_doubt)?;
                self.activation.activate(&release).map_err(in_doubt)?;
                log::warn!("reverted: release {} is live again", current.release);
                self.run_hooks(&self.settings.post_hooks, &self.environment("post", Reason::Revert, None)?)?
            }
            None => {
                self.activation.withdraw(&self.state.found).map_err(in_doubt)?;
                log::warn!(
                    "reverted: there was no release before, {} is as it was found",
                    self.settings.local.display()
                );
                Verdict::Passed
            }
        };
        match verdict {
            Verdict::Stopped(signal) => return Err(stopped(signal)),
            Verdict::Failed(why) if self.state.attempt < recover::MAX_ATTEMPTS => {
                let text =
                    format!("{why}, after the previous release was put back; the next check runs the post hooks again");
                return Err(Error::new(Kind::InDoubt, text));
            }
            Verdict::Failed(why) => {
                log::error!("{why}, {} times after going back; leaving it at that", self.state.attempt)
            }
            Verdict::Passed => {}
        }
        (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
        self.store.record(&self.state).map_err(in_doubt)?;
        self.prune();
        Ok(Outcome::RolledBack)
    }

    /// Heals what an earlier run left. `Some`: that was a deployment of its own, and this check is over.
    fn recover(&mut self) -> Result<Option<Outcome>> {
        let standing = self.activation.standing()?;
        let known = (self.doubt.is_none() && self.has_history()).then_some(&self.state);
        let heal = recover::decide(self.state.mode, known, &standing);
        if !matches!(heal, Heal::Nothing | Heal::Fresh(_) | Heal::Repair) {
            log::debug!(
                "recovering: phase {}, attempt {}, {standing:?}: {heal:?}",
                self.state.phase,
                self.state.attempt
            );
        }
        match heal {
            Heal::Nothing => {}
            Heal::Fresh(found) => self.state.found = found,
            Heal::Adopt(release) => self.adopt(release)?,
            Heal::KeepFound => self.keep_found()?,
            Heal::Refuse(why) => {
                return Err(Error::config(format!("cannot deploy to {}: {why}", self.settings.local.display())));
            }
            Heal::Repair => self.repair()?,
            Heal::StartOver => {
                log::info!("the last deployment was cut off before it changed anything: starting over");
                (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
                self.store.record(&self.state)?;
            }
            Heal::Resume => return self.resume().map(Some),
            Heal::Revert => {
                let _deferred = signal::defer();
                if self.state.phase == Phase::Activating {
                    let why = format!("the deployment was cut off {} times", self.state.attempt);
                    return self.revert(&why).map(Some);
                }
                log::info!("the way back was cut off: finishing it");
                self.state.attempt += 1;
                self.store.record(&self.state)?;
                return self.finish_revert().map(Some);
            }
        }
        Ok(None)
    }

    fn resume(&mut self) -> Result<Outcome> {
        let Some(target) = self.state.target.clone() else { return Err(Error::failed("nothing to resume")) };
        let _deferred = signal::defer();
        self.state.attempt += 1;
        log::info!("the last deployment was cut off: attempt {} at release {}", self.state.attempt, target.release);
        self.store.record(&self.state)?;
        let release = self.release(&target.release)?;
        self.go_live(&release, Reason::Recover)
    }

    fn adopt(&mut self, release: ReleaseId) -> Result<()> {
        log::info!("adopted release {release}: {} points to it, and there was no state", self.settings.local.display());
        let (revision, validators) = (Revision::new(""), Validators::default());
        self.state.current = Some(Record { release, revision, validators, since: now() });
        // In doubt, nothing is written before a deployment has settled it.
        if self.doubt.is_none() { self.store.record(&self.state) } else { Ok(()) }
    }

    fn keep_found(&mut self) -> Result<()> {
        let id = ReleaseId::adopted();
        self.store.discard(&id)?; // a copy from an attempt that did not get to its state
        let staging = self.store.staging()?;
        let local = self.settings.local.display();
        self.activation.keep_found(staging.dir()).context(|| format!("cannot keep a copy of {local}"))?;
        staging.publish(&self.store, &id)?;
        log::info!("kept a copy of what was found at {local} as release {id}");
        self.adopt(id)
    }

    fn repair(&mut self) -> Result<()> {
        let Some(current) = self.state.current.clone() else { return Ok(()) };
        let release = self.release(&current.release)?;
        if let Some(drift) = self.activation.repair(&release)? {
            log::warn!("drift: {drift}; release {} is back", current.release);
        }
        Ok(())
    }

    fn pre_hooks(&self, release: &Release, reason: Reason) -> Result<Verdict> {
        self.run_hooks(&self.settings.pre_hooks, &self.environment("pre", reason, Some(release))?)
    }

    fn post_hooks(&self, reason: Reason) -> Result<Verdict> {
        self.run_hooks(&self.settings.post_hooks, &self.environment("post", reason, None)?)
    }

    fn run_hooks(&self, dir: &std::path::Path, environment: &[(&'static str, OsString)]) -> Result<Verdict> {
        hooks::run(dir, environment, self.settings.hook_timeout, self.deadline)
    }

    /// What hooks are told. `new`: the release that pre hooks may look at before it is live.
    fn environment(&self, phase: &str, reason: Reason, new: Option<&Release>) -> Result<Vec<(&'static str, OsString)>> {
        let state = &self.state;
        let local = || self.settings.local.clone().into_os_string();
        let nothing = || self.store.nothing().map(PathBuf::into_os_string);
        let before = match &state.current {
            Some(current) => self.release(&current.release)?.path.into_os_string(),
            None => nothing()?,
        };
        let (current, previous) = match (reason, new) {
            (Reason::Revert, _) => (local(), OsString::new()),
            (_, Some(release)) if state.current.is_some() => (release.path.clone().into_os_string(), local()),
            (_, Some(release)) => (release.path.clone().into_os_string(), before),
            (_, None) => (local(), before),
        };
        let is_back = reason == Reason::Revert;
        let (to, from) = if is_back { (&state.current, &state.target) } else { (&state.target, &state.current) };
        let revision = |r: &Option<Record>| OsString::from(r.as_ref().map_or("", |r| r.revision.as_str()));
        Ok(vec![
            ("CURRENT_CONFIG", current),
            ("PREVIOUS_CONFIG", previous),
            ("REPO_DEPLOY_ID", self.settings.id.clone().into()),
            ("REPO_DEPLOY_REMOTE", self.settings.remote.to_string().into()),
            ("REPO_DEPLOY_REVISION", revision(to)),
            ("REPO_DEPLOY_PREVIOUS_REVISION", revision(from)),
            ("REPO_DEPLOY_RELEASE", to.as_ref().map_or("", |r| r.release.as_str()).into()),
            ("REPO_DEPLOY_PHASE", phase.into()),
            ("REPO_DEPLOY_REASON", reason.to_string().into()),
            ("REPO_DEPLOY_ATTEMPT", state.attempt.to_string().into()),
        ])
    }

    fn has_history(&self) -> bool {
        self.state.current.is_some() || self.state.phase != Phase::Idle
    }

    fn id_of(&self, revision: &Revision) -> ReleaseId {
        ReleaseId::of(&self.settings.remote.identity(), revision, &self.settings.layout.identity())
    }

    fn release(&self, id: &ReleaseId) -> Result<Release> {
        self.store.release(id)?.ok_or_else(|| {
            Error::new(Kind::InDoubt, format!("release {id} is gone from {}", self.store.root().display()))
        })
    }

    /// The revision to ask against: the candidate's, else the live one's. Only one that came from this source in this
    /// layout; another remote's ETag means nothing here.
    fn known(&self) -> Option<&Record> {
        let is_from_here = |r: &&Record| self.id_of(&r.revision) == r.release;
        let target = self.state.target.as_ref().filter(is_from_here);
        target.or_else(|| self.state.current.as_ref().filter(is_from_here).filter(|_| self.doubt.is_none()))
    }

    fn is_live(&self, id: &ReleaseId) -> bool {
        self.doubt.is_none() && self.state.current.as_ref().is_some_and(|c| c.release == *id)
    }

    fn forget_target(&mut self) -> Result<()> {
        if self.state.target.is_none() && self.state.failure.is_none() {
            return Ok(());
        }
        (self.state.target, self.state.failure) = (None, None);
        self.store.record(&self.state)
    }

    /// The live release under other validators: remember those, so that the next poll is conditional again.
    fn note_same(&mut self, seen: Record) -> Result<Option<Record>> {
        let Some(current) = &mut self.state.current else { return Ok(None) };
        if current.validators != seen.validators || current.revision != seen.revision || self.state.target.is_some() {
            (current.validators, current.revision) = (seen.validators, seen.revision);
            (self.state.target, self.state.failure) = (None, None);
            self.store.record(&self.state)?;
        }
        Ok(None)
    }

    fn note_failure(&mut self, target: &Record, kind: FailureKind, why: &str) -> Result<()> {
        self.state.target = Some(target.clone());
        self.count_failure(target, kind, why);
        self.state.attempt = 0;
        self.store.record(&self.state)
    }

    fn count_failure(&mut self, target: &Record, kind: FailureKind, why: &str) {
        let before = self.state.failure.take().filter(|f| f.release == target.release).map_or(0, |f| f.count);
        self.state.failure = Some(Failure {
            release: target.release.clone(),
            kind,
            count: before.saturating_add(1),
            when: now(),
            policy: self.policy(),
            why: why.to_owned(),
        });
    }

    /// A fingerprint of what may refuse an archive.
    fn policy(&self) -> String {
        let text = format!("{:?} {} {}", self.settings.layout, self.settings.max_download, env!("CARGO_PKG_VERSION"));
        ReleaseId::of(&text, &Revision::new(""), "").to_string()
    }

    /// Removes releases beyond `keep`. The deployment is over and well: a release that stays costs space, not the outcome.
    fn prune(&self) {
        let records = [&self.state.current, &self.state.previous, &self.state.target];
        let needed: Vec<_> = records.into_iter().flatten().map(|r| &r.release).collect();
        if let Err(e) = self.store.prune(self.settings.keep, &needed) {
            log::warn!("{e}");
        }
    }
}

/// A live release that somebody removed from the store is fetched again.
fn forget_lost(state: &mut State, store: &Store) -> Result<()> {
    let is_lost = |r: &Option<Record>| match r {
        Some(r) => store.release(&r.release).map(|found| found.is_none()),
        None => Ok(false),
    };
    if state.phase == Phase::Idle && is_lost(&state.current)? {
        log::error!("the live release is gone from {}: fetching it again", store.root().display());
        state.current = None;
    }
    if is_lost(&state.previous)? {
        state.previous = None;
    }
    Ok(())
}

fn stopped(signal: i32) -> Error {
    Error::new(Kind::Stopped(signal), format!("stopped by signal {signal}"))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn in_doubt(e: Error) -> Error {
    Error::new(Kind::InDoubt, format!("the live tree is in doubt, the next check tries to settle it: {e}"))
}
