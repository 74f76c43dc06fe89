//! `repo-deploy version`.

use super::spec::{Action, CommandSpec};

/// Prints the version.
pub static VERSION: CommandSpec = CommandSpec {
    name: "version",
    operands: "",
    summary: "print the version",
    about: "Prints the version, as --version does.",
    options: &[],
    is_configured: false,
    example: "repo-deploy version",
    action: Action::Version,
};
