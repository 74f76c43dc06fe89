//! The end of a check: writes its result to the status file and its deployment, if there was one, to the history of the
//! store. Both are reports: failing to write them is a warning.

use std::time::Instant;

use super::Deployment;
use super::findings::Findings;
use crate::error::{Context, Error, Kind, Result};
use crate::http::roots;
use crate::model::Reason;
use crate::outcome::Outcome;
use crate::report::check_report::CheckReport;
use crate::report::notify::{self, News, Notification};
use crate::report::status_file::{self, REASON, Status};
use crate::store::history::{Entry, History};
use crate::store::state::{Phase, Record, State};
use crate::store::{Release, Store, StoreView, manifest};
use crate::sys::clock::now;
use crate::sys::fs::{self, Dir};
use crate::sys::log;

/// The status key that names the live release last seen in the history; a check without news need not read the history.
const NOTED: &str = "in-history";
/// The text for a release without a history entry: its deployment was interrupted, or is older than the history.
const NOTED_LATE: &str = "noted by a later check: why, how long it took and how much it read are not known";

impl Deployment<'_> {
    /// Writes the history entry of a recovery that this check has finished before it goes on with another deployment.
    pub fn record_recovered(&mut self) {
        let Some(tried) = self.findings.attempt.take_if(|tried| tried.reason == Reason::Recover) else { return };
        let is_live = |record: &Record| self.state.current.as_ref().is_some_and(|c| c.release == record.release);
        let outcome = if tried.record.as_ref().is_some_and(is_live) { Outcome::Deployed } else { Outcome::RolledBack };
        let took_ms = u64::try_from(tried.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let result = Ok(outcome);
        let report = CheckReport::of(&result, &self.state, self.findings.hold_reason.as_deref());
        let entry = tried.entry(&self.state, &result, &report).map(|entry| Entry { took_ms, ..entry });
        let mut status = self.status.clone(); // the check writes its status at its end
        if let Err(e) = note_deployment(&self.store, &self.state, entry, &mut status) {
            log::warn!("{e}: cannot record the deployment in the history");
        }
    }

    /// Reports the result of the check that began at `started`.
    pub fn end(mut self, result: Result<Outcome>, started: Instant) -> CheckReport {
        let result = match &self.doubt {
            Some(doubt) => in_doubt_still(doubt, result),
            None => result,
        };
        // The recovery is finished, and a later step failed.
        let is_over = self.state.phase == Phase::Idle;
        if is_over && matches!(&result, Err(e) if !matches!(e.kind(), Kind::InDoubt | Kind::Stopped(_))) {
            self.record_recovered();
        }
        self.config_ini.end(&self.check.state, &result);
        let Findings { attempt, hold_reason, fetched: bytes, stop } = std::mem::take(&mut self.findings);
        let mut report = CheckReport::of(&result, &self.state, hold_reason.as_deref());
        if report.outcome == Outcome::Unchanged {
            let is_live = if self.state.current.is_some() { " is live" } else { "" };
            log::about!(log::Level::Debug, report.facts(), "unchanged: {}{is_live}", report.text);
        }
        let took = started.elapsed();
        let mut status = std::mem::take(&mut self.status);
        let news = status.news(&report, &self.state);
        report.is_repeated = news.is_none();
        report.is_told = status.tells_again(&report, now());
        status.set_remote(&self.settings.remote);
        let reason = attempt
            .as_ref()
            .map(|tried| tried.reason)
            .filter(|_| !matches!(result, Ok(Outcome::Unchanged | Outcome::OnHold)));
        match reason {
            Some(reason) => status.set(REASON, reason),
            None => status.forget(REASON),
        }
        let entry = attempt.and_then(|attempt| attempt.entry(&self.state, &result, &report)).map(|entry| Entry {
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            bytes,
            ..entry
        });
        if let Err(e) = note_deployment(&self.store, &self.state, entry, &mut status) {
            log::warn!("{e}: cannot record the deployment in the history");
        }
        let remote = self.settings.remote.identity();
        let is_written = status_file::write(&self.store, status, &remote, &result, &report, took, bytes);
        // If the status cannot be written, every check would send the same news again: then only a deployment is
        // notified.
        let news =
            news.filter(|news| self.settings.notify.is_some() && (is_written || *news == News::Is(Outcome::Deployed)));
        let notification = news.map(|news| {
            let (settings, state) = (self.settings, &self.state);
            Notification { settings, state, report: &report, news, reason, took, bytes }.json()
        });
        let settings = self.settings;
        report.has_pruned = self.store.has_pruned();
        report.has_parsed_roots = roots::was_bundle_parsed();
        drop(self); // the lock is free
        if let Some(json) = notification {
            notify::send(settings, &json);
        }
        match stop {
            Some(signal) => {
                CheckReport { has_pruned: report.has_pruned, ..CheckReport::of_error(&super::failure::stopped(signal)) }
            }
            None => report,
        }
    }
}

/// Adds the entry of a deployment to the history, along with entries that earlier checks could not add, and records
/// the sizes of the releases in the status.
fn note_deployment(store: &Store, state: &State, entry: Option<Entry>, status: &mut Status) -> Result<()> {
    let live = state.current.as_ref().map(|live| format!("{} {}", live.release, live.since));
    if entry.is_none() && (live.is_none() || live.as_deref() == status.text(NOTED)) {
        return Ok(());
    }
    let mut history = History::read(store)?;
    let mut has_news = entry.is_some();
    let ours = entry.as_ref().and_then(|entry| entry.record.clone());
    for record in [&state.previous, &state.current].into_iter().flatten() {
        if ours.as_ref() != Some(record) && !history.has(record) {
            history.add_late(late(record));
            has_news = true;
        }
    }
    entry.into_iter().for_each(|entry| history.add(entry));
    if has_news {
        history.write(store)?;
    }
    measure(store, status)?;
    live.into_iter().for_each(|live| status.set(NOTED, live));
    Ok(())
}

/// Measures the releases that have no recorded size; a release never changes.
fn measure(store: &StoreView, status: &mut Status) -> Result<()> {
    let mut kept = Vec::new();
    for release in store.releases()? {
        let size = match status.size(&release.id) {
            Some(known) => known.to_owned(),
            None => size(store, &release).with_context(|| format!("cannot measure {}", release.path.display()))?,
        };
        kept.push((release.id, size));
    }
    status.set_sizes(kept);
    Ok(())
}

/// The result of a check that did not settle the doubt about the live tree.
fn in_doubt_still(doubt: &str, result: Result<Outcome>) -> Result<Outcome> {
    match result {
        Err(e) => Err(Error::new(Kind::InDoubt, format!("{doubt}; {e}"))),
        Ok(Outcome::Blocked) => {
            let text = format!("{doubt}; a pre hook blocked the deployment that would settle it");
            Err(Error::new(Kind::InDoubt, text))
        }
        Ok(
            outcome @ (Outcome::Unchanged
            | Outcome::OnHold
            | Outcome::Deployed
            | Outcome::RolledBack
            | Outcome::Adopted
            | Outcome::Failed(_)),
        ) => Ok(outcome),
    }
}

/// The disk space of a release in bytes, and the time of its creation. The manifest tells the space without reading
/// the tree, except for large directories.
fn size(store: &StoreView, release: &Release) -> std::io::Result<String> {
    let dir = Dir::open(&release.path)?;
    let meta = dir.meta()?;
    let known = manifest::read(store, &release.id).and_then(|manifest| manifest.extent().ok());
    let space = match known {
        // Directories take as much as the top: a block, or nothing.
        Some(extent) => extent.space.saturating_add(meta.allocated.saturating_mul(extent.directories + 1)),
        None => taken(&dir)?,
    };
    Ok(format!("{space} {}", meta.mtime.0))
}

/// The disk space of a tree in bytes. An adopted tree may be nested so deep that its paths exceed the limit of any
/// system call, so this goes from directory to directory.
fn taken(dir: &Dir) -> std::io::Result<u64> {
    let mut bytes = dir.meta()?.allocated;
    for name in dir.names()? {
        let more = match dir.look(&name)? {
            Some(meta) if meta.kind == fs::Kind::Dir => taken(&dir.child(&name)?)?,
            Some(meta) => meta.allocated,
            None => 0,
        };
        bytes = bytes.saturating_add(more);
    }
    Ok(bytes)
}

/// The history entry of a release that has been live for a while.
fn late(record: &Record) -> Entry {
    // An adopted release has no revision.
    let (outcome, why) = match record.revision.as_str() {
        "" => (Outcome::Adopted, ""),
        _ => (Outcome::Deployed, NOTED_LATE),
    };
    Entry { why: why.to_owned(), record: Some(record.clone()), ..Entry::new(record.since, outcome) }
}
