//! A started program: waits for its output and its end, and ends its group.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::group::Group;
use super::lines::Lines;
use super::program::{Ended, Identity, Program};
use super::start;
use crate::sys::clock::Deadline;
use crate::sys::signal;

/// How long a group has between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long output is read after the end, when another process (a daemon that the program started) keeps the pipe open.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// The longest wait without checking the program. Its end wakes this process, except if CHLD is blocked.
const DOUBT: Duration = Duration::from_secs(1);

/// How often a group without its leader is checked: no signal tells the end of its last process.
const LOOK: Duration = Duration::from_millis(50);

/// A program that has been started and not been reaped.
pub(super) struct Running<'a> {
    pub(super) child: Child,
    pub(super) group: Pid,
    /// The read end of its output; `None`: every process has closed the other end.
    pub(super) output: Option<File>,
    pub(super) lines: Lines<'a>,
    /// The read end of data, which the caller reads: a wait ends when there is some.
    pub(super) data: Option<File>,
}

impl<'a> Running<'a> {
    /// Starts `program`; its output goes to `lines`.
    pub(super) fn start(program: &Program, identity: Option<&Identity>, lines: Lines<'a>) -> io::Result<Self> {
        signal::wake()?; // from here on the end of a child is noticed
        let (child, output) = start::start(program, identity)?;
        let group = Pid::from_child(&child);
        Ok(Self { child, group, output: Some(output), lines, data: None })
    }

    /// Waits for the end, and ends the program when its time is over or a stop signal comes.
    pub(super) fn attend(mut self, deadline: Deadline, grace: Duration) -> io::Result<Ended> {
        let ended = self.watch(deadline, grace);
        if ended.is_err() {
            self.signal_group(Signal::KILL); // poll(2) out of memory: do not leave it running unseen
            let _ = self.child.try_wait(); // the error that is returned is the one that matters
        }
        self.lines.finish();
        ended
    }

    /// Waits as [`Self::attend`] does, and leaves the lines unfinished.
    pub(super) fn watch(&mut self, deadline: Deadline, grace: Duration) -> io::Result<Ended> {
        loop {
            let wake = signal::wake()?;
            if let Some(status) = self.child.try_wait()? {
                self.drain(Deadline::after(DRAIN))?;
                return Ok(of_status(status));
            }
            if let Some(signal) = signal::pending() {
                self.end(grace)?;
                return Ok(Ended::Stopped(signal));
            }
            if deadline.has_passed() {
                self.end(grace)?;
                return Ok(Ended::TimedOut);
            }
            self.wait(wake, deadline.remaining())?;
        }
    }

    /// TERM to the group, time to end in order, KILL to the rest. A second stop signal changes nothing.
    pub(super) fn end(&mut self, grace: Duration) -> io::Result<()> {
        self.signal_group(Signal::TERM);
        self.signal_group(Signal::CONT); // a stopped process gets TERM only when it goes on
        if !self.is_gone_within(grace)? {
            self.signal_group(Signal::KILL);
            // A process that hangs in the kernel (a dead NFS server) outlives even KILL: this process must go on.
            self.is_gone_within(grace)?;
        }
        self.drain(Deadline::after(DRAIN))
    }

    /// Waits until no process of the group runs any more.
    pub(super) fn is_gone_within(&mut self, limit: Duration) -> io::Result<bool> {
        let limit = Deadline::after(limit);
        let mut group = Group::new(self.group);
        loop {
            let wake = signal::wake()?;
            let leader_is_gone = self.child.try_wait()?.is_some();
            if leader_is_gone && group.is_gone() {
                return Ok(true);
            }
            if limit.has_passed() {
                return Ok(false);
            }
            let most = if leader_is_gone { LOOK } else { DOUBT };
            self.wait(wake, limit.remaining().min(most))?;
        }
    }

    /// Reads the output that is in the pipe already, however slow `take` is, then more until the pipe is closed, the
    /// limit has passed, or a stop signal comes.
    fn drain(&mut self, limit: Deadline) -> io::Result<()> {
        let mut owed = self.output.as_ref().and_then(|output| rustix::io::ioctl_fionread(output).ok()).unwrap_or(0);
        loop {
            let wake = signal::wake()?;
            let length = self.read();
            owed = owed.saturating_sub(length as u64);
            let is_over = owed == 0 && limit.has_passed();
            if self.output.is_none() || is_over || (length == 0 && signal::pending().is_some()) {
                return Ok(());
            }
            if owed == 0 {
                self.wait(wake, limit.remaining())?;
            }
        }
    }

    /// Waits for output, a signal or the time, and reads a piece of output if there is some.
    pub(super) fn wait(&mut self, wake: impl AsFd, most: Duration) -> io::Result<()> {
        let most = Timespec::try_from(most.min(DOUBT)).ok();
        let mut ends = vec![PollFd::new(&wake, PollFlags::IN)];
        ends.extend([&self.output, &self.data].into_iter().flatten().map(|end| PollFd::new(end, PollFlags::IN)));
        match rustix::event::poll(&mut ends, most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        self.read();
        Ok(())
    }

    /// Reads one piece of output; 0: there is none now.
    fn read(&mut self) -> usize {
        let Some(output) = &self.output else { return 0 };
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => self.output = None,
            Ok(n) => {
                self.lines.push(&buffer[..n]);
                return n;
            }
            Err(Errno::INTR | Errno::WOULDBLOCK) => {}
            Err(_) => self.output = None, // a pipe gives no other error; without it the program still has an end
        }
        0
    }

    /// Sends a signal to the group.
    pub(super) fn signal_group(&self, signal: Signal) {
        let _ = rustix::process::kill_process_group(self.group, signal); // gone (ESRCH) or another user's (EPERM)
    }
}

fn of_status(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    }
}

/// A turn among tests: their threads would take each other's wake-ups.
#[cfg(test)]
pub(super) fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
