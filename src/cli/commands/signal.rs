//! `repo-deploy signal`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::spec::{Action, CommandSpec};
use crate::cli::options::{NAME, PID_FILE, WAIT};
use crate::cli::session::{Session, usage};
use crate::command::signal::{Order, comm};
use crate::console;
use crate::error::{Context, Result};
use crate::sys;

/// Reloads or ends a service.
pub static SIGNAL: CommandSpec = CommandSpec {
    name: "signal",
    operands: "NAME",
    summary: "signal a service",
    about: "Sends the signal NAME (HUP, TERM, USR1) to the process in a pid file that no other user may write, or to the \
            processes with a name, but never to its own parents or group. With --wait it waits for the end of the process \
            after TERM, KILL, INT and QUIT, and sees that it stays after others. Reads no configuration. For hooks, also \
            as their interpreter: #!/repo-deploy signal HUP --name nginx",
    options: &[&PID_FILE, &NAME, &WAIT],
    is_configured: false,
    example: "repo-deploy signal TERM --name myapp --wait 30s",
    action: Action::Run(run),
};

fn run(session: &Session) -> Result<ExitCode> {
    let args = &session.args;
    let Some(name) = args.operands.first() else {
        return Err(usage("cannot do signal without a name: repo-deploy signal NAME"));
    };
    let mut order = Order::parse(name).map_err(|why| usage(format!("cannot do signal {name}: {why}")))?;
    order.pid_file = args.own(PID_FILE.long).map(PathBuf::from);
    order.comm = args.parsed(NAME.long, comm)?;
    if args.own(WAIT.long).is_some() {
        order.wait = Some(args.duration(WAIT.long, Duration::ZERO)?);
    }
    if order.pid_file.is_none() && order.comm.is_none() {
        return Err(usage("cannot do signal without a process: --pid-file FILE or --name COMM"));
    }
    console::init(args.level(), None);
    sys::signal::install().with_context(|| "cannot install the signal handlers")?;
    order.run()?;
    Ok(ExitCode::SUCCESS)
}
