//! The status of a deployment, for people ([`text`]) and programs ([`json`]), from the state and the `status` file of
//! its store. Needs no lock: both files are always complete.

use crate::activate::locations::{self, Places};
use crate::config::Settings;
use crate::console::json::Json;
use crate::console::progress::size;
use crate::console::screen::{Color, Row, Screen};
use crate::error::{Context, Result};
use crate::model::{ActivationMode, ReleaseId};
use crate::outcome::{Outcome, Severity};
use crate::package::Demands;
use crate::report::check_report::named;
use crate::report::hold::Hold;
use crate::report::json::{members, record};
use crate::report::metrics::Sample;
use crate::report::status_file::{BY_HAND, Kept, REASON, Status, WORKING};
use crate::schedule::Schedule;
use crate::store::state::{Failure, Phase, Record, State};
use crate::store::{Recorded, StoreView};
use crate::sys::clock::{now, rfc3339};

/// The age of a check, in periods, from which a deployment counts as unhealthy.
const PERIODS: usize = 3;

/// A deployment at one moment.
#[derive(Debug)]
pub struct Snapshot<'a> {
    pub settings: &'a Settings,
    pub places: Places,
    pub recorded: Recorded,
    pub last: Status,
    /// Since when an interrupted deployment waits to be finished.
    cut_off: Option<u64>,
    /// The releases in the store, the newest first.
    releases: Vec<Kept>,
    /// The time of the next check, if there is a schedule.
    next: Option<u64>,
    /// The last check succeeded, at most three periods ago.
    pub is_healthy: bool,
}

impl<'a> Snapshot<'a> {
    /// Reads the store of a deployment. `missed`: results of checks that could not be written to it.
    pub fn take(settings: &'a Settings, schedule: Option<&Schedule>, missed: &Status) -> Result<Self> {
        let places = locations::locate(settings)?;
        let store = StoreView::open(&places.store).with_context(|| "cannot tell the status")?;
        let recorded = store.recorded().with_context(|| "cannot tell the status")?;
        let (mut last, cut_off) = look(&store)?;
        last.add_missed(missed);
        let now = now();
        let next = schedule.and_then(|schedule| schedule.next_check(now));
        let is_healthy = cut_off.is_none() && is_healthy(settings, schedule, &last, now);
        let mut releases: Vec<Kept> = last.releases().collect();
        if let Recorded::State(state) = &recorded
            && let Some(candidate) = &state.target
            && releases.iter().all(|kept| kept.release != candidate.release.as_str())
        {
            let there = unmeasured(&store, &candidate.release)?;
            there.into_iter().for_each(|candidate| releases.insert(0, candidate));
        }
        Ok(Self { settings, places, recorded, last, cut_off, releases, next, is_healthy })
    }

    /// The values for metrics.
    pub fn sample(&self) -> Sample<'_> {
        Sample { settings: self.settings, last: &self.last, state: self.state() }
    }

    /// Whether the last check succeeded within three periods.
    pub fn is_healthy(&self) -> bool {
        self.is_healthy
    }

    /// The reason why the state cannot be used, if it exists.
    fn problem(&self) -> Option<String> {
        match &self.recorded {
            Recorded::Foreign(format) => Some(format!("has the format {format} of another version")),
            Recorded::Unreadable(reason) => Some(format!("cannot be read: {reason}")),
            Recorded::State(_) | Recorded::Nothing => None,
        }
    }

    /// How long the failed revision is on hold. Unknown without the keys that must sign it.
    fn rest(&self) -> Hold {
        let Some(failure) = self.state().and_then(|state| state.failure.as_ref()) else { return Hold::None };
        let demands = Demands::new(&self.settings.trust);
        demands.map_or(Hold::None, |demands| Hold::after(failure, self.settings, &demands))
    }

    /// The role of a release in the deployment.
    fn role(&self, release: &str) -> Option<&'static str> {
        let state = self.state()?;
        let is_it = |record: &Record| record.release.as_str() == release;
        let is = |record: &Option<Record>| record.as_ref().is_some_and(is_it);
        let roles = [
            (is(&state.current), "live"),
            (is(&state.previous), "previous"),
            (rolled_back(state).any(is_it), "rolled back"),
            (is(&state.target), "candidate"),
        ];
        roles.iter().find(|(is_it, _)| *is_it).map(|(_, role)| *role)
    }

    pub fn state(&self) -> Option<&State> {
        match &self.recorded {
            Recorded::State(state) => Some(state),
            Recorded::Nothing | Recorded::Foreign(_) | Recorded::Unreadable(_) => None,
        }
    }
}

/// The `status` file of a store; and since when an interrupted deployment waits to be finished, unless a check is
/// running.
fn look(store: &StoreView) -> Result<(Status, Option<u64>)> {
    let works = |status: &Status| status.number(WORKING);
    let last = Status::read(store);
    if works(&last).is_none() || store.is_locked().with_context(|| "cannot tell the status")? {
        return Ok((last, None));
    }
    let mut last = Status::read(store); // the check may have ended in between
    let cut_off = works(&last);
    last.forget(WORKING);
    Ok((last, cut_off))
}

/// A release that exists, but was not measured yet.
fn unmeasured(store: &StoreView, id: &ReleaseId) -> Result<Option<Kept>> {
    let Some(release) = store.release(id)? else { return Ok(None) };
    let meta = release.open().and_then(|top| top.meta());
    let meta = meta.with_context(|| format!("cannot examine {}", release.path.display()))?;
    let since = u64::try_from(meta.mtime.0).unwrap_or(0);
    Ok(Some(Kept { release: id.to_string(), bytes: None, since }))
}

/// During a deployment, the previous check counts, for as long as a deployment may take.
fn is_healthy(settings: &Settings, schedule: Option<&Schedule>, last: &Status, now: u64) -> bool {
    let Some(checked) = last.number("last-check").filter(|_| last.is_good()) else { return false };
    let limit = settings.timeout.as_secs().saturating_mul(2); // a rollback has its own limit
    if last.number(WORKING).is_some_and(|since| now < since.saturating_add(limit)) {
        return true;
    }
    let Some(schedule) = schedule else { return true };
    let third = (0..PERIODS).try_fold(checked, |at, _| schedule.next_check(at));
    third.is_none_or(|third| now <= third) // none: no such time in the calendar
}

/// The text of `repo-deploy status`, one block per deployment.
pub fn text(snapshots: &[Snapshot<'_>], screen: Screen) -> String {
    let mut text = String::new();
    for snapshot in snapshots {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &screen.rows(&rows(snapshot).0);
    }
    text
}

fn rows(snapshot: &Snapshot<'_>) -> Rows {
    let Snapshot { settings, places, last, .. } = snapshot;
    let local = match places.mode {
        ActivationMode::Install => "the appspec says where (install)".to_owned(),
        mode => format!("{} ({mode})", settings.local.display()),
    };
    let mut rows = Rows(vec![]);
    rows.add("id", settings.id.clone());
    rows.add("remote", settings.remote.to_string());
    rows.add("local", local);
    rows.add("store", places.store.path.display().to_string());
    match (&snapshot.recorded, snapshot.problem()) {
        (Recorded::State(state), _) => rows.state(state, snapshot.rest()),
        (_, Some(problem)) => rows.add("state", problem),
        (_, None) => rows.add("live", NOTHING.to_owned()),
    }
    if let Some(since) = last.number(WORKING) {
        rows.add("at work", format!("since {}", rfc3339(since)));
    }
    if let Some(since) = snapshot.cut_off {
        rows.add("cut off", format!("since {}; the next check finishes it", rfc3339(since)));
    }
    if let Some(when) = last.number("last-check") {
        let outcome = last.outcome();
        let said = match (outcome, last.text(REASON)) {
            (Some(Outcome::Deployed), Some("rollback")) => BY_HAND.to_owned(),
            (outcome, _) => outcome.map_or("", Outcome::word).replace('-', " "),
        };
        let shade = outcome.map_or(Color::Plain, shade);
        rows.0.push(("last check", format!("{}: ", rfc3339(when)), Some((said, shade))));
    }
    if let Some(error) = last.text("error") {
        rows.add("last error", error.to_owned());
    }
    if let Some(success) = last.number("last-success").filter(|_| !last.is_good()) {
        rows.add("last good", rfc3339(success));
    }
    if let Some(next) = snapshot.next {
        rows.add("next check", rfc3339(next));
    }
    rows.releases(snapshot);
    rows
}

/// The text before the first deployment.
const NOTHING: &str = "nothing was deployed yet";
/// The number of releases that are listed, so that the status fits on a screen.
const MOST: usize = 6;

/// The colour of an outcome.
pub fn shade(outcome: Outcome) -> Color {
    match outcome.severity() {
        Severity::Good => Color::Good,
        Severity::Neutral => Color::Plain,
        Severity::Doubtful => Color::Doubtful,
        Severity::Bad => Color::Bad,
    }
}

/// How often a release failed in any way, and its last failure.
pub fn failed(Failure { kind, count, when, why, .. }: &Failure) -> String {
    let times = match count {
        count if *count > 1 => format!("failed {count} times, last "),
        _ => String::new(),
    };
    format!("{times}{kind} {}: {why}", rfc3339(*when))
}

/// The releases that were rolled back by hand, the last first. During a rollback the live release is among them, and
/// left out.
fn rolled_back(state: &State) -> impl Iterator<Item = &Record> {
    let is_live = |record: &&Record| state.current.as_ref().is_some_and(|current| current.release == record.release);
    state.rolled_back.iter().rev().filter(move |record| !is_live(record))
}

/// The rows of the text.
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, key: &'static str, value: String) {
        self.0.push((key, value, None));
    }

    fn state(&mut self, state: &State, rest: Hold) {
        let heir = state.target.as_ref().filter(|_| state.phase == Phase::Activating);
        let heir = heir.map(|target| format!(", giving way to release {}", target.release)).unwrap_or_default();
        match &state.current {
            Some(current) => {
                self.add("live", named(current) + &heir);
                self.add("since", rfc3339(current.since));
                if let Some(proof) = &current.proof {
                    self.add("proof", proof.replace(':', ", SHA-256 "));
                }
            }
            None => self.add("live", NOTHING.to_owned() + &heir),
        }
        if let Some(version) = &state.version {
            self.add("version", format!("{version}, the highest that was signed"));
        }
        if let Some(previous) = &state.previous {
            self.add("previous", named(previous));
        }
        let attempt = if state.attempt == 0 { String::new() } else { format!(", attempt {}", state.attempt) };
        self.add("phase", format!("{}{attempt}", state.phase));
        if let Some(target) =
            state.target.as_ref().filter(|target| rolled_back(state).all(|w| w.release != target.release))
        {
            self.add("candidate", named(target));
        }
        if let Some(f) = &state.failure {
            self.add("failure", failed(f));
        }
        for (n, record) in rolled_back(state).take(MOST).enumerate() {
            let key = if n == 0 { "rolled back" } else { "" };
            self.add(key, format!("{}, at {}", named(record), rfc3339(record.since)));
        }
        let rest = if rolled_back(state).next().is_some() { Hold::ForGood } else { rest };
        match rest {
            Hold::None => {}
            Hold::Until(until) => self.add("on hold", format!("until {}", rfc3339(until))),
            Hold::ForGood => {
                self.add("on hold", "until another revision appears, or repo-deploy retry".to_owned());
            }
        }
    }

    fn releases(&mut self, snapshot: &Snapshot<'_>) {
        let all = &snapshot.releases;
        for (n, Kept { release, bytes, since }) in all.iter().take(MOST).enumerate() {
            let (key, role) = (if n == 0 { "releases" } else { "" }, snapshot.role(release).unwrap_or_default());
            let bytes = bytes.map_or_else(|| "-".to_owned(), size);
            self.add(key, format!("{release:16}  {bytes:>10}  since {}  {role}", rfc3339(*since)));
        }
        if let Some(more) = all.get(MOST..).filter(|more| !more.is_empty()) {
            let bytes = more.iter().filter_map(|kept| kept.bytes).sum();
            self.add("", format!("{:16}  {:>10}", format!("and {} more", more.len()), size(bytes)));
        }
    }
}

/// The status as JSON: one object, one deployment a line.
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
    json.text("store", Some(&places.store.path.to_string_lossy()));
    record(json, "live", state.and_then(|s| s.current.as_ref()));
    record(json, "previous", state.and_then(|s| s.previous.as_ref()));
    json.raw("rolled_back", "[");
    for one in state.into_iter().flat_map(rolled_back) {
        json.open("{");
        members(json, one);
    }
    json.close("]");
    record(json, "candidate", state.and_then(|s| s.target.as_ref()));
    json.text("phase", state.map(|s| s.phase.to_string()).as_deref());
    json.text("state_error", snapshot.problem().as_deref());
    json.text("signed_version", state.and_then(|s| s.version.as_deref()));
    failure(json, snapshot);
    json.raw("healthy", if snapshot.is_healthy { "true" } else { "false" });
    for (key, name) in [
        ("working_since", WORKING),
        ("last_check", "last-check"),
        ("last_success", "last-success"),
        ("last_deployment", "last-deployment"),
    ] {
        json.time(key, last.number(name));
    }
    json.time("cut_off", snapshot.cut_off);
    json.time("next_check", snapshot.next);
    for key in ["outcome", REASON, "error"] {
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
    json.close("}");
    json.raw("releases", "[");
    for Kept { release, bytes, since } in &snapshot.releases {
        json.open("{");
        json.text("release", Some(release));
        json.text("role", snapshot.role(release));
        json.time("since", Some(*since));
        match bytes {
            Some(bytes) => json.number("bytes", *bytes),
            None => json.raw("bytes", "null"),
        }
        json.close("}");
    }
    json.close("]}");
}

/// The failure, and until when the revision is on hold: `null` means until another revision appears.
fn failure(json: &mut Json, snapshot: &Snapshot<'_>) {
    let Some(f) = snapshot.state().and_then(|state| state.failure.as_ref()) else { return json.raw("failure", "null") };
    json.raw("failure", "{");
    json.text("release", Some(f.release.as_str()));
    json.text("kind", Some(&f.kind.to_string()));
    json.number("count", f.count.into());
    json.time("when", Some(f.when));
    json.text("why", Some(&f.why));
    let rest = snapshot.rest();
    json.raw("on_hold", if rest == Hold::None { "false" } else { "true" });
    json.time("until", if let Hold::Until(until) = rest { Some(until) } else { None });
    json.close("}");
}
