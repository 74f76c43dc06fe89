//! `--help`: made from the tables, so that it cannot leave anything out. It reads nothing and asks nobody.

use super::{COMMANDS, OPTIONS, Opt, Word};
use crate::config::keys::{KEYS, Key};
use crate::console::screen::Screen;

const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "up to date, or deployed"),
    ("1", "failed; what was live is live"),
    ("2", "blocked by a pre hook; nothing changed"),
    ("3", "the live tree is in doubt: a revert failed, or the state cannot be read"),
    ("10", "plan: there is something to do"),
    ("64", "the command line is wrong"),
    ("75", "another repo-deploy holds the lock"),
    ("78", "the configuration is wrong, or a refused local"),
    ("128+n", "stopped by signal n"),
];

/// What `--help` prints: 80 columns, made from the tables.
pub fn help() -> String {
    let mut text = String::from("usage: repo-deploy [OPTIONS]\n       repo-deploy -f [OPTIONS]\n");
    for row in COMMANDS {
        text += &format!("       repo-deploy {} [OPTIONS]\n", called(row));
    }
    text += "\nPolls a source and makes what it finds the live tree: at once, then on the\nschedule, until TERM; with -f once.\n\ncommands:\n";
    for command in COMMANDS {
        text += &row(&called(command), command.help);
    }
    text += "\noptions:\n";
    for Opt { short, long, value, help, .. } in OPTIONS {
        let short = short.map_or("    ".to_owned(), |s| format!("-{s}, "));
        text += &row(format!("{short}--{long} {value}").trim_end(), help);
    }
    text += "\nkeys of the configuration, /etc/repo-deploy/repo-deploy.cfg: key = value, one a\n\
             line; a [section]'s own are stronger. An option is stronger than the file, the\n\
             file than REPO_DEPLOY_KEY (pre-hooks: REPO_DEPLOY_PRE_HOOKS) in the environment:\n";
    for Key { text: key, value, default, help, .. } in KEYS {
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        text += &row(&format!("{key} = {value}"), &format!("{help}{default}"));
    }
    text += "\nSIZE: bytes, or 512M, 4G. TIME: seconds, or 90s, 5m, 1h.\n\
             Also read: ";
    let also: Vec<&str> = KEYS.iter().filter_map(|k| k.variable).collect();
    text += &format!("{}.\n\nexit codes:\n", also.join(", "));
    for (code, meaning) in EXIT_CODES {
        text += &row(code, meaning);
    }
    text += "\nThe whole page: README.md\n";
    text
}

/// A command with what may follow it.
fn called(Word { name, operands, .. }: &Word) -> String {
    format!("{name} {operands}").trim_end().to_owned()
}

/// What `--version` prints.
pub fn version() -> String {
    format!("repo-deploy {}\n", env!("CARGO_PKG_VERSION"))
}

const WIDTH: usize = 80;
const COLUMN: usize = 30;

/// A row of help: the left part, and the right part in its column, wrapped between words.
fn row(left: &str, right: &str) -> String {
    let mut text = format!("  {left}");
    if text.len() + 2 > COLUMN {
        text.push('\n');
    }
    let line = text.len() - text.rfind('\n').map_or(0, |at| at + 1);
    text += &" ".repeat(COLUMN - line);
    Screen::page(WIDTH).wrap_hanging(&mut text, right, COLUMN);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_and_lists_every_row_of_every_table() {
        let help = help();
        for line in help.lines() {
            assert!(line.len() <= WIDTH && line.trim_end() == line && line.is_ascii(), "{line:?}");
        }
        // Wrapped rows are read as one: what matters is that every word is there.
        let words: Vec<&str> = help.split_whitespace().collect();
        let flat = format!(" {} ", words.join(" "));
        for Opt { short, long, value, help, .. } in OPTIONS {
            let short = short.map_or(String::new(), |s| format!("-{s}, "));
            let row = format!(" {short}--{long} {value} {help} ").replace("  ", " ");
            assert!(flat.contains(&row), "{row}");
        }
        for key in KEYS {
            let row = format!(" {} = {} {} ", key.text, key.value, key.help);
            assert!(flat.contains(&row), "{row}");
            assert!(key.default.is_empty() || flat.contains(&format!("[{}]", key.default)), "{}", key.text);
            assert!(key.variable.is_none_or(|v| flat.contains(v)), "{:?}", key.variable);
        }
        for command in COMMANDS {
            let (name, does) = (called(command), command.help);
            assert!(flat.contains(&format!(" repo-deploy {name} [OPTIONS] ")), "{name}");
            assert!(flat.contains(&format!(" {name} {does} ")), "{name}");
        }
        for words in [
            " 3 the live tree is in doubt: a revert failed, or the state cannot be read ",
            " 78 the configuration is wrong, or a refused local ",
        ] {
            assert!(flat.contains(words), "{words}");
        }
        assert!(
            flat.contains(" cache = DIR downloads, which may be lost; else CACHE_DIRECTORY, /var/cache/repo-deploy ")
        );
        assert!(flat.contains(
            " remote = URL a ZIP or tar.gz: https://, http://, s3://, file:// or a path; a directory; or git: "
        ));
        assert!(help.ends_with("README.md\n"));
    }

    #[test]
    fn rows_wrap_between_words() {
        assert_eq!(row("a", "b c"), "  a                           b c\n");
        let long = row("a-name-that-is-too-long-for-its-column", &"word ".repeat(15));
        assert!(long.lines().all(|l| l.len() <= WIDTH) && long.lines().count() == 3, "{long}");
    }
}
