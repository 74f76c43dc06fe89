//! Applies a plan to a directory: new content is written under a temporary name beside its place, on disk, before the
//! first rename; what is no longer wanted goes last. Names resolve by descriptors, never through a link or onto a mount.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::diff::Plan;
use super::tree::{Entry, Tree};
use crate::error::{Context, Result};
use crate::sys::fs::{self as sysfs, Dir, Kind, unique_name};

/// Our temporary names begin with this; no release may hold such a name.
pub(super) const TEMPORARY: &str = ".repo-deploy-";

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries made or rewritten.
    pub written: usize,
    /// Entries whose mode or owner changed.
    pub adjusted: usize,
    /// Entries removed.
    pub removed: usize,
    /// The first entry that was written.
    pub first: Option<PathBuf>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} written, {} adjusted, {} removed", self.written, self.adjusted, self.removed)
    }
}

pub(super) fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Opens the directory a path lies in, and keeps the last one open: neighbours come one after the other.
pub(super) struct Parents<'a> {
    top: &'a Dir,
    last: Option<(PathBuf, Dir)>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(top: &'a Dir) -> Self {
        Self { top, last: None }
    }

    pub(super) fn of(&mut self, path: &Path) -> io::Result<&Dir> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = match self.last.take() {
            Some((at, dir)) if at == parent => dir,
            _ => self.top.descend(parent)?,
        };
        Ok(&self.last.insert((parent.to_owned(), dir)).1)
    }
}

/// Applies a plan.
pub(super) struct Mirror<'a> {
    from: Parents<'a>,
    to: Parents<'a>,
    touched: BTreeSet<PathBuf>,
}

impl<'a> Mirror<'a> {
    pub(super) fn new(from: &'a Dir, to: &'a Dir) -> Self {
        Self { from: Parents::new(from), to: Parents::new(to), touched: BTreeSet::new() }
    }

    pub(super) fn apply(mut self, plan: &Plan<'_>) -> Result<Changes> {
        for entry in &plan.clear {
            self.unlink(entry)?;
        }
        for entry in &plan.make {
            self.make(entry).context(|| format!("cannot make {}", entry.path.display()))?;
        }
        let staged = self.stage(&plan.put)?;
        let aside: Vec<_> = plan.aside.iter().map(|e| e.path.as_path()).collect();
        let mut moved = Vec::new();
        for (entry, temporary) in &staged {
            if aside.contains(&entry.path.as_path()) {
                match self.move_aside(&entry.path) {
                    Ok(away) => moved.push(away),
                    // A directory from a lower layer of an overlay cannot be renamed.
                    Err(e) if e.kind() == io::ErrorKind::CrossesDevices => self.remove_tree(&entry.path)?,
                    Err(e) => return Err(e).context(|| cannot_put(entry)),
                }
            }
            let dir = self.to.of(&entry.path).context(|| cannot_put(entry))?;
            dir.rename(temporary, dir, name(&entry.path)).context(|| cannot_put(entry))?;
            self.touch(&entry.path);
        }
        for entry in &plan.adjust {
            self.adjust(entry).context(|| format!("cannot change mode or owner of {}", entry.path.display()))?;
        }
        for path in &moved {
            self.remove_tree(path)?;
        }
        for entry in &plan.remove {
            self.unlink(entry)?;
        }
        self.sync(plan)?;
        Ok(Changes {
            written: plan.make.len() + plan.put.len(),
            adjusted: plan.adjust.len(),
            removed: plan.remove.len() + plan.clear.len(),
            first: plan.make.iter().chain(&plan.put).map(|e| e.path.clone()).min(),
        })
    }

    fn touch(&mut self, path: &Path) {
        self.touched.insert(path.parent().unwrap_or(Path::new("")).to_owned());
    }

    fn make(&mut self, entry: &Entry) -> io::Result<()> {
        let dir = self.to.of(&entry.path)?;
        dir.make_dir(name(&entry.path), 0o700)?;
        sysfs::set_owner_and_mode(
            dir.child(name(&entry.path))?,
            Some((entry.meta.uid, entry.meta.gid)),
            entry.meta.mode,
        )?;
        self.touch(&entry.path);
        self.touched.insert(entry.path.clone());
        Ok(())
    }

    /// Writes every new file and link under a temporary name beside its place, all of them on disk when this returns:
    /// the time in which the tree is neither old nor new is only that of the renames. On an error nothing stays.
    fn stage<'e>(&mut self, put: &[&'e Entry]) -> Result<Vec<(&'e Entry, OsString)>> {
        let mut staged = Vec::with_capacity(put.len());
        let written = put.iter().try_for_each(|entry| {
            let temporary = unique_name(TEMPORARY).context(|| cannot_put(entry))?;
            staged.push((*entry, temporary.clone()));
            self.write(entry, &temporary).context(|| cannot_put(entry))
        });
        let synced = written.and_then(|()| {
            let files = staged.iter().filter(|(entry, _)| entry.meta.kind == Kind::File);
            files.into_iter().try_for_each(|(entry, temporary)| {
                let file = self.to.of(&entry.path).and_then(|dir| dir.open_file(temporary));
                file.and_then(|f| f.sync_all()).context(|| cannot_put(entry))
            })
        });
        if let Err(e) = synced {
            for (entry, temporary) in &staged {
                // Best effort: the last may not have been made, and what stays goes with the next sync.
                let _ = self.to.of(&entry.path).and_then(|dir| dir.unlink(temporary));
            }
            return Err(e);
        }
        Ok(staged)
    }

    fn write(&mut self, entry: &Entry, temporary: &OsStr) -> io::Result<()> {
        let to = self.to.of(&entry.path)?;
        if let Some(target) = &entry.target {
            to.symlink(target, temporary)?;
            return to.set_owner(temporary, entry.meta.uid, entry.meta.gid);
        }
        let mut source = self.from.of(&entry.path)?.open_file(name(&entry.path))?;
        let mut file = to.create(temporary)?;
        io::copy(&mut source, &mut file)?;
        sysfs::set_owner_and_mode(&file, Some((entry.meta.uid, entry.meta.gid)), entry.meta.mode)?;
        sysfs::start_writeback(&file);
        drop(file);
        to.set_mtime(temporary, entry.meta.mtime)
    }

    fn adjust(&mut self, entry: &Entry) -> io::Result<()> {
        let dir = self.to.of(&entry.path)?;
        let owner = Some((entry.meta.uid, entry.meta.gid));
        match entry.meta.kind {
            Kind::Dir => sysfs::set_owner_and_mode(dir.child(name(&entry.path))?, owner, entry.meta.mode)?,
            _ => {
                let file = dir.open_file(name(&entry.path))?;
                sysfs::set_owner_and_mode(&file, owner, entry.meta.mode)?;
                file.sync_all()?;
            }
        }
        self.touch(&entry.path);
        Ok(())
    }

    /// Renames a directory that makes way for a file.
    fn move_aside(&mut self, path: &Path) -> io::Result<PathBuf> {
        let away = unique_name(TEMPORARY)?;
        let dir = self.to.of(path)?;
        dir.rename(name(path), dir, &away)?;
        Ok(path.with_file_name(away))
    }

    fn remove_tree(&mut self, path: &Path) -> Result<()> {
        let cannot = || format!("cannot remove {}", path.display());
        let dir = self.to.top.descend(path).context(cannot)?;
        for entry in Tree::read(&dir, &[])?.0.iter().rev() {
            let inside = Parents::new(&dir).of(&entry.path).and_then(|parent| match entry.meta.kind {
                Kind::Dir => parent.remove_dir(name(&entry.path)),
                _ => parent.unlink(name(&entry.path)),
            });
            inside.context(cannot)?;
        }
        self.to.of(path).and_then(|parent| parent.remove_dir(name(path))).context(cannot)
    }

    fn unlink(&mut self, entry: &Entry) -> Result<()> {
        let removed = self.to.of(&entry.path).and_then(|dir| match entry.meta.kind {
            Kind::Dir => dir.remove_dir(name(&entry.path)),
            _ => dir.unlink(name(&entry.path)),
        });
        match removed {
            // Something in it is preserved, or an application has just put something there: both stay.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            // An application was faster, with the entry or with its directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.context(|| format!("cannot remove {}", entry.path.display()))?,
        }
        self.touch(&entry.path);
        Ok(())
    }

    /// Waits until the names are on disk. A directory that was removed needs none.
    fn sync(&mut self, plan: &Plan<'_>) -> Result<()> {
        let removed: BTreeSet<&Path> = plan.remove.iter().map(|e| e.path.as_path()).collect();
        for path in self.touched.iter().rev() {
            match self.to.top.descend(path).and_then(|dir| dir.sync()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && removed.contains(path.as_path()) => {}
                synced => synced.context(|| format!("cannot sync the directory {}", path.display()))?,
            }
        }
        Ok(())
    }
}

fn cannot_put(entry: &Entry) -> String {
    format!("cannot write {}", entry.path.display())
}
