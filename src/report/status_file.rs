//! The `status` file of the store: what the last check came to, and counters, for those who were not there.
//! Nothing here decides about the live tree, so nothing here is fsynced, and what cannot be written is a warning.
//!
//! Left to others: how it is shown (`command::status`, [`super::metrics`]).

use std::time::Duration;

use super::check_report::{CheckReport, QUIET};
use crate::error::{Error, Kind, Result};
use crate::model::ReleaseId;
use crate::outcome::{Outcome, Severity};
use crate::store::Store;
use crate::store::state::{escape, unescape};
use crate::sys::clock::{now, rfc3339};

/// The longest time for which a source may ask to be on hold, in seconds.
const LONGEST_HOLD: u64 = 3600;

/// Writes what a check came to, which took so long and read so many bytes from the source, into its `status`. Whether that
/// could be written.
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

/// Writes that a check has found something to do, which may take its time.
pub fn write_working(store: &Store) {
    if store.is_only_read() {
        return;
    }
    let mut status = Status::read(store);
    if status.number(WORKING).is_none() {
        status.set(WORKING, now());
        status.replace(store);
    }
}

/// Whether this drift, or none, is another one than the last check found. What something on the host undoes every minute fills
/// no log.
pub fn is_new_drift(store: &Store, drift: Option<&str>) -> bool {
    let mut status = Status::read(store);
    let is_new = status.text("drift") != drift;
    if is_new {
        match drift {
            Some(drift) => status.set("drift", drift),
            None => status.forget("drift"),
        }
        status.replace(store);
    }
    is_new
}

/// Keeps away from the source `remote` when it asked for that, up to an hour.
pub fn hold_off(store: &Store, remote: &str) -> Result<()> {
    let status = Status::read(store);
    let Some(until) = status.number("not-before") else { return Ok(()) };
    if status.text("not-before-of") != Some(remote) {
        return Ok(());
    }
    let left = until.saturating_sub(now());
    // A clock that was set back must not hold for longer than anybody may ask.
    if left == 0 || left > LONGEST_HOLD {
        return Ok(());
    }
    let retry_after = Some(Duration::from_secs(left));
    // An identity ends in a hash of the query, which tells a reader nothing.
    let name = remote.find("?…").map_or(remote, |at| &remote[..at + "?…".len()]);
    let text = format!("cannot poll {name}: the server asked for no request before {}", rfc3339(until));
    Err(Error::new(Kind::Unavailable { retry_after }, text))
}

/// Forgets that the source asked for no request.
pub fn forget_hold(store: &Store) {
    let mut status = Status::read(store);
    if status.number("not-before").is_some() {
        status.0.retain(|(key, _)| !["not-before", "not-before-of"].contains(&key.as_str()));
        status.replace(store);
    }
}

/// The `status` file, as far as it can be read: it is a report, and a broken one says nothing.
#[derive(Clone, Debug, Default)]
pub struct Status(Vec<(String, String)>);

impl Status {
    /// That of a store.
    pub fn read(store: &Store) -> Self {
        let text = store.read("status").ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let split = |line: &str| {
            let (key, value) = line.split_once(" = ")?;
            let value = String::from_utf8(unescape(value.as_bytes())?).ok()?;
            Some((key.to_owned(), value))
        };
        Self(text.lines().filter_map(split).collect())
    }

    /// A value.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A value that is a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// What the last check came to.
    pub fn outcome(&self) -> Option<Outcome> {
        self.text("outcome").and_then(Outcome::parse)
    }

    /// Whether the last check succeeded.
    pub fn is_good(&self) -> bool {
        self.outcome().is_some_and(Outcome::is_success)
    }

    /// How often checks failed, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        let plain = |kind: &&str| kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        self.0.iter().filter_map(move |(key, n)| Some((key.strip_prefix(FAILURES).filter(plain)?, n.parse().ok()?)))
    }

    /// The releases in the store when there last was a deployment, the newest first.
    pub fn releases(&self) -> impl Iterator<Item = Kept> {
        self.0.iter().filter_map(|(key, value)| {
            let release = key.strip_prefix(RELEASE)?.to_owned();
            let (bytes, since) = value.split_once(' ')?;
            Some(Kept { release, bytes: Some(bytes.parse().ok()?), since: since.parse().ok()? })
        })
    }

    /// What is noted of the size of a release.
    pub fn size(&self, id: &ReleaseId) -> Option<&str> {
        self.text(&format!("{RELEASE}{id}"))
    }

    /// Notes the sizes of releases, the newest first: these are all.
    pub fn set_sizes(&mut self, sizes: Vec<(ReleaseId, String)>) {
        self.0.retain(|(key, _)| !key.starts_with(RELEASE));
        for (id, size) in sizes {
            self.set(&format!("{RELEASE}{id}"), size);
        }
    }

    /// Notes the end of a check. One that left the work to another process is counted, and says nothing else.
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
            self.forget("drift"); // what drifts from another release is another drift
            self.set("last-deployment", when);
            self.add("deployments", 1);
        }
    }

    /// Whether an error is the one that was logged last, less than an hour ago; else it is logged now.
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

    /// Adds what checks came to that could not write it into the store.
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

    /// Sets a value.
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

    /// Whether it could be written; if not, that was said.
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

/// What a deployment is called that was a rollback.
pub const BY_HAND: &str = "rolled back by hand";
/// Why the deployment was made that the last check was about.
pub const REASON: &str = "reason";
/// Since when a check has been at work on something to do.
pub const WORKING: &str = "working-since";
/// The error that was told last, and when.
const TOLD: &str = "told";
const TOLD_AT: &str = "told-at";
/// How the keys of the counters of failures begin.
const FAILURES: &str = "failures-";
/// How the keys of the releases begin.
const RELEASE: &str = "release-";

/// A release that is kept.
#[derive(Debug)]
pub struct Kept {
    pub release: String,
    /// What it takes on disk; `None`: nobody has measured it yet.
    pub bytes: Option<u64>,
    /// Since when it is there, in seconds since 1970.
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
