//! Makes one directory tree like another, in place: [`diff`] is pure and says what to do, applying it is the only effect.
//! New content is written under a temporary name beside its place and put there by one rename; what is the same keeps
//! its inode; what is no longer wanted goes last. Names resolve by descriptors, never through a link or onto a mount.
//! The tree as a whole is not atomic: a crash in between is healed by doing it again.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::tree::{Entry, Tree};
use crate::error::{Context, Error, Result};
use crate::sys::fs::{self as sysfs, Dir, Kind, unique_name};

/// Our temporary names begin with this; no release may hold such a name.
const TEMPORARY: &str = ".repo-deploy-";

/// What to keep away from, and what to believe.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Relative paths that are never touched, nor what is below them.
    pub preserve: Vec<PathBuf>,
    /// Compare content even where size and time agree.
    pub thorough: bool,
}

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

/// What to do so that the one tree becomes like the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Files and links that make way for a directory.
    pub clear: Vec<&'a Entry>,
    /// Directories to make, parents first.
    pub make: Vec<&'a Entry>,
    /// Files to write and links to make.
    pub put: Vec<&'a Entry>,
    /// Directories that make way for a file or link of `put`.
    pub aside: Vec<&'a Entry>,
    /// Entries that only lack the mode or the owner.
    pub adjust: Vec<&'a Entry>,
    /// Entries to remove, children first.
    pub remove: Vec<&'a Entry>,
}

/// Compares two trees. `same` tells whether two files have the same content.
pub fn diff<'a>(
    want: &'a Tree,
    have: &'a Tree,
    preserve: &[PathBuf],
    mut same: impl FnMut(&Entry, &Entry) -> Result<bool>,
) -> Result<Plan<'a>> {
    let mut plan = Plan::default();
    let is_copied = |entry: &&Entry| entry.meta.kind != Kind::Other && !entry.mount;
    for wanted in want.0.iter().filter(is_copied) {
        let Some(present) = have.find(&wanted.path) else {
            match wanted.meta.kind {
                Kind::Dir => plan.make.push(wanted),
                _ => plan.put.push(wanted),
            }
            continue;
        };
        if present.meta.kind == Kind::Other || present.mount {
            let what = if present.mount { "another file system is mounted" } else { "a FIFO, socket or device is" };
            return Err(Error::failed(format!(
                "{what} at {}, where the release has something: move it away, or name it in preserve",
                wanted.path.display()
            )));
        }
        match (wanted.meta.kind, present.meta.kind) {
            (Kind::Dir, Kind::Dir) => {}
            (Kind::Dir, _) => {
                plan.clear.push(present);
                plan.make.push(wanted);
                continue;
            }
            (_, Kind::Dir) => {
                refuse_to_move(present, have, preserve)?;
                plan.aside.push(present);
                plan.put.push(wanted);
                continue;
            }
            (Kind::File, Kind::File) if same(wanted, present)? => {}
            (Kind::Link, Kind::Link) if wanted.target == present.target => continue,
            _ => {
                plan.put.push(wanted);
                continue;
            }
        }
        let (w, p) = (&wanted.meta, &present.meta);
        if (w.mode, w.uid, w.gid) != (p.mode, p.uid, p.gid) {
            plan.adjust.push(wanted);
        }
    }
    let is_ours_to_remove = |entry: &&Entry| {
        entry.meta.kind != Kind::Other
            && !entry.mount
            && want.find(&entry.path).is_none_or(|w| !is_copied(&w))
            && !plan.aside.iter().any(|moved| entry.path.starts_with(&moved.path))
    };
    plan.remove = have.0.iter().rev().filter(is_ours_to_remove).collect();
    Ok(plan)
}

/// A directory can make way for a file only when all that is in it may go.
fn refuse_to_move(dir: &Entry, have: &Tree, preserve: &[PathBuf]) -> Result<()> {
    let inside = |path: &Path| path.starts_with(&dir.path);
    let blocker = preserve.iter().map(PathBuf::as_path).find(|p| inside(p)).or_else(|| {
        have.0.iter().find(|e| inside(&e.path) && (e.mount || e.meta.kind == Kind::Other)).map(|e| e.path.as_path())
    });
    match blocker {
        None => Ok(()),
        Some(path) => Err(Error::failed(format!(
            "the release has a file where the directory {} is, and {} in it must stay",
            dir.path.display(),
            path.display()
        ))),
    }
}

/// Makes `to` like `from`. Twice is once.
pub fn mirror(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
    let want = Tree::read(from, &options.preserve)?;
    let have = Tree::read(to, &options.preserve)?;
    let plan = diff(&want, &have, &options.preserve, |w, p| is_same_file(from, to, w, p, options.thorough))?;
    Mirror::new(from, to).apply(&plan)
}

/// Puts back what `from` has and `to` lacks, and leaves everything that is there alone.
pub fn restore(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
    let want = Tree::read(from, &options.preserve)?;
    let have = Tree::read(to, &options.preserve)?;
    // What lies below something that is no directory any more is not missing: somebody put that there.
    let is_below_other = |path: &Path| {
        path.ancestors().skip(1).any(|above| have.find(above).is_some_and(|e| e.meta.kind != Kind::Dir || e.mount))
    };
    let missing = want.0.into_iter().filter(|e| have.find(&e.path).is_none() && !is_below_other(&e.path)).collect();
    let missing = Tree(missing);
    let nothing = Tree::default();
    let plan = diff(&missing, &nothing, &options.preserve, |_, _| Ok(true))?;
    Mirror::new(from, to).apply(&plan)
}

/// Removes everything below `to` but what is preserved, mounted or no file, directory or link.
pub fn clear(to: &Dir, options: &Options) -> Result<Changes> {
    let have = Tree::read(to, &options.preserve)?;
    let nothing = Tree::default();
    let plan = diff(&nothing, &have, &options.preserve, |_, _| Ok(true))?;
    Mirror::new(to, to).apply(&plan)
}

/// Whether two files have the same content. Size and time decide where they can: a file that was put here by us has the
/// time of the release's file, which no other release has.
fn is_same_file(from: &Dir, to: &Dir, want: &Entry, have: &Entry, thorough: bool) -> Result<bool> {
    if want.meta.size != have.meta.size {
        return Ok(false);
    }
    if want.meta.mtime == have.meta.mtime && !thorough {
        return Ok(true);
    }
    let compare = || -> io::Result<bool> {
        let open = |top: &Dir, path: &Path| -> io::Result<File> { Parents::new(top).of(path)?.open_file(name(path)) };
        same_bytes(open(from, &want.path)?, open(to, &have.path)?)
    };
    compare().context(|| format!("cannot compare {}", want.path.display()))
}

fn same_bytes(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let got = one.read(&mut a)?;
        if got == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        match other.read_exact(&mut b[..got]) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if a[..got] != b[..got] {
            return Ok(false);
        }
    }
}

fn name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}

/// Opens the directory a path lies in, and keeps the last one open: neighbours come one after the other.
struct Parents<'a> {
    top: &'a Dir,
    last: Option<(PathBuf, Dir)>,
}

impl<'a> Parents<'a> {
    fn new(top: &'a Dir) -> Self {
        Self { top, last: None }
    }

    fn of(&mut self, path: &Path) -> io::Result<&Dir> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = match self.last.take() {
            Some((at, dir)) if at == parent => dir,
            _ => self.top.descend(parent)?,
        };
        Ok(&self.last.insert((parent.to_owned(), dir)).1)
    }
}

/// Applies a plan.
struct Mirror<'a> {
    from: Parents<'a>,
    to: Parents<'a>,
    touched: BTreeSet<PathBuf>,
}

impl<'a> Mirror<'a> {
    fn new(from: &'a Dir, to: &'a Dir) -> Self {
        Self { from: Parents::new(from), to: Parents::new(to), touched: BTreeSet::new() }
    }

    fn apply(mut self, plan: &Plan<'_>) -> Result<Changes> {
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
                moved.push(self.move_aside(&entry.path).context(|| cannot_put(entry))?);
            }
            let dir = self.to.of(&entry.path).context(|| cannot_put(entry))?;
            dir.rename(temporary, dir, name(&entry.path)).context(|| cannot_put(entry))?;
            self.touch(&entry.path);
        }
        for entry in &plan.adjust {
            self.adjust(entry).context(|| format!("cannot change mode or owner of {}", entry.path.display()))?;
        }
        for path in &moved {
            self.remove_moved(path)?;
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
    fn stage<'e>(&mut self, put: &[&'e Entry]) -> Result<Vec<(&'e Entry, std::ffi::OsString)>> {
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

    fn write(&mut self, entry: &Entry, temporary: &std::ffi::OsStr) -> io::Result<()> {
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

    fn remove_moved(&mut self, path: &Path) -> Result<()> {
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
