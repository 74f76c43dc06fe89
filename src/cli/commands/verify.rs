//! `repo-deploy verify`: the worst exit code of all deployments.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::options;
use crate::cli::session::{RemoteFrom, RunBy, Session};
use crate::command::{repair, verify};
use crate::console;
use crate::daemon;
use crate::error::Result;

/// Compares the live tree with its release.
pub static VERIFY: CommandSpec = CommandSpec {
    name: "verify",
    operands: "",
    summary: "check the live tree",
    about: "Compares the live tree with its release: names, modes, sizes and content. Ends with 1 if anything differs. \
            With --repair it restores what differs, from the store, or from the remote if that still has the revision; \
            no hook runs.",
    options: &[&options::REPAIR],
    is_configured: true,
    example: "repo-deploy verify --repair",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let sections = session.begin(RemoteFrom::Store, RunBy::Hand)?;
    let (several, mut codes) = (sections.len() > 1, Vec::new());
    for settings in &sections {
        let prefix = if several { format!("{}: ", settings.id) } else { String::new() };
        console::switch_file(settings.log_file.as_deref());
        console::set_prefix(Some(&settings.id));
        let work = if session.args.is_repair { repair::repair } else { verify::verify };
        codes.push(work(settings, &prefix).unwrap_or_else(|e| {
            log::error!("{e}");
            e.exit_code()
        }));
    }
    Ok(ExitCode::from(daemon::worst(&codes)))
}
