//! What a check came to: [`Ended`], for whoever asked for it, and the `status` file of the store, for everybody else.
//! Nothing here decides about the live tree, so nothing here is fsynced, and what cannot be written is a warning.
//!
//! Left to others: how it is shown ([`super::status`], [`super::metrics`]).

use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::model::{Outcome, ReleaseId};
use crate::store::Store;
use crate::store::state::{Record, State, escape, unescape};
use crate::sys::clock::{now, rfc3339};

/// The longest time for which a source may ask to be left alone, in seconds.
const LONGEST_HOLD: u64 = 3600;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `unchanged`, `left-alone`, `deployed`; or a kind of failure: `blocked`, `rolled-back`, [`Error::kind_name`].
    pub kind: String,
    /// What is live when nothing changed; else why.
    pub text: String,
    /// The process exit code.
    pub code: u8,
    /// The `status` file of the store knows it.
    pub is_recorded: bool,
    /// An earlier check came to the same, and said so.
    pub is_repeated: bool,
    /// It did so less than an hour ago.
    pub is_told: bool,
}

impl Ended {
    /// Out of what a check gave. `given`: why what the source has is not tried, or what a rollback failed at.
    pub(super) fn of(result: &Result<Outcome>, state: Option<&State>, given: Option<&str>) -> Self {
        // Nothing new although nothing is live: only a section that says what was installed before us has that.
        let before = || "nothing newer than last_fetch_time says, and nothing of ours is installed yet".to_owned();
        let live = || state.and_then(|s| s.current.as_ref()).map_or_else(before, named);
        let why = || state.and_then(|s| s.failure.as_ref()).map(|f| f.why.clone()).unwrap_or_default();
        let (kind, text, code) = match (result, given) {
            (Ok(outcome @ Outcome::Unchanged), Some(why)) => ("left-alone", why.to_owned(), outcome.exit_code()),
            (Ok(outcome @ Outcome::Unchanged), None) => ("unchanged", live(), outcome.exit_code()),
            (Ok(outcome @ Outcome::Deployed), _) => ("deployed", live(), outcome.exit_code()),
            (Ok(outcome @ Outcome::Blocked), _) => ("blocked", why(), outcome.exit_code()),
            (Ok(outcome @ Outcome::RolledBack), given) => {
                ("rolled-back", given.map_or_else(why, str::to_owned), outcome.exit_code())
            }
            (Err(e), _) => (e.kind_name(), e.to_string(), e.exit_code()),
        };
        Self { kind: kind.to_owned(), text, code, is_recorded: state.is_some(), is_repeated: false, is_told: false }
    }

    /// A check that came to no end of its own.
    pub fn failed(text: String) -> Self {
        Self::of(&Err(Error::failed(text)), None, None)
    }

    /// Whether it failed outright: nothing has said why yet.
    pub fn is_error(&self) -> bool {
        !["unchanged", "left-alone", "deployed", "blocked", "rolled-back", "stopped"].contains(&self.kind.as_str())
    }

    /// Whether it counts as a failure.
    fn is_failure(&self) -> bool {
        self.code != 0 && self.kind != "stopped"
    }

    /// As bytes, for another process: the text last.
    pub fn print(&self) -> Vec<u8> {
        let Self { kind, code, is_recorded, is_repeated, is_told: _, text } = self; // the loop knows that by itself
        format!("{kind}\n{code}\n{is_recorded}\n{is_repeated}\n{text}").into_bytes()
    }

    /// Reads [`Ended::print`] back; a text that was cut is as good as a whole one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.splitn(5, '\n');
        let (kind, code) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let (is_recorded, is_repeated) = (parts.next()? == "true", parts.next()? == "true");
        Some(Self { kind, text: parts.next()?.to_owned(), code, is_recorded, is_repeated, is_told: false })
    }
}

/// Writes what a check came to, which took so long and read so many bytes from the source, into its `status`. Whether that
/// could be written.
pub(super) fn write(
    store: &Store,
    mut status: Status,
    remote: &str,
    result: &Result<Outcome>,
    ended: &Ended,
    took: Duration,
    bytes: u64,
) -> bool {
    status.note(ended, now(), took);
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
pub(super) fn write_working(store: &Store) {
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
pub(super) fn is_new_drift(store: &Store, drift: Option<&str>) -> bool {
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
    let text = format!("cannot poll {name}: it asked to be left alone until {}", rfc3339(until));
    Err(Error::new(Kind::Unavailable { retry_after }, text))
}

/// Forgets that the source asked to be left alone.
pub(super) fn forget_hold(store: &Store) {
    let mut status = Status::read(store);
    if status.number("not-before").is_some() {
        status.0.retain(|(key, _)| !["not-before", "not-before-of"].contains(&key.as_str()));
        status.replace(store);
    }
}

/// How reports call a release.
pub(super) fn named(r: &Record) -> String {
    match r.revision.as_str() {
        "" => format!("release {}", r.release),
        _ => format!("release {}, revision {}", r.release, r.revision),
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
            // Older versions wrote outcomes as people say them.
            Some((key.to_owned(), if key == "outcome" { value.replace(' ', "-") } else { value }))
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

    /// Whether the last check succeeded.
    pub fn is_good(&self) -> bool {
        matches!(self.text("outcome"), Some("unchanged" | "deployed"))
    }

    /// How often checks failed, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        let plain = |kind: &&str| kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        self.0.iter().filter_map(move |(key, n)| Some((key.strip_prefix(FAILURES).filter(plain)?, n.parse().ok()?)))
    }

    /// The releases in the store when there last was a deployment, the newest first.
    pub(super) fn releases(&self) -> impl Iterator<Item = Kept> {
        self.0.iter().filter_map(|(key, value)| {
            let release = key.strip_prefix(RELEASE)?.to_owned();
            let (bytes, since) = value.split_once(' ')?;
            Some(Kept { release, bytes: Some(bytes.parse().ok()?), since: since.parse().ok()? })
        })
    }

    /// What is noted of the size of a release.
    pub(super) fn size(&self, id: &ReleaseId) -> Option<&str> {
        self.text(&format!("{RELEASE}{id}"))
    }

    /// Notes the sizes of releases, the newest first: these are all.
    pub(super) fn set_sizes(&mut self, sizes: Vec<(ReleaseId, String)>) {
        self.0.retain(|(key, _)| !key.starts_with(RELEASE));
        for (id, size) in sizes {
            self.set(&format!("{RELEASE}{id}"), size);
        }
    }

    /// Notes the end of a check. One that left the work to another process is counted, and says nothing else.
    pub fn note(&mut self, ended: &Ended, when: u64, took: Duration) {
        if ended.is_failure() {
            self.add(&format!("{FAILURES}{}", ended.kind), 1);
        }
        if ended.kind == "locked" {
            return;
        }
        ["error", "not-before", "not-before-of", WORKING].into_iter().for_each(|of_the_last| self.forget(of_the_last));
        self.set("last-check", when);
        self.set("took-ms", took.as_millis());
        let outcome = match ended.kind.as_str() {
            "unchanged" | "left-alone" => "unchanged",
            kind @ ("deployed" | "blocked" | "stopped" | "rolled-back" | "in-doubt") => kind,
            _ => "failed",
        };
        self.set("outcome", outcome);
        self.add("checks", 1);
        if !["unchanged", "deployed"].contains(&ended.kind.as_str()) {
            self.set("error", &ended.text);
        }
        if ended.code == 0 {
            self.set("last-success", when);
        }
        if ended.kind == "deployed" {
            self.forget("drift"); // what drifts from another release is another drift
            self.set("last-deployment", when);
            self.add("deployments", 1);
        }
    }

    /// Whether an error is the one that was told last, less than an hour ago; else it is told now.
    pub(super) fn tells_again(&mut self, ended: &Ended, now: u64) -> bool {
        let error = ended.is_error().then(|| format!("{}: {}", ended.kind, ended.text));
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

    /// Whether the last check failed with an error that was told less than an hour ago.
    pub(super) fn is_told(&self, now: u64) -> bool {
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
    pub(super) fn set(&mut self, key: &str, value: impl ToString) {
        let value = value.to_string();
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub(super) fn forget(&mut self, key: &str) {
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
pub(super) const BY_HAND: &str = "rolled back by hand";
/// Why the deployment was made that the last check was about.
pub(super) const REASON: &str = "reason";
/// Since when a check has been at work on something to do.
pub(super) const WORKING: &str = "working-since";
/// The error that was told last, and when.
const TOLD: &str = "told";
const TOLD_AT: &str = "told-at";
/// How long an error that stays the same is not told again, in seconds.
pub const QUIET: u64 = 3600;
/// How the keys of the counters of failures begin.
const FAILURES: &str = "failures-";
/// How the keys of the releases begin.
const RELEASE: &str = "release-";

/// A release that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) release: String,
    /// What it takes on disk; `None`: nobody has measured it yet.
    pub(super) bytes: Option<u64>,
    /// Since when it is there, in seconds since 1970.
    pub(super) since: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(kind: &str, text: &str, code: u8) -> Ended {
        Ended { kind: kind.into(), text: text.into(), code, is_recorded: code == 0, is_repeated: false, is_told: false }
    }

    #[test]
    fn what_a_check_came_to_passes_through_a_pipe() {
        for one in [ended("unchanged", "", 0), ended("config", "a\nb\n", 78), ended("rolled-back", "ü: x", 1)] {
            assert_eq!(Ended::parse(&one.print()), Some(one));
        }
        for broken in ["", "unchanged", "unchanged\n0\ntrue\nfalse", "unchanged\nx\ntrue\nfalse\ny"] {
            assert_eq!(Ended::parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn checks_are_counted_by_what_they_came_to() {
        let mut status = Status::default();
        for (when, kind, code) in [
            (1, "deployed", 0),
            (2, "unavailable", 1),
            (3, "unavailable", 1),
            (4, "stopped", 143),
            (5, "left-alone", 0),
        ] {
            status.note(&ended(kind, "why", code), when, Duration::from_millis(7));
        }
        let number = |key: &str| status.number(key);
        assert_eq!((number("checks"), number("deployments"), number("took-ms")), (Some(5), Some(1), Some(7)));
        assert_eq!((number("last-check"), number("last-success")), (Some(5), Some(5)));
        assert_eq!(number("last-deployment"), Some(1));
        assert_eq!(status.failures().collect::<Vec<_>>(), [("unavailable", 2)]);
        assert_eq!((status.text("outcome"), status.text("error")), (Some("unchanged"), Some("why")));
    }
}
