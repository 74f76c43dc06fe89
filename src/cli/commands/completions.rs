//! `repo-deploy completions`.

use super::spec::{Action, CommandSpec};

/// Its operand: the name of a shell.
pub const OPERANDS: &str = "SHELL";

/// Prints the completion script of a shell.
pub static COMPLETIONS: CommandSpec = CommandSpec {
    name: "completions",
    operands: OPERANDS,
    summary: "complete in a shell",
    about: "Prints the script that completes commands and options in SHELL: bash, zsh or fish. Packages and make \
            install put it in place.",
    options: &[],
    is_configured: false,
    example: "repo-deploy completions bash",
    action: Action::Completions,
};
