//! How a deployment is, for people ([`text`]) and programs ([`json`]): what the state and the `status` file of its store say.
//! Needs no lock: both files are always whole.

use std::fmt::Write as _;

use super::places::{self, Places};
use super::report::{Status, named};
use crate::config::Settings;
use crate::console::json::Json;
use crate::error::{Context, Result};
use crate::model::ActivationMode;
use crate::schedule::Schedule;
use crate::store::state::{Record, State};
use crate::store::{Recorded, read_state};
use crate::sys::clock::{now, rfc3339};

/// How many periods a check may be old before it counts for nothing.
const PERIODS: usize = 3;

/// A deployment at one moment.
#[derive(Debug)]
pub struct Snapshot<'a> {
    pub(super) settings: &'a Settings,
    pub(super) places: Places,
    pub(super) recorded: Recorded,
    pub(super) last: Status,
    /// The next check, as the schedule has it.
    next: Option<u64>,
    /// The last check succeeded, and not more than three periods ago.
    pub(super) is_healthy: bool,
}

impl<'a> Snapshot<'a> {
    /// Looks at the store of a deployment. `missed`: what checks came to that could not write it there.
    pub fn take(settings: &'a Settings, schedule: Option<&Schedule>, missed: &Status) -> Result<Self> {
        let places = places::locate(settings)?;
        let recorded = read_state(&places.store).context(|| "cannot tell the status")?;
        let mut last = Status::read(&places.store);
        last.add_missed(missed);
        let now = now();
        let next = schedule.and_then(|schedule| settings.next_check(schedule, now));
        let is_healthy = is_healthy(settings, schedule, &last, now);
        Ok(Self { settings, places, recorded, last, next, is_healthy })
    }

    /// Whether the last check succeeded within three periods.
    pub fn is_healthy(&self) -> bool {
        self.is_healthy
    }

    pub(super) fn state(&self) -> Option<&State> {
        match &self.recorded {
            Recorded::State(state) => Some(state),
            _ => None,
        }
    }
}

/// A deployment that is being made counts as the check before it, for as long as it may take.
fn is_healthy(settings: &Settings, schedule: Option<&Schedule>, last: &Status, now: u64) -> bool {
    let Some(checked) = last.number("last-check").filter(|_| last.is_good()) else { return false };
    let limit = settings.timeout.as_secs().saturating_mul(2); // a way back has its own
    if last.number("working-since").is_some_and(|since| now < since.saturating_add(limit)) {
        return true;
    }
    let Some(schedule) = schedule else { return true };
    let third = (0..PERIODS).try_fold(checked, |at, _| settings.next_check(schedule, at));
    third.is_none_or(|third| now <= third) // none: not in this age of the calendar
}

/// The text of `repo-deploy status`.
pub fn text(snapshot: &Snapshot<'_>) -> String {
    let Snapshot { settings, places, last, .. } = snapshot;
    let mut rows = vec![
        ("id", settings.id.clone()),
        ("remote", settings.remote.to_string()),
        (
            "local",
            match places.mode {
                ActivationMode::Install => "the appspec says where (install)".to_owned(),
                mode => format!("{} ({mode})", settings.local.display()),
            },
        ),
        ("store", places.store.display().to_string()),
    ];
    match &snapshot.recorded {
        Recorded::Nothing => rows.push(("live", "nothing was deployed yet".to_owned())),
        Recorded::Foreign(format) => rows.push(("state", format!("has the format {format} of another version"))),
        Recorded::Unreadable(reason) => rows.push(("state", format!("cannot be read: {reason}"))),
        Recorded::State(state) => rows_of(state, &mut rows),
    }
    if let Some(since) = last.number("working-since") {
        rows.push(("at work", format!("since {}", rfc3339(since))));
    }
    if let Some(when) = last.number("last-check") {
        rows.push(("last check", format!("{}: {}", rfc3339(when), last.text("outcome").unwrap_or_default())));
    }
    if let Some(error) = last.text("error") {
        rows.push(("last error", error.to_owned()));
    }
    if let Some(success) = last.number("last-success").filter(|_| !last.is_good()) {
        rows.push(("last good", rfc3339(success)));
    }
    rows.extend(snapshot.next.map(|next| ("next check", rfc3339(next))));
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (key, value) in rows {
        writeln!(text, "{key:width$}  {value}").unwrap_or(()); // writing to a String cannot fail
    }
    text
}

fn rows_of(state: &State, rows: &mut Vec<(&'static str, String)>) {
    match &state.current {
        Some(current) => {
            rows.push(("live", named(current)));
            rows.push(("since", rfc3339(current.since)));
        }
        None => rows.push(("live", "nothing was deployed yet".to_owned())),
    }
    rows.extend(state.previous.iter().map(|previous| ("previous", named(previous))));
    rows.push((
        "phase",
        match state.attempt {
            0 => state.phase.to_string(),
            attempt => format!("{}, attempt {attempt}", state.phase),
        },
    ));
    rows.extend(state.target.iter().map(|target| ("candidate", named(target))));
    rows.extend(state.failure.iter().map(|f| {
        let times = if f.count == 1 { "once".to_owned() } else { format!("{} times", f.count) };
        ("failure", format!("{} {times}, last {}: {}", f.kind, rfc3339(f.when), f.why))
    }));
}

/// The same as JSON: one object, one deployment a line.
pub fn json(snapshots: &[Snapshot<'_>]) -> String {
    let mut json = Json("{\"deployments\":[".to_owned());
    for snapshot in snapshots {
        deployment(&mut json, snapshot);
    }
    json.0 + "\n]}\n"
}

fn deployment(json: &mut Json, snapshot: &Snapshot<'_>) {
    let Snapshot { settings, places, last, .. } = snapshot;
    let state = snapshot.state();
    json.open("\n{");
    json.text("id", Some(&settings.id));
    json.text("remote", Some(&settings.remote.to_string()));
    json.text("local", Some(&settings.local.to_string_lossy()));
    json.text("activation", Some(&places.mode.to_string()));
    json.text("store", Some(&places.store.to_string_lossy()));
    record(json, "live", state.and_then(|s| s.current.as_ref()));
    record(json, "previous", state.and_then(|s| s.previous.as_ref()));
    record(json, "candidate", state.and_then(|s| s.target.as_ref()));
    json.text("phase", state.map(|s| s.phase.to_string()).as_deref());
    json.raw("healthy", if snapshot.is_healthy { "true" } else { "false" });
    for (key, name) in [
        ("working_since", "working-since"),
        ("last_check", "last-check"),
        ("last_success", "last-success"),
        ("last_deployment", "last-deployment"),
    ] {
        json.time(key, last.number(name));
    }
    json.time("next_check", snapshot.next);
    for key in ["outcome", "error"] {
        json.text(key, last.text(key));
    }
    for (key, name) in
        [("took_ms", "took-ms"), ("checks", "checks"), ("deployments", "deployments"), ("bytes", "bytes")]
    {
        json.number(key, last.number(name).unwrap_or(0));
    }
    json.raw("failures", "{");
    for (kind, count) in last.failures() {
        json.number(kind, count);
    }
    json.close("}}");
}

/// A member that is a release.
pub(super) fn record(json: &mut Json, key: &str, record: Option<&Record>) {
    let Some(record) = record else { return json.raw(key, "null") };
    json.raw(key, "{");
    json.text("release", Some(record.release.as_str()));
    json.text("revision", Some(record.revision.as_str()));
    json.time("since", Some(record.since));
    json.close("}");
}
