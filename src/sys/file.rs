//! Open files, temporary names, and random bits.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};

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

/// The content of a file in /proc, whose size is not known before; empty without /proc.
pub fn read_proc(path: &str) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    opened.map_err(io::Error::from).and_then(|file| read_whole(&file)).unwrap_or_default()
}

/// The content of a small file from its offset on.
pub fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        content.reserve(4096);
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut content)) {
            Ok(0) => return Ok(content),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A file in memory, without a name.
pub fn unnamed() -> io::Result<File> {
    Ok(rustix::fs::memfd_create(c"repo-deploy", rustix::fs::MemfdFlags::CLOEXEC)?.into())
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

/// Makes the empty file `to` share the content of `from`, on a file system that can (FICLONE).
pub fn clone_content(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
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
