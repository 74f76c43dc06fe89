//! The environment of hooks: the two trees to compare, and the deployment they belong to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Deployment;
use super::hooks::{self, Found, Verdict};
use crate::activate::install::bundle;
use crate::error::Result;
use crate::model::{ActivationMode, Reason};
use crate::store::Release;
use crate::store::state::Record;

impl Deployment<'_> {
    /// Runs the pre hooks for `release`, which is complete and not live.
    pub fn pre_hooks(&self, release: &Release) -> Result<Verdict> {
        self.run_hooks(&self.settings.pre_hooks, "pre", Reason::Update, Some(release))
    }

    /// Runs the post hooks for the live release.
    pub fn post_hooks(&self, reason: Reason) -> Result<Verdict> {
        self.run_hooks(&self.settings.post_hooks, "post", reason, None)
    }

    fn run_hooks(&self, dir: &Path, phase: &str, reason: Reason, new: Option<&Release>) -> Result<Verdict> {
        let gone = |what: String| {
            let why = "was there when the check began, and is gone: hooks that cannot be asked have not agreed";
            Ok(Verdict::Failed(format!("{what} {why}")))
        };
        let before = self.hooks.iter().find(|before| before.is_of(dir));
        if before.is_some() && hooks::is_missing(dir)? {
            return gone(format!("the hook directory {}", dir.display()));
        }
        let mut hooks = match hooks::find(dir)? {
            Found::Hooks(hooks) => hooks,
            Found::Refused(why) => return Ok(Verdict::Failed(why)),
        };
        if let Some(hook) = before.and_then(|before| before.lost(&hooks)) {
            return gone(format!("the hook {}", hooks::title(&hook)));
        }
        self.pass_over(&mut hooks, reason)?;
        if hooks.is_empty() {
            return Ok(Verdict::Passed); // skips computing the environment
        }
        let environment = self.environment(phase, reason, new)?;
        Ok(hooks::run(&hooks, &environment, self.settings.hook_timeout, self.deadline))
    }

    /// The variables that hooks get. `new`: the release that pre hooks may inspect before it is live.
    pub fn environment(
        &self,
        phase: &str,
        reason: Reason,
        new: Option<&Release>,
    ) -> Result<Vec<(&'static str, OsString)>> {
        let state = &self.state;
        let local = || self.settings.local.clone().into_os_string();
        let nothing = || self.store.nothing().map(PathBuf::into_os_string);
        let before = match &state.current {
            Some(current) => self.release(&current.release)?.path.into_os_string(),
            None => nothing()?,
        };
        let (current, previous) = match (reason, new) {
            _ if state.mode == ActivationMode::Install => self.bundles(reason)?,
            (Reason::Revert, _) => (local(), OsString::new()),
            (_, Some(release)) if state.current.is_some() => (release.path.clone().into_os_string(), local()),
            (_, Some(release)) => (release.path.clone().into_os_string(), before),
            (_, None) => (local(), before),
        };
        let is_back = reason == Reason::Revert;
        let (to, from) = if is_back { (&state.current, &state.target) } else { (&state.target, &state.current) };
        let revision = |r: &Option<Record>| OsString::from(r.as_ref().map_or("", |r| r.revision.as_str()));
        Ok(vec![
            ("CURRENT_CONFIG", current),
            ("PREVIOUS_CONFIG", previous),
            ("REPO_DEPLOY_ID", self.settings.id.clone().into()),
            ("REPO_DEPLOY_REMOTE", self.settings.remote.to_string().into()),
            ("REPO_DEPLOY_REVISION", revision(to)),
            ("REPO_DEPLOY_PREVIOUS_REVISION", revision(from)),
            ("REPO_DEPLOY_RELEASE", to.as_ref().map_or("", |r| r.release.as_str()).into()),
            ("REPO_DEPLOY_PHASE", phase.into()),
            ("REPO_DEPLOY_REASON", reason.to_string().into()),
            ("REPO_DEPLOY_ATTEMPT", state.attempt.to_string().into()),
            ("REPO_DEPLOY_CHANGED_FILES", self.changed_files(reason)?.into_os_string()),
        ])
    }

    /// In a mode without `<local>`: the directories of the new bundle and of the previous one.
    fn bundles(&self, reason: Reason) -> Result<(OsString, OsString)> {
        let root = |record: &Option<Record>| -> Result<OsString> {
            Ok(match record {
                Some(record) => bundle::root(&self.release(&record.release)?.path).into_os_string(),
                None => self.store.nothing()?.into_os_string(),
            })
        };
        let state = &self.state;
        match reason {
            Reason::Revert => Ok((root(&state.current)?, OsString::new())),
            Reason::Update | Reason::Recover | Reason::Rollback | Reason::Seed => {
                Ok((root(&state.target)?, root(&state.current)?))
            }
        }
    }
}
