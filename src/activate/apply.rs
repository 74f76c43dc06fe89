//! Applies a plan to a directory: new content is written under a temporary name beside its place, on disk, before the
//! first rename; what is no longer wanted goes last. Names resolve by descriptors, never through a link or onto a mount.
//!
//! Whoever may write to the tree can put something else under a name between the comparison and the change. So what changes owner,
//! mode or time is open, and the inode that was judged or that we made; a directory that is another one by then is an error,
//! a file gets a new one in its place, and what is to go stays.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::copy::copy;
use super::diff::{Adjust, Plan, Put};
use super::limit::Limit;
use super::tree::{Entry, Tree};
use crate::error::{Context, Result};
use crate::sys::created::{self, is_replaced, replaced};
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta, unique_name};

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

/// Opens the directory a path lies in, and keeps the last one open: neighbours come one after the other. Asks the limit each
/// time.
pub(super) struct Parents<'a> {
    top: &'a Dir,
    last: Option<(PathBuf, Dir)>,
    limit: Limit,
    /// What the directories were when they were judged: no other one is opened.
    tree: Option<&'a Tree>,
    /// The same of those that were looked at one by one, or that we made.
    judged: HashMap<PathBuf, (u64, u64)>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(top: &'a Dir, limit: Limit) -> Self {
        Self { top, last: None, limit, tree: None, judged: HashMap::new() }
    }

    /// Opens only directories of `tree`, and those that come to be [`Self::judged`].
    fn of_tree(top: &'a Dir, tree: &'a Tree, limit: Limit) -> Self {
        Self { tree: Some(tree), ..Self::new(top, limit) }
    }

    /// From now on the directory at `path` is this one and no other.
    pub(super) fn judge(&mut self, path: &Path, meta: &Meta) {
        self.judged.insert(path.to_owned(), meta.inode());
    }

    /// For what has to be done when the limit is over.
    pub(super) fn without_limit(&mut self) {
        self.limit = Limit::NONE;
    }

    pub(super) fn of(&mut self, path: &Path) -> io::Result<&Dir> {
        self.dir(path.parent().unwrap_or(Path::new("")))
    }

    /// The directory at `path` itself.
    pub(super) fn dir(&mut self, path: &Path) -> io::Result<&Dir> {
        self.limit.ask()?;
        let dir = match self.last.take() {
            Some((at, dir)) if at == path => dir,
            _ => {
                let dir = self.top.descend(path)?;
                self.check(path, &dir)?;
                dir
            }
        };
        Ok(&self.last.insert((path.to_owned(), dir)).1)
    }

    fn check(&self, path: &Path, dir: &Dir) -> io::Result<()> {
        let in_tree = || self.tree.and_then(|tree| tree.find(path)).map(|entry| entry.meta.inode());
        match self.judged.get(path).copied().or_else(in_tree) {
            Some(judged) if dir.meta()?.inode() == judged => Ok(()),
            None if self.tree.is_none() || path == Path::new("") => Ok(()),
            Some(_) | None => Err(replaced()),
        }
    }
}

/// Opens the file `name` of `dir` for reading, when it is the one that was judged.
pub(super) fn open_judged(dir: &Dir, name: &OsStr, judged: &Meta) -> io::Result<(File, Meta)> {
    let file = dir.open_file(name)?;
    let meta = sysfs::meta(&file)?;
    if meta.inode() == judged.inode() && meta.kind == Kind::File { Ok((file, meta)) } else { Err(replaced()) }
}

/// Whether what stands at `name` is what was judged.
pub(super) fn is_judged(dir: &Dir, name: &OsStr, judged: &Meta) -> io::Result<bool> {
    Ok(dir.look(name)?.is_some_and(|meta| (meta.kind, meta.inode()) == (judged.kind, judged.inode())))
}

/// Applies a plan.
pub(super) struct Mirror<'a> {
    from: Parents<'a>,
    to: Parents<'a>,
    touched: BTreeSet<PathBuf>,
    limit: Limit,
}

/// What has been written under a temporary name.
struct Staged<'e> {
    entry: &'e Entry,
    temporary: OsString,
    /// What a file is, once it has been written.
    written: Option<Meta>,
}

impl<'a> Mirror<'a> {
    /// `have` is what `to` held when the plan was made.
    pub(super) fn new(from: &'a Dir, to: &'a Dir, have: &'a Tree, limit: Limit) -> Self {
        let (from, to) = (Parents::new(from, limit), Parents::of_tree(to, have, limit));
        Self { from, to, touched: BTreeSet::new(), limit }
    }

    pub(super) fn apply(mut self, plan: &Plan<'_>) -> Result<Changes> {
        for entry in &plan.clear {
            self.unlink(entry)?;
        }
        for entry in &plan.make {
            self.make(entry).context(|| format!("cannot make {}", entry.path.display()))?;
        }
        let moved = self.put(&plan.put)?;
        let mut again = Vec::new();
        for adjust @ Adjust { entry, .. } in &plan.adjust {
            if !self.adjust(adjust).context(|| format!("cannot change mode or owner of {}", entry.path.display()))? {
                again.push(Put { entry, aside: None });
            }
        }
        self.put(&again)?;
        for (path, judged) in &moved {
            self.remove_tree(path, judged)?;
        }
        for entry in &plan.remove {
            self.unlink(entry)?;
        }
        self.sync(plan)?;
        let written = plan.make.iter().copied().chain(plan.put.iter().map(|put| put.entry));
        Ok(Changes {
            written: plan.make.len() + plan.put.len() + again.len(),
            adjusted: plan.adjust.len() - again.len(),
            removed: plan.remove.len() + plan.clear.len(),
            first: written.map(|entry| entry.path.clone()).min(),
        })
    }

    fn touch(&mut self, path: &Path) {
        self.touched.insert(path.parent().unwrap_or(Path::new("")).to_owned());
    }

    fn make(&mut self, entry: &Entry) -> io::Result<()> {
        let dir = self.to.of(&entry.path)?;
        let Meta { uid, gid, mode, .. } = entry.meta;
        let (_, made) = created::make_dir(dir, name(&entry.path), (uid, gid), mode)?;
        self.to.judge(&entry.path, &made);
        self.touch(&entry.path);
        self.touched.insert(entry.path.clone());
        Ok(())
    }

    /// Writes everything, then renames it to its place. Gives the directories that made way, under their new names.
    fn put(&mut self, put: &[Put<'_>]) -> Result<Vec<(PathBuf, Meta)>> {
        let staged = self.stage(put)?;
        let mut moved = Vec::new();
        for (Put { entry, aside }, Staged { temporary, .. }) in put.iter().zip(&staged) {
            if let Some(directory) = aside {
                match self.move_aside(directory) {
                    Ok(away) => moved.push((away, directory.meta)),
                    // A directory from a lower layer of an overlay cannot be renamed.
                    Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                        self.remove_tree(&entry.path, &directory.meta)?;
                    }
                    Err(e) => return Err(e).context(|| cannot_put(entry)),
                }
            }
            let dir = self.to.of(&entry.path).context(|| cannot_put(entry))?;
            dir.rename(temporary, dir, name(&entry.path)).context(|| cannot_put(entry))?;
            self.touch(&entry.path);
        }
        Ok(moved)
    }

    /// Writes every new file and link under a temporary name beside its place, all of them on disk when this returns:
    /// the time in which the tree is neither old nor new is only that of the renames. On an error nothing stays.
    fn stage<'e>(&mut self, put: &[Put<'e>]) -> Result<Vec<Staged<'e>>> {
        let mut staged = Vec::with_capacity(put.len());
        let written = put.iter().try_for_each(|Put { entry, .. }| {
            let temporary = unique_name(TEMPORARY).context(|| cannot_put(entry))?;
            staged.push(Staged { entry, temporary: temporary.clone(), written: None });
            let written = self.write(entry, &temporary).context(|| cannot_put(entry))?;
            staged.last_mut().into_iter().for_each(|staged| staged.written = written);
            Ok(())
        });
        let synced = written.and_then(|()| {
            staged.iter().try_for_each(|Staged { entry, temporary, written }| {
                let Some(written) = written else { return Ok(()) };
                let file = self.to.of(&entry.path).and_then(|dir| open_judged(dir, temporary, written));
                file.and_then(|(file, _)| file.sync_all()).context(|| cannot_put(entry))
            })
        });
        if let Err(e) = synced {
            self.to.without_limit();
            for Staged { entry, temporary, .. } in &staged {
                // Best effort: the last may not have been made, and what stays goes with the next sync.
                let _ = self.to.of(&entry.path).and_then(|dir| dir.unlink(temporary));
            }
            return Err(e);
        }
        Ok(staged)
    }

    fn write(&mut self, entry: &Entry, temporary: &OsStr) -> io::Result<Option<Meta>> {
        let to = self.to.of(&entry.path)?;
        if let Some(target) = &entry.target {
            let owner = (entry.meta.uid, entry.meta.gid);
            return created::make_link(to, target, temporary, owner, None).map(|()| None);
        }
        let source = self.from.of(&entry.path)?.open_file(name(&entry.path))?;
        // A tree that is being adopted may have another file there by now: who could read that is who can read the copy.
        let meta @ Meta { uid, gid, mode, mtime, .. } = sysfs::meta(&source)?;
        if meta.kind != Kind::File {
            return Err(replaced());
        }
        let file = to.create(temporary)?;
        copy(&source, &meta, &file, self.limit)?;
        sysfs::set_owner_and_mode(&file, Some((uid, gid)), mode)?;
        created::set_mtime(&file, mtime)?;
        sysfs::start_writeback(&file);
        sysfs::meta(&file).map(Some)
    }

    /// Gives what is there mode and owner. False: it is another file by now, or has another name, and must be replaced.
    fn adjust(&mut self, Adjust { entry, present }: &Adjust<'_>) -> io::Result<bool> {
        let dir = self.to.of(&entry.path)?;
        let Meta { uid, gid, mode, .. } = entry.meta;
        let owner = Some((uid, gid));
        match entry.meta.kind {
            Kind::Dir => {
                let child = dir.child(name(&entry.path))?;
                if child.meta()?.inode() != present.meta.inode() {
                    return Err(replaced());
                }
                sysfs::set_owner_and_mode(&child, owner, mode)?;
            }
            Kind::File | Kind::Link | Kind::Other => {
                let (file, meta) = match open_judged(dir, name(&entry.path), &present.meta) {
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
        self.touch(&entry.path);
        Ok(true)
    }

    /// Renames a directory that makes way for a file.
    fn move_aside(&mut self, directory: &Entry) -> io::Result<PathBuf> {
        let (away, path) = (unique_name(TEMPORARY)?, directory.path.as_path());
        let dir = self.to.of(path)?;
        dir.rename(name(path), dir, &away)?;
        if !is_judged(dir, &away, &directory.meta)? {
            dir.rename(&away, dir, name(path))?;
            return Err(replaced());
        }
        Ok(path.with_file_name(away))
    }

    /// Removes a directory that was judged, with all that is in it.
    fn remove_tree(&mut self, path: &Path, judged: &Meta) -> Result<()> {
        let cannot = || format!("cannot remove {}", path.display());
        self.to.judge(path, judged);
        let dir = self.to.top.descend(path).context(cannot)?;
        self.to.check(path, &dir).context(cannot)?;
        let tree = Tree::read(&dir, &[], self.limit)?;
        let mut inside = Parents::of_tree(&dir, &tree, self.limit);
        for entry in tree.0.iter().rev() {
            inside.of(&entry.path).and_then(|parent| remove(parent, entry)).context(cannot)?;
        }
        self.to.of(path).and_then(|parent| parent.remove_dir(name(path))).context(cannot)
    }

    fn unlink(&mut self, entry: &Entry) -> Result<()> {
        match self.to.of(&entry.path).and_then(|dir| remove(dir, entry)) {
            Ok(true) => self.touch(&entry.path),
            // An application was faster, with the entry or with its directory, and may have put something else there: it stays.
            Ok(false) => {}
            Err(e) if is_gone(&e) => {}
            // Something in it is preserved, or an application has just put something there: both stay.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) => return Err(e).context(|| format!("cannot remove {}", entry.path.display())),
        }
        Ok(())
    }

    /// Waits until the names are on disk. A directory that was removed needs none.
    fn sync(&mut self, plan: &Plan<'_>) -> Result<()> {
        let removed: BTreeSet<&Path> = plan.remove.iter().map(|e| e.path.as_path()).collect();
        for path in self.touched.iter().rev() {
            match self.to.dir(path).and_then(|dir| dir.sync()) {
                Err(e) if is_gone(&e) && removed.contains(path.as_path()) => {}
                synced => synced.context(|| format!("cannot sync the directory {}", path.display()))?,
            }
        }
        Ok(())
    }
}

/// Removes `entry` from the directory it lies in. False: another thing stands there, and stays.
fn remove(dir: &Dir, entry: &Entry) -> io::Result<bool> {
    let name = name(&entry.path);
    if !is_judged(dir, name, &entry.meta)? {
        return Ok(false);
    }
    match entry.meta.kind {
        Kind::Dir => dir.remove_dir(name)?,
        Kind::File | Kind::Link | Kind::Other => dir.unlink(name)?,
    }
    Ok(true)
}

/// Whether what was judged, or a directory on the way to it, is there no more.
fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || is_replaced(e)
}

fn cannot_put(entry: &Entry) -> String {
    format!("cannot write {}", entry.path.display())
}
