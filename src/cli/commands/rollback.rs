//! `repo-deploy rollback`.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::session::{RemoteFrom, RunBy, Session, by_hand, usage};
use crate::command::rollback::rollback;
use crate::error::Result;

/// Returns to an older release.
pub static ROLLBACK: CommandSpec = CommandSpec {
    name: "rollback",
    operands: "[RELEASE]",
    summary: "return to an older release",
    about: "Makes the release before the live one live again, or the one whose id begins with RELEASE (at least four \
            characters, as status and history print them). The revision that was live is on hold from then on, until the \
            remote has another one, or until retry.",
    options: &[],
    is_configured: true,
    example: "repo-deploy rollback 39e20c48",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let sections = session.begin(RemoteFrom::Store, RunBy::Hand)?;
    if sections.len() > 1 {
        return Err(usage("cannot do rollback for several deployments at once: choose one with --config-section NAME"));
    }
    let wanted = session.args.operands.first().map(String::as_str);
    by_hand(sections, &|settings| rollback(settings, wanted))
}
