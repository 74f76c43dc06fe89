//! The end of a ZIP and the place of its directory, with a parser of our own: one end record, one disk, and a directory
//! right in front of it. Bytes before the archive (a self-extractor) or after it are never read, but a file with both
//! is refused: the rest of a truncated file may end in an archive that was only its member. Readers that search and
//! guess here find different members; this one refuses archives about which they could disagree.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Context, Error, Result};

const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_SIZE: usize = 20;
const END64: &[u8] = b"PK\x06\x06";
const END64_SIZE: usize = 56;
/// The distance from the end of the file where every reader looks for the record: the longest comment is 65,535 bytes.
const FARTHEST: usize = END_SIZE + 65_535;
/// With the records of ZIP64 that may precede it.
const TAIL: u64 = (FARTHEST + LOCATOR_SIZE + END64_SIZE) as u64;
const _: () = assert!(TAIL <= crate::artifact::TAIL);

/// The checked end record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::package) struct End {
    /// The offset of the directory, and the end of the members.
    pub(in crate::package) directory: u64,
    /// The number of bytes in front of the archive; its offsets begin there.
    pub(super) base: u64,
    /// The end of the directory.
    pub(super) end: u64,
    /// The number of members in the directory.
    pub(super) members: u64,
}

/// Reads the end of `file`. `None`: it has no end record.
pub(in crate::package) fn find(file: &File) -> Result<Option<End>> {
    let size = file.metadata().with_context(|| "cannot ask for the size")?.len();
    let start = size.saturating_sub(TAIL);
    // At most TAIL, which fits.
    let mut tail = vec![0; usize::try_from(size - start).unwrap_or(0)];
    file.read_exact_at(&mut tail, start).with_context(|| "cannot read the end")?;
    parse(&tail, start)
}

/// Parses the last bytes of a file, which begin at `start`.
fn parse(tail: &[u8], start: u64) -> Result<Option<End>> {
    // Every reader uses the last of several signatures. One in a comment is refused by the next lines.
    let places = tail.len().saturating_sub(FARTHEST)..(tail.len() + 1).saturating_sub(END_SIZE);
    let Some(at) = places.rev().find(|at| tail[*at..].starts_with(END)) else {
        return Ok(None);
    };
    let record = &tail[at..];
    let Some(behind) = record.get(END_SIZE + usize::from(u16_at(record, 20))..) else {
        return Err(Error::refused("its end is cut off"));
    };
    let reaches_the_end = |at: usize| at + END_SIZE + usize::from(u16_at(tail, at + 20)) == tail.len();
    if (0..at).any(|other| tail[other..].starts_with(END) && reaches_the_end(other)) {
        return Err(Error::refused("it has two ends, one in the comment of the other"));
    }
    let counts = Counts {
        disks: [u32::from(u16_at(record, 4)), u32::from(u16_at(record, 6))],
        here: u64::from(u16_at(record, 8)),
        members: u64::from(u16_at(record, 10)),
        size: u64::from(u32_at(record, 12)),
        directory: u64::from(u32_at(record, 16)),
    };
    let end = match at.checked_sub(LOCATOR_SIZE).filter(|locator| tail[*locator..].starts_with(LOCATOR)) {
        Some(locator) => {
            let end = counts.in_64_bits(tail, locator)?.place(start + (locator - END64_SIZE) as u64)?;
            let is_there = u64_at(tail, locator + 8).checked_add(end.base) == Some(end.end);
            if is_there { end } else { return Err(contradiction()) }
        }
        None => counts.place(start + at as u64)?,
    };
    if end.base > 0 && !behind.is_empty() {
        return Err(Error::refused(
            "it does not reach from the beginning of the file to its end: it may be a member of one that was cut off",
        ));
    }
    Ok(Some(end))
}

/// The numbers of an end record, of either width.
struct Counts {
    disks: [u32; 2],
    here: u64,
    members: u64,
    size: u64,
    directory: u64,
}

impl Counts {
    /// The numbers of the ZIP64 record, which must equal these, except for those that are marked as too large.
    fn in_64_bits(&self, tail: &[u8], locator: usize) -> Result<Self> {
        let at = locator.checked_sub(END64_SIZE).ok_or_else(contradiction)?;
        let (record, locator) = (&tail[at..], &tail[locator..]);
        // Right in front of its locator, and without an extension: readers disagree about other places.
        let in_place = record.starts_with(END64) && u64_at(record, 4) == (END64_SIZE - 12) as u64;
        let wide = Self {
            disks: [u32_at(record, 16), u32_at(record, 20)],
            here: u64_at(record, 24),
            members: u64_at(record, 32),
            size: u64_at(record, 40),
            directory: u64_at(record, 48),
        };
        let repeats = |narrow: u64, wide: u64, most: u64| narrow == most || narrow == wide;
        let (most16, most32) = (u64::from(u16::MAX), u64::from(u32::MAX));
        let agree = repeats(self.here, wide.here, most16)
            && repeats(self.members, wide.members, most16)
            && repeats(self.size, wide.size, most32)
            && repeats(self.directory, wide.directory, most32)
            && self.disks.iter().all(|disk| repeats(u64::from(*disk), 0, most16));
        if !in_place || !agree {
            return Err(contradiction());
        }
        if u32_at(locator, 4) != 0 || u32_at(locator, 16) > 1 {
            return Err(many_disks());
        }
        Ok(wide)
    }

    /// The directory in front of the record at `end`.
    fn place(&self, end: u64) -> Result<End> {
        if self.disks != [0, 0] || self.here != self.members {
            return Err(many_disks());
        }
        let directory = end.checked_sub(self.size);
        let base = directory.and_then(|directory| directory.checked_sub(self.directory));
        let (Some(directory), Some(base)) = (directory, base) else {
            return Err(Error::refused("its directory is not where its end says: bytes of it are lost"));
        };
        Ok(End { directory, base, end, members: self.members })
    }
}

fn contradiction() -> Error {
    Error::refused("its two end records (ZIP64) contradict each other")
}

fn many_disks() -> Error {
    Error::refused("it is one part of an archive on several disks: join the parts first (zip -s 0)")
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// `N` bytes at `at`; zeros beyond the end.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}
