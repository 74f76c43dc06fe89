//! Signals. Outside of a deferred region TERM, INT and HUP end the process at once with 128 + n, from the handler, with
//! one line on standard error: all work so far is crash-safe. Inside a region they are noted, and its owner asks for
//! them. Every signal also writes a byte to a pipe, so that a wait in poll(2) cannot miss it, whenever it comes.
//!
//! Not decided here: the effect of a noted signal on the work at hand, and the line that reports it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

use libc::c_int;
use rustix::pipe::PipeFlags;

use super::disposition::{block, ignore, set_handler, unblock};
use super::stderr::Sink;

/// The signals that stop the process. HUP too: a terminal that goes away must not leave a hook running alone.
const STOP: [c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Low bits: the number of open deferred regions. From bit [`FIRST`] on: the first stop signal that came inside of one.
/// One word, so that leaving a region and a signal never miss each other, on whichever thread the handler runs.
static REGION: AtomicU32 = AtomicU32::new(0);
const FIRST: u32 = 16;
const OPEN: u32 = (1 << FIRST) - 1;
/// The write end of the pipe, for the handler; -1 until it is made.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// The terminal's last line is unfinished: the handler erases it before its own line.
static UNFINISHED_LINE: AtomicBool = AtomicBool::new(false);

/// Another process reports the signal.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Both ends of that pipe, for the life of the process.
static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// While one lives, TERM, INT and HUP are noted instead of ending the process. Nests.
///
/// If a signal was noted, dropping the outermost one ends the process at once with 128 + n: a noted signal cannot be
/// forgotten, on whichever path (`?` too) the region is left. To report it first, use [`Deferred::close`].
#[must_use = "the region ends where this is dropped"]
#[derive(Debug)]
pub struct Deferred(());

impl Deferred {
    /// Ends the region. `Some`: it was the outermost one and this signal waits: the caller must now end the process
    /// with 128 + n (the next such signal does it at once).
    #[must_use = "a signal that waits must end the process"]
    pub fn close(self) -> Option<i32> {
        std::mem::forget(self); // Drop would end the process
        leave()
    }
}

impl Drop for Deferred {
    #[allow(clippy::exit, reason = "this is what the signal asked for, and the state on disk is whole")]
    fn drop(&mut self) {
        if let Some(signal) = leave() {
            log::warn!("stopped by {}", describe(signal));
            std::process::exit(128 + signal);
        }
    }
}

/// Leaves one region; returns the noted signal if it was the last. An earlier signal is seen here, a later one ends
/// the process from the handler.
fn leave() -> Option<i32> {
    let before = REGION.fetch_sub(1, SeqCst);
    if before & OPEN == 1 { noted(before) } else { None }
}

fn noted(region: u32) -> Option<i32> {
    i32::try_from(region >> FIRST).ok().filter(|signal| *signal != 0)
}

/// Installs the handlers. Call once, first thing. A signal that was ignored at start (nohup, a shell's background job)
/// stays ignored; a blocked one is unblocked.
pub fn install() -> io::Result<()> {
    // One that comes between the two calls waits, and is discarded if it is ignored.
    block(&STOP)?;
    for signal in STOP {
        // No SA_RESTART: a blocking call inside a region returns, and its caller can ask for the signal.
        if set_handler(signal, on_signal, 0)? {
            ignore(signal);
        }
    }
    unblock(&STOP)
}

/// For the parent process of workers: lets children be waited for, even if CHLD was ignored at start.
pub(super) fn reset_sigchld() -> io::Result<()> {
    // SAFETY: setting a default needs no handler.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// [`install`] for a worker: HUP and USR1 are ignored, being meant for the daemon, which also reports the end.
pub(super) fn install_in_twin() -> io::Result<()> {
    SILENT.store(true, SeqCst);
    for signal in [libc::SIGHUP, libc::SIGUSR1] {
        ignore(signal);
    }
    unblock(&[libc::SIGHUP, libc::SIGUSR1])?;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: setting a default needs no handler. Even if ignored at start: the daemon ends the worker by these.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    install()
}

/// Opens a deferred region.
pub fn defer() -> Deferred {
    REGION.fetch_add(1, SeqCst);
    Deferred(())
}

/// Records whether the terminal's last line is unfinished.
pub fn note_unfinished_line(stands: bool) {
    UNFINISHED_LINE.store(stands, SeqCst);
}

/// The stop signal that came inside a region, if any.
pub fn pending() -> Option<i32> {
    noted(REGION.load(SeqCst))
}

/// A descriptor for poll(2) that becomes readable when a signal comes or a child ends. Clears earlier wake-ups: call
/// this first, then look at [`pending`] and the child, then wait.
pub fn wake() -> io::Result<BorrowedFd<'static>> {
    let (end, _) = pipe()?;
    let mut bytes = [0; 64];
    loop {
        match rustix::io::read(end, &mut bytes) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(end.as_fd()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The pipe, made at first use together with the handler for CHLD. The handler is set even if CHLD was ignored: the
/// kernel would then discard the exit status of children.
fn pipe() -> io::Result<&'static (OwnedFd, OwnedFd)> {
    if let Some(ends) = PIPE.get() {
        return Ok(ends);
    }
    let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let ends = PIPE.get_or_init(|| made);
    WAKE.store(ends.1.as_raw_fd(), SeqCst);
    // SA_RESTART: the end of a child must not interrupt an unrelated read; poll(2) returns all the same.
    set_handler(libc::SIGCHLD, on_signal, libc::SA_RESTART | libc::SA_NOCLDSTOP)?;
    unblock(&[libc::SIGCHLD])?;
    Ok(ends)
}

/// The handler. Only atomics, poll(2), write(2) and _exit(2); errno is left as it was found.
extern "C" fn on_signal(signal: c_int) {
    if signal != libc::SIGCHLD {
        let note = |region: u32| match (region & OPEN, noted(region)) {
            (0, _) => None,
            (_, Some(_)) => Some(region), // the first one counts
            (_, None) => Some(region | signal.unsigned_abs() << FIRST),
        };
        if REGION.fetch_update(SeqCst, SeqCst, note).is_err() {
            say_stopped(signal);
            // SAFETY: _exit is async-signal-safe, and the state on disk is whole without any Drop.
            unsafe { libc::_exit(128 + signal) }
        }
    }
    let end = WAKE.load(SeqCst);
    if end >= 0 {
        // SAFETY: errno is this thread's own; write is async-signal-safe, the descriptor lives as long as the process,
        // and the byte is a constant. A full pipe is as good as one byte more.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            libc::write(end, c"!".as_ptr().cast(), 1);
            *errno = before;
        }
    }
}

/// Writes `repo-deploy: stopped by signal 15` to standard error, unless that would block. Only for the handler, right
/// before the end: no allocation, no lock, no panic.
fn say_stopped(signal: c_int) {
    let number = u8::try_from(signal).unwrap_or_default();
    let digits = [b'0' + number / 10 % 10, b'0' + number % 10];
    let digits = if number < 10 { &digits[1..] } else { &digits[..] };
    let clear: &[u8] = if UNFINISHED_LINE.load(SeqCst) { b"\r\x1b[K" } else { b"" };
    let words: [&[u8]; 3] =
        if SILENT.load(SeqCst) { [b""; 3] } else { [b"repo-deploy: stopped by signal ", digits, b"\n"] };
    let mut line = [0; 64];
    let mut length = 0;
    for (to, from) in line.iter_mut().zip(clear.iter().chain(words.iter().copied().flatten())) {
        *to = *from;
        length += 1;
    }
    let _ = Sink::stderr().write_now(&line[..length]); // no reader: the exit code tells it too
}

/// `signal 9 (SIGKILL)`.
pub fn describe(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

#[cfg(test)]
mod tests;
