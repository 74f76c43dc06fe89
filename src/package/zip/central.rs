//! The directory of a ZIP. The `zip` crate reads it and compares it with the local headers, one member at a time, so that
//! memory does not grow with what an archive claims. Beside it the raw record is read once more: for what the crate
//! does not look at, and because two readings that differ are reason enough to refuse.

use std::fs::File;

use ::zip::read::{ArchiveOffset, Config, HasZipMetadata};
use ::zip::result::ZipError;
use ::zip::unstable::read::ZipIterable;

use super::Member;
use super::end::{End, u16_at, u32_at};
use super::seams;
use super::window::Glass;
use crate::error::{Context, Error, Result};
use crate::model::Layout;
use crate::package::in_time;
use crate::package::names::shown;
use crate::package::policy::{Kind, Listing, MAX_LINK, Plan};
use crate::sys::clock::Deadline;

/// Reads and checks all there is but contents: the plan, and the members in the order in which they lie in the file.
pub(super) fn list(file: &File, end: &End, layout: &Layout, deadline: Deadline) -> Result<(Plan, Vec<Member>)> {
    if end.members > layout.max_files {
        let (members, limit) = (end.members, layout.max_files);
        return Err(Error::refused(format!("it holds {members} members, more than max-files = {limit}")));
    }
    if end.members > (end.end - end.directory) / Central::SIZE as u64 {
        return Err(Error::refused("its directory is too short for the number of its members"));
    }
    // Limited by the size of the directory, so it fits.
    let expected = usize::try_from(end.members).unwrap_or(0);
    let mut listing = Listing::new(layout, expected);
    let mut members = Vec::with_capacity(expected);
    let glass = Glass::new(file).context(|| "cannot read the directory")?;
    let mut zip = ZipIterable::try_new(glass, Config { archive_offset: ArchiveOffset::Known(0) })
        .map_err(|e| broken(e, "its directory"))?
        .enforce_header_consistency(true);
    let files = zip.files().map_err(|e| broken(e, "its directory"))?;
    let mut at = end.directory;
    for _ in 0..end.members {
        in_time(deadline)?;
        let central = Central::read(files.reader_mut(), at, end.end)?;
        let named = || format!("member {}", shown(&central.name));
        central.check().context(named)?;
        let entry = files.next().unwrap_or(Err(ZipError::FileNotFound)).map_err(|e| broken(e, &named()))?;
        let data = entry.get_metadata().data_start.get().copied();
        if entry.central_header_start() != at || entry.name_raw() != central.name {
            return Err(Error::refused("two readings of the directory differ")).context(named);
        }
        let mut member = Member {
            start: entry.header_start(),
            data: data.ok_or_else(|| Error::refused(format!("{}: it has no local header", named())))?,
            packed: entry.compressed_size(),
            size: entry.size(),
            crc: entry.crc32(),
            index: None,
            deflated: central.method == Central::DEFLATED,
            described: central.flags & Central::DESCRIBED != 0,
        };
        let kind = kind_of(&central, &member).context(named)?;
        member.index = listing.add(central.bare_name(), kind, member.size)?;
        members.push(member);
        at = central.next;
    }
    if at != end.end {
        return Err(Error::refused("its directory holds more than its members"));
    }
    members.sort_unstable_by_key(|m| m.start);
    seams::check(file, &members, end)?;
    Ok((listing.check()?, members))
}

/// A member of the directory as its raw record has it.
struct Central {
    made_on: u8,
    needs: u16,
    flags: u16,
    method: u16,
    disk: u16,
    mode: u32,
    name: Vec<u8>,
    extra: Vec<u8>,
    next: u64,
}

impl Central {
    const SIZE: usize = 46;
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    const ENCRYPTED: u16 = 1;
    const DESCRIBED: u16 = 1 << 3;
    const UTF8: u16 = 1 << 11;
    /// Besides: how hard the compressor tried.
    const KNOWN_FLAGS: u16 = 0b110 | Self::DESCRIBED | Self::UTF8;
    /// The version of the format up to which Info-ZIP reads; deflate needs 2.0, ZIP64 4.5.
    const NEWEST: u16 = 46;
    /// The number of Unix among the systems an archive may be made on.
    const UNIX: u8 = 3;

    fn read(glass: &mut Glass<'_>, at: u64, end: u64) -> Result<Self> {
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
            mode: u32_at(&raw, 38) >> 16,
            name,
            extra,
            next,
        })
    }

    fn is_dir(&self) -> bool {
        self.name.ends_with(b"/")
    }

    fn bare_name(&self) -> &[u8] {
        self.name.strip_suffix(b"/").filter(|bare| !bare.is_empty()).unwrap_or(&self.name)
    }

    fn check(&self) -> Result<()> {
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
        if self.made_on != Self::UNIX && self.flags & Self::UTF8 == 0 && !self.name.is_ascii() {
            return Err(Error::refused("its name is not ASCII and not marked as UTF-8: readers do not agree on it"));
        }
        if self.needs > Self::NEWEST {
            let (major, minor) = (self.needs / 10, self.needs % 10);
            return Err(Error::refused(format!("it needs a reader of version {major}.{minor}")));
        }
        if self.disk != 0 {
            return Err(Error::refused("it lies on another disk"));
        }
        self.check_extra()
    }

    /// Fields that readers understand in different ways when they are there twice, or say another name.
    fn check_extra(&self) -> Result<()> {
        const ZIP64: u16 = 0x0001;
        const UNICODE_PATH: u16 = 0x7075;
        let mut wide = false;
        let mut rest = self.extra.as_slice();
        // Up to three bytes at the end are padding.
        while rest.len() >= 4 {
            let (id, size) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
            let Some(field) = rest.get(4..4 + size) else {
                return Err(Error::refused("its extra fields are damaged"));
            };
            if id == ZIP64 && std::mem::replace(&mut wide, true) {
                return Err(Error::refused("it has its sizes twice (ZIP64)"));
            }
            if id == UNICODE_PATH && field.get(5..) != Some(&self.name) {
                return Err(Error::refused("it has a second, different name (Unicode path)"));
            }
            rest = &rest[4 + size..];
        }
        Ok(())
    }
}

/// What a member is, by its name and its mode, which must not contradict each other.
fn kind_of(central: &Central, member: &Member) -> Result<Kind> {
    const TYPE: u32 = 0o170_000;
    if !member.deflated && member.packed != member.size {
        return Err(Error::refused("it is stored, but its two sizes differ"));
    }
    match (central.mode & TYPE, central.is_dir()) {
        (0 | 0o040_000, true) if member.size == 0 => Ok(Kind::Dir),
        (0 | 0o040_000, true) => Err(Error::refused("it is a directory with content")),
        (0 | 0o100_000, false) => Ok(Kind::file(central.mode)),
        (0o120_000, false) if central.made_on != Central::UNIX => {
            Err(Error::refused("it is a link, but not made on Unix: readers do not agree what it is"))
        }
        (0o120_000, false) if member.size > MAX_LINK as u64 => {
            Err(Error::refused(format!("it is a link with a text of more than {MAX_LINK} bytes")))
        }
        (0o120_000, false) => Ok(Kind::Link),
        (0o040_000, false) => Err(Error::refused("it is a directory by its mode, but its name does not end in /")),
        (0o100_000 | 0o120_000, true) => Err(Error::refused("its name ends in /, but by its mode it is no directory")),
        (mode, _) => Err(Error::refused(format!("it is neither file nor directory nor link (mode {mode:o})"))),
    }
}

/// An error of the crate: the input's fault, unless reading failed.
fn broken(e: ZipError, what: &str) -> Error {
    match e {
        // The crate dresses some of what it refuses as an I/O error: only the system's own have a number.
        ZipError::Io(e) if e.raw_os_error().is_some() => {
            Error::failed(format!("{what}: cannot read it: {}", crate::error::plain(&e)))
        }
        e => Error::refused(format!("{what}: {}", e.to_string().escape_debug())),
    }
}
