//! Brings every path of the ledger to what it is to hold, forward or back: the only effect on the host. Files and links
//! are written under a temporary name beside their place with owner, mode and attributes, all of them on disk before the first rename.
//! What is as it should be keeps its inode. Doing it again after a crash ends where it would have ended.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::apply::{Changes, TEMPORARY, name};
use super::live::{Live, is_no_way, refuse_other};
use super::shown;
use crate::error::{Context, Error, Result};
use crate::model::hex;
use crate::store::ledger::{Image, Ledger, Row, Stage};
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta};
use crate::sys::xattr;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the target.
    Forward,
    /// To what was there before the deployment.
    Back,
}

/// A path that is not as it should be.
struct Task<'l> {
    path: &'l Path,
    row: &'l Row,
    /// What is to be there.
    image: Option<&'l Image>,
    /// What is there.
    meta: Option<Meta>,
}

/// At work on one ledger.
pub(super) struct Apply<'a> {
    live: Live<'a>,
    /// What makes temporary names ours: the path of the store.
    store: &'a Path,
    touched: BTreeSet<PathBuf>,
}

impl<'a> Apply<'a> {
    pub(super) fn new(live: Live<'a>, store: &'a Path) -> Self {
        Self { live, store, touched: BTreeSet::new() }
    }

    /// Does it. `again`: an earlier run may have left temporary names.
    pub(super) fn run(mut self, ledger: &Ledger, way: Way, again: bool) -> Result<Changes> {
        if again {
            self.sweep(ledger)?;
        }
        let tasks = self.tasks(ledger, way)?;
        let put = |task: &&Task<'_>| task.image.is_some_and(|image| image.kind != Kind::Dir);
        self.clear(&tasks)?;
        for task in &tasks {
            self.make(task).context(|| format!("cannot make {}", shown(task.path)))?;
        }
        self.put(&tasks.iter().filter(put).collect::<Vec<_>>())?;
        for task in tasks.iter().rev().filter(|task| task.image.is_none()) {
            self.remove(task)?;
        }
        self.sync()?;
        Ok(Changes {
            written: tasks.iter().filter(|task| task.image.is_some()).count(),
            removed: tasks.iter().filter(|task| task.image.is_none()).count(),
            ..Changes::default()
        })
    }

    /// Removes what a killed run left beside its places.
    fn sweep(&mut self, ledger: &Ledger) -> Result<()> {
        for (path, row) in &ledger.rows {
            let images = [row.forward(), row.back()];
            if images.into_iter().flatten().any(|image| image.kind != Kind::Dir) {
                let temporary = self.temporary(path);
                // Looked for first: on a read-only file system removing nothing is an error too.
                let removed = self.live.dir_of(path).and_then(|dir| match dir.look(&temporary)? {
                    Some(_) => unlink(dir, &temporary),
                    None => Ok(()),
                });
                match removed {
                    Err(e) if is_no_way(&e) => {}
                    removed => removed.context(|| format!("cannot remove what is left beside {}", shown(path)))?,
                }
            }
        }
        Ok(())
    }

    /// The same name for the same path at every attempt, and another one for every other deployment.
    fn temporary(&self, path: &Path) -> OsString {
        let mut hash = Sha256::new();
        for part in [self.store, path] {
            hash.update(part.as_os_str().as_encoded_bytes());
            hash.update([0]);
        }
        format!("{TEMPORARY}{}", hex(&hash.finalize()[..8])).into()
    }

    /// What is not as it should be, in the order of the ledger.
    fn tasks<'l>(&mut self, ledger: &'l Ledger, way: Way) -> Result<Vec<Task<'l>>> {
        let is_preparing = matches!(ledger.target, Some((Stage::Preparing, _)));
        let mut tasks = Vec::new();
        for (path, row) in &ledger.rows {
            let image = if way == Way::Forward { row.forward() } else { row.back() };
            let meta = self.live.look(path)?;
            // As long as nothing is in place, what has come up where something is to be is a script's, and stays.
            let is_not_ours = is_preparing && row.have.is_none();
            let is_done = match (image, &meta) {
                (None, None) => true,
                (None, Some(_)) if is_not_ours => true,
                (Some(_), Some(meta)) if row.is_foreign() => match meta.kind {
                    Kind::Dir => true,
                    _ => return Err(Error::failed(format!("{} is no directory any more", shown(path)))),
                },
                // It stood there before, or somebody has just put it there.
                (Some(_), Some(meta)) if way == Way::Back && meta.kind == Kind::Other => {
                    log::warn!("{} is a FIFO, a socket or a device: it stays", shown(path));
                    true
                }
                (Some(image), Some(meta)) => {
                    refuse_other(path, meta)?;
                    self.live.is(path, meta, image)?
                }
                _ => false,
            };
            if !is_done {
                tasks.push(Task { path, row, image, meta });
            }
        }
        Ok(tasks)
    }

    /// What stands in the way of another kind goes first, and with a directory what of ours is in it.
    fn clear(&mut self, tasks: &[Task<'_>]) -> Result<()> {
        let is = |task: &Task<'_>, live: Kind| task.meta.is_some_and(|meta| meta.kind == live);
        let turns = |task: &&Task<'_>| task.image.is_some_and(|image| is(task, Kind::Dir) != (image.kind == Kind::Dir));
        let in_the_way: Vec<&Task<'_>> = tasks.iter().filter(turns).filter(|task| task.meta.is_some()).collect();
        for task in tasks.iter().rev() {
            let above = |other: &&Task<'_>| task.path != other.path && task.path.starts_with(other.path);
            let goes = match task.image {
                None => task.meta.is_some() && in_the_way.iter().any(above),
                Some(_) => in_the_way.iter().any(|other| other.path == task.path),
            };
            if goes {
                let dir = self.live.dir_of(task.path);
                let removed = dir.and_then(|dir| match is(task, Kind::Dir) {
                    true => dir.remove_dir(name(task.path)),
                    false => unlink(dir, name(task.path)),
                });
                removed.context(|| format!("cannot remove {}, which stands in the way", shown(task.path)))?;
                self.touch(task.path);
            }
        }
        Ok(())
    }

    /// Makes a directory, or gives the one that is there its mode, owner and ACL.
    fn make(&mut self, task: &Task<'_>) -> io::Result<()> {
        let Some(image) = task.image.filter(|image| image.kind == Kind::Dir) else { return Ok(()) };
        let dir = self.live.dir_of(task.path)?;
        if task.meta.is_none_or(|meta| meta.kind != Kind::Dir) {
            dir.make_dir(name(task.path), 0o700)?;
        }
        let made = dir.child(name(task.path))?;
        sysfs::set_owner_and_mode(&made, Some((image.uid, image.gid)), image.mode)?;
        set_attributes(&made, image, &[xattr::ACL, xattr::DEFAULT_ACL])?;
        self.touched.insert(task.path.to_owned());
        self.touch(task.path);
        Ok(())
    }

    /// Writes all files and links, then renames them. On an error nothing stays beside their places.
    fn put(&mut self, tasks: &[&Task<'_>]) -> Result<()> {
        let cannot = |task: &Task<'_>| format!("cannot write {}", shown(task.path));
        let staged = self.stage(tasks);
        let renamed = staged.and_then(|()| {
            tasks.iter().try_for_each(|task| {
                let temporary = self.temporary(task.path);
                let dir = self.live.dir_of(task.path).context(|| cannot(task))?;
                dir.rename(&temporary, dir, name(task.path)).context(|| cannot(task))?;
                self.touch(task.path);
                Ok(())
            })
        });
        if renamed.is_err() {
            for task in tasks {
                let temporary = self.temporary(task.path);
                // Best effort: the way back looks for them again.
                let _ = self.live.dir_of(task.path).and_then(|dir| unlink(dir, &temporary));
            }
        }
        renamed
    }

    fn stage(&mut self, tasks: &[&Task<'_>]) -> Result<()> {
        let cannot = |task: &Task<'_>| format!("cannot write {}", shown(task.path));
        for task in tasks {
            let Some(image) = task.image else { continue };
            self.write(task.path, image).context(|| cannot(task))?;
        }
        for task in tasks.iter().filter(|task| task.image.is_some_and(|image| image.kind == Kind::File)) {
            let temporary = self.temporary(task.path);
            let file = self.live.dir_of(task.path).and_then(|dir| dir.open_file(&temporary));
            file.and_then(|file| file.sync_all()).context(|| cannot(task))?;
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, image: &Image) -> io::Result<()> {
        let temporary = self.temporary(path);
        unlink(self.live.dir_of(path)?, &temporary)?;
        if image.kind == Kind::Link {
            let dir = self.live.dir_of(path)?;
            dir.symlink(image.source.as_os_str(), &temporary)?;
            dir.set_owner(&temporary, image.uid, image.gid)?;
            return dir.set_mtime(&temporary, image.mtime);
        }
        let mut content = self.live.content(image)?;
        let dir = self.live.dir_of(path)?;
        let mut file = dir.create(&temporary)?;
        io::copy(&mut content, &mut file)?;
        sysfs::set_owner_and_mode(&file, Some((image.uid, image.gid)), image.mode)?;
        set_attributes(&file, image, &[xattr::ACL])?;
        sysfs::start_writeback(&file);
        drop(file);
        dir.set_mtime(&temporary, image.mtime)
    }

    /// Removes what is no longer wanted. What somebody put in place of ours, or into a directory of ours, stays.
    fn remove(&mut self, task: &Task<'_>) -> Result<()> {
        let images = [&task.row.have, &task.row.want];
        let mut kinds = images.into_iter().flatten().map(|image| image.kind == Kind::Dir);
        let was_directory = kinds.next() == Some(true) && kinds.all(|is_directory| is_directory);
        let cannot = || format!("cannot remove {}", shown(task.path));
        let Some(meta) = self.live.look(task.path)? else { return Ok(()) };
        if meta.kind == Kind::Other || (was_directory && meta.kind != Kind::Dir) {
            log::warn!("{} is not what was installed there any more: it stays", shown(task.path));
            return Ok(());
        }
        let dir = self.live.dir_of(task.path).context(cannot)?;
        if meta.kind != Kind::Dir {
            unlink(dir, name(task.path)).context(cannot)?;
        } else {
            match dir.remove_dir(name(task.path)) {
                Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => return Ok(()),
                removed => removed.context(cannot)?,
            }
        }
        self.touch(task.path);
        Ok(())
    }

    fn touch(&mut self, path: &Path) {
        self.touched.extend(path.parent().map(Path::to_owned));
    }

    /// Waits until the names are on disk. A directory that is gone, or a file now, needs none.
    fn sync(&mut self) -> Result<()> {
        for path in self.touched.iter().rev() {
            let synced = self.live.dir_of(&path.join("x")).and_then(Dir::sync);
            match synced {
                Err(e) if is_no_way(&e) => {}
                synced => synced.context(|| format!("cannot sync the directory {}", shown(path)))?,
            }
        }
        Ok(())
    }
}

/// Gives an open file the attributes of `image`, and none of `acls` that it does not have: a directory may have handed one down.
fn set_attributes(file: impl std::os::fd::AsFd, image: &Image, acls: &[&str]) -> io::Result<()> {
    for acl in acls {
        if xattr::value(&image.attributes, acl.as_ref()).is_none() {
            xattr::remove(&file, acl.as_ref())?;
        }
    }
    image.attributes.iter().try_for_each(|(name, value)| xattr::set(&file, name, value))
}

/// Removes a file or link, when it is there.
fn unlink(dir: &Dir, name: &OsStr) -> io::Result<()> {
    match dir.unlink(name) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
