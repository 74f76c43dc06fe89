//! A check as far as it only reads the store: it polls, fetches, verifies and decides. `plan` and `validate` have this
//! alone; a [`Deployment`](super::Deployment) holds the lock in addition, and writes.

use std::ops::Deref;

use super::context::Context;
use super::failure::foreign;
use super::findings::{Attempt, Findings};
use super::recovery_action::{self, RecoveryAction};
use super::{hooks, overlap};
use crate::activate::locations::{self, Places};
use crate::activate::{Activation, LiveTree, Setup};
use crate::appspec::Behaviour;
use crate::config::Settings;
use crate::console;
use crate::error::{Error, Result};
use crate::model::{ActivationMode, Reason, ReleaseId, Revision, Validators};
use crate::package::Demands;
use crate::source::Source;
use crate::store::state::{Found, Phase, Record, State};
use crate::store::{Recorded, StoreView};
use crate::sys::clock::{Deadline, now};

/// A check of a deployment, which changes its state in memory only.
pub struct Check<'a> {
    pub context: Context<'a>,
    pub state: State,
    /// Whether `state` is to be saved.
    pub is_changed: bool,
    /// The reason why the live tree is in doubt, if it is.
    pub doubt: Option<String>,
    pub findings: Findings,
}

/// A check reads its context as its own; to change it, it has to name it.
impl<'a> Deref for Check<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.context
    }
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
        let (hooks, _limit) = (hooks.collect(), console::limit(deadline));
        let context = Context { settings, places, store, activation, source, demands, deadline, hooks, _limit };
        Ok(Self { context, state, is_changed: false, doubt, findings: Findings::default() })
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

    /// Starts the history entry of a deployment of `record`, as far as it is known. No entry is written if there turns
    /// out to be nothing to deploy.
    pub fn begin_attempt(&mut self, reason: Reason, record: Option<Record>) {
        self.findings.attempt = Some(Attempt::begin(reason, record, &self.state));
    }

    /// Makes an adopted release the live one in the state.
    pub fn adopt(&mut self, release: ReleaseId) {
        let (revision, validators) = (Revision::new(""), Validators::default());
        self.state.current = Some(Record { release, revision, validators, since: now(), proof: None });
        self.is_changed = true;
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
