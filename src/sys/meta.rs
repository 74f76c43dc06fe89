//! The facts of a file, as `lstat` and `fstat` give them, and what tells a directory from another one at its path.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

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

/// What is at a path, as far as it tells which place that is.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Whether it is a link.
    pub is_link: bool,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The kernel's number of the mount that it is in; `None`: a kernel before 5.8.
    pub mount: Option<u64>,
}

/// Looks at `path`; a link is not followed.
pub fn spot(path: &Path) -> io::Result<Spot> {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let (meta, mount) = match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags) {
        Ok(s) => (
            Meta::from(s),
            StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::MNT_ID).then_some(s.stx_mnt_id),
        ),
        Err(rustix::io::Errno::NOSYS) => (Meta::from(rustix::fs::lstat(path)?), None),
        Err(e) => return Err(e.into()),
    };
    Ok(Spot { inode: meta.inode(), is_link: meta.kind == Kind::Link, is_dir: meta.kind == Kind::Dir, mount })
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

/// The metadata of an open file.
pub fn meta(file: &File) -> io::Result<Meta> {
    Ok(rustix::fs::fstat(file)?.into())
}
