//! A run of a command: its arguments, the environment, and the configuration once a command asks for it.

use std::ffi::OsString;
use std::process::ExitCode;

use super::args::Args;
use crate::config::{self, Settings};
use crate::error::{Context, Error, Kind, Result};
use crate::report::check_report::CheckReport;
use crate::report::known_remote;
use crate::sys::notify::Notify;
use crate::{console, daemon, sys};

/// What a command is given.
#[derive(Debug)]
pub struct Session {
    pub args: Args,
    pub environment: Vec<(OsString, OsString)>,
    pub notify: Notify,
}

/// Where the remote comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteFrom {
    /// The configuration: the command is about what the remote offers.
    Configuration,
    /// The configuration, else the store of the deployment: the command is about what is deployed.
    Store,
    /// The same, and the remote is polled: it has to be whole.
    StoreToPoll,
}

/// Who runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunBy {
    /// cron or an init system: with `log-file` there is nothing on standard error.
    Machine,
    /// A person: the log is on standard error too.
    Hand,
}

impl Session {
    /// Reads the configuration, and opens the log that it asks for. Fails with the first value that cannot be used.
    pub fn load(&self, from: RemoteFrom, by: RunBy) -> Result<Vec<Settings>> {
        console::reopen();
        let recall = |settings: &Settings| known_remote::remote(settings, from == RemoteFrom::StoreToPoll);
        let recall: Option<config::Recall<'_>> = if from == RemoteFrom::Configuration { None } else { Some(&recall) };
        let mut warnings = Vec::new();
        let loaded = config::load(&self.args.request, &self.environment, &mut warnings, recall);
        if let Ok(sections) = &loaded {
            console::set_json(sections.first().is_some_and(|settings| settings.is_json_log));
            console::init(self.args.level(), sections.first().and_then(|settings| settings.log_file.as_deref()));
            let has_usual_log = |s: &Settings| s.bundle.as_ref().is_some_and(|bundle| bundle.is_log_usual);
            console::tee_to_stderr(
                by == RunBy::Hand || console::stderr_is_terminal() && sections.iter().any(has_usual_log),
            );
        }
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        loaded
    }

    /// The same for a command that signals may stop.
    pub fn begin(&self, from: RemoteFrom, by: RunBy) -> Result<Vec<Settings>> {
        let sections = self.load(from, by)?;
        sys::signal::install().with_context(|| "cannot install the signal handlers")?;
        Ok(sections)
    }
}

/// Prints an answer.
pub fn print(text: &str) -> Result<ExitCode> {
    console::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Does `work` with each deployment, by hand.
pub fn by_hand(sections: Vec<Settings>, work: &dyn Fn(&Settings) -> CheckReport) -> Result<ExitCode> {
    Ok(ExitCode::from(daemon::once(sections, true, work)))
}

/// The error of a wrong command line.
pub fn usage(text: impl Into<String>) -> Error {
    Error::new(Kind::Usage, text)
}
