//! The table of commands. A command is a file here: its row, and its function. The parser, the help and the
//! tests go by [`COMMANDS`]; nothing else has to know of a new one.

pub mod completions;
pub mod daemon;
pub mod help;
mod history;
pub mod list;
mod lock;
mod plan;
mod probe;
mod retry;
mod rollback;
mod schedule;
mod seed;
mod signal;
pub mod spec;
mod status;
mod validate;
mod verify;
mod version;

use self::spec::CommandSpec;
use super::options::Opt;

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
    &probe::PROBE,
    &signal::SIGNAL,
    &lock::LOCK,
    &completions::COMPLETIONS,
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
