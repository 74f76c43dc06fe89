//! Opens, appends to, replaces and judges a resolved path, always through the open directory that holds it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::judge::{Fault, Judged, Way, judge};
use crate::sys::fs::{self, Dir, Kind, Meta};
use crate::sys::sort::sort;
use crate::sys::trust::{self, Facts, Role, Untrusted, Us};

/// The end of a resolved path.
#[derive(Debug)]
pub struct Place {
    /// The directory that holds it, open.
    pub dir: Rc<Dir>,
    /// Its name there.
    pub name: OsString,
    /// The whole path without links.
    pub path: PathBuf,
    /// Its metadata; `None`: nothing is there.
    pub meta: Option<Meta>,
    /// The shared volume that holds it.
    pub volume: Option<PathBuf>,
    /// No other user can change the way to it.
    pub is_ours_alone: bool,
    /// It is the kernel's link to an open file (`/proc/self/fd/1`): its text leads nowhere, and no user can make one.
    pub(super) is_kernels: bool,
    pub(super) way: Way,
    pub(super) us: Us,
}

impl Place {
    /// Opens it as a directory, judged like the way to it.
    pub fn open_dir(&self) -> Result<Dir, Fault> {
        let dir = self.dir.child(&self.name)?;
        self.check(&dir)?;
        Ok(dir)
    }

    /// Opens it as a regular file for reading, judged like the way to it.
    pub fn open_file(&self) -> Result<(File, Meta), Fault> {
        if self.meta.is_some_and(|meta| meta.kind == Kind::Other) {
            return Err(no_file().into()); // opening a device does things
        }
        let file = self.dir.open_file(&self.name)?;
        let meta = fs::meta(&file)?;
        match meta.kind {
            Kind::File => {}
            Kind::Dir => return Err(io::Error::other("it is a directory").into()),
            Kind::Link | Kind::Other => return Err(no_file().into()),
        }
        self.check(&file)?;
        Ok((file, meta))
    }

    /// Opens the file for appending, and creates it if missing. Files of any type are accepted; only a regular file
    /// with a second name is refused where another user could have made that name.
    pub fn append(&self, mode: u32) -> io::Result<File> {
        if self.meta.is_none() && !self.is_kernels {
            match self.dir.create_to_append(&self.name, mode) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {} // another process was faster
                made => return made,
            }
        }
        self.append_to_it()
    }

    /// Whether [`Self::append`] would succeed, as far as that can be known without making anything.
    pub fn can_be_appended_to(&self) -> io::Result<()> {
        match self.meta {
            Some(_) => self.append_to_it().map(drop),
            None if self.is_kernels => self.append_to_it().map(drop),
            None => Ok(rustix::fs::accessat(&self.dir, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())?),
        }
    }

    /// Opens the existing file for appending.
    fn append_to_it(&self) -> io::Result<File> {
        let opened = if self.is_kernels { self.dir.reopen(&self.name) } else { self.dir.append(&self.name) };
        let file = opened.map_err(|e| match Errno::from_io_error(&e) {
            // open(2): a FIFO that no process has open for reading, or a socket, which cannot be opened.
            Some(Errno::NXIO) => io::Error::other("nobody reads it: it is a FIFO without a reader, or a socket"),
            _ => e,
        })?;
        if self.is_kernels {
            return Ok(file);
        }
        let meta = fs::meta(&file)?;
        // Looked up again by name: a user who made a second name may have removed this one since the open.
        let is_as_opened = |at: Meta| at.inode() == meta.inode() && at.links == 1;
        if meta.kind == Kind::File && !self.is_ours_alone && !self.dir.look(&self.name)?.is_some_and(is_as_opened) {
            return Err(io::Error::other("it has another name, which somebody else may have given it: remove it"));
        }
        Ok(file)
    }

    /// Replaces the regular file by `content`, or creates it. A reader sees the old or the new content, whole.
    pub fn replace(&self, content: &[u8], mode: u32) -> io::Result<()> {
        self.can_be_replaced()?;
        self.dir.replace(&self.name, content, None, mode)
    }

    /// Why [`Self::replace`] would refuse the present file. Only a regular file is replaced: a device, a FIFO, a socket
    /// or a directory has other users, and a rename would take it from them.
    pub fn can_be_replaced(&self) -> io::Result<()> {
        match self.dir.look(&self.name)?.map(|meta| meta.kind) {
            None | Some(Kind::File) if !self.is_kernels => Ok(()),
            Some(Kind::Dir) => Err(io::Error::other("it is a directory, which is not replaced by a file")),
            None | Some(Kind::File | Kind::Link | Kind::Other) => Err(io::Error::other(
                "it is no regular file (a device, a FIFO, a socket), and nothing else is replaced",
            )),
        }
    }

    /// Judges the present file, of any type.
    pub(super) fn judge_as_it_stands(&self) -> Result<(), Fault> {
        judge_as_it_stands(&self.dir, &self.name, &self.path, self.way, self.us).map(drop)
    }

    /// Opens it as a directory with only trusted entries: before a chown to this process, others may have filled it.
    /// Each directory in it that can be read is passed to `keep` with its name, open.
    pub fn open_own_dir(&self, keep: &mut dyn FnMut(&OsStr, Dir)) -> Result<Dir, Fault> {
        let dir = self.open_dir()?;
        judge_names(&dir, &self.path, self.us, keep)?;
        Ok(dir)
    }

    fn check(&self, file: impl AsFd) -> Result<(), Fault> {
        check(file, &self.dir, &self.path, self.way, self.us)
    }
}

/// Judges each entry of a directory that only trusted users can change by now; for `keep` see [`Place::open_own_dir`].
pub fn judge_names(dir: &Dir, path: &Path, us: Us, keep: &mut dyn FnMut(&OsStr, Dir)) -> Result<(), Fault> {
    let mut entries = Vec::new();
    dir.each_entry(&mut |name, is_dir| {
        entries.push((name.to_owned(), is_dir));
        true
    })?;
    // In order, so that of several faults always the same one is reported.
    sort(&mut entries, &mut Ord::cmp);
    entries.iter().try_for_each(|(name, is_dir)| {
        let path = path.join(name);
        let judged = match is_dir {
            true => judge_dir(dir, name, &path, us),
            false => judge_as_it_stands(dir, name, &path, Way::Trusted, us),
        };
        match judged {
            Ok(Some(child)) => {
                keep(name, child);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(fault) if fault.is_missing() => Ok(()), // it has gone since
            Err(fault) => Err(fault),
        }
    })
}

/// As [`judge_as_it_stands`], of an entry that most likely is a directory: it is opened without a look.
pub fn judge_dir(dir: &Dir, name: &OsStr, path: &Path, us: Us) -> Result<Option<Dir>, Fault> {
    match dir.child(name) {
        Ok(child) => check(&child, dir, path, Way::Trusted, us).map(|()| Some(child)),
        Err(_) => judge_as_it_stands(dir, name, path, Way::Trusted, us), // it may not be read, or is none
    }
}

/// Judges the entry `name` of `dir`; `path` is its path for messages. Returns a directory that can be read, open.
fn judge_as_it_stands(dir: &Dir, name: &OsStr, path: &Path, way: Way, us: Us) -> Result<Option<Dir>, Fault> {
    let check = |file: &dyn AsFd| check(file.as_fd(), dir, path, way, us);
    // Owner and mode can be seen without read permission, through O_PATH.
    let is_denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    let meta = dir.look(name)?;
    if let Some(meta) = meta.filter(|meta| meta.kind == Kind::File && meta.mode & 0o022 == 0)
        && trust::writer(&meta, &Facts::default(), Role::Itself, us).is_none()
    {
        return Ok(None); // no ACL grants more than the mode says
    }
    match meta.map(|meta| (meta.kind, meta.uid)) {
        None => return Err(Errno::NOENT.into()),
        Some((Kind::Dir, _)) => match dir.child(name) {
            Ok(child) => return check(&child).map(|()| Some(child)),
            Err(e) if is_denied(&e) => check(&dir.hold(name)?)?,
            Err(e) => return Err(e.into()),
        },
        Some((Kind::File, _)) => match dir.open_file(name) {
            Ok(file) => check(&file)?,
            Err(e) if is_denied(&e) => check(&dir.hold(name)?)?,
            Err(e) => return Err(e.into()),
        },
        Some((Kind::Link, owner)) => {
            if let Some(writer) = trust::link(owner, us) {
                return Err(Fault::Untrusted(Untrusted::new(path, writer)));
            }
        }
        Some((Kind::Other, _)) => check(&dir.hold(name)?)?,
    }
    Ok(None)
}

fn check(file: impl AsFd, dir: &Dir, path: &Path, way: Way, us: Us) -> Result<(), Fault> {
    if way == Way::Any {
        return Ok(());
    }
    // A shared volume is only a way to private directories: entries at its top may belong to any user.
    let way = if way == Way::Shared { Way::Trusted } else { way };
    match judge(file, Some(dir), Role::Itself, way, us)? {
        Judged::Ours | Judged::Shared => Ok(()),
        Judged::Writable(writer) => Err(Fault::Untrusted(Untrusted::new(path, writer))),
    }
}

fn no_file() -> io::Error {
    io::Error::other("it is not a regular file")
}
