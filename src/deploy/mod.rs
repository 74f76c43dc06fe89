//! One update from poll to commit: read this first. [`check`] does all of it: open, recover, obtain a release, deploy
//! it. Up to `begin` the live tree is unchanged, and a crash costs only the work; from there to the commit the state on
//! disk records the step to finish.

mod archive_seed;
mod changes_file;
pub mod check;
pub mod context;
pub mod failure;
mod findings;
mod finish;
mod hook_env;
pub mod hooks;
pub mod lifecycle;
mod overlap;
pub mod prepare;
pub mod recovery;
pub mod recovery_action;
mod verify_artifact;

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::activate::locations;
use crate::config::Settings;
use crate::console;
use crate::error::{Error, Kind, Result};
use crate::model::Reason;
use crate::outcome::Outcome;
use crate::report::check_report::{self, CheckReport};
use crate::report::config_ini;
use crate::report::status_file::Status;
use crate::source;
use crate::store::state::{FailureKind, Phase, Record, State};
use crate::store::{Recorded, Release, Store, StoreView};
use crate::sys::clock::{Deadline, now};
use crate::sys::log;
use crate::sys::resolve;
use crate::sys::signal::{self, Deferred};
use check::Check;
use failure::{cut_off, in_doubt, stopped, way_back_failed};
use hooks::Verdict;

/// A check that holds the lock of the store, and so may change the store and the live tree.
pub struct Deployment<'a> {
    pub store: Store,
    /// The status of the store: while the lock is held, it changes only here.
    pub status: Status,
    pub check: Check<'a>,
    /// The values that are kept in the configuration file.
    config_ini: config_ini::Notes,
    /// The list of changes that was written for hooks.
    changes_file: changes_file::Written,
}

impl<'a> Deref for Deployment<'a> {
    type Target = Check<'a>;

    fn deref(&self) -> &Check<'a> {
        &self.check
    }
}

impl DerefMut for Deployment<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.check
    }
}

/// The end of a message about a release that was rolled back from.
pub const ON_HOLD: &str = "is on hold until the source has another one, or `repo-deploy retry`";

/// Proof that the state on disk says the live tree may be changing. Commit or rollback consumes it: never both.
pub struct Begun(());

/// Checks the source once, deploys a new revision, and reports.
pub fn check(settings: &Settings) -> CheckReport {
    let started = Instant::now();
    resolve::remember();
    let mut deployment = match Deployment::open(settings, None) {
        Ok(deployment) => deployment,
        Err(e) => return CheckReport::of_error(&e),
    };
    let result = deployment.update();
    deployment.end(result, started)
}

/// Removes pruned releases, after the report of the check that pruned them. A failure is only a warning: they cost
/// only space.
pub fn remove_pruned(settings: &Settings) {
    let places = locations::locate(settings);
    if let Err(e) = places.and_then(|places| StoreView::open(&places.store)).and_then(|store| store.remove_pruned()) {
        log::warn!("{e}");
    }
}

/// Whether the next check has to recover from an interrupted run, or from a state that cannot be read.
pub fn is_cut_off(settings: &Settings) -> bool {
    let store = locations::locate(settings).and_then(|places| StoreView::open(&places.store));
    match store.and_then(|store| store.recorded()) {
        Ok(Recorded::State(state)) => state.phase != Phase::Idle,
        Ok(Recorded::Nothing) => false,
        Ok(Recorded::Foreign(_) | Recorded::Unreadable(_)) | Err(_) => true,
    }
}

impl<'a> Deployment<'a> {
    /// Opens a deployment. Takes the lock of the store at once, or waits for it up to `most`.
    pub fn open(settings: &'a Settings, most: Option<Duration>) -> Result<Self> {
        let mut places = locations::locate(settings)?;
        let store = Store::open(&places.store, places.found.take(), most)?;
        if let Some((volume, is_new)) = store.volume() {
            // For an existing store, an earlier run has logged this.
            let level = if is_new { log::Level::Info } else { log::Level::Debug };
            log::at!(level, "others may write the volume {}: in it only what is ours is used", volume.display());
        }
        let (status, now) = (Status::read(&store), now());
        source::begin_check(!status.is_told(now), status.has_lost_source(now));
        let check = Check::new(settings, places, StoreView::clone(&store))?;
        let config_ini = config_ini::Notes::open(settings, most.is_some());
        Ok(Self { store, status, check, config_ini, changes_file: changes_file::Written::default() })
    }

    fn update(&mut self) -> Result<Outcome> {
        if let Some(healed) = self.recover()? {
            return Ok(healed);
        }
        self.status.hold_off(&self.settings.remote.identity())?;
        self.look()
    }

    /// Polls the source and deploys a new revision.
    pub fn look(&mut self) -> Result<Outcome> {
        let Some(target) = self.obtain()? else {
            return Ok(if self.findings.hold_reason.is_some() { Outcome::OnHold } else { Outcome::Unchanged });
        };
        self.with_signals_deferred(|deployment| deployment.deploy(target))
    }

    /// Runs `what` to its end: a signal is recorded, a running hook is told, and the process ends after `what`.
    pub fn with_signals_deferred(&mut self, what: impl FnOnce(&mut Self) -> Result<Outcome>) -> Result<Outcome> {
        self.status.note_working(&self.store);
        let region = signal::defer();
        let outcome = what(self);
        self.findings.stop = Deferred::close(region);
        outcome
    }

    /// The critical section: pre hooks, begin, activate, post hooks, then commit or roll back.
    fn deploy(&mut self, target: Record) -> Result<Outcome> {
        self.begin_attempt(Reason::Update, Some(target.clone()));
        let release = self.release(&target.release)?;
        self.state.target = Some(target.clone());
        self.state.attempt = 1;
        match self.activation.examine(&release, self.limit()) {
            Err(e) if matches!(e.kind(), Kind::Stopped(_) | Kind::Config) => return Err(e),
            Err(e) => return self.refuse(&target, e),
            Ok(()) => {}
        }
        // Post hooks that may not run would otherwise be noticed only once the release is live.
        let judged = match hooks::refusal(&self.settings.post_hooks)? {
            Some(why) => Verdict::Failed(why),
            None => self.pre_hooks(&release)?,
        };
        match judged {
            Verdict::Passed => {}
            Verdict::Stopped(signal) => return Err(stopped(signal)),
            Verdict::Failed(why) => {
                self.note_failure(&target, FailureKind::Blocked, &why);
                self.save()?;
                let facts = target.facts(Some(Outcome::Blocked.word()));
                log::about!(
                    log::Level::Warn,
                    facts,
                    "blocked: {}: {why}; the next check tries again",
                    check_report::named(&target)
                );
                return Ok(Outcome::Blocked);
            }
        }
        if let Some(remark) = locations::open_to_all(self.settings, self.places.mode)? {
            log::warn!("{remark}");
        }
        let begun = self.begin()?;
        self.activate_and_verify(begun, &release, Reason::Update)
    }

    /// Records durably that the live tree is about to change.
    pub fn begin(&mut self) -> Result<Begun> {
        self.activation.refuse_another()?;
        self.state.phase = Phase::Activating;
        self.state.live_dir = self.activation.live_dir();
        self.store.record(&self.state)?;
        self.config_ini.begin();
        Ok(Begun(()))
    }

    /// Makes the target live; its scripts and the post hooks decide between commit and rollback.
    pub fn activate_and_verify(&mut self, begun: Begun, release: &Release, reason: Reason) -> Result<Outcome> {
        let verdict = self.ready_live_dir().and_then(|_| self.run_steps(release, reason));
        // A step that cannot even be tried has failed.
        match verdict.unwrap_or_else(|e| Verdict::of(&e)) {
            Verdict::Stopped(signal) => Err(cut_off(signal)),
            Verdict::Passed => self.same_live_dir().and_then(|()| self.commit(begun)),
            Verdict::Failed(why) => self.same_live_dir().and_then(|()| self.revert(begun, &why)),
        }
    }

    /// Fails if another directory has replaced the live directory: neither commit nor rollback is possible until the
    /// right one is back, then the next check goes on.
    pub fn same_live_dir(&self) -> Result<()> {
        self.activation.refuse_another().map_err(way_back_failed)
    }

    /// Goes from the live release to the target, step by step, up to the first step that fails.
    fn run_steps(&self, release: &Release, reason: Reason) -> Result<Verdict> {
        self.activation.prepare(&self.store, release, self.limit())?;
        self.stop(reason)?
            .then(|| self.before_install(reason))?
            .then(|| self.activation.activate(&self.store, release, self.limit()).map(|()| Verdict::Passed))?
            .then(|| self.start(reason))?
            .then(|| self.post_hooks(reason))
    }

    /// Makes the target the live release in the state.
    pub fn commit(&mut self, Begun(()): Begun) -> Result<Outcome> {
        let Some(mut current) = self.state.target.take() else { return Err(Error::failed("nothing to commit")) };
        current.since = now();
        if self.state.is_rollback() {
            self.tell_rollback(&current);
            self.state.end_rollback(&current);
        } else {
            let (facts, at) = (current.facts(Some(Outcome::Deployed.word())), self.at());
            log::about!(
                log::Level::Info,
                facts,
                "deployed revision {} as release {}{at}",
                current.revision,
                current.release
            );
            self.state.failure = None;
            if self.state.current.as_ref().is_none_or(|before| before.release != current.release) {
                self.state.rolled_back.clear(); // another release is live
            }
        }
        self.state.hooks_state_unknown = false;
        let replaced = self.state.current.replace(current);
        // Deploying the live release again, to settle a doubt, does not replace `previous`.
        if replaced.as_ref().map(|r| &r.release) != self.state.current.as_ref().map(|r| &r.release) {
            self.state.previous = replaced;
        }
        (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
        self.state.live_dir = self.activation.live_dir();
        // On failure, the new release is live while the state on disk says it is being activated: the next check
        // finishes that.
        self.store.record(&self.state).map_err(in_doubt)?;
        self.doubt = None;
        self.close_ledger();
        self.prune_archives(None);
        prune(&self.store, &self.state, self.settings.keep);
        Ok(Outcome::Deployed)
    }

    fn tell_rollback(&self, to: &Record) {
        let Some(left) = &self.state.current else { return };
        let rest = match (left.release.is_adopted(), left.revision.as_str()) {
            (true, _) => String::new(),
            (false, "") => format!("; release {} {ON_HOLD}", left.release),
            (false, _) => format!("; revision {} {ON_HOLD}", left.revision),
        };
        let (facts, name) = (to.facts(Some(Outcome::Deployed.word())), check_report::named(to));
        log::about!(log::Level::Info, facts, "rolled back to {name}{}, by hand{rest}", self.at());
    }

    /// Rolls back to the release that was live, and records the reason.
    fn revert(&mut self, Begun(()): Begun, why: &str) -> Result<Outcome> {
        let target = self.state.target.clone();
        let name = target.as_ref().map_or_else(String::new, check_report::named);
        let facts = target.as_ref().map(|target| target.facts(None)).unwrap_or_default();
        log::about!(log::Level::Error, facts, "{name}: {why}; rolling back");
        target.iter().for_each(|target| self.count_failure(target, FailureKind::Reverted, why));
        (self.state.phase, self.state.attempt) = (Phase::Reverting, 1);
        self.store.record(&self.state).map_err(in_doubt)?;
        self.finish_revert()
    }

    fn finish_revert(&mut self) -> Result<Outcome> {
        // The rollback gets a time limit of its own, however much of the check's is left.
        self.context.deadline = Deadline::after(self.settings.timeout);
        let _limit = console::limit(self.deadline);
        let verdict = match self.state.current.clone() {
            Some(current) => {
                let release = self.release(&current.release).map_err(in_doubt)?;
                let back =
                    self.ready_live_dir().and_then(|_| self.activation.reactivate(&self.store, &release, self.limit()));
                back.map_err(way_back_failed)?;
                let facts = current.facts(Some(Outcome::RolledBack.word()));
                log::about!(log::Level::Warn, facts, "rolled back: release {} is live again", current.release);
                let judged = self.start_again().and_then(|verdict| verdict.then(|| self.post_hooks(Reason::Revert)));
                judged.unwrap_or_else(|e| Verdict::of(&e))
            }
            None => {
                self.activation.withdraw(&self.store, &self.state.found, self.limit()).map_err(way_back_failed)?;
                let facts = log::Facts { outcome: Some(Outcome::RolledBack.word()), ..Default::default() };
                let at = self.at();
                log::about!(
                    log::Level::Warn,
                    facts,
                    "rolled back: there was no release before, everything{at} is as it was found"
                );
                Verdict::Passed
            }
        };
        match verdict {
            Verdict::Stopped(signal) => return Err(cut_off(signal)),
            Verdict::Failed(why) if self.state.attempt < recovery_action::MAX_ATTEMPTS => {
                let text =
                    format!("{why}, after the previous release was put back; the next check runs the post hooks again");
                return Err(Error::new(Kind::InDoubt, text));
            }
            Verdict::Failed(why) => {
                log::error!("{why}, {} times after rolling back: giving up", self.state.attempt);
                self.state.hooks_state_unknown = true;
            }
            Verdict::Passed => {}
        }
        self.same_live_dir()?;
        if self.state.is_rollback() {
            self.findings.hold_reason = self.state.undo_rollback().map(|failure| failure.why);
        }
        (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
        self.state.live_dir = self.activation.live_dir();
        self.store.record(&self.state).map_err(in_doubt)?;
        self.close_ledger();
        self.prune_archives(None);
        prune(&self.store, &self.state, self.settings.keep);
        Ok(Outcome::RolledBack)
    }

    /// Saves the state if it was changed while the live tree was not; but nothing while the live tree is in doubt.
    pub fn save(&mut self) -> Result<()> {
        let is_changed = std::mem::take(&mut self.is_changed);
        if is_changed && self.doubt.is_none() { self.store.record(&self.state) } else { Ok(()) }
    }

    /// Closes the ledger of a finished deployment. A failure is only a warning: the next check tries again.
    pub fn close_ledger(&self) {
        if let Err(e) =
            self.activation.close_ledger(&self.store, self.state.current.as_ref().map(|current| &current.release))
        {
            log::warn!("{e}; the next check tries again");
        }
    }
}

/// Removes releases beyond `keep`. A failure is only a warning: the deployment is done, and the release costs only
/// space.
fn prune(store: &Store, state: &State, keep: usize) {
    let records = [&state.current, &state.previous, &state.target];
    let needed: Vec<_> = records.into_iter().flatten().map(|r| &r.release).collect();
    if let Err(e) = store.prune(keep, &needed) {
        log::warn!("{e}");
    }
}

/// How long a command waits for a running check: twice `timeout`, enough for a deployment and its rollback.
pub fn turn(settings: &Settings) -> Duration {
    settings.timeout.saturating_mul(2)
}
