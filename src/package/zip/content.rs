//! The content of one member, which must match its header exactly: it fills its compressed range to the last byte, has
//! the stated size and checksum, and never produces more bytes than announced. All members share two buffers.

use std::fs::File;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::member::Member;
use super::window::ReadWindow;
use crate::error::{Context, Error, Result};

/// The number of bytes that are read at once.
const INPUT: usize = 64 * 1024;
/// The number of bytes that are produced at once: most files in one piece.
const OUTPUT: usize = 256 * 1024;

/// Reads the content of members.
pub(super) struct Contents<'a> {
    file: &'a File,
    input: ReadWindow,
    output: Box<[u8]>,
    inflate: Decompress,
}

impl<'a> Contents<'a> {
    /// A reader for the members of `file`.
    pub(super) fn new(file: &'a File) -> Self {
        let output = vec![0; OUTPUT].into_boxed_slice();
        Self { file, input: ReadWindow::new(INPUT), output, inflate: Decompress::new(false) }
    }

    /// Passes the content of `member` to `write`, piece by piece.
    pub(super) fn read(&mut self, member: &Member, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut crc = Crc::new();
        if member.deflated {
            self.inflated(member, &mut crc, write)?;
        } else {
            self.stored(member, &mut crc, write)?;
        }
        if crc.sum() != member.crc {
            return Err(Error::refused("its content does not match its checksum"));
        }
        Ok(())
    }

    fn stored(&mut self, member: &Member, crc: &mut Crc, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut done = 0;
        while done < member.packed {
            let bytes = input(&mut self.input, self.file, member.data + done, member.packed - done)?;
            crc.update(bytes);
            write(bytes)?;
            done += bytes.len() as u64;
        }
        Ok(())
    }

    fn inflated(&mut self, member: &Member, crc: &mut Crc, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.inflate.reset(false);
        loop {
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let left = member.packed - taken;
            let bytes = match left {
                0 => &[],
                _ => input(&mut self.input, self.file, member.data + taken, left)?,
            };
            // Room for one byte more than announced reveals a member that has more.
            let room = usize::try_from(member.size - made).map_or(OUTPUT, |left| left.saturating_add(1).min(OUTPUT));
            let status = self.inflate.decompress(bytes, &mut self.output[..room], FlushDecompress::None);
            let status = status.map_err(|_| Error::refused("its compressed data is damaged"))?;
            let (used, count) = (self.inflate.total_in() - taken, self.inflate.total_out() - made);
            if made + count > member.size {
                return Err(Error::refused(format!("it has more than the {} bytes it announces", member.size)));
            }
            // No more than `room`, which is a usize.
            let output = &self.output[..usize::try_from(count).unwrap_or(0)];
            if !output.is_empty() {
                crc.update(output);
                write(output)?;
            }
            match status {
                Status::StreamEnd => return self.is_exact(member),
                Status::Ok | Status::BufError if used == 0 && count == 0 => {
                    return Err(Error::refused("its compressed data breaks off"));
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }

    fn is_exact(&self, member: &Member) -> Result<()> {
        let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
        if taken != member.packed {
            let more = member.packed - taken;
            return Err(Error::refused(format!("{more} bytes follow the end of its compressed data")));
        }
        if made != member.size {
            return Err(Error::refused(format!("it has {made} bytes and announces {}", member.size)));
        }
        Ok(())
    }
}

/// Up to `left` bytes at `at`.
fn input<'w>(window: &'w mut ReadWindow, file: &File, at: u64, left: u64) -> Result<&'w [u8]> {
    let bytes = window.at(file, at).with_context(|| "cannot read it")?;
    if bytes.is_empty() {
        return Err(Error::failed("the archive became shorter while it was read"));
    }
    let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    Ok(&bytes[..count])
}
