//! Judges open files: whether another user could change them.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use crate::sys::fs::{Dir, Kind, Meta, is_mount_top};
use crate::sys::trust::{self, Facts, Role, Untrusted, Us};
use crate::sys::xattr;

/// How the directories on the way are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Any user may be able to change them.
    Any,
    /// Only root and this process's user can change them.
    Trusted,
    /// As `Trusted`, except that others may write the top of a mount: a volume that a platform shares between
    /// containers. The caller must go on from the open descriptor.
    Shared,
}

/// Why a path cannot be used.
#[derive(Debug)]
pub enum Fault {
    /// A system call failed.
    Io(io::Error),
    /// Another user could change it.
    Untrusted(Untrusted),
}

/// The verdict on an open file.
pub(super) enum Judged {
    /// No other user may write it.
    Ours,
    /// Others may write it, and it is a shared volume.
    Shared,
    /// This user may write it.
    Writable(trust::Writer),
}

/// Judges an open file; `above` is the directory in which it was found.
pub(super) fn judge(file: impl AsFd, above: Option<&Dir>, role: Role, way: Way, us: Us) -> Result<Judged, Fault> {
    let meta: Meta = rustix::fs::fstat(&file).map_err(io::Error::from)?.into();
    let mut facts = Facts::default();
    if meta.mode & 0o020 != 0 {
        match xattr::get(&file, xattr::ACL.as_ref()) {
            Ok(acl) => facts.acl = acl.unwrap_or_default(),
            // A directory opened without read permission does not show its ACL: the bit may be another user's.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::BADF) => {
                return Ok(Judged::Writable(trust::Writer::Others));
            }
            Err(e) => return Err(e.into()),
        }
    }
    if role == Role::Itself && meta.kind == Kind::Dir {
        facts.default_acl = match xattr::get(&file, xattr::DEFAULT_ACL.as_ref()) {
            // Nothing is read from a directory that cannot be read, so only its owner and mode matter.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::BADF) => Vec::new(),
            acl => acl?.unwrap_or_default(),
        };
    }
    if trust::writer(&meta, &facts, role, us).is_none() {
        return Ok(Judged::Ours);
    }
    if let (Way::Shared, Kind::Dir, Some(above)) = (way, meta.kind, above)
        && is_mount_top(&file, above)?
    {
        return Ok(Judged::Shared);
    }
    // Asked last: it is the rarest.
    facts.is_read_only =
        rustix::fs::fstatvfs(&file).map_err(io::Error::from)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    Ok(trust::writer(&meta, &facts, role, us).map_or(Judged::Ours, Judged::Writable))
}

impl Fault {
    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(e) if e.kind() == io::ErrorKind::NotFound)
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<Errno> for Fault {
    fn from(e: Errno) -> Self {
        Self::Io(e.into())
    }
}

/// For callers that only pass the message on.
impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(e) => e,
            Fault::Untrusted(untrusted) => Self::other(untrusted.to_string()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Untrusted(untrusted) => untrusted.fmt(f),
        }
    }
}
