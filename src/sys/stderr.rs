//! Standard error, put aside. From [`capture`] on, descriptor 2 is memory of our own: whatever a crate, std or a panic prints
//! there can neither wait nor fail. [`take`] gives what has come; what was standard error before is [`Sink::stderr`], the one
//! door to it. Whoever shares its description (a shell, another program) may need it to block: that flag is never touched.
//!
//! Left to others: what is written where, and how long a slow reader is waited for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, FileType, MemfdFlags, SeekFrom, fallocate, fstat, memfd_create, seek, tell};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, getrlimit};
use rustix::stdio::{dup2_stderr, stderr};

use super::signal;

/// What was standard error when we started; unset: it still is.
static REAL: OnceLock<OwnedFd> = OnceLock::new();

/// Where what was printed to descriptor 2 is read: from itself (memory), or from the other end of a pipe; -1: nowhere, it
/// went straight to standard error.
static SOURCE: AtomicI32 = AtomicI32::new(-1);

/// How much memory there is from the start: more than the longest record. A limit on file sizes that is lower holds for it too.
const MEMORY: u64 = 64 * 1024;

/// What a pipe that says it has room takes in one piece without waiting (POSIX promises 512, Linux 4096).
const PIECE: usize = 4096;

/// Puts standard error aside. Call once, first thing.
pub fn capture() -> io::Result<()> {
    let real = rustix::io::fcntl_dupfd_cloexec(stderr(), 3)?;
    if REAL.set(real).is_err() {
        return Ok(());
    }
    signal::set_handler(libc::SIGABRT, say_last_words, 0)?;
    renew()
}

/// Gives descriptor 2 new, empty memory: a forked copy must not take what its parent prints. Where there is no memory of
/// that kind, a pipe that does not block stands in for it.
pub(super) fn renew() -> io::Result<()> {
    if REAL.get().is_none() {
        return Ok(()); // nothing was put aside: a test
    }
    let made = memory().or_else(|_| pipe());
    SOURCE.store(made.as_ref().map_or(-1, |(_, source)| *source), SeqCst);
    match &made {
        Ok((target, _)) => dup2_stderr(target)?,
        Err(_) => dup2_stderr(real())?,
    }
    made.map(|_| ())
}

fn memory() -> io::Result<(OwnedFd, i32)> {
    if getrlimit(Resource::Fsize).current.is_some_and(|most| most < MEMORY) {
        return Err(Errno::FBIG.into());
    }
    let make = |flags| memfd_create("standard-error", flags);
    // A kernel before 6.3 does not know that it holds no program; a hardened one insists on it.
    let memory = make(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).or_else(|_| make(MemfdFlags::CLOEXEC))?;
    fallocate(&memory, FallocateFlags::empty(), 0, MEMORY)?;
    Ok((memory, libc::STDERR_FILENO))
}

fn pipe() -> io::Result<(OwnedFd, i32)> {
    let (source, target) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((target, source.into_raw_fd())) // open as long as we are
}

/// Whether `file` is what descriptor 2 is by now: nobody but [`take`] reads that.
pub fn is_captured(file: &File) -> io::Result<bool> {
    let (one, two) = (fstat(file)?, fstat(stderr())?);
    Ok(REAL.get().is_some() && (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino))
}

/// What was printed to descriptor 2 since the last time.
pub fn take() -> Vec<u8> {
    let (mut taken, mut piece) = (Vec::new(), [0; PIECE]);
    loop {
        let length = read(&mut piece, taken.len());
        taken.extend_from_slice(&piece[..length]);
        if length < piece.len() {
            break;
        }
    }
    if !taken.is_empty() && SOURCE.load(SeqCst) == libc::STDERR_FILENO {
        let _ = seek(stderr(), SeekFrom::Start(0)); // memory has no other answer; a line could only come twice
    }
    taken
}

/// Reads a piece of it, from `at` on where that can be chosen. 0: there is nothing.
fn read(piece: &mut [u8], at: usize) -> usize {
    match SOURCE.load(SeqCst) {
        ..0 => 0,
        // The memory stays, so that nothing need be had to print: what comes after the position is old.
        libc::STDERR_FILENO => {
            let end = usize::try_from(tell(stderr()).unwrap_or(0)).unwrap_or_default();
            let most = piece.len().min(end.saturating_sub(at));
            rustix::io::pread(stderr(), &mut piece[..most], at as u64).unwrap_or(0)
        }
        // SAFETY: the pipe's end was made by us, and is never closed.
        pipe => rustix::io::read(unsafe { BorrowedFd::borrow_raw(pipe) }, piece).unwrap_or(0),
    }
}

fn real() -> BorrowedFd<'static> {
    REAL.get().map_or_else(stderr, AsFd::as_fd)
}

/// The handler of ABRT: what was printed last (no memory, no stack left) is said. No allocation, no lock, no wait.
extern "C" fn say_last_words(_: libc::c_int) {
    let (mut piece, mut at) = ([0; PIECE], 0);
    loop {
        let length = read(&mut piece, at);
        if length == 0 || Sink::stderr().write_now(&piece[..length]).is_err() {
            return; // and abort(3) goes on to end us
        }
        at += length;
    }
}

/// A file that lines are written to without ever waiting for its reader.
#[derive(Debug)]
pub struct Sink {
    /// `None`: standard error.
    file: Option<File>,
    /// A file on a disk, which has no reader: a line is one write there.
    is_regular: bool,
}

impl Sink {
    /// Standard error, as we were given it.
    pub fn stderr() -> Self {
        Self { file: None, is_regular: is_regular(real()) }
    }

    /// A file of ours.
    pub fn of(file: File) -> Self {
        Self { is_regular: is_regular(file.as_fd()), file: Some(file) }
    }

    /// Writes what is taken at once, which may be a part. [`io::ErrorKind::WouldBlock`]: nothing is taken now;
    /// [`io::ErrorKind::Interrupted`]: what somebody else wrote after we had looked left no room.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_regular {
            return Ok(rustix::io::write(self, bytes)?);
        }
        if !self.has_room_within(Duration::ZERO)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let _ticks = signal::start_alarm()?;
        Ok(rustix::io::write(self, &bytes[..bytes.len().min(PIECE)])?)
    }

    /// Waits until something is taken, `most` has passed or a signal has come. True when something is, or the write will say what is wrong.
    pub fn has_room_within(&self, most: Duration) -> io::Result<bool> {
        let most = Timespec::try_from(most).ok();
        match poll(&mut [PollFd::new(self, PollFlags::OUT)], most.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.file {
            Some(file) => file.as_fd(),
            None => real(),
        }
    }
}

fn is_regular(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
