//! `repo-deploy retry`: takes the revision of the source off hold, and checks at once.

use std::time::Instant;

use crate::config::Settings;
use crate::deploy::{Deployment, turn};
use crate::error::Result;
use crate::outcome::Outcome;
use crate::report::check_report::{CheckReport, named};
use crate::sys::log;

/// Waits for a running check, forgets failures and the source's request to wait, and checks as [`super::check`] does.
pub fn retry(settings: &Settings) -> CheckReport {
    match Deployment::open(settings, Some(turn(settings))) {
        Ok(mut deployment) => {
            let started = Instant::now(); // without the wait for the lock
            let result = deployment.retry();
            deployment.end(result, started)
        }
        Err(e) => CheckReport::of_error(&e),
    }
}

impl Deployment<'_> {
    fn retry(&mut self) -> Result<Outcome> {
        let healed = self.recover()?;
        if let Some(outcome) = healed.filter(|_| self.findings.stop.is_some()) {
            return Ok(outcome);
        }
        self.record_recovered();
        let before = self.state.clone();
        if let Some(failure) = self.state.failure.take() {
            log::info!("forgetting that release {} was {}: {}", failure.release, failure.kind, failure.why);
        }
        for record in self.state.rolled_back.drain(..) {
            log::info!("forgetting that {} was rolled back from", named(&record));
        }
        self.is_changed |= self.state != before;
        self.save()?;
        self.status.forget_hold(&self.store);
        let looked = self.look();
        if looked.is_err() && self.findings.attempt.is_none() && self.state.failure.is_none() {
            // The source has not answered, so nothing was tried again: the failures are kept.
            (self.state.failure, self.state.rolled_back) = (before.failure, before.rolled_back);
            self.is_changed = true;
            self.save()?;
        }
        match (looked?, healed) {
            (Outcome::Unchanged | Outcome::OnHold, Some(healed)) => {
                self.findings.attempt = None; // the recovery has its entry, and there was nothing to deploy
                Ok(healed)
            }
            (outcome, _) => Ok(outcome),
        }
    }
}
