//! repo-deploy: polls a source and makes what it finds the live tree. See README.md for what it does, and `deploy/mod.rs`
//! for how one update goes.

mod activate;
#[cfg_attr(not(test), expect(dead_code, reason = "bundles are looked at, not deployed yet"))]
mod appspec;
mod artifact;
mod cli;
mod config;
mod console;
mod deploy;
mod error;
mod model;
mod package;
mod remote;
mod schedule;
mod source;
mod store;
mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

use self::cli::{Command, Invocation};
use self::error::Context;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    console::init(0, None);
    run().unwrap_or_else(|e| {
        log::error!("{e}");
        ExitCode::from(e.exit_code())
    })
}

/// What the command line asks for; the exit code it comes to.
fn run() -> error::Result<ExitCode> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let mut warnings = Vec::new();
    let invocation = cli::parse(std::env::args_os().skip(1), &environment, &mut warnings);
    if let Ok(Invocation::Run(run)) = &invocation {
        console::init(run.level, run.settings.log_file.as_deref());
    }
    for warning in warnings {
        log::warn!("{warning}");
    }
    let invocation = invocation?;
    sys::signal::install().context(|| "cannot install the signal handlers")?;
    match invocation {
        Invocation::Help => console::print(&cli::help())?,
        Invocation::Version => console::print(&cli::version())?,
        Invocation::Times(times) => console::print(&times.text()?)?,
        Invocation::Validate(path, request) => {
            let report = deploy::validate::validate(path.as_deref(), &request, &environment);
            console::print(&report.text)?;
            if report.is_bad {
                return Ok(ExitCode::from(error::Error::config("").exit_code()));
            }
        }
        Invocation::Run(run) => match run.command {
            Command::Check => return deploy::check(&run.settings).map(|outcome| ExitCode::from(outcome.exit_code())),
            Command::Status => console::print(&deploy::report::status(&run.settings)?)?,
            Command::Schedule | Command::Validate => {} // they do not come here
        },
    }
    Ok(ExitCode::SUCCESS)
}
