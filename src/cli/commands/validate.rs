//! `repo-deploy validate`.

use std::path::Path;
use std::process::ExitCode;

use super::spec::{Action, CommandSpec};
use crate::cli::session::Session;
use crate::command::validate::validate;
use crate::console;
use crate::console::screen::{Color, Screen};
use crate::error::{Error, Result};

/// Checks a configuration or a bundle.
pub static VALIDATE: CommandSpec = CommandSpec {
    name: "validate",
    operands: "[PATH]",
    summary: "check a configuration",
    about: "Prints every error and warning of a configuration, FILE:LINE:COLUMN: error: text; or of a CodeDeploy bundle: \
            a directory, an archive, or its appspec.yml. Without PATH it reads the configuration in use. Changes nothing. \
            Ends with 78 if there is an error.",
    options: &[],
    is_configured: true,
    example: "repo-deploy validate /etc/repo-deploy/repo-deploy.cfg",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let path = session.args.operands.first().map(Path::new);
    let report = validate(path, &session.args.request, &session.environment);
    let words = [(" error: ", Color::Bad), (" warning: ", Color::Doubtful)];
    console::print(&Screen::of_stdout().highlighted(report.text, &words))?;
    let code = if report.is_bad { Error::config("").exit_code() } else { 0 };
    Ok(ExitCode::from(code))
}
