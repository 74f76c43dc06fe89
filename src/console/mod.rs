//! Standard error: the log and the progress line share it. Neither can end the program: a closed pipe, a full disk and a
//! missing terminal are all survived; a log file that takes no more is told of once. Standard output is for commands that answer.

pub mod json;
pub mod progress;
pub mod screen;

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{Mode, OFlags};

pub use self::progress::Progress;
use crate::error::{Error, Result, plain};
use crate::sys::clock;

/// To the beginning of the line, and erase it.
const CLEAR: &str = "\r\x1b[K";

/// The log: one record is one line.
struct Console {
    file: Mutex<Option<LogFile>>,
    /// Where they were asked to go; opening it may have failed.
    asked: Mutex<Option<PathBuf>>,
    /// What goes to the log file is shown on standard error too.
    is_shown: AtomicBool,
    /// Whose records these are, where there are several deployments; empty: there is one.
    name: Mutex<String>,
    /// What stands on the terminal's last line and is not of the log; empty: nothing.
    progress: Mutex<String>,
}

/// Where records go when they do not go to standard error.
struct LogFile {
    file: File,
    path: PathBuf,
    /// Its last line lacks its end: the disk was full.
    torn: AtomicBool,
    /// That it takes no more was said.
    told: AtomicBool,
}

static CONSOLE: Console = Console {
    file: Mutex::new(None),
    asked: Mutex::new(None),
    is_shown: AtomicBool::new(false),
    name: Mutex::new(String::new()),
    progress: Mutex::new(String::new()),
};

/// Installs the log, or changes what is installed, and opens the log file anew. `level` counts from -1 (`--quiet`) over 0 to 2 (`-v -v`). A log file
/// that cannot be opened costs a warning, and the log stays on standard error: a deployment does not wait for a disk.
pub fn init(level: i8, log_file: Option<&Path>) {
    let _ = log::set_logger(&CONSOLE); // it fails when it is installed already, which is what we want
    log::set_max_level(match level {
        ..0 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    });
    let (torn, told) = (AtomicBool::new(false), AtomicBool::new(false));
    let opened = log_file.map(|path| Ok(LogFile { file: open(path)?, path: path.to_owned(), torn, told })).transpose();
    let failed = opened.as_ref().err().map(plain);
    if let (Ok(mut file), Ok(mut asked)) = (CONSOLE.file.lock(), CONSOLE.asked.lock()) {
        (*file, *asked) = (opened.unwrap_or(None), log_file.map(Path::to_owned));
    }
    if let (Some(path), Some(why)) = (log_file, failed) {
        log::warn!("cannot open the log file {}: {why}: logging to standard error", path.display());
    }
}

/// Whether records that go to a log file are shown on standard error too.
pub fn show_too(is_shown: bool) {
    CONSOLE.is_shown.store(is_shown, Ordering::Relaxed);
}

/// Whether somebody looks at standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// From here on records go to `log_file`, when they do not already.
pub fn turn_to(log_file: Option<&Path>) {
    if asked().as_deref() != log_file {
        init(level(), log_file);
    }
}

/// Opens the log file anew: somebody may have moved it away.
pub fn reopen() {
    if let Some(path) = asked() {
        init(level(), Some(&path));
    }
}

fn asked() -> Option<PathBuf> {
    CONSOLE.asked.lock().ok().and_then(|asked| asked.clone())
}

/// From here on records begin with `name`: those of one deployment among several.
pub fn speak_for(name: Option<&str>) {
    if let Ok(mut speaker) = CONSOLE.name.lock() {
        *speaker = name.map(|name| format!("{name}: ")).unwrap_or_default();
    }
}

/// The level as [`init`] takes it.
fn level() -> i8 {
    match log::max_level() {
        LevelFilter::Off | LevelFilter::Error | LevelFilter::Warn => -1,
        LevelFilter::Info => 0,
        LevelFilter::Debug => 1,
        LevelFilter::Trace => 2,
    }
}

/// Opens a file to append to. A FIFO that nobody reads is an error, not a wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?; // from here on a slow reader is waited for
    Ok(File::from(file))
}

impl Log for Console {
    /// Ours, and what is wrong from anybody: ureq and rustls print secrets when they explain themselves.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let name = self.name.lock().map(|name| name.clone()).unwrap_or_default();
        let line = line(record.level(), &format!("{name}{}", record.args()));
        let Ok(file) = self.file.lock() else { return self.print(&line) };
        let Some(file) = file.as_ref() else { return self.print(&line) };
        if let Err(e) = file.append(line.as_bytes()) {
            if !file.told.swap(true, Ordering::Relaxed) {
                let (path, why) = (file.path.display(), plain(&e));
                let why = format!("cannot write to the log file {path}: {why}: logging to standard error");
                self.print(&self::line(Level::Warn, &why));
            }
            self.print(&line);
        } else if self.is_shown.load(Ordering::Relaxed) {
            self.print(&line);
        }
    }

    fn flush(&self) {}
}

impl LogFile {
    /// Appends a line, all of it or an error.
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut whole = Vec::with_capacity(line.len() + 1);
        if self.torn.load(Ordering::Relaxed) {
            whole.push(b'\n'); // a record begins its own line
        }
        whole.extend_from_slice(line);
        // One write a record: others may append to the same file.
        let written = (&self.file).write(&whole)?;
        if written > 0 {
            self.torn.store(written < whole.len(), Ordering::Relaxed);
        }
        if written < whole.len() { Err(io::Error::other("it took a part of a line only")) } else { Ok(()) }
    }
}

impl Console {
    /// Prints to standard error, above the progress line.
    fn print(&self, line: &str) {
        // `try_lock`: a record that is made while the line is drawn is worth more than its place.
        let shown = self.progress.try_lock().map(|p| p.clone()).unwrap_or_default();
        write_stderr(&above(&shown, line));
    }
}

/// A record as it is written.
fn line(level: Level, text: &str) -> String {
    let mut line = format!("{} {level} ", clock::rfc3339(clock::now()));
    escape(&mut line, text);
    line.push('\n');
    line
}

/// `line`, written where the progress line `shown` stands, and that one again after it.
fn above(shown: &str, line: &str) -> String {
    if shown.is_empty() { line.to_owned() } else { format!("{CLEAR}{line}{shown}") }
}

/// Writes what can be written: a log that nobody reads or no disk takes must not stop a deployment.
fn write_stderr(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes()); // there is nowhere left to say it
}

/// Adds `text` as one line of printable characters: what comes from archives, servers and hooks must neither make
/// records up nor speak to the terminal.
fn escape(line: &mut String, text: &str) {
    for c in text.trim_end_matches('\n').chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => line.push(c),
        }
    }
}

/// Answers on standard output. Nobody reading on is no error, as for any tool in a pipe; a full disk is.
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

    #[test]
    fn a_record_is_one_line_of_printable_characters() {
        for (text, expected) in [
            ("plain ünïcode 文", "plain ünïcode 文"),
            ("two\nlines\r\n", "two\\nlines\\r"),
            ("\ttab", "\\ttab"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            ("nul\0 del\x7f c1\u{9b}31m", "nul\\x00 del\\x7f c1\\x9b31m"),
            ("", ""),
        ] {
            let mut line = String::from("> ");
            escape(&mut line, text);
            assert_eq!(line, format!("> {expected}"));
        }
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
