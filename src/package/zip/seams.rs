//! How members join: every byte from the first to the directory belongs to exactly one of them. That leaves no room for
//! members that share data (a bomb), for one that hides where only a streaming reader looks, or for anything else that
//! two readers could see differently.

use std::fs::File;

use super::Member;
use super::end::{End, u16_at, u32_at, u64_at};
use super::window::Glass;
use crate::error::{Context, Error, Result};
use crate::package::names::shown;

/// Checks `members`, which are in the order of the file, against each other and against where the directory begins. Where
/// the file is not whole, nothing between them is looked at.
pub(super) fn check(file: &File, members: &[Member], end: &End, is_whole: bool) -> Result<()> {
    let cannot = || "cannot read the members";
    let mut glass = Glass::new(file).context(cannot)?;
    let first = members.first().map_or(end.directory, |m| m.start);
    if first != 0 {
        return Err(Error::refused(format!(
            "{first} bytes stand before its first member (a self-extracting archive?)"
        )));
    }
    for (number, member) in members.iter().enumerate() {
        let next = members.get(number + 1).map_or(end.directory, |m| m.start);
        let gap = member.data.checked_add(member.packed).and_then(|data_end| next.checked_sub(data_end));
        let wrong = match (member.described, gap) {
            (_, None) if !is_whole => {
                return Err(Error::refused("one of its members overlaps the next or the directory"));
            }
            (_, None) => "it overlaps the next member or the directory",
            (_, Some(_)) if !is_whole => continue,
            (false, Some(0)) => continue,
            (false, Some(_)) => "bytes follow it that belong to no member",
            (true, Some(size @ (12 | 16 | 20 | 24))) => {
                let mut room = [0; 24];
                let descriptor = &mut room[..usize::try_from(size).unwrap_or(0)];
                glass.exact(descriptor, next - size).context(cannot)?;
                if repeats(descriptor, member) {
                    continue;
                }
                "its descriptor differs from the directory"
            }
            (true, Some(_)) => "its descriptor is missing, or something else is there",
        };
        let name = name_at(&mut glass, member.start).context(cannot)?;
        return Err(Error::refused(format!("member {}: {wrong}", shown(&name))));
    }
    Ok(())
}

/// The name in the local header at `start`: the directory has the same, but is not at hand.
fn name_at(glass: &mut Glass<'_>, start: u64) -> std::io::Result<Vec<u8>> {
    let mut header = [0; 30];
    glass.exact(&mut header, start)?;
    let mut name = vec![0; u16_at(&header, 26).into()];
    glass.exact(&mut name, start + header.len() as u64)?;
    Ok(name)
}

/// Whether a data descriptor, with or without a signature, narrow or wide, repeats what the directory says.
fn repeats(bytes: &[u8], member: &Member) -> bool {
    let (body, signed) = match bytes.len() {
        16 | 24 => (&bytes[4..], bytes.starts_with(b"PK\x07\x08")),
        _ => (bytes, true),
    };
    let sizes = match body.len() {
        12 => [u64::from(u32_at(body, 4)), u64::from(u32_at(body, 8))],
        _ => [u64_at(body, 4), u64_at(body, 12)],
    };
    signed && u32_at(body, 0) == member.crc && sizes == [member.packed, member.size]
}
