//! `repo-deploy retry`.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::session::{RemoteFrom, RunBy, Session, by_hand};
use crate::command::retry::retry;
use crate::error::Result;

/// Tries again what is on hold.
pub static RETRY: CommandSpec = CommandSpec {
    name: "retry",
    operands: "",
    summary: "clear failures, check once",
    about: "Forgets failures, rollbacks and a Retry-After of the remote, and checks once, as -f does: a revision that is \
            on hold is tried again.",
    options: &[],
    is_configured: true,
    example: "repo-deploy retry -v",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    by_hand(session.begin(RemoteFrom::StoreToPoll, RunBy::Hand)?, &retry)
}
