//! The records of a ZIP as they lie there, for what the `zip` crate does not look at: flags, versions, disks, and extra
//! fields that mean two things.

use super::end::{u16_at, u32_at};
use super::window::Glass;
use crate::error::{Context, Error, Result};

/// A member of the directory as its raw record has it.
#[derive(Debug)]
pub(super) struct Central {
    made_on: u8,
    needs: u16,
    flags: u16,
    method: u16,
    disk: u16,
    dos: u8,
    /// Type and permission bits.
    pub(super) mode: u32,
    /// With the slash at the end that makes it a directory.
    pub(super) name: Vec<u8>,
    extra: Vec<u8>,
    /// Where the next one begins.
    pub(super) next: u64,
}

impl Central {
    /// Bytes of a record without name, extra fields and comment.
    pub(super) const SIZE: usize = 46;
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    const ENCRYPTED: u16 = 1;
    const DESCRIBED: u16 = 1 << 3;
    const UTF8: u16 = 1 << 11;
    /// How hard the compressor tried: of interest to nobody.
    const EFFORT: u16 = 0b110;
    const KNOWN_FLAGS: u16 = Self::EFFORT | Self::DESCRIBED | Self::UTF8;
    /// The version of the format up to which Info-ZIP reads; deflate needs 2.0, ZIP64 4.5.
    const NEWEST: u16 = 46;
    /// The number of Unix among the systems an archive may be made on.
    const UNIX: u8 = 3;

    /// Reads the record at `at` of a directory that ends at `end`.
    pub(super) fn read(glass: &mut Glass<'_>, at: u64, end: u64) -> Result<Self> {
        let cannot = || "cannot read the directory";
        let cut = || Error::refused("its directory is damaged");
        if at.checked_add(Self::SIZE as u64).is_none_or(|record| record > end) {
            return Err(cut());
        }
        let mut raw = [0; Self::SIZE];
        glass.exact(&mut raw, at).context(cannot)?;
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
        glass.exact(&mut name, names).context(cannot)?;
        glass.exact(&mut extra, extras).context(cannot)?;
        Ok(Self {
            made_on: raw[5],
            needs: u16_at(&raw, 6),
            flags: u16_at(&raw, 8),
            method: u16_at(&raw, 10),
            disk: u16_at(&raw, 34),
            dos: raw[38],
            mode: u32_at(&raw, 38) >> 16,
            name,
            extra,
            next,
        })
    }

    pub(super) fn is_dir(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// The name without its slash.
    pub(super) fn bare_name(&self) -> &[u8] {
        self.name.strip_suffix(b"/").filter(|bare| !bare.is_empty()).unwrap_or(&self.name)
    }

    pub(super) fn is_deflated(&self) -> bool {
        self.method == Self::DEFLATED
    }

    /// Whether a data descriptor follows its content.
    pub(super) fn is_described(&self) -> bool {
        self.flags & Self::DESCRIBED != 0
    }

    pub(super) fn is_from_unix(&self) -> bool {
        self.made_on == Self::UNIX
    }

    /// What DOS has instead of a file that names the disk.
    pub(super) fn is_volume_label(&self) -> bool {
        self.dos & 0x08 != 0
    }

    /// Refuses what only some readers can read, or can read in more than one way.
    pub(super) fn check(&self) -> Result<()> {
        if self.flags & Self::ENCRYPTED != 0 {
            return Err(Error::refused("it is encrypted"));
        }
        if self.flags & !Self::KNOWN_FLAGS != 0 {
            return Err(Error::refused(format!("its flags {:#06x} say what only special readers know", self.flags)));
        }
        if self.method != Self::STORED && self.method != Self::DEFLATED {
            let method = self.method;
            return Err(Error::refused(format!("it is packed by method {method}: pack it with deflate, or store it")));
        }
        if !self.is_from_unix() && self.flags & Self::UTF8 == 0 && !self.name.is_ascii() {
            return Err(Error::refused("its name is not ASCII and not marked as UTF-8: readers do not agree on it"));
        }
        if self.needs > Self::NEWEST {
            let (major, minor) = (self.needs / 10, self.needs % 10);
            return Err(Error::refused(format!("it needs a reader of version {major}.{minor}")));
        }
        if self.disk != 0 {
            return Err(Error::refused("it lies on another disk"));
        }
        check_extra(&self.extra, &self.name)
    }
}

/// Refuses a local header at `at` whose flags or extra fields say something else than the directory; the `zip` crate has
/// compared the rest.
pub(super) fn check_local(glass: &mut Glass<'_>, at: u64, central: &Central) -> Result<()> {
    let cannot = || "cannot read its local header";
    let mut raw = [0; 30];
    glass.exact(&mut raw, at).context(cannot)?;
    if (u16_at(&raw, 6) ^ central.flags) & !Central::EFFORT != 0 {
        return Err(Error::refused("its two headers have different flags"));
    }
    let mut extra = vec![0; u16_at(&raw, 28).into()];
    glass.exact(&mut extra, at + raw.len() as u64 + u64::from(u16_at(&raw, 26))).context(cannot)?;
    check_extra(&extra, &central.name)
}

/// Fields that readers understand in different ways when they are there twice, or say another name.
fn check_extra(extra: &[u8], name: &[u8]) -> Result<()> {
    const ZIP64: u16 = 0x0001;
    const UNICODE_PATH: u16 = 0x7075;
    let mut wide = false;
    let mut rest = extra;
    // Up to three bytes at the end are padding.
    while rest.len() >= 4 {
        let (id, size) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        let Some(field) = rest.get(4..4 + size) else {
            return Err(Error::refused("its extra fields are damaged"));
        };
        if id == ZIP64 && std::mem::replace(&mut wide, true) {
            return Err(Error::refused("it has its sizes twice (ZIP64)"));
        }
        if id == UNICODE_PATH && field.get(5..) != Some(name) {
            return Err(Error::refused("it has a second, different name (Unicode path)"));
        }
        rest = &rest[4 + size..];
    }
    Ok(())
}
