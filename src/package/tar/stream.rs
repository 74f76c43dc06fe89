//! The bytes of a tar, in sequence: those of the file, or the content that they are the compression of. Memory does not
//! depend on the content.

use std::fs::File;

use super::gzip::Gzip;
use super::input::{Decoder, Input};
use crate::error::{Error, Result};
use crate::package::sniff::Compression;
use crate::package::transfer::in_time;
use crate::sys::clock::Deadline;

/// The bytes, and the position in them.
pub(super) struct Stream<'a> {
    input: Input<'a>,
    /// `None`: the file is the tar.
    decoder: Option<Box<dyn Decoder>>,
    deadline: Deadline,
}

impl<'a> Stream<'a> {
    /// The bytes of `file` from its beginning.
    pub(super) fn new(file: &'a File, compression: Compression, deadline: Deadline) -> Result<Self> {
        let decoder: Option<Box<dyn Decoder>> = match compression {
            Compression::None => None,
            Compression::Gzip => Some(Box::new(Gzip::new())),
        };
        Ok(Self { input: Input::new(file)?, decoder, deadline })
    }

    /// Whether the bytes have a checksum, and a definite end.
    pub(super) fn has_end(&self) -> bool {
        self.decoder.is_some()
    }

    /// The next bytes: at least one and at most `most`, or none at the end.
    pub(super) fn some(&mut self, most: u64) -> Result<&[u8]> {
        in_time(self.deadline)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let Some(decoder) = &mut self.decoder else {
            return self.input.take(most);
        };
        while decoder.is_empty() && decoder.advance(&mut self.input)? {
            in_time(self.deadline)?;
        }
        Ok(decoder.take(most))
    }

    /// Skips `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<()> {
        if self.decoder.is_none() {
            let at = self.input.at.checked_add(count).filter(|at| *at <= self.input.size);
            self.input.at = at.ok_or_else(ends_early)?;
            return Ok(());
        }
        while count > 0 {
            match self.some(count)?.len() {
                0 => return Err(ends_early()),
                some => count -= some as u64,
            }
        }
        Ok(())
    }
}

/// The error of a tar that ends where more is expected.
pub(super) fn ends_early() -> Error {
    Error::refused("it ends before its end: cut off on the way, not written to its end yet, or no tar")
}
