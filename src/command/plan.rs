//! `repo-deploy plan`: what the next check would do, found out by the same decisions and told instead of done. Nothing live
//! is touched, no hook runs, no state is written: a check afterwards does what it would have done without it. What has to be
//! fetched to know is left where the check finds it.
//!
//! A ZIP over HTTP or from S3 is not fetched: its directory tells. `archive` looks into what the source has, `release` tells what becomes of it,
//! `shown` shows it.

mod archive;
mod changes;
mod release;
mod shown;

use self::changes::Changes;
pub use self::shown::{json, json_begins, json_ends};
use super::status;
use crate::activate::locations;
use crate::config::Settings;
use crate::deploy::Deployment;
use crate::deploy::prepare::PollDecision;
use crate::deploy::recovery_action::{self, RecoveryAction};
use crate::error::{Error, Kind, Result};
use crate::model::{ActivationMode, ReleaseId, Revision};
use crate::report::check_report::named;
use crate::report::status_file;
use crate::store::manifest::Manifest;
use crate::store::state::{Phase, Record};
use crate::store::{Recorded, Release, Store};

/// There is something to do.
const SOMETHING: u8 = 10;

/// What the next check would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is known, in order.
    facts: Vec<(&'static str, Fact)>,
    /// `deploy`, `unchanged`, `on-hold`; or `recover`: something has to be finished first.
    outcome: &'static str,
    /// What one should know besides.
    notes: Vec<String>,
    /// What would end it before, or after, the release is live.
    obstacles: Vec<String>,
    changes: Changes,
    /// Where the changes are those of the machine, what changes in the bundle: hooks are told that.
    inside: Option<Changes>,
    /// Programs in the order in which they run, and when.
    hooks: Vec<(&'static str, String)>,
    /// The process exit code: 0 nothing to do, 10 something, else as the check would end.
    pub code: u8,
}

/// A value: a text, a number of bytes, a release when there is one, a revision.
#[derive(Debug)]
enum Fact {
    Text(String),
    Bytes(u64),
    Release(Option<Record>),
    Revision(Revision),
}

/// Asks the source, and says what a check would do now.
pub fn plan(settings: &Settings) -> Result<Plan> {
    let places = locations::locate(settings)?;
    let store = Store::look(&places.store)?;
    keep_clear(&store)?;
    let mut deployment = Deployment::with(settings, places, store)?;
    deployment.source.look_ahead();
    let mut plan = Plan::default();
    let told = deployment.foretell(&mut plan);
    match (&deployment.doubt, told) {
        (Some(doubt), Err(e)) => Err(Error::new(Kind::InDoubt, format!("{doubt}; {e}"))),
        (_, told) => told.map(|()| plan),
    }
}

/// What a deployment at work will come to, nobody can tell.
fn keep_clear(store: &Store) -> Result<()> {
    match store.recorded()? {
        Recorded::State(state) if state.phase != Phase::Idle && store.is_locked()? => {
            let text = format!("a deployment is at work ({}): plan when it is over", state.phase);
            Err(Error::new(Kind::Locked, text))
        }
        Recorded::State(_) | Recorded::Nothing | Recorded::Foreign(_) | Recorded::Unreadable(_) => Ok(()),
    }
}

impl Plan {
    fn text(&mut self, key: &'static str, text: impl Into<String>) {
        self.facts.push((key, Fact::Text(text.into())));
    }

    fn bytes(&mut self, key: &'static str, bytes: u64) {
        self.facts.push((key, Fact::Bytes(bytes)));
    }

    /// Something is put right before anything else.
    fn first(&mut self, text: &str) {
        self.code = SOMETHING;
        self.notes.push(format!("the next check first {text}"));
    }

    /// What a check would fail with.
    fn ends(&mut self, code: u8, why: String) {
        if self.obstacles.is_empty() {
            self.code = code;
        }
        self.obstacles.push(why);
    }
}

impl Deployment<'_> {
    fn foretell(&mut self, plan: &mut Plan) -> Result<()> {
        let head = |deployment: &Self, plan: &mut Plan| {
            plan.text("id", &*deployment.settings.id);
            plan.text("remote", deployment.settings.remote.to_string());
            plan.facts.push(("live", Fact::Release(deployment.state.current.clone())));
        };
        if let Some(doubt) = &self.doubt {
            plan.notes.push(format!("the live tree is in doubt: {doubt}; a deployment settles it"));
        }
        head(self, plan);
        let live = match self.plan_healing(plan)? {
            Some(live) => live,
            None => return Ok(()), // that is a deployment of its own
        };
        status_file::hold_off(&self.store, &self.settings.remote.identity())?;
        let is_pending = plan.code;
        let notes = plan.notes.len();
        self.until_settled(&mut |deployment| {
            // What an attempt found out about something that was replaced meanwhile says nothing.
            *plan = Plan { notes: plan.notes.drain(..notes).collect(), code: is_pending, ..Plan::default() };
            head(deployment, plan);
            deployment.plan_deployment(plan, &live)
        })
    }

    /// What is put right before anything new is looked for, and what is live then. `None`: the check is over with that.
    fn plan_healing(&mut self, plan: &mut Plan) -> Result<Option<Manifest>> {
        match self.diagnose()?.0 {
            RecoveryAction::Nothing | RecoveryAction::Fresh(_) => {}
            RecoveryAction::Refuse(why) => return Err(self.refusal(why)),
            RecoveryAction::Adopt(release) => self.adopt(release)?,
            RecoveryAction::KeepFound => {
                let local = self.settings.local.display();
                plan.notes.push(format!("a copy of what is found at {local} is kept in the store first"));
                let live = self.activation.found()?;
                ReleaseId::adopted().next().map_or(Ok(()), |id| self.adopt(id))?;
                return Ok(Some(live));
            }
            RecoveryAction::Repair => {
                let Some(current) = self.state.current.clone() else { return Ok(Some(Manifest::default())) };
                if let Some(drift) = self.activation.drift(&self.release(&current.release)?)? {
                    let (local, release) = (self.settings.local.display(), current.release);
                    plan.first(&format!("puts release {release} back at {local}: {drift}"));
                }
            }
            RecoveryAction::StartOver => {
                plan.first("starts a deployment over that was cut off before it changed anything");
                (self.state.phase, self.state.attempt) = (Phase::Idle, 0);
            }
            RecoveryAction::Resume => return self.plan_finish(plan, false).map(|()| None),
            RecoveryAction::Revert => return self.plan_finish(plan, true).map(|()| None),
        }
        match &self.state.current {
            Some(current) => self.made_of(&current.release).map(Some),
            None => Ok(Some(Manifest::default())),
        }
    }

    /// A deployment that was cut off goes on, or back.
    fn plan_finish(&self, plan: &mut Plan, is_back: bool) -> Result<()> {
        let (to, from) = (self.state.target.as_ref(), self.state.current.as_ref());
        let (to, from) = if is_back { (from, to) } else { (to, from) };
        let way = if is_back { "goes back to" } else { "goes on to" };
        let name = to.map_or_else(|| "what was found".to_owned(), named);
        let is_there = match to.filter(|_| is_back && self.state.phase == Phase::Reverting) {
            Some(to) => self.is_back(&to.release)?,
            None => false,
        };
        if is_there {
            let attempt = self.state.attempt.saturating_add(1);
            let most = recovery_action::MAX_ATTEMPTS.max(attempt);
            plan.code = SOMETHING;
            plan.notes.push(format!("post hooks run again for {name} (attempt {attempt} of {most})"));
        } else {
            plan.first(&format!("finishes a deployment that was cut off: it {way} {name}"));
        }
        plan.outcome = "recover";
        // One that somebody removed is nothing.
        let release = |record: Option<&Record>| match record {
            Some(record) => self.store.release(&record.release),
            None => Ok(None),
        };
        let of = |release: &Option<Release>| {
            release.as_ref().map_or(Ok(Manifest::default()), |release| self.made_of(&release.id))
        };
        let (to, from) = (release(to)?, release(from)?);
        self.compare(plan, &of(&from)?, &of(&to)?)?;
        if !is_back {
            self.plan_scripts(plan, to.as_ref().map(|to| &*to.path))?;
        }
        self.plan_hooks(plan, "post")?;
        if is_there {
            plan.changes = Changes::default(); // hooks were chosen by what came back
        }
        Ok(())
    }

    /// Whether the live tree is that of this release again. An installation is gone through anew in any case.
    fn is_back(&self, id: &ReleaseId) -> Result<bool> {
        let Some(release) = self.store.release(id)? else { return Ok(false) };
        let mut is_back = self.activation.drift(&release)?.is_none();
        match self.state.mode {
            ActivationMode::Symlink => {}
            ActivationMode::InPlace if is_back => {
                self.activation.differences(&release, &self.made_of(id)?, &mut |_, _| is_back = false)?;
            }
            ActivationMode::InPlace | ActivationMode::Install => is_back = false,
        }
        Ok(is_back)
    }

    /// What becomes of what the source has.
    fn plan_deployment(&mut self, plan: &mut Plan, live: &Manifest) -> Result<()> {
        match self.poll()? {
            PollDecision::Nothing => self.plan_nothing(plan),
            PollDecision::Ready(record) => self.plan_ready(plan, live, &record)?,
            PollDecision::Fetch(mut offer) => {
                // An appspec has to be read, and what it names.
                let is_told =
                    self.state.mode != ActivationMode::Install && self.plan_by_directory(plan, live, &mut offer)?;
                if !is_told {
                    self.plan_by_fetching(plan, live, offer)?;
                }
            }
        }
        Ok(())
    }

    fn plan_nothing(&self, plan: &mut Plan) {
        plan.outcome = "unchanged";
        if let Some(why) = &self.why {
            plan.outcome = "on-hold";
            plan.notes.push(why.clone());
        }
    }

    /// What is complete in the store.
    fn plan_ready(&self, plan: &mut Plan, live: &Manifest, record: &Record) -> Result<()> {
        let release = self.release(&record.release)?;
        let failure = self.state.failure.as_ref().filter(|failure| failure.release == record.release);
        plan.notes.extend(failure.map(status::failed));
        plan.facts.push(("revision", Fact::Revision(record.revision.clone())));
        plan.text("release", release.id.as_str());
        plan.bytes("fetch", 0);
        match self.state.mode {
            ActivationMode::Install => self.plan_install(plan, &release.path, &release.id),
            ActivationMode::Symlink | ActivationMode::InPlace => {
                self.plan_switch(plan, live, &self.made_of(&release.id)?)
            }
        }
    }
}
