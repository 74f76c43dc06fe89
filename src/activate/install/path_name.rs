//! Paths of the host in messages.

use std::path::Path;

/// A path of the ledger for messages; a name with control characters stays on one line.
pub(super) fn shown(path: &Path) -> String {
    format!("/{}", path.display().to_string().escape_debug())
}
