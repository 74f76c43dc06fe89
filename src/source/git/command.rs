//! Starts git; no other module does. Git gets a fixed environment, only the configuration set here, no prompt, no hook,
//! no program that a repository names, and at most one transport. Options precede names that come from a remote;
//! secrets are passed in the environment. At the deadline the whole process group is killed.
//!
//! `error_class` parses git's error messages.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::error_class;
use super::git_error::GitError;
use crate::config::Secret;
use crate::error::{Context, Error, Kind, Result, plain};
use crate::http::retry::RequestError;
use crate::sys::clock::Deadline;
use crate::sys::log;
use crate::sys::process::{self, Ended, Pipes, Program, Stream};
use crate::sys::resolve::untrusted_reason;

/// How many lines of git's standard error are kept. The last lines have the cause of a failure.
const LINES: usize = 40;
/// The oldest git that supports all settings made here; an older one would silently ignore some.
const OLDEST: (u32, u32) = (2, 32);
const NEEDED: &str = "2.32";
/// The time limit for `git --version`.
const VERSION: Duration = Duration::from_secs(30);
/// The memory limit of git. A file of half a gigabyte may be stored as a delta to another one: then both are in memory
/// with the result, beside a stack for each thread. Larger ones are bombs, or need a host of their own.
const MEMORY: u64 = 2 << 30;
/// Configuration of every call. It takes precedence over all configuration files.
const CONFIG: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("core.bigFileThreshold", "32m"),
    ("credential.helper", ""),
    ("transfer.fsckObjects", "true"),
    ("transfer.bundleURI", "false"),
    ("transfer.unpackLimit", "1"),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("http.followRedirects", "false"),
    ("http.sslVerify", "true"),
    ("http.lowSpeedLimit", "1"),
    ("gpg.program", "/dev/null"),
    ("gpg.x509.program", "/dev/null"),
    ("gpg.minTrustLevel", "fully"),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    ("HOME", "/nonexistent"),
    ("LC_ALL", "C"),
    ("GIT_ASKPASS", ""),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// The git of this host.
#[derive(Clone, Debug)]
pub(super) struct Git {
    path: PathBuf,
    /// Variables of this process that git does not get.
    unset: Vec<OsString>,
    /// `http.lowSpeedTime`, in seconds.
    stall: Duration,
}

/// The parameters of a call to a remote, besides its URL.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) config: Vec<(&'static str, String)>,
    /// Secrets, which are removed from messages.
    pub(super) secrets: Vec<Secret>,
    /// The user or key, for messages.
    pub(super) whose: Option<String>,
}

impl Git {
    /// Finds git in PATH and checks its version; `remote` is for messages.
    pub(super) fn find(remote: &str, stall: Duration) -> Result<Self> {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let path = process::find("git", &path).ok_or_else(|| {
            Error::config(format!(
                "cannot use remote {remote}: there is no git in PATH: install git ({NEEDED} or later)"
            ))
        })?;
        if let Some(why) = untrusted_reason(&path).with_context(|| format!("cannot run {}", path.display()))? {
            return Err(Error::config(format!("cannot run {}: {why}", path.display())));
        }
        let is_unset = |name: &OsString| {
            let name = name.as_encoded_bytes();
            // With SUDO_UID git would also trust the repositories of that user.
            let others = [&b"SSH_ASKPASS"[..], b"SUDO_UID", b"XDG_CONFIG_HOME", b"LANGUAGE"];
            name.starts_with(b"GIT_") || others.contains(&name)
        };
        let unset = std::env::vars_os().map(|(name, _)| name).filter(is_unset).collect();
        let git = Self { path, unset, stall };
        git.check_version(remote)?;
        Ok(git)
    }

    /// Refuses a git that is too old for the settings made here.
    fn check_version(&self, remote: &str) -> Result<()> {
        let said = match self.call("", Access::default(), &["--version"]).output(1000, Deadline::after(VERSION), None) {
            Ok(said) => String::from_utf8_lossy(&said).into_owned(),
            Err(GitError::Request(fault)) if fault.error.kind() != Kind::Refused => return Err(fault.error),
            Err(_) => String::new(), // it ended badly, or talks without end: that is no version either
        };
        let found = said.strip_prefix("git version ").unwrap_or_default().split_whitespace().next();
        if found.and_then(version).is_some_and(|version| version >= OLDEST) {
            return Ok(());
        }
        let found: String = found.unwrap_or("unknown").escape_debug().take(40).collect();
        let path = self.path.display();
        Err(Error::config(format!(
            "cannot use remote {remote}: the version of {path} is {found}: install git {NEEDED} or later"
        )))
    }

    /// A call of `args` without any transport.
    pub(super) fn local(&self, repository: &Path, args: &[&str]) -> Call<'_> {
        Call { repository: Some(repository.to_owned()), ..self.call("", Access::default(), args) }
    }

    /// A call of `args` that may only use the transport `scheme`.
    pub(super) fn call(&self, scheme: &'static str, access: Access, args: &[&str]) -> Call<'_> {
        let args = args.iter().map(OsString::from).collect();
        Call { git: self, args, repository: None, scheme, access, input: None, largest_file: None }
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|part| part.split(|c: char| !c.is_ascii_digit()).next());
    let mut next = || numbers.next()??.parse().ok();
    Some((next()?, next()?))
}

/// A call that is not started yet.
pub(super) struct Call<'g> {
    git: &'g Git,
    args: Vec<OsString>,
    /// `None`: the command needs no repository.
    pub(super) repository: Option<PathBuf>,
    scheme: &'static str,
    pub(super) access: Access,
    pub(super) input: Option<File>,
    pub(super) largest_file: Option<u64>,
}

/// The last lines of git's standard error.
type Said = Rc<RefCell<Vec<String>>>;

/// A running git with its standard output.
#[derive(Debug)]
pub(super) struct RunningGit {
    stream: Stream<'static>,
    said: Said,
    verb: String,
    secrets: Vec<Secret>,
    whose: Option<String>,
}

impl Call<'_> {
    /// Returns the output, at most `most` bytes. With `patience`, the call fails as transient if it takes longer.
    pub(super) fn output(self, most: u64, deadline: Deadline, patience: Option<Duration>) -> Result<Vec<u8>, GitError> {
        let until = patience.map_or(deadline, |patience| deadline.at_most(patience));
        let mut reading = self.stream(until)?;
        let mut output = Vec::new();
        let read = (&mut reading).take(most + 1).read_to_end(&mut output);
        let is_late = |deadline: Deadline| deadline.has_passed() && read.is_err();
        if let Some(patience) = patience.filter(|_| is_late(until) && !deadline.has_passed()) {
            drop(reading);
            let seconds = patience.as_secs();
            return Err(RequestError::transient(format!(
                "no answer within {seconds} s (connect-timeout + stall-timeout)"
            ))
            .into());
        }
        if output.len() as u64 > most {
            let verb = reading.verb.clone();
            drop(reading);
            return Err(Error::refused(format!("git {verb} prints more than {most} bytes")).into());
        }
        reading.finish()?;
        Ok(output)
    }

    /// Starts git.
    pub(super) fn stream(self, deadline: Deadline) -> Result<RunningGit> {
        let Self { git, args, repository, scheme, access, input, largest_file } = self;
        let verb = args.first().map(|verb| verb.to_string_lossy().into_owned()).unwrap_or_default();
        let mut env: Vec<(OsString, OsString)> =
            ENVIRONMENT.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut add = |name: &str, value: OsString| env.push((name.into(), value));
        // Without a repository, git must not search for one.
        add("GIT_DIR", repository.unwrap_or_else(|| PathBuf::from("/nonexistent")).into());
        add("GIT_ALLOW_PROTOCOL", scheme.into());
        for (name, value) in access.environment {
            add(name, value);
        }
        let stall = git.stall.as_secs().max(1).to_string();
        let mut count = 0;
        let mut set = |key: &str, value: OsString| {
            add(&format!("GIT_CONFIG_KEY_{count}"), key.into());
            add(&format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        };
        for (key, value) in CONFIG {
            set(key, value.into());
        }
        set("http.lowSpeedTime", stall.into());
        for (key, value) in access.config {
            set(key, value.into());
        }
        add("GIT_CONFIG_COUNT", count.to_string().into());
        let shown: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        log::trace!("git {}", shown.join(" "));
        let program = Program { path: git.path.clone(), args, env, dir: PathBuf::from("/"), merges_errors: false };
        let said = Said::default();
        // A local remote is served by a child of git, which may need more memory to pack its owner's repository.
        let memory = (scheme != "file").then_some(MEMORY);
        let pipes = Pipes { input, unset: git.unset.clone(), largest_file, memory };
        let listener = said.clone();
        let listen = move |line: &[u8]| {
            let mut said = listener.borrow_mut();
            if said.len() >= LINES {
                said.remove(0);
            }
            said.push(String::from_utf8_lossy(line).into_owned());
        };
        let stream = Stream::start(&program, pipes, deadline, listen)
            .map_err(|e| Error::failed(format!("cannot run {}: {}", git.path.display(), plain(&e))))?;
        Ok(RunningGit { stream, said, verb, secrets: access.secrets, whose: access.whose })
    }
}

impl RunningGit {
    /// Waits for git to exit, and fails unless its exit code is 0.
    pub(super) fn finish(self) -> Result<(), GitError> {
        let Self { stream, said, verb, secrets, whose } = self;
        let ended = stream.finish().with_context(|| format!("cannot wait for git {verb}"))?;
        let how = match ended {
            Ended::Exited(0) => return Ok(()),
            Ended::Exited(code) => format!("exited with {code}"),
            Ended::Killed(signal) => format!("was killed by signal {signal}"),
            Ended::TimedOut => {
                let text = format!("git {verb} had not ended when the time for one check was over (timeout)");
                return Err(Error::failed(text).into());
            }
            Ended::Stopped(signal) => {
                return Err(Error::new(Kind::Stopped(signal), format!("stopped by signal {signal}")).into());
            }
        };
        let said = said.borrow();
        Err(error_class::read(&verb, &how, said.iter().map(String::as_str), &secrets, whose.as_deref()))
    }
}

impl Read for RunningGit {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (text, expected) in [
            ("2.47.3", Some((2, 47))),
            ("2.32", Some((2, 32))),
            ("2.32-rc1", Some((2, 32))),
            ("3.0.0.windows.1", Some((3, 0))),
            ("2.100.GIT", Some((2, 100))),
            ("2", None),
            ("2.x", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        for (text, is_enough) in [("2.31.8", false), ("1.99", false), ("2.32.0", true), ("2.100", true), ("3.0", true)]
        {
            assert_eq!(version(text) >= Some(OLDEST), is_enough, "{text}");
        }
        assert_eq!(NEEDED, format!("{}.{}", OLDEST.0, OLDEST.1));
    }
}
