//! Parses the command line into a command and its [`Args`], before any configuration is read. It fails with [`Misuse`],
//! which names the word at fault and the nearest one that is known.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

use super::args::Args;
use super::commands::spec::CommandSpec;
use super::commands::{self, COMMANDS};
use super::help;
use super::options::{self, Opt, OptionAction};
use super::suggest::{self, Suggestion};

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To print a text.
    Print(String),
    /// To run a command.
    Run(&'static CommandSpec, Box<Args>),
}

/// A command line that cannot be obeyed.
#[derive(Debug)]
pub struct Misuse {
    pub text: String,
    /// The text says already what to write.
    pub is_answered: bool,
    /// The command whose help explains it.
    pub command: Option<&'static CommandSpec>,
}

impl From<String> for Misuse {
    fn from(text: String) -> Self {
        Self { text, is_answered: false, command: None }
    }
}

impl Misuse {
    /// A word that is no command.
    pub fn unknown_command(word: &str) -> Self {
        Self::unknown(format!("unknown command {word}"), suggest::command(word))
    }

    /// An unknown word; a suggestion is an answer.
    fn unknown(text: String, suggestion: Option<Suggestion>) -> Self {
        match suggestion {
            Some(Suggestion(answer)) => Self { text: text + "; " + &answer, is_answered: true, command: None },
            None => text.into(),
        }
    }
}

/// Reads the words after the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, Misuse> {
    let words = of_interpreter(words.into_iter().collect());
    let mut parser =
        Parser { words: lexopt::Parser::from_args(words), command: None, own: Vec::new(), args: Args::default() };
    parser.read().map_err(|misuse| Misuse { command: parser.command, ..misuse })
}

struct Parser {
    words: lexopt::Parser,
    /// The command, once it is read.
    command: Option<&'static CommandSpec>,
    /// The options so far that only some commands take.
    own: Vec<&'static Opt>,
    args: Args,
}

impl Parser {
    /// Reads all words, or those before an option that is answered with a text.
    fn read(&mut self) -> Result<Asked, Misuse> {
        loop {
            let (option, is_letter) = match self.words.next().map_err(|e| misused(&e))? {
                None => break,
                Some(Arg::Value(word)) => {
                    self.word(&word)?;
                    continue;
                }
                Some(Arg::Long(name)) => (options::long(name).ok_or_else(|| unknown(&format!("--{name}")))?, false),
                Some(Arg::Short(letter)) => {
                    (options::short(letter).ok_or_else(|| unknown(&format!("-{letter}")))?, true)
                }
            };
            match option.action {
                OptionAction::Help => {
                    return Ok(Asked::Print(match (self.command, is_letter) {
                        (Some(command), _) => help::of_command(command),
                        (None, true) => help::short(),
                        (None, false) => help::long(),
                    }));
                }
                OptionAction::Version => return Ok(Asked::Print(help::version())),
                OptionAction::Flag(set) => set(&mut self.args),
                OptionAction::Value(_, set) => {
                    let value = self.value(option)?;
                    set(&mut self.args, value)?;
                }
                OptionAction::Own(_) => {
                    let value = self.value(option)?;
                    let value = value.into_string().map_err(|_| format!("cannot read {option}: it is not UTF-8"))?;
                    self.args.own.push((option.long, value));
                }
                OptionAction::Key(name) => {
                    let value = self.value(option)?;
                    self.args.request.arguments.push((option.to_string(), name, value));
                }
            }
            if COMMANDS.iter().any(|command| command.takes(option)) {
                self.own.push(option);
            }
        }
        Ok(Asked::Run(self.chosen()?, Box::new(std::mem::take(&mut self.args))))
    }

    /// The value of an option: `--cache=DIR`, `--cache DIR`, `-cDIR`. A word that looks like another option is none, unless
    /// it is attached.
    fn value(&mut self, option: &Opt) -> Result<OsString, String> {
        if let Some(attached) = self.words.optional_value() {
            return Ok(attached);
        }
        match self.words.value() {
            Ok(value) if !value.as_encoded_bytes().starts_with(b"-") => Ok(value),
            _ => Err(format!("cannot use {option} without a value: {option} {}", option.value())),
        }
    }

    /// A word: the command, or one of its operands.
    fn word(&mut self, word: &OsStr) -> Result<(), Misuse> {
        let known = COMMANDS.iter().find(|command| word == command.name);
        let Some(first) = self.command else {
            self.command = Some(known.ok_or_else(|| stray(word))?);
            return Ok(());
        };
        let is_operand = known.is_none() || first.has_operand(word) || first.operands == commands::help::OPERANDS;
        if is_operand && self.args.operands.len() < first.operands.split_whitespace().count() {
            self.args.operands.push(word.to_string_lossy().into_owned());
            return Ok(());
        }
        Err(match known {
            Some(second) => format!("cannot do {} after {}: one command at a time", second.name, first.name),
            None => {
                let takes = if first.operands.is_empty() { "nothing" } else { first.operands };
                format!("unknown word {} after {}: it takes {takes}", shown(word), first.name)
            }
        }
        .into())
    }

    /// The command that is meant, with no option that it does not take. Without a word it is the daemon.
    fn chosen(&self) -> Result<&'static CommandSpec, String> {
        let Args { is_fetch, is_list, is_quiet, verbosity, .. } = self.args;
        if is_list {
            return Ok(&commands::list::LIST);
        }
        let command = match (self.command, is_fetch) {
            (Some(command), true) => {
                return Err(format!("cannot do {} with --fetch: one command at a time", command.name));
            }
            (Some(command), false) => command,
            (None, true) => &commands::daemon::CHECK,
            (None, false) => &commands::daemon::DAEMON,
        };
        if let Some(option) = self.own.iter().find(|option| !command.takes(option)) {
            return Err(format!("cannot use {option} without the command {}", commands::that_take(option)));
        }
        if is_quiet && verbosity > 0 {
            return Err("cannot be --quiet and --verbose at once: leave one of them out".to_owned());
        }
        Ok(command)
    }
}

/// The words of a script's first line, `#!/repo-deploy probe TARGET`: the kernel passes the words after the interpreter
/// as one argument, and then the path of the script (execve(2)), which is ignored. No other call looks like it: a
/// command is one word without a blank, and an argument follows.
fn of_interpreter(words: Vec<OsString>) -> Vec<OsString> {
    let [line, _, ..] = &words[..] else { return words };
    let split: Vec<&str> = line.to_str().unwrap_or_default().split_ascii_whitespace().collect();
    match &split[..] {
        [name, _, ..] if COMMANDS.iter().any(|command| command.name == *name) => {
            split.into_iter().map(OsString::from).collect()
        }
        _ => words,
    }
}

fn misused(e: &lexopt::Error) -> String {
    match e {
        lexopt::Error::UnexpectedValue { option, .. } => format!("cannot give {option} a value: it takes none"),
        other => other.to_string(),
    }
}

fn unknown(option: &str) -> Misuse {
    Misuse::unknown(format!("unknown option {option}"), suggest::option(option))
}

/// A word where a command is expected.
fn stray(word: &OsStr) -> Misuse {
    let (text, shown) = (word.to_string_lossy(), shown(word));
    match text.contains("://") {
        true => Misuse::unknown(format!("unknown word {shown}"), Some(suggest::remote())),
        false => Misuse::unknown(format!("unknown command {shown}"), suggest::command(&text)),
    }
}

/// A word for a message. A URL may hold a password.
fn shown(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    word.split_once("://").map_or_else(|| word.to_string(), |(scheme, _)| format!("{scheme}://…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Asked, Misuse> {
        parse(words.iter().map(OsString::from))
    }

    fn run(words: &[&str]) -> (&'static CommandSpec, Args) {
        match parse_words(words) {
            Ok(Asked::Run(command, args)) => (command, *args),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn options_can_be_written_in_every_usual_way() {
        use crate::config::keys::Name::{Local, Remote};
        for words in [
            &["-f", "--remote", "/r", "--local", "/l/a"][..],
            &["--fetch", "--remote=/r", "--local=/l/a"],
            &["-fr", "/r", "-l", "/l/a"],
            &["-r/r", "-l/l/a", "-f"],
            &["-f", "-r", "/other", "-r", "/r", "-d", "/l/a"],
            &["-r=/r", "--directory", "/l/a", "-f", "--"],
        ] {
            let (_, args) = run(words);
            assert!(args.is_fetch && args.level() == 0 && args.operands.is_empty(), "{words:?}");
            let given = |wanted| args.request.arguments.iter().rev().find(|(_, name, _)| *name == wanted).unwrap();
            assert_eq!((given(Remote).2.to_str(), given(Local).2.to_str()), (Some("/r"), Some("/l/a")), "{words:?}");
        }
        assert_eq!((run(&["status", "-r", "/r"]).0.name, run(&["-r", "/r"]).0.name), ("status", ""));
        for (words, level) in [(&["-v"][..], 1), (&["-vv"], 2), (&["-v", "-v", "--verbose"], 2), (&["--quiet"], -1)] {
            assert_eq!(run(words).1.level(), level, "{words:?}");
        }
    }

    #[test]
    fn the_first_line_of_a_script_is_one_argument_and_its_path_is_ignored() {
        for line in ["probe tcp://h:1 --timeout 5s", "probe  tcp://h:1\t--timeout=5s \r"] {
            let (command, args) = run(&[line, "/etc/repo-deploy/post-update.d/50-health", "more"]);
            assert_eq!((command.name, args.operands, &*args.own[0].1), ("probe", vec!["tcp://h:1".into()], "5s"));
        }
        // Without a script, or with a first word that is no command, it is a word as any other.
        assert!(parse_words(&["probe tcp://h:1"]).is_err());
        assert!(parse_words(&["--remote=/a b", "-f"]).is_ok());
        assert!(parse_words(&["frobnicate tcp://h:1", "/script"]).is_err());
    }

    #[test]
    fn help_and_version_win_over_what_follows() {
        for words in [&["-h", "--nonsense"][..], &["-f", "--help"], &["status", "-h", "stray"], &["-V", "--nonsense"]] {
            assert!(matches!(parse_words(words), Ok(Asked::Print(_))), "{words:?}");
        }
        assert!(parse_words(&["--cache", "-V"]).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_the_nearest_that_is_right() {
        for (words, expected, is_answered) in [
            (&["--remot", "/x"][..], "unknown option --remot; did you mean --remote?", true),
            (&["--conf", "/x"], "unknown option --conf; did you mean --config?", true),
            (&["--frobnicate"], "unknown option --frobnicate", false),
            (&["-x"], "unknown option -x", false),
            (&["--keep"], "unknown option --keep; keep is a key of the configuration: repo-deploy help keys", true),
            (&["--history"], "unknown option --history; did you mean repo-deploy history?", true),
            (&["--cache"], "cannot use --cache without a value: --cache DIR", false),
            (&["--cache", "-f"], "cannot use --cache without a value: --cache DIR", false),
            (&["-c"], "cannot use --config without a value: --config FILE", false),
            (&["--fetch=yes"], "cannot give --fetch a value: it takes none", false),
            (&["-f=yes"], "cannot give -f a value: it takes none", false),
            (&["stauts"], "unknown command stauts; did you mean status?", true),
            (&["-f", "word"], "unknown command word", false),
            (&["-f", ""], "unknown command ", false),
            (&["https://u:hunter2@h/"], "unknown word https://…; a remote is given by --remote URL", true),
            (&["status", "status"], "cannot do status after status: one command at a time", false),
            (&["status", "-f"], "cannot do status with --fetch: one command at a time", false),
            (&["-f", "--json"], "cannot use --json without the command status, history or plan", false),
            (&["verify", "--json"], "cannot use --json without the command status, history or plan", false),
            (&["plan", "--from", "2026-01-01T00:00:00Z"], "cannot use --from without the command schedule", false),
            (&["-f", "--quiet", "-v"], "cannot be --quiet and --verbose at once: leave one of them out", false),
        ] {
            let misuse = parse_words(words).unwrap_err();
            assert_eq!((&*misuse.text, misuse.is_answered), (expected, is_answered), "{words:?}");
        }
    }
}
