//! `repo-deploy help`.

use super::spec::{Action, CommandSpec};

/// Its operand: the name of a command is a word here.
pub const OPERANDS: &str = "[COMMAND]";

/// Prints help.
pub static HELP: CommandSpec = CommandSpec {
    name: "help",
    operands: OPERANDS,
    summary: "explain command or keys",
    about: "Prints the usage of COMMAND, its options and an example; with keys, the keys of the configuration; \
            with repo-deploy.8 or repo-deploy.cfg.5, that manual page as roff; without an operand, what --help prints.",
    options: &[],
    is_configured: false,
    example: "repo-deploy help keys",
    action: Action::Help,
};
