//! Captures standard error. From [`capture`] on, descriptor 2 is memory of this process: output of a crate, std or a
//! panic can neither block nor fail. [`take`] returns that output; only [`Sink::stderr`] leads to the original standard
//! error. A shell or another program may share its description and need it to block: O_NONBLOCK is never set on it.
//!
//! Not decided here: which output goes where, and how long to wait for a slow reader.

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
use rustix::stdio::{dup2_stderr, stderr};

use super::alarm;
use super::disposition::{ignore, set_handler};

/// The original standard error; unset: descriptor 2 still is.
static REAL: OnceLock<OwnedFd> = OnceLock::new();

/// The descriptor from which output to descriptor 2 is read: 2 itself (memory), or the read end of a pipe; -1: none,
/// because it went straight to standard error.
static SOURCE: AtomicI32 = AtomicI32::new(-1);

/// The size of the memory from the start: more than the longest record. A lower limit on file sizes bounds it too.
const MEMORY: u64 = 64 * 1024;

/// The bytes that a pipe with room takes in one write without blocking (POSIX promises 512, Linux 4096).
const PIECE: usize = 4096;

/// Captures standard error. Call once, first thing.
pub fn capture() -> io::Result<()> {
    let real = rustix::io::fcntl_dupfd_cloexec(stderr(), 3)?;
    if REAL.set(real).is_err() {
        return Ok(());
    }
    set_handler(libc::SIGABRT, say_last_words, 0)?;
    ignore(libc::SIGXFSZ);
    renew()
}

/// Gives descriptor 2 new, empty memory: a worker must not take its parent's output. If that fails, a pipe that does
/// not block stands in.
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
    let make = |flags| memfd_create("standard-error", flags);
    // NOEXEC_SEAL: unknown to a kernel before 6.3, and required by a hardened one.
    let memory = make(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).or_else(|_| make(MemfdFlags::CLOEXEC))?;
    fallocate(&memory, FallocateFlags::empty(), 0, MEMORY)?;
    Ok((memory, libc::STDERR_FILENO))
}

fn pipe() -> io::Result<(OwnedFd, i32)> {
    let (source, target) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((target, source.into_raw_fd())) // open until the process ends
}

/// Whether `file` is the captured descriptor 2, which only [`take`] reads.
pub fn is_captured(file: &File) -> io::Result<bool> {
    let (one, two) = (fstat(file)?, fstat(stderr())?);
    Ok(REAL.get().is_some() && (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino))
}

/// Whether the original standard error is the file `DEVICE:INODE` (JOURNAL_STREAM of systemd.exec(5)).
pub fn is_file(numbers: &str) -> bool {
    fstat(real()).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == numbers)
}

/// Takes the output to descriptor 2 since the last call.
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

/// Reads a piece of that output, in memory from `at` on. 0: there is none.
fn read(piece: &mut [u8], at: usize) -> usize {
    match SOURCE.load(SeqCst) {
        ..0 => 0,
        // The memory keeps its size, so that printing needs none: bytes after the position are old.
        libc::STDERR_FILENO => {
            let end = usize::try_from(tell(stderr()).unwrap_or(0)).unwrap_or_default();
            let most = piece.len().min(end.saturating_sub(at));
            if most == 0 {
                return 0;
            }
            rustix::io::pread(stderr(), &mut piece[..most], at as u64).unwrap_or(0)
        }
        // SAFETY: the pipe's end was made by us, and is never closed.
        pipe => rustix::io::read(unsafe { BorrowedFd::borrow_raw(pipe) }, piece).unwrap_or(0),
    }
}

fn real() -> BorrowedFd<'static> {
    REAL.get().map_or_else(stderr, AsFd::as_fd)
}

/// The handler of ABRT: writes the last output (out of memory, stack overflow). No allocation, no lock, no wait.
extern "C" fn say_last_words(_: libc::c_int) {
    let (mut piece, mut at) = ([0; PIECE], 0);
    loop {
        let length = read(&mut piece, at);
        if length == 0 || Sink::stderr().write_now(&piece[..length]).is_err() {
            return; // and abort(3) ends the process
        }
        at += length;
    }
}

/// A file for lines that never waits for its reader.
#[derive(Debug)]
pub struct Sink {
    /// `None`: standard error.
    file: Option<File>,
    /// It is a regular file, which has no reader: each line is one write.
    is_regular: bool,
}

impl Sink {
    /// The original standard error.
    pub fn stderr() -> Self {
        Self { file: None, is_regular: is_regular(real()) }
    }

    /// A file that this process opened.
    pub fn of(file: File) -> Self {
        Self { is_regular: is_regular(file.as_fd()), file: Some(file) }
    }

    /// Writes as much as fits without waiting, possibly a part. [`io::ErrorKind::WouldBlock`]: nothing fits now;
    /// [`io::ErrorKind::Interrupted`]: another writer took the room after it was checked.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_regular {
            return Ok(rustix::io::write(self, bytes)?);
        }
        if !self.has_room_within(Duration::ZERO)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let _ticks = alarm::start()?;
        Ok(rustix::io::write(self, &bytes[..bytes.len().min(PIECE)])?)
    }

    /// Waits until something fits, `most` has passed or a signal comes. True: something fits, or the write will fail.
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
