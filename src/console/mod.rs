//! Standard error, shared by the log and the progress line. Neither can end or block the program: it survives a closed
//! pipe, a full disk, a missing terminal and a reader that has stopped; a failing log file is reported once. Standard
//! output is for commands that answer.

pub mod json;
mod line;
mod outlet;
pub mod progress;
pub mod screen;

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};

use self::outlet::Outlet;
pub use self::outlet::{Limit, limit};
pub use self::progress::Progress;
use self::screen::Screen;
use crate::error::{Error, Result, plain};
use crate::sys::resolve::{self, Last, Way};
use crate::sys::stderr::{self, Sink};

/// Moves to the beginning of the line, and erases it.
const CLEAR: &str = "\r\x1b[K";

/// The log: one record is one line.
struct Console {
    outlets: Mutex<Outlets>,
    /// The configured log file; opening it may have failed.
    asked: Mutex<Option<PathBuf>>,
    /// The deployment that records belong to.
    speaker: Mutex<Option<String>>,
    /// The progress line on the terminal, which is not part of the log; empty: none.
    progress: Mutex<String>,
}

struct Outlets {
    /// `None`: before [`init`].
    stderr: Option<Outlet>,
    file: Option<LogFile>,
    /// The layout and colours of standard error.
    screen: Option<Screen>,
    /// Records for the log file are shown on standard error too.
    is_shown: bool,
}

/// The log file, which takes records in place of standard error.
struct LogFile {
    outlet: Outlet,
    path: PathBuf,
    /// Its failure was reported.
    told: bool,
}

static CONSOLE: Console = Console {
    outlets: Mutex::new(Outlets { stderr: None, file: None, screen: None, is_shown: false }),
    asked: Mutex::new(None),
    speaker: Mutex::new(None),
    progress: Mutex::new(String::new()),
};

/// Installs the log, or changes its level and reopens its file. `level` goes from -1 (`--quiet`) over 0 to 2 (`-v -v`).
/// If the file cannot be opened, there is a warning, and the log stays on standard error: deployments go on.
pub fn init(level: i8, log_file: Option<&Path>) {
    if log::set_logger(&CONSOLE).is_ok() {
        begin();
    }
    log::set_max_level(match level {
        ..0 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    });
    let open = |path: &Path| {
        let file = open(path)?;
        // Another name of standard error, which gets the log anyway.
        let is_elsewhere = !stderr::is_captured(&file)?;
        let outlet = || Outlet::new(Sink::of(file));
        Ok(is_elsewhere.then(|| LogFile { outlet: outlet(), path: path.to_owned(), told: false }))
    };
    let opened = log_file.map(open).transpose().map(Option::flatten);
    let failed = opened.as_ref().err().map(plain);
    if let (Ok(mut outlets), Ok(mut asked)) = (CONSOLE.outlets.lock(), CONSOLE.asked.lock()) {
        (outlets.file, *asked) = (opened.unwrap_or(None), log_file.map(Path::to_owned));
    }
    if let (Some(path), Some(why)) = (log_file, failed) {
        log::warn!("cannot open log-file {}: {why}: logging to standard error", path.display());
    }
}

/// Captures standard error, and turns panics into records.
fn begin() {
    let captured = stderr::capture();
    if let Ok(mut outlets) = CONSOLE.outlets.lock() {
        outlets.stderr = Some(Outlet::new(Sink::stderr()));
        outlets.screen = Some(Screen::of(Sink::stderr().as_fd()));
    }
    std::panic::set_hook(Box::new(|panic| log::error!("{}", panic.to_string().replacen(":\n", ": ", 1))));
    if let Err(e) = captured {
        log::warn!("cannot put standard error aside: {}: the log is written straight to it", plain(&e));
    }
}

/// The first step of a worker: lines that its parent has not delivered, and the limit in force, are its parent's.
pub fn begin_copy() {
    outlet::set_limit(None);
    each_outlet(Outlet::forget);
}

/// Sets whether records for a log file are shown on standard error too.
pub fn tee_to_stderr(is_shown: bool) {
    if let Ok(mut outlets) = CONSOLE.outlets.lock() {
        outlets.is_shown = is_shown;
    }
}

/// Whether only warnings and errors are logged.
pub fn is_quiet() -> bool {
    log::max_level() <= LevelFilter::Warn
}

/// Whether standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    Sink::stderr().as_fd().is_terminal()
}

/// Sends records to `log_file` from now on, if they do not go there already.
pub fn switch_file(log_file: Option<&Path>) {
    if asked().as_deref() != log_file {
        init(level(), log_file);
    }
}

/// Reopens the log file, which may have been moved away.
pub fn reopen() {
    if let Some(path) = asked() {
        init(level(), Some(&path));
    }
}

fn asked() -> Option<PathBuf> {
    CONSOLE.asked.lock().ok().and_then(|asked| asked.clone())
}

/// From now on records belong to the deployment `id`, or to none.
pub fn set_prefix(id: Option<&str>) {
    if let Ok(mut speaker) = CONSOLE.speaker.lock() {
        *speaker = id.map(str::to_owned);
    }
}

/// Delivers the output of other code to descriptor 2, and reports dropped lines: before a wait, and at the end.
pub fn flush() {
    CONSOLE.flush();
}

/// The level as an argument of [`init`].
fn level() -> i8 {
    match log::max_level() {
        LevelFilter::Off | LevelFilter::Error | LevelFilter::Warn => -1,
        LevelFilter::Info => 0,
        LevelFilter::Debug => 1,
        LevelFilter::Trace => 2,
    }
}

/// Opens a file for appending. A FIFO without a reader is an error, not a wait.
fn open(path: &Path) -> io::Result<File> {
    resolve::find(path, Way::Any, Last::Written)?.append(0o640)
}

/// Whether the log could go to `path`; creates nothing.
pub fn can_log_to(path: &Path) -> io::Result<()> {
    resolve::find(path, Way::Any, Last::Written)?.can_be_appended_to()
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
            self.deliver(&line::with_record(record.level(), target, &record.args().to_string()));
        }
    }

    fn flush(&self) {
        self.deliver(&line::printed());
        each_outlet(Outlet::own_up);
    }
}

impl Console {
    /// Passes lines to the log file, else to standard error, or to both. All output goes through here.
    fn deliver(&self, lines: &[String]) {
        // `try_lock`: a panic during delivery is reported all the same.
        let Ok(mut outlets) = self.outlets.try_lock() else {
            let _ = Sink::stderr().write_now(lines.concat().as_bytes()); // there is nowhere left to say it
            return;
        };
        let Outlets { stderr: Some(stderr), file, screen, is_shown } = &mut *outlets else { return };
        let shown = |line: &str| screen.map_or_else(|| line.to_owned(), |screen| line::painted(line, screen));
        for line in lines {
            let taken = file.as_mut().map(|file| file.outlet.deliver(line).map_err(|e| file.complaint(&e)));
            if let Some(Err(Some(complaint))) = &taken {
                self.print(stderr, &shown(&line::with_record(Level::Warn, line::OURSELVES, complaint).concat()));
            }
            if *is_shown || !matches!(taken, Some(Ok(()))) {
                self.print(stderr, &shown(line));
            }
        }
    }

    /// Prints to standard error, above the progress line.
    fn print(&self, stderr: &mut Outlet, line: &str) {
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

fn each_outlet(what: fn(&mut Outlet)) {
    if let Ok(mut outlets) = CONSOLE.outlets.try_lock() {
        let Outlets { stderr, file, .. } = &mut *outlets;
        stderr.iter_mut().chain(file.iter_mut().map(|file| &mut file.outlet)).for_each(what);
    }
}

/// Shows `text` on standard error, if it fits at once: it belongs to no record.
fn show(text: &str) {
    if let Ok(mut outlets) = CONSOLE.outlets.try_lock() {
        outlets.stderr.iter_mut().for_each(|stderr| stderr.show(text));
    }
}

/// Prints the error of a command line to standard error, and a hint on a second line. Neither is a record, nor in the
/// log file.
pub fn complain(text: &str, hint: Option<&str>) {
    let hint = hint.map_or(String::new(), |hint| format!("{hint}\n"));
    if let Ok(Outlets { stderr: Some(stderr), .. }) = CONSOLE.outlets.try_lock().as_deref_mut() {
        CONSOLE.print(stderr, &(line::of_command(text) + &hint));
    }
}

/// Answers on standard output. A closed pipe is no error, as for other tools; a full disk is.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to standard output: {}", plain(&e))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs its part in a process of its own: this test program again.
    #[test]
    fn what_anybody_prints_and_a_panic_are_lines_of_the_log() {
        const PART: &str = "REPO_DEPLOY_CONSOLE_TEST";
        if let Some(log) = std::env::var_os(PART) {
            init(0, Some(Path::new(&log)));
            set_prefix(Some("web"));
            #[allow(clippy::print_stderr, reason = "somebody's dependency")]
            {
                eprintln!("stray \x1b[31m\nand another");
            }
            log::info!("of ours");
            panic!("a panic\nof two lines");
        }
        let log = std::env::temp_dir().join(format!("repo-deploy-console-{}", std::process::id()));
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "console::tests::what_anybody_prints_and_a_panic_are_lines_of_the_log";
        again.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PART, &log);
        let output = again.output().unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(log).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["stray \\x1b[31m", "and another"]);
        assert!(lines[2].ends_with("Z INFO  [web] of ours"), "{text}");
        assert!(lines[3].contains("Z ERROR [web] panicked at src/console/mod.rs:"), "{text}");
        assert!(lines[3].ends_with(": a panic\\nof two lines") && lines.len() == 4, "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing goes around the log");
    }

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
