//! `signal`: sends a signal to a service of this host, for hooks that have no kill(1). The process is found by a pid
//! file that only trusted users can write, or by its name; the hook, its parents and its group are never signalled.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Context, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::log;
use crate::sys::processes::{Process, own_group, own_line};
use crate::sys::resolve::{self, Way};
use crate::sys::trust::Us;

/// The signals that services know.
const SIGNALS: [(&str, Signal); 13] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TERM", Signal::TERM),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("WINCH", Signal::WINCH),
];
/// Those that end a process.
const ENDING: [Signal; 4] = [Signal::INT, Signal::QUIT, Signal::KILL, Signal::TERM];
/// The largest pid file: some programs write more lines after the number.
const LARGEST: u64 = 4096;
/// The longest name of a process: TASK_COMM_LEN of the kernel, without its NUL.
const LONGEST_NAME: usize = 15;
/// How much later than its pid file a process may seem to start: clocks are read in ticks and whole seconds.
const SLACK: u64 = 2;
/// The time between two looks at a process.
const SLICE: Duration = Duration::from_millis(50);

/// A signal to send.
#[derive(Debug)]
pub struct Order {
    /// The name without SIG.
    pub name: &'static str,
    signal: Signal,
    pub pid_file: Option<PathBuf>,
    pub comm: Option<String>,
    pub wait: Option<Duration>,
}

impl Order {
    /// An order to send the signal `name`, with or without SIG; the error names the known ones.
    pub fn parse(name: &str) -> Result<Self, String> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let known = SIGNALS.iter().find(|(known, _)| *known == bare);
        let (name, signal) = known.ok_or_else(|| {
            let known: Vec<&str> = SIGNALS.iter().map(|(known, _)| *known).collect();
            format!("it takes {}", known.join(", "))
        })?;
        Ok(Self { name, signal: *signal, pid_file: None, comm: None, wait: None })
    }

    /// Sends it, and waits.
    pub fn run(&self) -> Result<()> {
        let mut sent = Vec::new();
        for process in self.find()? {
            let (name, shown) = (self.name, shown(&process));
            let is_sent = process.signal(self.signal).with_context(|| format!("cannot signal {shown}"))?;
            if !is_sent {
                return Err(Error::failed(format!("cannot signal {shown}: it has just ended")));
            }
            log::info!("sent {name} to {shown}");
            sent.push(process);
        }
        match self.wait {
            Some(wait) => self.watch(sent, wait),
            None => Ok(()),
        }
    }

    /// Waits until signalled processes end; after another signal than those of [`ENDING`], sees that they do not.
    fn watch(&self, mut running: Vec<Process>, wait: Duration) -> Result<()> {
        let (deadline, must_end) = (Deadline::after(wait), ENDING.contains(&self.signal));
        let (name, limit) = (self.name, wait.as_secs());
        loop {
            for at in (0..running.len()).rev() {
                if is_running(&running[at])? {
                    continue;
                }
                let gone = running.remove(at);
                if !must_end {
                    return Err(Error::failed(format!("{} ended after {name}", shown(&gone))));
                }
            }
            match running.first() {
                None => return Ok(()),
                Some(process) if deadline.has_passed() && must_end => {
                    return Err(Error::failed(format!("{} still runs {limit} s after {name}", shown(process))));
                }
                Some(_) if deadline.has_passed() => return Ok(()),
                Some(_) => std::thread::sleep(SLICE), // a signal ends this process from its handler
            }
        }
    }

    /// The processes to signal: at least one, and none that must not be.
    fn find(&self) -> Result<Vec<Process>> {
        let line = own_line().with_context(|| "cannot find the parents of this process")?;
        let is_own = |process: &Process| line.contains(&process.pid) || process.group == own_group();
        if let Some(file) = &self.pid_file {
            let process = self.of_file(file)?;
            if is_own(&process) {
                let why = "it is this process, a parent of it, or of its group";
                return Err(Error::failed(format!("cannot signal {}: {why}", shown(&process))));
            }
            return Ok(vec![process]);
        }
        let comm = self.comm.as_deref().unwrap_or_default();
        let mut found = Process::all().with_context(|| "cannot list the processes in /proc")?;
        found.retain(|process| process.name == comm && !is_own(process));
        let all: Vec<i32> = found.iter().map(|process| process.pid).collect();
        found.retain(|process| !all.contains(&process.parent));
        if found.is_empty() {
            return Err(Error::failed(format!("cannot signal {comm}: no process has this name")));
        }
        Ok(found)
    }

    /// The process of a pid file.
    fn of_file(&self, file: &std::path::Path) -> Result<Process> {
        let path = file.display();
        let what = || format!("cannot read the pid file {path}");
        let read = resolve::read_file(file, Way::Trusted, Us::with(None), LARGEST).map_err(io::Error::from);
        let (content, meta) = read.with_context(what)?;
        let first = String::from_utf8_lossy(&content);
        let first = first.lines().next().unwrap_or_default().trim();
        let is_number = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
        let pid = first.parse::<i32>().ok().filter(|pid| is_number && *pid > 0);
        let pid = pid.ok_or_else(|| Error::failed("its first line is no number of a process")).with_context(what)?;
        let about = || format!("cannot signal process {pid}");
        let process = Process::find(pid).with_context(about)?;
        let process = process.ok_or_else(|| Error::failed(format!("it does not run ({path})"))).with_context(about)?;
        if let Some(comm) = self.comm.as_ref().filter(|comm| **comm != process.name) {
            let why = format!("cannot signal {}: its name is not {comm}", shown(&process));
            return Err(Error::failed(why));
        }
        let written = u64::try_from(meta.mtime.0).unwrap_or_default();
        if process.started().is_some_and(|started| started > written + SLACK) {
            let why = format!("it started after the pid file {path} was written");
            return Err(Error::failed(format!("cannot signal {}: {why}", shown(&process))));
        }
        Ok(process)
    }
}

/// Whether a name can be one of a process; the error names a right one.
pub fn comm(text: &str) -> Result<String, String> {
    match (1..=LONGEST_NAME).contains(&text.len()) && !text.contains('/') {
        true => Ok(text.to_owned()),
        false => Err(format!("it takes a name of at most {LONGEST_NAME} bytes, as in /proc/PID/comm")),
    }
}

fn is_running(process: &Process) -> Result<bool> {
    process.is_running().with_context(|| format!("cannot watch {}", shown(process)))
}

/// `process 77 (nginx)`.
fn shown(process: &Process) -> String {
    format!("process {} ({})", process.pid, process.name.escape_debug())
}
