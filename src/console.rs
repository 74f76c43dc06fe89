//! Standard error: the log and the progress line share it. Neither can end the program: a closed pipe, a full disk and a
//! missing terminal are all survived in silence. Standard output is for commands that answer.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::error::{Error, Result, plain};
use crate::sys::clock;

/// The log: one record is one line.
struct Console {
    file: OnceLock<File>,
    /// The last line in the file lacks its end: the disk was full.
    torn: AtomicBool,
    /// What stands on the terminal's last line and is not of the log; empty: nothing.
    progress: Mutex<String>,
}

static CONSOLE: Console =
    Console { file: OnceLock::new(), torn: AtomicBool::new(false), progress: Mutex::new(String::new()) };

/// Installs the log, or changes what is installed. `level` counts from -1 (`--quiet`) over 0 to 2 (`-v -v`). A log file
/// that cannot be opened costs a warning, and the log stays on standard error: a deployment does not wait for a disk.
pub fn init(level: i8, log_file: Option<&Path>) {
    let _ = log::set_logger(&CONSOLE); // fails only when it is installed already, which is what we want
    log::set_max_level(match level {
        ..0 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    });
    let Some(path) = log_file else { return };
    match File::options().append(true).create(true).mode(0o640).open(path) {
        Ok(file) => drop(CONSOLE.file.set(file)), // the first one stays: nobody asks for two
        Err(e) => log::warn!("cannot open the log file {}: {}: logging to standard error", path.display(), plain(&e)),
    }
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
        let mut line = format!("{} {} ", clock::rfc3339(clock::now()), record.level());
        escape(&mut line, &record.args().to_string());
        line.push('\n');
        if !self.append(line.as_bytes()) {
            self.print(&line);
        }
    }

    fn flush(&self) {}
}

impl Console {
    /// Appends to the log file; false: there is none, or it takes nothing.
    fn append(&self, line: &[u8]) -> bool {
        let Some(mut file) = self.file.get() else { return false };
        let mut whole = Vec::with_capacity(line.len() + 1);
        if self.torn.load(Ordering::Relaxed) {
            whole.push(b'\n'); // a record begins its own line
        }
        whole.extend_from_slice(line);
        // One write a record: others may append to the same file.
        let written = file.write(&whole).unwrap_or(0);
        if written > 0 {
            self.torn.store(written < whole.len(), Ordering::Relaxed);
        }
        written == whole.len()
    }

    /// Prints to standard error, above the progress line.
    fn print(&self, line: &str) {
        // `try_lock`: a record that is made while the line is drawn is worth more than its place.
        let shown = self.progress.try_lock().map(|p| p.clone()).unwrap_or_default();
        if shown.is_empty() {
            write_stderr(line);
        } else {
            write_stderr(&format!("{CLEAR}{line}{shown}"));
        }
    }
}

/// Writes what can be written: a log that nobody reads or no disk takes must not stop a deployment.
fn write_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes()); // see above: there is nowhere left to say it
}

/// Adds `text` as one line of printable characters: what comes from archives, servers and hooks must neither make
/// records up nor speak to the terminal.
fn escape(line: &mut String, text: &str) {
    for c in text.trim_end_matches('\n').chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(c)); // writing to a String cannot fail
            }
            c => line.push(c),
        }
    }
}

/// Answers on standard output. Nobody reading on is no error, as for any tool in a pipe; a full disk is.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to standard output: {}", plain(&e))))
        }
        _ => Ok(()),
    }
}

/// Bytes as people read them: `999 B`, `12.3 MiB`.
#[allow(clippy::cast_precision_loss, reason = "one decimal is printed")]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would print as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// To the beginning of the line, and erase it.
const CLEAR: &str = "\r\x1b[K";

/// When the line shows first, and how often it changes.
const PATIENCE: Duration = Duration::from_millis(300);
const PACE: Duration = Duration::from_millis(100);

/// A line on the terminal that tells how far something is: nothing when standard error is none. Gone when dropped.
#[derive(Debug)]
pub struct Progress {
    verb: &'static str,
    total: Option<u64>,
    done: u64,
    /// `None`: there is nobody to look at it.
    meter: Option<Meter>,
}

#[derive(Debug)]
struct Meter {
    next: Instant,
    since: Instant,
    /// What was done at `since`.
    before: u64,
    /// Bytes a second, smoothed.
    rate: Option<f64>,
}

impl Progress {
    /// Starts a line: `verb` as in "fetching", and the total in bytes when it is known.
    pub fn start(verb: &'static str, total: Option<u64>) -> Self {
        let now = Instant::now();
        let meter = has_reader().then_some(Meter { next: now + PATIENCE, since: now, before: 0, rate: None });
        Self { verb, total, done: 0, meter }
    }

    /// `bytes` more are done.
    pub fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        let Some(meter) = &mut self.meter else { return };
        let now = Instant::now();
        if now < meter.next {
            return;
        }
        meter.next = now + PACE;
        meter.measure(self.done, now.duration_since(meter.since));
        meter.since = now;
        let mut line = describe(self.verb, self.done, self.total, meter.rate);
        line.truncate(width().saturating_sub(1)); // it is ASCII; a full line would wrap
        write_stderr(&format!("{CLEAR}{line}"));
        if let Ok(mut shown) = CONSOLE.progress.try_lock() {
            *shown = line;
        }
    }
}

impl Meter {
    /// Takes the rate since the last time into account, the more the longer that is: half of it after two seconds.
    #[allow(clippy::cast_precision_loss, reason = "a rate for the eye")]
    fn measure(&mut self, done: u64, passed: Duration) {
        let passed = passed.as_secs_f64().max(0.001);
        let now = done.saturating_sub(self.before) as f64 / passed;
        let weight = passed / (passed + 2.0);
        self.rate = Some(self.rate.map_or(now, |rate| rate + (now - rate) * weight));
        self.before = done;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Ok(mut shown) = CONSOLE.progress.try_lock()
            && !shown.is_empty()
        {
            shown.clear();
            write_stderr(CLEAR);
        }
    }
}

/// Whether somebody looks: a terminal that can erase a line, and no `--quiet`.
fn has_reader() -> bool {
    let able = std::env::var_os("TERM").is_some_and(|t| !t.is_empty() && t != "dumb");
    able && log::max_level() >= LevelFilter::Info && rustix::termios::isatty(std::io::stderr())
}

fn width() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => 80,
    }
}

/// `fetching 12.3 MiB of 54.0 MiB, 23%, 8.1 MiB/s, 5 s left`, as far as things are known.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive numbers for the eye; `as` saturates"
)]
fn describe(verb: &str, done: u64, total: Option<u64>, rate: Option<f64>) -> String {
    let mut line = format!("{verb} {}", size(done));
    let total = total.filter(|total| *total > 0 && done <= *total);
    if let Some(total) = total {
        line += &format!(" of {}, {}%", size(total), u128::from(done) * 100 / u128::from(total));
    }
    if let Some(rate) = rate.filter(|rate| *rate >= 1.0) {
        line += &format!(", {}/s", size(rate as u64));
        if let Some(total) = total {
            line += &format!(", {} left", span(((total - done) as f64 / rate).ceil() as u64));
        }
    }
    line
}

/// Seconds as people read them: `5 s`, `3 min 20 s`, `2 h 5 min`.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}
