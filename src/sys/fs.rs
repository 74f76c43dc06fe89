//! Files by descriptor. A name from outside (an archive, a live tree) is resolved one component at a time from an open
//! directory, and never through a link. For paths of the program itself (store, configuration) `std::fs` is fine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

pub use super::file::{
    can_be_made, clone_content, keeps_our_time, name_of, open_file, random, read_whole, set_owner_and_mode,
    start_writeback, try_lock, unique_name, unnamed,
};
pub use super::meta::{Identity, Kind, Meta, Spot, meta, spot};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, StatxAttributes, StatxFlags, Uid};

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a directory of the program itself by path; links in the path are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, DIRECTORY, Mode::empty())?))
    }

    /// Opens `/` as the start of a walk.
    pub fn root() -> io::Result<Self> {
        Self::enter(rustix::fs::CWD, OsStr::new("/"))
    }

    /// Opens the directory `name` in this one; a link is an error (ENOTDIR or ELOOP).
    pub fn child(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// As [`Self::child`], for a walk: a directory that can be entered but not read is opened with O_PATH.
    pub fn pass(&self, name: &OsStr) -> io::Result<Self> {
        Self::enter(self.0.as_fd(), name)
    }

    fn enter(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let open = |flags| rustix::fs::openat(at, name, DIRECTORY | OFlags::NOFOLLOW | flags, Mode::empty());
        match open(OFlags::empty()).map_err(io::Error::from) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(Self(open(OFlags::PATH)?)),
            opened => Ok(Self(opened?)),
        }
    }

    /// Opens a file of any type with O_PATH, a link itself included, to query its metadata.
    pub fn hold(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::empty())?)
    }

    /// Opens the directory at the relative `path`, component by component, and follows no link.
    pub fn descend(&self, path: &Path) -> io::Result<Self> {
        let mut dir: Option<Self> = None;
        for component in path.components() {
            match component {
                Component::Normal(name) => dir = Some(dir.as_ref().unwrap_or(self).child(name)?),
                Component::CurDir => {}
                _ => return Err(io::Error::from(rustix::io::Errno::INVAL)),
            }
        }
        match dir {
            Some(dir) => Ok(dir),
            None => Ok(Self(self.0.try_clone()?)),
        }
    }

    /// Makes the directory `name`, which must not exist, with owner and mode, and opens it. Safe only where no other
    /// user can write; elsewhere use [`super::created::make_dir`].
    pub fn make_child(&self, name: &OsStr, owner: Option<(u32, u32)>, mode: u32) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.0, name, Mode::RWXU)?;
        let dir = self.child(name)?;
        set_owner_and_mode(&dir, owner, mode)?;
        Ok(dir)
    }

    /// Sets the mode of the directory `name`.
    pub fn set_dir_mode(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let dir = self.child(name)?;
        Ok(rustix::fs::fchmod(&dir.0, Mode::from_raw_mode(mode))?)
    }

    /// Creates the file `name`, which must not exist, for writing, mode 0600.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        self.create_with(name, 0o600)
    }

    /// As [`Self::create`], with `mode` as far as the umask and a default ACL of the directory permit.
    pub fn create_with(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(mode))?))
    }

    /// Opens the file `name` for reading and writing, and creates it with mode 0600 if missing.
    pub fn open_or_create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Opens the file `name` for reading. A link is an error; a FIFO does not block.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Opens the file `name` for appending. A link is an error; so is a FIFO without a reader.
    pub fn append(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags | OFlags::NOCTTY, Mode::empty())?))
    }

    /// Creates the file `name`, which must not exist, for appending.
    pub fn create_to_append(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags | OFlags::NOCTTY, Mode::from_raw_mode(mode))?))
    }

    /// Opens for writing the file behind the kernel's link `name` (`/proc/self/fd/1`).
    pub fn reopen(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Makes the link `name` with the text `target`.
    pub fn symlink(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Reads the text of the link `name`.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(OsString::from_vec(rustix::fs::readlinkat(&self.0, name, Vec::new())?.into_bytes()))
    }

    /// Renames `name` to `new` in `to`, replacing a file or link there.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &to.0, new)?)
    }

    /// Replaces the file `name` by `content`; a reader sees the old or the new content, whole. A link of that name is
    /// replaced, not followed. Not durable: [`Dir::replace_for_good`] is.
    pub fn replace(&self, name: &OsStr, content: &[u8], owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
        self.replace_when(name, content, &|file| set_owner_and_mode(file, owner, mode))
    }

    /// As [`Dir::replace`], and durable when it returns.
    pub fn replace_for_good(
        &self,
        name: &OsStr,
        content: &[u8],
        owner: Option<(u32, u32)>,
        mode: u32,
    ) -> io::Result<()> {
        self.replace_when(name, content, &|file| {
            set_owner_and_mode(file, owner, mode)?;
            file.sync_all()
        })?;
        self.sync()
    }

    fn replace_when(&self, name: &OsStr, content: &[u8], finish: &dyn Fn(&File) -> io::Result<()>) -> io::Result<()> {
        let new = unique_name(".repo-deploy-")?;
        let write = || {
            let mut file = self.create(&new)?;
            file.write_all(content)?;
            finish(&file)?;
            self.rename(&new, self, name)
        };
        write().inspect_err(|_| {
            let _ = self.unlink(&new); // it may not be there; the error that is returned is the one that matters
        })
    }

    /// Removes the file or link `name`.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes `name`, of any type, with everything in it. A missing `name` is no error: another process may remove the
    /// same tree.
    pub fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        let is_gone = |removed: &io::Result<()>| matches!(removed, Err(e) if e.kind() == io::ErrorKind::NotFound);
        let removed = match self.unlink(name) {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => self.remove_tree(name),
            removed => removed,
        };
        if is_gone(&removed) { Ok(()) } else { removed }
    }

    fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        let child = self.child(name)?;
        child.names()?.iter().try_for_each(|name| child.remove_all(name))?;
        self.remove_dir(name)
    }

    /// Removes the empty directory `name`.
    pub fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// The metadata of `name`, without following it; `None` if missing.
    pub fn look(&self, name: &OsStr) -> io::Result<Option<Meta>> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether something is mounted at `name`: another file system or, as a bind mount, another part of the same one,
    /// which the device number does not show.
    pub fn is_mount(&self, name: &OsStr) -> io::Result<bool> {
        match is_mount_root(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(Some(is_mount)) => return Ok(is_mount),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
        match self.hold(name) {
            Ok(found) => Ok(mount_id(found.as_fd())? != mount_id(self.0.as_fd())?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// A path to the directory, for programs and APIs that take paths. Valid while it is open, and only with /proc.
    pub fn by_descriptor(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// [`Self::look`] and [`Self::is_mount`] in one call, if the kernel supports that.
    pub fn look_for_mount(&self, name: &OsStr) -> io::Result<Option<(Meta, bool)>> {
        match rustix::fs::statx(&self.0, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(s) if s.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
                return Ok(Some((Meta::from(s), s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))));
            }
            Ok(_) | Err(rustix::io::Errno::NOSYS) => {} // a kernel before 5.8
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let Some(meta) = self.look(name)? else { return Ok(None) };
        Ok(Some((meta, self.is_mount(name)?)))
    }

    /// The metadata of this directory.
    pub fn meta(&self) -> io::Result<Meta> {
        Ok(rustix::fs::fstat(&self.0)?.into())
    }

    /// Its entries in byte order, without `.` and `..`.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        self.names_while(&mut |_| true)
    }

    /// As [`Self::names`], but stops before the first name that `is_wanted` refuses.
    pub fn names_while(&self, is_wanted: &mut dyn FnMut(&OsStr) -> bool) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        self.each_name(&mut |name| {
            let is_wanted = is_wanted(name);
            if is_wanted {
                names.push(name.to_owned());
            }
            is_wanted
        })?;
        super::sort::sort(&mut names, &mut OsString::cmp);
        Ok(names)
    }

    /// Passes each name to `goes_on`, unordered and without `.` and `..`, until it returns false. It must not list the same
    /// directory: both would share one offset.
    pub fn each_name(&self, goes_on: &mut dyn FnMut(&OsStr) -> bool) -> io::Result<()> {
        self.each_entry(&mut |name, _| goes_on(name))
    }

    /// As [`Self::each_name`], and whether it is a directory, as far as the file system tells that in a list.
    pub fn each_entry(&self, goes_on: &mut dyn FnMut(&OsStr, bool) -> bool) -> io::Result<()> {
        // The first time, too: Btrfs lists only what was there at the open, or at the last seek.
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(16 * 1024);
        let mut entries = RawDir::new(&self.0, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_dir = entry.file_type() == FileType::Directory;
            if name != b"." && name != b".." && !goes_on(OsStr::from_bytes(name), is_dir) {
                break;
            }
        }
        Ok(())
    }

    /// Sets owner and group of `name` (of a link itself, not of its target).
    pub fn set_owner(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        Ok(rustix::fs::chownat(
            &self.0,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Waits until its entries are on disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The bits that every new file in `dir` has with certainty if it is created with them: neither the umask nor a default
/// ACL takes them away. Without /proc none.
pub fn granted_bits(dir: &Dir) -> io::Result<u32> {
    if super::xattr::get(dir, super::xattr::DEFAULT_ACL.as_ref())?.is_some() {
        return Ok(0);
    }
    let status = super::file::read_proc("/proc/self/status");
    let umask = String::from_utf8_lossy(&status);
    let umask = umask.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok());
    Ok(umask.map_or(0, |umask| 0o777 & !umask))
}

/// Whether an open file, found in the directory `above`, is the root of a mount.
pub fn is_mount_top(file: impl AsFd, above: &Dir) -> io::Result<bool> {
    match is_mount_root(&file, OsStr::new(""), AtFlags::EMPTY_PATH)? {
        Some(is_mount) => Ok(is_mount),
        None => Ok(mount_id(file.as_fd())? != mount_id(above.as_fd())?),
    }
}

/// `None`: a kernel before 5.8, which does not report it.
fn is_mount_root(dir: impl AsFd, name: &OsStr, flags: AtFlags) -> io::Result<Option<bool>> {
    match rustix::fs::statx(dir, name, flags, StatxFlags::empty()) {
        Ok(s) if s.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(Some(s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)))
        }
        Ok(_) | Err(rustix::io::Errno::NOSYS) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The kernel's id of the mount that holds an open file; `None` without /proc.
fn mount_id(fd: BorrowedFd<'_>) -> io::Result<Option<String>> {
    match std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())) {
        Ok(text) => Ok(text.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(|id| id.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Free bytes and free inodes for this process on the file system of a directory (`None`: it does not count inodes).
pub fn room(dir: &Dir) -> io::Result<(u64, Option<u64>)> {
    let s = rustix::fs::fstatvfs(&dir.0)?;
    Ok((s.f_bavail.saturating_mul(s.f_frsize), (s.f_files > 0).then_some(s.f_favail)))
}
