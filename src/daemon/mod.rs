//! The daemon's loop: waits for the schedule or a signal, and has each deployment checked by a forked worker, so that
//! memory, files and crashes of a check end with it, and signals, orphans and the watchdog are always served. A
//! deployment that fails, hangs or crashes never stops the loop or another deployment.
//!
//! [`deploy::check`] makes a check; the caller of the loop passes `read`, which reads the configuration.

mod job;
mod reports;
mod timetable;

#[cfg(test)]
mod fleet_tests;

use std::time::{Duration, Instant};

use self::job::Job;
use self::reports::Reports;
use crate::config::Settings;
use crate::error::{Context, Result};
use crate::report::check_report::CheckReport;
use crate::sys::clock::{Deadline, now};
use crate::sys::event_wait::{SignalWait, Signals};
use crate::sys::log;
use crate::sys::notify::Notify;
use crate::sys::{signal, worker};
use crate::{console, sys};

/// How long other processes have to end when this process is the first one (PID 1) and ends.
const FAREWELL: Duration = Duration::from_millis(1500);

/// How long a turn of the loop waits for the reader of the log at most; checks and the watchdog cannot wait.
const TURN: Duration = Duration::from_millis(500);

/// Exit codes, the worst first: for several deployments, the first of these is used.
const WORST: [u8; 5] = [3, 78, 1, 2, 75];

/// Reads the configuration again.
pub type Read<'a> = &'a dyn Fn() -> Result<Vec<Settings>>;

/// Runs `work` for each deployment, one after the other, until a signal stops one. Returns the worst exit code.
/// `is_by_hand`: the work is a command, not a check, which would be repeated.
pub fn once(all: Vec<Settings>, is_by_hand: bool, work: &dyn Fn(&Settings) -> CheckReport) -> u8 {
    let (mut codes, mut sections) = (Vec::new(), Vec::new());
    for settings in all {
        let mut section = Job::new(settings, None);
        section.is_by_hand = is_by_hand;
        sections.push(section);
    }
    for section in &mut sections {
        console::switch_file(section.settings.log_file.as_deref());
        console::set_prefix(Some(&section.settings.id));
        let report = work(&section.settings);
        section.note(&report);
        if report.outcome.is_stop() {
            return report.outcome.exit_code();
        }
        codes.push(report.outcome.exit_code());
    }
    console::set_prefix(None);
    Reports::default().write(&sections, |_| true);
    console::flush();
    sections.iter().for_each(Job::remove_pruned);
    worst(&codes)
}

/// The worst of several exit codes.
pub fn worst(codes: &[u8]) -> u8 {
    WORST.into_iter().find(|code| codes.contains(code)).unwrap_or_else(|| codes.iter().copied().max().unwrap_or(0))
}

/// Checks at once, or after a share of a minute if the schedule spreads a fleet; then on the schedule, until TERM or INT.
pub fn watch(all: Vec<Settings>, notify: Notify, read: Read<'_>) -> Result<()> {
    let mut sections = scheduled(all)?;
    let vigil = SignalWait::begin().with_context(|| "cannot wait for signals")?;
    sections.iter_mut().for_each(Job::plan_first);
    let mut watch = Watch {
        vigil,
        notify,
        read,
        sections,
        reports: Reports::default(),
        stop: None,
        last_fed: None,
        is_heard: true,
        has_worked: false,
    };
    watch.say(|notify| notify.say("READY=1"));
    watch.run().with_context(|| "cannot wait for the next check")
}

/// The jobs with their schedules; fails on an invalid schedule.
fn scheduled(all: Vec<Settings>) -> Result<Vec<Job>> {
    let mut sections = Vec::new();
    for settings in all {
        let schedule = settings.timing.schedule()?;
        sections.push(Job::new(settings, Some(schedule)));
    }
    Ok(sections)
}

/// The state of the loop.
struct Watch<'a> {
    vigil: SignalWait,
    notify: Notify,
    read: Read<'a>,
    sections: Vec<Job>,
    reports: Reports,
    /// The signal that asked the daemon to stop.
    stop: Option<i32>,
    /// When the watchdog was last fed.
    last_fed: Option<Instant>,
    /// No notification of systemd has failed so far.
    is_heard: bool,
    /// Whether a check has ended since the last sleep.
    has_worked: bool,
}

impl Watch<'_> {
    fn run(&mut self) -> std::io::Result<()> {
        loop {
            let most = self.notify.pace().map_or(TURN, |pace| TURN.min(pace / 2));
            let turn = console::limit(Deadline::after(most));
            let came = self.vigil.came()?;
            self.obey(came);
            self.reap();
            if self.stop.is_none() {
                self.start_what_is_due();
            } else if self.sections.iter().all(Job::is_idle) {
                return self.shut_down();
            }
            let pause = self.feed_watchdog();
            if std::mem::take(&mut self.has_worked) && self.sections.iter().all(Job::is_idle) {
                sys::memory::release_code();
            }
            console::flush();
            drop(turn);
            let until = self.sections.iter().filter_map(Job::waits_until).min();
            self.vigil.wait(until.filter(|_| self.stop.is_none()), pause)?;
        }
    }

    fn obey(&mut self, came: Signals) {
        if let Some(signal) = came.stop {
            if self.stop.is_none() {
                let name = signal::describe(signal);
                match self.sections.iter().all(Job::is_idle) {
                    true => log::info!("ending: {name}"),
                    false => log::info!("ending: {name}; stopping the running check"),
                }
                self.say(|notify| notify.say("STOPPING=1"));
                self.stop = Some(signal);
            }
            // At each signal again: a check that has just begun may have missed the first, and a second one is
            // harmless.
            self.sections.iter().for_each(Job::stop);
        }
        if self.stop.is_some() {
            return;
        }
        if came.reload {
            self.reload();
        }
        if came.reload || came.check {
            self.sections.iter_mut().for_each(|section| section.times.check_soon());
        }
    }

    /// Reads the configuration again; an invalid one changes nothing.
    fn reload(&mut self) {
        self.say(Notify::reloading);
        match (self.read)().and_then(scheduled) {
            Ok(new) => {
                let old = std::mem::replace(&mut self.sections, new);
                for old in old {
                    match self.sections.iter_mut().find(|new| new.settings.id == old.settings.id) {
                        Some(new) => new.take_over(old),
                        None if old.is_idle() => {}
                        None => self.sections.push(old.retired()),
                    }
                }
                log::info!("read the configuration again");
            }
            Err(e) => log::error!("{e}; going on with the configuration from before"),
        }
        self.say(|notify| notify.say("READY=1"));
    }

    /// Handles ended processes: the workers of checks, and orphans if this process is PID 1.
    fn reap(&mut self) {
        while let Some((pid, signal)) = worker::reap() {
            let Some(at) = self.sections.iter().position(|section| section.is_checked_by(pid)) else { continue };
            let several = self.sections.len() > 1;
            let section = &mut self.sections[at];
            console::set_prefix(Some(&section.settings.id));
            section.end(signal, self.stop);
            section.start_removing_pruned();
            self.has_worked = true;
            console::set_prefix(None);
            if section.is_retired() {
                self.sections.remove(at);
                continue;
            }
            let id = section.settings.id.clone();
            self.reports.write(&self.sections, |section| section.settings.id == id);
            if self.notify.is_heard() && self.stop.is_none() {
                let mut status = String::from("STATUS=");
                for section in &self.sections {
                    status += &section.summary(several);
                }
                self.say(|notify| notify.say(&status));
            }
        }
    }

    fn start_what_is_due(&mut self) {
        let now = now();
        for section in &mut self.sections {
            section.times.look_at_the_clock(now);
            if section.is_due(now) {
                section.start(now);
            }
        }
    }

    /// Feeds systemd's watchdog when it is time; returns the time until the next feeding.
    fn feed_watchdog(&mut self) -> Option<Duration> {
        let pace = self.notify.pace()?;
        let since = self.last_fed.map(|beat| beat.elapsed());
        if let Some(left) = since.and_then(|since| pace.checked_sub(since)).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        self.say(|notify| notify.say("WATCHDOG=1"));
        self.last_fed = Some(Instant::now());
        Some(pace)
    }

    /// Notifies systemd; a failure is logged once.
    fn say(&mut self, what: impl FnOnce(&Notify) -> std::io::Result<()>) {
        if let Err(e) = what(&self.notify)
            && std::mem::take(&mut self.is_heard)
        {
            log::warn!("cannot notify systemd (NOTIFY_SOCKET): {}", crate::error::plain(&e));
        }
    }

    /// Ends all other processes if this one is PID 1, since the kernel would kill them with it: first asks them to end.
    fn shut_down(&mut self) -> std::io::Result<()> {
        if !worker::is_first() {
            return Ok(());
        }
        worker::dismiss_all();
        let limit = Deadline::after(FAREWELL);
        while worker::has_children() && !limit.has_passed() {
            self.vigil.wait(None, Some(limit.remaining()))?;
            self.vigil.came()?;
        }
        Ok(())
    }
}
