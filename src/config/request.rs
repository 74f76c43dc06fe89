//! The part of the command line that concerns the configuration.

use std::path::PathBuf;

use super::layers::Argument;

/// The file, its sections, and options that correspond to keys.
#[derive(Debug, Default)]
pub struct Request {
    /// `-c`.
    pub file: Option<PathBuf>,
    /// `--config-section`, each of them; `all` means every section.
    pub sections: Vec<String>,
    /// Options that correspond to keys, in order.
    pub arguments: Vec<Argument>,
}
