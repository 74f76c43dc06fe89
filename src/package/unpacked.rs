//! The result of unpacking, which is never empty.

use super::policy::Plan;
use crate::error::{Error, Result};
use crate::model::Layout;
use crate::store::manifest::Manifest;

/// The result of unpacking.
#[derive(Clone, Debug, Default)]
pub struct Unpacked {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Approximate bytes on disk.
    pub space: u64,
    /// All entries.
    pub manifest: Manifest,
}

impl std::fmt::Display for Unpacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { entries, bytes, .. } = self;
        let (y, s) = (if *entries == 1 { "y" } else { "ies" }, if *bytes == 1 { "" } else { "s" });
        write!(f, "{entries} entr{y}, {bytes} byte{s}")
    }
}

/// Refuses a tree without entries: it would replace a site by nothing, which is never intended.
pub(super) fn is_something(plan: &Plan, layout: &Layout) -> Result<()> {
    if plan.len() > 0 {
        return Ok(());
    }
    Err(Error::refused(match layout.strip_components {
        0 => "there is nothing in it".to_owned(),
        n => format!("strip-components = {n} leaves nothing of it"),
    }))
}
