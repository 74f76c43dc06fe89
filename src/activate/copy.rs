//! Copies and compares the content of files. Holes are copied as holes, so that a large sparse file takes neither room
//! nor time. Both ask the limit every few megabytes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use rustix::fs::{SeekFrom as Find, copy_file_range, seek};
use rustix::io::Errno;

use super::limit::Limit;
use crate::sys::fs::Meta;

/// The number of bytes after which the limit is asked.
const STEP: u64 = 8 << 20;
/// Bytes that are compared, or searched for zeros, at a time.
const BLOCK: usize = 64 * 1024;

/// Copies `from`, with the metadata `meta`, into the empty file `to`, including bytes appended in the meantime.
pub(super) fn copy(from: &File, meta: &Meta, to: &File, limit: Limit) -> io::Result<()> {
    if meta.allocated < meta.size {
        copy_data(from, meta.size, to, limit)?;
    }
    copy_until(from, None, to, limit)
}

/// Copies the data of the first `size` bytes, leaves the holes out, and moves both offsets to `size`.
fn copy_data(mut from: &File, size: u64, mut to: &File, limit: Limit) -> io::Result<()> {
    let mut at = 0;
    loop {
        limit.ask()?;
        let Range { start, end } = match next_data(from, at, size) {
            Ok(Some(data)) => data,
            Ok(None) => break,
            Err(Errno::INVAL) => return copy_but_zeros(from, size, to, limit), // a file system without holes
            Err(e) => return Err(e.into()),
        };
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        copy_until(from, Some(end.saturating_sub(start)), to, limit)?;
        at = end;
    }
    // No write makes the last hole.
    to.set_len(size)?;
    from.seek(SeekFrom::Start(size))?;
    to.seek(SeekFrom::Start(size))?;
    Ok(())
}

/// The first range of data (not of holes) at or after `at`, within the first `size` bytes. Moves the file's offset.
pub(super) fn next_data(from: &File, at: u64, size: u64) -> Result<Option<Range<u64>>, Errno> {
    let start = match seek(from, Find::Data(at)) {
        Ok(start) if at < size && start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None), // a hole up to the end
        Err(e) => return Err(e),
    };
    let end = seek(from, Find::Hole(start))?.clamp(start, size);
    Ok((end > start).then_some(start..end))
}

/// Copies `most` bytes, or all that are left: within the kernel where the file systems can.
fn copy_until(from: &File, most: Option<u64>, to: &File, limit: Limit) -> io::Result<()> {
    let most = most.unwrap_or(u64::MAX);
    let mut done = 0;
    while done < most {
        limit.ask()?;
        let step = (most - done).min(STEP);
        let copied = match copy_file_range(from, None, to, None, usize::try_from(step).unwrap_or(usize::MAX)) {
            Ok(0) if done > 0 => break,
            Ok(copied) if copied > 0 => copied as u64,
            Err(Errno::INTR) => continue,
            // Some file systems refuse, and some kernels say that there is nothing (copy_file_range(2)).
            Ok(_) | Err(_) => {
                let copied = io::copy(&mut from.take(step), &mut &*to)?;
                if copied < step {
                    break;
                }
                copied
            }
        };
        done = done.saturating_add(copied);
    }
    Ok(())
}

/// Copies the first `size` bytes from the start of both files, skipping blocks of zeros.
fn copy_but_zeros(mut from: &File, size: u64, mut to: &File, limit: Limit) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    let (mut block, mut left) = (vec![0; BLOCK], size);
    while left > 0 {
        limit.ask()?;
        let most = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let got = match from.read(&mut block[..most]) {
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        match block[..got].iter().all(|byte| *byte == 0) {
            true => to.seek(SeekFrom::Current(i64::try_from(got).unwrap_or(0))).map(drop)?,
            false => to.write_all(&block[..got])?,
        }
        left = left.saturating_sub(got as u64);
    }
    let end = size.saturating_sub(left);
    to.set_len(end)
}

/// Whether both files have the same bytes from their offsets on. A read error of `other` counts as different.
pub(super) fn same_bytes(mut one: &File, mut other: &File, limit: Limit) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        limit.ask()?;
        let got = one.read(&mut a)?;
        if got == 0 {
            return Ok(other.read(&mut b).is_ok_and(|more| more == 0));
        }
        if other.read_exact(&mut b[..got]).is_err() || a[..got] != b[..got] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::clock::Deadline;
    use crate::sys::fs::{meta, unnamed};

    /// Bytes and their offsets.
    type Pieces<'a> = &'a [(u64, &'a [u8])];
    type Way = fn(&File, &Meta, &File) -> io::Result<()>;

    /// A file of this size with these pieces.
    fn file(pieces: Pieces<'_>, size: u64) -> File {
        let mut file = unnamed().unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in pieces {
            file.seek(SeekFrom::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    fn rewound(mut file: &File) -> &File {
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    #[test]
    fn every_way_gives_the_same_bytes_and_holes_stay_holes() {
        let large = vec![7; 200_000];
        let cases: [(Pieces<'_>, u64); 6] = [
            (&[], 0),
            (&[], 50 << 20),
            (&[(0, b"a")], 1),
            (&[(0, &large)], 200_000),
            (&[(0, b"a"), (20 << 20, &large), (40 << 20, b"z")], (40 << 20) + 1),
            (&[(30 << 20, b"z")], 60 << 20),
        ];
        for (pieces, size) in cases {
            let from = file(pieces, size);
            let of = meta(&from).unwrap();
            let ways: [Way; 3] = [
                |from, of, to| copy(from, of, to, Limit::SIGNALS),
                |from, of, to| copy_data(from, of.size, to, Limit::SIGNALS),
                |from, of, to| copy_but_zeros(from, of.size, to, Limit::SIGNALS),
            ];
            for way in ways {
                let to = unnamed().unwrap();
                way(rewound(&from), &of, &to).unwrap();
                let copied = meta(&to).unwrap();
                assert_eq!(copied.size, size);
                assert!(
                    copied.allocated <= of.allocated + (2 << 20),
                    "{size}: {} of {}",
                    copied.allocated,
                    of.allocated
                );
                assert!(same_bytes(rewound(&from), rewound(&to), Limit::SIGNALS).unwrap());
            }
        }
    }

    #[test]
    fn a_deadline_that_has_passed_ends_copies_and_comparisons() {
        let over = Limit::at(Deadline::after(Duration::ZERO));
        for from in [file(&[(0, b"a")], 1), file(&[(9 << 20, b"a")], 20 << 20)] {
            let error = copy(&from, &meta(&from).unwrap(), &unnamed().unwrap(), over).unwrap_err();
            assert!(error.to_string().contains("timeout"), "{error}");
            assert!(same_bytes(rewound(&from), rewound(&from), over).is_err());
        }
    }
}
