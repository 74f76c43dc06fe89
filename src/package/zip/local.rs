//! The local header in front of a member's content. The directory is authoritative; both must agree all the same, or a
//! streaming reader would see another archive.

use super::end::{u16_at, u32_at};
use super::extra;
use super::member::{LOCAL_HEADER, Member};
use super::record::Central;
use super::window::BufferedAt;
use crate::error::{Context, Error, Result};

/// A local header.
pub(super) struct Local {
    flags: u16,
    method: u16,
    crc: u32,
    /// The unpacked and the packed size.
    sizes: [u32; 2],
    name: Vec<u8>,
    extra: Vec<u8>,
    /// The offset of the content.
    pub(super) next: u64,
}

impl Local {
    /// Reads the header at `at`, in front of the directory at `end`.
    pub(super) fn read(glass: &mut BufferedAt<'_>, at: u64, end: u64) -> Result<Self> {
        let cannot = || "cannot read its local header";
        let mut raw = [0; LOCAL_HEADER];
        if at.checked_add(LOCAL_HEADER as u64).is_none_or(|header| header > end) {
            return Err(Error::refused("it has no local header"));
        }
        glass.exact(&mut raw, at).with_context(cannot)?;
        if !raw.starts_with(b"PK\x03\x04") {
            return Err(Error::refused("it has no local header"));
        }
        let (mut name, mut extra) = (vec![0; u16_at(&raw, 26).into()], vec![0; u16_at(&raw, 28).into()]);
        let names = at + LOCAL_HEADER as u64;
        let extras = names + name.len() as u64;
        let next = extras + extra.len() as u64;
        if next > end {
            return Err(Error::refused("it has no local header"));
        }
        glass.exact(&mut name, names).with_context(cannot)?;
        glass.exact(&mut extra, extras).with_context(cannot)?;
        let sizes = [22, 18].map(|field| u32_at(&raw, field));
        Ok(Self { flags: u16_at(&raw, 6), method: u16_at(&raw, 8), crc: u32_at(&raw, 14), sizes, name, extra, next })
    }

    /// Refuses a header that differs from the directory.
    pub(super) fn check(&self, central: &Central, member: &Member) -> Result<()> {
        extra::check(&self.extra, &central.name)?;
        // For an ASCII name, the encoding does not matter.
        let counting = if central.name.is_ascii() { !Central::UTF8 } else { !0 };
        let differs = |what: &str| Err(Error::refused(format!("its two headers have different {what}")));
        if self.name != central.name {
            return differs("names");
        }
        if (self.flags ^ central.flags) & counting & Central::DECIDING != 0 {
            return differs("flags");
        }
        if self.method != central.method {
            return differs("methods");
        }
        let is_told_later = self.flags & Central::DESCRIBED != 0;
        let is_same = || extra::wide(&self.extra, self.sizes) == Some([member.size, member.packed]);
        if !is_told_later && (self.crc != member.crc || !is_same()) {
            return differs("sizes or checksums");
        }
        Ok(())
    }
}
