//! Recovers from an interrupted run, as [`recovery_action::decide`] says, before the source is polled.

use super::recovery_action::RecoveryAction;
use super::{Begun, Deployment};
use crate::error::{Context, Error, Result};
use crate::model::{Reason, ReleaseId};
use crate::outcome::Outcome;
use crate::store::state::Phase;
use crate::sys::log;
use crate::sys::resolve;

impl Deployment<'_> {
    /// Recovers from an interrupted run. `Some`: the recovery was a deployment of its own, and the check ends with it.
    pub fn recover(&mut self) -> Result<Option<Outcome>> {
        let (heal, standing) = self.diagnose()?;
        if heal != RecoveryAction::Nothing {
            resolve::forget();
        }
        // In doubt, the end of the last deployment is unknown.
        if self.has_record() && self.state.phase == Phase::Idle && self.doubt.is_none() {
            self.activation.close_ledger(&self.store, self.state.current.as_ref().map(|current| &current.release))?;
        }
        if !matches!(heal, RecoveryAction::Nothing | RecoveryAction::Fresh(_) | RecoveryAction::Repair) {
            log::debug!(
                "recovering: phase {}, attempt {}, {standing:?}: {heal:?}",
                self.state.phase,
                self.state.attempt
            );
        }
        match heal {
            RecoveryAction::Nothing => {}
            RecoveryAction::Fresh(found) => self.state.found = found,
            RecoveryAction::Adopt(release) => {
                let local = self.settings.local.display();
                log::info!("adopted release {release}: {local} points to it, and there was no state");
                self.state.hooks_state_unknown = true;
                self.adopt(release);
                self.save()?;
            }
            RecoveryAction::KeepFound => {
                let copy = self.keep_copy()?;
                self.adopt(copy);
                self.save()?;
            }
            RecoveryAction::Refuse(why) => return Err(self.refusal(why)),
            RecoveryAction::Repair => self.repair()?,
            RecoveryAction::StartOver => {
                log::info!("the last deployment was cut off before it changed anything: starting over");
                (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
                self.store.record(&self.state)?;
            }
            RecoveryAction::Resume => return self.with_signals_deferred(Self::resume).map(Some),
            RecoveryAction::Revert => return self.with_signals_deferred(Self::resume_revert).map(Some),
        }
        Ok(None)
    }

    fn resume(&mut self) -> Result<Outcome> {
        let Some(target) = self.state.target.clone() else { return Err(Error::failed("nothing to resume")) };
        self.begin_attempt(Reason::Recover, Some(target.clone()));
        self.state.attempt = self.state.attempt.saturating_add(1);
        let what = if self.state.is_rollback() { "rollback" } else { "deployment" };
        log::info!("the last {what} was cut off: attempt {} at release {}", self.state.attempt, target.release);
        self.store.record(&self.state)?;
        match self.release(&target.release) {
            Ok(release) => self.activate_and_verify(Begun(()), &release, Reason::Recover),
            Err(e) => self.revert(Begun(()), &e.to_string()),
        }
    }

    fn resume_revert(&mut self) -> Result<Outcome> {
        let target = self.state.target.clone();
        self.begin_attempt(Reason::Recover, target);
        if self.state.phase == Phase::Activating {
            let why = format!("the deployment was cut off {} times", self.state.attempt);
            return self.revert(Begun(()), &why);
        }
        let why = self.state.failure.as_ref().map_or("a deployment failed", |f| f.why.as_str());
        log::error!("{why}, and the way back is not finished: going on with it");
        self.state.attempt = self.state.attempt.saturating_add(1);
        self.store.record(&self.state)?;
        self.finish_revert()
    }

    /// Keeps a copy of the content of `<local>` as a release, so that nothing is lost.
    pub fn keep_copy(&mut self) -> Result<ReleaseId> {
        let mut id = None;
        for name in ReleaseId::adopted() {
            // An older copy may be the only one left of the operator's files: it stays.
            if self.store.release(&name)?.is_none() {
                id = Some(name);
                break;
            }
        }
        let Some(id) = id else { return Err(Error::failed("there are too many copies of what was found")) };
        let staging = self.store.staging()?;
        let local = self.settings.local.display();
        let manifest = self
            .activation
            .keep_found(staging.dir(), self.limit())
            .with_context(|| format!("cannot keep a copy of {local}"))?;
        staging.publish(&self.store, &id, &manifest)?;
        log::info!("kept a copy of what was found at {local} as release {id}");
        Ok(id)
    }

    fn repair(&mut self) -> Result<()> {
        let Some(current) = self.state.current.clone() else { return Ok(()) };
        let release = self.release(&current.release)?;
        let is_new = self.ready_live_dir()?;
        let drift = self.activation.repair(&self.store, &release, self.limit())?;
        let drift = if is_new { Some(format!("{} was gone", self.settings.local.display())) } else { drift };
        let is_news = self.status.is_new_drift(&self.store, drift.as_deref());
        let level = if is_news { log::Level::Warn } else { log::Level::Debug };
        drift.iter().for_each(|drift| log::at!(level, "drift: {drift}; release {} is back", current.release));
        // A copy of the original directory is accepted as the live directory.
        self.remember_live_dir()
    }

    /// Creates the live directory if it is missing, and records its identity durably before it has content: after a
    /// crash, a check would take an unrecorded directory with content for a foreign one. Returns whether it was
    /// created.
    pub fn ready_live_dir(&mut self) -> Result<bool> {
        let is_new = self.activation.make_live_dir()?;
        self.remember_live_dir().map(|()| is_new)
    }

    fn remember_live_dir(&mut self) -> Result<()> {
        let live_dir = self.activation.live_dir();
        if live_dir == self.state.live_dir {
            return Ok(());
        }
        self.state.live_dir = live_dir;
        self.store.record(&self.state)
    }

    fn has_record(&self) -> bool {
        self.state.current.is_some() || self.state.target.is_some()
    }
}
