//! `notify-url`: what a check came to is sent to somebody when it is news. That happens after everything, the lock among it,
//! is done with: nothing depends on it, and what cannot be sent is a warning.

use std::time::Duration;

use super::Deployment;
use super::report::{BY_HAND, Ended, Status};
use super::status::record;
use crate::config::Settings;
use crate::console::json::Json;
use crate::model::Reason;
use crate::store::state::State;
use crate::sys::clock::now;
use crate::sys::host;

/// The key in the `status` file: what failed last, and the release that was about.
const TROUBLE: &str = "trouble";

impl Status {
    /// What is new about a check, against the one before: its outcome, when somebody should hear of it.
    pub(super) fn news(&mut self, ended: &Ended, state: &State) -> Option<String> {
        let before = self.text(TROUBLE).unwrap_or_default().to_owned();
        let release = state.target.as_ref().map_or("", |target| target.release.as_str());
        let trouble = match ended.kind.as_str() {
            "unchanged" | "deployed" => String::new(),
            kind => format!("{kind} {release}"),
        };
        let news = match ended.kind.as_str() {
            "deployed" => Some("deployed"),
            "unchanged" => (!before.is_empty()).then_some("recovered"),
            kind => (before != trouble).then_some(kind),
        };
        self.set(TROUBLE, trouble);
        news.map(str::to_owned)
    }
}

impl Deployment<'_> {
    /// What is told of a check that is over.
    pub(super) fn notice(&self, ended: &Ended, outcome: &str, reason: Option<Reason>, took: Duration) -> String {
        let Self { settings, state, .. } = self;
        let (host, id) = (host::name(), &settings.id);
        let is_good = ["deployed", "recovered"].contains(&outcome);
        let mut json = Json("{".to_owned());
        let what = if (outcome, reason) == ("deployed", Some(Reason::Rollback)) { BY_HAND } else { outcome };
        json.text("text", Some(&format!("{host}: {id}: {what}: {}", ended.text)));
        json.text("host", Some(&host));
        json.text("id", Some(id));
        json.text("remote", Some(&settings.remote.to_string()));
        json.text("outcome", Some(outcome));
        json.text("reason", reason.map(|reason| reason.to_string()).as_deref());
        json.number("exit_code", ended.code.into());
        json.text("error", Some(&*ended.text).filter(|_| !is_good));
        record(&mut json, "live", state.current.as_ref());
        record(&mut json, "previous", state.previous.as_ref());
        record(&mut json, "candidate", state.target.as_ref());
        json.number("duration_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        json.number("bytes", self.fetched);
        json.time("time", Some(now()));
        json.0 + "}\n"
    }
}

/// Sends it, once.
pub(super) fn send(settings: &Settings, notice: &str) {
    let Some(url) = &settings.notify else { return };
    if let Err(e) = crate::http::post::post(url, notice, &settings.http) {
        log::warn!("{e}; the deployment does not need it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActivationMode, ReleaseId, Revision, Validators};
    use crate::store::state::{Found, Record};

    #[test]
    fn changes_are_news_and_repetitions_are_none() {
        let mut status = Status::default();
        let release = |n: u8| (n > 0).then(|| ReleaseId::of("s", &Revision::new(n.to_string()), ""));
        for (kind, about, news) in [
            ("unchanged", 0, None),
            ("unavailable", 0, Some("unavailable")),
            ("unavailable", 0, None),
            ("unchanged", 0, Some("recovered")),
            ("unchanged", 0, None),
            ("blocked", 1, Some("blocked")),
            ("blocked", 1, None),
            ("blocked", 2, Some("blocked")),
            ("rolled-back", 2, Some("rolled-back")),
            ("left-alone", 2, Some("left-alone")),
            ("left-alone", 2, None),
            ("unavailable", 2, Some("unavailable")),
            ("deployed", 0, Some("deployed")),
            ("deployed", 0, Some("deployed")),
            ("unchanged", 0, None),
            ("failed", 0, Some("failed")),
            ("in-doubt", 0, Some("in-doubt")),
            ("stopped", 0, Some("stopped")),
            ("deployed", 0, Some("deployed")),
            ("unchanged", 0, None),
        ] {
            let mut state = State::fresh("/l".into(), ActivationMode::Symlink, Found::Absent);
            state.target = release(about).map(|release| Record {
                release,
                revision: Revision::new("r"),
                validators: Validators::default(),
                since: 0,
                proof: None,
            });
            let ended = Ended {
                kind: kind.into(),
                text: "why".into(),
                code: 1,
                is_recorded: true,
                is_repeated: false,
                is_told: false,
            };
            assert_eq!(status.news(&ended, &state).as_deref(), news, "{kind} {about}");
        }
    }
}
