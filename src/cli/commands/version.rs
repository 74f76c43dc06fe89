//! `repo-deploy version`.

use super::CommandSpec;
use crate::cli::help;
use crate::cli::session::print;

/// Prints the version.
pub static VERSION: CommandSpec = CommandSpec {
    name: "version",
    operands: "",
    summary: "print the version",
    about: "Prints the version, as --version does.",
    options: &[],
    is_configured: false,
    example: "repo-deploy version",
    run: |_| print(&help::version()),
};
