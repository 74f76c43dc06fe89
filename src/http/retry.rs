//! Retries of requests: full jitter, few tries, never past the deadline, and the server's `Retry-After` before own
//! waits. The code that makes a [`RequestError`] decides whether the failure is transient.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::sys::clock::{self, Deadline};
use crate::sys::log;
use crate::sys::signal;

/// How many tries a request has within a check, unless the last check found the source unavailable: then one.
const TRIES: u32 = 4;
/// The limit of the first wait; it doubles with each try.
const BASE: Duration = Duration::from_secs(1);
/// The limit of each own wait.
const CAP: Duration = Duration::from_secs(30);
/// The limit of a server's `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The limit of the random share that a fleet adds to a server's `Retry-After`.
const SPREAD: Duration = Duration::from_secs(60);
/// How long a stop signal may go unnoticed during a wait.
const SLICE: Duration = Duration::from_millis(200);

/// A failed try, and whether the failure is transient.
#[derive(Debug)]
pub struct RequestError {
    /// The error to report if there are no more tries.
    pub error: Error,
    transient: bool,
    retry_after: Option<Duration>,
}

impl RequestError {
    /// A transient failure.
    pub fn transient(text: impl Into<String>) -> Self {
        let error = Error::new(Kind::Unavailable { retry_after: None }, text);
        Self { error, transient: true, retry_after: None }
    }

    /// A transient failure; the server may have sent `Retry-After`.
    pub fn busy(text: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..Self::transient(text) }
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Puts `place` before the error.
    pub fn at(mut self, place: &str) -> Self {
        self.error = Error::new(self.error.kind(), format!("{place}: {}", self.error));
        self
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self { error, transient: false, retry_after: None }
    }
}

/// Whether an earlier check has logged that the source fails.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Sets whether failed tries are logged as debug, because an earlier check has logged the failure.
pub fn set_told(is_told: bool) {
    IS_TOLD.store(is_told, Relaxed);
}

/// Whether the source was unavailable at the last check, and has not answered since.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Sets whether the source was unavailable at the last check, and has not answered since.
pub fn set_lost(is_lost: bool) {
    IS_LOST.store(is_lost, Relaxed);
}

/// When the schedule has its next check, in seconds since 1970; 0: there is no schedule.
static NEXT_CHECK: AtomicU64 = AtomicU64::new(0);

/// Sets when the schedule of this check has its next one, in seconds since 1970.
pub fn set_next_check(next: u64) {
    NEXT_CHECK.store(next, Relaxed);
}

fn until_next_check() -> Option<Duration> {
    let next = NEXT_CHECK.load(Relaxed);
    (next > 0).then(|| Duration::from_secs(next.saturating_sub(clock::now())))
}

/// How many tries a request has; `is_lost`: the last check found the source unavailable.
pub fn tries(is_lost: bool) -> u32 {
    if is_lost { 1 } else { TRIES }
}

/// The remaining tries of a request.
#[derive(Debug)]
pub struct RetryBudget {
    deadline: Deadline,
    tries: u32,
    failures: u32,
}

impl RetryBudget {
    /// All tries, until `deadline`.
    pub fn new(deadline: Deadline) -> Self {
        Self { deadline, tries: tries(IS_LOST.load(Relaxed)), failures: 0 }
    }

    /// The end of all retries.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Restores all tries after progress that a failure does not undo.
    pub(super) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits for the next try of the URL in `what`, or returns the fault's error if there is none.
    pub fn after(&mut self, fault: RequestError, what: &str) -> Result<()> {
        if !fault.transient {
            return Err(fault.error);
        }
        self.failures += 1;
        let kind = Kind::Unavailable { retry_after: fault.retry_after };
        let left = self.deadline.remaining();
        let give_up = |why: String| Err(Error::new(kind, format!("{}; {why}", fault.error)));
        let tries = self.tries.saturating_sub(self.failures);
        match next(tries, self.failures, fault.retry_after, left, until_next_check(), random()) {
            Next::Wait(wait) => {
                let level = if IS_TOLD.load(Relaxed) { log::Level::Debug } else { log::Level::Info };
                log::at!(level, "{what}: {}; trying again in {:.1} s", fault.error, wait.as_secs_f64());
                pause(wait)
            }
            Next::OutOfTries => Err(Error::new(kind, fault.error.to_string())),
            Next::OnSchedule => {
                let wait = fault.retry_after.unwrap_or_default().as_secs();
                give_up(format!("the server asks to wait {wait} s, past the next check of the schedule"))
            }
            Next::OutOfTime => give_up(match fault.retry_after {
                Some(wait) => {
                    let (wait, left) = (wait.as_secs(), left.as_secs());
                    format!("the server asks to wait {wait} s, longer than the {left} s that timeout leaves")
                }
                None => "the time for one check is over before the next try (timeout)".to_owned(),
            }),
        }
    }
}

/// Fails if a stop signal is pending.
pub fn check_stop() -> Result<()> {
    match signal::pending() {
        Some(signal) => Err(Error::new(Kind::Stopped(signal), format!("stopped by signal {signal}"))),
        None => Ok(()),
    }
}

fn pause(wait: Duration) -> Result<()> {
    let end = Deadline::after(wait);
    while !end.has_passed() {
        check_stop()?;
        std::thread::sleep(end.remaining().min(SLICE));
    }
    check_stop()
}

/// What follows a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another try after this time.
    Wait(Duration),
    /// No try is left.
    OutOfTries,
    /// The schedule has a check before the server wants a request.
    OnSchedule,
    /// The check ends before the next try.
    OutOfTime,
}

/// What follows the failure number `failures` (the first is 1) if `tries` are left, the check ends after `left`, and the
/// schedule has its next check after `next_check`. A wait that the server asks for is left to the schedule if that comes
/// first; otherwise it grows by a random share, of its own length and a minute at most: a date that a whole fleet was
/// told must not bring all of it back in one second.
pub fn next(
    tries: u32,
    failures: u32,
    retry_after: Option<Duration>,
    left: Duration,
    next_check: Option<Duration>,
    random: u64,
) -> Next {
    if tries == 0 {
        return Next::OutOfTries;
    }
    let wait = match retry_after {
        Some(wait) if wait >= left => return Next::OutOfTime,
        Some(wait) if next_check.is_some_and(|next| wait >= next) => return Next::OnSchedule,
        Some(wait) => wait + share(wait.min(SPREAD), random),
        None => backoff(failures, random),
    };
    if wait >= left { Next::OutOfTime } else { Next::Wait(wait) }
}

/// Full jitter: from 0 to a limit that doubles with each failure (the first is 1).
fn backoff(failures: u32, random: u64) -> Duration {
    let ceiling = BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CAP);
    share(ceiling, random)
}

/// A random share of `most`.
fn share(most: Duration, random: u64) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % millis.saturating_add(1))
}

/// The seed of std's hash maps: good enough to spread a fleet, and needs no system call of its own.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Parses `Retry-After`: seconds or an HTTP date, limited to an hour. An invalid value is ignored.
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    retry_after_at(text, clock::now())
}

fn retry_after_at(text: &str, now: u64) -> Option<Duration> {
    let text = text.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        clock::of_http_date(text)?.saturating_sub(now)
    };
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use crate::http::retry::*;

    #[test]
    fn backoff_doubles_up_to_its_cap_and_has_full_jitter() {
        for (failures, ceiling) in [(1, 1_000), (2, 2_000), (3, 4_000), (5, 16_000), (6, 30_000), (99, 30_000)] {
            assert_eq!(backoff(failures, ceiling), Duration::from_millis(ceiling), "failure {failures}");
            assert_eq!(backoff(failures, ceiling + 1), Duration::ZERO, "failure {failures}");
            assert_eq!(backoff(failures, 0), Duration::ZERO);
            assert!(backoff(failures, u64::MAX) <= Duration::from_millis(ceiling));
        }
    }

    #[test]
    fn two_waits_are_rarely_the_same() {
        assert!((0..8).map(|_| random()).collect::<std::collections::HashSet<_>>().len() > 1);
    }

    #[test]
    fn a_fleet_is_told_one_date_then_it_comes_back_over_a_minute() {
        let (wait, left) = (Duration::from_secs(300), Duration::from_secs(600));
        for (random, expected) in [(0, 300_000), (60_000, 360_000), (60_001, 300_000), (12_345, 312_345)] {
            assert_eq!(next(3, 1, Some(wait), left, None, random), Next::Wait(Duration::from_millis(expected)));
        }
        assert_eq!(
            next(3, 1, Some(wait), left / 2 + wait / 10, None, 30_000),
            Next::OutOfTime,
            "the share does not fit"
        );
    }

    #[test]
    fn next_table() {
        let s = Duration::from_secs;
        for (failures, retry_after, left, expected) in [
            (1, None, s(60), Next::Wait(Duration::from_millis(500))),
            (3, None, s(60), Next::Wait(Duration::from_millis(500))),
            (4, None, s(60), Next::OutOfTries),
            (4, Some(s(1)), s(60), Next::OutOfTries),
            (1, None, Duration::from_millis(500), Next::OutOfTime),
            (1, None, s(0), Next::OutOfTime),
            (1, Some(s(0)), s(60), Next::Wait(s(0))),
            (1, Some(s(40)), s(60), Next::Wait(s(40) + Duration::from_millis(500))),
            (1, Some(s(59)), s(60), Next::Wait(s(59) + Duration::from_millis(500))),
            (1, Some(s(59)), s(59) + Duration::from_millis(500), Next::OutOfTime),
            (1, Some(s(60)), s(60), Next::OutOfTime),
            (1, Some(s(3600)), s(600), Next::OutOfTime),
        ] {
            let tries = tries(false) - failures;
            let found = next(tries, failures, retry_after, left, None, 500);
            assert_eq!(found, expected, "{failures} {retry_after:?} {left:?}");
        }
        assert_eq!(next(tries(true) - 1, 1, None, s(60), None, 500), Next::OutOfTries, "one try for a lost source");
        for (wait, next_check, expected) in [
            (59, 60, Next::Wait(s(59) + Duration::from_millis(500))),
            (60, 60, Next::OnSchedule),
            (300, 60, Next::OnSchedule),
            (601, 60, Next::OutOfTime),
        ] {
            assert_eq!(next(3, 1, Some(s(wait)), s(600), Some(s(next_check)), 500), expected, "{wait}");
        }
    }

    #[test]
    fn retry_after_table() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("3600", Some(3600)),
            ("3601", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after_at(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_lasting_fault_is_not_waited_for() {
        let mut patience = RetryBudget::new(Deadline::after(Duration::from_secs(60)));
        let error = patience.after(Error::refused("no").into(), "u").unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Refused, "no"));
    }

    #[test]
    fn a_retry_after_beyond_the_deadline_fails_at_once_and_says_when_to_come_back() {
        let hour = Some(Duration::from_secs(3600));
        let mut patience = RetryBudget::new(Deadline::after(Duration::from_secs(60)));
        let error = patience.after(RequestError::busy("503", hour), "u").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable { retry_after: hour });
    }

    #[test]
    fn renewed_patience_has_all_its_tries() {
        let mut patience = RetryBudget::new(Deadline::after(Duration::from_secs(60)));
        let busy = || RequestError::busy("503", Some(Duration::ZERO));
        for _ in 0..3 {
            patience.after(busy(), "u").unwrap();
        }
        patience.renew();
        for _ in 0..3 {
            patience.after(busy(), "u").unwrap();
        }
        assert_eq!(patience.after(busy(), "u").unwrap_err().to_string(), "503");
        let mut late = RetryBudget::new(Deadline::after(Duration::ZERO));
        let error = late.after(RequestError::transient("reset"), "u").unwrap_err().to_string();
        assert_eq!(error, "reset; the time for one check is over before the next try (timeout)");
    }
}
