//! The bytes of an archive in sequence, and what can decompress them.

use std::fs::File;

use crate::error::{Context, Error, Result};
use crate::package::zip::window::ReadWindow;

/// The number of bytes that are read at once.
const INPUT: usize = 64 * 1024;

/// The bytes of the file, and the position in them.
pub(super) struct Input<'a> {
    file: &'a File,
    window: ReadWindow,
    /// The length of the file when reading began.
    pub(super) size: u64,
    pub(super) at: u64,
}

impl<'a> Input<'a> {
    /// The bytes of `file` from its beginning.
    pub(super) fn new(file: &'a File) -> Result<Self> {
        let size = file.metadata().with_context(|| "cannot ask for the size")?.len();
        Ok(Self { file, window: ReadWindow::new(INPUT), size, at: 0 })
    }

    /// The bytes at the position; none at the end.
    pub(super) fn bytes(&mut self) -> Result<&[u8]> {
        if self.at >= self.size {
            return Ok(&[]);
        }
        let bytes = self.window.at(self.file, self.at).with_context(|| "cannot read it")?;
        if bytes.is_empty() {
            return Err(Error::failed("the archive became shorter while it was read"));
        }
        Ok(bytes)
    }

    /// The next bytes, `most` of them at the most.
    pub(super) fn take(&mut self, most: usize) -> Result<&[u8]> {
        let (start, count) = (self.at, self.bytes()?.len().min(most));
        self.at += count as u64;
        match count {
            0 => Ok(&[]),
            count => Ok(&self.window.at(self.file, start).with_context(|| "cannot read it")?[..count]),
        }
    }
}

/// What the bytes of the file are made into.
pub(super) trait Decoder {
    /// Decompresses some bytes; whether there can be more.
    fn advance(&mut self, input: &mut Input<'_>) -> Result<bool>;
    /// Takes up to `most` of the decompressed bytes; none if they are used up.
    fn take(&mut self, most: usize) -> &[u8];
    /// Whether all of them have been taken.
    fn is_empty(&self) -> bool;
}
