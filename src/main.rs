//! repo-deploy: keeps a directory at the release that a source offers. docs/ARCHITECTURE.md describes one update and the
//! layers; `deploy/mod.rs` is the update in code.

mod activate;
mod appspec;
mod artifact;
mod aws;
mod cli;
mod command;
mod config;
mod console;
mod daemon;
mod deploy;
mod error;
mod http;
mod model;
mod outcome;
mod package;
mod remote;
mod report;
mod schedule;
mod source;
mod store;
mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

use self::cli::{Command, Invocation, Run};
use self::command::history::Told;
use self::command::status::Snapshot;
use self::console::screen::Screen;
use self::error::Context;
use self::report::check_report::CheckReport;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    console::init(0, None);
    let code = run().unwrap_or_else(|e| {
        log::error!("{e}");
        ExitCode::from(e.exit_code())
    });
    console::flush();
    code
}

/// What the command line asks for; the exit code it comes to.
fn run() -> error::Result<ExitCode> {
    let notify = sys::notify::Notify::take();
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let run = match read(&environment)? {
        Invocation::Help => return print(&cli::help()),
        Invocation::Version => return print(&cli::version()),
        Invocation::List(request) => return print(&config::list(&request, &environment)?),
        Invocation::Times(times) => return print(&times.text()?),
        Invocation::Validate(path, request) => {
            let report = command::validate::validate(path.as_deref(), &request, &environment);
            console::print(&report.text)?;
            let code = if report.is_bad { error::Error::config("").exit_code() } else { 0 };
            return Ok(ExitCode::from(code));
        }
        Invocation::Run(run) => run,
    };
    if run.command == Command::Watch {
        let again = || match read(&environment)? {
            Invocation::Run(run) => Ok(run.sections),
            _ => Ok(Vec::new()), // the arguments are the same as before, and they meant work
        };
        daemon::watch(run.sections, notify, &again)?;
        return Ok(ExitCode::SUCCESS);
    }
    sys::signal::install().with_context(|| "cannot install the signal handlers")?;
    match run.command {
        Command::Status => status(&run),
        Command::History => history(&run),
        Command::Rollback => {
            let wanted = run.operands.first().map(String::as_str);
            once(run.sections, true, &|settings| command::rollback::rollback(settings, wanted))
        }
        Command::Retry => once(run.sections, true, &command::retry::retry),
        Command::Verify => Ok(verify(&run)),
        Command::Plan => plan(&run),
        Command::Seed => {
            let seed = command::seed::Seed::new(&run.operands, run.revision.as_deref(), &run.sections)?;
            once(run.sections, true, &|settings| seed.run(settings))
        }
        _ => once(run.sections, false, &deploy::check),
    }
}

fn once(
    sections: Vec<config::Settings>,
    is_by_hand: bool,
    work: &dyn Fn(&config::Settings) -> CheckReport,
) -> error::Result<ExitCode> {
    Ok(ExitCode::from(daemon::once(sections, is_by_hand, work)))
}

/// Reads the command line and the configuration, and turns the log to where they say.
fn read(environment: &[(OsString, OsString)]) -> error::Result<Invocation> {
    console::reopen();
    let mut warnings = Vec::new();
    let invocation = cli::parse(std::env::args_os().skip(1), environment, &mut warnings);
    if let Ok(Invocation::Run(run)) = &invocation {
        console::init(run.level, run.sections.first().and_then(|settings| settings.log_file.as_deref()));
    }
    if let Ok(Invocation::Run(run)) = &invocation {
        let has_usual_log = |s: &config::Settings| s.bundle.as_ref().is_some_and(|bundle| bundle.is_log_usual);
        use Command::{Plan, Retry, Rollback, Seed, Verify};
        let is_by_hand = matches!(run.command, Rollback | Retry | Verify | Plan | Seed); // or a script's: it is told why
        console::tee_to_stderr(is_by_hand || console::stderr_is_terminal() && run.sections.iter().any(has_usual_log));
    }
    for warning in warnings {
        log::warn!("{warning}");
    }
    invocation
}

/// `repo-deploy status`: 0 when each deployment's last check succeeded within three periods.
fn status(run: &Run) -> error::Result<ExitCode> {
    let missed = report::status_file::Status::default();
    let mut snapshots = Vec::new();
    for settings in &run.sections {
        let schedule = settings.timing.schedule().ok(); // a wrong one is not this command's business
        snapshots.push(Snapshot::take(settings, schedule.as_ref(), &missed)?);
    }
    let text = if run.is_json {
        command::status::json(&snapshots)
    } else {
        command::status::text(&snapshots, Screen::of_stdout())
    };
    console::print(&text)?;
    Ok(ExitCode::from(u8::from(!snapshots.iter().all(Snapshot::is_healthy))))
}

/// `repo-deploy history`.
fn history(run: &Run) -> error::Result<ExitCode> {
    let all = run.sections.iter().map(Told::read).collect::<error::Result<Vec<_>>>()?;
    print(&if run.is_json { command::history::json(&all) } else { command::history::text(&all, Screen::of_stdout()) })
}

/// `repo-deploy verify`: the worst code of all deployments.
fn verify(run: &Run) -> ExitCode {
    let (several, mut codes) = (run.sections.len() > 1, Vec::new());
    for settings in &run.sections {
        let prefix = if several { format!("{}: ", settings.id) } else { String::new() };
        console::switch_file(settings.log_file.as_deref());
        console::set_prefix(Some(&settings.id));
        let work = if run.is_repair { command::repair::repair } else { command::verify::verify };
        codes.push(work(settings, &prefix).unwrap_or_else(|e| {
            log::error!("{e}");
            e.exit_code()
        }));
    }
    ExitCode::from(daemon::worst(&codes))
}

/// `repo-deploy plan`: 0 nothing to do, 10 something, else as a check would end.
fn plan(run: &Run) -> error::Result<ExitCode> {
    let (mut codes, mut has_page) = (Vec::new(), false);
    if run.is_json {
        command::plan::json_begins()?;
    }
    for settings in &run.sections {
        console::set_prefix(Some(&settings.id));
        let plan = command::plan::plan(settings);
        match &plan {
            Ok(_) if run.is_json => {}
            Ok(plan) => {
                if std::mem::replace(&mut has_page, true) {
                    console::print("\n")?; // between two
                }
                plan.print(Screen::of_stdout(), run.level > 0)?;
            }
            Err(e) => log::error!("{e}"),
        }
        if run.is_json {
            command::plan::json(settings, &plan, codes.is_empty())?;
        }
        codes.push(plan.as_ref().map_or_else(error::Error::exit_code, |plan| plan.code));
        if matches!(&plan, Err(e) if matches!(e.kind(), error::Kind::Stopped(_))) {
            break;
        }
    }
    console::set_prefix(None);
    if run.is_json {
        command::plan::json_ends()?;
    }
    Ok(ExitCode::from(daemon::worst(&codes)))
}

fn print(text: &str) -> error::Result<ExitCode> {
    console::print(text)?;
    Ok(ExitCode::SUCCESS)
}
