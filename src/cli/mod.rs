//! The command line. [`parse`] reads it by two tables, [`options`] and [`commands`]; [`help`] prints them. A new command is a
//! file in `commands/` and its line in the table there.

mod args;
mod commands;
mod completions;
mod help;
mod manual;
mod options;
mod parse;
mod session;
mod suggest;

use std::ffi::OsString;
use std::process::ExitCode;

use self::commands::spec::Action;
use self::parse::{Asked, Misuse};
use self::session::{Session, print, usage};
use crate::console;
use crate::error::{Kind, Result};
use crate::sys::notify::Notify;

/// Runs what the command line asks for. The exit code is that of the contract: 64 for a wrong command line.
pub fn main() -> ExitCode {
    let notify = Notify::take();
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    // The configuration may say so later; an error before that has the form that a container asks for, too.
    console::set_json(std::env::var_os("REPO_DEPLOY_LOG_FORMAT").is_some_and(|format| format == "json"));
    run(notify, environment).unwrap_or_else(|e| {
        log::error!("{e}");
        ExitCode::from(e.exit_code())
    })
}

fn run(notify: Notify, environment: Vec<(OsString, OsString)>) -> Result<ExitCode> {
    let (command, args) = match parse::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Print(text)) => return print(&text),
        Ok(Asked::Run(command, args)) => (command, *args),
        Err(misuse) => return Ok(refuse(&misuse)),
    };
    let ended = match command.action {
        Action::Run(run) => run(&Session { args, environment, notify }),
        Action::Help => match help::answer(args.operands.first()) {
            Ok(text) => print(&text),
            Err(word) => match manual::page(word) {
                Some(page) => print(&page),
                None => Ok(refuse(&Misuse::unknown_command(word))),
            },
        },
        Action::Completions => match args.operands.first().map(|shell| completions::script(shell).ok_or(shell)) {
            Some(Ok(script)) => print(&script),
            Some(Err(shell)) => Err(usage(format!("cannot do completions {shell}: it takes bash, zsh or fish"))),
            None => Err(usage("cannot do completions without a shell: it takes bash, zsh or fish")),
        },
        Action::Version => print(&help::version()),
    };
    match ended {
        Err(e) if e.kind() == Kind::Usage => {
            Ok(refuse(&Misuse { text: e.to_string(), is_answered: false, command: Some(command) }))
        }
        ended => ended,
    }
}

/// Says on standard error what is wrong with the command line, and which help explains it.
fn refuse(misuse: &Misuse) -> ExitCode {
    let command = misuse.command.map_or(String::new(), |command| format!("{} ", command.name));
    let hint = format!("Try 'repo-deploy {}--help'.", command.trim_start());
    console::complain(&misuse.text, Some(&*hint).filter(|_| !misuse.is_answered));
    ExitCode::from(usage("").exit_code())
}
