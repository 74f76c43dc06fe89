//! Locks that another process holds: waiting in turn, and finding the holder. The kernel queues the waiters of
//! flock(2), so that a later process that only tries does not get the lock first; a signal that ends this process ends
//! the wait. For a process with one thread.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;

use super::alarm;
use super::clock::Deadline;

/// Takes the exclusive lock of an open file once its holder and the earlier waiters have released it. False: they have
/// not within `most`, to the second.
pub fn lock_in_turn(file: &File, most: Duration) -> io::Result<bool> {
    let limit = Deadline::after(most);
    let _ticks = alarm::start()?;
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) if limit.has_passed() => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The process that holds the lock of an open file, if the kernel shows it; one of another container is not shown.
pub fn holder(file: &File) -> Option<u32> {
    let inode = format!(":{}", fstat(file).ok()?.st_ino);
    // `1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF`; `->` before FLOCK marks a waiter.
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    for line in locks.lines() {
        let mut words = line.split_whitespace().skip(1);
        if words.next() == Some("FLOCK") && words.nth(1) == Some("WRITE") {
            let (pid, place) = (words.next()?, words.next()?);
            if place.ends_with(&inode) {
                return pid.parse().ok().filter(|pid| *pid > 0);
            }
        }
    }
    None
}

/// Whether `pid` is an ancestor of this process, which may be waiting for its end.
pub fn is_ancestor(pid: u32) -> bool {
    let parent = |of: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok() // the state comes first (proc_pid_stat(5))
    };
    let mut at = std::process::id();
    while let Some(next) = parent(at).filter(|next| *next > 0) {
        if next == pid {
            return true;
        }
        at = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::{try_lock, unique_name};

    #[test]
    fn the_holder_of_a_lock_is_told_and_whoever_comes_after_it_gets_it() {
        let path = std::env::temp_dir().join(unique_name("repo-deploy-lock-").unwrap());
        let (held, other) = (File::create(&path).unwrap(), File::open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        assert_eq!(holder(&other), None);
        assert!(try_lock(&held).unwrap());
        assert_eq!(holder(&other), Some(std::process::id()));
        drop(held); // the limit is for a process with one thread: a tick may come to any
        assert!(lock_in_turn(&other, Duration::ZERO).unwrap());
    }

    #[test]
    fn whoever_we_came_from_is_told_from_others() {
        assert!(is_ancestor(std::os::unix::process::parent_id()));
        assert!(!is_ancestor(std::process::id()));
        assert!(!is_ancestor(u32::MAX));
    }
}
