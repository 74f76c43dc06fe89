//! The texts of `-h`, `--help` and `help`: 80 columns, made from the tables of commands, options and keys. Nothing is read for them.

use super::commands::spec::CommandSpec;
use super::commands::{self, COMMANDS};
use super::options::{self, Opt};
use crate::config::keys::{KEYS, Key, SUBJECTS, VARIABLES};
use crate::console::screen::Screen;
use crate::error::Result;

pub(super) const EXIT_CODES: &str = "
exit codes:
  0      up to date, or deployed
  1      failed; the live release stays live
  2      blocked by a pre hook; nothing changed
  3      live tree in doubt: a rollback failed, or the state cannot be read
  10     plan: there is something to do
  64     the command line is wrong
  75     another repo-deploy holds the lock
  78     the configuration is wrong, or local is refused
  128+n  stopped by signal n

The keys of the configuration: repo-deploy help keys. A command with an example:
repo-deploy help COMMAND. Everything: README.md
";

pub(super) const ABOUT: &str = "repo-deploy keeps a directory at the release that a URL offers.\n";

const USAGE: &str = "\
usage: repo-deploy [OPTIONS]           daemon: check now, then on the schedule
       repo-deploy -f [OPTIONS]        check once, deploy a new release, exit
       repo-deploy COMMAND [OPTIONS]
";

const WIDTH: usize = 80;
/// Where the right part of a row begins: in `-h`, where room is scarce.
const NARROW: usize = 24;
/// And elsewhere.
const WIDE: usize = 30;

/// `-h`: one screen, two commands a line.
pub fn short() -> String {
    let mut text = ABOUT.to_owned() + USAGE + "\ncommands:\n";
    let (left, right) = columns();
    for (n, cell) in left.iter().enumerate() {
        let next = right.get(n).map_or("", |cell| cell);
        text += format!("{cell:column$}{next}", column = WIDTH / 2).trim_end();
        text.push('\n');
    }
    text += "\noptions:\n";
    let usual = options::all().filter(|option| option.is_usual);
    usual.for_each(|option| text += &row(&written(option), brief(option.help), NARROW));
    text + "\nMore: --help; help COMMAND; help keys (keys of the configuration); README.md\n"
}

/// The commands in two columns, each as wide as its longest name.
fn columns() -> (Vec<String>, Vec<String>) {
    let (left, right) = COMMANDS.split_at(COMMANDS.len().div_ceil(2));
    let column = |commands: &[&CommandSpec]| {
        let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0);
        commands.iter().map(|c| format!("  {:width$}  {}", c.name, c.summary)).collect()
    };
    (column(left), column(right))
}

/// `--help`: every command and option.
pub fn long() -> String {
    let mut text = ABOUT.to_owned() + "\n" + USAGE + "\ncommands:\n";
    for command in COMMANDS {
        text += &row(&called(command), command.summary, WIDE);
    }
    for (subject, options) in options::SUBJECTS {
        text += &format!("\n{subject}:\n");
        for option in *options {
            let with = match commands::that_take(option) {
                names if names.is_empty() => String::new(),
                names => format!("; with {names}"),
            };
            text += &row(&written(option), &format!("{}{with}", option.help), WIDE);
        }
    }
    text + EXIT_CODES
}

/// `help COMMAND`.
pub fn of_command(command: &CommandSpec) -> String {
    let options = if command.is_configured { " [OPTIONS]" } else { "" };
    let mut text = format!("usage: repo-deploy {}{options}\n\n", called(command));
    Screen::page(WIDTH).wrap_hanging(&mut text, command.about, 0);
    if command.is_configured {
        text += "\noptions:\n";
        command.options.iter().for_each(|option| text += &row(&written(option), option.help, WIDE));
        let usual = options::all().filter(|option| option.is_usual);
        usual.for_each(|option| text += &row(&written(option), brief(option.help), WIDE));
        text += "The others: repo-deploy --help\n";
    }
    text + &format!("\nexample:\n  {}\n", command.example)
}

/// `help keys`: the keys of the configuration.
pub fn keys() -> String {
    let mut text = String::from(
        "Keys of the configuration, /etc/repo-deploy/repo-deploy.cfg: key = value, one a\n\
         line; a [section]'s own are stronger. An option is stronger than the file, the\n\
         file than REPO_DEPLOY_KEY (pre-hooks: REPO_DEPLOY_PRE_HOOKS) in the environment.\n\
         In brackets: the default.\n",
    );
    for key in KEYS {
        if let Some((subject, _)) = SUBJECTS.iter().find(|(_, first)| *first == key.name) {
            text += &format!("\n{subject}:\n");
        }
        let Key { text: name, value, default, help, .. } = key;
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        text += &row(&format!("{name} = {value}"), &format!("{help}{default}"), WIDE);
    }
    let also: Vec<&str> = VARIABLES.iter().map(|(variable, _)| *variable).collect();
    text += "\nSIZE: bytes, or 512M, 4G. DURATION: seconds, or 90s, 5m, 1h.\n";
    text + &format!("Also read: {}.\n", also.join(", "))
}

/// `help`, with its operand: the name of a command, or `keys`. The error is an operand that is neither.
pub fn answer(operand: Option<&String>) -> Result<String, &str> {
    let Some(word) = operand else { return Ok(long()) };
    if word == "keys" {
        return Ok(keys());
    }
    let command = COMMANDS.iter().find(|command| command.name == word);
    command.map(|command| of_command(command)).ok_or(word)
}

/// What `--version` prints.
pub fn version() -> String {
    format!("repo-deploy {}\n", env!("CARGO_PKG_VERSION"))
}

/// A command with its operands.
pub(super) fn called(CommandSpec { name, operands, .. }: &CommandSpec) -> String {
    format!("{name} {operands}").trim_end().to_owned()
}

/// An option as it is written: `-r, --remote URL`.
pub(super) fn written(option: &Opt) -> String {
    let short = option.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    format!("{short}{option} {}", option.value()).trim_end().to_owned()
}

/// A help up to what explains it further.
fn brief(help: &str) -> &str {
    help.split(';').next().unwrap_or(help)
}

/// A row of help: the left part, and the right part in its column, wrapped between words.
fn row(left: &str, right: &str, column: usize) -> String {
    let mut text = format!("  {left}");
    if text.len() + 2 > column {
        text.push('\n');
    }
    let line = text.len() - text.rfind('\n').map_or(0, |at| at + 1);
    text += &" ".repeat(column - line);
    Screen::page(WIDTH).wrap_hanging(&mut text, right, column);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrapped rows read as one: every word is there.
    fn flat(text: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        format!(" {} ", words.join(" "))
    }

    #[test]
    fn every_text_fits_its_page() {
        let mut texts = vec![short(), long(), keys()];
        texts.extend(COMMANDS.iter().map(|command| of_command(command)));
        for line in texts.iter().flat_map(|text| text.lines()) {
            assert!(line.len() <= WIDTH && line.trim_end() == line && line.is_ascii(), "{line:?}");
        }
        assert!(short().lines().count() <= 24, "{}", short());
        let (left, right) = columns();
        for cell in left.iter().chain(&right) {
            assert!(cell.len() <= WIDTH / 2, "{cell}: too long for half a line");
        }
    }

    #[test]
    fn every_row_of_every_table_is_there() {
        let (long, keys) = (flat(&long()), flat(&keys()));
        for option in options::all() {
            let row = format!(" {} {}", written(option).trim_start(), option.help);
            assert!(long.contains(&flat(&row)[..row.len()]), "{row}");
        }
        for command in COMMANDS {
            assert!(long.contains(&format!(" {} {} ", called(command), command.summary)), "{}", command.name);
        }
        for key in KEYS {
            let row = format!(" {} = {} {} ", key.text, key.value, key.help);
            assert!(keys.contains(&row), "{row}");
            assert!(key.default.is_empty() || keys.contains(&format!("[{}]", key.default)), "{}", key.text);
        }
        for (subject, _) in SUBJECTS {
            assert!(keys.contains(&format!(" {subject}: ")), "{subject}");
        }
    }

    #[test]
    fn rows_wrap_between_words() {
        assert_eq!(row("a", "b c", WIDE), "  a                           b c\n");
        let long = row("a-name-that-is-too-long-for-its-column", &"word ".repeat(15), WIDE);
        assert!(long.lines().all(|l| l.len() <= WIDTH) && long.lines().count() == 3, "{long}");
    }
}
