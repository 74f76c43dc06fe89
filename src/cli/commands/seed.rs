//! `repo-deploy seed`.

use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::options;
use crate::cli::session::{RemoteFrom, RunBy, Session, by_hand};
use crate::command::seed::Seed;
use crate::error::Result;

/// Puts a release into an image.
pub static SEED: CommandSpec = CommandSpec {
    name: "seed",
    operands: "[ARCHIVE]",
    summary: "put a release in images",
    about: "At the build of an image: makes ARCHIVE live, or what the remote offers, without hooks, where nothing is live \
            yet. --revision is the remote's name for ARCHIVE, so that the first check does not deploy it again.",
    options: &[&options::REVISION],
    is_configured: true,
    example: "repo-deploy seed app.tar --revision 8d3f1e0c5b7a9264f0d1c2b3a495867788990a1b",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let sections = session.begin(RemoteFrom::Configuration, RunBy::Hand)?;
    let seed = Seed::new(&session.args.operands, session.args.revision.as_deref(), &sections)?;
    by_hand(sections, &|settings| seed.run(settings))
}
