//! Syncs a file system in a process of its own while this one goes on writing to it: the disk works while the processor
//! does. It only helps: what is durable, and which errors there were, is decided by [`super::durable::sync`].

use std::ffi::OsStr;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::disposition;
use super::durable;
use super::fs::Dir;

/// The number of bytes after which it begins anew: enough that the disk gets large requests.
const STEP: u64 = 64 << 20;

/// The process, where there is one, and the bytes that were written since it began.
#[derive(Debug)]
pub struct SyncAhead<'a> {
    dir: &'a Dir,
    /// The bytes that this process has written in all.
    written: u64,
    /// Those of `written` at which it begins anew, unless it is still at work.
    next: u64,
    child: Option<Pid>,
}

impl<'a> SyncAhead<'a> {
    /// For files that are written below `dir`.
    pub fn new(dir: &'a Dir) -> Self {
        Self { dir, written: 0, next: STEP, child: None }
    }

    /// Tells it that `bytes` more were written.
    pub fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
        if self.written < self.next {
            return;
        }
        let is_at_work = self.is_at_work();
        self.next = self.written + if is_at_work { STEP / 16 } else { STEP };
        if !is_at_work && durable::is_quiet(self.written) {
            self.child = fork(self.dir);
        }
    }

    fn is_at_work(&mut self) -> bool {
        let is_at_work = self.child.is_some_and(|child| matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None)));
        if !is_at_work {
            self.child = None;
        }
        is_at_work
    }
}

/// Waits for the process: it never outlives the writing, and leaves no zombie.
impl Drop for SyncAhead<'_> {
    fn drop(&mut self) {
        while let Some(child) = self.child {
            match waitpid(Some(child), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.child = None,
            }
        }
    }
}

/// Starts a process that syncs the file system of `dir`. `None`: there is none, which only costs time.
fn fork(dir: &Dir) -> Option<Pid> {
    // SAFETY: there is no second thread, and the child makes system calls only.
    match unsafe { libc::fork() } {
        ..0 => None,
        0 => {
            let code = i32::from(sync(dir).is_err());
            // SAFETY: ends this process at once; the parent's exit handlers must not run here.
            unsafe { libc::_exit(code) }
        }
        pid => Pid::from_raw(pid),
    }
}

/// The child: no signal but KILL, and no descriptor of the parent, whose lock must end with it.
fn sync(dir: &Dir) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    disposition::block_all()?;
    // A description of its own: an error that it sees is still to be seen by the parent's.
    let own = dir.child(OsStr::new("."))?;
    rustix::stdio::dup2_stdin(&own)?;
    // SAFETY: the parent's values are not used any more; no memory is passed. musl has no wrapper for this call.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) };
    std::mem::forget(own);
    if closed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(rustix::fs::syncfs(rustix::stdio::stdin())?)
}
