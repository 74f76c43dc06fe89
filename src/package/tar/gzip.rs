//! gzip, read as strictly as the members of a ZIP: checksum and length of each gzip member must be right, and nothing
//! may follow the last one (except the padding of a tape).

use std::ops::Range;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::input::{Decoder, Input};
use crate::error::{Error, Result};

/// The number of bytes that are inflated at once: most files in one piece.
const OUTPUT: usize = 256 * 1024;
/// Longest gzip header, which may contain a file name and a comment.
const MAX_HEADER: u64 = 128 * 1024;
/// Into a pipe, bsdtar writes whole blocks, as for a tape: zeros follow the end, up to this size.
const BLOCK: u64 = 10_240;

pub(super) struct Gzip {
    inflate: Decompress,
    crc: Crc,
    in_member: bool,
    output: Box<[u8]>,
    ready: Range<usize>,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            in_member: false,
            output: vec![0; OUTPUT].into_boxed_slice(),
            ready: 0..0,
        }
    }

    /// Reads a gzip header (RFC 1952).
    fn begin_member(&mut self, input: &mut Input<'_>) -> Result<()> {
        const TEXT_CRC_EXTRA_NAME_COMMENT: [u8; 5] = [1, 2, 4, 8, 16];
        let [_, crc, extra, name, comment] = TEXT_CRC_EXTRA_NAME_COMMENT;
        let (start, mut sum) = (input.at, Crc::new());
        let fixed: [u8; 10] = header_bytes(input, &mut sum)?;
        if !fixed.starts_with(b"\x1f\x8b") {
            let more = input.size - start;
            return Err(Error::refused(format!("{more} bytes follow its end: it is not what was packed")));
        }
        let flags = fixed[3];
        if fixed[2] != 8 || flags & !31 != 0 {
            return Err(Error::refused("it is gzip of an unknown kind"));
        }
        if flags & extra != 0 {
            let length: [u8; 2] = header_bytes(input, &mut sum)?;
            for _ in 0..u16::from_le_bytes(length) {
                header_bytes::<1>(input, &mut sum)?;
            }
        }
        for _ in 0..(flags & (name | comment)).count_ones() {
            while header_bytes(input, &mut sum)? != [0] {
                if input.at - start > MAX_HEADER {
                    return Err(Error::refused("its gzip header is too long"));
                }
            }
        }
        let expected = sum.sum() & 0xffff;
        if flags & crc != 0 && u32::from(u16::from_le_bytes(header_bytes(input, &mut sum)?)) != expected {
            return Err(Error::refused("its gzip header does not match its checksum"));
        }
        self.inflate.reset(false);
        self.crc.reset();
        self.in_member = true;
        Ok(())
    }

    /// Compares the inflated data with the checksum and the length behind it.
    fn end_member(&mut self, input: &mut Input<'_>) -> Result<()> {
        let mut sum = Crc::new();
        let crc = u32::from_le_bytes(header_bytes(input, &mut sum)?);
        let length: [u8; 4] = header_bytes(input, &mut sum)?;
        self.in_member = false;
        // The length is stored modulo 2^32.
        let made = self.inflate.total_out().to_le_bytes();
        if crc != self.crc.sum() || made[..4] != length {
            return Err(Error::refused("its content does not match its checksum"));
        }
        Ok(())
    }
}

impl Decoder for Gzip {
    fn advance(&mut self, input: &mut Input<'_>) -> Result<bool> {
        if !self.in_member {
            let is_over = is_at_end(input)?;
            return if is_over { Ok(false) } else { self.begin_member(input).map(|()| true) };
        }
        let bytes = input.bytes()?;
        if bytes.is_empty() {
            return Err(cut_off());
        }
        let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(bytes, &mut self.output, FlushDecompress::None);
        let status = status.map_err(|_| Error::refused("its compressed data is damaged"))?;
        let (used, count) = (self.inflate.total_in() - taken, self.inflate.total_out() - made);
        input.at += used;
        // At most the size of the buffer, which is a usize.
        self.ready = 0..usize::try_from(count).unwrap_or(0);
        self.crc.update(&self.output[self.ready.clone()]);
        match status {
            Status::StreamEnd => self.end_member(input)?,
            Status::Ok | Status::BufError if used == 0 && count == 0 => {
                return Err(Error::refused("its compressed data is damaged"));
            }
            Status::Ok | Status::BufError => {}
        }
        Ok(true)
    }

    fn take(&mut self, most: usize) -> &[u8] {
        let start = self.ready.start;
        self.ready.start += most.min(self.ready.len());
        &self.output[start..self.ready.start]
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

/// Whether the last gzip member has been read.
fn is_at_end(input: &mut Input<'_>) -> Result<bool> {
    if input.at == input.size {
        return Ok(true);
    }
    let left = input.size - input.at;
    if left >= BLOCK || !input.size.is_multiple_of(BLOCK) || input.at == 0 {
        return Ok(false);
    }
    let bytes = input.bytes()?;
    Ok(bytes.len() as u64 == left && bytes.iter().all(|b| *b == 0))
}

fn header_bytes<const N: usize>(input: &mut Input<'_>, sum: &mut Crc) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = *input.take(1)?.first().ok_or_else(cut_off)?;
    }
    sum.update(&bytes);
    Ok(bytes)
}

/// The error of a gzip stream that ends where more is expected.
fn cut_off() -> Error {
    Error::refused("its compressed data breaks off: cut off on the way, or not written to its end yet")
}
