//! Hook directories: which programs run, in which order, with which environment, and the meaning of their exit status.
//! All entries of a directory are examined before the first hook runs; the first hook that fails ends the list.
//!
//! The scripts of lifecycle events run in the same way. Other modules decide how a verdict affects the deployment, and
//! which variables are set.

mod discover;
mod paths;
pub mod secrets;
mod start_failure;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::console;
use crate::console::progress::size;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::clock::Deadline;
use crate::sys::log;
use crate::sys::process::{self, Ended, Identity, Output, Program};
use crate::sys::signal;
pub use discover::{Before, Found, Listed};

/// The interpreter of a script whose first line names none.
const SHELL: &str = "/bin/sh";

/// The result of a list of hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All ended with 0, or there were none.
    Passed,
    /// One hook failed, and the rest did not run. The text names the hook and its exit status.
    Failed(String),
    /// A signal asked this process to stop while a hook ran.
    Stopped(i32),
}

/// Examines everything in `dir`; runs nothing. A missing directory has no hooks. Likely mistakes are logged as
/// warnings.
pub fn find(dir: &Path) -> Result<Found> {
    let (found, remarks) = survey(dir)?;
    remarks.iter().for_each(|remark| log::warn!("{remark}"));
    Ok(found)
}

/// Like [`find`], but returns the warnings instead of logging them.
pub fn survey(dir: &Path) -> Result<(Found, Vec<String>)> {
    discover::discover(dir)
}

/// The reason why each of `hooks` cannot be started, as far as it shows without starting it, and whether it is only
/// likely.
pub fn cannot_start(hooks: &[Listed]) -> Vec<(bool, String)> {
    let of = |hook: &Listed| {
        let (is_likely, why) = start_failure::foresee(&hook.path)?;
        Some((is_likely, format!("the hook {} cannot start: {why}", hook.path.display())))
    };
    hooks.iter().filter_map(of).collect()
}

/// Whether there is no directory at `dir`, and so no hooks.
pub fn is_missing(dir: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(dir) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e).with_context(|| format!("cannot read the hook directory {}", dir.display())),
    }
}

/// The reason why no hook in `dir` may run, if so; for use before the live tree changes.
pub fn refusal(dir: &Path) -> Result<Option<String>> {
    Ok(match survey(dir)? {
        (Found::Hooks(_), _) => None,
        (Found::Refused(why), _) => Some(why),
    })
}

/// Calls its argument with every path that changes.
pub type EachPath<'a> = dyn FnMut(&mut dyn FnMut(&[u8])) -> Result<()> + 'a;

/// Selects the hooks whose `.paths` match a change. `each_path` is not called if no hook has a `.paths` file.
pub fn meant(hooks: &[Listed], each_path: &mut EachPath<'_>) -> Result<Vec<bool>> {
    let mut is_meant: Vec<bool> = hooks.iter().map(|hook| hook.paths.is_none()).collect();
    if is_meant.contains(&false) {
        each_path(&mut |path| {
            for (hook, is_meant) in hooks.iter().zip(&mut is_meant) {
                *is_meant = *is_meant || hook.paths.as_ref().is_some_and(|paths| paths.is_for(path));
            }
        })?;
    }
    Ok(is_meant)
}

/// Runs `hooks` in order with `env` added to the environment of this process.
///
/// With no deferred region open around the call, [`Verdict::Stopped`] also reports a signal that came too late for the
/// last hook; inside a deferred region, [`signal::pending`] reports it.
pub fn run(hooks: &[Listed], env: &[(&'static str, OsString)], timeout: Duration, deadline: Deadline) -> Verdict {
    let region = signal::defer();
    let mut verdict = Verdict::Passed;
    for hook in hooks {
        verdict = Hook::of(&hook.path).run(env, timeout, deadline);
        if verdict != Verdict::Passed {
            break;
        }
    }
    region.close().map_or(verdict, Verdict::Stopped)
}

/// The title of a hook: the name of its directory and its own.
pub fn title(path: &Path) -> String {
    let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
    format!("{}/{}", dir.display(), path.file_name().unwrap_or_default().display())
}

impl Verdict {
    /// The verdict for an error: a hook that cannot be started has failed, and one that a signal interrupted is
    /// stopped.
    pub fn of(e: &Error) -> Self {
        if let Kind::Stopped(signal) = e.kind() { Self::Stopped(signal) } else { Self::Failed(e.to_string()) }
    }

    /// Continues with `next` if everything has passed so far.
    pub fn then(self, next: impl FnOnce() -> Result<Self>) -> Result<Self> {
        if self == Self::Passed { next() } else { Ok(self) }
    }
}

/// A program to run, and how to run it.
pub struct Hook {
    pub path: PathBuf,
    /// The name in the log: `post-update.d/10-reload`.
    pub title: String,
    /// Its working directory.
    pub dir: PathBuf,
    /// The user to run it as, if not the user of this process.
    pub identity: Option<Identity>,
    /// The setting that its time limit comes from, for messages.
    pub limit: &'static str,
    /// Whether /bin/sh runs the program if its first line names no interpreter.
    pub is_for_shell: bool,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl Hook {
    /// A hook of a directory.
    fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            title: title(path),
            dir: PathBuf::from("/"),
            identity: None,
            limit: "hook-timeout",
            is_for_shell: false,
        }
    }

    fn start(
        &self,
        path: &Path,
        args: Vec<OsString>,
        env: &[(&'static str, OsString)],
        deadline: Deadline,
    ) -> std::io::Result<Ended> {
        let program = Program {
            path: path.to_owned(),
            args,
            env: env.iter().map(|(key, value)| (OsString::from(key), value.clone())).collect(),
            dir: self.dir.clone(),
            merges_errors: true,
        };
        let name = self.path.file_name().unwrap_or_default().display();
        process::run_as(&program, self.identity.as_ref(), deadline, &mut |output| match output {
            Output::Line(line) => log::info!("{name}: {}", String::from_utf8_lossy(line)),
            Output::LeftOut(bytes) => {
                log::warn!("{self} printed {} more that are not in the log; it ended with:", size(bytes));
            }
        })
    }

    /// Runs the program to its end, with `env` added to the environment of this process.
    pub fn run(&self, env: &[(&'static str, OsString)], timeout: Duration, deadline: Deadline) -> Verdict {
        if deadline.has_passed() {
            return Verdict::Failed(format!("{self} was not started: the whole check took longer than timeout"));
        }
        let is_last_of_the_check = deadline.remaining() < timeout;
        log::debug!("{self} starts");
        let started = Instant::now();
        let deadline = deadline.at_most(timeout);
        let limit = console::limit(deadline);
        let ended = match self.start(&self.path, Vec::new(), env, deadline) {
            Err(e) if self.is_for_shell && start_failure::is_for_shell(&self.path, &e) => {
                self.start(Path::new(SHELL), vec![self.path.clone().into()], env, deadline)
            }
            ended => ended,
        };
        drop(limit);
        let took = started.elapsed().as_secs_f64();
        match ended {
            Ok(Ended::Exited(code)) => log::debug!("{self} ended with exit code {code} after {took:.3} s"),
            Ok(Ended::Stopped(by)) => log::warn!("{self} was ended: {} asked us to stop", signal::describe(by)),
            Ok(Ended::Killed(by)) => log::debug!("{self} was killed by {} after {took:.3} s", signal::describe(by)),
            Ok(Ended::TimedOut) => log::debug!("{self} was ended: it was not over after {took:.3} s"),
            Err(_) => {} // the verdict reports it
        }
        match ended {
            Ok(Ended::Exited(0)) => Verdict::Passed,
            Ok(Ended::Exited(code)) => Verdict::Failed(format!("{self} ended with exit code {code}")),
            Ok(Ended::Killed(by)) => Verdict::Failed(format!("{self} was killed by {}", signal::describe(by))),
            Ok(Ended::TimedOut) if is_last_of_the_check => {
                Verdict::Failed(format!("{self} was ended because the whole check took longer than timeout"))
            }
            Ok(Ended::TimedOut) => {
                Verdict::Failed(format!("{self} was ended after {} = {} s", self.limit, timeout.as_secs()))
            }
            Ok(Ended::Stopped(by)) => Verdict::Stopped(by),
            Err(e) => Verdict::Failed(format!("{self} cannot start: {}", start_failure::explain(&self.path, &e))),
        }
    }
}

#[cfg(test)]
mod tests;
