//! One deployment in the loop: when it is due, the check that is at work on it, and what the log was told already, so that
//! what does not change does not fill it.

use rustix::process::Pid;

use crate::config::Settings;
use crate::deploy;
use crate::deploy::report::{Ended, QUIET, Status};
use crate::schedule::Schedule;
use crate::sys::clock::{now, rfc3339};
use crate::sys::signal;
use crate::sys::twin::{self, Twin};
use crate::{console, error};

/// One deployment.
pub struct Section {
    pub settings: Settings,
    /// `None`: it is checked once.
    pub schedule: Option<Schedule>,
    /// Somebody asked for it, and wants to know why it was not done.
    pub is_by_hand: bool,
    /// What checks came to that could not write it into the store.
    pub missed: Status,
    /// When it is to be checked; 0: now.
    due: u64,
    check: Option<Twin>,
    /// What the log was told last, and when.
    told: Option<(Ended, u64)>,
    is_retired: bool,
}

impl Section {
    /// A deployment that is due now.
    pub fn new(settings: Settings, schedule: Option<Schedule>) -> Self {
        let (missed, check, told) = (Status::default(), None, None);
        Self { settings, schedule, is_by_hand: false, missed, due: 0, check, told, is_retired: false }
    }

    /// Goes on where the same deployment was before its configuration was read again.
    pub fn take_over(&mut self, old: Self) {
        (self.check, self.told, self.missed) = (old.check, old.told, old.missed);
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
        let twin = twin::fork(&mut || {
            console::begin_copy();
            console::turn_to(settings.log_file.as_deref());
            console::speak_for(Some(&settings.id));
            let ended = deploy::check(settings).print();
            console::flush();
            ended
        });
        match twin {
            Ok(twin) => self.check = Some(twin),
            Err(e) => self.note(&Ended::failed(format!("cannot start a check: {}", error::plain(&e)))),
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
        let ended = match (Ended::parse(&twin.told()), signal) {
            (Some(ended), _) => ended,
            (None, None) if stop.is_some() => return,
            (None, None) => {
                Ended::failed("the check was ended from outside; the next one heals what it left".to_owned())
            }
            (None, Some(by)) => {
                Ended::failed(format!("the check died of {}; the next one heals what it left", signal::describe(by)))
            }
        };
        self.note(&ended);
    }

    /// Keeps what a check came to, and tells the log what it does not know yet.
    pub fn note(&mut self, ended: &Ended) {
        if !ended.is_recorded && ended.kind != "stopped" {
            self.missed.note(ended, now(), std::time::Duration::ZERO);
        }
        let before = self.told.as_ref().filter(|(told, _)| told.kind == ended.kind && told.text == ended.text);
        let is_known = before.is_some_and(|(_, when)| now().abs_diff(*when) < QUIET || !ended.is_error());
        let text = &ended.text;
        match ended.kind.as_str() {
            "unchanged" if is_known => {} // the deployment has said it
            _ if is_known => log::debug!("{}, as before: {text}", ended.kind),
            "unchanged" => self.welcome(ended),
            // Whoever checks once a minute from cron has been told by the first of these.
            "left-alone" if ended.is_repeated && self.schedule.is_none() => log::debug!("{text}"),
            "left-alone" => log::warn!("{text}"),
            "stopped" if self.schedule.is_none() => log::error!("{text}"),
            "locked" if !self.is_by_hand => log::info!("{text}"), // somebody else does our work
            // Whoever checks from cron is mailed what is printed: once an hour, as the loop says it.
            _ if ended.is_told && !self.is_by_hand && console::is_quiet() => log::debug!("{text}"),
            "usage" => console::complain(text, None),
            _ if ended.is_error() => log::error!("{text}"),
            _ => {} // the deployment has said it
        }
        if !is_known {
            self.told = Some((ended.clone(), now()));
        }
    }

    /// The first time that nothing is new: in the loop, and at a terminal, somebody may wonder whether it did anything at all.
    fn welcome(&self, ended: &Ended) {
        let was_deployed = self.told.as_ref().is_some_and(|(told, _)| told.kind == "deployed");
        if (self.schedule.is_some() || console::is_watched() && !self.is_by_hand) && !was_deployed {
            log::info!("up to date: {}", ended.text);
        }
    }

    /// One line for systemd.
    pub fn summary(&self, several: bool) -> String {
        let name = if several { format!("[{}] ", self.settings.id) } else { String::new() };
        let (kind, text) = self.told.as_ref().map_or(("at work", ""), |(told, _)| (told.kind.as_str(), &*told.text));
        let text = text.replace('\n', " ");
        match self.waits_until() {
            Some(due) if due > 0 => format!("{name}{kind}: {text}; next check at {}. ", rfc3339(due)),
            _ => format!("{name}{kind}: {text}. "),
        }
    }
}
