//! The directory once more, as the `zip` crate reads it: two readings that differ are reason enough to refuse. Where that one
//! trips over what other readers pass over (a field that is damaged, a record of an old ZIP64), the rest has one reading only.

use ::zip::read::{ArchiveOffset, Config};
use ::zip::unstable::read::{ZipIterable, ZipIterableFiles};

use super::Member;
use super::record::Central;
use super::window::BufferedAt;
use crate::error::{Error, Result};

/// A second reader, at its beginning.
#[derive(Debug)]
pub(super) struct Second<'f>(Option<ZipIterable<BufferedAt<'f>>>);

/// A second reader, at the member that comes next.
pub(super) struct Pass<'s, 'f>(Option<&'s mut ZipIterableFiles<BufferedAt<'f>>>);

impl<'f> Second<'f> {
    /// Of an archive that begins at `base`.
    pub(super) fn new(glass: BufferedAt<'f>, base: u64) -> Self {
        Self(ZipIterable::try_new(glass, Config { archive_offset: ArchiveOffset::Known(base) }).ok())
    }

    pub(super) fn pass(&mut self) -> Pass<'_, 'f> {
        Pass(self.0.as_mut().and_then(|zip| zip.files().ok()))
    }
}

impl Pass<'_, '_> {
    /// Whether the next member is the one whose record is at `at`.
    pub(super) fn agree(&mut self, at: u64, central: &Central, member: &Member) -> Result<()> {
        let Some(files) = &mut self.0 else { return Ok(()) };
        let Some(Ok(entry)) = files.next() else {
            self.0 = None; // it goes on with nothing after that
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
