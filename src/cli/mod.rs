//! The command line: options and commands in one table each, from which the parser and `--help` are made. What comes out
//! is ready to run: settings checked, or an error that names the word at fault and the nearest one that is known.

mod help;
mod table;
pub mod times;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lexopt::Arg;

use crate::config::suggest::hint;
use crate::config::{self, Request, Settings};
use crate::error::{Error, Kind, Result};
use crate::report::known_remote;

pub use self::help::{help, version};
pub use self::table::Command;
use self::table::{COMMANDS, Does, OPTIONS, Opt, Word};
use self::times::Times;

/// What was asked for.
#[derive(Debug)]
pub enum Invocation {
    /// Print [`help`].
    Help,
    /// Print the version.
    Version,
    /// List the sections of the configuration.
    List(Request),
    /// Tell when it would check.
    Times(Times),
    /// Look at this path, or at the configuration.
    Validate(Option<PathBuf>, Request),
    /// Work.
    Run(Box<Run>),
}

/// Work to do.
#[derive(Debug)]
pub struct Run {
    /// Which.
    pub command: Command,
    /// What followed it.
    pub operands: Vec<String>,
    /// `--revision`.
    pub revision: Option<String>,
    /// With what: a deployment, or several.
    pub sections: Vec<Settings>,
    /// How much the log says: -1 (`--quiet`) to 2 (`-v -v`).
    pub level: i8,
    /// Whether the answer is for a program.
    pub is_json: bool,
    /// Whether what differs is put back.
    pub is_repair: bool,
}

/// Reads the command line, and with it the configuration. `warnings` gets what should be said whether or not it works.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
) -> Result<Invocation> {
    let mut words = Words::default();
    let mut parser = lexopt::Parser::from_args(args);
    loop {
        let option = match parser.next().map_err(|e| misused(&e))? {
            None => break,
            Some(Arg::Value(word)) => {
                words.command(&word)?;
                continue;
            }
            Some(arg @ (Arg::Short(_) | Arg::Long(_))) => find(&arg)?,
        };
        match option.does {
            Does::Help => return Ok(Invocation::Help),
            Does::Version => return Ok(Invocation::Version),
            _ if option.value.is_empty() => words.flag(option.does),
            _ => {
                let value = value(&mut parser, option)?;
                words.value(option, value)?;
            }
        }
    }
    if words.list {
        return Ok(Invocation::List(words.request));
    }
    let (command, level) = (words.what()?, words.level()?);
    if command == Command::Schedule {
        let (count, from) = (times::count(words.operands.first())?, words.from);
        let timings = config::timings(&words.request, environment, warnings)?;
        return Ok(Invocation::Times(Times { timings, count, from }));
    }
    if command == Command::Validate {
        return Ok(Invocation::Validate(words.operands.first().map(PathBuf::from), words.request));
    }
    let recall = |settings: &Settings| known_remote::remote(settings, command == Command::Retry);
    let needs_none =
        matches!(command, Command::Status | Command::History | Command::Rollback | Command::Verify | Command::Retry);
    let recall: Option<config::Recall<'_>> = if needs_none { Some(&recall) } else { None };
    let sections = config::load(&words.request, environment, warnings, recall)?;
    if command == Command::Rollback && sections.len() > 1 {
        return Err(usage("cannot do rollback for several deployments at once: choose one with --config-section NAME"));
    }
    let Words { operands, revision, json: is_json, repair: is_repair, .. } = words;
    Ok(Invocation::Run(Box::new(Run { command, operands, revision, sections, level, is_json, is_repair })))
}

/// What the command line has said so far.
#[derive(Default)]
struct Words {
    command: Option<&'static Word>,
    operands: Vec<String>,
    from: Option<i64>,
    revision: Option<String>,
    fetch: bool,
    list: bool,
    verbose: i8,
    quiet: bool,
    json: bool,
    repair: bool,
    request: Request,
}

impl Words {
    fn flag(&mut self, does: Does) {
        match does {
            Does::Fetch => self.fetch = true,
            Does::List => self.list = true,
            Does::Verbose => self.verbose = (self.verbose + 1).min(2),
            Does::Quiet => self.quiet = true,
            Does::Json => self.json = true,
            Does::Repair => self.repair = true,
            // These do not come here.
            Does::Help | Does::Version | Does::Config | Does::Section | Does::From | Does::Revision | Does::Sets(_) => {
            }
        }
    }

    fn value(&mut self, option: &'static Opt, value: OsString) -> Result<()> {
        match option.does {
            Does::Sets(name) => self.request.arguments.push((option.to_string(), name, value)),
            Does::Config => self.request.file = Some(PathBuf::from(value)),
            Does::Section => {
                let name = value.into_string().map_err(|_| usage(format!("cannot read {option}: it is not UTF-8")))?;
                self.request.sections.push(name);
            }
            Does::From => self.from = Some(times::from(&value)?),
            Does::Revision => self.revision = Some(value.to_string_lossy().into_owned()),
            // These take no value.
            Does::Help
            | Does::Version
            | Does::Fetch
            | Does::List
            | Does::Verbose
            | Does::Quiet
            | Does::Json
            | Does::Repair => {}
        }
        Ok(())
    }

    /// A word: the command, or one of its operands.
    fn command(&mut self, word: &OsStr) -> Result<()> {
        let known = COMMANDS.iter().find(|row| word == row.name);
        match (known, self.command) {
            (Some(row), None) => self.command = Some(row),
            (Some(row), Some(first)) => {
                return Err(usage(format!("cannot do {} after {}: one command at a time", row.name, first.name)));
            }
            (None, Some(first)) if self.operands.len() < first.operands.split_whitespace().count() => {
                self.operands.push(word.to_string_lossy().into_owned());
            }
            (None, Some(first)) => {
                let takes = if first.operands.is_empty() { "nothing" } else { first.operands };
                return Err(usage(format!("unknown word {} after {}: it takes {takes}", shown(word), first.name)));
            }
            (None, None) => return Err(usage(stray(word))),
        }
        Ok(())
    }

    /// Neither -f nor a command: the daemon.
    fn what(&self) -> Result<Command> {
        if self.from.is_some() && self.command.is_none_or(|row| row.command != Command::Schedule) {
            return Err(usage("cannot use --from without the command schedule"));
        }
        if self.revision.is_some() && self.command.is_none_or(|row| row.command != Command::Seed) {
            return Err(usage("cannot use --revision without the command seed"));
        }
        if self.repair && self.command.is_none_or(|row| row.command != Command::Verify) {
            return Err(usage("cannot use --repair without the command verify"));
        }
        let answers = [Command::Status, Command::History, Command::Plan];
        if self.json && self.command.is_none_or(|row| !answers.contains(&row.command)) {
            return Err(usage("cannot use --json without the command status, history or plan"));
        }
        match (self.command, self.fetch) {
            (Some(row), true) => Err(usage(format!("cannot do {} with --fetch: one command at a time", row.name))),
            (Some(row), false) => Ok(row.command),
            (None, true) => Ok(Command::Check),
            (None, false) => Ok(Command::Watch),
        }
    }

    fn level(&self) -> Result<i8> {
        match (self.quiet, self.verbose) {
            (true, 0) => Ok(-1),
            (true, _) => Err(usage("cannot be --quiet and --verbose at once: leave one of them out")),
            (false, verbose) => Ok(verbose),
        }
    }
}

impl std::fmt::Display for Opt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}", self.long)
    }
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(Kind::Usage, text)
}

fn find(arg: &Arg<'_>) -> Result<&'static Opt> {
    // Ways to write them that older command lines have.
    let arg = match arg {
        Arg::Long("target-file-key") => &Arg::Long("target-key-file"),
        Arg::Long("profile_name") => &Arg::Long("profile-name"),
        arg => arg,
    };
    let found = |matches: &dyn Fn(&Opt) -> bool| OPTIONS.iter().find(|o| matches(o));
    match arg {
        Arg::Long(name) => found(&|o| o.long == *name).ok_or_else(|| {
            usage(format!("unknown option --{name}{}", near(name, OPTIONS.iter().map(|o| o.long), "--")))
        }),
        Arg::Short(letter) => {
            found(&|o| o.short == Some(*letter)).ok_or_else(|| usage(format!("unknown option -{letter}; see --help")))
        }
        Arg::Value(word) => Err(usage(stray(word))),
    }
}

/// The value of an option: `--cache=DIR`, `--cache DIR`, `-cDIR`. What looks like another option is none, unless it is
/// attached.
fn value(parser: &mut lexopt::Parser, option: &Opt) -> Result<OsString> {
    if let Some(attached) = parser.optional_value() {
        return Ok(attached);
    }
    match parser.value() {
        Ok(value) if !value.as_encoded_bytes().starts_with(b"-") => Ok(value),
        _ => Err(usage(format!("cannot use {option} without a value: {option} {}", option.value))),
    }
}

fn misused(e: &lexopt::Error) -> Error {
    match e {
        lexopt::Error::UnexpectedValue { option, .. } => usage(format!("cannot give {option} a value: it takes none")),
        other => usage(other.to_string()),
    }
}

/// What to say about a word that is nothing.
fn stray(word: &OsStr) -> String {
    if word.to_string_lossy().contains("://") {
        return format!("unknown word {}; a remote is given by --remote URL", shown(word));
    }
    let word = word.to_string_lossy();
    format!("unknown command {word}{}", near(&word, COMMANDS.iter().map(|row| row.name), ""))
}

/// A word for a message. A URL may hold a password.
fn shown(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    word.split_once("://").map_or_else(|| word.to_string(), |(scheme, _)| format!("{scheme}://…"))
}

/// `; did you mean --X?`, or where to look.
fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, dashes: &str) -> String {
    match hint(word, known) {
        hint if hint.is_empty() => "; see --help".to_owned(),
        hint => hint.replacen("mean ", &format!("mean {dashes}"), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses with a configuration that gives nothing, so that nothing of this machine is read.
    fn parse_here(args: &[&str]) -> Result<Invocation> {
        let empty = std::env::temp_dir().join(crate::sys::fs::unique_name("repo-deploy-cli-").unwrap());
        std::fs::write(&empty, "").unwrap();
        let mut all = vec![OsString::from("--config"), empty.clone().into()];
        all.extend(args.iter().map(OsString::from));
        let parsed = parse(all, &[], &mut Vec::new());
        std::fs::remove_file(&empty).unwrap();
        parsed
    }

    fn run(args: &[&str]) -> Run {
        match parse_here(args) {
            Ok(Invocation::Run(run)) => *run,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn options_can_be_written_in_every_usual_way() {
        for args in [
            &["-f", "--remote", "/r", "--local", "/l/a"][..],
            &["--fetch", "--remote=/r", "--local=/l/a"],
            &["-fr", "/r", "-l", "/l/a"],
            &["-r/r", "-l/l/a", "-f"],
            &["-f", "-r", "/other", "-r", "/r", "-d", "/l/a"],
            &["-r=/r", "--directory", "/l/a", "-f", "--"],
        ] {
            let run = run(args);
            assert_eq!((run.command, run.level), (Command::Check, 0), "{args:?}");
            assert_eq!(run.sections[0].remote.to_string(), "/r", "{args:?}");
            assert_eq!(run.sections[0].local, std::path::Path::new("/l/a"), "{args:?}");
        }
        assert_eq!(run(&["status", "-r", "/r"]).command, Command::Status);
        assert_eq!(run(&["-r", "/r"]).command, Command::Watch);
        for (args, level) in [(&["-v"][..], 1), (&["-vv"], 2), (&["-v", "-v", "--verbose"], 2), (&["--quiet"], -1)] {
            assert_eq!(run(&[args, &["-f", "-r", "/r"]].concat()).level, level, "{args:?}");
        }
    }

    #[test]
    fn help_and_version_win_over_what_follows() {
        assert!(matches!(parse_here(&["-h", "--nonsense"]), Ok(Invocation::Help)));
        assert!(matches!(parse_here(&["-f", "--help"]), Ok(Invocation::Help)));
        assert!(parse_here(&["--keep", "-V"]).is_err());
        assert!(matches!(parse_here(&["-V"]), Ok(Invocation::Version)));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_nearest_that_is_right() {
        for (args, expected) in [
            (&["--remot", "/x"][..], "unknown option --remot; did you mean --remote?"),
            (&["--conf", "/x"], "unknown option --conf; did you mean --config?"),
            (&["--pre_hooks", "/x"], "unknown option --pre_hooks; did you mean --pre-hooks?"),
            (&["--frobnicate"], "unknown option --frobnicate; see --help"),
            (&["-x"], "unknown option -x; see --help"),
            (&["--cache"], "cannot use --cache without a value: --cache DIR"),
            (&["--cache", "-f"], "cannot use --cache without a value: --cache DIR"),
            (&["-c"], "cannot use --config without a value: --config FILE"),
            (&["--fetch=yes"], "cannot give --fetch a value: it takes none"),
            (&["-f=yes"], "cannot give -f a value: it takes none"),
            (&["stauts"], "unknown command stauts; did you mean status?"),
            (&["-f", "word"], "unknown command word; see --help"),
            (&["-f", ""], "unknown command ; see --help"),
            (&["https://u:hunter2@h/"], "unknown word https://…; a remote is given by --remote URL"),
            (&["status", "status"], "cannot do status after status: one command at a time"),
            (&["status", "-f"], "cannot do status with --fetch: one command at a time"),
            (&["-f", "--json"], "cannot use --json without the command status, history or plan"),
            (&["verify", "--json"], "cannot use --json without the command status, history or plan"),
            (&["--json"], "cannot use --json without the command status, history or plan"),
            (&["-f", "--quiet", "-v"], "cannot be --quiet and --verbose at once: leave one of them out"),
        ] {
            let error = parse_here(args).unwrap_err();
            assert_eq!(error.to_string(), expected, "{args:?}");
            assert_eq!(error.exit_code(), 64);
        }
    }

    #[test]
    fn rows_are_unique_and_commands_are_no_options() {
        let mut seen = std::collections::BTreeSet::new();
        for option in OPTIONS {
            assert!(seen.insert(option.long.to_owned()), "{option} twice");
            assert!(option.short.is_none_or(|s| seen.insert(s.to_string())), "{option}: its letter twice");
            let takes_none = matches!(
                option.does,
                Does::Help
                    | Does::Version
                    | Does::Fetch
                    | Does::List
                    | Does::Verbose
                    | Does::Quiet
                    | Does::Json
                    | Does::Repair
            );
            assert_eq!(option.value.is_empty(), takes_none, "{option}");
        }
    }
}
