//! The arguments of a command, as they are given.

use crate::config::Request;

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
    pub is_quiet: bool,
    /// How often `-v` is given, at most twice.
    pub verbosity: i8,
}

impl Args {
    /// The level of the log: -1 (`--quiet`) to 2 (`-v -v`).
    pub fn level(&self) -> i8 {
        if self.is_quiet { -1 } else { self.verbosity }
    }
}
