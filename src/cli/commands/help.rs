//! `repo-deploy help`.

use std::process::ExitCode;

use super::{COMMANDS, CommandSpec};
use crate::cli::args::Misuse;
use crate::cli::session::{Session, print};
use crate::cli::{help, refuse, suggest};
use crate::error::Result;

/// Its operand: the name of a command is a word here.
pub const OPERANDS: &str = "[COMMAND]";

/// Prints help.
pub static HELP: CommandSpec = CommandSpec {
    name: "help",
    operands: OPERANDS,
    summary: "explain a command, or keys",
    about: "Prints the usage of COMMAND, its options and an example; with keys, the keys of the configuration; \
            without an operand, what --help prints.",
    options: &[],
    is_configured: false,
    example: "repo-deploy help keys",
    run,
};

fn run(session: &Session) -> Result<ExitCode> {
    let Some(word) = session.args.operands.first() else { return print(&help::long()) };
    if word == "keys" {
        return print(&help::keys());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == word) else {
        return Ok(refuse(&Misuse::unknown(format!("unknown command {word}"), suggest::command(word))));
    };
    print(&help::of_command(command))
}
