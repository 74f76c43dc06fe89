//! The daemon's only wait: for a time of the wall clock, a signal, or the end of a child, in one poll(2) that costs
//! nothing while it lasts. A timer on CLOCK_REALTIME, cancelled when the clock is set or the machine wakes up, ends the
//! wait at jumps of the clock; where a kernel or an emulator has no such timer, the clock is read once a minute.
//!
//! Not decided here: the meaning of a signal, and whether the time has come: read the clock after every wait.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use super::{disposition, signal};

/// The longest wait without reading the clock where no timer watches it.
const MINUTE: Duration = Duration::from_secs(60);

/// How much later than the timer the poll itself ends: a working timer causes one wake-up, not two.
const AFTER: Duration = Duration::from_millis(500);

/// The signals of the daemon.
const SIGNALS: [libc::c_int; 5] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGCHLD];

/// The signals since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// TERM or INT: end.
    pub stop: Option<i32>,
    /// HUP: read the configuration again.
    pub reload: bool,
    /// USR1: check now.
    pub check: bool,
}

/// Keeps the daemon's signals from ending it, and waits for them.
#[derive(Debug)]
pub struct SignalWait {
    signals: OwnedFd,
    timer: Option<OwnedFd>,
}

impl SignalWait {
    /// From here on the daemon's signals are only noted.
    pub fn begin() -> io::Result<Self> {
        signal::reset_sigchld()?;
        let set = disposition::block(&SIGNALS)?;
        // SAFETY: `set` is a whole set that lives through the call; the kernel makes a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and has no other owner.
        let signals = unsafe { OwnedFd::from_raw_fd(fd) };
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { signals, timer: rustix::time::timerfd_create(TimerfdClockId::Realtime, flags).ok() })
    }

    /// Waits until the clock shows `until` (seconds since 1970), `most` has passed, a signal comes, or the clock jumps.
    pub fn wait(&mut self, until: Option<u64>, most: Option<Duration>) -> io::Result<()> {
        let mut limit = most;
        if let Some(until) = until {
            let left = left(until);
            if left.is_zero() {
                return Ok(());
            }
            if self.set(until) {
                return Ok(());
            }
            let left = if self.timer.is_some() { left.saturating_add(AFTER) } else { left.min(MINUTE) };
            limit = Some(limit.map_or(left, |most| most.min(left)));
        }
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut fired = false;
        let result = match self.timer.as_ref().filter(|_| until.is_some()) {
            Some(timer) => {
                let both = &mut [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(timer, PollFlags::IN)];
                let result = rustix::event::poll(both, limit.as_ref());
                fired = !both[1].revents().is_empty();
                result
            }
            None => rustix::event::poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], limit.as_ref()),
        };
        match result {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        self.judge_timer(fired, until);
        Ok(())
    }

    /// Sets the timer; true if the clock has just jumped. A timer that cannot be set is no longer used: the limit of
    /// the poll remains.
    fn set(&mut self, until: u64) -> bool {
        let Some(timer) = &self.timer else { return false };
        let never = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = rustix::time::Timespec { tv_sec: i64::try_from(until).unwrap_or(i64::MAX), tv_nsec: 0 };
        let time = Itimerspec { it_interval: never, it_value: at };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match rustix::time::timerfd_settime(timer, flags, &time) {
            Ok(_) => {}
            Err(Errno::CANCELED) => return true,
            Err(_) => self.timer = None,
        }
        false
    }

    /// Reads the timer. One that fires too early by the clock of this process, or not at all, follows another clock,
    /// and is no longer used.
    fn judge_timer(&mut self, fired: bool, until: Option<u64>) {
        let (Some(timer), Some(until)) = (&self.timer, until) else { return };
        let has_expired = fired && rustix::io::read(timer, &mut [0_u8; 8]).is_ok(); // CANCELED: the clock was set
        let since = since(until);
        if (has_expired && since.is_none()) || (!fired && since.is_some_and(|since| since >= AFTER)) {
            self.timer = None;
        }
    }

    /// The signals that have come. Several of a kind are one.
    pub fn came(&self) -> io::Result<Signals> {
        let mut came = Signals::default();
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        loop {
            match rustix::io::read(self.signals.as_fd(), &mut record) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(came),
                Err(e) => return Err(e.into()),
            }
            // The number is the record's first field (signalfd(2)).
            let [a, b, c, d, ..] = record;
            match i32::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or_default() {
                signal @ (libc::SIGTERM | libc::SIGINT) => came.stop = came.stop.or(Some(signal)),
                libc::SIGHUP => came.reload = true,
                libc::SIGUSR1 => came.check = true,
                _ => {} // CHLD: the caller reaps its children
            }
        }
    }
}

/// The time until the clock shows `until`.
fn left(until: u64) -> Duration {
    Duration::from_secs(until).saturating_sub(clock())
}

/// The time since the clock showed `until`; `None`: it has not yet.
fn since(until: u64) -> Option<Duration> {
    clock().checked_sub(Duration::from_secs(until))
}

fn clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
