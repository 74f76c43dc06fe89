//! Without a command: the daemon, and with `-f` a single check.

use std::process::ExitCode;

use super::spec::CommandSpec;
use crate::cli::session::{RemoteFrom, RunBy, Session};
use crate::daemon;
use crate::deploy;
use crate::error::Result;
use crate::sys::resolve;

/// Checks at once, then on the schedule, until TERM or INT.
pub static DAEMON: CommandSpec = CommandSpec::without_name(daemon);

/// Checks once.
pub static CHECK: CommandSpec = CommandSpec::without_name(check);

fn daemon(session: &Session) -> Result<ExitCode> {
    let read = || session.load(RemoteFrom::Configuration, RunBy::Machine);
    daemon::watch(read()?, session.notify.clone(), &read)?;
    Ok(ExitCode::SUCCESS)
}

fn check(session: &Session) -> Result<ExitCode> {
    resolve::remember(); // up to the first request
    let sections = session.begin(RemoteFrom::Configuration, RunBy::Machine)?;
    Ok(ExitCode::from(daemon::once(sections, false, &deploy::check)))
}
