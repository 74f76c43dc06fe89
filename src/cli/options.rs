//! The table of options: the parser and the help are made from it. An option that commands list as their own
//! ([`CommandSpec::options`](super::commands::spec::CommandSpec)) is refused with any other; the rest goes with every command.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::Args;
use crate::config::keys::{KEYS, Name};

use OptionAction::{Flag, Own, Value};

/// A row of the table.
#[derive(Debug)]
pub struct Opt {
    pub short: Option<char>,
    pub long: &'static str,
    pub help: &'static str,
    pub action: OptionAction,
    /// `-h` shows it too.
    pub is_usual: bool,
}

/// What an option does, and whether it takes a value.
#[derive(Debug)]
pub enum OptionAction {
    /// Prints help: in short, if the option is given as a letter.
    Help,
    /// Prints the version.
    Version,
    Flag(fn(&mut Args)),
    /// Takes a value of this name.
    Value(&'static str, fn(&mut Args, OsString) -> Result<(), String>),
    /// Takes a value of this name, which its command parses.
    Own(&'static str),
    /// Gives the value of a key.
    Key(Name),
}

impl Opt {
    const fn new(short: Option<char>, long: &'static str, help: &'static str, action: OptionAction) -> Self {
        Self { short, long, help, action, is_usual: false }
    }

    /// An option for a key, which is explained in the key's row.
    const fn key(short: Option<char>, long: &'static str, name: Name) -> Self {
        Self::new(short, long, KEYS[name as usize].help, OptionAction::Key(name))
    }

    const fn usual(self) -> Self {
        Self { is_usual: true, ..self }
    }

    /// The name of its value; empty: it takes none.
    pub fn value(&self) -> &'static str {
        match self.action {
            OptionAction::Help | OptionAction::Version | OptionAction::Flag(_) => "",
            OptionAction::Value(name, _) | OptionAction::Own(name) => name,
            OptionAction::Key(name) => name.key().value,
        }
    }
}

impl std::fmt::Display for Opt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}", self.long)
    }
}

/// `--json`, of commands that answer.
pub const JSON: Opt = Opt::new(None, "json", "answer as JSON", Flag(|args| args.is_json = true));
/// `--repair`, of verify.
pub const REPAIR: Opt = Opt::new(None, "repair", "restore what differs", Flag(|args| args.is_repair = true));
/// `--from`, of schedule.
pub const FROM: Opt = Opt::new(
    None,
    "from",
    "list the times after it, 2026-03-29T00:00:00Z, instead of now",
    Value("TIME", |args, value| {
        args.from = Some(from(&value)?);
        Ok(())
    }),
);
/// `--revision`, of seed.
pub const REVISION: Opt = Opt::new(
    None,
    "revision",
    "the remote's revision of ARCHIVE, as status -v prints it",
    Value("R", |args, value| {
        args.revision = Some(value.to_string_lossy().into_owned());
        Ok(())
    }),
);

/// `--timeout`, of probe.
pub const TIMEOUT: Opt = Opt::new(None, "timeout", "the time to wait for the target [60s]", Own("DURATION"));
/// `--interval`, of probe.
pub const INTERVAL: Opt = Opt::new(None, "interval", "the time between two tries [1s]", Own("DURATION"));
/// `--status`, of probe.
pub const STATUS: Opt = Opt::new(None, "status", "the good statuses, 200,204,300-399 [200-399]", Own("LIST"));
/// `--contains`, of probe.
pub const CONTAINS: Opt = Opt::new(None, "contains", "a text in the first 64 KiB of a good answer", Own("TEXT"));
/// `--successes`, of probe.
pub const SUCCESSES: Opt = Opt::new(None, "successes", "the good tries in a row that are needed [1]", Own("N"));
/// `--ca-file`, of probe.
pub const CA_FILE: Opt = Opt::new(None, "ca-file", "roots besides the built-in ones, PEM", Own("FILE"));

/// `--pid-file`, of signal.
pub const PID_FILE: Opt = Opt::new(None, "pid-file", "the file that holds the process's number", Own("FILE"));
/// `--name`, of signal.
pub const NAME: Opt = Opt::new(None, "name", "the processes of this name, as in /proc/PID/comm", Own("COMM"));
/// `--wait`, of signal.
pub const WAIT: Opt =
    Opt::new(None, "wait", "wait so long: for the end of the process, or for the lock [30m]", Own("DURATION"));

/// `--slots`, of lock.
pub const SLOTS: Opt = Opt::new(None, "slots", "how many owners may hold the lock [that of the lock, or 1]", Own("N"));
/// `--lease`, of lock.
pub const LEASE: Opt =
    Opt::new(None, "lease", "the time after which a lock that is not released is free [10m]", Own("DURATION"));
/// `--owner`, of lock.
pub const OWNER: Opt = Opt::new(None, "owner", "the owner [host name and a hash of the machine id]", Own("ID"));

/// Reads the value of `--from`.
fn from(text: &OsStr) -> Result<i64, String> {
    let text = text.to_string_lossy();
    let time = OffsetDateTime::parse(&text, &Rfc3339).map(OffsetDateTime::unix_timestamp);
    time.map_err(|_| {
        format!("cannot use --from {text}: it takes a time as 2026-03-29T00:00:00Z or 2026-03-29T00:00:00+01:00")
    })
}

/// Every option, by subject.
pub const SUBJECTS: &[(&str, &[Opt])] = &[
    (
        "general options",
        &[
            Opt::new(
                Some('f'),
                "fetch",
                "check once, deploy a new release, and exit",
                Flag(|args| args.is_fetch = true),
            ),
            Opt::new(
                Some('h'),
                "help",
                "print help, and exit; -h is short; after a command, of the command",
                OptionAction::Help,
            ),
            Opt::new(Some('V'), "version", "print the version, and exit", OptionAction::Version),
        ],
    ),
    (
        "options of the configuration",
        &[
            Opt::new(
                Some('c'),
                "config",
                "the configuration [/etc/repo-deploy/repo-deploy.cfg]",
                Value("FILE", |args, value| {
                    args.request.file = Some(PathBuf::from(value));
                    Ok(())
                }),
            )
            .usual(),
            Opt::new(
                None,
                "config-section",
                "a section of it to use, or all; may be repeated [Settings, if there is one]",
                Value("NAME", |args, value| {
                    let name = value.into_string().map_err(|_| "cannot read --config-section: it is not UTF-8")?;
                    args.request.sections.push(name);
                    Ok(())
                }),
            ),
            Opt::new(
                None,
                "list-configs",
                "list the sections of the configuration, and exit",
                Flag(|a| a.is_list = true),
            ),
        ],
    ),
    (
        "options of the deployment",
        &[
            Opt::key(Some('r'), "remote", Name::Remote).usual(),
            Opt::key(Some('l'), "local", Name::Local).usual(),
            Opt::new(Some('d'), "directory", "the same as --local", OptionAction::Key(Name::Local)),
            Opt::key(Some('i'), "id", Name::Id),
            Opt::key(None, "schedule", Name::Schedule),
            Opt::key(None, "cache", Name::Cache),
            Opt::key(None, "state-dir", Name::StateDir),
            Opt::key(None, "pre-hooks", Name::PreHooks),
            Opt::key(None, "post-hooks", Name::PostHooks),
        ],
    ),
    (
        "options of the output",
        &[
            Opt::new(
                Some('v'),
                "verbose",
                "log more, and revisions in full; twice: trace",
                Flag(|args| args.verbosity = (args.verbosity + 1).min(2)),
            )
            .usual(),
            Opt::new(None, "quiet", "log warnings and errors only", Flag(|args| args.is_quiet = true)).usual(),
            Opt::key(None, "log-file", Name::LogFile),
        ],
    ),
    (
        "options of single commands",
        &[
            JSON, REPAIR, FROM, REVISION, TIMEOUT, INTERVAL, STATUS, CONTAINS, SUCCESSES, CA_FILE, PID_FILE, NAME,
            WAIT, SLOTS, LEASE, OWNER,
        ],
    ),
    (
        "options of a config.ini of CodeDeploy bundles",
        &[
            Opt::key(None, "s3-bucket", Name::S3Bucket),
            Opt::key(None, "target-key-file", Name::TargetFileKey),
            Opt::key(None, "profile-name", Name::AwsProfile),
        ],
    ),
];

/// Other spellings, of older command lines.
const SPELLINGS: [(&str, &str); 2] = [("target-file-key", "target-key-file"), ("profile_name", "profile-name")];

/// Every option.
pub fn all() -> impl Iterator<Item = &'static Opt> {
    SUBJECTS.iter().flat_map(|(_, options)| *options)
}

/// The option `--name`.
pub fn long(name: &str) -> Option<&'static Opt> {
    let name = SPELLINGS.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    all().find(|option| option.long == name)
}

/// The option `-letter`.
pub fn short(letter: char) -> Option<&'static Opt> {
    all().find(|option| option.short == Some(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!(from(OsStr::new("2026-11-22T00:00:00+00:00")), Ok(1_795_305_600));
        for text in ["", "now", "2026-11-22", "2026-11-22T06:00:00", "2026-02-29T00:00:00Z"] {
            assert!(from(OsStr::new(text)).is_err(), "{text}");
        }
    }
}
