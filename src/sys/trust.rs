//! Which users can change a file or a directory, by owner, mode and ACL. Pure: [`super::resolve`] gathers the facts
//! about each step of a path and asks here. A file that decides about running things as root must not be another
//! user's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::acl::{GROUP, GROUP_OBJ, MASK, OTHER, USER, entries};
use super::fs::{Kind, Meta};

/// The users whose files are trusted: root, this process's user, and sometimes one more.
#[derive(Clone, Copy, Debug)]
pub struct Us {
    uid: u32,
    gid: u32,
    friend: Option<(u32, u32)>,
}

impl Us {
    /// This process's user, and a user and group that are trusted too.
    pub fn with(friend: Option<(u32, u32)>) -> Self {
        /// They never change in this process.
        static OURS: OnceLock<(u32, u32)> = OnceLock::new();
        let ask = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (uid, gid) = *OURS.get_or_init(ask);
        Self { uid, gid, friend }
    }

    /// Whether `uid` is root, this process's user or the trusted one.
    pub fn has_user(self, uid: u32) -> bool {
        uid == 0 || uid == self.uid || self.friend.is_some_and(|(friend, _)| friend == uid)
    }

    /// Whether more than root and this process's user is trusted.
    pub fn has_friend(self) -> bool {
        self.friend.is_some()
    }

    fn has_group(self, gid: u32) -> bool {
        gid == 0 || gid == self.gid || self.friend.is_some_and(|(_, friend)| friend == gid)
    }
}

/// Facts about a step of a path, besides its metadata.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its ACL, read only if the mode lets the group write: without that bit no entry of an ACL grants writing
    /// (acl(5)).
    pub acl: Vec<u8>,
    /// The default ACL of a directory, which new files in it get.
    pub default_acl: Vec<u8>,
    /// It lies on a read-only mount, where modes say nothing: a volume of configuration has mode 0777 there.
    pub is_read_only: bool,
}

/// The place of a step in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A directory on the way. With the sticky bit, its entries cannot be renamed or removed by other users.
    OnTheWay,
    /// The end of the path.
    Itself,
}

/// Another user that can change a file, and by which right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Its owner.
    Owner(u32),
    /// The group or all users, by its mode.
    Others,
    /// A user or a group, by its ACL.
    Acl(Named),
    /// A user or a group, by its default ACL: for new files in it.
    DefaultAcl(Named),
    /// It is a link of this user, and the owner of a link decides where it leads.
    Link(u32),
}

/// The user or group that an ACL entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A user.
    User(u32),
    /// A group.
    Group(u32),
    /// The owning group.
    OwningGroup,
    /// All other users.
    Other,
}

/// A file that cannot be trusted, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The file.
    pub path: PathBuf,
    /// The user that can change it.
    pub writer: Writer,
}

impl fmt::Display for Untrusted {
    /// `others may write /x: chmod go-w /x`: the reason and the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.writer {
            Writer::Owner(uid) => write!(f, "{path} belongs to user {uid}: chown root {path}"),
            Writer::Others => write!(f, "others may write {path}: chmod go-w {path}"),
            Writer::Link(uid) => write!(f, "{path} is a link that belongs to user {uid}: chown -h root {path}"),
            Writer::Acl(Named::OwningGroup) => write!(f, "its group may write {path} by its ACL: chmod g-w {path}"),
            Writer::Acl(named) => {
                write!(f, "{named} may write {path} by its ACL: setfacl -x {} {path}", named.entry())
            }
            Writer::DefaultAcl(named) => write!(
                f,
                "{named} may write what is made in {path} by its default ACL: setfacl -d -x {} {path}",
                named.entry()
            ),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Group(gid) => write!(f, "group {gid}"),
            Self::OwningGroup => f.write_str("its group"),
            Self::Other => f.write_str("everybody"),
        }
    }
}

impl Named {
    /// The entry in the syntax of setfacl(1).
    fn entry(self) -> String {
        match self {
            Self::User(uid) => format!("u:{uid}"),
            Self::Group(gid) => format!("g:{gid}"),
            Self::OwningGroup => "g:".to_owned(),
            Self::Other => "o:".to_owned(),
        }
    }
}

/// Which user other than `us` can change a file or directory. Links have no mode: [`link`] judges them.
pub fn writer(meta: &Meta, facts: &Facts, role: Role, us: Us) -> Option<Writer> {
    if !us.has_user(meta.uid) {
        return Some(Writer::Owner(meta.uid));
    }
    if facts.is_read_only {
        return None;
    }
    let is_protected = role == Role::OnTheWay && meta.mode & 0o1000 != 0;
    if is_protected {
        return None;
    }
    if meta.mode & 0o002 != 0 {
        return Some(Writer::Others);
    }
    let by_acl = || acl_writer(&facts.acl, meta.gid, us).map(Writer::Acl);
    let by_group = || match facts.acl.is_empty() {
        true => (!us.has_group(meta.gid)).then_some(Writer::Others),
        false => by_acl(), // the bit is the mask's
    };
    let now = if meta.mode & 0o020 != 0 { by_group() } else { None };
    // New files in a directory on the way do not matter.
    let later = || match role {
        Role::Itself if meta.kind == Kind::Dir => acl_writer(&facts.default_acl, meta.gid, us).map(Writer::DefaultAcl),
        Role::Itself | Role::OnTheWay => None,
    };
    now.or_else(later)
}

/// The owner of a link, if another user: the owner decides where it leads.
pub fn link(owner: u32, us: Us) -> Option<Writer> {
    (!us.has_user(owner)).then_some(Writer::Link(owner))
}

/// The write bit of an ACL entry.
const WRITE: u16 = 2;

/// The first entry of an ACL (the value of its extended attribute) that lets another user write.
fn acl_writer(acl: &[u8], owning_group: u32, us: Us) -> Option<Named> {
    let mask = entries(acl).find(|(tag, ..)| *tag == MASK).map_or(WRITE, |(_, perm, _)| perm);
    entries(acl).filter(|(_, perm, _)| perm & WRITE != 0).find_map(|(tag, _, id)| {
        let is_masked = mask & WRITE == 0;
        match tag {
            USER => (!is_masked && !us.has_user(id)).then_some(Named::User(id)),
            GROUP => (!is_masked && !us.has_group(id)).then_some(Named::Group(id)),
            GROUP_OBJ => (!is_masked && !us.has_group(owning_group)).then_some(Named::OwningGroup),
            OTHER => Some(Named::Other),
            _ => None, // the owner's entry and the mask, which grant nothing to others
        }
    })
}

impl Untrusted {
    /// The message for a path under `top`, which is recreated if missing. A chown would not do: the other owner may
    /// have filled it.
    pub fn within(&self, top: &Path) -> String {
        match self.writer {
            Writer::Owner(uid) if self.path.starts_with(top) => {
                let (path, top) = (self.path.display(), top.display());
                format!("{path} belongs to user {uid}, and what it holds is not ours: remove {top}, it is made anew")
            }
            Writer::Link(uid) if self.path.starts_with(top) => {
                let path = self.path.display();
                format!("{path} is a link that belongs to user {uid}, who decides where it leads: remove it")
            }
            Writer::Owner(_) | Writer::Link(_) | Writer::Others | Writer::Acl(_) | Writer::DefaultAcl(_) => {
                self.to_string()
            }
        }
    }

    /// Records that `writer` can change the file at `path`.
    pub fn new(path: &Path, writer: Writer) -> Self {
        Self { path: path.to_owned(), writer }
    }
}

#[cfg(test)]
mod tests;
