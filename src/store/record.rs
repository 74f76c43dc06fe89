//! A release as the state and the history record it.

use crate::model::{ReleaseId, Revision, Validators};

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
