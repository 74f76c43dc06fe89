//! One update from poll to commit: read this first. [`check`] is the whole of it: open, recover, obtain a release, deploy
//! it. Up to `begin` nothing live has changed, and a crash costs nothing but the work; from there to the commit the state
//! on disk says what to finish.

mod changes_file;
mod finish;
mod hook_env;
pub mod hooks;
pub mod lifecycle;
mod overlap;
pub mod prepare;
pub mod recovery;
pub mod recovery_action;
mod verify_artifact;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::activate::limit::Limit;
use crate::activate::locations;
use crate::activate::{Activation, Setup};
use crate::appspec::Behaviour;
use crate::config::Settings;
use crate::console;
use crate::error::{Error, Kind, Result};
use crate::model::{ActivationMode, Reason, ReleaseId};
use crate::outcome::Outcome;
use crate::package::Demands;
use crate::report::check_report::{self, CheckReport};
use crate::report::{config_ini, status_file};
use crate::source::{self, Source};
use crate::store::state::{FailureKind, Found, Phase, Record, State};
use crate::store::{Recorded, Release, Store};
use crate::sys::clock::{Deadline, now};
use crate::sys::signal::{self, Deferred};
use hooks::Verdict;

/// One deployment at work: the store is locked while this lives.
pub struct Deployment<'a> {
    pub settings: &'a Settings,
    pub places: locations::Places,
    pub store: Store,
    pub activation: Activation,
    pub source: Source,
    /// What an archive has to prove.
    pub demands: Demands,
    pub state: State,
    /// Why the live tree is in doubt, when it is.
    pub doubt: Option<String>,
    pub deadline: Deadline,
    /// The log waits for its reader no longer than that.
    pub _limit: console::Limit,
    /// What is kept in the configuration file.
    pub config_ini: config_ini::Notes,
    /// A signal that came while the live tree was changing: what was begun is over, and now we end.
    pub stop: Option<i32>,
    /// Why what the source has is not tried, when it is not; or what a rollback failed at.
    pub why: Option<String>,
    /// Bytes of archives read from the source.
    pub fetched: u64,
    /// The deployment that this check is about, when there is one.
    pub attempt_report: Option<finish::Attempt>,
    /// What hooks find about the changes.
    pub changes_file: changes_file::Written,
    /// The hook directories that were there when the check began, and what was in them.
    pub hooks: Vec<hooks::Before>,
}

/// The state on disk says that the live tree may be changing. Consumed by the commit or the way back: never both.
pub struct Begun(());

/// Checks the source once, deploys what is new, and reports.
pub fn check(settings: &Settings) -> CheckReport {
    let started = Instant::now();
    let mut deployment = match Deployment::open(settings, None) {
        Ok(deployment) => deployment,
        Err(e) => return CheckReport::of_error(&e),
    };
    let result = deployment.update();
    deployment.end(result, started)
}

impl<'a> Deployment<'a> {
    /// Takes the lock at once, or in its turn within `most`.
    pub fn open(settings: &'a Settings, most: Option<Duration>) -> Result<Self> {
        let places = locations::locate(settings)?;
        let store = Store::open(&places.store, most)?;
        if let Some((volume, is_new)) = store.volume() {
            // Of a store that is there already it was told.
            let level = if is_new { log::Level::Info } else { log::Level::Debug };
            log::log!(level, "others may write the volume {}: in it only what is ours is used", volume.display());
        }
        source::tell_tries(!status_file::Status::read(&store).is_told(now()));
        let mut deployment = Self::with(settings, places, store)?;
        deployment.config_ini = config_ini::Notes::open(settings, most.is_some());
        Ok(deployment)
    }

    /// The deployment as its store has it; what it costs to be sure of that is the caller's.
    pub fn with(settings: &'a Settings, places: locations::Places, store: Store) -> Result<Self> {
        let demands = Demands::new(&settings.trust)?;
        overlap::refuse_to_swallow(settings, &places)?;
        let (mode, root) = (places.mode, store.root().to_owned());
        let (state, doubt) = match store.recorded()? {
            Recorded::State(state) => (*state, None),
            Recorded::Nothing => (State::fresh(settings.local.clone(), mode, Found::Absent), None),
            Recorded::Foreign(format) => return Err(foreign(&root, &format)),
            Recorded::Unreadable(reason) => {
                let doubt = format!("the state in {} cannot be read: {reason}", root.display());
                log::error!("{doubt}; keeping the live tree until a deployment settles it");
                (State::fresh(settings.local.clone(), mode, Found::Absent), Some(doubt))
            }
        };
        // A store beside <local> is found by it: the two were moved together, or are called by another name.
        let is_beside = mode == ActivationMode::Symlink && settings.store.is_none();
        if state.local != settings.local && !is_beside && mode != ActivationMode::Install {
            return Err(Error::config(format!(
                "the store {} belongs to local = {}, not {}: give this deployment an id of its own",
                root.display(),
                state.local.display(),
                settings.local.display()
            )));
        }
        let (mut state, mut doubt) = (state, doubt);
        // A store of one's own outlives a change of `activation`; what stands at <local> decides what that takes.
        locations::refuse_to_change_ways(&state, mode, &root)?;
        (state.mode, state.local) = (mode, settings.local.clone());
        recovery::forget_lost(&mut state, &store, &mut doubt)?;
        // deployer.py copied over whatever was there, its own last installation before all.
        let behaviour = if settings.bundle.is_some() { Behaviour::Overwrite } else { Behaviour::Disallow };
        let activation = Activation::new(Setup {
            mode,
            local: &settings.local,
            store: &store,
            preserve: places.preserve(settings),
            behaviour,
            live_dir: state.live_dir.clone(),
            is_store_in_local: places.is_store_in_local,
        });
        let deadline = Deadline::after(settings.timeout);
        let source = Source::new(settings, &places.cache)?;
        let config_ini = config_ini::Notes::default();
        let hooks = [&settings.pre_hooks, &settings.post_hooks].into_iter().filter_map(|dir| hooks::Before::of(dir));
        let (stop, why, fetched, attempt_report) = (None, None, 0, None);
        Ok(Self {
            settings,
            places,
            store,
            activation,
            source,
            demands,
            state,
            doubt,
            deadline,
            _limit: console::limit(deadline),
            config_ini,
            stop,
            why,
            fetched,
            attempt_report,
            changes_file: changes_file::Written::default(),
            hooks: hooks.collect(),
        })
    }

    fn update(&mut self) -> Result<Outcome> {
        if let Some(healed) = self.recover()? {
            return Ok(healed);
        }
        status_file::hold_off(&self.store, &self.settings.remote.identity())?;
        self.look()
    }

    /// Looks for something new, and deploys it.
    pub fn look(&mut self) -> Result<Outcome> {
        let Some(target) = self.obtain()? else {
            return Ok(if self.why.is_some() { Outcome::OnHold } else { Outcome::Unchanged });
        };
        self.with_signals_deferred(|deployment| deployment.deploy(target))
    }

    /// Runs what must not be cut off by a signal halfway: it is noted, hooks are told, and the end comes after it.
    pub fn with_signals_deferred(&mut self, what: impl FnOnce(&mut Self) -> Result<Outcome>) -> Result<Outcome> {
        status_file::write_working(&self.store);
        let region = signal::defer();
        let outcome = what(self);
        self.stop = Deferred::close(region);
        outcome
    }

    /// Frames the one dangerous moment: pre hooks, begin, activate, post hooks, commit or revert.
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
        // Hooks that may not run would only be found out when the release is live.
        let judged = match hooks::refusal(&self.settings.post_hooks)? {
            Some(why) => Verdict::Failed(why),
            None => self.pre_hooks(&release)?,
        };
        match judged {
            Verdict::Passed => {}
            Verdict::Stopped(signal) => return Err(stopped(signal)),
            Verdict::Failed(why) => {
                self.note_failure(&target, FailureKind::Blocked, &why)?;
                log::warn!("blocked: {}: {why}; the next check tries again", check_report::named(&target));
                return Ok(Outcome::Blocked);
            }
        }
        if let Some(remark) = locations::open_to_all(self.settings, self.places.mode)? {
            log::warn!("{remark}");
        }
        let begun = self.begin()?;
        self.activate_and_verify(begun, &release, Reason::Update)
    }

    /// Says durably what is about to happen.
    pub fn begin(&mut self) -> Result<Begun> {
        self.activation.refuse_another()?;
        self.state.phase = Phase::Activating;
        self.state.live_dir = self.activation.live_dir();
        self.store.record(&self.state)?;
        self.config_ini.begin();
        Ok(Begun(()))
    }

    /// Makes the target live and lets its scripts and post hooks judge it.
    pub fn activate_and_verify(&mut self, begun: Begun, release: &Release, reason: Reason) -> Result<Outcome> {
        let verdict = self.ready_live_dir().and_then(|_| self.run_steps(release, reason));
        // What cannot even be tried has not passed.
        match verdict.unwrap_or_else(|e| Verdict::of(&e)) {
            Verdict::Stopped(signal) => Err(cut_off(signal)),
            Verdict::Passed => self.same_live_dir().and_then(|()| self.commit(begun)),
            Verdict::Failed(why) => self.same_live_dir().and_then(|()| self.revert(begun, &why)),
        }
    }

    /// Neither forward nor back when somebody put something else in the place of the live directory: the next check goes on
    /// once the right one is there again.
    pub fn same_live_dir(&self) -> Result<()> {
        self.activation.refuse_another().map_err(way_back_failed)
    }

    /// From the live release to the target, step by step; the first that fails ends it.
    fn run_steps(&self, release: &Release, reason: Reason) -> Result<Verdict> {
        self.activation.prepare(release, self.limit())?;
        self.stop(reason)?
            .then(|| self.before_install(reason))?
            .then(|| self.activation.activate(release, self.limit()).map(|()| Verdict::Passed))?
            .then(|| self.start(reason))?
            .then(|| self.post_hooks(reason))
    }

    /// The target is the live release from now on.
    pub fn commit(&mut self, Begun(()): Begun) -> Result<Outcome> {
        let Some(mut current) = self.state.target.take() else { return Err(Error::failed("nothing to commit")) };
        current.since = now();
        if self.state.is_rollback() {
            self.withdraw(&current);
        } else {
            log::info!("deployed revision {} as release {}{}", current.revision, current.release, self.at());
            self.state.failure = None;
            if self.state.current.as_ref().is_none_or(|before| before.release != current.release) {
                self.state.rolled_back.clear(); // something else is live
            }
        }
        self.state.hooks_state_unknown = false;
        let replaced = self.state.current.replace(current);
        // Deploying the same release anew, to settle a doubt, has no other one before it.
        if replaced.as_ref().map(|r| &r.release) != self.state.current.as_ref().map(|r| &r.release) {
            self.state.previous = replaced;
        }
        (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
        self.state.live_dir = self.activation.live_dir();
        // The new release is live, and the state on disk says that it is being activated: the next check finishes that.
        self.store.record(&self.state).map_err(in_doubt)?;
        self.doubt = None;
        self.close_ledger();
        self.prune();
        Ok(Outcome::Deployed)
    }

    /// Goes back to the release that was live, and remembers why.
    fn revert(&mut self, Begun(()): Begun, why: &str) -> Result<Outcome> {
        let target = self.state.target.clone();
        log::error!("{}: {why}; rolling back", target.as_ref().map_or_else(String::new, check_report::named));
        target.iter().for_each(|target| self.count_failure(target, FailureKind::Reverted, why));
        (self.state.phase, self.state.attempt) = (Phase::Reverting, 1);
        self.store.record(&self.state).map_err(in_doubt)?;
        self.finish_revert()
    }

    fn finish_revert(&mut self) -> Result<Outcome> {
        // What is left of the check's time is not the way back's business: it gets its own.
        self.deadline = Deadline::after(self.settings.timeout);
        let _limit = console::limit(self.deadline);
        let verdict = match self.state.current.clone() {
            Some(current) => {
                let release = self.release(&current.release).map_err(in_doubt)?;
                let back = self.ready_live_dir().and_then(|_| self.activation.reactivate(&release, self.limit()));
                back.map_err(way_back_failed)?;
                log::warn!("rolled back: release {} is live again", current.release);
                let judged = self.start_again().and_then(|verdict| verdict.then(|| self.post_hooks(Reason::Revert)));
                judged.unwrap_or_else(|e| Verdict::of(&e))
            }
            None => {
                self.activation.withdraw(&self.state.found, self.limit()).map_err(way_back_failed)?;
                log::warn!("rolled back: there was no release before, everything{} is as it was found", self.at());
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
            self.put_aside_back();
        }
        (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
        self.state.live_dir = self.activation.live_dir();
        self.store.record(&self.state).map_err(in_doubt)?;
        self.close_ledger();
        self.prune();
        Ok(Outcome::RolledBack)
    }

    /// Records what was learnt while nothing live changes. In doubt nothing is written before a deployment has settled it; and
    /// who only looks writes nothing at all.
    pub fn note(&self) -> Result<()> {
        if self.doubt.is_none() && !self.store.is_only_read() { self.store.record(&self.state) } else { Ok(()) }
    }

    /// ` at <local>`, where that is what changes.
    pub fn at(&self) -> String {
        match self.state.mode {
            ActivationMode::Install => String::new(),
            ActivationMode::Symlink | ActivationMode::InPlace => format!(" at {}", self.settings.local.display()),
        }
    }

    /// Closes what only an open deployment needs. That is over and well: the next check tries again.
    pub fn close_ledger(&self) {
        if let Err(e) = self.activation.close_ledger(self.state.current.as_ref().map(|current| &current.release)) {
            log::warn!("{e}; the next check tries again");
        }
    }

    /// How long an activation may go on.
    pub fn limit(&self) -> Limit {
        Limit::at(self.deadline)
    }

    pub fn release(&self, id: &ReleaseId) -> Result<Release> {
        self.store.release(id)?.ok_or_else(|| {
            Error::new(Kind::InDoubt, format!("release {id} is gone from {}", self.store.root().display()))
        })
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

pub fn foreign(root: &Path, format: &str) -> Error {
    Error::config(format!(
        "the state in {} has the format {format}, which this version does not know: a newer repo-deploy wrote it; run that one",
        root.display()
    ))
}

/// How long a command waits for a check at work: as long as one may take, with a way back.
pub fn turn(settings: &Settings) -> Duration {
    settings.timeout.saturating_mul(2)
}

/// Refuses to look at, or to mend, what is neither old nor new.
pub fn in_the_way(state: &State) -> Result<()> {
    match state.phase {
        Phase::Idle => Ok(()),
        phase => {
            let text = format!("the last deployment was cut off, {phase}: the next check (repo-deploy -f) finishes it");
            Err(Error::new(Kind::InDoubt, text))
        }
    }
}

/// A signal in the middle: what is live may be either.
pub fn cut_off(signal: i32) -> Error {
    let text = format!("stopped by signal {signal} in the middle of a deployment; the next start goes on with it");
    Error::new(Kind::Stopped(signal), text)
}

/// A signal ends the way back too: the next start goes on with it. What only somebody's hand can put right is told as it is.
pub fn way_back_failed(e: Error) -> Error {
    match e.kind() {
        Kind::Stopped(signal) => cut_off(signal),
        Kind::Config => e,
        Kind::Failed
        | Kind::Refused
        | Kind::Superseded
        | Kind::Unavailable { .. }
        | Kind::InDoubt
        | Kind::Usage
        | Kind::Locked => in_doubt(e),
    }
}

fn stopped(signal: i32) -> Error {
    Error::new(Kind::Stopped(signal), format!("stopped by signal {signal}"))
}

pub fn in_doubt(e: Error) -> Error {
    Error::new(Kind::InDoubt, format!("the live tree is in doubt, the next check tries to settle it: {e}"))
}
