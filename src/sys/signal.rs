//! Signals. Outside of a deferred region TERM, INT and HUP end the process at once with 128 + n, from the handler, with one
//! line on standard error: everything done so far is crash-safe. Inside one they are noted, and whoever holds the region asks. Every signal
//! also leaves a byte in a pipe, so that a wait in poll(2) cannot miss it, whenever it comes.
//!
//! Left to others: what a noted signal means for the work at hand, and the line that says that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

use libc::c_int;
use rustix::pipe::PipeFlags;

use super::stderr::Sink;

/// What asks us to stop. HUP among them: a terminal that goes away must not leave a hook behind without us.
const STOP: [c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Below: how many deferred regions are open. From [`FIRST`] on: the first signal that asked us to stop inside of one.
/// One word, so that leaving a region and a signal never miss each other, on whatever thread the handler runs.
static REGION: AtomicU32 = AtomicU32::new(0);
const FIRST: u32 = 16;
const OPEN: u32 = (1 << FIRST) - 1;
/// The pipe's end that the handler writes to; -1 as long as there is none.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Something stands on the terminal's last line that the line of the handler takes the place of.
static UNFINISHED_LINE: AtomicBool = AtomicBool::new(false);

/// Somebody else says that we were stopped.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Both ends of that pipe, for the life of the process.
static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// While one lives, TERM, INT and HUP are noted, not obeyed. Nests.
///
/// When the outermost one is dropped and a signal was noted, the process ends there and then with 128 + n: a noted
/// signal cannot be forgotten, whatever path (`?` too) leaves the region. Who wants to say something before uses
/// [`Deferred::close`].
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

/// Leaves one region; the signal that waits when it was the last. One that comes before this is seen by it, one that
/// comes after it ends the process from the handler.
fn leave() -> Option<i32> {
    let before = REGION.fetch_sub(1, SeqCst);
    if before & OPEN == 1 { noted(before) } else { None }
}

fn noted(region: u32) -> Option<i32> {
    i32::try_from(region >> FIRST).ok().filter(|signal| *signal != 0)
}

/// Installs the handlers. Call once, first thing. What was ignored when we started (nohup, a shell's background job)
/// stays ignored; what was blocked is let through.
pub fn install() -> io::Result<()> {
    pipe()?;
    for signal in STOP {
        if !is_ignored(signal)? {
            // No SA_RESTART: what waits inside a region comes back and can ask.
            set_handler(signal, on_signal, 0)?;
        }
        unblock(signal)?;
    }
    ignore(libc::SIGXFSZ);
    Ok(())
}

/// What the daemon's parent process needs: children that can be waited for, whatever was ignored when we started.
pub(super) fn reset_sigchld() -> io::Result<()> {
    ignore(libc::SIGXFSZ);
    // SAFETY: setting a default needs no handler.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Blocks `signals`, and gives them as a set.
pub(super) fn block(signals: &[c_int]) -> io::Result<libc::sigset_t> {
    // SAFETY: as in `unblock`.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut set))?;
        for signal in signals {
            check(libc::sigaddset(&raw mut set, *signal))?;
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
            0 => Ok(set),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// [`install`] for a copy of the daemon: HUP and USR1 are its parent's, and so is the line about the end.
pub(super) fn install_in_twin() -> io::Result<()> {
    SILENT.store(true, SeqCst);
    for signal in [libc::SIGHUP, libc::SIGUSR1] {
        ignore(signal);
        unblock(signal)?;
    }
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: setting a default needs no handler. Whatever our parent ignored: this is how it ends us.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    install()
}

/// Ignores a signal. XFSZ: a limit on file sizes is an error of write(2) like a full disk, with a line that says so, not
/// the end.
fn ignore(signal: c_int) {
    // SAFETY: ignoring needs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// How many want to be woken.
static TICKS: AtomicU32 = AtomicU32::new(0);

/// While one lives, a call that waits comes back with EINTR about once a second, so that it can look at the time. Nests.
#[must_use = "it ends where this is dropped"]
#[derive(Debug)]
pub(super) struct Ticks(());

/// Begins that. The handler stays.
pub(super) fn start_alarm() -> io::Result<Ticks> {
    static IS_READY: AtomicBool = AtomicBool::new(false);
    if !IS_READY.load(SeqCst) {
        set_handler(libc::SIGALRM, rearm_alarm, 0)?;
        unblock(libc::SIGALRM)?;
        IS_READY.store(true, SeqCst);
    }
    if TICKS.fetch_add(1, SeqCst) == 0 {
        set_alarm(1);
    }
    Ok(Ticks(()))
}

impl Drop for Ticks {
    fn drop(&mut self) {
        if TICKS.fetch_sub(1, SeqCst) == 1 {
            set_alarm(0);
        }
    }
}

/// The handler of ticks: winds the clock again, so that one that comes just before the wait is not the last.
extern "C" fn rearm_alarm(_: c_int) {
    if TICKS.load(SeqCst) > 0 {
        set_alarm(1);
    }
}

/// The next tick, in seconds; 0: none.
fn set_alarm(seconds: u32) {
    // SAFETY: alarm(2) is async-signal-safe, takes a number, and sets no errno.
    unsafe { libc::alarm(seconds) };
}

/// Opens a deferred region.
pub fn defer() -> Deferred {
    REGION.fetch_add(1, SeqCst);
    Deferred(())
}

/// Tells whether a line that has no end yet stands on the terminal.
pub fn note_unfinished_line(stands: bool) {
    UNFINISHED_LINE.store(stands, SeqCst);
}

/// The signal that asked us to stop, when one has.
pub fn pending() -> Option<i32> {
    noted(REGION.load(SeqCst))
}

/// What becomes readable when a signal has come or a child has ended: to be given to poll(2). Forgets what came before,
/// so look at [`pending`] and the child after this, and wait after that.
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

/// The pipe, made at first use together with the handler for CHLD. That one is set even where CHLD was ignored: the
/// kernel would then throw away how children end.
fn pipe() -> io::Result<&'static (OwnedFd, OwnedFd)> {
    if let Some(ends) = PIPE.get() {
        return Ok(ends);
    }
    let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let ends = PIPE.get_or_init(|| made);
    WAKE.store(ends.1.as_raw_fd(), SeqCst);
    // SA_RESTART: a child that ends somewhere must not interrupt an unrelated read; poll(2) comes back all the same.
    set_handler(libc::SIGCHLD, on_signal, libc::SA_RESTART | libc::SA_NOCLDSTOP)?;
    unblock(libc::SIGCHLD)?;
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
            // SAFETY: _exit is async-signal-safe, and nothing that Drop would do is needed by what is on disk.
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

/// Writes `repo-deploy: stopped by signal 15` to standard error itself, unless that would have us wait. Only for the handler,
/// right before the end: no allocation, no lock, no panic.
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
    let _ = Sink::stderr().write_now(&line[..length]); // a pipe that nobody reads: the exit code tells it too
}

/// Sets a handler, which must be async-signal-safe.
pub(super) fn set_handler(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value, its mask the empty set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: `action` lives through the call, and its handler is async-signal-safe.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
}

fn is_ignored(signal: c_int) -> io::Result<bool> {
    // SAFETY: an all-zero sigaction is a valid value to be overwritten.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; `action` lives through the call.
    check(unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

fn unblock(signal: c_int) -> io::Result<()> {
    // SAFETY: an all-zero set is memory that sigemptyset may write; all pointers are to it and live through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut set))?;
        check(libc::sigaddset(&raw mut set, signal))?;
        match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// What a child has to do between fork and exec: every signal as a fresh process has it, none blocked. Only
/// async-signal-safe calls.
pub(super) fn reset() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: setting a default needs no handler. KILL, STOP and what libc keeps for itself are refused, which is
        // their default too.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: as in `unblock`.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut none))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
