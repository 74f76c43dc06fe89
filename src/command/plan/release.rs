//! Plans a release: its differences from the live one, and the programs that would run.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::changes::Changes;
use super::{Plan, SOMETHING};
use crate::activate::install::bundle::{self, Installable};
use crate::activate::limit::Limit;
use crate::activate::locations;
use crate::activate::{Activation, tree};
use crate::appspec::Event;
use crate::config::Settings;
use crate::deploy::check::Check;
use crate::deploy::hooks::{self, Found};
use crate::deploy::lifecycle;
use crate::error::{Context, Result};
use crate::model::{ActivationMode, ReleaseId};
use crate::store::manifest::{self, Manifest};
use crate::sys::fs::Dir;

impl Check<'_> {
    /// Plans the switch from one release to another.
    pub fn plan_switch(&self, plan: &mut Plan, live: &Manifest, new: &Manifest) -> Result<()> {
        self.compare(plan, live, new)?;
        self.plan_programs(plan, None)
    }

    /// Plans the installation of the bundle in `top`.
    pub fn plan_install(&self, plan: &mut Plan, top: &Path, id: &ReleaseId) -> Result<()> {
        let Activation::Install(install) = &self.activation else { return Ok(()) };
        let survey = install.survey(top).with_context(|| format!("cannot install release {id}"))?;
        plan.changes = Changes::listed(survey.changes);
        let of = |top: &Path| made_of(&bundle::root(top));
        let live = self.state.current.as_ref().map(|current| self.release(&current.release)).transpose()?;
        let before = live.map_or(Ok(Manifest::default()), |live| of(&live.path))?;
        plan.inside = Some(Changes::between(&before, &of(top)?, &[])?);
        plan.notes.extend(survey.oddities);
        survey.conflicts.into_iter().for_each(|conflict| plan.ends(1, conflict));
        self.plan_programs(plan, Some(top))
    }

    /// Plans the hooks, and the scripts of the bundle in `top`.
    fn plan_programs(&self, plan: &mut Plan, top: Option<&Path>) -> Result<()> {
        plan.outcome = "deploy";
        self.plan_hooks(plan, "pre")?;
        self.plan_scripts(plan, top)?;
        self.plan_hooks(plan, "post")?;
        plan.notes.extend(locations::open_to_all(self.settings, self.state.mode)?);
        if plan.obstacles.is_empty() {
            plan.code = SOMETHING;
        }
        Ok(())
    }

    /// Plans the hooks of one directory. A hook that other users can change blocks the deployment, or rolls it back.
    pub fn plan_hooks(&self, plan: &mut Plan, when: &'static str) -> Result<()> {
        let Settings { pre_hooks, post_hooks, .. } = self.settings;
        let dir = if when == "pre" { pre_hooks } else { post_hooks };
        let (found, remarks) = hooks::survey(dir)?;
        plan.notes.extend(remarks);
        let hooks = match found {
            Found::Hooks(hooks) => hooks,
            Found::Refused(why) => {
                plan.ends(2, why); // noticed before anything changes
                return Ok(());
            }
        };
        let changes = plan.inside.as_ref().unwrap_or(&plan.changes);
        let meant = hooks::meant(&hooks, &mut |tell| {
            changes.each(&mut |_, path| {
                tell(path.as_os_str().as_bytes());
                Ok(())
            })
        })?;
        let run = hooks.iter().zip(meant).filter(|(_, is_meant)| *is_meant);
        plan.hooks.extend(run.map(|(hook, _)| (when, hook.path.display().to_string())));
        Ok(())
    }

    /// Plans the scripts of lifecycle events.
    pub fn plan_scripts(&self, plan: &mut Plan, top: Option<&Path>) -> Result<()> {
        let Some(top) = top.filter(|_| self.state.mode == ActivationMode::Install) else { return Ok(()) };
        let live = self.state.current.as_ref().map(|current| self.release(&current.release)).transpose()?;
        let live = match &live {
            Some(live) => Some((&*live.path, &lifecycle::STOP[..])),
            None => self.settings.bundle.as_ref().map(|_| (top, &lifecycle::STOP_FIRST[..])),
        };
        let new = [(top, &[Event::BeforeInstall][..]), (top, &lifecycle::START)];
        for (top, events) in live.into_iter().chain(new) {
            let bundle = Installable::read(top)?;
            for event in events {
                plan.hooks.extend(bundle.scripts(*event).iter().map(|job| {
                    let whose = job.runas.as_ref().map_or_else(String::new, |user| format!(" as {user}"));
                    (event.name(), format!("{}{whose}, at most {} s", job.location.display(), job.timeout))
                }));
            }
        }
        Ok(())
    }

    /// Records the differences between two trees. In place, preserved entries never differ.
    pub fn compare(&self, plan: &mut Plan, from: &Manifest, to: &Manifest) -> Result<()> {
        let is_in_place = self.state.mode == ActivationMode::InPlace;
        plan.changes = Changes::between(from, to, self.preserved())?;
        if is_in_place && plan.changes.count() > 0 {
            plan.notes.push(
                "what differs between the releases is listed; what was changed in place is made theirs too".to_owned(),
            );
        }
        Ok(())
    }

    /// The manifest of a release.
    pub fn made_of(&self, id: &ReleaseId) -> Result<Manifest> {
        match manifest::read(&self.store, id) {
            Some(known) => Ok(known),
            None => tree::of_release(&self.release(id)?, Limit::SIGNALS),
        }
    }
}

/// The manifest of the tree at `path`.
fn made_of(path: &Path) -> Result<Manifest> {
    let cannot = || format!("cannot read {}", path.display());
    Dir::open(path).with_context(cannot).and_then(|dir| tree::manifest(&dir, Limit::SIGNALS).with_context(cannot))
}
