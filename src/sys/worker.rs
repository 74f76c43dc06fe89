//! A copy of ourselves that does one piece of work, and its parent that waits for nothing but signals: what the work
//! allocates, leaks, opens or breaks goes with it. The parent reaps whatever has ended: as process 1 also orphans, which
//! cannot steal a wait of the work's own children, because those are another process's.
//!
//! Left to others: when to fork, what the work tells, and what its end means.

use std::fs::File;
use std::io;
use std::io::Write;

use rustix::process::{Pid, Signal, WaitOptions};

use super::{signal, stderr};

/// A copy at work.
#[derive(Debug)]
pub struct ForkedWorker {
    /// Its number.
    pub pid: Pid,
    tells: File,
}

/// The longest thing it may tell: what a pipe takes in one piece without a reader.
const LONGEST: usize = 4096;

/// Forks. The copy does `work`, which gives what its parent is to be told, and ends. It obeys TERM and INT as a program
/// that runs once does, does not hear HUP and USR1, which are its parent's, and gets TERM when its parent dies.
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
            // SAFETY: ends this process at once: what its parent has at exit is not ours to do.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            Ok(ForkedWorker { pid, tells: File::from(tells) })
        }
    }
}

/// What the copy does first.
fn begin(parent: Pid) -> io::Result<()> {
    let _ = stderr::renew(); // without memory of its own it prints straight to standard error
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe)); // it died before it could be noticed
    }
    signal::install_in_twin()
}

impl ForkedWorker {
    /// What it has told, once it has ended; nothing when it was cut off.
    pub fn report(self) -> Vec<u8> {
        let mut buffer = vec![0; LONGEST];
        // One piece or none: an error means that there is none.
        let length = rustix::io::read(&self.tells, &mut buffer).unwrap_or(0);
        buffer.truncate(length);
        buffer
    }

    /// Tells it to end: it undoes or finishes what it must.
    pub fn stop(&self) {
        let _ = rustix::process::kill_process(self.pid, Signal::TERM); // it has not been reaped, so it is no other process
    }
}

/// The next child of ours that has ended: its number, and the signal that ended it when one did. `None`: there is none now.
pub fn reap() -> Option<(Pid, Option<i32>)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Some((pid, status.terminating_signal())),
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None, // ECHILD: nobody is left
        }
    }
}

/// Whether anybody is left to be reaped. Who has ended is.
pub fn has_children() -> bool {
    while reap().is_some() {}
    !matches!(rustix::process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
}

/// Whether we are the first process: of a container, in all likelihood.
pub fn is_first() -> bool {
    rustix::process::getpid() == Pid::INIT
}

/// As the first process: asks everybody else to end. Who does not is killed by the kernel when we end.
pub fn dismiss_all() {
    // SAFETY: no memory is passed. -1 is everybody in our namespace but us.
    let _ = unsafe { libc::kill(-1, libc::SIGTERM) }; // ESRCH: there is nobody
}
