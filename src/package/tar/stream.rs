//! The bytes of a tar, gzipped or plain, in sequence. gzip is read as strictly as the members of a ZIP: checksum and
//! length of each gzip member must be right, and nothing may follow the last one (except the padding of a tape). Memory
//! does not depend on the content.

use std::fs::File;
use std::ops::Range;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::error::{Context, Error, Result};
use crate::package::transfer::in_time;
use crate::package::zip::window::ReadWindow;
use crate::sys::clock::Deadline;

/// The number of bytes that are read at once.
const INPUT: usize = 64 * 1024;
/// The number of bytes that are inflated at once: most files in one piece.
const OUTPUT: usize = 256 * 1024;
/// Longest gzip header, which may contain a file name and a comment.
const MAX_HEADER: u64 = 128 * 1024;
/// Into a pipe, bsdtar writes whole blocks, as for a tape: zeros follow the end, up to this size.
const BLOCK: u64 = 10_240;

/// The bytes, and the position in them.
pub(super) struct Stream<'a> {
    file: &'a File,
    size: u64,
    at: u64,
    input: ReadWindow,
    gzip: Option<Gzip>,
    deadline: Deadline,
}

struct Gzip {
    inflate: Decompress,
    crc: Crc,
    in_member: bool,
    output: Box<[u8]>,
    ready: Range<usize>,
}

impl<'a> Stream<'a> {
    /// The bytes of `file` from its beginning.
    pub(super) fn new(file: &'a File, gzipped: bool, deadline: Deadline) -> Result<Self> {
        let size = file.metadata().with_context(|| "cannot ask for the size")?.len();
        let gzip = gzipped.then(|| Gzip {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            in_member: false,
            output: vec![0; OUTPUT].into_boxed_slice(),
            ready: 0..0,
        });
        Ok(Self { file, size, at: 0, input: ReadWindow::new(INPUT), gzip, deadline })
    }

    /// Whether the bytes are gzipped: then they have a checksum, and a definite end.
    pub(super) fn is_gzipped(&self) -> bool {
        self.gzip.is_some()
    }

    /// The next bytes: at least one and at most `most`, or none at the end.
    pub(super) fn some(&mut self, most: u64) -> Result<&[u8]> {
        in_time(self.deadline)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if self.gzip.as_ref().is_some_and(|gzip| gzip.ready.is_empty()) {
            self.inflate()?;
        }
        if let Some(gzip) = &mut self.gzip {
            let start = gzip.ready.start;
            gzip.ready.start += most.min(gzip.ready.len());
            return Ok(&gzip.output[start..gzip.ready.start]);
        }
        let bytes = input(&mut self.input, self.file, self.at, self.size)?;
        let bytes = &bytes[..most.min(bytes.len())];
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    /// Skips `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<()> {
        if self.gzip.is_none() {
            self.at = self.at.checked_add(count).filter(|at| *at <= self.size).ok_or_else(ends_early)?;
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

    /// Inflates until there is output, or the input ends.
    fn inflate(&mut self) -> Result<()> {
        loop {
            in_time(self.deadline)?;
            let Some(gzip) = &mut self.gzip else { return Ok(()) };
            if !gzip.in_member {
                if self.is_at_end()? {
                    return Ok(());
                }
                self.begin_member()?;
                continue;
            }
            let bytes = input(&mut self.input, self.file, self.at, self.size)?;
            if bytes.is_empty() {
                return Err(cut_off());
            }
            let (taken, made) = (gzip.inflate.total_in(), gzip.inflate.total_out());
            let status = gzip.inflate.decompress(bytes, &mut gzip.output, FlushDecompress::None);
            let status = status.map_err(|_| Error::refused("its compressed data is damaged"))?;
            let (used, count) = (gzip.inflate.total_in() - taken, gzip.inflate.total_out() - made);
            self.at += used;
            // At most the size of the buffer, which is a usize.
            gzip.ready = 0..usize::try_from(count).unwrap_or(0);
            gzip.crc.update(&gzip.output[gzip.ready.clone()]);
            match status {
                Status::StreamEnd => self.end_member()?,
                Status::Ok | Status::BufError if used == 0 && count == 0 => {
                    return Err(Error::refused("its compressed data is damaged"));
                }
                Status::Ok | Status::BufError => {}
            }
            if count > 0 {
                return Ok(());
            }
        }
    }

    /// Whether the last gzip member has been read.
    fn is_at_end(&mut self) -> Result<bool> {
        if self.at == self.size {
            return Ok(true);
        }
        let left = self.size - self.at;
        if left >= BLOCK || !self.size.is_multiple_of(BLOCK) || self.at == 0 {
            return Ok(false);
        }
        let bytes = input(&mut self.input, self.file, self.at, self.size)?;
        Ok(bytes.len() as u64 == left && bytes.iter().all(|b| *b == 0))
    }

    /// Reads a gzip header (RFC 1952).
    fn begin_member(&mut self) -> Result<()> {
        const TEXT_CRC_EXTRA_NAME_COMMENT: [u8; 5] = [1, 2, 4, 8, 16];
        let [_, crc, extra, name, comment] = TEXT_CRC_EXTRA_NAME_COMMENT;
        let (start, mut sum) = (self.at, Crc::new());
        let fixed: [u8; 10] = self.header_bytes(&mut sum)?;
        if !fixed.starts_with(b"\x1f\x8b") {
            let more = self.size - start;
            return Err(Error::refused(format!("{more} bytes follow its end: it is not what was packed")));
        }
        let flags = fixed[3];
        if fixed[2] != 8 || flags & !31 != 0 {
            return Err(Error::refused("it is gzip of an unknown kind"));
        }
        if flags & extra != 0 {
            let length: [u8; 2] = self.header_bytes(&mut sum)?;
            for _ in 0..u16::from_le_bytes(length) {
                self.header_bytes::<1>(&mut sum)?;
            }
        }
        for _ in 0..(flags & (name | comment)).count_ones() {
            while self.header_bytes(&mut sum)? != [0] {
                if self.at - start > MAX_HEADER {
                    return Err(Error::refused("its gzip header is too long"));
                }
            }
        }
        let expected = sum.sum() & 0xffff;
        if flags & crc != 0 && u32::from(u16::from_le_bytes(self.header_bytes(&mut sum)?)) != expected {
            return Err(Error::refused("its gzip header does not match its checksum"));
        }
        if let Some(gzip) = &mut self.gzip {
            gzip.inflate.reset(false);
            gzip.crc.reset();
            gzip.in_member = true;
        }
        Ok(())
    }

    /// Compares the inflated data with the checksum and the length behind it.
    fn end_member(&mut self) -> Result<()> {
        let mut sum = Crc::new();
        let crc = u32::from_le_bytes(self.header_bytes(&mut sum)?);
        let length: [u8; 4] = self.header_bytes(&mut sum)?;
        let Some(gzip) = &mut self.gzip else { return Ok(()) };
        gzip.in_member = false;
        // The length is stored modulo 2^32.
        let made = gzip.inflate.total_out().to_le_bytes();
        if crc != gzip.crc.sum() || made[..4] != length {
            return Err(Error::refused("its content does not match its checksum"));
        }
        Ok(())
    }

    fn header_bytes<const N: usize>(&mut self, sum: &mut Crc) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = *input(&mut self.input, self.file, self.at, self.size)?.first().ok_or_else(cut_off)?;
            self.at += 1;
        }
        sum.update(&bytes);
        Ok(bytes)
    }
}

/// The error of a tar that ends where more is expected.
pub(super) fn ends_early() -> Error {
    Error::refused("it ends before its end: cut off on the way, not written to its end yet, or no tar")
}

/// The error of a gzip stream that ends where more is expected.
fn cut_off() -> Error {
    Error::refused("its compressed data breaks off: cut off on the way, or not written to its end yet")
}

/// The bytes of the file from `at` on; none from `size` on, the length of the file when reading began.
fn input<'w>(window: &'w mut ReadWindow, file: &File, at: u64, size: u64) -> Result<&'w [u8]> {
    if at >= size {
        return Ok(&[]);
    }
    let bytes = window.at(file, at).with_context(|| "cannot read it")?;
    if bytes.is_empty() {
        return Err(Error::failed("the archive became shorter while it was read"));
    }
    Ok(bytes)
}
