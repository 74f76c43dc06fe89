//! Applies a plan to a directory: new content is written under a temporary name in the same directory and synced before
//! the first rename; unwanted entries are removed last. Names resolve by descriptors, never through a link or onto a
//! mount.
//!
//! A process that may write to the tree can replace an entry between the comparison and the change. Therefore owner,
//! mode and time are changed on an open descriptor of an inode that was compared or created here. A directory that was
//! replaced since is an error; a file is written anew; an entry to be removed that was replaced stays.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::copy::copy;
use super::diff::{Adjust, Plan, Put};
use super::entries::{Member, Tree};
use super::limit::Limit;
use super::parents::{Parents, empty, is_judged, open_judged, remove_judged};
use super::tree::name;
use crate::error::{Context, Result};
use crate::sys::created::{self, is_replaced, replaced};
use crate::sys::durable::{self, Rest};
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta, name_of, random, unique_name};
use crate::sys::sync_ahead::SyncAhead;

/// Prefix of temporary names; no release may hold a name with it.
pub(super) const TEMPORARY: &str = ".repo-deploy-";

/// Counts of the changes made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries created or rewritten.
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

/// Applies a plan of `diff`.
pub(super) struct Mirror<'a> {
    from: Parents<'a>,
    to: Parents<'a>,
    want: &'a Tree,
    have: &'a Tree,
    touched: Touched,
    /// Whether to start the writing of each file early: each will be synced by itself.
    is_early: bool,
    limit: Limit,
}

/// The directories in which names changed.
#[derive(Default)]
struct Touched {
    top: bool,
    /// Directories of the wanted tree, by number.
    want: Vec<bool>,
    /// Directories of the present tree, by number.
    have: Vec<bool>,
}

/// A file or link written under a temporary name.
struct Staged {
    /// The random part of the temporary name.
    temporary: u64,
    /// The inode of a file, once it has been written.
    written: Option<(u64, u64)>,
}

impl Staged {
    fn name(&self) -> OsString {
        name_of(TEMPORARY, self.temporary)
    }
}

impl<'a> Mirror<'a> {
    pub(super) fn new(from: &'a Dir, to: &'a Dir, plan: &Plan<'a>, limit: Limit) -> Self {
        let (want, have) = (plan.want, plan.have);
        let (from, to) = (Parents::new(from, limit), Parents::of_trees(to, have, want, limit));
        let touched = Touched { top: false, want: vec![false; want.len()], have: vec![false; have.len()] };
        Self { from, to, want, have, touched, is_early: true, limit }
    }

    pub(super) fn apply(mut self, plan: &Plan<'_>) -> Result<Changes> {
        for entry in &plan.clear {
            self.unlink(*entry)?;
        }
        for entry in &plan.make {
            let entry = self.want.at(*entry);
            self.make(entry).with_context(|| format!("cannot make {}", entry.path().display()))?;
        }
        let moved = self.put(&plan.put)?;
        let mut again = Vec::new();
        for adjust @ Adjust { entry, .. } in &plan.adjust {
            let cannot = || format!("cannot change mode or owner of {}", self.want.at(*entry).path().display());
            if !self.adjust(*adjust).with_context(cannot)? {
                again.push(Put { entry: *entry, aside: None });
            }
        }
        self.put(&again)?;
        for (path, judged) in &moved {
            self.remove_tree(path, *judged)?;
        }
        for entry in &plan.remove {
            self.unlink(*entry)?;
        }
        self.sync(plan)?;
        let written = plan.make.first().copied().into_iter().chain(plan.put.first().map(|put| put.entry));
        Ok(Changes {
            written: plan.make.len() + plan.put.len() + again.len(),
            adjusted: plan.adjust.len() - again.len(),
            removed: plan.remove.len() + plan.clear.len(),
            first: written.min().map(|entry| self.want.at(entry).path()),
        })
    }

    /// Notes that the directory of a wanted entry changed.
    fn touch(&mut self, wanted: Member<'_>) {
        match wanted.parent() {
            Some(parent) => self.touched.want[parent.number() as usize] = true,
            None => self.touched.top = true,
        }
    }

    fn make(&mut self, entry: Member<'_>) -> io::Result<()> {
        let dir = self.to.of(&entry.path())?;
        let (_, made) = created::make_dir(dir, entry.name(), Some((entry.uid, entry.gid)), entry.mode())?;
        self.to.made(entry, &made);
        self.touch(entry);
        self.touched.want[entry.number() as usize] = true;
        Ok(())
    }

    /// Writes all files and links, then renames them to their names. Returns the directories moved aside, under their
    /// new names. On an error the temporary files not renamed yet are removed.
    fn put(&mut self, put: &[Put]) -> Result<Vec<(PathBuf, (u64, u64))>> {
        let mut staged = Vec::with_capacity(put.len());
        let done = self.stage(put, &mut staged).and_then(|()| self.place(put, &staged));
        if done.is_err() {
            self.to.without_limit();
            for (Put { entry, .. }, staged) in put.iter().zip(&staged) {
                // Best effort: it may be renamed already, or not written yet; a leftover is removed by the next sync.
                let _ = self.to.of(&self.want.at(*entry).path()).and_then(|dir| dir.unlink(&staged.name()));
            }
        }
        done
    }

    /// Renames the staged files and links to their names.
    fn place(&mut self, put: &[Put], staged: &[Staged]) -> Result<Vec<(PathBuf, (u64, u64))>> {
        let mut moved = Vec::new();
        for (Put { entry, aside }, staged) in put.iter().zip(staged) {
            let entry = self.want.at(*entry);
            let path = entry.path();
            if let Some(directory) = aside.map(|aside| self.have.at(aside)) {
                match self.move_aside(directory) {
                    Ok(away) => moved.push((away, directory.inode())),
                    // overlayfs cannot rename a directory of a lower layer.
                    Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                        self.remove_tree(&path, directory.inode())?;
                    }
                    Err(e) => return Err(e).with_context(|| cannot_put(entry)),
                }
            }
            let dir = self.to.of(&path).with_context(|| cannot_put(entry))?;
            dir.rename(&staged.name(), dir, entry.name()).with_context(|| cannot_put(entry))?;
            self.touch(entry);
        }
        Ok(moved)
    }

    /// Writes every new file and link under a temporary name in its directory, and syncs them: the tree is between old
    /// and new only during the renames.
    fn stage(&mut self, put: &[Put], staged: &mut Vec<Staged>) -> Result<()> {
        let (want, count) = (self.want, put.len() as u64);
        self.is_early = !durable::is_at_once(self.to.top(), count);
        let mut ahead = (!self.is_early).then(|| SyncAhead::new(self.to.top()));
        let first = random().with_context(|| "cannot make temporary names")?;
        for (Put { entry, .. }, number) in put.iter().zip(0..) {
            let (entry, temporary) = (want.at(*entry), first.wrapping_add(number));
            staged.push(Staged { temporary, written: None });
            let written = self.write(entry, &name_of(TEMPORARY, temporary)).with_context(|| cannot_put(entry))?;
            staged.last_mut().into_iter().for_each(|staged| staged.written = written);
            ahead.iter_mut().for_each(|ahead| ahead.wrote(entry.size));
        }
        drop(ahead);
        let bytes = put.iter().map(|put| want.at(put.entry).size).sum();
        let rest = durable::sync(self.to.top(), count, bytes).with_context(|| cannot_sync(Path::new("")))?;
        if rest == Rest::Nothing {
            return Ok(());
        }
        for (Put { entry, .. }, staged) in put.iter().zip(staged) {
            let (Some(written), entry) = (staged.written, want.at(*entry)) else { continue };
            let file = self.to.of(&entry.path()).and_then(|dir| open_judged(dir, &staged.name(), written));
            file.and_then(|(file, _)| rest.finish_file(&file)).with_context(|| cannot_put(entry))?;
        }
        Ok(())
    }

    /// Returns the inode of a file, `None` for a link.
    fn write(&mut self, entry: Member<'_>, temporary: &OsStr) -> io::Result<Option<(u64, u64)>> {
        let path = entry.path();
        let to = self.to.of(&path)?;
        if let Some(target) = entry.target() {
            return created::make_link(to, target, temporary, (entry.uid, entry.gid), None).map(|()| None);
        }
        let source = self.from.of(&path)?.open_file(entry.name())?;
        // In a tree that is being adopted, the application may have replaced the file: the copy gets the mode and the
        // owner of the file that is read, so that no user can read more than before.
        let meta @ Meta { uid, gid, mode, mtime, .. } = sysfs::meta(&source)?;
        if meta.kind != Kind::File {
            return Err(replaced());
        }
        let file = to.create(temporary)?;
        let new = sysfs::meta(&file)?;
        copy(&source, &meta, &file, self.limit)?;
        let owner = (uid, gid);
        sysfs::set_owner_and_mode(&file, Some(owner).filter(|owner| *owner != (new.uid, new.gid)), mode)?;
        created::set_mtime(&file, mtime)?;
        if self.is_early {
            sysfs::start_writeback(&file);
        }
        Ok(Some(new.inode()))
    }

    /// Sets mode and owner of a present entry. False: the file was replaced, has another name or another owner, and
    /// must be written anew.
    fn adjust(&mut self, Adjust { entry, present }: Adjust) -> io::Result<bool> {
        let (entry, present) = (self.want.at(entry), self.have.at(present));
        let (path, (mode, uid, gid)) = (entry.path(), entry.access());
        match entry.kind {
            Kind::Dir => {
                let dir = self.to.judged_dir(&path, present.inode())?;
                sysfs::set_owner_and_mode(&dir, Some((uid, gid)), mode)?;
            }
            Kind::File | Kind::Link | Kind::Other => {
                let dir = self.to.of(&path)?;
                let (file, meta) = match open_judged(dir, entry.name(), present.inode()) {
                    Ok(opened) => opened,
                    Err(e) if is_replaced(&e) || e.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(e) => return Err(e),
                };
                if meta.links != 1 || (meta.uid, meta.gid) != (uid, gid) {
                    return Ok(false);
                }
                sysfs::set_owner_and_mode(&file, None, mode)?;
                file.sync_all()?;
            }
        }
        self.touch(entry);
        Ok(true)
    }

    /// Moves a directory aside that a file replaces.
    fn move_aside(&mut self, directory: Member<'_>) -> io::Result<PathBuf> {
        let (away, path, name) = (unique_name(TEMPORARY)?, directory.path(), directory.name());
        let dir = self.to.of(&path)?;
        dir.rename(name, dir, &away)?;
        if !is_judged(dir, &away, directory.kind, directory.inode())? {
            dir.rename(&away, dir, name)?;
            return Err(replaced());
        }
        Ok(path.with_file_name(away))
    }

    /// Removes a directory with all its content, if it is the one compared.
    fn remove_tree(&mut self, path: &Path, judged: (u64, u64)) -> Result<()> {
        let cannot = || format!("cannot remove {}", path.display());
        let emptied = self.to.judged_dir(path, judged).and_then(|dir| empty(&dir, dir.meta()?.dev, 0, self.limit));
        emptied.with_context(cannot)?;
        self.to.of(path).and_then(|parent| parent.remove_dir(name(path))).with_context(cannot)
    }

    /// Removes the present entry with this number.
    fn unlink(&mut self, number: u32) -> Result<()> {
        let entry = self.have.at(number);
        let dir = self.to.of(&entry.path());
        match dir.and_then(|dir| remove_judged(dir, entry.name(), entry.kind, entry.inode())) {
            Ok(()) => match entry.parent() {
                Some(parent) => self.touched.have[parent.number() as usize] = true,
                None => self.touched.top = true,
            },
            // An application removed or replaced the entry or its directory in the meantime: a replacement stays.
            Err(e) if is_gone(&e) => {}
            // It holds a preserved entry, or one that an application has just created: both stay.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) => return Err(e).with_context(|| format!("cannot remove {}", entry.path().display())),
        }
        Ok(())
    }

    /// Syncs the directories in which names changed. A directory that was removed needs no sync.
    fn sync(&mut self, plan: &Plan<'_>) -> Result<()> {
        let Touched { top, want: wanted, have: there } = std::mem::take(&mut self.touched);
        let count = [&wanted, &there].into_iter().flatten().filter(|is_touched| **is_touched).count();
        let rest = durable::sync(self.to.top(), count as u64, 0).with_context(|| cannot_sync(Path::new("")))?;
        if rest != Rest::All {
            return Ok(()); // names are in the journal, which reports its own errors
        }
        let mut is_removed = vec![false; there.len()];
        plan.remove.iter().for_each(|entry| is_removed[*entry as usize] = true);
        for entry in self.have.all().rev().filter(|entry| there[entry.number() as usize]) {
            let path = entry.path();
            if self.want.find(&path).is_some_and(|entry| wanted[entry.number() as usize]) {
                continue; // synced below, as a wanted directory
            }
            match self.to.dir(&path).and_then(|dir| dir.sync()) {
                Err(e) if is_gone(&e) && is_removed[entry.number() as usize] => {}
                synced => synced.with_context(|| cannot_sync(&path))?,
            }
        }
        for entry in self.want.all().rev().filter(|entry| wanted[entry.number() as usize]) {
            let path = entry.path();
            self.to.dir(&path).and_then(|dir| dir.sync()).with_context(|| cannot_sync(&path))?;
        }
        let path = Path::new("");
        if top { self.to.dir(path).and_then(|dir| dir.sync()).with_context(|| cannot_sync(path)) } else { Ok(()) }
    }
}

/// Whether the error says that the entry, or a directory above it, was removed or replaced.
fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || is_replaced(e)
}

fn cannot_put(entry: Member<'_>) -> String {
    format!("cannot write {}", entry.path().display())
}

fn cannot_sync(path: &Path) -> String {
    format!("cannot sync the directory {}", path.display())
}
