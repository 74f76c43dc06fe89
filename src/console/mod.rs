//! Standard error, shared by the log and the progress line. Neither can end or block the program: it survives a closed
//! pipe, a full disk, a missing terminal and a reader that has stopped; a failing log file is reported once. Standard
//! output is for commands that answer.

pub mod json;
mod line;
mod outlet;
pub mod progress;
mod records;
pub mod screen;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use log::{LevelFilter, Log as _};

use self::outlet::Outlet;
pub use self::outlet::{Limit, limit};
pub use self::progress::Progress;
pub use self::records::stderr_is_terminal;
use self::records::{CONSOLE, LogFile, Outlets, each_outlet};
use self::screen::Screen;
use crate::error::{Error, Result, plain};
use crate::sys::resolve::{self, Last, Way};
use crate::sys::stderr::{self, Sink};

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
        let is_journal = std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stderr::is_file(&stream));
        let stderr = Sink::stderr();
        outlets.screen = Some(Screen::of(stderr.as_fd()));
        outlets.stderr = Some(Outlet::new(stderr).read_by_journal(is_journal));
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

/// Whether records are JSON objects from now on.
pub fn set_json(is_json: bool) {
    line::set_json(is_json);
}

/// Whether only warnings and errors are logged.
pub fn is_quiet() -> bool {
    log::max_level() <= LevelFilter::Warn
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

/// Prints the error of a command line to standard error, and a hint on a second line. Neither is a record, nor in the
/// log file.
pub fn complain(text: &str, hint: Option<&str>) {
    if let Ok(Outlets { stderr: Some(stderr), .. }) = CONSOLE.outlets.try_lock().as_deref_mut() {
        CONSOLE.print(stderr, &line::of_command(text, hint, stderr.is_journal));
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
            crate::sys::log::info!("of ours");
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
}
