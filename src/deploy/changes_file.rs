//! Lists the entries that a deployment changes, from the manifests of the two releases; no tree is read. Hooks get the
//! list as a file, and their `.paths` globs are matched against it.
//!
//! The list depends on the state only, so it is the same before and after the switch, and after a crash.

use std::cell::Cell;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Deployment;
use super::check::Check;
use super::hooks::{self, Listed};
use crate::activate::install::bundle;
use crate::activate::tree;
use crate::error::{Context, Result};
use crate::model::{ActivationMode, Reason};
use crate::store::Release;
use crate::store::manifest::{self, Change, Manifest};
use crate::store::state::Record;
use crate::sys::log;

/// The name of the list in the store; hooks of any user may read it.
const FILE: &str = "changed-files";

/// The list that this process wrote last: `true` for a rollback, `false` for a deployment.
#[derive(Debug, Default)]
pub struct Written(Cell<Option<bool>>);

impl Check<'_> {
    /// The names that differ between the live tree and the release.
    pub fn preserved(&self) -> &[PathBuf] {
        if self.state.mode == ActivationMode::InPlace { &self.settings.preserve } else { &[] }
    }
}

impl Deployment<'_> {
    /// The path of the file that lists the changes. The file is written once per direction, and only if it is asked
    /// for; a file that an earlier run left is never used.
    pub fn changed_files(&self, reason: Reason) -> Result<PathBuf> {
        let is_back = reason == Reason::Revert;
        if self.changes_file.0.get() == Some(is_back) {
            return Ok(self.store.root().join(FILE));
        }
        let path = self.store.replace_public(FILE, &mut |file| {
            let cannot = || "cannot write it";
            let mut file = BufWriter::new(file);
            self.each_change(reason, &mut |change, path| {
                let line = [change.letter().as_bytes(), b" ", path.as_os_str().as_bytes(), &[0]];
                line.into_iter().try_for_each(|part| file.write_all(part)).with_context(cannot)
            })?;
            file.flush().with_context(cannot)
        })?;
        self.changes_file.0.set(Some(is_back));
        Ok(path)
    }

    /// Removes the hooks whose `.paths` match none of the changes.
    pub fn pass_over(&self, hooks: &mut Vec<Listed>, reason: Reason) -> Result<()> {
        let is_meant = hooks::meant(hooks, &mut |tell| {
            self.each_change(reason, &mut |_, path| {
                tell(path.as_os_str().as_bytes());
                Ok(())
            })
        })?;
        // Logged once per deployment, so not again on its rollback.
        let level = if reason == Reason::Revert { log::Level::Debug } else { log::Level::Info };
        for (hook, _) in hooks.iter().zip(&is_meant).filter(|(_, is_meant)| !**is_meant) {
            log::at!(level, "{} was not run: nothing that changed matches its .paths", hooks::title(&hook.path));
        }
        let mut is_meant = is_meant.into_iter();
        hooks.retain(|_| is_meant.next().unwrap_or(true));
        Ok(())
    }

    /// Calls `tell` with the change and the path of each entry that differs between the live release and the
    /// target; after a rollback in the opposite direction.
    pub fn each_change(&self, reason: Reason, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        let state = &self.state;
        // It is unknown which files the hooks last saw if the live release is deployed again, if the live tree is in
        // doubt, or if the hooks failed after a rollback: then every entry of the target is listed.
        let is_anew = state.current.as_ref().map(|r| &r.release) == state.target.as_ref().map(|r| &r.release);
        let is_sure = !is_anew && !state.hooks_state_unknown && self.doubt.is_none();
        let before = state.current.as_ref().filter(|_| is_sure);
        let read = |record: Option<&Record>| record.map_or(Ok(Manifest::default()), |record| self.contents(record));
        let (old, new) = (read(before)?, read(state.target.as_ref())?);
        let (from, to) = if reason == Reason::Revert { (new, old) } else { (old, new) };
        from.changes_except(&to, self.preserved(), tell)
    }

    /// The entries of a release that hooks may look at: all of them, or those of its bundle.
    fn contents(&self, record: &Record) -> Result<Manifest> {
        let Some(release) = self.store.release(&record.release)? else {
            // Removed from the store by another process; its manifest may still be there.
            return Ok(manifest::read(&self.store, &record.release).unwrap_or_default());
        };
        let all = self.manifest(&release)?;
        let root =
            if self.state.mode == ActivationMode::Install { bundle::root(&release.path) } else { return Ok(all) };
        match root.strip_prefix(&release.path) {
            Ok(below) if below != Path::new("") => Ok(all.below(below)),
            _ => Ok(all),
        }
    }

    /// The manifest of a release. A release that an older version unpacked gets its manifest now.
    pub fn manifest(&self, release: &Release) -> Result<Manifest> {
        if let Some(known) = manifest::read(&self.store, &release.id) {
            return Ok(known);
        }
        log::debug!("release {} has no manifest: making one of what is there", release.id);
        let made = tree::of_release(release, self.limit())?;
        // A damaged release must keep the manifest that shows the damage, so none is made from its present content.
        if !manifest::is_damaged(&self.store, &release.id) {
            self.store.keep_manifest(&release.id, &made)?;
        }
        Ok(made)
    }
}
