//! Other processes of this host, as /proc(5) shows them, and signals to them. A number may be another process's a
//! moment later: a process is a number and its start time, and is held by a pidfd where the kernel has that.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// Ticks of the clock in `stat` a second: USER_HZ, the same on all machines that Linux runs on here.
const TICKS: u64 = 100;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// Its name, of at most 15 bytes.
    pub name: String,
    pub parent: i32,
    pub group: i32,
    /// The start time in ticks since the boot: with the number, it tells two processes apart.
    start: u64,
}

impl Process {
    /// The process `pid`; `None`: there is none, or it has ended and is a zombie.
    pub fn find(pid: i32) -> io::Result<Option<Self>> {
        match fs::read(format!("/proc/{pid}/stat")) {
            Ok(stat) => parse(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is malformed"))),
            Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::exists("/proc/self/stat") {
                Ok(true) => Ok(None),
                _ => Err(io::Error::other("/proc is not mounted")),
            },
            Err(e) => Err(e),
        }
    }

    /// Every process of this PID namespace.
    pub fn all() -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        let own = namespace("self");
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            // The namespace of another user's process cannot be read; neither can that process be signalled.
            if namespace(&pid.to_string()).is_none_or(|its| own.as_ref() == Some(&its)) {
                all.extend(Self::find(pid)?);
            }
        }
        Ok(all)
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> io::Result<bool> {
        Ok(Self::find(self.pid)?.is_some_and(|now| now.start == self.start))
    }

    /// When it started, in seconds since 1970, by the clock as it is set now; `None`: /proc does not tell.
    pub fn started(&self) -> Option<u64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(boot + self.start / TICKS)
    }

    /// Sends a signal to this process, and to no other that has its number by now. False: it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let held: Option<OwnedFd> = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(held) => Some(held),
            Err(Errno::SRCH) => return Ok(false),
            Err(_) => None, // before Linux 5.3, or forbidden
        };
        if !self.is_running()? {
            return Ok(false); // the descriptor is of another process
        }
        let sent = match &held {
            Some(held) => match rustix::process::pidfd_send_signal(held, signal) {
                Err(Errno::NOSYS) => rustix::process::kill_process(pid, signal),
                sent => sent,
            },
            None => rustix::process::kill_process(pid, signal),
        };
        match sent {
            Err(Errno::SRCH) => Ok(false),
            sent => Ok(sent.map(|()| true)?),
        }
    }
}

/// This process and its parents, up to the first process.
pub fn own_line() -> io::Result<Vec<i32>> {
    let mut line = vec![i32::try_from(std::process::id()).unwrap_or_default()];
    while let Some(process) = Process::find(line[line.len() - 1])? {
        if process.parent == 0 || line.contains(&process.parent) {
            break;
        }
        line.push(process.parent);
    }
    Ok(line)
}

/// The group of this process.
pub fn own_group() -> i32 {
    rustix::process::getpgrp().as_raw_nonzero().get()
}

/// The PID namespace of a process, as the text of a link.
fn namespace(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Reads `stat`. The name, in parentheses, may hold anything. The first thread of a process may have ended before the
/// others: it is a zombie only as the last one. The outer `None`: malformed.
#[allow(clippy::option_option, reason = "a zombie is an answer, malformed text is none")]
fn parse(stat: &[u8]) -> Option<Option<Process>> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
    let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
    let small = |n: usize| fields.get(n)?.parse::<i32>().ok();
    if matches!(*fields.first()?, "Z" | "X") && number(17)? <= 1 {
        return Some(None);
    }
    Some(Some(Process {
        pid: std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?,
        name: String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned(),
        parent: small(1)?,
        group: small(2)?,
        start: number(19)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read_whatever_they_are_called() {
        let stat = |name: &str, state: &str, threads: u32| {
            format!("5 ({name}) {state} 1 77 70 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 900 1 2")
        };
        let process = |name: &str| Process { pid: 5, name: name.to_owned(), parent: 1, group: 77, start: 900 };
        for name in ["sleep", "a b", ") Z 1 78 ("] {
            assert_eq!(parse(stat(name, "S", 1).as_bytes()), Some(Some(process(name))), "{name}");
        }
        assert_eq!(parse(stat("x", "Z", 1).as_bytes()), Some(None));
        assert_eq!(parse(stat("x", "Z", 3).as_bytes()), Some(Some(process("x"))));
        for broken in [&b""[..], b"5 (sleep", b"5 (sleep) S 1 77"] {
            assert_eq!(parse(broken), None);
        }
    }

    #[test]
    fn a_process_finds_itself_and_no_other_with_its_number() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Process::find(pid).unwrap().unwrap();
        assert!(own.is_running().unwrap() && own_line().unwrap().contains(&pid));
        let other = Process { start: own.start + 1, ..own };
        assert!(!other.is_running().unwrap() && !other.signal(Signal::KILL).unwrap());
    }
}
