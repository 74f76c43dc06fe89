//! `repo-deploy rollback`: makes another release of the store live, by hand. The live one is marked as rolled back on
//! disk before anything changes, so a crash cannot lose that: it is on hold until the source has another revision. No
//! pre hook runs; everything else is as in a deployment.

use std::time::Instant;

use crate::config::Settings;
use crate::deploy::{Deployment, ON_HOLD, hooks, turn};
use crate::error::{Context, Error, Kind, Result};
use crate::model::{Reason, ReleaseId, Revision, Validators};
use crate::outcome::Outcome;
use crate::report::check_report::{CheckReport, named};
use crate::store::state::{Phase, Record};
use crate::store::{Recorded, StoreView, history};
use crate::sys::clock::now;
use crate::sys::log;

/// The shortest prefix of a release id.
const SHORTEST: usize = 4;
/// How many ids an error names.
const FEW: usize = 8;

/// Waits for a running check, then rolls back to the previous release, or to the one whose id begins with `wanted`.
pub fn rollback(settings: &Settings, wanted: Option<&str>) -> CheckReport {
    let opened = live(settings).and_then(|seen| Ok((seen, Deployment::open_made(settings)?)));
    let (seen, mut deployment) = match opened {
        Ok(opened) => opened,
        Err(e) => return CheckReport::of_error(&e),
    };
    if let (Some(seen), Some(now), None) = (seen, &deployment.state.current, wanted)
        && seen != now.release
    {
        let text = format!(
            "cannot roll back: meanwhile {} has become live, which was not when you asked: look at the status, and ask again",
            named(now)
        );
        return CheckReport::failed(text);
    }
    let started = Instant::now(); // without the wait for the lock
    let settled = match deployment.settle(wanted.is_some()) {
        Ok(Settled { is_over: false, outcome }) => outcome,
        over => return deployment.end(over.map(|s| s.outcome.unwrap_or(Outcome::Unchanged)), started),
    };
    let result = match deployment.choose(wanted) {
        Ok(target) if !deployment.is_current(&target) => {
            let result = deployment.with_signals_deferred(|deployment| deployment.go_back(target));
            return deployment.end(result, started);
        }
        Ok(live) => {
            log::info!("{} is live already: nothing to roll back", named(&live));
            Ok(settled.unwrap_or(Outcome::Unchanged))
        }
        Err(e) => Err(e),
    };
    // Nothing was tried, so there is no news to report.
    if settled.is_some() { deployment.end(result, started) } else { CheckReport::of(&result, &deployment.state, None) }
}

/// The live release before this command waits for the lock.
fn live(settings: &Settings) -> Result<Option<ReleaseId>> {
    let store = StoreView::open(&crate::activate::locations::locate(settings)?.store);
    Ok(match store.and_then(|store| store.recorded()) {
        // While a release is being activated, the operator may have seen that one as live.
        Ok(Recorded::State(state)) if state.phase == Phase::Idle => state.current.map(|current| current.release),
        // Errors are reported under the lock.
        Ok(Recorded::State(_) | Recorded::Nothing | Recorded::Foreign(_) | Recorded::Unreadable(_)) | Err(_) => None,
    })
}

/// The result of recovering from an interrupted run.
struct Settled {
    outcome: Option<Outcome>,
    /// The recovery has already done the requested rollback.
    is_over: bool,
}

impl<'a> Deployment<'a> {
    /// Opens an existing store: a mistyped path creates none.
    fn open_made(settings: &'a Settings) -> Result<Self> {
        let root = crate::activate::locations::locate(settings)?.store.path;
        if !root.try_exists().with_context(|| format!("cannot look at {}", root.display()))? {
            return Err(Error::failed(format!(
                "cannot roll back: nothing was deployed yet, {} is not there",
                root.display()
            )));
        }
        Self::open(settings, Some(turn(settings)))
    }

    /// Recovers from an interrupted run, as every check does.
    fn settle(&mut self, is_named: bool) -> Result<Settled> {
        if self.doubt.is_some() {
            let text = "cannot roll back: `repo-deploy -f` settles it by a deployment";
            return Err(Error::new(Kind::InDoubt, text));
        }
        let was_rollback = self.state.is_rollback();
        let Some(outcome) = self.recover()? else { return Ok(Settled { outcome: None, is_over: false }) };
        if self.findings.stop.is_some() || (was_rollback && !is_named) {
            return Ok(Settled { outcome: Some(outcome), is_over: true });
        }
        // The recovery has just rolled back the release that the operator wants to leave.
        if outcome == Outcome::RolledBack && !is_named {
            if let Some(target) = self.state.target.clone() {
                log::info!("release {} {ON_HOLD}", target.release);
                self.state.leave(target, now());
            }
            self.is_changed = true;
            self.save()?;
            return Ok(Settled { outcome: None, is_over: true });
        }
        log::info!("the deployment that was cut off is over: going on with the rollback");
        Ok(Settled { outcome: Some(outcome), is_over: false })
    }

    fn is_current(&self, record: &Record) -> bool {
        self.state.current.as_ref().is_some_and(|current| current.release == record.release)
    }

    /// Chooses the release to roll back to.
    fn choose(&self, wanted: Option<&str>) -> Result<Record> {
        let Some(current) = &self.state.current else {
            return Err(Error::failed("cannot roll back: nothing is live"));
        };
        let all: Vec<ReleaseId> = self.store.releases()?.into_iter().map(|release| release.id).collect();
        let others = || {
            let mut others: Vec<&str> =
                all.iter().filter(|id| **id != current.release).map(ReleaseId::as_str).collect();
            let more = others.len().saturating_sub(FEW);
            others.truncate(FEW);
            match (others.is_empty(), more) {
                (true, _) => format!("the store has only the live one, {}", current.release),
                (_, 0) => format!("besides the live one the store has {}", others.join(", ")),
                _ => format!("besides the live one the store has {} and {more} more", others.join(", ")),
            }
        };
        let Some(wanted) = wanted else {
            return self.state.previous.clone().ok_or_else(|| {
                Error::failed(format!(
                    "cannot roll back: nothing was live before release {}; {}",
                    current.release,
                    others()
                ))
            });
        };
        let begins: Vec<&ReleaseId> = all.iter().filter(|id| id.as_str().starts_with(wanted)).collect();
        let exact = begins.iter().find(|id| id.as_str() == wanted);
        match (exact, &begins[..]) {
            (Some(id), _) => Ok(self.record_of(id)),
            (None, [id]) if wanted.len() >= SHORTEST => Ok(self.record_of(id)),
            (None, found) => {
                let why = match found {
                    [] => "there is no such release",
                    _ if wanted.len() < SHORTEST => "give at least four characters of its id",
                    _ => "more than one release begins so",
                };
                Err(Error::failed(format!("cannot roll back to {wanted:?}: {why}; {}", others())))
            }
        }
    }

    /// The known record of a release, or a minimal one.
    fn record_of(&self, id: &ReleaseId) -> Record {
        let state = &self.state;
        let known = [&state.current, &state.previous, &state.target].into_iter().flatten().find(|r| r.release == *id);
        let told = || match history::read(&self.store) {
            Ok(all) => all.into_iter().filter_map(|entry| entry.record).find(|record| record.release == *id),
            Err(e) => {
                log::warn!("{e}: of release {id} no more is known than that it is there");
                None
            }
        };
        known.cloned().or_else(told).unwrap_or_else(|| {
            let (revision, validators) = (Revision::new(""), Validators::default());
            Record { release: id.clone(), revision, validators, since: now(), proof: None }
        })
    }

    /// Begins, activates and runs post hooks as a deployment does, but without pre hooks that could block it.
    fn go_back(&mut self, target: Record) -> Result<Outcome> {
        self.record_recovered();
        self.begin_attempt(Reason::Rollback, Some(target.clone()));
        let release = self.release(&target.release)?;
        self.activation.examine(&release, self.limit())?;
        if let Some(why) = hooks::refusal(&self.settings.post_hooks)? {
            return Err(Error::failed(format!("cannot roll back: {why}")));
        }
        self.state.begin_rollback(target, now());
        self.state.attempt = 1;
        let begun = self.begin()?;
        self.activate_and_verify(begun, &release, Reason::Rollback)
    }
}
