//! Child programs: started in a session of their own with only the environment of this process, given a time limit, and
//! ended with their group. No second thread: one poll(2) waits for output, for the end and for signals to this process.
//!
//! A process that leaves the group (a daemon by setsid) keeps running, and so does the group of a program that ended by
//! itself. Only the child itself is ever reaped.

mod group;
mod lines;
mod program;
mod running;
mod start;
mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clock::Deadline;
use super::signal;
use lines::Lines;
use running::Running;

pub use lines::Output;
pub use program::{Ended, Identity, Pipes, Program};
pub use running::GRACE;
pub use stream::Stream;

/// How much output [`run_as`] passes on as it comes, for its caller to keep: bytes, with a little for each line.
const KEPT: u64 = 1 << 20;

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
    let _alone = running::one_at_a_time();
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

#[cfg(test)]
mod tests;
