//! The result of a fetch: the bytes of an archive, an open directory or a tree, with its revision, and the signature
//! and checksum files that verify it.

mod texts;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::Crc;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, plain};
use crate::model::{Revision, Validators, hex};
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;
use crate::sys::log;
use crate::sys::resolve::{self, Fault, Last, Way};

pub use self::texts::{Span, Texts};

/// Longest name of a member, in bytes. A source that lists names keeps no longer one.
pub const MAX_NAME: usize = 1024;

/// The number of bytes at the end of an archive in which its central directory is found, if it has one.
pub const TAIL: u64 = 96 << 10;
/// The number of bytes at the beginning of an archive from which its format is detected.
pub const HEAD: u64 = 512;

/// The file that a download is written to, kept until its release is published and found again after a crash. The
/// caller that requested the download removes it.
#[derive(Clone, Debug)]
pub struct CacheFile {
    dir: PathBuf,
    name: OsString,
}

impl CacheFile {
    /// The file `name` in the cache directory `dir`. Creates nothing.
    pub fn new(dir: PathBuf, name: impl Into<OsString>) -> Self {
        Self { dir, name: name.into() }
    }

    /// Its full path, for messages.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Its name in its directory.
    pub fn name(&self) -> &OsString {
        &self.name
    }

    /// The name of the file beside it that records which body its bytes are the beginning of.
    pub fn note(&self) -> OsString {
        let mut note = self.name.clone();
        note.push(".meta");
        note
    }

    /// Opens its directory, which is created if missing. No other user can change entries of that directory.
    pub fn open_dir(&self) -> Result<Dir> {
        cache_dir(&self.dir).map(|(dir, _)| dir)
    }

    /// Opens its directory if it exists and no other user can change its entries.
    pub fn existing_dir(&self) -> Option<Dir> {
        resolve::open_dir(&self.dir, Way::Shared).ok()
    }

    /// Whether it has bytes that a later run can resume from.
    pub fn is_begun(&self) -> bool {
        let looked = resolve::open_dir(&self.dir, Way::Shared).map(|dir| dir.look(&self.note()));
        matches!(looked, Ok(Ok(Some(_))))
    }

    /// Removes it and its `.meta` file. A failure is only logged: a file that stays costs space.
    pub fn discard(&self) {
        let remove = || -> Result<(), Fault> {
            let dir = resolve::open_dir(&self.dir, Way::Shared)?;
            for name in [&self.note(), &self.name] {
                match dir.unlink(name) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
                    _ => {}
                }
            }
            Ok(())
        };
        match remove() {
            // The directory is untrusted: the files in it are neither used nor removed.
            Err(Fault::Untrusted(why)) => log::debug!("leaving {}: {why}", self.path().display()),
            Err(fault) if !fault.is_missing() => {
                log::warn!("cannot remove {}: {}", self.path().display(), plain(&fault.into()));
            }
            _ => {}
        }
    }
}

/// Opens a cache directory, which is created if missing; the flag tells whether it is in a shared volume.
pub fn cache_dir(path: &Path) -> Result<(Dir, bool)> {
    let place = resolve::make_dirs(path, Way::Shared).map_err(|fault| refusal(path, path, fault))?;
    let dir = place.open_own_dir(&mut |_, _| ()).map_err(|fault| refusal(path, &place.path, fault))?;
    Ok((dir, place.volume.is_some()))
}

/// An error if the cache directory `path` cannot be used. Creates nothing; a missing directory is fine.
pub fn look_at_cache(path: &Path) -> Result<()> {
    match resolve::find(path, Way::Shared, Last::Follow) {
        Ok(place) if place.meta.is_none() => Ok(()),
        Ok(place) => place.open_own_dir(&mut |_, _| ()).map(drop).map_err(|fault| refusal(path, &place.path, fault)),
        Err(fault) if fault.is_missing() => Ok(()),
        Err(fault) => Err(refusal(path, path, fault)),
    }
}

/// The error for the cache directory `path`, which resolves to `top`.
fn refusal(path: &Path, top: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Untrusted(why) => {
            let (path, why) = (path.display(), why.within(top));
            Error::config(format!("the cache {path} cannot be trusted: {why}; or cache names another place"))
        }
        Fault::Io(e) => cannot_use_cache(path, &e),
    }
}

fn cannot_use_cache(path: &Path, e: &io::Error) -> Error {
    Error::failed(format!("cannot use the cache {}: {}; cache names another place", path.display(), plain(e)))
}

/// A fetched artifact, its content not examined yet.
#[derive(Debug)]
pub struct Artifact {
    /// The revision of the response that carried the bytes, never of an earlier poll.
    pub revision: Revision,
    /// The validators for the next poll.
    pub validators: Validators,
    /// The content.
    pub content: Content,
    /// The CRC-32 of an archive, if it was summed while it came.
    pub crc: Option<u32>,
    /// Its name in messages: the remote without credentials, or the file's path.
    pub name: String,
}

/// The kinds of things that can be fetched.
#[derive(Debug)]
pub enum Content {
    /// A complete archive, positioned anywhere.
    Archive(File),
    /// A directory on this host.
    Directory(Folder),
    /// A tree that the source reads member by member.
    Tree(Box<dyn Tree>),
}

/// A directory on this host, which other processes may change while it is read.
#[derive(Debug)]
pub struct Folder {
    /// The directory, open.
    pub dir: Dir,
    /// The [`EntrySum`] of each file and link below it, in the order of a walk that sorts each directory by the bytes
    /// of its names. The revision is computed from these sums, and a copy must match them. `None`: not read yet.
    pub sums: Option<Vec<u32>>,
}

/// A checksum of a file or link of a [`Folder`], to notice a change between two reads. It detects changes, not
/// forgeries.
#[derive(Debug)]
pub struct EntrySum(Crc);

impl EntrySum {
    /// Starts the sum of the entry at `path` below the top; its content or link text follows.
    pub fn new(path: &[u8], is_program: bool, access: Access) -> Self {
        let mut sum = Crc::new();
        sum.update(path);
        sum.update(&[0, u8::from(is_program), access as u8]);
        Self(sum)
    }

    /// Adds the next bytes of its content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all bytes added.
    pub fn finish(&self) -> u32 {
        self.0.sum()
    }
}

/// The users who may read an entry of a [`Folder`], fewest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// The owner alone.
    Owner,
    /// The owner and the group.
    Group,
    /// All users.
    #[default]
    All,
}

impl Access {
    /// The users who may read a file with these permission bits.
    pub fn of_file(mode: u32) -> Self {
        Self::with(mode, 0o4)
    }

    /// The users who may list and enter a directory with these permission bits.
    pub fn of_dir(mode: u32) -> Self {
        Self::with(mode, 0o5)
    }

    /// The users who may reach the entries of a directory with these permission bits.
    pub fn through_dir(mode: u32) -> Self {
        Self::with(mode, 0o1)
    }

    fn with(mode: u32, bits: u32) -> Self {
        match (mode & bits == bits, mode >> 3 & bits == bits) {
            (true, _) => Self::All,
            (false, true) => Self::Group,
            (false, false) => Self::Owner,
        }
    }

    /// Limits the permission bits `mode`, which grant access to all users, to these users.
    pub fn limit(self, mode: u16) -> u16 {
        match self {
            Self::All => mode,
            Self::Group => mode & 0o750,
            Self::Owner => mode & 0o700,
        }
    }
}

/// The type of a member of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file that is not executable.
    File,
    /// An executable file.
    Program,
    /// A symbolic link; its content is its target.
    Link,
    /// A directory, without its entries.
    Dir,
}

/// Takes the position of a member's full name in the names of its tree, its type and its size in bytes.
pub type Found<'a> = dyn FnMut(Span, Node, u64) -> Result<()> + 'a;

/// A tree that its source hands over in pieces. Its names are not checked yet.
pub trait Tree: std::fmt::Debug {
    /// The full names of all members, shared with the code that unpacks them.
    fn names(&self) -> Rc<Texts>;

    /// Passes every member to `found`, always in the same order.
    fn list(&self, found: &mut Found<'_>) -> Result<()>;

    /// Opens the contents of the members `wanted`, files and links by their number in the list, in this order.
    fn contents(&self, wanted: Vec<u32>, deadline: Deadline) -> Result<Box<dyn Contents + '_>>;
}

/// The contents of several members, one after the other.
pub trait Contents {
    /// Passes the next content to `write`, exactly as many bytes as the list said.
    fn next(&mut self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Ends the reading; fails if the source reported an error.
    fn finish(self: Box<Self>) -> Result<()>;
}

impl Artifact {
    /// The size of an archive in bytes; 0 for a directory on this host, and for git, which does not report one.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::Archive(file) => file.metadata().map_or(0, |meta| meta.len()), // a count for reports only
            Content::Directory(_) | Content::Tree(_) => 0,
        }
    }
}

/// The signature and checksum files beside an archive at its source, not examined yet. The default: none requested.
#[derive(Debug, Default)]
pub struct Sidecars {
    /// The archive's own name, as listed in a checksum file.
    pub archive: String,
    /// The signature; `None`: not requested.
    pub signature: Option<SidecarFile>,
    /// The checksum file; `None`: not requested.
    pub sums: Option<SidecarFile>,
}

/// A small file from a source.
#[derive(Debug)]
pub struct SidecarFile {
    /// Its name in messages.
    pub name: String,
    /// Its content; `None`: the source does not have it.
    pub content: Option<Vec<u8>>,
}

impl Sidecars {
    /// A hash of both files, to tell whether they changed.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for content in [&self.signature, &self.sums].map(|paper| paper.as_ref().and_then(|p| p.content.as_ref())) {
            // The length first: no two pairs hash the same bytes.
            hash.update(content.map_or(u64::MAX, |c| c.len() as u64).to_le_bytes());
            hash.update(content.map_or(&[][..], |c| c));
        }
        hex(&hash.finalize()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_what_the_bits_for_all_and_for_the_group_say() {
        use Access::{All, Group, Owner};
        for (mode, file, dir, through) in [
            (0o755, All, All, All),
            (0o004, All, Owner, Owner), // the group alone may not: the copy is for all
            (0o777, All, All, All),
            (0o711, Owner, Owner, All),
            (0o751, Group, Group, All),
            (0o744, All, Owner, Owner),
            (0o754, All, Group, Group),
            (0o2750, Group, Group, Group),
            (0o710, Owner, Owner, Group),
            (0o640, Group, Owner, Owner),
            (0o600, Owner, Owner, Owner),
            (0, Owner, Owner, Owner),
        ] {
            let got = (Access::of_file(mode), Access::of_dir(mode), Access::through_dir(mode));
            assert_eq!(got, (file, dir, through), "{mode:o}");
        }
        assert_eq!([All, Group, Owner].map(|access| access.limit(0o755)), [0o755, 0o750, 0o700]);
        assert_eq!([All, Group, Owner].map(|access| access.limit(0o644)), [0o644, 0o640, 0o600]);
        assert!(Owner < Group && Group < All);
    }
}
