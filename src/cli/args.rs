//! The arguments of a command, as they are given.

use std::time::Duration;

use crate::config::{self, Request};
use crate::error::{Error, Kind, Result};

/// The longest DURATION of an option.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Options and operands.
#[derive(Debug, Default)]
pub struct Args {
    /// The words after the command.
    pub operands: Vec<String>,
    /// The options that concern the configuration.
    pub request: Request,
    pub from: Option<i64>,
    pub revision: Option<String>,
    pub is_json: bool,
    pub is_repair: bool,
    pub is_fetch: bool,
    pub is_list: bool,
    /// The options of one command that it parses itself, in order: name, value.
    pub own: Vec<(&'static str, String)>,
    pub is_quiet: bool,
    /// How often `-v` is given, at most twice.
    pub verbosity: i8,
}

impl Args {
    /// The value of an option of one command, the last one that is given.
    pub fn own(&self, option: &str) -> Option<&str> {
        self.own.iter().rev().find(|(name, _)| *name == option).map(|(_, value)| value.as_str())
    }

    /// A DURATION of at most a day.
    pub fn duration(&self, option: &str, default: Duration) -> Result<Duration> {
        self.parsed(option, |text| config::time(text, LONGEST)).map(|given| given.unwrap_or(default))
    }

    /// The value of an option of one command, as `parse` reads it.
    pub fn parsed<T>(&self, option: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>> {
        let read = |text: &str| {
            parse(text).map_err(|why| Error::new(Kind::Usage, format!("cannot use --{option} {text}: {why}")))
        };
        self.own(option).map(read).transpose()
    }

    /// The level of the log: -1 (`--quiet`) to 2 (`-v -v`).
    pub fn level(&self) -> i8 {
        if self.is_quiet { -1 } else { self.verbosity }
    }
}
