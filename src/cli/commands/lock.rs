//! `repo-deploy lock`.

use std::process::ExitCode;
use std::time::Duration;

use url::Url;

use super::spec::{Action, CommandSpec};
use crate::cli::options::{LEASE, OWNER, SLOTS, WAIT};
use crate::cli::session::{RemoteFrom, RunBy, Session, print, usage};
use crate::command::fleet_lock::FleetLock;
use crate::command::lock::{Lock, Terms, default_owner};
use crate::config::{self, Aws, Http};
use crate::console;
use crate::error::{Context, Error, Result};
use crate::remote::Object;
use crate::sys;
use crate::sys::log;

/// Acquires or releases a lock of a fleet.
pub static LOCK: CommandSpec = CommandSpec {
    name: "lock",
    operands: "acquire|release|status URL",
    summary: "lock for a fleet",
    about: "Acquires, releases or shows a lock in the object s3://BUCKET/KEY, which at most --slots owners hold at once, or \
            at a server of the FleetLock protocol, fleetlock+https://HOST. A lease that is over by the server's clock is free. acquire waits, prints a fencing number that grows, and ends \
            with 1 if the lock stays held. For hooks. Keys and endpoint are those of the configuration, or AWS's own.",
    options: &[&SLOTS, &LEASE, &WAIT, &OWNER],
    is_configured: true,
    example: "repo-deploy lock acquire s3://fleet/web.lock --slots 2 --wait 30m",
    action: Action::Run(run),
};

/// The limits of requests for credentials without a configuration.
const CONNECT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(30);
/// The shortest lease: the default of the key `timeout`.
const SHORTEST: Duration = Duration::from_secs(600);

/// The first operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Acquire,
    Release,
    Status,
}

impl Verb {
    fn parse(word: &str) -> Option<Self> {
        let all = [("acquire", Self::Acquire), ("release", Self::Release), ("status", Self::Status)];
        all.into_iter().find_map(|(name, verb)| (name == word).then_some(verb))
    }
}

fn misused() -> Error {
    usage("cannot do lock so: repo-deploy lock acquire|release|status URL")
}

fn run(session: &Session) -> Result<ExitCode> {
    let args = &session.args;
    let [verb, url] = &args.operands[..] else { return Err(misused()) };
    let verb = Verb::parse(verb).ok_or_else(misused)?;
    let wait = args.duration(WAIT.long, Duration::from_secs(1800))?;
    let owner = args.parsed(OWNER.long, owner)?.unwrap_or_else(default_owner);
    if let Some(url) = url.strip_prefix("fleetlock+") {
        return with_server(session, verb, url, owner, wait);
    }
    let object = url.strip_prefix("s3://").filter(|text| !text.contains('?')).and_then(|text| Object::parse(text).ok());
    let object =
        object.ok_or_else(|| usage("cannot use this lock: it takes s3://BUCKET/KEY or fleetlock+https://HOST"))?;
    let lease = args.duration(LEASE.long, SHORTEST)?;
    let slots = args.parsed(SLOTS.long, |text| config::number(text, 1, 1000))?;
    let (aws, http, least) = settings(session)?;
    sys::signal::install().with_context(|| "cannot install the signal handlers")?;
    if lease < least && verb == Verb::Acquire {
        log::warn!("--lease is raised to {} s, the timeout of a check: nothing renews a lease", least.as_secs());
    }
    let lock = Lock { object, aws, http, owner };
    let answer = match verb {
        Verb::Acquire => lock.acquire(&Terms { slots, lease: lease.max(least), wait })?,
        Verb::Release => lock.release()?,
        Verb::Status => lock.status()?,
    };
    print(&(answer + "\n"))
}

/// The same at a server of the FleetLock protocol.
fn with_server(session: &Session, verb: Verb, url: &str, owner: String, wait: Duration) -> Result<ExitCode> {
    let args = &session.args;
    if verb == Verb::Status || args.own(SLOTS.long).is_some() || args.own(LEASE.long).is_some() {
        return Err(usage("cannot use status, --slots and --lease with this lock: its server decides"));
    }
    let url = Url::parse(url).map_err(|_| "it takes fleetlock+https://HOST".to_owned());
    let (_, http, _) = settings(session)?;
    let lock = url.and_then(|url| FleetLock::new(&url, owner, http));
    let lock = lock.map_err(|why| usage(format!("cannot use this lock: {why}")))?;
    sys::signal::install().with_context(|| "cannot install the signal handlers")?;
    let answer = if verb == Verb::Acquire { lock.acquire(wait)? } else { lock.release()? };
    print(&(answer + "\n"))
}

/// Keys, limits and the timeout of a check, from the configuration if there is one.
fn settings(session: &Session) -> Result<(Aws, Http, Duration)> {
    let loaded = session.load(RemoteFrom::Store, RunBy::Hand);
    console::init(session.args.level(), None); // repo-deploy logs the output of a hook: not twice to one file
    match loaded {
        Ok(sections) => {
            let least = sections.iter().map(|settings| settings.timeout).max().unwrap_or(SHORTEST);
            let first = sections.into_iter().next();
            let (aws, http) = first.map_or_else(Default::default, |settings| (settings.aws, Some(settings.http)));
            Ok((aws, http.unwrap_or_else(|| Http::limited(CONNECT, STALL)), least))
        }
        Err(e) if session.args.request.file.is_some() => Err(e),
        Err(e) => {
            log::debug!("no configuration is used: {e}");
            Ok((Aws::default(), Http::limited(CONNECT, STALL), SHORTEST))
        }
    }
}

/// Whether a text can name an owner.
fn owner(text: &str) -> Result<String, String> {
    let is_good = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if is_good { Ok(text.to_owned()) } else { Err("it takes 1 to 128 characters without blanks".to_owned()) }
}
