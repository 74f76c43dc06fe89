//! `--list-configs`: the sections of the configuration.

use std::process::ExitCode;

use super::spec::CommandSpec;
use crate::cli::session::{Session, print};
use crate::config;
use crate::error::Result;

/// Lists the sections.
pub static LIST: CommandSpec = CommandSpec::without_name(run);

fn run(session: &Session) -> Result<ExitCode> {
    print(&config::list(&session.args.request, &session.environment)?)
}
