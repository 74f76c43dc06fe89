//! Access control lists: the text of one entry, and the bytes that Linux takes for a whole list in the extended attributes
//! `system.posix_acl_access` and `system.posix_acl_default` (acl(5), linux/posix_acl_xattr.h). Pure: names are looked up
//! and attributes are written by others.

use super::check::{self, Checked};
use super::shown;

/// Whom an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// The owner, or a user that is named.
    User,
    /// The group, or one that is named.
    Group,
    /// What everybody but the owner and others has at most.
    Mask,
    /// Everybody else.
    Other,
}

/// An entry as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// For what will be made in a directory, not for itself.
    pub default: bool,
    /// Whom it is for.
    pub whom: Whom,
    /// Name or number of a user or a group.
    pub name: Option<String>,
    /// `rwx` as 4, 2, 1.
    pub perm: u8,
}

impl Entry {
    /// Whether both speak of the same, so that only one can hold.
    pub fn is_for_the_same(&self, other: &Self) -> bool {
        (self.default, self.whom, &self.name) == (other.default, other.whom, &other.name)
    }
}

/// Reads `[d:][u|g|m|o]:[name]:perm`.
pub(super) fn parse(text: &str) -> Checked<Entry> {
    let wrong = |why: &str| Err(format!("{} {why}: write [d:][u|g|m|o]:[name]:[rwx-]", shown(text)));
    let (default, rest) = match text.strip_prefix("d:").or_else(|| text.strip_prefix("default:")) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = rest.split(':');
    let (Some(whom), Some(name), Some(perm), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return wrong("does not have three parts");
    };
    let whom = match whom {
        "u" | "user" => Whom::User,
        "g" | "group" => Whom::Group,
        "m" | "mask" => Whom::Mask,
        "o" | "other" => Whom::Other,
        _ => return wrong("does not say whom it is for"),
    };
    let Some(perm) = permission(perm) else { return wrong("has no permissions") };
    let name = match name {
        "" => None,
        _ if matches!(whom, Whom::Mask | Whom::Other) => return wrong("names somebody, and only u and g do"),
        name => Some(check::account(name)?),
    };
    Ok(Entry { default, whom, name, perm })
}

/// One octal digit, or letters of `rwx-`, each once.
fn permission(text: &str) -> Option<u8> {
    if let [digit @ b'0'..=b'7'] = text.as_bytes() {
        return Some(digit - b'0');
    }
    let mut perm = 0;
    for letter in text.bytes() {
        let bit = match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => continue,
            _ => return None,
        };
        if perm & bit != 0 {
            return None;
        }
        perm |= bit;
    }
    (1..=3).contains(&text.len()).then_some(perm)
}

/// An entry whose name has been looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Whom it is for.
    pub whom: Whom,
    /// A user or a group; `None` for those that the file itself has.
    pub id: Option<u32>,
    /// `rwx` as 4, 2, 1.
    pub perm: u8,
}

/// The bytes of the attribute for these entries, which replace every list that was there. Owner, group and others that no
/// entry speaks of have what `mode` gives them; so does a mask that is needed and not said: it is the union of all it would
/// limit, as setfacl has it. The mode is to be that of before any list: with one, its group bits show the mask.
pub fn attribute(entries: &[Resolved], mode: u32) -> Vec<u8> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    let mut all = entries.to_vec();
    for (whom, shift) in [(Whom::User, 6), (Whom::Group, 3), (Whom::Other, 0)] {
        if !all.iter().any(|entry| entry.whom == whom && entry.id.is_none()) {
            // Three bits.
            let perm = u8::try_from(mode >> shift & 7).unwrap_or(0);
            all.push(Resolved { whom, id: None, perm });
        }
    }
    let is_limited = |entry: &&Resolved| entry.whom == Whom::Group || (entry.whom == Whom::User && entry.id.is_some());
    if all.iter().any(|entry| entry.id.is_some()) && !all.iter().any(|entry| entry.whom == Whom::Mask) {
        let perm = all.iter().filter(is_limited).fold(0, |perm, entry| perm | entry.perm);
        all.push(Resolved { whom: Whom::Mask, id: None, perm });
    }
    // The kernel wants them in this order, and the named ones by number; `None` comes before `Some`.
    all.sort_unstable_by_key(|entry| (entry.whom, entry.id));
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for entry in all {
        let tag: u16 = match (entry.whom, entry.id) {
            (Whom::User, None) => 0x01,
            (Whom::User, Some(_)) => 0x02,
            (Whom::Group, None) => 0x04,
            (Whom::Group, Some(_)) => 0x08,
            (Whom::Mask, _) => 0x10,
            (Whom::Other, _) => 0x20,
        };
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&u16::from(entry.perm).to_le_bytes());
        bytes.extend_from_slice(&entry.id.unwrap_or(NOBODY).to_le_bytes());
    }
    bytes
}
