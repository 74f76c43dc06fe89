//! `repo-deploy plan`: shows the steps of the next check. It makes the same decisions, but changes nothing live, runs
//! no hook and writes no state, so the next check is the same as without it. An archive that must be fetched stays in
//! the cache for that check.
//!
//! A ZIP over HTTP or from S3 is not fetched: its directory is enough. `archive` examines the archive of the source,
//! `release` plans the release, `shown` prints the plan.

mod archive;
mod changes;
mod release;
pub mod shown;

use self::changes::Changes;
use super::status;
use crate::activate::locations;
use crate::config::Settings;
use crate::deploy::check::Check;
use crate::deploy::prepare::{PollDecision, until_settled};
use crate::deploy::recovery_action::{self, RecoveryAction};
use crate::error::{Error, Kind, Result};
use crate::model::{ActivationMode, ReleaseId, Revision};
use crate::report::check_report::named;
use crate::report::status_file::Status;
use crate::store::manifest::Manifest;
use crate::store::state::{Phase, Record};
use crate::store::{Recorded, Release, StoreView};

/// The exit code if the next check has something to do.
const SOMETHING: u8 = 10;

/// The plan of the next check.
#[derive(Debug, Default)]
pub struct Plan {
    /// The known facts, in order.
    facts: Vec<(&'static str, Fact)>,
    /// `deploy`, `unchanged`, `on-hold`; or `recover`: an interrupted deployment must be finished first.
    outcome: &'static str,
    /// Further remarks for the operator.
    notes: Vec<String>,
    /// The reasons why the check would fail, before or after the release is live.
    obstacles: Vec<String>,
    changes: Changes,
    /// The changes inside the bundle, which hooks get, where `changes` are those of the host.
    inside: Option<Changes>,
    /// The programs in the order in which they run, each with its phase.
    hooks: Vec<(&'static str, String)>,
    /// The exit code: 0 nothing to do, 10 something to do, else the exit code of the check.
    pub code: u8,
}

/// A value: a text, a number of bytes, an optional release, or a revision.
#[derive(Debug)]
enum Fact {
    Text(String),
    Bytes(u64),
    Release(Option<Record>),
    Revision(Revision),
}

/// Polls the source and plans the next check.
pub fn plan(settings: &Settings) -> Result<Plan> {
    let places = locations::locate(settings)?;
    let store = StoreView::open(&places.store)?;
    keep_clear(&store)?;
    let mut check = Check::new(settings, places, store)?;
    check.context.source.look_ahead();
    let mut plan = Plan::default();
    let told = check.foretell(&mut plan);
    match (&check.doubt, told) {
        (Some(doubt), Err(e)) => Err(Error::new(Kind::InDoubt, format!("{doubt}; {e}"))),
        (_, told) => told.map(|()| plan),
    }
}

/// Fails during a deployment: its end cannot be foreseen.
fn keep_clear(store: &StoreView) -> Result<()> {
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

    /// Adds a step that the check takes before all others.
    fn first(&mut self, text: &str) {
        self.code = SOMETHING;
        self.notes.push(format!("the next check first {text}"));
    }

    /// Adds a reason why the check would fail.
    fn ends(&mut self, code: u8, why: String) {
        if self.obstacles.is_empty() {
            self.code = code;
        }
        self.obstacles.push(why);
    }
}

impl Check<'_> {
    fn foretell(&mut self, plan: &mut Plan) -> Result<()> {
        let head = |check: &Self, plan: &mut Plan| {
            plan.text("id", &*check.settings.id);
            plan.text("remote", check.settings.remote.to_string());
            plan.facts.push(("live", Fact::Release(check.state.current.clone())));
        };
        if let Some(doubt) = &self.doubt {
            plan.notes.push(format!("the live tree is in doubt: {doubt}; a deployment settles it"));
        }
        head(self, plan);
        let live = match self.plan_healing(plan)? {
            Some(live) => live,
            None => return Ok(()), // a recovery is a deployment of its own
        };
        Status::read(&self.store).hold_off(&self.settings.remote.identity())?;
        let is_pending = plan.code;
        let notes = plan.notes.len();
        until_settled(self.settings, || {
            // An attempt whose archive was replaced meanwhile is void.
            *plan = Plan { notes: plan.notes.drain(..notes).collect(), code: is_pending, ..Plan::default() };
            head(self, plan);
            self.plan_deployment(plan, &live)
        })
    }

    /// Plans the recovery; returns the entries that are live after it. `None`: the check ends with the recovery.
    fn plan_healing(&mut self, plan: &mut Plan) -> Result<Option<Manifest>> {
        match self.diagnose()?.0 {
            RecoveryAction::Nothing | RecoveryAction::Fresh(_) => {}
            RecoveryAction::Refuse(why) => return Err(self.refusal(why)),
            RecoveryAction::Adopt(release) => self.adopt(release),
            RecoveryAction::KeepFound => {
                let local = self.settings.local.display();
                plan.notes.push(format!("a copy of what is found at {local} is kept in the store first"));
                let live = self.activation.found()?;
                ReleaseId::adopted().next().into_iter().for_each(|id| self.adopt(id));
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

    /// Plans how an interrupted deployment is finished or rolled back.
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
        // A release that was removed from the store counts as empty.
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
            plan.changes = Changes::default(); // the rollback is done: only its hooks run
        }
        Ok(())
    }

    /// Whether the rollback to this release has already restored the live tree. An installation is always repeated.
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

    /// Plans the deployment of the offered revision.
    fn plan_deployment(&mut self, plan: &mut Plan, live: &Manifest) -> Result<()> {
        match self.poll()? {
            PollDecision::Nothing => self.plan_nothing(plan),
            PollDecision::Ready(record) => self.plan_ready(plan, live, &record)?,
            PollDecision::Fetch(mut offer) => {
                // An appspec must be read, and the files that it names.
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
        if let Some(why) = &self.findings.hold_reason {
            plan.outcome = "on-hold";
            plan.notes.push(why.clone());
        }
    }

    /// Plans a release that is complete in the store.
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
