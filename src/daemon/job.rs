//! One deployment in the loop: when it is due, the check that is at work on it, and what the log was told already, so that
//! what does not change does not fill it.

use rustix::process::Pid;

use crate::config::Settings;
use crate::deploy;
use crate::error::Kind;
use crate::outcome::Outcome;
use crate::report::{
    check_report::{CheckReport, QUIET},
    status_file::Status,
};
use crate::schedule::Schedule;
use crate::sys::clock::{now, rfc3339};
use crate::sys::signal;
use crate::sys::worker::{self, ForkedWorker};
use crate::{console, error};

/// One deployment.
pub struct Job {
    pub settings: Settings,
    /// `None`: it is checked once.
    pub schedule: Option<Schedule>,
    /// Somebody asked for it, and wants to know why it was not done.
    pub is_by_hand: bool,
    /// What checks came to that could not write it into the store.
    pub unsaved: Status,
    /// When it is to be checked; 0: now.
    due: u64,
    check: Option<ForkedWorker>,
    /// What the log was told last, and when.
    last_logged: Option<(CheckReport, u64)>,
    is_retired: bool,
}

impl Job {
    /// A deployment that is due now.
    pub fn new(settings: Settings, schedule: Option<Schedule>) -> Self {
        let (unsaved, check, last_logged) = (Status::default(), None, None);
        Self { settings, schedule, is_by_hand: false, unsaved, due: 0, check, last_logged, is_retired: false }
    }

    /// Goes on where the same deployment was before its configuration was read again.
    pub fn take_over(&mut self, old: Self) {
        (self.check, self.last_logged, self.unsaved) = (old.check, old.last_logged, old.unsaved);
    }

    /// The configuration has it no more: it goes when its check has ended.
    pub fn retired(self) -> Self {
        Self { is_retired: true, ..self }
    }

    pub fn is_retired(&self) -> bool {
        self.is_retired
    }

    pub fn is_idle(&self) -> bool {
        self.check.is_none()
    }

    pub fn is_checked_by(&self, pid: Pid) -> bool {
        self.check.as_ref().is_some_and(|twin| twin.pid == pid)
    }

    /// The next check is not the schedule's: it comes now, or when the one at work is over.
    pub fn check_soon(&mut self) {
        self.due = 0;
    }

    pub fn is_due(&self, now: u64) -> bool {
        self.is_idle() && self.due <= now
    }

    /// Until when there is nothing to do; `None`: until the check at work has ended.
    pub fn waits_until(&self) -> Option<u64> {
        self.is_idle().then_some(self.due)
    }

    /// A clock that was set back must not make us wait for longer than a period.
    pub fn look_at_the_clock(&mut self, now: u64) {
        self.due = self.due.min(self.after(now));
    }

    fn after(&self, at: u64) -> u64 {
        let next = self.schedule.as_ref().and_then(|schedule| self.settings.next_check(schedule, at));
        next.unwrap_or(u64::MAX)
    }

    /// Starts a check. Times that pass while it is at work become one.
    pub fn start(&mut self, now: u64) {
        self.due = self.after(now);
        let settings = &self.settings;
        let twin = worker::fork(&mut || {
            console::begin_copy();
            console::switch_file(settings.log_file.as_deref());
            console::set_prefix(Some(&settings.id));
            let ended = deploy::check(settings).print();
            console::flush();
            ended
        });
        match twin {
            Ok(twin) => self.check = Some(twin),
            Err(e) => self.note(&CheckReport::failed(format!("cannot start a check: {}", error::plain(&e)))),
        }
    }

    /// Tells the check at work to end.
    pub fn stop(&self) {
        if let Some(check) = &self.check {
            check.stop();
        }
    }

    /// The check has ended, by `signal` when it did not by itself.
    pub fn end(&mut self, signal: Option<i32>, stop: Option<i32>) {
        let Some(twin) = self.check.take() else { return };
        let report = match (CheckReport::parse(&twin.report()), signal) {
            (Some(report), _) => report,
            (None, None) if stop.is_some() => return,
            (None, None) => CheckReport::failed("the check was ended from outside; the next check recovers".to_owned()),
            (None, Some(by)) => CheckReport::failed(format!(
                "the check was killed by {}; the next check recovers",
                signal::describe(by)
            )),
        };
        self.note(&report);
    }

    /// Keeps what a check came to, and logs what the log does not have yet.
    pub fn note(&mut self, report: &CheckReport) {
        let outcome = report.outcome;
        if !report.is_recorded && !outcome.is_stop() {
            self.unsaved.note(report, now(), std::time::Duration::ZERO);
        }
        let before = self
            .last_logged
            .as_ref()
            .filter(|(told, _)| told.outcome.word() == outcome.word() && told.text == report.text);
        let is_known = before.is_some_and(|(_, when)| now().abs_diff(*when) < QUIET || !outcome.is_error());
        let text = &report.text;
        match outcome {
            Outcome::Unchanged if is_known => {} // the deployment has said it
            _ if is_known => log::debug!("{outcome}, as before: {text}"),
            Outcome::Unchanged => self.log_up_to_date(report),
            // Cron, which checks once a minute, has had the first of these.
            Outcome::OnHold if report.is_repeated && self.schedule.is_none() => log::debug!("{text}"),
            Outcome::OnHold => log::warn!("{text}"),
            Outcome::Failed(Kind::Stopped(_)) if self.schedule.is_none() => log::error!("{text}"),
            Outcome::Failed(Kind::Locked) if !self.is_by_hand => log::info!("{text}"), // another process does our work
            // Cron mails what is printed: once an hour, as the daemon logs it.
            _ if report.is_told && !self.is_by_hand && console::is_quiet() => log::debug!("{text}"),
            Outcome::Failed(Kind::Usage) => console::complain(text, None),
            _ if outcome.is_error() => log::error!("{text}"),
            _ => {} // the deployment has said it
        }
        if !is_known {
            self.last_logged = Some((report.clone(), now()));
        }
    }

    /// The first time that nothing is new: in the loop, and at a terminal, somebody may wonder whether it did anything at all.
    fn log_up_to_date(&self, report: &CheckReport) {
        let was_deployed = self.last_logged.as_ref().is_some_and(|(told, _)| told.outcome == Outcome::Deployed);
        if (self.schedule.is_some() || console::stderr_is_terminal() && !self.is_by_hand) && !was_deployed {
            log::info!("up to date: {}", report.text);
        }
    }

    /// One line for systemd.
    pub fn summary(&self, several: bool) -> String {
        let name = if several { format!("[{}] ", self.settings.id) } else { String::new() };
        let (kind, text) =
            self.last_logged.as_ref().map_or(("at work", ""), |(told, _)| (told.outcome.word(), &*told.text));
        let text = text.replace('\n', " ");
        match self.waits_until() {
            Some(due) if due > 0 => format!("{name}{kind}: {text}; next check at {}. ", rfc3339(due)),
            _ => format!("{name}{kind}: {text}. "),
        }
    }
}
