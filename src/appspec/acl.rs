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

/// Reads `[d:][u:|g:|m:|o:]NAME:PERMISSIONS`, as CodeDeploy's agent does: without a letter in front it is for a user, and
/// `m:rx` and `o:rx` need no name. A letter alone in the place of a name is a user for the agent, and something else for
/// setfacl.
pub(super) fn parse(text: &str) -> Checked<Entry> {
    let wrong = |why: &str| Err(format!("{} {why}: write [d:][u|g|m|o]:[name]:[rwx-]", shown(text)));
    let parts: Vec<&str> = text.split(':').collect();
    let (default, rest) = match parts.as_slice() {
        ["d" | "default", rest @ ..] if rest.len() > 1 => (true, rest),
        all => (false, all),
    };
    let (whom, name, perm) = match rest {
        ["m" | "mask", perm] => (Whom::Mask, "", perm),
        ["o" | "other", perm] => (Whom::Other, "", perm),
        ["u" | "user" | "g" | "group" | "d" | "default", _] => return wrong("does not say who it is for"),
        [name, perm] | ["u" | "user", name, perm] => (Whom::User, *name, perm),
        ["g" | "group", name, perm] => (Whom::Group, *name, perm),
        ["m" | "mask", name, perm] => (Whom::Mask, *name, perm),
        ["o" | "other", name, perm] => (Whom::Other, *name, perm),
        [_, _, _] => return wrong("does not say who it is for"),
        _ => return wrong("does not have two or three parts behind d:"),
    };
    let Some(perm) = permission(perm) else { return wrong("has no permissions") };
    let name = match name {
        "" => None,
        _ if matches!(whom, Whom::Mask | Whom::Other) => return wrong("names somebody, and only u and g do"),
        name => Some(check::account(name)?),
    };
    Ok(Entry { default, whom, name, perm })
}

/// What the mask leaves of an entry of `all` that says more, where no entry says what the mask is and the group's part is
/// known: from another entry, or from the `mode`.
pub(super) fn limit<'e>(all: impl Iterator<Item = &'e Entry> + Clone, entry: &Entry, mode: Option<u32>) -> Option<u8> {
    let mut alike = all.filter(|other| other.default == entry.default);
    if entry.name.is_none() || alike.clone().any(|other| other.whom == Whom::Mask) {
        return None;
    }
    let group = alike.find(|other| other.whom == Whom::Group && other.name.is_none()).map(|group| group.perm);
    let of_mode = || mode.and_then(|mode| u8::try_from(mode >> 3 & 7).ok());
    group.or_else(of_mode).filter(|mask| entry.perm & !mask != 0)
}

/// One octal digit, or letters of `rwx-`; nothing is none.
fn permission(text: &str) -> Option<u8> {
    if let [digit @ b'0'..=b'7'] = text.as_bytes() {
        return Some(digit - b'0');
    }
    text.bytes().try_fold(0, |perm, letter| match letter {
        b'r' => Some(perm | 4),
        b'w' => Some(perm | 2),
        b'x' => Some(perm | 1),
        b'-' => Some(perm),
        _ => None,
    })
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
/// entry speaks of have what `mode` gives them. A mask that is needed and not said is what the group has, as CodeDeploy's
/// agent has it (setfacl would take the union of all that it limits): so the list leaves the mode as it is.
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
    if all.iter().any(|entry| entry.id.is_some()) && !all.iter().any(|entry| entry.whom == Whom::Mask) {
        let group = all.iter().find(|entry| entry.whom == Whom::Group && entry.id.is_none());
        let perm = group.map_or(0, |group| group.perm);
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
