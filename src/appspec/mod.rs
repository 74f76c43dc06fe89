//! `appspec.yml`, as AWS CodeDeploy has it: what of a bundle goes where, with which permissions, and which scripts run
//! when. Pure: everything that can be decided from the text alone is decided here, all problems at once, each with its
//! place and what to write instead. What needs the bundle (do sources and scripts exist) or the host (users, what is in
//! the way) is for the layers above, which have the places of the values for their own messages.

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

/// A place in the text, as an editor counts.
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

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub it: T,
    /// Where it stands.
    pub at: Place,
}

/// Something that is wrong, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Place,
    /// Whether it can be deployed all the same.
    pub is_warning: bool,
    /// What.
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

/// `LINE:COLUMN: error|warning: text`, to stand behind a file's name and a colon.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_warning { "warning" } else { "error" };
        write!(f, "{}:{}: {word}: {}", self.at.line, self.at.column, self.text)
    }
}

/// What to do with a file at a destination that no deployment of ours put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Stop before anything is touched.
    Disallow,
    /// Replace it, and keep it for the way back.
    Overwrite,
    /// Leave it.
    Retain,
}

/// An entry of `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// In the bundle, relative; empty for all of it.
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
    /// Globs for direct children that are left out.
    pub except: Vec<String>,
    /// Name or number of a user.
    pub owner: Option<At<String>>,
    /// Name or number of a group.
    pub group: Option<At<String>>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// What replaces the access control lists.
    pub acls: Vec<At<acl::Entry>>,
    /// For SELinux.
    pub context: Option<At<SeContext>>,
    /// Whether it is for files.
    pub files: bool,
    /// Whether it is for directories.
    pub directories: bool,
}

/// A label of SELinux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeContext {
    /// `None`: as it is.
    pub user: Option<String>,
    /// The type.
    pub kind: String,
    /// `None`: as it is.
    pub range: Option<String>,
}

/// The events that may have scripts, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Live release, before it is taken from a load balancer.
    BeforeBlockTraffic,
    /// Live release, after that.
    AfterBlockTraffic,
    /// Live release.
    ApplicationStop,
    /// New release, as all that follow.
    BeforeInstall,
    /// Files are in place.
    AfterInstall,
    /// It runs from here on.
    ApplicationStart,
    /// The last word.
    ValidateService,
    /// Before a load balancer has it again.
    BeforeAllowTraffic,
    /// After that.
    AfterAllowTraffic,
}

impl Event {
    /// All of them, in order.
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

    /// As it is written.
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
    /// In the bundle, relative.
    pub location: At<PathBuf>,
    /// Seconds.
    pub timeout: u32,
    /// The user who runs it.
    pub runas: Option<At<String>>,
}

/// A whole appspec. `version` and `os` have one value each, so they are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appspec {
    /// `file_exists_behavior`, when it is said.
    pub behaviour: Option<Behaviour>,
    /// None where a bundle has scripts only.
    pub files: Vec<Files>,
    /// In the order of the text.
    pub permissions: Vec<Permission>,
    /// Events that have scripts, in the order of the text.
    pub hooks: Vec<(Event, Vec<Script>)>,
}

/// Reads an appspec. With an error among the problems, which are in the order of the text, there is no appspec.
pub fn parse(bytes: &[u8]) -> (Option<Appspec>, Vec<Problem>) {
    let (appspec, problems) = look(bytes);
    let is_good = problems.iter().all(|problem| problem.is_warning);
    (appspec.filter(|_| is_good), problems)
}

/// The same, but with an appspec of what could be read all the same: to look for more problems, not to deploy.
pub fn look(bytes: &[u8]) -> (Option<Appspec>, Vec<Problem>) {
    let (appspec, mut problems) = match yaml::parse(bytes) {
        Ok(node) => read::appspec(node),
        Err(problem) => (None, vec![*problem]),
    };
    in_order(&mut problems);
    (appspec, problems)
}

/// Sorts problems by their places. In one place, so that the binary has one sort for it.
pub fn in_order(problems: &mut [Problem]) {
    problems.sort_unstable_by_key(|problem| problem.at);
}

/// A stranger's text for a message: control characters escaped, never long.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.escape_debug().take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown.pop();
        shown.push('…');
    }
    shown
}
