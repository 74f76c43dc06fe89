//! Files that the live release has already are cloned from it where the file system shares blocks (FICLONE of XFS and
//! Btrfs): an update then takes time and room for its changes only. Hard links would do so everywhere, but a change of
//! one file would change both releases.
//!
//! A CRC-32 is easily forged, and the application may write to the live release. So a file is cloned only if it was not
//! changed since its release was published, as its ctime says, which no user can set. Files that were unpacked in the last
//! tick of the clock before that are not cloned either.

use std::fs::File;
use std::io::{self, Read};

use flate2::Crc;

use super::policy::{Kind, Plan};
use super::trail::{Trail, split};
use crate::error::Result;
use crate::store::Original;
use crate::store::manifest::{Item, What};
use crate::sys::fs::{self, Kind as FileKind};

/// The number of bytes that are read at once.
const READ: usize = 128 * 1024;

/// The files of a new release that the live one has.
#[derive(Debug)]
pub(super) struct Unchanged<'a> {
    live: &'a Original,
    trail: Trail,
    /// Whether the live release has the member, by index.
    is_here: Vec<bool>,
    buffer: Vec<u8>,
    /// The number of files cloned so far.
    pub(super) count: u64,
    /// The file system cannot clone.
    is_over: bool,
}

impl<'a> Unchanged<'a> {
    /// Compares the names, sizes and checksums of `live` with those of the plan's members, which `sums` has by index.
    pub(super) fn find(plan: &Plan, sums: &[(u64, u32)], live: &'a Original) -> Result<Self> {
        let mut is_here = vec![false; plan.len()];
        let mut known = live.manifest.finder()?;
        for index in plan.in_order().filter(|index| matches!(plan.kind(*index), Kind::File | Kind::Program)) {
            let Some(Item { what: What::File { size, crc, .. }, .. }) = known.at(plan.path(index))? else { continue };
            is_here[index as usize] = *size > 0 && (*size, *crc) == sums[index as usize];
        }
        Ok(Self { live, trail: Trail::default(), is_here, buffer: Vec::new(), count: 0, is_over: false })
    }

    /// Makes the empty file `to` a clone of the member `index` in the live release. False: it is still empty.
    pub(super) fn clone_to(&mut self, plan: &Plan, index: u32, crc: u32, to: &File) -> bool {
        if self.is_over || !self.is_here[index as usize] {
            return false;
        }
        // Any error means only that the file is unpacked.
        let is_cloned = self.attempt(plan.path(index), crc, to).unwrap_or(false);
        self.count += u64::from(is_cloned);
        is_cloned
    }

    fn attempt(&mut self, path: &[u8], crc: u32, to: &File) -> io::Result<bool> {
        let (parent, name) = split(path);
        let dir = self.trail.enter(&self.live.top, parent, |dir, name| dir.child(name))?;
        let from = dir.open_file(name)?;
        if !self.is_untouched(&from)? || sum(&from, &mut self.buffer)? != crc {
            return Ok(false);
        }
        self.is_over = fs::clone_content(&from, to).is_err();
        if self.is_over {
            return Ok(false);
        }
        // Asked again: a change of the file while it was read or cloned has a later ctime, and the clone is not used.
        if self.is_untouched(&from)? {
            return Ok(true);
        }
        to.set_len(0)?;
        Ok(false)
    }

    fn is_untouched(&self, file: &File) -> io::Result<bool> {
        let meta = fs::meta(file)?;
        Ok(meta.kind == FileKind::File && meta.ctime < self.live.published)
    }
}

/// The CRC-32 of a file.
fn sum(mut file: &File, buffer: &mut Vec<u8>) -> io::Result<u32> {
    buffer.resize(READ, 0);
    let mut crc = Crc::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(crc.sum()),
            Ok(count) => crc.update(&buffer[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
