//! The records of the directory of a ZIP: name, kind and place of each member.

use std::borrow::Cow;

use super::end::{u16_at, u32_at};
use super::extra;
use super::member::{LOCAL_HEADER, Member};
use super::window::BufferedAt;
use crate::error::{Context, Error, Result};
use crate::package::names::bare;

/// The raw record of a member.
#[derive(Debug)]
pub(super) struct Central {
    made_on: u8,
    needs: u16,
    pub(super) flags: u16,
    pub(super) method: u16,
    internal: u16,
    dos: u8,
    /// File type and permission bits.
    pub(super) mode: u32,
    crc: u32,
    /// The unpacked size, the packed size, and the offset of the local header.
    places: [u32; 3],
    /// With its trailing slash if it is a directory.
    pub(super) name: Vec<u8>,
    extra: Vec<u8>,
    /// The offset of the next record.
    pub(super) next: u64,
}

impl Central {
    /// The size of a record without name, extra fields and comment.
    pub(super) const SIZE: usize = 46;
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    const ENCRYPTED: u16 = 1;
    pub(super) const DESCRIBED: u16 = 1 << 3;
    pub(super) const UTF8: u16 = 1 << 11;
    /// The flags that determine how a member is read.
    pub(super) const DECIDING: u16 = Self::ENCRYPTED | Self::DESCRIBED | Self::UTF8 | Self::SPECIAL;
    /// Patches, strong encryption, and a hidden directory, which not every reader supports. All other flags have no
    /// effect.
    const SPECIAL: u16 = 1 << 5 | 1 << 6 | 1 << 13;
    /// The newest format version that Info-ZIP reads; deflate needs 2.0, ZIP64 4.5.
    const NEWEST: u8 = 46;
    /// The number of Unix among the host systems.
    const UNIX: u8 = 3;

    /// Reads the record at `at` of a directory that ends at `end`.
    pub(super) fn read(glass: &mut BufferedAt<'_>, at: u64, end: u64) -> Result<Self> {
        let cannot = || "cannot read the directory";
        let cut = || Error::refused("its directory is damaged");
        if at.checked_add(Self::SIZE as u64).is_none_or(|record| record > end) {
            return Err(cut());
        }
        let mut raw = [0; Self::SIZE];
        glass.exact(&mut raw, at).with_context(cannot)?;
        if !raw.starts_with(b"PK\x01\x02") {
            return Err(cut());
        }
        let [name, extra, comment] = [28, 30, 32].map(|field| u16_at(&raw, field));
        let names = at + Self::SIZE as u64;
        let extras = names + u64::from(name);
        let next = extras + u64::from(extra) + u64::from(comment);
        if next > end {
            return Err(cut());
        }
        let (mut name, mut extra) = (vec![0; name.into()], vec![0; extra.into()]);
        glass.exact(&mut name, names).with_context(cannot)?;
        glass.exact(&mut extra, extras).with_context(cannot)?;
        Ok(Self {
            made_on: raw[5],
            needs: u16_at(&raw, 6),
            flags: u16_at(&raw, 8),
            method: u16_at(&raw, 10),
            internal: u16_at(&raw, 36),
            dos: raw[38],
            mode: u32_at(&raw, 38) >> 16,
            crc: u32_at(&raw, 16),
            places: [24, 20, 42].map(|field| u32_at(&raw, field)),
            name,
            extra,
            next,
        })
    }

    pub(super) fn is_dir(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// The name without `./` in front and without a trailing slash. The name of the top is empty.
    pub(super) fn bare_name(&self) -> Cow<'_, [u8]> {
        let unslashed = |name: &[u8]| name.strip_suffix(b"/").filter(|bare| !bare.is_empty()).unwrap_or(name).len();
        match bare(&self.name) {
            Cow::Borrowed(name) => Cow::Borrowed(&name[..unslashed(name)]),
            Cow::Owned(mut name) => {
                name.truncate(unslashed(&name));
                Cow::Owned(name)
            }
        }
    }

    /// Whether every reader makes a link of a member with the mode of one: Info-ZIP also checks a bit that others
    /// ignore.
    pub(super) fn is_link(&self) -> bool {
        self.is_from_unix() && self.internal & 1 << 2 == 0
    }

    fn is_from_unix(&self) -> bool {
        self.made_on == Self::UNIX
    }

    /// Whether it is a volume label of DOS.
    pub(super) fn is_volume_label(&self) -> bool {
        self.dos & 0x08 != 0 && !self.is_from_unix()
    }

    /// Refuses a member that only some readers can read, or that readers interpret differently.
    pub(super) fn check(&self) -> Result<()> {
        if self.flags & Self::ENCRYPTED != 0 {
            return Err(Error::refused("it is encrypted"));
        }
        if self.flags & Self::SPECIAL != 0 {
            return Err(Error::refused(format!("its flags {:#06x} say what only special readers know", self.flags)));
        }
        if self.method != Self::STORED && self.method != Self::DEFLATED {
            let method = self.method;
            return Err(Error::refused(format!("it is packed by method {method}: pack it with deflate, or store it")));
        }
        if !self.is_from_unix() && self.flags & Self::UTF8 == 0 && !self.name.is_ascii() {
            return Err(Error::refused("its name is not ASCII and not marked as UTF-8: readers do not agree on it"));
        }
        if !self.is_from_unix() && self.name.contains(&b'\\') {
            return Err(Error::refused(
                "its name has a backslash in it and is not from Unix: readers do not agree on it",
            ));
        }
        // p7zip stores the number of its system in the upper byte.
        let [needs, _] = self.needs.to_le_bytes();
        if needs > Self::NEWEST {
            let (major, minor) = (needs / 10, needs % 10);
            return Err(Error::refused(format!("it needs a reader of version {major}.{minor}")));
        }
        extra::check(&self.extra, &self.name)
    }

    /// The place of the member in a file whose archive begins at `base`.
    pub(super) fn member(&self, base: u64) -> Result<Member> {
        let damaged = || Error::refused("its sizes are damaged (ZIP64)");
        let [size, packed, start] = extra::wide(&self.extra, self.places).ok_or_else(damaged)?;
        let start = start.checked_add(base).ok_or_else(damaged)?;
        // The minimum; an extra field may follow the name.
        let data = start.saturating_add(LOCAL_HEADER as u64 + self.name.len() as u64);
        let deflated = self.method == Self::DEFLATED;
        Ok(Member { start, data, packed, size, crc: self.crc, index: None, deflated })
    }
}
