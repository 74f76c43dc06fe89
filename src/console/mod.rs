//! Standard error: the log and the progress line share it. Neither can end the program: a closed pipe, a full disk and a
//! missing terminal are all survived; a log file that takes no more is told of once. Standard output is for commands that answer.

pub mod progress;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{Mode, OFlags};

pub use self::progress::Progress;
use crate::error::{Error, Result, plain};
use crate::sys::clock;

/// To the beginning of the line, and erase it.
const CLEAR: &str = "\r\x1b[K";

/// The log: one record is one line.
struct Console {
    file: OnceLock<LogFile>,
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

static CONSOLE: Console = Console { file: OnceLock::new(), progress: Mutex::new(String::new()) };

/// Installs the log, or changes what is installed. `level` counts from -1 (`--quiet`) over 0 to 2 (`-v -v`). A log file
/// that cannot be opened costs a warning, and the log stays on standard error: a deployment does not wait for a disk.
pub fn init(level: i8, log_file: Option<&Path>) {
    let _ = log::set_logger(&CONSOLE); // it fails when it is installed already, which is what we want
    log::set_max_level(match level {
        ..0 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    });
    let Some(path) = log_file else { return };
    match open(path) {
        Ok(file) => {
            let (torn, told) = (AtomicBool::new(false), AtomicBool::new(false));
            let _ = CONSOLE.file.set(LogFile { file, path: path.to_owned(), torn, told }); // the first one stays: nobody asks for two
        }
        Err(e) => log::warn!("cannot open the log file {}: {}: logging to standard error", path.display(), plain(&e)),
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
        let line = line(record.level(), &record.args().to_string());
        let Some(file) = self.file.get() else { return self.print(&line) };
        if let Err(e) = file.append(line.as_bytes()) {
            if !file.told.swap(true, Ordering::Relaxed) {
                let (path, why) = (file.path.display(), plain(&e));
                let why = format!("cannot write to the log file {path}: {why}: logging to standard error");
                self.print(&self::line(Level::Warn, &why));
            }
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
