//! Copies the content of a file before the deadline; a file that changes meanwhile is an error.

use std::io::Read;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::clock::Deadline;

/// Fails after the deadline.
pub(super) fn in_time(deadline: Deadline) -> Result<()> {
    if deadline.has_passed() {
        return Err(Error::failed("unpacking took longer than timeout"));
    }
    Ok(())
}

/// Copies exactly `size` bytes.
pub(super) fn transfer(
    file: &mut impl Read,
    size: u64,
    buffer: &mut [u8],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut left = size;
    loop {
        let read = match file.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.with_context(|| "cannot read it")?,
        };
        left = left.checked_sub(read as u64).ok_or_else(changed)?;
        match (read, left) {
            (0, 0) => return Ok(()),
            (0, _) => return Err(changed()),
            _ => write(&buffer[..read])?,
        }
    }
}

/// The error for a file that changed.
pub(super) fn changed() -> Error {
    Error::new(Kind::Superseded, "it changed while it was copied")
}
