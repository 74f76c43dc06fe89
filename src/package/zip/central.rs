//! The directory of a ZIP. The `zip` crate reads it and compares it with the local headers, one member at a time, so that
//! memory does not grow with what an archive claims. Beside it the raw record is read once more: for what the crate
//! does not look at, and because two readings that differ are reason enough to refuse.

use std::fs::File;

use ::zip::read::{ArchiveOffset, Config, HasZipMetadata};
use ::zip::result::ZipError;
use ::zip::unstable::read::ZipIterable;

use super::Member;
use super::end::End;
use super::record::{self, Central};
use super::seams;
use super::window::Glass;
use crate::error::{Context, Error, Result};
use crate::model::Layout;
use crate::package::in_time;
use crate::package::names::shown;
use crate::package::policy::{Kind, Listing, Plan};
use crate::sys::clock::Deadline;

/// Reads and checks all there is but contents: the plan, and the members in the order in which they lie in the file. Where
/// that is not whole, nothing but the directory is looked at.
pub(super) fn list(
    file: &File,
    end: &End,
    layout: &Layout,
    is_whole: bool,
    deadline: Deadline,
) -> Result<(Plan, Vec<Member>)> {
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
        .enforce_header_consistency(is_whole);
    let files = zip.files().map_err(|e| broken(e, "its directory"))?;
    let mut at = end.directory;
    for _ in 0..end.members {
        in_time(deadline)?;
        let central = Central::read(files.reader_mut(), at, end.end)?;
        let named = || format!("member {}", shown(&central.name));
        central.check().context(named)?;
        let entry = files.next().unwrap_or(Err(ZipError::FileNotFound)).map_err(|e| broken(e, &named()))?;
        // At the least; an extra field may stand between.
        let nearest = entry.header_start().saturating_add(30 + central.name.len() as u64);
        let data = if is_whole { entry.get_metadata().data_start.get().copied() } else { Some(nearest) };
        if entry.central_header_start() != at || entry.name_raw() != central.name {
            return Err(Error::refused("two readings of the directory differ")).context(named);
        }
        if is_whole {
            record::check_local(files.reader_mut(), entry.header_start(), &central).context(named)?;
        }
        let mut member = Member {
            start: entry.header_start(),
            data: data.ok_or_else(|| Error::refused(format!("{}: it has no local header", named())))?,
            packed: entry.compressed_size(),
            size: entry.size(),
            crc: entry.crc32(),
            index: None,
            deflated: central.is_deflated(),
            described: central.is_described(),
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
    seams::check(file, &members, end, is_whole)?;
    Ok((listing.check()?, members))
}

/// What a member is, by its name and its mode, which must not contradict each other.
fn kind_of(central: &Central, member: &Member) -> Result<Kind> {
    const TYPE: u32 = 0o170_000;
    if !member.deflated && member.packed != member.size {
        return Err(Error::refused("it is stored, but its two sizes differ"));
    }
    if central.is_volume_label() {
        return Err(Error::refused("it is a volume label"));
    }
    match (central.mode & TYPE, central.is_dir()) {
        (0 | 0o040_000, true) if member.size == 0 => Ok(Kind::Dir),
        (0 | 0o040_000, true) => Err(Error::refused("it is a directory with content")),
        (0 | 0o100_000, false) => Ok(Kind::file(central.mode)),
        (0o120_000, false) if !central.is_from_unix() => {
            Err(Error::refused("it is a link, but not made on Unix: readers do not agree what it is"))
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
