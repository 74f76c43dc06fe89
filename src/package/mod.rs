//! From an artifact to a tree: sniff what it is, and unpack it through one policy for all kinds.

use crate::artifact::Artifact;
use crate::error::{Error, Result};
use crate::model::Layout;
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// An artifact that passed the configured checks. Only [`verify`] makes one.
#[derive(Debug)]
pub struct Verified(Artifact);

/// What was laid out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpacked {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Checks an artifact against what the operator configured to trust.
pub fn verify(artifact: Artifact) -> Result<Verified> {
    Ok(Verified(artifact))
}

/// Lays `verified` out in `staging`, an empty directory. On an error the caller removes what lies there.
pub fn unpack(_verified: &Verified, _staging: &Dir, _layout: &Layout, _deadline: Deadline) -> Result<Unpacked> {
    Err(Error::failed("not yet"))
}
