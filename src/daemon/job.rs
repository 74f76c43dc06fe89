//! One deployment in the daemon: when it is due, its running check, and the report that was logged last, so that an
//! unchanged result is not logged again.

use rustix::process::Pid;

use crate::aws;
use crate::config::Settings;
use crate::deploy;
use crate::error::Kind;
use crate::http::roots;
use crate::outcome::Outcome;
use crate::report::{
    check_report::{CheckReport, QUIET},
    status_file::Status,
};
use crate::schedule::Schedule;
use crate::sys::clock::{now, rfc3339};
use crate::sys::log::{self, Level};
use crate::sys::signal;
use crate::sys::worker::{self, ForkedWorker};
use crate::{console, error};

/// One deployment.
pub struct Job {
    pub settings: Settings,
    /// `None`: checked once.
    pub schedule: Option<Schedule>,
    /// Started by a command: the operator is waiting for the reason if it fails.
    pub is_by_hand: bool,
    /// The results of checks that could not be written into the store.
    pub unsaved: Status,
    /// When the next check is due; 0: now.
    due: u64,
    check: Option<ForkedWorker>,
    /// The report that was logged last, and its time.
    last_logged: Option<(CheckReport, u64)>,
    /// Whether the last check left pruned releases.
    has_pruned: bool,
    /// Whether a check had to parse a bundle of roots: from then on the daemon does it for all.
    needs_roots: bool,
    is_retired: bool,
}

impl Job {
    /// A job that is due now.
    pub fn new(settings: Settings, schedule: Option<Schedule>) -> Self {
        Self {
            settings,
            schedule,
            is_by_hand: false,
            unsaved: Status::default(),
            due: 0,
            check: None,
            last_logged: None,
            has_pruned: false,
            needs_roots: false,
            is_retired: false,
        }
    }

    /// Takes over the running check and the reports of the same job before the configuration was reloaded.
    pub fn take_over(&mut self, old: Self) {
        (self.check, self.last_logged, self.unsaved) = (old.check, old.last_logged, old.unsaved);
    }

    /// Marks a job that the configuration no longer has: it is removed when its check has ended.
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

    /// Makes the next check due now, or as soon as the running one ends.
    pub fn check_soon(&mut self) {
        self.due = 0;
    }

    pub fn is_due(&self, now: u64) -> bool {
        self.is_idle() && self.due <= now
    }

    /// When the job is due; `None`: a check is running.
    pub fn waits_until(&self) -> Option<u64> {
        self.is_idle().then_some(self.due)
    }

    /// A clock that was set back must not delay the next check by more than a period.
    pub fn look_at_the_clock(&mut self, now: u64) {
        self.due = self.due.min(self.after(now));
    }

    fn after(&self, at: u64) -> u64 {
        let next = self.schedule.as_ref().and_then(|schedule| self.settings.next_check(schedule, at));
        next.unwrap_or(u64::MAX)
    }

    /// Starts a check. Times that pass while it runs are merged into one.
    pub fn start(&mut self, now: u64) {
        self.due = self.after(now);
        if self.needs_roots {
            roots::keep_bundles(aws::CA_BUNDLE);
        }
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

    /// Tells the running check to stop.
    pub fn stop(&self) {
        if let Some(check) = &self.check {
            check.stop();
        }
    }

    /// Called when the check has ended, by `signal` unless it exited.
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

    /// Removes pruned releases if the last check left some.
    pub fn remove_pruned(&self) {
        if self.has_pruned {
            deploy::remove_pruned(&self.settings);
        }
    }

    /// As [`Self::remove_pruned`], in a process of its own: no check waits for it, and it ends with the daemon.
    pub fn start_removing_pruned(&mut self) {
        if !std::mem::take(&mut self.has_pruned) {
            return;
        }
        let settings = &self.settings;
        let started = worker::fork(&mut || {
            console::begin_copy();
            console::switch_file(settings.log_file.as_deref());
            console::set_prefix(Some(&settings.id));
            deploy::remove_pruned(settings);
            console::flush();
            Vec::new()
        });
        if let Err(e) = started {
            log::warn!("cannot remove pruned releases: {}; the next check tries again", error::plain(&e));
        }
    }

    /// Keeps the result of a check, and logs it unless it was logged already.
    pub fn note(&mut self, report: &CheckReport) {
        let outcome = report.outcome;
        self.has_pruned = report.has_pruned;
        self.needs_roots |= report.has_parsed_roots;
        if !report.is_recorded && !outcome.is_stop() {
            self.unsaved.note(report, now(), std::time::Duration::ZERO);
        }
        let before = self
            .last_logged
            .as_ref()
            .filter(|(told, _)| told.outcome.word() == outcome.word() && told.text == report.text);
        let is_known = before.is_some_and(|(_, when)| now().abs_diff(*when) < QUIET || !outcome.is_error());
        if !is_known {
            self.log(report);
            self.last_logged = Some((report.clone(), now()));
        } else if outcome != Outcome::Unchanged {
            log::about!(Level::Debug, report.facts(), "{outcome}, as before: {}", report.text); // the deployment has logged an unchanged check
        }
    }

    /// Logs a result that is new here. The deployment itself has logged what it did.
    fn log(&self, report: &CheckReport) {
        let log = |level| log::about!(level, report.facts(), "{}", report.text);
        // Cron mails all output: then an error that stays the same is an error once an hour, as in the daemon.
        let is_mailed_again = report.is_told && !self.is_by_hand && console::is_quiet();
        match report.outcome {
            Outcome::Unchanged => self.log_up_to_date(report),
            // From cron, once a minute, an earlier process has logged the first one.
            Outcome::OnHold if report.is_repeated && self.schedule.is_none() => log(Level::Debug),
            Outcome::OnHold => log(Level::Warn),
            Outcome::Deployed | Outcome::Blocked | Outcome::RolledBack | Outcome::Adopted => {}
            Outcome::Failed(Kind::Stopped(_)) if self.schedule.is_some() => {} // the daemon has logged the signal
            Outcome::Failed(Kind::Stopped(_)) => log(Level::Error),
            Outcome::Failed(Kind::Locked) if !self.is_by_hand => log(Level::Info), // another process is checking
            Outcome::Failed(_) if is_mailed_again => log(Level::Debug),
            Outcome::Failed(Kind::Usage) => console::complain(&report.text, None),
            Outcome::Failed(
                Kind::Failed
                | Kind::Refused
                | Kind::Superseded
                | Kind::Unavailable { .. }
                | Kind::InDoubt
                | Kind::Locked
                | Kind::Config,
            ) => log(Level::Error),
        }
    }

    /// Logs the first check without news, in the daemon and at a terminal, where silence would look like a failure.
    fn log_up_to_date(&self, report: &CheckReport) {
        let was_deployed = self.last_logged.as_ref().is_some_and(|(told, _)| told.outcome == Outcome::Deployed);
        if (self.schedule.is_some() || console::stderr_is_terminal() && !self.is_by_hand) && !was_deployed {
            log::about!(Level::Info, report.facts(), "up to date: {}", report.text);
        }
    }

    /// A line for the status in systemd.
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
