//! Files just made in a directory that others may write. Before one gets its owner, another file may have taken the
//! name; so it is opened, and the open file is proven to be this process's own before it is given away.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::fs::{Dir, Kind, Meta, set_owner_and_mode};
use super::xattr;

/// Makes the directory `name` with an owner (`None`: as created) and a mode, whatever the umask, and returns it open. A
/// default ACL of the parent is inherited, as with any program.
pub fn make_dir(parent: &Dir, name: &OsStr, owner: Option<(u32, u32)>, mode: u32) -> io::Result<(Dir, Meta)> {
    let first = if owner.is_some() { 0o700 } else { mode };
    let (dir, made) = make(parent, name, first)?;
    let is_owned = owner.is_none_or(|owner| (made.uid, made.gid) == owner);
    if !is_owned || made.mode != mode {
        expect_new(&dir, &made, first)?;
        set_owner_and_mode(&dir, owner.filter(|_| !is_owned), mode)?;
    }
    Ok((dir, made))
}

/// As [`make_dir`], for a directory that only this program uses: the mode alone grants access, and no ACL is inherited
/// into it. One with access for others may be complete at once, and then need not be empty: another process of this
/// program, for another section, may have filled it before this one looks.
pub fn make_own_dir(parent: &Dir, name: &OsStr, mode: u32) -> io::Result<Dir> {
    let (dir, made) = make(parent, name, mode)?;
    let has_acl = [xattr::DEFAULT_ACL, xattr::ACL]
        .into_iter()
        .try_fold(false, |has_acl, acl| io::Result::Ok(has_acl || xattr::get(&dir, acl.as_ref())?.is_some()))?;
    let is_complete = mode & 0o077 != 0 && made.uid == us() && made.mode & mode == mode && !has_acl;
    if !is_complete {
        expect_new(&dir, &made, mode)?;
        for acl in [xattr::DEFAULT_ACL, xattr::ACL] {
            xattr::remove(&dir, acl.as_ref())?;
        }
    }
    if made.mode != mode || has_acl {
        set_owner_and_mode(&dir, None, mode)?;
    }
    Ok(dir)
}

/// Makes the directory with `mode`, as far as an ACL of the parent permits.
fn make(parent: &Dir, name: &OsStr, mode: u32) -> io::Result<(Dir, Meta)> {
    let umask = rustix::process::umask(Mode::empty());
    let made = rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode));
    rustix::process::umask(umask);
    made?;
    let dir = parent.child(name)?;
    let made = dir.meta()?;
    Ok((dir, made))
}

/// Fails unless a directory to be shared or given away is this process's, was made with `mode`, and is empty.
fn expect_new(dir: &Dir, made: &Meta, mode: u32) -> io::Result<()> {
    let is_new = made.uid == us() && made.mode & 0o777 & !mode == 0 && dir.names()?.is_empty();
    if is_new { Ok(()) } else { Err(replaced()) }
}

/// Makes the link `name` with the text `target`, an owner, and a modification time if given.
pub fn make_link(
    parent: &Dir,
    target: &OsStr,
    name: &OsStr,
    (uid, gid): (u32, u32),
    mtime: Option<(i64, i64)>,
) -> io::Result<()> {
    parent.symlink(target, name)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let made = Meta::from(rustix::fs::fstat(&link)?);
    let text = || rustix::fs::readlinkat(&link, c"", Vec::new());
    let is_made = made.kind == Kind::Link && made.links == 1 && [us(), uid].contains(&made.uid);
    if !is_made || text()?.to_bytes() != target.as_bytes() {
        return Err(replaced());
    }
    rustix::fs::chownat(&link, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)?;
    mtime.map_or(Ok(()), |mtime| set_link_mtime(&link, mtime))
}

/// Sets the modification time of an open file; the access time stays.
pub fn set_mtime(file: &File, mtime: (i64, i64)) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(mtime))?)
}

fn set_link_mtime(link: &OwnedFd, mtime: (i64, i64)) -> io::Result<()> {
    match rustix::fs::utimensat(link, c"", &times(mtime), AtFlags::EMPTY_PATH) {
        // A kernel before 5.8: the name in /proc leads to the open file, the link itself.
        Err(Errno::INVAL | Errno::NOENT) => {
            let open = format!("/proc/self/fd/{}", link.as_raw_fd());
            Ok(rustix::fs::utimensat(CWD, open, &times(mtime), AtFlags::empty())?)
        }
        set => Ok(set?),
    }
}

fn times((tv_sec, tv_nsec): (i64, i64)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Another file has taken the name of one that was just made or looked at.
#[derive(Debug)]
struct Replaced;

impl std::fmt::Display for Replaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("something else has been put in its place meanwhile; the next check tries again")
    }
}

impl std::error::Error for Replaced {}

/// The error for a file that was replaced meanwhile.
pub fn replaced() -> io::Error {
    io::Error::other(Replaced)
}

/// Whether `e` is the error of [`replaced`].
pub fn is_replaced(e: &io::Error) -> bool {
    e.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Replaced>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::unique_name;

    #[test]
    fn what_is_made_has_its_owner_mode_and_time_and_nothing_else_gets_them() {
        let path = std::env::temp_dir().join(unique_name("repo-deploy-created-").unwrap());
        std::fs::create_dir(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        let own = dir.meta().map(|meta| (meta.uid, meta.gid)).unwrap();
        let (made, _) = make_dir(&dir, "d".as_ref(), Some(own), 0o751).unwrap();
        assert_eq!(made.meta().unwrap().mode, 0o751);
        assert!(make_dir(&dir, "d".as_ref(), None, 0o751).is_err());
        make_link(&dir, "there".as_ref(), "l".as_ref(), own, Some((7, 9))).unwrap();
        let link = dir.look("l".as_ref()).unwrap().unwrap();
        assert_eq!((link.kind, link.mtime), (Kind::Link, (7, 9)));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&dir, "l", flags, Mode::empty()).unwrap();
        let by_proc = format!("/proc/self/fd/{}", open.as_raw_fd());
        rustix::fs::utimensat(CWD, by_proc, &times((3, 4)), AtFlags::empty()).unwrap();
        assert_eq!(dir.look("l".as_ref()).unwrap().unwrap().mtime, (3, 4), "what old kernels have");
        let file = dir.create("f".as_ref()).unwrap();
        set_mtime(&file, (5, 6)).unwrap();
        assert_eq!(dir.look("f".as_ref()).unwrap().unwrap().mtime, (5, 6));
        assert!(is_replaced(&replaced()) && !is_replaced(&Errno::NOENT.into()));
        std::fs::remove_dir_all(path).unwrap();
    }
}
