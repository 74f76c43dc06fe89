//! Makes many new files and directories durable at once: one syncfs(2) in place of an fsync(2) each, of which every one
//! flushes the cache of the disk.
//!
//! syncfs reports errors of earlier writes since Linux 5.8, and overlayfs hides those of its upper layer. Where it does
//! not report them, each file is asked with FIEMAP_FLAG_SYNC, which returns them without a flush of the disk.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::file::read_proc;
use super::fs::Dir;
use super::log;

/// Fewer entries are synced one by one: syncfs writes the dirty data of other programs too.
const MIN_ENTRIES: u64 = 64;
/// Dirty data of other programs, in bytes, above which entries are synced one by one: syncfs waits for all of it, and
/// cannot be interrupted.
const MAX_FOREIGN: u64 = 512 << 20;
/// Numbers of statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, tmpfs. Their syncfs is known to make everything durable.
const KNOWN: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];
/// The same for overlayfs.
const OVERLAY: u64 = 0x794c_7630;

/// The step that is left for each entry after [`sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// None: all entries are durable.
    Nothing,
    /// All entries were written to disk; files have to be asked for errors.
    Errors,
    /// Everything.
    All,
}

impl Rest {
    /// Does the step for a file.
    pub fn finish_file(self, file: &File) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Errors => match write_error(file) {
                Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => file.sync_all(),
                asked => asked,
            },
            Self::All => file.sync_all(),
        }
    }

    /// Does the step for a directory. The journal, which holds its entries, reports its own errors.
    pub fn finish_dir(self, dir: &Dir) -> io::Result<()> {
        match self {
            Self::Nothing | Self::Errors => Ok(()),
            Self::All => dir.sync(),
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "with one syncfs",
            Self::Errors => "with one syncfs and a query for each file",
            Self::All => "with one fsync each",
        })
    }
}

/// Whether [`sync`] is likely to sync that many entries below `dir` at once. If not, it helps to start the writing of
/// each file early.
pub fn is_at_once(dir: &Dir, entries: u64) -> bool {
    entries >= MIN_ENTRIES && rest(dir).is_ok_and(|rest| rest != Rest::All)
}

/// Makes `entries` new entries below `dir` with `bytes` of content durable, as far as that is possible at once. `dir` was
/// opened before the first of them was written: errors are reported from there on.
pub fn sync(dir: &Dir, entries: u64, bytes: u64) -> io::Result<Rest> {
    if entries < MIN_ENTRIES {
        return Ok(Rest::All);
    }
    let rest = rest(dir)?;
    if rest == Rest::All {
        return Ok(rest);
    }
    if !is_quiet(bytes) {
        log::debug!("other programs have much to write: each file is synced by itself");
        return Ok(Rest::All);
    }
    rustix::fs::syncfs(dir)?;
    Ok(rest)
}

/// The step that is left after a syncfs on the file system of `dir`.
fn rest(dir: &Dir) -> io::Result<Rest> {
    #[allow(clippy::unnecessary_cast, reason = "the field differs in width and sign between the targets")]
    #[allow(clippy::cast_sign_loss, reason = "a magic number of 32 bits")]
    let kind = rustix::fs::fstatfs(dir)?.f_type as u64 & 0xffff_ffff;
    Ok(match kind {
        OVERLAY => Rest::Errors,
        kind if !KNOWN.contains(&kind) => Rest::All,
        _ if reports_errors(&read("/proc/sys/kernel/osrelease")) => Rest::Nothing,
        _ => Rest::Errors,
    })
}

/// Whether syncfs of this kernel release reports errors of earlier writes.
fn reports_errors(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// Whether the dirty data of other programs is little. Unknown, as without /proc, is not little.
pub(super) fn is_quiet(ours: u64) -> bool {
    dirty(&read("/proc/meminfo")).is_some_and(|dirty| dirty <= ours.saturating_add(MAX_FOREIGN))
}

/// Bytes that the machine has still to write; `None` if the text does not say.
fn dirty(memory: &str) -> Option<u64> {
    let kilobytes = |key: &str| -> Option<u64> {
        let value = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix("kB"))?;
        value.trim().parse().ok()
    };
    Some(kilobytes("Dirty:")?.saturating_add(kilobytes("Writeback:")?).saturating_mul(1024))
}

fn read(path: &str) -> String {
    String::from_utf8_lossy(&read_proc(path)).into_owned()
}

/// Waits for the writes of a file and returns their error. The kernel's documentation (filesystems/fiemap.rst) promises
/// the sync; it returns the errors that fsync would.
fn write_error(file: &File) -> io::Result<()> {
    /// struct fiemap of linux/fiemap.h without extents: it only counts them.
    #[repr(C)]
    struct Fiemap {
        start: u64,
        length: u64,
        flags: u32,
        mapped_extents: u32,
        extent_count: u32,
        reserved: u32,
    }
    const FS_IOC_FIEMAP: u32 = 0xc020_660b;
    const FIEMAP_FLAG_SYNC: u32 = 1;
    let mut query =
        Fiemap { start: 0, length: u64::MAX, flags: FIEMAP_FLAG_SYNC, mapped_extents: 0, extent_count: 0, reserved: 0 };
    // SAFETY: the descriptor is open, and the kernel writes to no more than the structure, which has no extents.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_FIEMAP as libc::Ioctl, &raw mut query) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_that_reports_errors_is_told_by_its_release() {
        for (release, reports) in [
            ("6.18.44-fc-v857\n", true),
            ("5.8.0", true),
            ("5.10.0-30-amd64", true),
            ("10.0", true),
            ("5.7.19", false),
            ("4.19.0-27-amd64", false),
            ("", false),
        ] {
            assert_eq!(reports_errors(release), reports, "{release}");
        }
    }

    #[test]
    fn dirty_data_is_read_from_meminfo() {
        let text = "MemTotal: 9 kB\nDirty:              12 kB\nWriteback:             3 kB\nWritebackTmp: 77 kB\n";
        assert_eq!(dirty(text), Some(15 * 1024));
        assert_eq!(dirty("Dirty: 12 kB\n"), None);
        assert_eq!(dirty("Dirty: many kB\nWriteback: 1 kB\n"), None);
        assert_eq!(dirty(""), None);
    }

    #[test]
    fn every_rest_leaves_a_file_and_its_directory_synced() {
        let (dir, name) =
            (Dir::open(&std::env::temp_dir()).unwrap(), super::super::fs::unique_name("durable-").unwrap());
        let file = dir.create(&name).unwrap();
        for rest in [Rest::Nothing, Rest::Errors, Rest::All] {
            rest.finish_file(&file).unwrap();
            rest.finish_dir(&dir).unwrap();
        }
        dir.unlink(&name).unwrap();
        assert_eq!(sync(&dir, MIN_ENTRIES - 1, 0).unwrap(), Rest::All);
    }
}
