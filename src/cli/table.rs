//! The tables of options and commands: the parser, `--help` is made from them, and a test holds docs/ against it.

use crate::config::keys::{KEYS, Name};

/// What an option does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    Help,
    Version,
    Config,
    List,
    Section,
    Fetch,
    Verbose,
    Quiet,
    From,
    Revision,
    Json,
    Repair,
    /// Gives the value of a key.
    Sets(Name),
}

/// A row of the table of options.
#[derive(Debug)]
pub(super) struct Opt {
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    /// What its value is called; empty: it takes none.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    pub(super) does: Does,
}

const fn opt(short: Option<char>, long: &'static str, value: &'static str, help: &'static str, does: Does) -> Opt {
    Opt { short, long, value, help, does }
}

/// An option for a key: the key's row says what it is.
const fn sets(short: Option<char>, long: &'static str, name: Name) -> Opt {
    let key = &KEYS[name as usize];
    opt(short, long, key.value, key.help, Does::Sets(name))
}

/// Every option.
pub(super) const OPTIONS: &[Opt] = &[
    opt(Some('h'), "help", "", "print this and exit", Does::Help),
    opt(Some('V'), "version", "", "print the version and exit", Does::Version),
    opt(Some('f'), "fetch", "", "check once, deploy what is new, exit", Does::Fetch),
    opt(Some('c'), "config", "FILE", "the configuration", Does::Config),
    opt(None, "list-configs", "", "list its sections with remote and local, and exit", Does::List),
    opt(None, "config-section", "NAME", "a section of it that counts, or all; else Settings", Does::Section),
    sets(Some('r'), "remote", Name::Remote),
    sets(Some('l'), "local", Name::Local),
    opt(Some('d'), "directory", "DIR", "the same as --local", Does::Sets(Name::Local)),
    sets(Some('i'), "id", Name::Id),
    sets(None, "schedule", Name::Schedule),
    sets(None, "cache", Name::Cache),
    sets(None, "state-dir", Name::StateDir),
    sets(None, "pre-hooks", Name::PreHooks),
    sets(None, "post-hooks", Name::PostHooks),
    sets(None, "log-file", Name::LogFile),
    opt(None, "from", "TIME", "with schedule: the times after it, 2026-03-29T00:00:00Z", Does::From),
    opt(None, "revision", "R", "with seed ARCHIVE: what the remote calls it", Does::Revision),
    sets(None, "s3-bucket", Name::S3Bucket),
    sets(None, "target-key-file", Name::TargetFileKey),
    sets(None, "profile-name", Name::AwsProfile),
    opt(Some('v'), "verbose", "", "say more; twice: trace", Does::Verbose),
    opt(None, "quiet", "", "warnings and errors only", Does::Quiet),
    opt(None, "repair", "", "with verify: put back what differs", Does::Repair),
    opt(None, "json", "", "status, history and plan for programs", Does::Json),
];

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Check at once, then on the schedule.
    Watch,
    /// Check once, deploy what is new.
    Check,
    /// Tell what is live.
    Status,
    /// Tell what became of every deployment.
    History,
    /// Go back to the release before, or to a named one.
    Rollback,
    /// Forget failures, and check.
    Retry,
    /// Make a release live without hooks, at the build of an image.
    Seed,
    /// Tell what of the live tree is not as its release has it.
    Verify,
    /// Tell what a check would do.
    Plan,
    /// Tell the next times of the schedule.
    Schedule,
    /// Tell what is wrong with a bundle, an appspec or a configuration.
    Validate,
}

/// A row of the table of commands.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) name: &'static str,
    /// What may follow it, `[N]`; one word each.
    pub(super) operands: &'static str,
    pub(super) command: Command,
    pub(super) help: &'static str,
}

const fn word(name: &'static str, operands: &'static str, command: Command, help: &'static str) -> Word {
    Word { name, operands, command, help }
}

/// The commands that are words.
pub(super) const COMMANDS: &[Word] = &[
    word("status", "", Command::Status, "tell what is live"),
    word("history", "", Command::History, "tell what became of every deployment, the newest first"),
    word(
        "rollback",
        "[RELEASE]",
        Command::Rollback,
        "go back to the release before, or to the one whose id begins so; what was live is on hold from then on",
    ),
    word("retry", "", Command::Retry, "forget failures and rollbacks, and check once, as -f does"),
    word(
        "verify",
        "",
        Command::Verify,
        "compare the live tree with its release: names, modes, sizes, content; see --repair",
    ),
    word("plan", "", Command::Plan, "tell what the next check would do, and do nothing of it"),
    word(
        "seed",
        "[ARCHIVE]",
        Command::Seed,
        "at the build of an image: make it (or what the remote has) live without hooks, where nothing is live yet",
    ),
    word("schedule", "[N]", Command::Schedule, "tell the next 5, or N, times of the schedule; needs no remote"),
    word(
        "validate",
        "[PATH]",
        Command::Validate,
        "tell all that is wrong with a configuration, or a CodeDeploy bundle (a directory, an archive, its appspec)",
    ),
];
