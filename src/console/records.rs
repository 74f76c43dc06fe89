//! The log: takes records, and passes their lines to the log file, or to standard error above the progress line.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use log::{Level, Log, Metadata, Record};

use super::line;
use super::outlet::Outlet;
use super::screen::Screen;
use crate::error::plain;
use crate::sys::stderr::Sink;

/// Moves to the beginning of the line, and erases it.
pub(super) const CLEAR: &str = "\r\x1b[K";

/// The log: one record is one line.
pub(super) struct Console {
    pub(super) outlets: Mutex<Outlets>,
    /// The configured log file; opening it may have failed.
    pub(super) asked: Mutex<Option<PathBuf>>,
    /// The deployment that records belong to.
    pub(super) speaker: Mutex<Option<String>>,
    /// The progress line on the terminal, which is not part of the log; empty: none.
    pub(super) progress: Mutex<String>,
}

pub(super) struct Outlets {
    /// `None`: before [`init`].
    pub(super) stderr: Option<Outlet>,
    pub(super) file: Option<LogFile>,
    /// The layout and colours of standard error.
    pub(super) screen: Option<Screen>,
    /// Records for the log file are shown on standard error too.
    pub(super) is_shown: bool,
}

/// The log file, which takes records in place of standard error.
pub(super) struct LogFile {
    pub(super) outlet: Outlet,
    pub(super) path: PathBuf,
    /// Its failure was reported.
    pub(super) told: bool,
}

/// The log of this process.
pub(super) static CONSOLE: Console = Console {
    outlets: Mutex::new(Outlets { stderr: None, file: None, screen: None, is_shown: false }),
    asked: Mutex::new(None),
    speaker: Mutex::new(None),
    progress: Mutex::new(String::new()),
};

/// Whether standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    CONSOLE.outlets.lock().is_ok_and(|outlets| outlets.screen.is_some_and(|screen| screen.is_terminal))
}

impl Log for Console {
    /// Records of this program, and warnings and errors of others: debug output of ureq and rustls has secrets in it.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let speaker = self.speaker.lock().ok().and_then(|speaker| speaker.clone());
            let target = speaker.as_deref().unwrap_or(line::OURSELVES);
            let lines = line::with_record(record.level(), target, &record.args().to_string());
            self.deliver(&lines, &line::facts(record));
        }
    }

    fn flush(&self) {
        self.deliver(&line::printed(), "");
        each_outlet(Outlet::own_up);
    }
}

impl Console {
    /// Passes lines to the log file, else to standard error, or to both. All output goes through here. `facts`: those of
    /// the last line, as members of its JSON object.
    fn deliver(&self, lines: &[String], facts: &str) {
        // `try_lock`: a panic during delivery is reported all the same.
        let Ok(mut outlets) = self.outlets.try_lock() else {
            let _ = Sink::stderr().write_now(lines.concat().as_bytes()); // there is nowhere left to say it
            return;
        };
        let Outlets { stderr: Some(stderr), file, screen, is_shown } = &mut *outlets else { return };
        let is_journal = stderr.is_journal;
        let screen = *screen;
        let shown = |line: &str, facts: &str| match screen {
            Some(screen) if !is_journal && !line::is_json() => line::painted(line, screen),
            _ => line::formed(line, is_journal, facts),
        };
        for (n, line) in lines.iter().enumerate() {
            let facts = if n + 1 == lines.len() { facts } else { "" };
            let taken = file
                .as_mut()
                .map(|file| file.outlet.deliver(&line::formed(line, false, facts)).map_err(|e| file.complaint(&e)));
            if let Some(Err(Some(complaint))) = &taken {
                self.print(stderr, &shown(&line::with_record(Level::Warn, line::OURSELVES, complaint).concat(), ""));
            }
            if *is_shown || !matches!(taken, Some(Ok(()))) {
                self.print(stderr, &shown(line, facts));
            }
        }
    }

    /// Prints to standard error, above the progress line.
    pub(super) fn print(&self, stderr: &mut Outlet, line: &str) {
        // `try_lock`: a record made while the line is drawn matters more than its place.
        let shown = self.progress.try_lock().map(|p| p.clone()).unwrap_or_default();
        let _ = stderr.deliver(&above(&shown, line)); // it counts dropped lines
    }
}

impl LogFile {
    /// Why the file takes no more; only the first time.
    fn complaint(&mut self, why: &io::Error) -> Option<String> {
        let is_unread = matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        let why = if is_unread { "nobody reads it".to_owned() } else { plain(why) };
        let text = format!("cannot write to log-file {}: {why}: logging to standard error", self.path.display());
        (!std::mem::replace(&mut self.told, true)).then_some(text)
    }
}

/// `line` in the place of the progress line `shown`, and that one again after it.
fn above(shown: &str, line: &str) -> String {
    if shown.is_empty() { line.to_owned() } else { format!("{CLEAR}{line}{shown}") }
}

/// Calls `what` with each outlet.
pub(super) fn each_outlet(what: fn(&mut Outlet)) {
    if let Ok(mut outlets) = CONSOLE.outlets.try_lock() {
        let Outlets { stderr, file, .. } = &mut *outlets;
        stderr.iter_mut().chain(file.iter_mut().map(|file| &mut file.outlet)).for_each(what);
    }
}

/// Shows `text` on standard error, if it fits at once: it belongs to no record.
pub(super) fn show(text: &str) {
    if let Ok(mut outlets) = CONSOLE.outlets.try_lock() {
        outlets.stderr.iter_mut().for_each(|stderr| stderr.show(text));
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    #[test]
    fn a_record_stands_above_the_progress_line() {
        assert_eq!(above("", "record\n"), "record\n");
        assert_eq!(above("fetching 1.0 MiB", "record\n"), "\r\x1b[Krecord\nfetching 1.0 MiB");
    }

    #[test]
    fn only_our_own_records_are_heard_below_a_warning() {
        log::set_max_level(LevelFilter::Trace);
        let ours = concat!(env!("CARGO_CRATE_NAME"), "::deploy");
        for (target, level, heard) in [
            (ours, Level::Trace, true),
            (env!("CARGO_CRATE_NAME"), Level::Info, true),
            ("ureq_proto::client", Level::Debug, false),
            ("ureq", Level::Info, false),
            ("rustls::conn", Level::Trace, false),
            ("rustls::conn", Level::Warn, true),
            ("repo_deployer", Level::Info, false),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(CONSOLE.enabled(&metadata), heard, "{target} {level}");
        }
    }
}
