//! `repo-deploy history`.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::options;
use crate::cli::session::{RemoteFrom, RunBy, Session, print};
use crate::command::history::{self, Told};
use crate::console::screen::Screen;
use crate::error::Result;

/// Lists past deployments.
pub static HISTORY: CommandSpec = CommandSpec {
    name: "history",
    operands: "",
    summary: "list past deployments",
    about: "Lists past deployments, the newest first: when, with which outcome, which release of which revision, why, \
            how long it took, and how many bytes were fetched.",
    options: &[&options::JSON],
    is_configured: true,
    example: "repo-deploy history -l /srv/www/current",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let sections = session.begin(RemoteFrom::Store, RunBy::Machine)?;
    let all = sections.iter().map(Told::read).collect::<Result<Vec<_>>>()?;
    print(&match session.args.is_json {
        true => history::json(&all),
        false => history::text(&all, Screen::of_stdout()),
    })
}
