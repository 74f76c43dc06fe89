//! `notify-url`: sends the result of a check if it is news. This comes last, after the lock is released: nothing
//! depends on it, and failing to send is a warning.

use std::time::Duration;

use super::check_report::CheckReport;
use super::json::record;
use super::status_file::{BY_HAND, Status};
use crate::config::Settings;
use crate::console::json::Json;
use crate::model::Reason;
use crate::outcome::{Outcome, Severity};
use crate::store::state::State;
use crate::sys::clock::now;
use crate::sys::host;

/// The key in the `status` file for the last failure and its release.
const TROUBLE: &str = "trouble";

/// The subject of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The check has another result than the one before.
    Is(Outcome),
    /// Nothing is new, but the check before failed.
    Recovered,
}

impl News {
    fn word(self) -> &'static str {
        match self {
            Self::Is(outcome) => outcome.word(),
            Self::Recovered => "recovered",
        }
    }
}

impl Status {
    /// The news of a check, compared with the one before.
    pub fn news(&mut self, report: &CheckReport, state: &State) -> Option<News> {
        let before = self.text(TROUBLE).unwrap_or_default().to_owned();
        let outcome = report.outcome;
        let is_good = outcome.severity() == Severity::Good;
        let release = state.target.as_ref().map_or("", |target| target.release.as_str());
        let trouble = if is_good { String::new() } else { format!("{outcome} {release}") };
        let news = match outcome {
            Outcome::Deployed => Some(News::Is(outcome)),
            Outcome::Unchanged => (!before.is_empty()).then_some(News::Recovered),
            Outcome::OnHold | Outcome::Blocked | Outcome::RolledBack | Outcome::Adopted | Outcome::Failed(_) => {
                (before != trouble).then_some(News::Is(outcome))
            }
        };
        self.set(TROUBLE, trouble);
        news
    }
}

/// The content of a notification.
#[derive(Debug)]
pub struct Notification<'a> {
    /// The deployment.
    pub settings: &'a Settings,
    /// Its state after the check.
    pub state: &'a State,
    /// The result of the check.
    pub report: &'a CheckReport,
    /// Its news.
    pub news: News,
    /// The reason for the deployment.
    pub reason: Option<Reason>,
    /// How long the check took.
    pub took: Duration,
    /// Bytes of archives that the check read.
    pub bytes: u64,
}

impl Notification<'_> {
    /// The body of the request.
    pub fn json(&self) -> String {
        let Self { settings, state, report, news, reason, took, bytes } = self;
        let (host, id) = (host::name(), &settings.id);
        let is_good = report.outcome.severity() == Severity::Good;
        let is_by_hand = (*news, *reason) == (News::Is(Outcome::Deployed), Some(Reason::Rollback));
        let what = if is_by_hand { BY_HAND } else { news.word() };
        let mut json = Json("{".to_owned());
        json.text("text", Some(&format!("{host}: {id}: {what}: {}", report.text)));
        json.text("host", Some(&host));
        json.text("id", Some(id));
        json.text("remote", Some(&settings.remote.to_string()));
        json.text("outcome", Some(news.word()));
        json.text("reason", reason.map(|reason| reason.to_string()).as_deref());
        json.number("exit_code", report.outcome.exit_code().into());
        json.text("error", Some(&*report.text).filter(|_| !is_good));
        record(&mut json, "live", state.current.as_ref());
        record(&mut json, "previous", state.previous.as_ref());
        record(&mut json, "candidate", state.target.as_ref());
        json.number("duration_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        json.number("bytes", *bytes);
        json.time("time", Some(now()));
        json.0 + "}\n"
    }
}

/// Sends the notification, once.
pub fn send(settings: &Settings, json: &str) {
    let Some(url) = &settings.notify else { return };
    if let Err(e) = crate::http::post::post(url, json, &settings.http) {
        log::warn!("{e}; the deployment is not affected");
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{ActivationMode, ReleaseId, Revision, Validators};
    use crate::report::notify::*;
    use crate::store::state::{Found, Record};

    #[test]
    fn changes_are_news_and_repetitions_are_none() {
        let mut status = Status::default();
        let release = |n: u8| (n > 0).then(|| ReleaseId::of("s", &Revision::new(n.to_string()), ""));
        let is = |word: &str| Outcome::parse(word).map(News::Is);
        for (word, about, news) in [
            ("unchanged", 0, None),
            ("unavailable", 0, is("unavailable")),
            ("unavailable", 0, None),
            ("unchanged", 0, Some(News::Recovered)),
            ("unchanged", 0, None),
            ("blocked", 1, is("blocked")),
            ("blocked", 1, None),
            ("blocked", 2, is("blocked")),
            ("rolled-back", 2, is("rolled-back")),
            ("on-hold", 2, is("on-hold")),
            ("on-hold", 2, None),
            ("unavailable", 2, is("unavailable")),
            ("deployed", 0, is("deployed")),
            ("deployed", 0, is("deployed")),
            ("unchanged", 0, None),
            ("failed", 0, is("failed")),
            ("in-doubt", 0, is("in-doubt")),
            ("stopped", 0, is("stopped")),
            ("deployed", 0, is("deployed")),
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
            let report = CheckReport::new(Outcome::parse(word).unwrap(), "why".to_owned());
            assert_eq!(status.news(&report, &state), news, "{word} {about}");
        }
    }
}
