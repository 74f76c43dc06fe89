//! The manual pages repo-deploy(8) and repo-deploy.cfg(5), as roff, made from the tables of commands, options and keys.

use super::commands::spec::CommandSpec;
use super::commands::{self, COMMANDS};
use super::help::{ABOUT, EXIT_CODES, called, written};
use super::options;
use crate::config::keys::{KEYS, Key, PREFIX, SUBJECTS, VARIABLES};

/// A page by its name; `None`: there is no such page.
pub fn page(name: &str) -> Option<String> {
    match name {
        "repo-deploy.8" => Some(program()),
        "repo-deploy.cfg.5" => Some(configuration()),
        _ => None,
    }
}

fn program() -> String {
    let mut page = head("REPO-DEPLOY", 8, "repo-deploy", "keep a directory at the release that a source offers");
    page += ".SH SYNOPSIS\n\\fBrepo\\-deploy\\fR [\\fIOPTIONS\\fR]\n.br\n\\fBrepo\\-deploy \\-f\\fR [\\fIOPTIONS\\fR]\n.br\n\
             \\fBrepo\\-deploy\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n";
    page += &paragraphs(&[
        ABOUT.trim_end(),
        "Without a command it is the daemon: it checks now, then on the schedule. With -f it checks once.",
    ]);
    page += ".SH COMMANDS\n";
    for command in COMMANDS {
        item(&mut page, &called(command), command.about);
        let CommandSpec { example, .. } = command;
        page += &format!(".RS\n.P\nExample:\n\\fB{}\\fR\n.RE\n", filled(example).trim_end());
    }
    page += ".SH OPTIONS\n";
    for (subject, options) in options::SUBJECTS {
        page += &format!(".SS {}\n", escaped(subject));
        for option in *options {
            let with = match commands::that_take(option) {
                names if names.is_empty() => String::new(),
                names => format!("; with {names}"),
            };
            item(&mut page, written(option).trim_start(), &format!("{}{with}", option.help));
        }
    }
    page += ".SH EXIT STATUS\n";
    for (code, meaning) in EXIT_CODES.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(' ')) {
        item(&mut page, code, meaning.trim_start());
    }
    page += ".SH FILES\n";
    for (path, purpose) in [
        ("/etc/repo-deploy/repo-deploy.cfg", "the configuration"),
        ("/etc/repo-deploy/pre-update.d, /etc/repo-deploy/post-update.d", "the hooks"),
        ("/var/deploy/current", "the live tree"),
        ("/var/cache/repo-deploy", "downloads, which may be lost"),
        ("/var/lib/repo-deploy", "stores of live directories"),
    ] {
        item(&mut page, path, purpose);
    }
    page + ".SH SEE ALSO\n\\fBrepo\\-deploy.cfg\\fR(5)\n"
}

fn configuration() -> String {
    let mut page = head("REPO-DEPLOY.CFG", 5, "repo-deploy.cfg", "configuration of repo-deploy");
    page += ".SH DESCRIPTION\n";
    page += &paragraphs(&[
        "A line is key = value. The first = divides it, spaces around both are cut, and the value goes to the end of the \
         line: no quotes, and no comment behind it. A comment is a line that begins with # or ;.",
        "Keys before the first [section] are in force for every section; a section's own are stronger. An option is \
         stronger than the file, the file than the environment.",
        "SIZE: bytes, or 512M, 4G. DURATION: seconds, or 90s, 5m, 1h. In brackets: the default.",
    ]);
    page += ".SH KEYS\n";
    for key in KEYS {
        if let Some((subject, _)) = SUBJECTS.iter().find(|(_, first)| *first == key.name) {
            page += &format!(".SS {}\n", escaped(subject));
        }
        let Key { text: name, value, default, help, .. } = key;
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        item(&mut page, &format!("{name} = {value}"), &format!("{help}{default}"));
    }
    page += ".SH ENVIRONMENT\n";
    item(&mut page, &format!("{PREFIX}KEY"), "any key, in upper case with _ for -: REPO_DEPLOY_PRE_HOOKS is pre-hooks");
    for (variable, name) in VARIABLES {
        item(&mut page, variable, name.key().text);
    }
    page + ".SH SEE ALSO\n\\fBrepo\\-deploy\\fR(8)\n"
}

fn head(title: &str, section: u8, name: &str, purpose: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (title, name, purpose) = (escaped(title), escaped(name), escaped(purpose));
    format!(".TH {title} {section} \"\" \"repo\\-deploy {version}\"\n.nh\n.ad l\n.SH NAME\n{name} \\- {purpose}\n")
}

fn paragraphs(texts: &[&str]) -> String {
    texts.iter().map(|text| filled(text)).collect::<Vec<_>>().join(".P\n")
}

fn item(page: &mut String, term: &str, text: &str) {
    *page += &format!(".TP\n\\fB{}\\fR\n{}", escaped(term), filled(text));
}

/// The longest input line of roff, by convention.
const WIDTH: usize = 78;

/// A text in lines that are short enough.
fn filled(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in escaped(text).split_whitespace() {
        if !line.is_empty() && line.len() + word.len() >= WIDTH {
            lines += &format!("{line}\n");
            line.clear();
        }
        if line.is_empty() && word.starts_with('.') {
            line += "\\&";
        }
        if !line.is_empty() && line != "\\&" {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

/// A text as itself: no escape, no hyphen for a minus, no other quotes.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    text.replace('\'', "\\(aq").replace('^', "\\(ha").replace('~', "\\(ti").replace('`', "\\(ga")
}
