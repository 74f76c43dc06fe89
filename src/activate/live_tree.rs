//! The entry at `<local>`, and its difference from a live tree.

use super::compare::Difference;
use crate::model::ReleaseId;

/// The entry at `<local>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveTree {
    /// No entry.
    Absent,
    /// The link of this deployment, to this release.
    Release(ReleaseId),
    /// Another link: of another user, or to a release that is gone.
    Link(std::ffi::OsString),
    /// An empty directory.
    Empty,
    /// A directory with content.
    Directory,
    /// A file, FIFO, socket or device.
    Other,
}

/// The difference to report for a wrong entry at `<local>`.
pub(super) fn wrong_target(standing: LiveTree, not: &str) -> Difference {
    Difference::Changed(match standing {
        LiveTree::Absent => return Difference::Missing,
        LiveTree::Release(other) => format!("leads to release {other}"),
        LiveTree::Link(target) => format!("leads to {}", target.display()),
        LiveTree::Empty | LiveTree::Directory => format!("a directory, not {not}"),
        LiveTree::Other => format!("neither a link nor a directory, not {not}"),
    })
}
