//! Standard error: the log and the progress line share it. Neither can end the program: a closed pipe, a full disk and a
//! missing terminal are all survived in silence.

use std::path::Path;

/// Installs the logger. `level` counts from -1 (`--quiet`) over 0 to 2 (`-v -v`).
pub fn init(_level: i8, _log_file: Option<&Path>) -> crate::error::Result<()> {
    Ok(())
}

/// A line on the terminal that tells how far something is: nothing when standard error is none. Gone when dropped.
#[derive(Debug)]
pub struct Progress {}

impl Progress {
    /// Starts a line: `verb` as in "fetching", and the total in bytes when it is known.
    pub fn start(_verb: &'static str, _total: Option<u64>) -> Self {
        Self {}
    }

    /// `bytes` more are done.
    pub fn advance(&mut self, _bytes: u64) {}
}
