//! Lifecycle events of a bundle: which release's scripts run at which event, as which user, and with which variables.
//! The live release's scripts stop the application; all other scripts are the new release's. Only installations have
//! them.

use std::ffi::OsString;
use std::time::Duration;

use super::Deployment;
use super::hooks::{Hook, Verdict, secrets};
use crate::activate::install::bundle::{Installable, Job};
use crate::appspec::Event;
use crate::config::Settings;
use crate::config::owner::Accounts;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{ActivationMode, Reason};
use crate::remote::Remote;
use crate::store::Release;
use crate::store::state::{Record, State};
use crate::sys::log;
use crate::sys::process::{self, Identity};
use crate::sys::signal;

/// The events that stop the live release.
pub const STOP: [Event; 3] = [Event::BeforeBlockTraffic, Event::AfterBlockTraffic, Event::ApplicationStop];
/// The event in which the first bundle stops the application that deployer.py installed.
pub const STOP_FIRST: [Event; 1] = [Event::ApplicationStop];
/// The events that start the new release once its files are in place.
pub const START: [Event; 5] = [
    Event::AfterInstall,
    Event::ApplicationStart,
    Event::ValidateService,
    Event::BeforeAllowTraffic,
    Event::AfterAllowTraffic,
];

type Environment = Vec<(&'static str, OsString)>;

impl Deployment<'_> {
    /// Stops the live release; before the first deployment there is none.
    pub fn stop(&self, reason: Reason) -> Result<Verdict> {
        let Some(live) = &self.state.current else { return self.stop_the_first(reason) };
        for event in STOP {
            match self.events(live, &[event], "pre", reason) {
                Ok(Verdict::Passed) => {}
                Ok(Verdict::Stopped(signal)) => return Ok(Verdict::Stopped(signal)),
                Ok(Verdict::Failed(why)) if self.settings.ignore_stop_failure => {
                    log::warn!("{why}; going on, as ignore-stop-failure says");
                }
                Err(e) if self.settings.ignore_stop_failure => {
                    log::warn!("{e}; going on, as ignore-stop-failure says");
                }
                verdict => return verdict,
            }
        }
        Ok(Verdict::Passed)
    }

    /// In a section of deployer.py an application is installed and running before the first bundle comes, and only that
    /// bundle has scripts to stop it. A failure is a warning: there may be nothing to stop.
    fn stop_the_first(&self, reason: Reason) -> Result<Verdict> {
        if self.settings.bundle.is_none() {
            return Ok(Verdict::Passed);
        }
        let why = match self.events_of_target(&STOP_FIRST, "pre", reason) {
            Ok(Verdict::Failed(why)) => why,
            Err(e) if !matches!(e.kind(), Kind::Stopped(_)) => e.to_string(),
            verdict => return verdict,
        };
        log::warn!("{why}; going on: no release of ours is live yet, so there may be nothing to stop");
        Ok(Verdict::Passed)
    }

    /// Runs the events of the new release that precede the installation of its files.
    pub fn before_install(&self, reason: Reason) -> Result<Verdict> {
        self.events_of_target(&[Event::BeforeInstall], "pre", reason)
    }

    /// Runs the events of the new release that follow the installation of its files.
    pub fn start(&self, reason: Reason) -> Result<Verdict> {
        self.events_of_target(&START, "post", reason)
    }

    /// Runs the events of the previous release once its files are restored.
    pub fn start_again(&self) -> Result<Verdict> {
        let events = [Event::AfterInstall, Event::ApplicationStart, Event::ValidateService];
        match &self.state.current {
            Some(current) => self.events(current, &events, "post", Reason::Revert),
            None => Ok(Verdict::Passed),
        }
    }

    fn events_of_target(&self, events: &[Event], phase: &str, reason: Reason) -> Result<Verdict> {
        match &self.state.target {
            Some(target) => self.events(target, events, phase, reason),
            None => Ok(Verdict::Passed),
        }
    }

    /// Runs the scripts of the release `of` for `events`, up to the first that fails.
    fn events(&self, of: &Record, events: &[Event], phase: &str, reason: Reason) -> Result<Verdict> {
        if self.state.mode != ActivationMode::Install {
            return Ok(Verdict::Passed);
        }
        let release = self.release(&of.release)?;
        let bundle = Installable::read(&release.path)
            .with_context(|| format!("cannot read the appspec of release {}", release.id))?;
        let mut jobs: Vec<(Event, Job)> = Vec::new();
        for event in events {
            jobs.extend(bundle.scripts(*event).into_iter().map(|job| (*event, job)));
        }
        if jobs.is_empty() {
            return Ok(Verdict::Passed); // skips computing the environment
        }
        let mut env = self.environment(phase, reason, self.new_release()?.as_ref())?;
        env.extend(about_the_bundle(self.settings, &self.state, reason));
        let region = signal::defer();
        let mut verdict = Verdict::Passed;
        for (event, job) in jobs {
            verdict = self.script(&bundle, event, &job, &env)?;
            if verdict != Verdict::Passed {
                break;
            }
        }
        Ok(region.close().map_or(verdict, Verdict::Stopped))
    }

    /// The release being deployed, if there is one.
    fn new_release(&self) -> Result<Option<Release>> {
        self.state.target.as_ref().map(|target| self.release(&target.release)).transpose()
    }

    fn script(&self, bundle: &Installable, event: Event, job: &Job, env: &Environment) -> Result<Verdict> {
        let mut env = env.clone();
        env.push(("LIFECYCLE_EVENT", event.name().into()));
        let identity = match &job.runas {
            Some(runas) => become_user(runas, &mut env)?,
            None => None,
        };
        let title = format!("{} {}", event.name(), job.location.display());
        let path = bundle.script(&job.location)?;
        let whose = job.runas.as_ref().map_or_else(String::new, |user| format!(" as {user}"));
        log::info!("{title} starts{whose}");
        let dir = bundle.root.clone();
        let script = Hook { path, title, dir, identity, limit: "its timeout", is_for_shell: true };
        Ok(script.run(&env, Duration::from_secs(job.timeout.into()), self.deadline))
    }
}

/// The variables that scripts written for CodeDeploy expect.
fn about_the_bundle(settings: &Settings, state: &State, reason: Reason) -> Environment {
    let id = || OsString::from(settings.id.clone());
    let mut env = vec![("APPLICATION_NAME", id()), ("DEPLOYMENT_GROUP_NAME", id()), ("DEPLOYMENT_GROUP_ID", id())];
    // During a rollback, the previous release is the one being deployed.
    let subject = if reason == Reason::Revert { &state.current } else { &state.target };
    let Some(target) = subject else { return env };
    env.push(("DEPLOYMENT_ID", target.release.as_str().into()));
    let revision = target.revision.as_str();
    if let Remote::S3(object) = &settings.remote {
        let version = revision.strip_prefix("version:").or(object.version.as_deref()).unwrap_or_default();
        let etag = target.validators.get("etag").unwrap_or_default().trim_matches('"');
        env.push(("BUNDLE_BUCKET", object.bucket.clone().into()));
        env.push(("BUNDLE_KEY", object.key.clone().into()));
        env.push(("BUNDLE_VERSION", version.into()));
        env.push(("BUNDLE_ETAG", etag.into()));
    }
    if let Remote::Git(_) = &settings.remote {
        env.push(("BUNDLE_COMMIT", revision.into()));
    }
    env
}

/// Looks up the user `runas` and sets the variables that programs of that user expect. `None`: this process already
/// runs as that user.
fn become_user(runas: &str, env: &mut Environment) -> Result<Option<Identity>> {
    let user = Accounts::read()
        .and_then(|accounts| accounts.user(runas))
        .map_err(|why| Error::failed(format!("runas: {why}")))?;
    env.push(("HOME", user.home.into()));
    env.push(("USER", user.name.clone().into()));
    env.push(("LOGNAME", user.name.into()));
    let unset = secrets::in_environment();
    let identity = Identity { uid: user.owner.uid, gid: user.owner.gid, groups: user.groups, unset };
    Ok(Some(identity).filter(|identity| !process::is_us(identity)))
}
