//! A program: its command, its user, its limits, and its end.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

/// A program to run. Standard input is /dev/null (an empty pipe without a /dev), output comes as lines.
#[derive(Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to the environment of this process.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Whether its standard error is part of its output; otherwise it is discarded.
    pub merges_errors: bool,
}

/// The user of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// Variables of this process that the user must not see.
    pub unset: Vec<OsString>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By this process, because its time was over.
    TimedOut,
    /// By this process, because of this stop signal.
    Stopped(i32),
}

/// Input, environment and limits of a program whose output is data.
#[derive(Debug, Default)]
pub struct Pipes {
    /// Its standard input; `None`: empty.
    pub input: Option<File>,
    /// Variables of this process that it does not get.
    pub unset: Vec<OsString>,
    /// The most bytes of a file that it writes; `None`: the limit of this process.
    pub largest_file: Option<u64>,
    /// The most bytes of memory of its own for it, and for each program it starts; files that it maps to read them are
    /// not counted. `None`: the limit of this process.
    pub memory: Option<u64>,
}
