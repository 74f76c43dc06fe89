//! What others may know: the `status` file of the store, written after every check, and the text of `status`. Nothing here
//! decides about the live tree, so nothing here is fsynced, and what cannot be written is a warning.

use std::fmt::Write as _;

use super::places::{self, Places};
use crate::config::Settings;
use crate::error::{Context, Error, Kind, Result};
use crate::model::Outcome;
use crate::store::state::{Record, State, escape, unescape};
use crate::store::{Recorded, Store, read_state};
use crate::sys::clock::{now, rfc3339};

/// The longest time for which a source may ask to be left alone, in seconds.
const LONGEST_HOLD: u64 = 3600;

/// Writes the outcome of a check.
pub fn write(store: &Store, state: &State, remote: &str, result: &Result<Outcome>) {
    if let (Ok(Outcome::Unchanged), Some(current)) = (result, &state.current) {
        log::debug!("unchanged: {} is live", named(current));
    }
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        text.push_str(key);
        text.push_str(" = ");
        escape(value.as_bytes(), &mut text);
        text.push('\n');
    };
    line("last-check", &now().to_string());
    match result {
        Ok(outcome) => line("outcome", &outcome.to_string()),
        Err(e) => {
            line("outcome", "failed");
            line("error", &e.to_string());
            if let Kind::Unavailable { retry_after: Some(after) } = e.kind() {
                line("not-before", &now().saturating_add(after.as_secs().min(LONGEST_HOLD)).to_string());
                line("not-before-of", remote);
            }
        }
    }
    if let (Ok(Outcome::Blocked | Outcome::RolledBack), Some(failure)) = (result, &state.failure) {
        line("error", &failure.why);
    }
    if let Err(e) = store.replace("status", text.as_bytes(), false) {
        log::warn!("{e}");
    }
}

/// Keeps away from the source `remote` when it asked for that, up to an hour.
pub fn hold_off(store: &Store, remote: &str) -> Result<()> {
    let status = Status::read(store.root());
    let Some(until) = status.number("not-before") else { return Ok(()) };
    if status.text("not-before-of").as_deref() != Some(remote) {
        return Ok(());
    }
    let left = until.saturating_sub(now());
    // A clock that was set back must not hold for longer than anybody may ask.
    if left == 0 || left > LONGEST_HOLD {
        return Ok(());
    }
    let retry_after = Some(std::time::Duration::from_secs(left));
    // An identity ends in a hash of the query, which tells a reader nothing.
    let name = remote.find("?…").map_or(remote, |at| &remote[..at + "?…".len()]);
    let text = format!("cannot poll {name}: it asked to be left alone until {}", rfc3339(until));
    Err(Error::new(Kind::Unavailable { retry_after }, text))
}

/// The text of `repo-deploy status`. Needs no lock: both files are always whole.
pub fn status(settings: &Settings) -> Result<String> {
    let Places { mode, store } = places::locate(settings)?;
    let recorded = read_state(&store).context(|| "cannot tell the status")?;
    let mut rows = vec![
        ("id", settings.id.clone()),
        ("remote", settings.remote.to_string()),
        ("local", format!("{} ({mode})", settings.local.display())),
        ("store", store.display().to_string()),
    ];
    match &recorded {
        Recorded::Nothing => rows.push(("live", "nothing was deployed yet".to_owned())),
        Recorded::Foreign(format) => rows.push(("state", format!("has the format {format} of another version"))),
        Recorded::Unreadable(reason) => rows.push(("state", format!("cannot be read: {reason}"))),
        Recorded::State(state) => rows_of(state, &mut rows),
    }
    let last = Status::read(&store);
    if let Some(when) = last.number("last-check") {
        rows.push(("last check", format!("{}: {}", rfc3339(when), last.text("outcome").unwrap_or_default())));
    }
    if let Some(error) = last.text("error") {
        rows.push(("last error", error));
    }
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (key, value) in rows {
        writeln!(text, "{key:width$}  {value}").unwrap_or(()); // writing to a String cannot fail
    }
    Ok(text)
}

/// How reports call a release.
fn named(r: &Record) -> String {
    match r.revision.as_str() {
        "" => format!("release {}", r.release),
        revision => format!("release {}, revision {revision}", r.release),
    }
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

/// The `status` file, as far as it can be read: it is a report, and a broken one says nothing.
struct Status(Vec<(String, String)>);

impl Status {
    fn read(root: &std::path::Path) -> Self {
        let text = std::fs::read_to_string(root.join("status")).unwrap_or_default();
        let split = |line: &str| {
            let (key, value) = line.split_once(" = ")?;
            Some((key.to_owned(), String::from_utf8(unescape(value.as_bytes())?).ok()?))
        };
        Self(text.lines().filter_map(split).collect())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }
}
