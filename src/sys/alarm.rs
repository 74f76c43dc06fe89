//! An alarm that interrupts blocking calls about once a second.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use libc::c_int;

use super::disposition::{set_handler, unblock};

/// The number of living [`Ticks`].
static TICKS: AtomicU32 = AtomicU32::new(0);

/// While one lives, a blocking call fails with EINTR about once a second, so that its caller can check the time. Nests.
#[must_use = "it ends where this is dropped"]
#[derive(Debug)]
pub(super) struct Ticks(());

/// Starts the ticks. The handler stays installed.
pub(super) fn start() -> io::Result<Ticks> {
    static IS_READY: AtomicBool = AtomicBool::new(false);
    if !IS_READY.load(SeqCst) {
        set_handler(libc::SIGALRM, rearm_alarm, 0)?;
        unblock(&[libc::SIGALRM])?;
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

/// The handler of ALRM: rearms the alarm, so that a tick just before the wait is not the last.
extern "C" fn rearm_alarm(_: c_int) {
    if TICKS.load(SeqCst) > 0 {
        set_alarm(1);
    }
}

/// Sets the next tick, in seconds; 0: none.
fn set_alarm(seconds: u32) {
    // SAFETY: alarm(2) is async-signal-safe, takes a number, and sets no errno.
    unsafe { libc::alarm(seconds) };
}
