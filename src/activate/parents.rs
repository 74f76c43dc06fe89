//! Opens directories of a tree by descriptor, and only the inodes that were compared: a process that may write to the
//! tree can replace one between the comparison and the change.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::entries::{Member, Tree};
use super::limit::Limit;
use super::tree::{MAX_DEPTH, name};
use crate::sys::created::replaced;
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta};

/// Opens the directory of a path, and keeps the last one open, because neighbours follow each other. Asks the limit
/// each time.
pub(super) struct Parents<'a> {
    top: &'a Dir,
    last: Option<(PathBuf, Dir)>,
    limit: Limit,
    /// The directories as compared: no other inode is opened.
    tree: Option<&'a Tree>,
    /// The inodes of directories created since, in order.
    made: Made<'a>,
    /// The inodes of directories examined one by one.
    judged: HashMap<PathBuf, (u64, u64)>,
}

/// Directories created, by their numbers in a tree.
#[derive(Default)]
struct Made<'a> {
    tree: Option<&'a Tree>,
    inodes: Vec<(u32, (u64, u64))>,
    /// Those that stand under another name so far.
    staged: Vec<(u32, OsString)>,
}

impl Made<'_> {
    fn find(&self, path: &Path) -> Option<(u64, u64)> {
        self.inode(self.tree.filter(|_| !self.inodes.is_empty())?.find(path)?.number())
    }

    fn inode(&self, number: u32) -> Option<(u64, u64)> {
        let at = self.inodes.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.inodes[at].1)
    }

    /// The path at which the directory `path` stands so far, if that is another one.
    fn staged(&self, path: &Path) -> Option<PathBuf> {
        let tree = self.tree.filter(|_| !self.staged.is_empty())?;
        let entry = tree.find(path)?;
        let before = self.staged.partition_point(|(number, _)| *number <= entry.number());
        let (number, name) = self.staged.get(before.checked_sub(1)?)?;
        let top = tree.at(*number).path();
        let below = path.strip_prefix(&top).ok().filter(|_| entry.is_within(*number))?;
        Some(top.with_file_name(name).join(below))
    }
}

impl<'a> Parents<'a> {
    pub(super) fn new(top: &'a Dir, limit: Limit) -> Self {
        Self { top, last: None, limit, tree: None, made: Made::default(), judged: HashMap::new() }
    }

    /// Opens only directories of `tree`, and those of `wanted` that were [`Self::made`].
    pub(super) fn of_trees(top: &'a Dir, tree: &'a Tree, wanted: &'a Tree, limit: Limit) -> Self {
        let made = Made { tree: Some(wanted), ..Made::default() };
        Self { tree: Some(tree), made, ..Self::new(top, limit) }
    }

    /// The top of the tree.
    pub(super) fn top(&self) -> &'a Dir {
        self.top
    }

    /// Opens the directory at `path`, if it is the inode `judged`.
    pub(super) fn judged_dir(&mut self, path: &Path, judged: (u64, u64)) -> io::Result<Dir> {
        let dir = self.of(path)?.child(name(path))?;
        if dir.meta()?.inode() == judged { Ok(dir) } else { Err(replaced()) }
    }

    /// Binds `path` to this directory: no other inode is opened there.
    pub(super) fn judge(&mut self, path: &Path, meta: &Meta) {
        self.judged.insert(path.to_owned(), meta.inode());
    }

    /// Records the directory created as `entry` of the wanted tree. Calls come in order.
    pub(super) fn made(&mut self, entry: Member<'_>, meta: &Meta) {
        self.made.inodes.push((entry.number(), meta.inode()));
    }

    /// The inode of the directory created as `entry` of the wanted tree, if it was.
    pub(super) fn made_as(&self, entry: Member<'_>) -> Option<(u64, u64)> {
        self.made.inode(entry.number())
    }

    /// Records that the directory created as `entry` is named `name` until [`Self::placed`].
    pub(super) fn staged(&mut self, entry: Member<'_>, name: OsString) {
        self.made.staged.push((entry.number(), name));
    }

    /// The directories created now have their own names.
    pub(super) fn placed(&mut self) {
        self.made.staged.clear();
    }

    /// Drops the limit, for a cleanup after it has passed.
    pub(super) fn without_limit(&mut self) {
        self.limit = Limit::NONE;
    }

    pub(super) fn of(&mut self, path: &Path) -> io::Result<&Dir> {
        self.dir(path.parent().unwrap_or(Path::new("")))
    }

    /// The directory at `path` itself.
    pub(super) fn dir(&mut self, path: &Path) -> io::Result<&Dir> {
        self.limit.ask()?;
        let (at, dir) = match self.last.take() {
            Some((at, dir)) if at == path => (at, dir),
            _ => {
                let dir = self.top.descend(self.made.staged(path).as_deref().unwrap_or(path))?;
                self.check(path, &dir)?;
                (path.to_owned(), dir)
            }
        };
        Ok(&self.last.insert((at, dir)).1)
    }

    fn check(&self, path: &Path, dir: &Dir) -> io::Result<()> {
        let in_tree = || self.tree.and_then(|tree| tree.find(path)).map(|entry| entry.inode());
        match self.judged.get(path).copied().or_else(|| self.made.find(path)).or_else(in_tree) {
            Some(judged) if dir.meta()?.inode() == judged => Ok(()),
            None if self.tree.is_none() || path == Path::new("") => Ok(()),
            Some(_) | None => Err(replaced()),
        }
    }
}

/// Opens the file `name` of `dir` for reading, if it is the inode `judged`.
pub(super) fn open_judged(dir: &Dir, name: &OsStr, judged: (u64, u64)) -> io::Result<(File, Meta)> {
    let file = dir.open_file(name)?;
    let meta = sysfs::meta(&file)?;
    if meta.inode() == judged && meta.kind == Kind::File { Ok((file, meta)) } else { Err(replaced()) }
}

/// Whether the entry `name` has this kind and inode.
pub(super) fn is_judged(dir: &Dir, name: &OsStr, kind: Kind, inode: (u64, u64)) -> io::Result<bool> {
    Ok(dir.look(name)?.is_some_and(|meta| (meta.kind, meta.inode()) == (kind, inode)))
}

/// Removes the entry `name` if it has this kind and inode; a missing one is fine.
pub(super) fn remove_judged(dir: &Dir, name: &OsStr, kind: Kind, inode: (u64, u64)) -> io::Result<()> {
    let removed = match dir.look(name)? {
        None => return Ok(()),
        Some(meta) if (meta.kind, meta.inode()) != (kind, inode) => return Err(replaced()),
        Some(_) if kind == Kind::Dir => dir.remove_dir(name),
        Some(_) => dir.unlink(name),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The number of names in memory at once while a directory is emptied.
const BATCH: usize = 4096;

/// Removes all content of `dir`, which is on this device; enters no mount.
pub(super) fn empty(dir: &Dir, device: u64, depth: usize, limit: Limit) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("it is more than {MAX_DEPTH} directories deep")));
    }
    loop {
        let mut count = 0;
        let names = dir.names_while(&mut |_| {
            count += 1;
            count <= BATCH
        })?;
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            limit.ask()?;
            let Some((meta, is_mount)) = dir.look_for_mount(name)? else { continue };
            if meta.kind != Kind::Dir {
                dir.unlink(name)?;
                continue;
            }
            if !is_mount && meta.dev == device {
                empty(&dir.child(name)?, device, depth.saturating_add(1), limit)?;
            }
            dir.remove_dir(name)?;
        }
    }
}
