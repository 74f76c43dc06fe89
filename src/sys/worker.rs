//! A worker: a forked copy of the daemon that does one piece of work, so that its allocations, leaks, descriptors and
//! crashes end with it, while the daemon waits for signals only. The daemon reaps every child that has ended, as
//! process 1 also orphans. This cannot steal the work's own waits, since its children are the worker's.
//!
//! Not decided here: when to fork, the content of a report, and the meaning of its end.

use std::fs::File;
use std::io;
use std::io::Write;

use rustix::process::{Pid, Signal, WaitOptions};

use super::{signal, stderr};

/// A running worker.
#[derive(Debug)]
pub struct ForkedWorker {
    /// Its process id.
    pub pid: Pid,
    tells: File,
}

/// The longest report: a pipe takes it in one piece without a reader.
const LONGEST: usize = 4096;

/// Forks a worker, which does `work`, sends the result as its report, and ends. It obeys TERM and INT like a program
/// that runs once, ignores HUP and USR1, which are the daemon's, and gets TERM when the daemon dies.
pub fn fork(work: &mut dyn FnMut() -> Vec<u8>) -> io::Result<ForkedWorker> {
    let (tells, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
    let parent = rustix::process::getpid();
    // SAFETY: there is no second thread, so the copy finds every lock and the allocator as they are here.
    match unsafe { libc::fork() } {
        ..0 => Err(io::Error::last_os_error()),
        0 => {
            drop(tells);
            let code = match begin(parent) {
                Ok(()) => {
                    let mut text = work();
                    text.truncate(LONGEST);
                    i32::from(File::from(told).write_all(&text).is_err())
                }
                Err(_) => 1,
            };
            // SAFETY: ends this process at once; the daemon's exit handlers must not run here.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            Ok(ForkedWorker { pid, tells: File::from(tells) })
        }
    }
}

/// The first steps of a worker.
fn begin(parent: Pid) -> io::Result<()> {
    let _ = stderr::renew(); // without memory of its own it prints straight to standard error
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe)); // it died before it could be noticed
    }
    signal::install_in_twin()
}

impl ForkedWorker {
    /// The report, once the worker has ended; empty if it was cut off.
    pub fn report(self) -> Vec<u8> {
        let mut buffer = vec![0; LONGEST];
        // The report comes in one piece or not at all: an error means that there is none.
        let length = rustix::io::read(&self.tells, &mut buffer).unwrap_or(0);
        buffer.truncate(length);
        buffer
    }

    /// Tells the worker to end; it undoes or finishes its work first.
    pub fn stop(&self) {
        let _ = rustix::process::kill_process(self.pid, Signal::TERM); // not reaped yet, so the id is still its own
    }
}

/// Reaps the next child that has ended: its id, and the signal that ended it, if any. `None`: there is none now.
pub fn reap() -> Option<(Pid, Option<i32>)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Some((pid, status.terminating_signal())),
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None, // ECHILD: there are no children
        }
    }
}

/// Reaps the children that have ended, and tells whether any are left.
pub fn has_children() -> bool {
    while reap().is_some() {}
    !matches!(rustix::process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
}

/// Whether this is process 1, in all likelihood of a container.
pub fn is_first() -> bool {
    rustix::process::getpid() == Pid::INIT
}

/// As process 1: asks all other processes to end. The kernel kills the rest when this one ends.
pub fn dismiss_all() {
    // SAFETY: no memory is passed. -1 means all processes of the namespace but this one.
    let _ = unsafe { libc::kill(-1, libc::SIGTERM) }; // ESRCH: there are no others
}
