//! Parses `appspec.yml` of AWS CodeDeploy: the destinations of a bundle's files, their permissions, and the scripts of
//! each event. Pure: everything that the text alone decides is checked here, and all problems are reported at once,
//! each with its place and a remedy. Checks that need the bundle (sources, scripts) or the host (users, conflicts) are
//! in the layers above, which use the places of the values for their own messages.

pub mod acl;
mod check;
mod fields;
mod matching;
mod read;
#[cfg(test)]
mod tests;
mod yaml;

use std::fmt;
use std::path::PathBuf;

use crate::sys::sort::sort;

/// A place in the text, counted like an editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

impl Place {
    /// The beginning of the text.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub it: T,
    /// Its place.
    pub at: Place,
}

/// A problem of an appspec, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its place.
    pub at: Place,
    /// Whether the appspec can be deployed nevertheless.
    pub is_warning: bool,
    /// The description and the remedy.
    pub text: String,
}

impl Problem {
    fn error(at: Place, text: String) -> Self {
        Self { at, is_warning: false, text }
    }

    fn warning(at: Place, text: String) -> Self {
        Self { at, is_warning: true, text }
    }
}

/// `LINE:COLUMN: error|warning: text`, to follow a file name and a colon.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_warning { "warning" } else { "error" };
        write!(f, "{}:{}: {word}: {}", self.at.line, self.at.column, self.text)
    }
}

/// The handling of a file at a destination that no deployment installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Fail before the first change.
    Disallow,
    /// Replace it, and keep a copy for a rollback.
    Overwrite,
    /// Keep it.
    Retain,
}

/// An entry of `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Relative to the bundle; empty for the whole bundle.
    pub source: At<PathBuf>,
    /// On the host: absolute, a directory.
    pub destination: At<PathBuf>,
}

/// An entry of `permissions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// A directory or a file on the host.
    pub object: At<PathBuf>,
    /// `**`, or a glob for direct children.
    pub pattern: String,
    /// Globs for direct children to leave out.
    pub except: Vec<String>,
    /// Name or number of a user.
    pub owner: Option<At<String>>,
    /// Name or number of a group.
    pub group: Option<At<String>>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Entries that replace the access control lists.
    pub acls: Vec<At<acl::Entry>>,
    /// SELinux label.
    pub context: Option<At<SeContext>>,
    /// Whether it applies to files.
    pub files: bool,
    /// Whether it applies to directories.
    pub directories: bool,
}

/// An SELinux label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeContext {
    /// `None`: `system_u`.
    pub user: Option<String>,
    /// The type.
    pub kind: String,
    /// `None`: `s0`.
    pub range: Option<String>,
}

/// The events that may have scripts, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Live release, before it is removed from a load balancer.
    BeforeBlockTraffic,
    /// Live release, after it is removed from a load balancer.
    AfterBlockTraffic,
    /// Live release.
    ApplicationStop,
    /// New release, like all that follow, before its files are installed.
    BeforeInstall,
    /// After the files are installed.
    AfterInstall,
    /// Starts the application.
    ApplicationStart,
    /// Validates the deployment.
    ValidateService,
    /// Before the load balancer sends traffic again.
    BeforeAllowTraffic,
    /// After the load balancer sends traffic again.
    AfterAllowTraffic,
}

impl Event {
    /// All events, in order.
    pub const ALL: [Self; 9] = [
        Self::BeforeBlockTraffic,
        Self::AfterBlockTraffic,
        Self::ApplicationStop,
        Self::BeforeInstall,
        Self::AfterInstall,
        Self::ApplicationStart,
        Self::ValidateService,
        Self::BeforeAllowTraffic,
        Self::AfterAllowTraffic,
    ];

    /// Its name in an appspec.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeBlockTraffic => "BeforeBlockTraffic",
            Self::AfterBlockTraffic => "AfterBlockTraffic",
            Self::ApplicationStop => "ApplicationStop",
            Self::BeforeInstall => "BeforeInstall",
            Self::AfterInstall => "AfterInstall",
            Self::ApplicationStart => "ApplicationStart",
            Self::ValidateService => "ValidateService",
            Self::BeforeAllowTraffic => "BeforeAllowTraffic",
            Self::AfterAllowTraffic => "AfterAllowTraffic",
        }
    }
}

/// A script of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Relative to the bundle.
    pub location: At<PathBuf>,
    /// Seconds.
    pub timeout: u32,
    /// The user who runs it.
    pub runas: Option<At<String>>,
}

/// A valid appspec. `version` and `os` have one valid value each, so they are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appspec {
    /// `file_exists_behavior`, if set.
    pub behaviour: Option<Behaviour>,
    /// Empty for a bundle of scripts only.
    pub files: Vec<Files>,
    /// In the order of the text.
    pub permissions: Vec<Permission>,
    /// Events that have scripts, in the order of the text.
    pub hooks: Vec<(Event, Vec<Script>)>,
}

/// Parses an appspec. With an error among the problems, which are sorted by place, there is no appspec.
pub fn parse(bytes: &[u8]) -> (Option<Appspec>, Vec<Problem>) {
    let (appspec, problems) = look(bytes);
    let is_good = problems.iter().all(|problem| problem.is_warning);
    (appspec.filter(|_| is_good), problems)
}

/// The same, but with the readable part of an appspec with errors: to look for more problems, not to deploy.
pub fn look(bytes: &[u8]) -> (Option<Appspec>, Vec<Problem>) {
    let (appspec, mut problems) = match yaml::parse(bytes) {
        Ok(node) => read::appspec(node),
        Err(problem) => (None, vec![*problem]),
    };
    in_order(&mut problems);
    (appspec, problems)
}

/// Sorts problems by place.
pub fn in_order(problems: &mut [Problem]) {
    sort(problems, &mut |a, b| a.at.cmp(&b.at));
}

/// Untrusted text for a message: control characters escaped, and shortened.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.escape_debug().take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown.pop();
        shown.push('…');
    }
    shown
}
