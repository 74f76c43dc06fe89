//! Access control lists: parses an entry, and formats a list for the extended attributes `system.posix_acl_access` and
//! `system.posix_acl_default` (acl(5), linux/posix_acl_xattr.h). Pure: other modules look up names and write
//! attributes.

use super::check::{self, Checked};
use super::shown;
use crate::sys::sort::sort;

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// The owner, or a named user.
    User,
    /// The group, or a named group.
    Group,
    /// The limit for all but the owner and others.
    Mask,
    /// All other users.
    Other,
}

/// An entry as written in an appspec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Inherited by entries created in a directory, without effect on the directory.
    pub default: bool,
    /// Its type.
    pub whom: Whom,
    /// Name or number of a user or a group.
    pub name: Option<String>,
    /// `rwx` as 4, 2, 1.
    pub perm: u8,
}

impl Entry {
    /// Whether both set the permissions of the same user or group, so that one must go.
    pub fn is_for_the_same(&self, other: &Self) -> bool {
        (self.default, self.whom, &self.name) == (other.default, other.whom, &other.name)
    }
}

/// Parses `[d:][u:|g:|m:|o:]NAME:PERMISSIONS` like CodeDeploy's agent: without a letter in front it is for a user, and
/// `m:rx` and `o:rx` need no name. A lone letter in the place of a name is refused: the agent takes it for a user,
/// setfacl does not.
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

/// The mask, if it takes permissions from `entry`. Only for a mask without an entry of its own, which is the group's
/// permissions, and if these are known: from another entry, or from the `mode`.
pub(super) fn limit<'e>(all: impl Iterator<Item = &'e Entry> + Clone, entry: &Entry, mode: Option<u32>) -> Option<u8> {
    let mut alike = all.filter(|other| other.default == entry.default);
    if entry.name.is_none() || alike.clone().any(|other| other.whom == Whom::Mask) {
        return None;
    }
    let group = alike.find(|other| other.whom == Whom::Group && other.name.is_none()).map(|group| group.perm);
    let of_mode = || mode.and_then(|mode| u8::try_from(mode >> 3 & 7).ok());
    group.or_else(of_mode).filter(|mask| entry.perm & !mask != 0)
}

/// One octal digit, or letters of `rwx-`; an empty text grants nothing.
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

/// An entry with its name looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its type.
    pub whom: Whom,
    /// A user or group id; `None` for the file's own.
    pub id: Option<u32>,
    /// `rwx` as 4, 2, 1.
    pub perm: u8,
}

/// The attribute value for these entries, which replaces any former list. Owner, group and others without an entry get
/// the permissions of `mode`. A missing mask gets the permissions of the group, as with CodeDeploy's agent, so that the
/// list leaves the mode unchanged (setfacl would compute the union of the entries it limits).
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
    // The kernel requires this order, with named entries by number; `None` sorts before `Some`.
    sort(&mut all, &mut |a, b| (a.whom, a.id).cmp(&(b.whom, b.id)));
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
