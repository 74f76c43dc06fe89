//! A check as far as it only reads the store: it polls, fetches, verifies and decides. `plan` and `validate` have this
//! alone; a [`Deployment`](super::Deployment) holds the lock in addition, and writes.

use std::time::Instant;

use super::failure::foreign;
use super::recovery_action::{self, RecoveryAction};
use super::{hooks, overlap};
use crate::activate::limit::Limit;
use crate::activate::locations::{self, Places};
use crate::activate::{Activation, LiveTree, Setup};
use crate::appspec::Behaviour;
use crate::config::Settings;
use crate::console;
use crate::error::{Error, Kind, Result};
use crate::model::{ActivationMode, Reason, ReleaseId, Revision, Validators};
use crate::package::Demands;
use crate::source::Source;
use crate::store::state::{Found, Phase, Record, State};
use crate::store::{Recorded, Release, StoreView};
use crate::sys::clock::{Deadline, now};

/// A check of a deployment. It changes `state` in memory only.
pub struct Check<'a> {
    pub settings: &'a Settings,
    pub places: Places,
    pub store: StoreView,
    pub activation: Activation,
    pub source: Source,
    /// The proofs that `trust` requires of an archive.
    pub demands: Demands,
    pub state: State,
    /// Whether `state` is to be saved.
    pub is_changed: bool,
    /// The reason why the live tree is in doubt, if it is.
    pub doubt: Option<String>,
    pub deadline: Deadline,
    /// Limits how long a log line may wait for its reader.
    _limit: console::Limit,
    /// The reason why the revision of the source is not tried, if so; or why a rollback failed.
    pub hold_reason: Option<String>,
    /// Bytes of archives that were read from the source.
    pub fetched: u64,
    /// The deployment that this check makes or tries, if there is one.
    pub attempt: Option<Attempt>,
    /// The hook directories that existed when the check began, with their hooks.
    pub hooks: Vec<hooks::Before>,
}

/// The deployment that a check makes or tries.
#[derive(Debug)]
pub struct Attempt {
    pub reason: Reason,
    pub record: Option<Record>,
    pub from: Option<ReleaseId>,
    /// When the deployment began.
    pub since: Instant,
}

impl<'a> Check<'a> {
    /// A check of the deployment whose store is `store`, with its recorded state.
    pub fn new(settings: &'a Settings, places: Places, store: StoreView) -> Result<Self> {
        let demands = Demands::new(&settings.trust)?;
        overlap::refuse_to_swallow(settings, &places)?;
        let (mode, root) = (places.mode, store.root().to_owned());
        let (mut state, mut doubt) = recorded_state(settings, mode, &store)?;
        // A store beside <local> is found by that path: both were moved together, or are reached by another name.
        let is_beside = mode == ActivationMode::Symlink && settings.store.is_none();
        if state.local != settings.local && !is_beside && mode != ActivationMode::Install {
            return Err(Error::config(format!(
                "the store {} belongs to local = {}, not {}: give this deployment an id of its own",
                root.display(),
                state.local.display(),
                settings.local.display()
            )));
        }
        // A configured store may survive a change of `activation`; the entry at <local> decides what the change
        // requires.
        locations::refuse_to_change_ways(&state, mode, &root)?;
        (state.mode, state.local) = (mode, settings.local.clone());
        forget_lost(&mut state, &store, &mut doubt)?;
        // deployer.py overwrote existing files, its own last installation above all.
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
        let hooks = [&settings.pre_hooks, &settings.post_hooks].into_iter().filter_map(|dir| hooks::Before::of(dir));
        Ok(Self {
            settings,
            places,
            store,
            activation,
            source,
            demands,
            state,
            doubt,
            is_changed: false,
            deadline,
            _limit: console::limit(deadline),
            hold_reason: None,
            fetched: 0,
            attempt: None,
            hooks: hooks.collect(),
        })
    }

    /// Determines the recovery action and the kind of entry at `<local>`.
    pub fn diagnose(&self) -> Result<(RecoveryAction, LiveTree)> {
        let standing = self.activation.standing()?;
        let known = (self.doubt.is_none() && self.has_history()).then_some(&self.state);
        let heal = recovery_action::decide(self.state.mode, known, &standing);
        match heal {
            RecoveryAction::Nothing
            | RecoveryAction::Fresh(_)
            | RecoveryAction::Adopt(_)
            | RecoveryAction::Refuse(_) => {}
            // The directory may be a copy of the original.
            RecoveryAction::Repair => {}
            RecoveryAction::KeepFound | RecoveryAction::StartOver | RecoveryAction::Resume | RecoveryAction::Revert => {
                self.activation.refuse_another()?;
            }
        }
        Ok((heal, standing))
    }

    /// The error for a `<local>` that cannot be deployed to.
    pub fn refusal(&self, why: &str) -> Error {
        Error::config(format!("cannot deploy to {}: {why}", self.settings.local.display()))
    }

    /// Starts the history entry of a deployment of `record`, as far as it is known. No entry is written if there turns
    /// out to be nothing to deploy.
    pub fn begin_attempt(&mut self, reason: Reason, record: Option<Record>) {
        let from = self.state.current.as_ref().map(|current| current.release.clone());
        self.attempt = Some(Attempt { reason, record, from, since: Instant::now() });
    }

    /// Makes an adopted release the live one in the state.
    pub fn adopt(&mut self, release: ReleaseId) {
        let (revision, validators) = (Revision::new(""), Validators::default());
        self.state.current = Some(Record { release, revision, validators, since: now(), proof: None });
        self.is_changed = true;
    }

    /// ` at <local>`, in the modes that change `<local>`.
    pub fn at(&self) -> String {
        match self.state.mode {
            ActivationMode::Install => String::new(),
            ActivationMode::Symlink | ActivationMode::InPlace => format!(" at {}", self.settings.local.display()),
        }
    }

    /// The time limit of an activation.
    pub fn limit(&self) -> Limit {
        Limit::at(self.deadline)
    }

    pub fn release(&self, id: &ReleaseId) -> Result<Release> {
        self.store.release(id)?.ok_or_else(|| {
            Error::new(Kind::InDoubt, format!("release {id} is gone from {}", self.store.root().display()))
        })
    }

    fn has_history(&self) -> bool {
        self.state.current.is_some() || self.state.phase != Phase::Idle
    }
}

/// The state in `store`, and why the live tree is in doubt if it cannot be read.
fn recorded_state(settings: &Settings, mode: ActivationMode, store: &StoreView) -> Result<(State, Option<String>)> {
    let root = store.root();
    let fresh = || State::fresh(settings.local.clone(), mode, Found::Absent);
    Ok(match store.recorded()? {
        Recorded::State(state) => (*state, None),
        Recorded::Nothing => (fresh(), None),
        Recorded::Foreign(format) => return Err(foreign(root, &format)),
        Recorded::Unreadable(reason) => {
            let doubt = format!("the state in {} cannot be read: {reason}", root.display());
            log::error!("{doubt}; keeping the live tree until a deployment settles it");
            (fresh(), Some(doubt))
        }
    })
}

/// Handles releases that were removed from the store by hand. A lost live release is fetched again. If it was the
/// rollback target of an interrupted deployment, the right live tree is unknown: a new deployment settles it.
fn forget_lost(state: &mut State, store: &StoreView, doubt: &mut Option<String>) -> Result<()> {
    let is_lost = |r: &Option<Record>| match r {
        Some(r) => store.release(&r.release).map(|found| found.is_none()),
        None => Ok(false),
    };
    let is_gone = is_lost(&state.current)?;
    if state.phase == Phase::Idle && is_gone {
        log::error!("the live release is gone from {}: fetching it again", store.root().display());
        state.current = None;
    }
    if let Some(current) = state.current.take_if(|_| state.phase != Phase::Idle && is_gone) {
        let lost = format!("release {} is gone from {}", current.release, store.root().display());
        log::error!("a deployment was cut off, and {lost}: there is no way back, deploying anew to settle it");
        let version = state.version.take();
        *state = State { version, ..State::fresh(state.local.clone(), state.mode, state.found.clone()) };
        *doubt = Some(lost);
    }
    if is_lost(&state.previous)? {
        state.previous = None;
    }
    Ok(())
}
