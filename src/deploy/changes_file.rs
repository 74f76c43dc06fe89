//! What a deployment changes, name by name, from the manifests of the two releases: no tree is read for it. Hooks find it in
//! a file, and their `.paths` are held against it.
//!
//! It follows from the state, so it is the same before and after the switch, and after a crash.

use std::cell::Cell;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Deployment;
use super::hooks::{self, Listed};
use crate::activate::install::bundle;
use crate::activate::tree;
use crate::error::{Context, Result};
use crate::model::{ActivationMode, Reason};
use crate::store::Release;
use crate::store::manifest::{self, Change, Manifest};
use crate::store::state::Record;

/// Its file in the store, which hooks of any user may read.
const FILE: &str = "changed-files";

/// What this process has written there last: the way forward or the way back.
#[derive(Debug, Default)]
pub struct Written(Cell<Option<bool>>);

impl Deployment<'_> {
    /// The file with what differs: written once for each way, and only when somebody is to read it. Whatever an earlier run
    /// left there is never believed.
    pub fn changed_files(&self, reason: Reason) -> Result<PathBuf> {
        let is_back = reason == Reason::Revert;
        if self.changes_file.0.get() == Some(is_back) {
            return Ok(self.store.root().join(FILE));
        }
        let path = self.store.replace_public(FILE, &mut |file| {
            let cannot = || "cannot write it";
            let mut file = BufWriter::new(file);
            self.each_change(reason, &mut |letter, path| {
                [&[letter, b' '], path, &[0]].into_iter().try_for_each(|part| file.write_all(part)).with_context(cannot)
            })?;
            file.flush().with_context(cannot)
        })?;
        self.changes_file.0.set(Some(is_back));
        Ok(path)
    }

    /// Takes out the hooks that are there for other changes than these.
    pub fn pass_over(&self, hooks: &mut Vec<Listed>, reason: Reason) -> Result<()> {
        let is_meant = hooks::meant(hooks, &mut |tell| {
            self.each_change(reason, &mut |_, path| {
                tell(path);
                Ok(())
            })
        })?;
        // Of one deployment it is told once.
        let level = if reason == Reason::Revert { log::Level::Debug } else { log::Level::Info };
        for (hook, _) in hooks.iter().zip(&is_meant).filter(|(_, is_meant)| !**is_meant) {
            log::log!(level, "{} was not run: nothing that changed matches its .paths", hooks::title(&hook.path));
        }
        let mut is_meant = is_meant.into_iter();
        hooks.retain(|_| is_meant.next().unwrap_or(true));
        Ok(())
    }

    /// Passes on `A`, `M` or `D` and the path of each entry in which what is live differs from what is to be live; after a
    /// revert the other way round.
    pub fn each_change(&self, reason: Reason, tell: &mut dyn FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        let state = &self.state;
        // The live release anew, a doubt, a way back that hooks did not take: nobody knows what they have seen.
        let is_anew = state.current.as_ref().map(|r| &r.release) == state.target.as_ref().map(|r| &r.release);
        let is_sure = !is_anew && !state.hooks_state_unknown && self.doubt.is_none();
        let before = state.current.as_ref().filter(|_| is_sure);
        let read = |record: Option<&Record>| record.map_or(Ok(Manifest::default()), |record| self.contents(record));
        let (old, new) = (read(before)?, read(state.target.as_ref())?);
        let (from, to) = if reason == Reason::Revert { (new, old) } else { (old, new) };
        let is_in_place = state.mode == ActivationMode::InPlace;
        from.changes(&to, &mut |change, item| {
            let is_kept = |name: &PathBuf| is_in_place && item.path.starts_with(name);
            if self.settings.preserve.iter().any(is_kept) {
                return Ok(());
            }
            let letter = match change {
                Change::Added => b'A',
                Change::Changed => b'M',
                Change::Removed => b'D',
            };
            tell(letter, item.path.as_os_str().as_bytes())
        })
    }

    /// What hooks find of a release: all of it, or its bundle.
    fn contents(&self, record: &Record) -> Result<Manifest> {
        let Some(release) = self.store.release(&record.release)? else {
            // Removed by somebody; what it was made of may still be known.
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

    /// What a release is made of. One that an older version unpacked gets its manifest now.
    pub fn manifest(&self, release: &Release) -> Result<Manifest> {
        if let Some(known) = manifest::read(&self.store, &release.id) {
            return Ok(known);
        }
        log::debug!("release {} has no manifest: making one of what is there", release.id);
        let cannot = || format!("cannot read release {}", release.id);
        let made = release
            .open()
            .with_context(cannot)
            .and_then(|top| tree::manifest(&top, self.limit()).with_context(cannot))?;
        // What lies there now may be what a damaged one should be held against.
        if !manifest::is_damaged(&self.store, &release.id) {
            self.store.keep_manifest(&release.id, &made)?;
        }
        Ok(made)
    }
}
