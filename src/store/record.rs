//! A release as the state and the history record it.

use crate::model::{ReleaseId, Revision, Validators};
use crate::sys::log::Facts;

/// A release and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its directory in the store.
    pub release: ReleaseId,
    /// The source's name for it.
    pub revision: Revision,
    /// The validators for the next poll.
    pub validators: Validators,
    /// The time since which it is live or staged, in seconds since 1970.
    pub since: u64,
    /// The verification of its archive before it was unpacked; `None`: not requested.
    pub proof: Option<String>,
}

impl Record {
    /// The facts of a log line about it; `outcome`: the line ends a check.
    pub fn facts(&self, outcome: Option<&'static str>) -> Facts<'_> {
        Facts { outcome, release: Some(self.release.as_str()), revision: Some(self.revision.as_str()) }
    }
}
