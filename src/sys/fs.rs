//! Files by descriptor. A name from outside (an archive, a live tree) is resolved one component at a time from an open
//! directory, and never through a link. For paths of the program itself (store, configuration) `std::fs` is fine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, StatxAttributes, StatxFlags, Uid};

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device: never opened, never made, never removed.
    Other,
}

/// The result of `lstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// File, directory, link or other.
    pub kind: Kind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes allocated on disk: less than the size if it has holes.
    pub allocated: u64,
    /// Modification: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Status change: seconds and nanoseconds. No user can set it.
    pub ctime: (i64, i64),
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// The number of hard links.
    pub links: u64,
}

#[allow(clippy::unnecessary_cast, reason = "the fields differ in width between x86_64 and aarch64")]
#[allow(clippy::cast_sign_loss, reason = "st_size and st_blocks are never negative")]
impl From<rustix::fs::Stat> for Meta {
    fn from(s: rustix::fs::Stat) -> Self {
        Self {
            kind: kind(s.st_mode as u32),
            mode: s.st_mode as u32 & 0o7777,
            uid: s.st_uid,
            gid: s.st_gid,
            size: s.st_size as u64,
            allocated: (s.st_blocks as u64).saturating_mul(512), // stat(2): independent of the block size
            mtime: (s.st_mtime as i64, s.st_mtime_nsec as i64),
            ctime: (s.st_ctime as i64, s.st_ctime_nsec as i64),
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            links: s.st_nlink as u64,
        }
    }
}

impl From<rustix::fs::Statx> for Meta {
    fn from(s: rustix::fs::Statx) -> Self {
        let mode = u32::from(s.stx_mode);
        Self {
            kind: kind(mode),
            mode: mode & 0o7777,
            uid: s.stx_uid,
            gid: s.stx_gid,
            size: s.stx_size,
            allocated: s.stx_blocks.saturating_mul(512),
            mtime: (s.stx_mtime.tv_sec, i64::from(s.stx_mtime.tv_nsec)),
            ctime: (s.stx_ctime.tv_sec, i64::from(s.stx_ctime.tv_nsec)),
            dev: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
            ino: s.stx_ino,
            links: u64::from(s.stx_nlink),
        }
    }
}

fn kind(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

impl Meta {
    /// Device and inode: two files are the same only if both agree.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a directory of the program itself by path; links in the path are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, DIRECTORY, Mode::empty())?))
    }

    /// Returns its descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.0
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
        let mut dir = Self(self.0.try_clone()?);
        for component in path.components() {
            match component {
                Component::Normal(name) => dir = dir.child(name)?,
                Component::CurDir => {}
                _ => return Err(io::Error::from(rustix::io::Errno::INVAL)),
            }
        }
        Ok(dir)
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
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?))
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

    /// Removes `name`, of any type, with everything in it. A missing `name` is no error.
    pub fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        match self.unlink(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::IsADirectory => return Err(e),
            Ok(()) => return Ok(()),
            Err(_) => {}
        }
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
        names.sort_unstable();
        Ok(names)
    }

    /// Passes each name to `goes_on`, unordered and without `.` and `..`, until it returns false.
    pub fn each_name(&self, goes_on: &mut dyn FnMut(&OsStr) -> bool) -> io::Result<()> {
        // A descriptor of its own: reading moves the offset, which a clone would share.
        let fd = rustix::fs::openat(&self.0, c".", DIRECTORY, Mode::empty())?;
        let mut buffer = Vec::with_capacity(16 * 1024);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !goes_on(OsStr::from_bytes(name)) {
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

/// Tells a directory from another one at the same path, across restarts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device number; for some kinds of devices it differs at each boot.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Birth time in seconds and nanoseconds; `None`: the file system has none. No user can set it.
    pub born: Option<(i64, u32)>,
}

impl Identity {
    /// The identity of an open directory.
    pub fn of(dir: impl AsFd) -> io::Result<Self> {
        let meta: Meta = rustix::fs::fstat(&dir)?.into();
        let born = match rustix::fs::statx(&dir, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME) {
            Ok(s) if StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::BTIME) => {
                Some((s.stx_btime.tv_sec, s.stx_btime.tv_nsec))
            }
            Ok(_) | Err(rustix::io::Errno::NOSYS) => None,
            Err(e) => return Err(e.into()),
        };
        Ok(Self { device: meta.dev, inode: meta.ino, born })
    }

    /// Whether `before` was this directory: same inode and birth time. Without a birth time, the device is compared,
    /// but only within one boot.
    pub fn is(&self, before: &Self, is_same_boot: bool) -> bool {
        let is_born_then = match (self.born, before.born) {
            (Some(now), Some(then)) => now == then,
            _ => self.device == before.device || !is_same_boot,
        };
        self.inode == before.inode && is_born_then
    }
}

/// Whether this process can write the directory at `path`, or could make it. Makes nothing.
pub fn can_be_made(path: &Path) -> bool {
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
    there.is_some_and(|there| there.is_dir() && rustix::fs::access(there, access).is_ok())
}

/// Opens the file at `path` for reading; links are followed, and a FIFO does not block.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// A file in memory, without a name.
pub fn unnamed() -> io::Result<File> {
    Ok(rustix::fs::memfd_create(c"repo-deploy", rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

/// The metadata of an open file.
pub fn meta(file: &File) -> io::Result<Meta> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// Sets owner, then mode of an open file; the other order would clear setuid and setgid.
pub fn set_owner_and_mode(file: impl AsFd, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Asks the kernel to start writing the file out, so that a later fsync has little left to do. Advice only: errors,
/// as from a file system that does not support it, are ignored.
pub fn start_writeback(file: &File) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the descriptor is open for the length of the call, and no memory is passed.
        let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) }; // advice
    }
}

/// Free bytes and free inodes for this process on the file system of a directory (`None`: it does not count inodes).
pub fn room(dir: &Dir) -> io::Result<(u64, Option<u64>)> {
    let s = rustix::fs::fstatvfs(&dir.0)?;
    Ok((s.f_bavail.saturating_mul(s.f_frsize), (s.f_files > 0).then_some(s.f_favail)))
}

/// Whether this machine's clock makes the time stamps on the file system of an open file. False for network and
/// user-space file systems and unknown ones, which may use another machine's clock.
pub fn keeps_our_time(file: impl AsFd) -> io::Result<bool> {
    /// Numbers of statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs, JFS, NILFS, ReiserFS, NTFS, FAT, exFAT,
    /// tmpfs, ramfs, overlayfs, squashfs, EROFS, ISO 9660.
    const OURS: [u64; 18] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0xca45_1a4e,
        0x3153_464a,
        0x3434,
        0x5265_4973,
        0x7366_746e,
        0x4d44,
        0x2011_bab0,
        0x0102_1994,
        0x8584_58f6,
        0x794c_7630,
        0x7371_7368,
        0xe0f5_e1e2,
        0x9660,
    ];
    #[allow(clippy::unnecessary_cast, reason = "the field differs in width and sign between the targets")]
    #[allow(clippy::cast_sign_loss, reason = "a magic number of 32 bits")]
    let kind = rustix::fs::fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    Ok(OURS.contains(&kind))
}

/// Takes the exclusive lock of an open file without waiting. False: another process holds it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// A new name for a temporary file or directory: `prefix` and 64 random bits.
pub fn unique_name(prefix: &str) -> io::Result<OsString> {
    Ok(name_of(prefix, random()?))
}

/// The name made of `prefix` and these bits.
pub fn name_of(prefix: &str, bits: u64) -> OsString {
    OsString::from(format!("{prefix}{bits:016x}"))
}

/// 64 random bits.
pub fn random() -> io::Result<u64> {
    let mut random = [0; 8];
    if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())? != random.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(u64::from_ne_bytes(random))
}
