//! The `status` file of the store: the result of the last check, and counters. It never affects the live tree, so it is
//! not fsynced, and failing to write it is a warning.
//!
//! It is shown by `command::status` and [`super::metrics`].

use std::time::Duration;

use super::check_report::{CheckReport, QUIET};
use crate::error::{Error, Kind, Result};
use crate::model::ReleaseId;
use crate::outcome::{Outcome, Severity};
use crate::store::state::{escape, unescape};
use crate::store::{Store, StoreView};
use crate::sys::clock::{now, rfc3339};

/// The longest hold that a source may ask for, in seconds.
const LONGEST_HOLD: u64 = 3600;

/// Writes the result, the duration and the bytes read of a check into `status`. Returns whether that succeeded.
pub fn write(
    store: &Store,
    mut status: Status,
    remote: &str,
    result: &Result<Outcome>,
    report: &CheckReport,
    took: Duration,
    bytes: u64,
) -> bool {
    status.note(report, now(), took);
    status.add("bytes", bytes);
    if let Err(e) = result
        && let Kind::Unavailable { retry_after: Some(after) } = e.kind()
    {
        status.set("not-before", now().saturating_add(after.as_secs().min(LONGEST_HOLD)));
        status.set("not-before-of", remote);
    }
    status.replace(store)
}

/// The `status` file. Being a report, it counts as empty where it cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Status(Vec<(String, String)>);

impl Status {
    /// Reads the status of a store.
    pub fn read(store: &StoreView) -> Self {
        let text = store.read("status").ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let split = |line: &str| {
            let (key, value) = line.split_once(" = ")?;
            let value = String::from_utf8(unescape(value.as_bytes())?).ok()?;
            Some((key.to_owned(), value))
        };
        Self(text.lines().filter_map(split).collect())
    }

    /// Records that a check has work to do, which may take a while.
    pub fn note_working(&mut self, store: &Store) {
        if self.number(WORKING).is_none() {
            self.set(WORKING, now());
            self.replace(store);
        }
    }

    /// Whether the drift, or its absence, differs from the last check's; so a drift that recurs every minute is logged
    /// once.
    pub fn is_new_drift(&mut self, store: &Store, drift: Option<&str>) -> bool {
        let is_new = self.text("drift") != drift;
        if is_new {
            match drift {
                Some(drift) => self.set("drift", drift),
                None => self.forget("drift"),
            }
            self.replace(store);
        }
        is_new
    }

    /// Fails while the source `remote` has asked for no requests, up to an hour.
    pub fn hold_off(&self, remote: &str) -> Result<()> {
        let Some(until) = self.number("not-before") else { return Ok(()) };
        if self.text("not-before-of") != Some(remote) {
            return Ok(());
        }
        let left = until.saturating_sub(now());
        // A clock that was set back must not extend a hold beyond the limit.
        if left == 0 || left > LONGEST_HOLD {
            return Ok(());
        }
        let retry_after = Some(Duration::from_secs(left));
        // An identity ends in a hash of the query, which is no use in a message.
        let name = remote.find("?…").map_or(remote, |at| &remote[..at + "?…".len()]);
        let text = format!("cannot poll {name}: the server asked for no request before {}", rfc3339(until));
        Err(Error::new(Kind::Unavailable { retry_after }, text))
    }

    /// Forgets that the source asked for no requests.
    pub fn forget_hold(&mut self, store: &Store) {
        if self.number("not-before").is_some() {
            self.0.retain(|(key, _)| !["not-before", "not-before-of"].contains(&key.as_str()));
            self.replace(store);
        }
    }

    /// The value of `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The value of `key` as a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// The outcome of the last check.
    pub fn outcome(&self) -> Option<Outcome> {
        self.text("outcome").and_then(Outcome::parse)
    }

    /// Whether the last check succeeded.
    pub fn is_good(&self) -> bool {
        self.outcome().is_some_and(Outcome::is_success)
    }

    /// The number of failed checks, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        let plain = |kind: &&str| kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        self.0.iter().filter_map(move |(key, n)| Some((key.strip_prefix(FAILURES).filter(plain)?, n.parse().ok()?)))
    }

    /// The releases in the store after the last deployment, newest first.
    pub fn releases(&self) -> impl Iterator<Item = Kept> {
        self.0.iter().filter_map(|(key, value)| {
            let release = key.strip_prefix(RELEASE)?.to_owned();
            let (bytes, since) = value.split_once(' ')?;
            Some(Kept { release, bytes: Some(bytes.parse().ok()?), since: since.parse().ok()? })
        })
    }

    /// The recorded size of a release.
    pub fn size(&self, id: &ReleaseId) -> Option<&str> {
        self.text(&format!("{RELEASE}{id}"))
    }

    /// Records the sizes of all releases, newest first.
    pub fn set_sizes(&mut self, sizes: Vec<(ReleaseId, String)>) {
        self.0.retain(|(key, _)| !key.starts_with(RELEASE));
        for (id, size) in sizes {
            self.set(&format!("{RELEASE}{id}"), size);
        }
    }

    /// Records the end of a check. A check that found the store locked is only counted.
    pub fn note(&mut self, report: &CheckReport, when: u64, took: Duration) {
        let outcome = report.outcome;
        if outcome.is_failure() {
            self.add(&format!("{FAILURES}{outcome}"), 1);
        }
        if outcome == Outcome::Failed(Kind::Locked) {
            return;
        }
        ["error", "not-before", "not-before-of", WORKING].into_iter().for_each(|of_the_last| self.forget(of_the_last));
        self.set("last-check", when);
        self.set("took-ms", took.as_millis());
        self.set("outcome", outcome);
        self.add("checks", 1);
        if outcome.severity() != Severity::Good {
            self.set("error", &report.text);
        }
        if outcome.is_success() {
            self.set("last-success", when);
        }
        if outcome == Outcome::Deployed {
            self.forget("drift"); // the drift of another release is another drift
            self.set("last-deployment", when);
            self.add("deployments", 1);
        }
    }

    /// Whether the same error was logged last, less than an hour ago; if not, records it as logged now.
    pub fn tells_again(&mut self, report: &CheckReport, now: u64) -> bool {
        let error = report.outcome.is_error().then(|| format!("{}: {}", report.outcome, report.text));
        let is_same = error.is_some() && self.text(TOLD) == error.as_deref();
        if is_same && self.is_told(now) {
            return true;
        }
        self.forget(TOLD);
        self.forget(TOLD_AT);
        if let Some(error) = error {
            self.set(TOLD, error);
            self.set(TOLD_AT, now);
        }
        false
    }

    /// Whether the last check failed with an error that was logged less than an hour ago.
    pub fn is_told(&self, now: u64) -> bool {
        self.number(TOLD_AT).is_some_and(|told| now.abs_diff(told) < QUIET)
    }

    /// Adds the results of checks that could not write them into the store.
    pub fn add_missed(&mut self, missed: &Self) {
        for (key, _) in missed.0.iter().filter(|(key, _)| key == "checks" || key.starts_with(FAILURES)) {
            self.add(key, missed.number(key).unwrap_or(0));
        }
        if missed.number("last-check") > self.number("last-check") {
            self.forget(REASON);
            for key in ["last-check", "outcome", "error", "took-ms"] {
                missed.text(key).into_iter().for_each(|value| self.set(key, value));
            }
        }
    }

    /// Sets the value of `key`.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        let value = value.to_string();
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub fn forget(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    fn add(&mut self, key: &str, more: u64) {
        let sum = self.number(key).unwrap_or(0).saturating_add(more);
        self.set(key, sum);
    }

    /// Writes the file. Returns whether that succeeded; a failure is logged.
    fn replace(&self, store: &Store) -> bool {
        let mut text = String::new();
        for (key, value) in &self.0 {
            text.push_str(key);
            text.push_str(" = ");
            escape(value.as_bytes(), &mut text);
            text.push('\n');
        }
        let replaced = store.replace("status", text.as_bytes(), false);
        replaced.inspect_err(|e| log::warn!("{e}")).is_ok()
    }
}

/// The text for a deployment that was a rollback by hand.
pub const BY_HAND: &str = "rolled back by hand";
/// The key for the reason of the last check's deployment.
pub const REASON: &str = "reason";
/// The key for the time since when a check has been working on a deployment.
pub const WORKING: &str = "working-since";
/// The keys for the error that was logged last, and its time.
const TOLD: &str = "told";
const TOLD_AT: &str = "told-at";
/// The prefix of the keys of failure counters.
const FAILURES: &str = "failures-";
/// The prefix of the keys of releases.
const RELEASE: &str = "release-";

/// A release in the store.
#[derive(Debug)]
pub struct Kept {
    pub release: String,
    /// Its disk space; `None`: not measured yet.
    pub bytes: Option<u64>,
    /// Its creation, in seconds since 1970.
    pub since: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_by_what_they_came_to() {
        let mut status = Status::default();
        for (when, outcome) in [
            (1, Outcome::Deployed),
            (2, Outcome::Failed(Kind::Unavailable { retry_after: None })),
            (3, Outcome::Failed(Kind::Unavailable { retry_after: None })),
            (4, Outcome::Failed(Kind::Stopped(15))),
            (5, Outcome::OnHold),
        ] {
            let report = CheckReport { text: "why".to_owned(), ..CheckReport::new(outcome, String::new()) };
            status.note(&report, when, Duration::from_millis(7));
        }
        let number = |key: &str| status.number(key);
        assert_eq!((number("checks"), number("deployments"), number("took-ms")), (Some(5), Some(1), Some(7)));
        assert_eq!((number("last-check"), number("last-success")), (Some(5), Some(5)));
        assert_eq!(number("last-deployment"), Some(1));
        assert_eq!(status.failures().collect::<Vec<_>>(), [("unavailable", 2)]);
        assert_eq!((status.text("outcome"), status.text("error")), (Some("on-hold"), Some("why")));
    }
}
