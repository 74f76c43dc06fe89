//! SELinux: whether the kernel has it, and labels in its format.

use std::path::Path;

use crate::appspec::SeContext;

/// Exists if the kernel has SELinux.
const SELINUX: &str = "/sys/fs/selinux/enforce";
/// The attribute with the label of a file.
pub(super) const LABEL: &str = "security.selinux";

/// Whether the kernel has SELinux.
pub(super) fn has_selinux() -> bool {
    Path::new(SELINUX).exists()
}

/// A label in the kernel's format. Missing parts are those of a system's own files.
pub(super) fn label(context: &SeContext) -> Vec<u8> {
    let (user, range) = (context.user.as_deref().unwrap_or("system_u"), context.range.as_deref().unwrap_or("s0"));
    format!("{user}:object_r:{}:{range}\0", context.kind).into_bytes()
}
