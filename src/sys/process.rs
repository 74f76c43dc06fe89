//! Child programs: started in a session of their own with only the environment of this process, given a time limit, and
//! ended with their group. No second thread: one poll(2) waits for output, for the end and for signals to this process.
//!
//! A process that leaves the group (a daemon by setsid) keeps running, and so does the group of a program that ended by
//! itself. Only the child itself is ever reaped.

mod group;
mod lines;
mod start;
mod stream;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::clock::Deadline;
use super::signal;
use group::Group;
use lines::Lines;

pub use lines::Output;
pub use stream::{Pipes, Stream};

/// A program to run. Standard input is /dev/null (an empty pipe without a /dev), output comes as lines.
#[derive(Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to the environment of this process.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Whether its standard error is part of its output; otherwise it is discarded.
    pub merges_errors: bool,
}

/// The user of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// Variables of this process that the user must not see.
    pub unset: Vec<OsString>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By this process, because its time was over.
    TimedOut,
    /// By this process, because of this stop signal.
    Stopped(i32),
}

/// How much output [`run_as`] passes on as it comes, for its caller to keep: bytes, with a little for each line.
const KEPT: u64 = 1 << 20;

/// How long a group has between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long output is read after the end, when another process (a daemon that the program started) keeps the pipe open.
const DRAIN: Duration = Duration::from_secs(2);

/// The longest wait without checking the program. Its end wakes this process, except if CHLD is blocked.
const DOUBT: Duration = Duration::from_secs(1);

/// How often a group without its leader is checked: no signal tells the end of its last process.
const LOOK: Duration = Duration::from_millis(50);

/// Runs a program to its end. `line` gets each line of its output, without the newline, as it comes; a line of more
/// than 4096 bytes comes in pieces.
///
/// Opens a deferred region of its own. A stop signal while it runs gives [`Ended::Stopped`], also when the program had
/// just ended and no region is open around this one: the caller must then end the process. Inside of a region, a signal
/// that came too late for the program is left to [`signal::pending`]. An error: it cannot be started or awaited.
pub fn run(program: &Program, deadline: Deadline, line: &mut dyn FnMut(&[u8])) -> io::Result<Ended> {
    let line = |output: Output<'_>| match output {
        Output::Line(text) => line(text),
        Output::LeftOut(_) => {} // there is room for all of it
    };
    run_with(program, None, deadline, GRACE, Lines::new(line))
}

/// Whether `identity` is this process's user and group; never true for root.
pub fn is_us(identity: &Identity) -> bool {
    (identity.uid, identity.gid) == (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        && identity.uid != 0
}

/// As [`run`], as another user: the child changes its identity before exec. `None`: as this process's user. For callers
/// that keep the output: of more than [`KEPT`], only the end follows.
pub fn run_as(
    program: &Program,
    identity: Option<&Identity>,
    deadline: Deadline,
    take: &mut dyn FnMut(Output<'_>),
) -> io::Result<Ended> {
    run_with(program, identity, deadline, GRACE, Lines::bounded(KEPT, take))
}

fn run_with(
    program: &Program,
    identity: Option<&Identity>,
    deadline: Deadline,
    grace: Duration,
    lines: Lines<'_>,
) -> io::Result<Ended> {
    #[cfg(test)]
    let _alone = tests::one_at_a_time(); // the threads of the test harness would take each other's wake-ups
    let region = signal::defer();
    let ended = match signal::pending() {
        Some(signal) => Ended::Stopped(signal),
        None => Running::start(program, identity, lines)?.attend(deadline, grace)?,
    };
    Ok(region.close().map_or(ended, Ended::Stopped))
}

/// The program `name` in a PATH: in the first absolute directory that has such a file.
pub fn find(name: &str, path: &str) -> Option<PathBuf> {
    let mut places = path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(name));
    places.find(|path| path.is_file())
}

/// A program that has been started and not been reaped.
struct Running<'a> {
    child: Child,
    group: Pid,
    /// The read end of its output; `None`: every process has closed the other end.
    output: Option<File>,
    lines: Lines<'a>,
    /// The read end of data, which the caller reads: a wait ends when there is some.
    data: Option<File>,
}

impl<'a> Running<'a> {
    fn start(program: &Program, identity: Option<&Identity>, lines: Lines<'a>) -> io::Result<Self> {
        signal::wake()?; // from here on the end of a child is noticed
        let (child, output) = start::start(program, identity)?;
        let group = Pid::from_child(&child);
        Ok(Self { child, group, output: Some(output), lines, data: None })
    }

    /// Waits for the end, and ends the program when its time is over or a stop signal comes.
    fn attend(mut self, deadline: Deadline, grace: Duration) -> io::Result<Ended> {
        let ended = self.watch(deadline, grace);
        if ended.is_err() {
            self.signal_group(Signal::KILL); // poll(2) out of memory: do not leave it running unseen
            let _ = self.child.try_wait(); // the error that is returned is the one that matters
        }
        self.lines.finish();
        ended
    }

    fn watch(&mut self, deadline: Deadline, grace: Duration) -> io::Result<Ended> {
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
    fn end(&mut self, grace: Duration) -> io::Result<()> {
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
    fn is_gone_within(&mut self, limit: Duration) -> io::Result<bool> {
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
    fn wait(&mut self, wake: impl AsFd, most: Duration) -> io::Result<()> {
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

    fn signal_group(&self, signal: Signal) {
        let _ = rustix::process::kill_process_group(self.group, signal); // gone (ESRCH) or another user's (EPERM)
    }
}

fn of_status(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
