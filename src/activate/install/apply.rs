//! Brings every path of the ledger to its wanted or its former state: this module makes all changes to the host. Files
//! and links are written under a temporary name in the same directory, with owner, mode and attributes, and synced
//! before the first rename. An entry that is as wanted keeps its inode. A second run after a crash ends in the same
//! state.
//!
//! Other users may write to the directories: an entry that was replaced since it was examined gets neither owner nor
//! mode, and stays.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::apply::{Changes, TEMPORARY};
use super::super::copy::copy;
use super::super::parents::open_judged;
use super::super::tree::name;
use super::live::{Live, is_no_way, mounted, refuse_other};
use super::path_name::shown;
use crate::error::{Context, Error, Result};
use crate::model::hex;
use crate::store::ledger::{Image, Ledger, Row, Stage};
use crate::sys::created::{self, is_replaced};
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta};
use crate::sys::xattr;

/// The direction of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the state that the release wants.
    Forward,
    /// To the state before the deployment.
    Back,
}

/// A path that is not in its wanted state.
struct Task<'l> {
    path: &'l Path,
    row: &'l Row,
    /// The wanted state; `None`: to be removed.
    image: Option<&'l Image>,
    /// The present entry.
    meta: Option<Meta>,
}

/// A run over one ledger.
pub(super) struct Apply<'a> {
    live: Live<'a>,
    /// The path of the store, part of the hash in temporary names.
    store: &'a Path,
    touched: BTreeSet<PathBuf>,
}

impl<'a> Apply<'a> {
    pub(super) fn new(live: Live<'a>, store: &'a Path) -> Self {
        Self { live, store, touched: BTreeSet::new() }
    }

    /// Runs all steps. `again`: an earlier run may have left temporary files.
    pub(super) fn run(mut self, ledger: &Ledger, way: Way, again: bool) -> Result<Changes> {
        if again {
            self.sweep(ledger)?;
        }
        let tasks = self.tasks(ledger, way)?;
        let put = |task: &&Task<'_>| task.image.is_some_and(|image| image.kind != Kind::Dir);
        self.clear(&tasks)?;
        for task in &tasks {
            self.make(task).with_context(|| format!("cannot make {}", shown(task.path)))?;
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

    /// Removes temporary files that a killed run left.
    fn sweep(&mut self, ledger: &Ledger) -> Result<()> {
        for (path, row) in &ledger.rows {
            let images = [row.forward(), row.back()];
            if images.into_iter().flatten().any(|image| image.kind != Kind::Dir) {
                let temporary = self.temporary(path);
                // Looked up first: on a read-only file system an unlink fails even if the name is missing.
                let removed = self.live.dir_of(path).and_then(|dir| match dir.look(&temporary)? {
                    Some(_) => unlink(dir, &temporary),
                    None => Ok(()),
                });
                match removed {
                    Err(e) if is_no_way(&e) => {}
                    removed => removed.with_context(|| format!("cannot remove what is left beside {}", shown(path)))?,
                }
            }
        }
        Ok(())
    }

    /// The temporary name for `path`: the same at every attempt, a different one for every store.
    fn temporary(&self, path: &Path) -> OsString {
        let mut hash = Sha256::new();
        for part in [self.store, path] {
            hash.update(part.as_os_str().as_encoded_bytes());
            hash.update([0]);
        }
        format!("{TEMPORARY}{}", hex(&hash.finalize()[..8])).into()
    }

    /// The paths that are not in their wanted state, in the order of the ledger.
    fn tasks<'l>(&mut self, ledger: &'l Ledger, way: Way) -> Result<Vec<Task<'l>>> {
        let is_preparing = matches!(ledger.target, Some((Stage::Preparing, _)));
        let mut tasks = Vec::new();
        for (path, row) in &ledger.rows {
            let image = if way == Way::Forward { row.forward() } else { row.back() };
            let meta = self.live.look(path)?;
            if let Some(directory) = meta.filter(|meta| meta.kind == Kind::Dir) {
                self.live.judge(path, &directory);
            }
            // Until installing begins, an entry that appears at a path to be installed was made by a script, and stays.
            let is_not_ours = is_preparing && row.have.is_none();
            let is_done = match (image, &meta) {
                (None, None) => true,
                (None, Some(_)) if is_not_ours => true,
                (Some(_), Some(meta)) if row.is_foreign() => match meta.kind {
                    Kind::Dir => true,
                    Kind::File | Kind::Link | Kind::Other => {
                        return Err(Error::failed(format!("{} is no directory any more", shown(path))));
                    }
                },
                // It was there before the deployment, or has just been created by another process.
                (Some(_), Some(meta)) if way == Way::Back && meta.kind == Kind::Other => {
                    log::warn!("{} is a FIFO, a socket or a device: it stays", shown(path));
                    true
                }
                (Some(image), Some(meta)) => {
                    refuse_other(path, meta)?;
                    let is_done = self.live.is(path, meta, image)?;
                    if !is_done && meta.kind != Kind::Dir && self.live.is_mount(path)? {
                        self.meet_mount(path, way)?;
                        continue;
                    }
                    is_done
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !is_done {
                tasks.push(Task { path, row, image, meta });
            }
        }
        Ok(tasks)
    }

    /// An error or a warning: nothing is renamed onto a mount, so the entry below it stays as it is.
    fn meet_mount(&self, path: &Path, way: Way) -> Result<()> {
        match way {
            Way::Forward => Err(Error::failed(mounted(path))),
            Way::Back => {
                log::warn!("something is mounted at {}: it stays", shown(path));
                Ok(())
            }
        }
    }

    /// Removes entries of another kind that are in the way, and with a directory its installed content.
    fn clear(&mut self, tasks: &[Task<'_>]) -> Result<()> {
        for task in in_the_way(tasks) {
            let Some(meta) = task.meta else { continue };
            self.live
                .remove(task.path, &meta)
                .with_context(|| format!("cannot remove {}, which stands in the way", shown(task.path)))?;
            self.touch(task.path);
        }
        Ok(())
    }

    /// Creates a directory, or sets mode, owner and ACL of the present one.
    fn make(&mut self, task: &Task<'_>) -> io::Result<()> {
        let Some(image) = task.image.filter(|image| image.kind == Kind::Dir) else { return Ok(()) };
        let owner = (image.uid, image.gid);
        let made = match task.meta.filter(|meta| meta.kind == Kind::Dir) {
            Some(meta) => {
                let dir = self.live.judged_dir(task.path, &meta)?;
                sysfs::set_owner_and_mode(&dir, Some(owner), image.mode)?;
                dir
            }
            None => {
                let (dir, made) =
                    created::make_dir(self.live.dir_of(task.path)?, name(task.path), Some(owner), image.mode)?;
                self.live.judge(task.path, &made);
                dir
            }
        };
        set_attributes(&made, image, &[xattr::ACL, xattr::DEFAULT_ACL])?;
        self.touched.insert(task.path.to_owned());
        self.touch(task.path);
        Ok(())
    }

    /// Writes all files and links, then renames them. On an error the temporary files are removed.
    fn put(&mut self, tasks: &[&Task<'_>]) -> Result<()> {
        let cannot = |task: &Task<'_>| format!("cannot write {}", shown(task.path));
        let staged = self.stage(tasks);
        let renamed = staged.and_then(|()| {
            tasks.iter().try_for_each(|task| {
                let temporary = self.temporary(task.path);
                let dir = self.live.dir_of(task.path).with_context(|| cannot(task))?;
                dir.rename(&temporary, dir, name(task.path)).with_context(|| cannot(task))?;
                self.touch(task.path);
                Ok(())
            })
        });
        if renamed.is_err() {
            self.live.without_limit();
            for task in tasks {
                let temporary = self.temporary(task.path);
                // Best effort: rolling back removes leftovers too.
                let _ = self.live.dir_of(task.path).and_then(|dir| unlink(dir, &temporary));
            }
        }
        renamed
    }

    fn stage(&mut self, tasks: &[&Task<'_>]) -> Result<()> {
        let cannot = |task: &Task<'_>| format!("cannot write {}", shown(task.path));
        let mut files = Vec::new();
        for task in tasks {
            let Some(image) = task.image else { continue };
            let written = self.write(task.path, image).with_context(|| cannot(task))?;
            files.extend(written.map(|meta| (task, meta)));
        }
        for (task, written) in files {
            let temporary = self.temporary(task.path);
            let file = self.live.dir_of(task.path).and_then(|dir| open_judged(dir, &temporary, written.inode()));
            file.and_then(|(file, _)| file.sync_all()).with_context(|| cannot(task))?;
        }
        Ok(())
    }

    /// Returns the metadata of a written file, `None` for a link.
    fn write(&mut self, path: &Path, image: &Image) -> io::Result<Option<Meta>> {
        let temporary = self.temporary(path);
        unlink(self.live.dir_of(path)?, &temporary)?;
        let owner = (image.uid, image.gid);
        if image.kind == Kind::Link {
            let (dir, text) = (self.live.dir_of(path)?, image.source.as_os_str());
            return created::make_link(dir, text, &temporary, owner, Some(image.mtime)).map(|()| None);
        }
        let content = self.live.content(image)?;
        let file = self.live.dir_of(path)?.create(&temporary)?;
        copy(&content, &sysfs::meta(&content)?, &file, self.live.limit())?;
        sysfs::set_owner_and_mode(&file, Some(owner), image.mode)?;
        set_attributes(&file, image, &[xattr::ACL])?;
        created::set_mtime(&file, image.mtime)?;
        sysfs::start_writeback(&file);
        sysfs::meta(&file).map(Some)
    }

    /// Removes an entry that is no longer wanted. An entry that another process put in its place, or into a removed
    /// directory, stays.
    fn remove(&mut self, task: &Task<'_>) -> Result<()> {
        let images = [&task.row.have, &task.row.want];
        let mut kinds = images.into_iter().flatten().map(|image| image.kind == Kind::Dir);
        let was_directory = kinds.next() == Some(true) && kinds.all(|is_directory| is_directory);
        let cannot = || format!("cannot remove {}", shown(task.path));
        // It may have been removed by `clear`; an entry that was not examined stays.
        let (Some(judged), Some(meta)) = (task.meta, self.live.look(task.path)?) else { return Ok(()) };
        let is_another = meta.inode() != judged.inode();
        if is_another || meta.kind == Kind::Other || (was_directory && meta.kind != Kind::Dir) {
            log::warn!("{} is not what was installed there any more: it stays", shown(task.path));
            return Ok(());
        }
        match self.live.remove(task.path, &judged) {
            Err(e) if is_replaced(&e) => return Ok(()), // put there just now
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty || e.kind() == ErrorKind::ResourceBusy => return Ok(()),
            removed => removed.with_context(cannot)?,
        }
        self.touch(task.path);
        Ok(())
    }

    fn touch(&mut self, path: &Path) {
        self.touched.extend(path.parent().map(Path::to_owned));
    }

    /// Syncs the changed directories. A directory that is gone, or is a file now, needs no sync.
    fn sync(&mut self) -> Result<()> {
        for path in self.touched.iter().rev() {
            let synced = self.live.dir_of(&path.join("x")).and_then(Dir::sync);
            match synced {
                Err(e) if is_no_way(&e) => {}
                synced => synced.with_context(|| format!("cannot sync the directory {}", shown(path)))?,
            }
        }
        Ok(())
    }
}

/// The entries of another kind in the way, and the installed entries in such a directory, children first.
fn in_the_way<'t, 'l>(tasks: &'t [Task<'l>]) -> impl Iterator<Item = &'t Task<'l>> {
    let is = |task: &Task<'_>, live: Kind| task.meta.is_some_and(|meta| meta.kind == live);
    let turns = move |task: &&Task<'_>| {
        let becomes_another = |image: &Image| is(task, Kind::Dir) != (image.kind == Kind::Dir);
        task.meta.is_some() && task.image.is_some_and(becomes_another)
    };
    let turning: HashSet<&Path> = tasks.iter().filter(turns).map(|task| task.path).collect();
    tasks.iter().rev().filter(move |task| match task.image {
        None => task.meta.is_some() && task.path.ancestors().skip(1).any(|above| turning.contains(above)),
        Some(_) => turning.contains(task.path),
    })
}

/// Sets the attributes of `image` on an open file, and removes those of `acls` that `image` lacks: a default ACL may
/// have added them.
fn set_attributes(file: impl std::os::fd::AsFd, image: &Image, acls: &[&str]) -> io::Result<()> {
    for acl in acls {
        if xattr::value(&image.attributes, acl.as_ref()).is_none() {
            xattr::remove(&file, acl.as_ref())?;
        }
    }
    image.attributes.iter().try_for_each(|(name, value)| xattr::set(&file, name, value))
}

/// Removes a file or link, if it exists.
fn unlink(dir: &Dir, name: &OsStr) -> io::Result<()> {
    match dir.unlink(name) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPU time of this thread, in nanoseconds.
    fn work() -> i128 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    }

    fn image(kind: Kind) -> Image {
        let (source, attributes) = (PathBuf::new(), Vec::new());
        Image { kind, mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), source, attributes }
    }

    /// The CPU time to find the removals when `directories` directories with two files each become files.
    fn cost(directories: usize) -> i128 {
        let meta = Dir::open(Path::new("/")).unwrap().meta().unwrap();
        let name = |n: usize| PathBuf::from(format!("some/directory/d{n:07}"));
        let paths = (0..directories).flat_map(|n| [name(n), name(n).join("a"), name(n).join("b")]);
        let paths: Vec<PathBuf> = paths.collect();
        let (row, file) = (Row::new(None), image(Kind::File));
        let task = |(n, path)| match n % 3 {
            0 => Task { path, row: &row, image: Some(&file), meta: Some(meta) },
            _ => Task { path, row: &row, image: None, meta: Some(Meta { kind: Kind::File, ..meta }) },
        };
        let tasks: Vec<Task<'_>> = paths.iter().map(PathBuf::as_path).enumerate().map(task).collect();
        let measured = (0..3).map(|_| {
            let before = work();
            assert_eq!(in_the_way(&tasks).count(), tasks.len());
            work() - before
        });
        measured.min().unwrap()
    }

    #[test]
    fn directories_that_become_files_cost_the_same_each_however_many_they_are() {
        let (few, many) = (cost(2_100), cost(33_600)); // 100,800 paths
        // 16 times as many; comparing each with all others would take 256 times as long.
        assert!(many < few * 64, "{few} ns, {many} ns");
    }

    #[test]
    fn what_goes_is_what_turns_and_what_of_ours_is_in_it_children_first() {
        let meta = Dir::open(Path::new("/")).unwrap().meta().unwrap();
        let (row, file, dir) = (Row::new(None), image(Kind::File), image(Kind::Dir));
        let is_file = Some(Meta { kind: Kind::File, ..meta });
        let task = |path, image, meta| Task { path: Path::new(path), row: &row, image, meta };
        let tasks = [
            task("dir", None, Some(meta)),
            task("dir/other", None, is_file),
            task("new", Some(&file), None),
            task("same", Some(&file), is_file),
            task("to-dir", Some(&dir), is_file),
            task("to-file", Some(&file), Some(meta)),
            task("to-file/below", None, Some(meta)),
            task("to-file/below/deep", None, is_file),
            task("to-file.d", None, is_file),
        ];
        let goes: Vec<_> = in_the_way(&tasks).map(|task| task.path.to_str().unwrap()).collect();
        assert_eq!(goes, ["to-file/below/deep", "to-file/below", "to-file", "to-dir"]);
    }
}
