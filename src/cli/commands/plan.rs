//! `repo-deploy plan`.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::options;
use crate::cli::session::{RemoteFrom, RunBy, Session};
use crate::command::plan;
use crate::console;
use crate::console::screen::Screen;
use crate::daemon;
use crate::error::{Error, Kind, Result};

/// Previews the next check.
pub static PLAN: CommandSpec = CommandSpec {
    name: "plan",
    operands: "",
    summary: "preview the next check",
    about: "Polls the remote and shows the next check: the revision, the files it would add (A), change (M) or \
            remove (D), and the hooks it would run. Changes nothing. Shows 40 files, with -v all of them. Ends with 0 if \
            there is nothing to do, with 10 if there is something, else as the check would end.",
    options: &[&options::JSON],
    is_configured: true,
    example: "repo-deploy plan -v --config-section web",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let sections = session.begin(RemoteFrom::Configuration, RunBy::Hand)?;
    let (is_json, is_whole) = (session.args.is_json, session.args.verbosity > 0);
    let (mut codes, mut has_page) = (Vec::new(), false);
    if is_json {
        plan::shown::json_begins()?;
    }
    for settings in &sections {
        console::set_prefix(Some(&settings.id));
        let plan = plan::plan(settings);
        match &plan {
            Ok(_) if is_json => {}
            Ok(plan) => {
                if std::mem::replace(&mut has_page, true) {
                    console::print("\n")?; // between two
                }
                plan.print(Screen::of_stdout(), is_whole)?;
            }
            Err(e) => log::error!("{e}"),
        }
        if is_json {
            plan::shown::json(settings, &plan, codes.is_empty())?;
        }
        codes.push(plan.as_ref().map_or_else(Error::exit_code, |plan| plan.code));
        if matches!(&plan, Err(e) if matches!(e.kind(), Kind::Stopped(_))) {
            break;
        }
    }
    console::set_prefix(None);
    if is_json {
        plan::shown::json_ends()?;
    }
    Ok(ExitCode::from(daemon::worst(&codes)))
}
