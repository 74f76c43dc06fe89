//! Applies a plan to a directory: new content is written under a temporary name in the same directory and synced before
//! the first rename; unwanted entries are removed last. A directory that is not there yet is one such name with all that
//! belongs into it. Names resolve by descriptors, never through a link or onto a mount.
//!
//! A process that may write to the tree can replace an entry between the comparison and the change. Therefore owner,
//! mode and time are changed on an open descriptor of an inode that was compared or created here. A directory that was
//! replaced since is an error; a file is written anew; an entry to be removed that was replaced stays.

use std::borrow::Cow;
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
    /// The topmost new directories, by their numbers in the wanted tree, with their temporary names.
    fresh: Vec<(u32, OsString)>,
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

/// A file or link that was written, but not placed.
struct Staged {
    /// The random part of its temporary name; `None`: it has its own name already, in a new directory.
    temporary: Option<u64>,
    /// The inode of a file, once it has been written.
    written: Option<(u64, u64)>,
}

impl Staged {
    fn name<'e>(&self, entry: Member<'e>) -> Cow<'e, OsStr> {
        self.temporary.map_or(Cow::Borrowed(entry.name()), |bits| Cow::Owned(name_of(TEMPORARY, bits)))
    }
}

impl<'a> Mirror<'a> {
    pub(super) fn new(from: &'a Dir, to: &'a Dir, plan: &Plan<'a>, limit: Limit) -> Self {
        let (want, have) = (plan.want, plan.have);
        let (from, to) = (Parents::new(from, limit), Parents::of_trees(to, have, want, limit));
        let touched = Touched { top: false, want: vec![false; want.len()], have: vec![false; have.len()] };
        Self { from, to, want, have, touched, fresh: Vec::new(), is_early: true, limit }
    }

    pub(super) fn apply(mut self, plan: &Plan<'_>) -> Result<Changes> {
        let moved = self.make_all(plan).and_then(|()| self.put(&plan.put, &plan.clear));
        let moved = moved.inspect_err(|_| self.abandon())?;
        let mut again = Vec::new();
        for adjust @ Adjust { entry, .. } in &plan.adjust {
            let cannot = || format!("cannot change mode or owner of {}", self.want.at(*entry).path().display());
            if !self.adjust(*adjust).with_context(cannot)? {
                again.push(Put { entry: *entry, aside: None });
            }
        }
        self.put(&again, &[])?;
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

    fn make_all(&mut self, plan: &Plan<'_>) -> Result<()> {
        plan.make
            .iter()
            .map(|entry| self.want.at(*entry))
            .try_for_each(|entry| self.make(entry).with_context(|| cannot_make(entry)))
    }

    fn make(&mut self, entry: Member<'_>) -> io::Result<()> {
        let name = match self.is_in_new(entry) {
            true => Cow::Borrowed(entry.name()),
            false => Cow::Owned(unique_name(TEMPORARY)?),
        };
        let dir = self.to.of(&entry.path())?;
        let (_, made) = created::make_dir(dir, &name, Some((entry.uid, entry.gid)), entry.mode())?;
        self.to.made(entry, &made);
        if let Cow::Owned(name) = name {
            self.to.staged(entry, name.clone());
            self.fresh.push((entry.number(), name));
        }
        self.touched.want[entry.number() as usize] = true;
        Ok(())
    }

    /// Whether the directory of a wanted entry was made here.
    fn is_in_new(&self, wanted: Member<'_>) -> bool {
        wanted.parent().is_some_and(|parent| self.to.made_as(parent).is_some())
    }

    /// Removes the new directories that have no names of their own yet, after an error.
    fn abandon(&mut self) {
        self.to.without_limit();
        self.limit = Limit::NONE;
        for (number, name) in std::mem::take(&mut self.fresh) {
            let entry = self.want.at(number);
            let judged = self.to.made_as(entry);
            // Best effort: it may be renamed already; a leftover is removed by the next sync.
            let _ = judged.map(|judged| self.remove_tree(&entry.path().with_file_name(name), judged));
        }
    }

    /// Writes all files and links, then gives them and the new directories their names. Returns the directories moved
    /// aside, under their new names. On an error the temporary files not renamed yet are removed.
    fn put(&mut self, put: &[Put], clear: &[u32]) -> Result<Vec<(PathBuf, (u64, u64))>> {
        let mut staged = Vec::with_capacity(put.len());
        let done = self.stage(put, &mut staged);
        let done = done.and_then(|()| self.place_dirs(clear)).and_then(|()| self.place(put, &staged));
        if done.is_err() {
            self.to.without_limit();
            for (Put { entry, .. }, staged) in put.iter().zip(&staged).filter(|(_, staged)| staged.temporary.is_some())
            {
                let entry = self.want.at(*entry);
                // Best effort: it may be renamed already, or not written yet; a leftover is removed by the next sync.
                let _ = self.to.of(&entry.path()).and_then(|dir| dir.unlink(&staged.name(entry)));
            }
        }
        done
    }

    /// Gives the new directories their names, before anything that may refer to them.
    fn place_dirs(&mut self, clear: &[u32]) -> Result<()> {
        clear.iter().try_for_each(|entry| self.unlink(*entry))?;
        for at in 0..self.fresh.len() {
            let (number, temporary) = &self.fresh[at];
            let entry = self.want.at(*number);
            let dir = self.to.of(&entry.path());
            dir.and_then(|dir| dir.rename(temporary, dir, entry.name())).with_context(|| cannot_make(entry))?;
            self.touch(entry);
        }
        self.fresh.clear();
        self.to.placed();
        Ok(())
    }

    /// Renames the staged files and links to their names.
    fn place(&mut self, put: &[Put], staged: &[Staged]) -> Result<Vec<(PathBuf, (u64, u64))>> {
        let mut moved = Vec::new();
        for (Put { entry, aside }, staged) in put.iter().zip(staged).filter(|(_, staged)| staged.temporary.is_some()) {
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
            dir.rename(&staged.name(entry), dir, entry.name()).with_context(|| cannot_put(entry))?;
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
            let entry = want.at(*entry);
            let temporary = (!self.is_in_new(entry)).then(|| first.wrapping_add(number));
            let new = Staged { temporary, written: None };
            let name = new.name(entry);
            staged.push(new);
            let written = self.write(entry, &name).with_context(|| cannot_put(entry))?;
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
            let file = self.to.of(&entry.path()).and_then(|dir| open_judged(dir, &staged.name(entry), written));
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
        let file = to.create_with(temporary, first_mode(mode))?;
        let new = sysfs::meta(&file)?;
        copy(&source, &meta, &file, self.limit)?;
        let owner = Some((uid, gid)).filter(|owner| *owner != (new.uid, new.gid));
        if owner.is_some() || new.mode != mode {
            sysfs::set_owner_and_mode(&file, owner, mode)?;
        }
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

/// The mode that a file has until it has its owner and its content: the final one where it gives nobody more meanwhile,
/// whatever group the file has first.
fn first_mode(mode: u32) -> u32 {
    let is_for_all = mode & 0o7022 == 0 && mode >> 3 & 7 == mode & 7;
    if is_for_all { mode } else { 0o600 }
}

/// Whether the error says that the entry, or a directory above it, was removed or replaced.
fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || is_replaced(e)
}

fn cannot_make(entry: Member<'_>) -> String {
    format!("cannot make {}", entry.path().display())
}

fn cannot_put(entry: Member<'_>) -> String {
    format!("cannot write {}", entry.path().display())
}

fn cannot_sync(path: &Path) -> String {
    format!("cannot sync the directory {}", path.display())
}
