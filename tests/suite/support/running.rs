//! A run that is not over yet: its log is read line by line, so that a test can wait for what it waits for.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::sandbox::{Run, plain};

pub struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log, seen: String::new() }
    }

    /// The same where INT and HUP are not ignored, as they are in what a script starts in its background: what is ignored at
    /// the start stays so.
    pub fn start_in_the_foreground(command: &Command) -> Self {
        let mut env = Command::new("/usr/bin/env");
        env.args(["--default-signal=INT,HUP", "--"]).arg(command.get_program()).args(command.get_args());
        env.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        env.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
        Self::start(env)
    }

    /// Waits until a line of the log has `words`.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> &mut Self {
        self.until_any(&[words])
    }

    /// Waits until a line of the log has one of `words`.
    #[track_caller]
    pub fn until_any(&mut self, words: &[&str]) -> &mut Self {
        let start = Instant::now();
        loop {
            let is_early = start.elapsed() < Duration::from_secs(300);
            assert!(is_early, "waited for {words:?}, and other lines came for five minutes:\n{}", self.seen);
            let line = self.next_line(words);
            self.seen.push_str(&line);
            if words.iter().any(|words| line.contains(words)) {
                return self;
            }
        }
    }

    /// The next line of the log, which may come in pieces.
    #[track_caller]
    fn next_line(&mut self, sought: &[&str]) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if self.log.buffer().is_empty() {
                let mut asked = [PollFd::new(self.log.get_ref(), PollFlags::IN)];
                let has_more = poll(&mut asked, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap() > 0;
                let begun = String::from_utf8_lossy(&line);
                assert!(has_more, "waited for {sought:?} for a minute:\n{}{begun}", self.seen);
            }
            let piece = self.log.fill_buf().unwrap();
            assert!(!piece.is_empty(), "it ended before it said {sought:?}:\n{}", self.seen);
            let length = piece.iter().position(|b| *b == b'\n').map_or(piece.len(), |at| at + 1);
            line.extend_from_slice(&piece[..length]);
            self.log.consume(length);
        }
        plain(&String::from_utf8_lossy(&line))
    }

    /// The next line with `words`.
    #[track_caller]
    pub fn next_with(&mut self, words: &str) -> String {
        self.until(words);
        let end = self.seen.trim_end().len();
        self.seen[self.seen[..end].rfind('\n').map_or(0, |at| at + 1)..end].to_owned()
    }

    /// Waits until each of `words` was in a line, in whatever order.
    #[track_caller]
    pub fn until_all(&mut self, words: &mut Vec<&str>) -> &mut Self {
        while !words.is_empty() {
            let line = self.next_with("");
            words.retain(|words| !line.contains(words));
        }
        self
    }

    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    pub fn end(mut self) -> Run {
        let mut rest = Vec::new();
        self.log.read_to_end(&mut rest).unwrap();
        self.seen.push_str(&plain(&String::from_utf8_lossy(&rest)));
        let status = self.child.wait().unwrap();
        Run {
            log: std::mem::take(&mut self.seen),
            ..Run::from(std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() })
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already when the test came to its end
        let _ = self.child.wait(); // as above
    }
}

/// Whether a process runs: neither gone nor a zombie that waits for somebody else.
pub fn is_alive(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']),
        Err(_) => false,
    }
}

/// Ends a process that a test left running on purpose.
pub fn kill(pid: &str) {
    kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}
