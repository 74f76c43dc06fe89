//! `repo-deploy status`.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::options;
use crate::cli::session::{RemoteFrom, RunBy, Session};
use crate::command::status::{self, Snapshot};
use crate::console;
use crate::console::screen::Screen;
use crate::error::Result;
use crate::report::status_file::Status;

/// Shows the live release.
pub static STATUS: CommandSpec = CommandSpec {
    name: "status",
    operands: "",
    summary: "show the live release",
    about: "Shows which release is live, since when and from which revision, how the last check ended, and which \
            releases are kept. Ends with 0 if the last check succeeded within three periods of the schedule, else with 1.",
    options: &[&options::JSON],
    is_configured: true,
    example: "repo-deploy status --json",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let sections = session.begin(RemoteFrom::Store, RunBy::Machine)?;
    let missed = Status::default();
    let mut snapshots = Vec::new();
    for settings in &sections {
        let schedule = settings.timing.schedule().ok(); // a wrong one is not this command's business
        snapshots.push(Snapshot::take(settings, schedule.as_ref(), &missed)?);
    }
    console::print(&match session.args.is_json {
        true => status::json(&snapshots),
        false => status::text(&snapshots, Screen::of_stdout()),
    })?;
    Ok(ExitCode::from(u8::from(!snapshots.iter().all(Snapshot::is_healthy))))
}
