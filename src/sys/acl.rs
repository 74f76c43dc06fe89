//! POSIX ACLs (acl(5)). If a file has one, the group bits of its mode are the mask: the most that the ACL grants to any
//! user or group but the owner.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use super::fs::{Dir, Kind, Meta};
use super::xattr;

/// Tags of entries (linux/posix_acl_xattr.h).
pub(super) const USER: u16 = 0x02;
pub(super) const GROUP_OBJ: u16 = 0x04;
pub(super) const GROUP: u16 = 0x08;
pub(super) const MASK: u16 = 0x10;
pub(super) const OTHER: u16 = 0x20;

/// The entries of an ACL (the value of its extended attribute): tag, permission bits, id of the user or group.
pub(super) fn entries(acl: &[u8]) -> impl Iterator<Item = (u16, u16, u32)> {
    let rows = acl.get(4..).unwrap_or_default().chunks_exact(8);
    rows.filter_map(|row| {
        let (tag, perm, id) = (row.first_chunk::<2>()?, row[2..].first_chunk::<2>()?, row[4..].first_chunk::<4>()?);
        Some((u16::from_le_bytes(*tag), u16::from_le_bytes(*perm), u32::from_le_bytes(*id)))
    })
}

/// The mode bits of an open file or directory, with the permissions of its group in the group's place. The ACL is read
/// only where it matters: where the group bits allow something that those of others do not.
pub fn mode_of_group(file: impl AsFd, mode: u32) -> io::Result<u32> {
    if !is_in_question(mode) {
        return Ok(mode);
    }
    let acl = xattr::get(file, xattr::ACL.as_ref())?.unwrap_or_default();
    Ok(with_group(mode, &acl))
}

/// The same for the entry `name` of `dir`, with the metadata `meta`.
pub fn mode_of_entry(dir: &Dir, name: &OsStr, meta: &Meta) -> io::Result<u32> {
    match meta.kind {
        Kind::Dir if is_in_question(meta.mode) => mode_of_group(dir.child(name)?.as_fd(), meta.mode),
        Kind::File if is_in_question(meta.mode) => mode_of_group(dir.open_file(name)?, meta.mode),
        Kind::Dir | Kind::File | Kind::Link | Kind::Other => Ok(meta.mode),
    }
}

fn is_in_question(mode: u32) -> bool {
    mode >> 3 & !mode & 0o7 != 0
}

fn with_group(mode: u32, acl: &[u8]) -> u32 {
    let find = |wanted| entries(acl).find(|(tag, ..)| *tag == wanted).map(|(_, perm, _)| u32::from(perm) & 0o7);
    match (find(GROUP_OBJ), find(MASK)) {
        (Some(group), mask) => mode & !0o070 | (group & mask.unwrap_or(0o7)) << 3,
        (None, _) => mode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let row =
            |(tag, perm): &(u16, u16)| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
        [&2_u32.to_le_bytes()[..], &entries.iter().map(row).collect::<Vec<_>>().concat()].concat()
    }

    #[test]
    fn the_group_has_its_own_entry_as_far_as_the_mask_lets_it() {
        const OWNER: u16 = 0x01;
        for (mode, entries, expected) in [
            (0o640, &[][..], 0o640),
            (0o640, &[(OWNER, 6), (USER, 4), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0)], 0o600),
            (0o640, &[(OWNER, 6), (USER, 6), (GROUP_OBJ, 6), (MASK, 4), (OTHER, 0)], 0o640),
            (0o650, &[(OWNER, 6), (GROUP_OBJ, 4), (GROUP, 1), (MASK, 5), (OTHER, 0)], 0o640),
            (0o600, &[(OWNER, 6), (USER, 4), (GROUP_OBJ, 4), (MASK, 0), (OTHER, 0)], 0o600),
            (0o640, &[(OWNER, 6), (GROUP_OBJ, 4), (OTHER, 0)], 0o640),
        ] {
            assert_eq!(with_group(mode, &acl(entries)), expected, "{mode:o} {entries:?}");
        }
        assert_eq!(with_group(0o640, b"\x02\0\0\0\x04"), 0o640, "cut off");
        let asked = [0o640, 0o750, 0o2750, 0o710, 0o654, 0o644, 0o755, 0o604, 0o600, 0o700].map(is_in_question);
        assert_eq!(asked, [true, true, true, true, true, false, false, false, false, false]);
    }
}
