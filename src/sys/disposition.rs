//! The disposition of signals, and the mask: handlers, ignoring, blocking.

use std::io;

use libc::c_int;

/// Sets a handler, which must be async-signal-safe.
pub(super) fn set_handler(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value, its mask the empty set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: `action` lives through the call, and its handler is async-signal-safe.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
}

/// Whether a signal is ignored.
pub(super) fn is_ignored(signal: c_int) -> io::Result<bool> {
    // SAFETY: an all-zero sigaction is a valid value to be overwritten.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; `action` lives through the call.
    check(unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Unblocks a signal.
pub(super) fn unblock(signal: c_int) -> io::Result<()> {
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

/// For a child between fork and exec: resets every signal to its default and unblocks it, as in a fresh process. Only
/// async-signal-safe calls.
pub(super) fn reset() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: setting a default needs no handler. KILL, STOP and the signals that libc reserves are refused; they
        // have their default already.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: as in `unblock`.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut none))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))
    }
}

/// Blocks `signals`, and returns them as a set.
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

/// Ignores a signal. XFSZ: write(2) beyond a limit on file sizes then fails like on a full disk, and the error is
/// reported, instead of the process ending.
pub(super) fn ignore(signal: c_int) {
    // SAFETY: ignoring needs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
