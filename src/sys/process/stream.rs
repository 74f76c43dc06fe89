//! A program whose output is data of any size, read as it comes, while its standard error comes as lines. The program's
//! whole group is ended when the time is over, when a stop signal comes, or when the stream is dropped. The reader must
//! check the end: data may lack its tail unless [`Stream::finish`] reports success.

use std::io::{self, Read};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::lines::{Lines, Output};
use super::program::{Ended, Pipes, Program};
use super::running::{DRAIN, GRACE, Running};
use super::start;
use crate::sys::clock::Deadline;
use crate::sys::signal::{self, Deferred};

/// A running program. Signals are deferred while it lives.
pub struct Stream<'a> {
    running: Running<'a>,
    deadline: Deadline,
    /// How it ended, once known.
    ended: Option<Ended>,
    /// Until when the output of a program that has ended is read.
    drain: Option<Deadline>,
    region: Option<Deferred>,
    #[cfg(test)]
    _alone: std::sync::MutexGuard<'static, ()>,
}

impl<'a> Stream<'a> {
    /// Starts `program`; `line` gets the lines of its standard error. Its umask is 077: its files are private.
    pub fn start(
        program: &Program,
        pipes: Pipes,
        deadline: Deadline,
        mut line: impl FnMut(&[u8]) + 'a,
    ) -> io::Result<Self> {
        #[cfg(test)]
        let alone = super::running::one_at_a_time();
        let region = signal::defer();
        signal::wake()?; // from here on the end of a child is noticed
        let (child, errors, data) = start::start_piped(program, pipes)?;
        let group = Pid::from_child(&child);
        let line = move |output: Output<'_>| match output {
            Output::Line(text) => line(text),
            Output::LeftOut(_) => {} // there is room for all of it
        };
        let running = Running { child, group, output: Some(errors), lines: Lines::new(line), data: Some(data) };
        Ok(Self {
            running,
            deadline,
            ended: None,
            drain: None,
            region: Some(region),
            #[cfg(test)]
            _alone: alone,
        })
    }

    /// Waits for the end. Unread data is discarded, and the program sees a closed pipe.
    pub fn finish(mut self) -> io::Result<Ended> {
        self.running.data = None;
        let ended = match self.ended {
            Some(ended) => Ok(ended),
            None => self.running.watch(self.deadline, GRACE),
        };
        self.ended = ended.as_ref().ok().copied();
        if self.running.output.take().is_some() && ended.is_ok() {
            self.running.signal_group(Signal::KILL); // another process of the group still holds the pipe
        }
        self.running.lines.finish();
        let stop = self.region.take().and_then(Deferred::close);
        ended.map(|ended| stop.map_or(ended, Ended::Stopped))
    }

    /// Reads the available data. `None`: nothing yet.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(data) = &self.running.data else { return Ok(Some(0)) };
        match rustix::io::read(data, buffer) {
            Ok(0) => {
                self.running.data = None;
                Ok(Some(0))
            }
            Ok(n) => Ok(Some(n)),
            Err(Errno::INTR | Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends the program, which must not go on.
    fn end(&mut self, how: Ended) -> io::Error {
        self.running.data = None;
        self.ended = Some(how);
        match self.running.end(GRACE) {
            Ok(()) => io::Error::from(io::ErrorKind::TimedOut),
            Err(e) => e,
        }
    }

    fn check(&mut self) -> io::Result<()> {
        if let Some(signal) = signal::pending() {
            return Err(self.end(Ended::Stopped(signal)));
        }
        if self.deadline.has_passed() {
            return Err(self.end(Ended::TimedOut));
        }
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.check()?;
            if let Some(read) = self.take(buffer)? {
                return Ok(read);
            }
            let wake = signal::wake()?;
            self.check()?;
            if self.running.child.try_wait()?.is_some() {
                let drain = *self.drain.get_or_insert_with(|| Deadline::after(DRAIN));
                if drain.has_passed() {
                    self.running.data = None;
                    return Ok(0);
                }
            }
            let most = self.drain.unwrap_or(self.deadline).remaining();
            self.running.wait(wake, most)?;
        }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.running.data = None;
        if self.ended.is_none() {
            self.running.signal_group(Signal::KILL);
            let _ = self.running.is_gone_within(GRACE); // dropped: its end is not reported
        }
    }
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(&self.running.group).finish()
    }
}
