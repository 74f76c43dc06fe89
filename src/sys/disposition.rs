//! The disposition of signals, and the mask: handlers, ignoring, blocking.

use std::io;

use libc::c_int;

/// Sets a handler, which must be async-signal-safe. Returns whether the signal was ignored before.
pub(super) fn set_handler(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) -> io::Result<bool> {
    // SAFETY: an all-zero sigaction is a valid value, its mask the empty set.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: both live through the call, and the handler is async-signal-safe.
    check(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) })?;
    Ok(before.sa_sigaction == libc::SIG_IGN)
}

/// Blocks every signal that can be.
pub(super) fn block_all() -> io::Result<()> {
    // SAFETY: an all-zero set is memory that sigfillset may write; all pointers are to it and live through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        check(libc::sigfillset(&raw mut set))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()))
    }
}

/// Unblocks signals.
pub(super) fn unblock(signals: &[c_int]) -> io::Result<()> {
    mask(libc::SIG_UNBLOCK, signals).map(drop)
}

/// For a child between fork and exec: resets every signal to its default and unblocks it, as in a fresh process. Only
/// async-signal-safe calls.
pub(super) fn reset() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: setting a default needs no handler. KILL, STOP and the signals that libc reserves are refused; they
        // have their default already.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: as in `mask`.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut none))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))
    }
}

/// Blocks `signals`, and returns them as a set.
pub(super) fn block(signals: &[c_int]) -> io::Result<libc::sigset_t> {
    mask(libc::SIG_BLOCK, signals)
}

fn mask(how: c_int, signals: &[c_int]) -> io::Result<libc::sigset_t> {
    // SAFETY: an all-zero set is memory that sigemptyset may write; all pointers are to it and live through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut set))?;
        for signal in signals {
            check(libc::sigaddset(&raw mut set, *signal))?;
        }
        match libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) {
            0 => Ok(set),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Ignores a signal. XFSZ: write(2) beyond a limit on file sizes then fails like on a full disk, and the error is
/// reported, instead of the process ending.
pub(super) fn ignore(signal: c_int) {
    // SAFETY: ignoring needs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
