//! Reads the directory again with the `zip` crate: if two readers disagree, the archive is refused. Where that crate
//! fails on data that other readers ignore (a damaged field, an old ZIP64 record), the remaining members are read only
//! once.

use ::zip::read::{ArchiveOffset, Config};
use ::zip::unstable::read::{ZipIterable, ZipIterableFiles};

use super::member::Member;
use super::record::Central;
use super::window::BufferedAt;
use crate::error::{Error, Result};

/// A second reader, before the first member.
#[derive(Debug)]
pub(super) struct Second<'f>(Option<ZipIterable<BufferedAt<'f>>>);

/// A second reader, at the next member.
pub(super) struct Pass<'s, 'f>(Option<&'s mut ZipIterableFiles<BufferedAt<'f>>>);

impl<'f> Second<'f> {
    /// A reader for an archive that begins at `base`.
    pub(super) fn new(glass: BufferedAt<'f>, base: u64) -> Self {
        Self(ZipIterable::try_new(glass, Config { archive_offset: ArchiveOffset::Known(base) }).ok())
    }

    pub(super) fn pass(&mut self) -> Pass<'_, 'f> {
        Pass(self.0.as_mut().and_then(|zip| zip.files().ok()))
    }
}

impl Pass<'_, '_> {
    /// Fails unless the next member is the one with the record at `at`.
    pub(super) fn agree(&mut self, at: u64, central: &Central, member: &Member) -> Result<()> {
        let Some(files) = &mut self.0 else { return Ok(()) };
        let Some(Ok(entry)) = files.next() else {
            self.0 = None; // no further member is compared
            return Ok(());
        };
        let places = (entry.central_header_start(), entry.header_start());
        let content = (entry.compressed_size(), entry.size(), entry.crc32());
        let is_same = entry.name_raw() == central.name
            && places == (at, member.start)
            && content == (member.packed, member.size, member.crc);
        if is_same { Ok(()) } else { Err(Error::refused("two readings of the directory differ")) }
    }
}
