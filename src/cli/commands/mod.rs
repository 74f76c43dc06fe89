//! The table of commands. A command is a file here: its row, and the function that runs it. The parser, the help and the
//! tests go by [`COMMANDS`]; nothing else has to know of a new one.

pub mod daemon;
pub mod help;
mod history;
pub mod list;
mod plan;
mod retry;
mod rollback;
pub mod schedule;
mod seed;
mod status;
mod validate;
mod verify;
mod version;

use std::process::ExitCode;

use super::options::Opt;
use super::session::Session;
use crate::config::Settings;
use crate::error::Result;
use crate::report::check_report::CheckReport;

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
    /// Runs it.
    pub run: fn(&Session) -> Result<ExitCode>,
}

impl CommandSpec {
    /// A command that options mean: `--help` is its help.
    const fn without_name(run: fn(&Session) -> Result<ExitCode>) -> Self {
        Self { name: "", operands: "", summary: "", about: "", options: &[], is_configured: true, example: "", run }
    }

    /// Whether an option is one of its own.
    pub fn takes(&self, option: &Opt) -> bool {
        self.options.iter().any(|own| own.long == option.long)
    }
}

/// Every command that is a word.
pub const COMMANDS: &[&CommandSpec] = &[
    &status::STATUS,
    &history::HISTORY,
    &plan::PLAN,
    &rollback::ROLLBACK,
    &retry::RETRY,
    &verify::VERIFY,
    &validate::VALIDATE,
    &schedule::SCHEDULE,
    &seed::SEED,
    &help::HELP,
    &version::VERSION,
];

/// The commands that alone take an option, `status, history or plan`; empty: every command does.
pub fn that_take(option: &Opt) -> String {
    let names: Vec<&str> =
        COMMANDS.iter().filter(|command| command.takes(option)).map(|command| command.name).collect();
    match &names[..] {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

/// Does `work` with each deployment, by hand.
fn by_hand(sections: Vec<Settings>, work: &dyn Fn(&Settings) -> CheckReport) -> Result<ExitCode> {
    Ok(ExitCode::from(crate::daemon::once(sections, true, work)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for option in crate::cli::options::all() {
            assert!(seen.insert(option.to_string()), "{option} twice");
            assert!(option.short.is_none_or(|s| seen.insert(s.to_string())), "{option}: its letter twice");
        }
        for command in COMMANDS {
            assert!(seen.insert(command.name.to_owned()), "{} twice", command.name);
        }
    }
}
