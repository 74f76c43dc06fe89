//! A row of the table of commands.

use std::process::ExitCode;

use crate::cli::options::Opt;
use crate::cli::session::Session;
use crate::error::Result;

/// A row of the table.
#[derive(Debug)]
pub struct CommandSpec {
    /// Empty where options mean it: the daemon, a check, the list of sections.
    pub name: &'static str,
    /// The words that may follow, `[N]`.
    pub operands: &'static str,
    /// Half a line of `-h`.
    pub summary: &'static str,
    /// The whole story, of `help COMMAND`.
    pub about: &'static str,
    /// Options that only some commands take, this one among them.
    pub options: &'static [&'static Opt],
    /// Whether options of the configuration mean anything to it.
    pub is_configured: bool,
    /// A command line.
    pub example: &'static str,
    /// What it does.
    pub action: Action,
}

impl CommandSpec {
    /// A command that options mean: `--help` is its help.
    pub(super) const fn without_name(run: fn(&Session) -> Result<ExitCode>) -> Self {
        Self {
            name: "",
            operands: "",
            summary: "",
            about: "",
            options: &[],
            is_configured: true,
            example: "",
            action: Action::Run(run),
        }
    }

    /// Whether a word is one of those that an operand may be, `acquire|release|status`.
    pub fn has_operand(&self, word: &std::ffi::OsStr) -> bool {
        self.operands.split_whitespace().any(|o| o.contains('|') && o.split('|').any(|choice| word == choice))
    }

    /// Whether an option is one of its own.
    pub fn takes(&self, option: &Opt) -> bool {
        self.options.iter().any(|own| own.long == option.long)
    }
}

/// What a command does.
#[derive(Debug)]
pub enum Action {
    /// Works on deployments, or on the configuration.
    Run(fn(&Session) -> Result<ExitCode>),
    /// Prints help.
    Help,
    /// Prints the completion script of a shell.
    Completions,
    /// Prints the version.
    Version,
}
