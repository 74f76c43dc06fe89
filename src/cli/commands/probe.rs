//! `repo-deploy probe`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::spec::{Action, CommandSpec};
use crate::cli::options::{CA_FILE, CONTAINS, INTERVAL, STATUS, SUCCESSES, TIMEOUT};
use crate::cli::session::{Session, usage};
use crate::command::probe::{Probe, Statuses, Target};
use crate::config;
use crate::console;
use crate::error::{Context, Result};
use crate::sys;

/// Waits until a service is healthy.
pub static PROBE: CommandSpec = CommandSpec {
    name: "probe",
    operands: "TARGET",
    summary: "wait for a service",
    about: "Waits until TARGET is healthy: http:// or https:// (a GET, without redirects and proxies), tcp://HOST:PORT or \
            unix:/PATH (a connection). Ends with 0 once it is, or with 1 after --timeout. Reads no configuration. For \
            hooks, also as their interpreter: #!/repo-deploy probe tcp://127.0.0.1:80",
    options: &[&TIMEOUT, &INTERVAL, &STATUS, &CONTAINS, &SUCCESSES, &CA_FILE],
    is_configured: false,
    example: "repo-deploy probe http://127.0.0.1:8080/health --timeout 30s",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let args = &session.args;
    let Some(target) = args.operands.first() else {
        return Err(usage("cannot do probe without a target: repo-deploy probe TARGET"));
    };
    let probe = Probe {
        target: Target::parse(target).map_err(|why| usage(format!("cannot use this target: {why}")))?,
        timeout: args.duration(TIMEOUT.long, Duration::from_secs(60))?,
        interval: args.duration(INTERVAL.long, Duration::from_secs(1))?,
        statuses: args.parsed(STATUS.long, Statuses::parse)?.unwrap_or_default(),
        contains: args.own(CONTAINS.long).map(str::to_owned),
        successes: args.parsed(SUCCESSES.long, |text| config::number(text, 1, 1000))?.unwrap_or(1),
        ca_file: args.own(CA_FILE.long).map(PathBuf::from),
    };
    if !probe.target.is_http() && (args.own(STATUS.long).is_some() || probe.contains.is_some()) {
        return Err(usage("cannot use --status and --contains with this target: they are for http:// and https://"));
    }
    console::init(args.level(), None);
    sys::signal::install().with_context(|| "cannot install the signal handlers")?;
    probe.run()?;
    Ok(ExitCode::SUCCESS)
}
