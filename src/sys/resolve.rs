//! Paths of the configuration: resolved one component at a time from an open `/`, each step judged on the descriptor that is
//! then used, so that what is opened is what was judged. A link is followed only when root, we or a named friend own it:
//! whoever owns a link decides where it leads.
//!
//! Left to others: what a place is for, and the sentence around an error.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use super::created;
use super::fs::{Dir, Kind, Meta, is_mount_top};
use super::trust::{self, Facts, Role, Untrusted, Us};
use super::xattr;

/// How the directories on the way are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They may be anybody's.
    Any,
    /// Only root and we can change them.
    Trusted,
    /// The same, but the top of a mount of its own, which others may write: a volume that a platform shares between
    /// containers. Whoever uses it goes on by descriptor.
    Shared,
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// What it leads to is meant.
    Follow,
    /// The same for what is written: the kernel's name for an open file (`/proc/self/fd/1`) is that file, whatever its text.
    Written,
    /// It is meant itself.
    Stay,
}

/// Why a path cannot be used.
#[derive(Debug)]
pub enum Fault {
    /// The system says so.
    Io(io::Error),
    /// Somebody else could change it.
    Untrusted(Untrusted),
}

/// Where a path leads.
#[derive(Debug)]
pub struct Place {
    /// The directory that it lies in, open.
    pub dir: Dir,
    /// Its name there.
    pub name: OsString,
    /// The whole path without links.
    pub path: PathBuf,
    /// What stands there; `None`: nothing.
    pub meta: Option<Meta>,
    /// The shared volume that it lies in.
    pub volume: Option<PathBuf>,
    /// Nobody else can change the way to it.
    pub is_ours_alone: bool,
    /// The kernel's name for an open file (`/proc/self/fd/1`): it leads nowhere by its text, and nobody can plant one.
    is_kernels: bool,
    way: Way,
    us: Us,
}

/// Resolves `path` for ourselves.
pub fn find(path: &Path, way: Way, last: Last) -> Result<Place, Fault> {
    find_for(path, way, last, Us::with(None))
}

/// The same where `us` may have a friend.
pub fn find_for(path: &Path, way: Way, last: Last, us: Us) -> Result<Place, Fault> {
    Walk::begin(path, way, us)?.walk_to_the_end(last, false)
}

/// Opens the directory at `path`, judged as what it leads through, and makes what is missing of it: 0755, whatever the umask.
pub fn make_dirs(path: &Path, way: Way) -> Result<Place, Fault> {
    let place = Walk::begin(path, way, Us::with(None))?.walk_to_the_end(Last::Follow, true)?;
    if place.meta.is_some() {
        return Ok(place);
    }
    make_dir(&place.dir, &place.name, way)?;
    let meta = place.dir.look(&place.name)?;
    Ok(Place { meta, ..place })
}

/// Makes a directory, unless another process is faster. What leads to a place that must be trusted is ours alone; what leads to
/// a tree of somebody's inherits what he has said there.
fn make_dir(parent: &Dir, name: &OsStr, way: Way) -> io::Result<()> {
    let made = match way {
        Way::Any => created::make_dir(parent, name, None, 0o755).map(drop),
        Way::Trusted | Way::Shared => created::make_own_dir(parent, name, 0o755).map(drop),
    };
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Opens the directory at `path`; a link at its end is followed as those before it.
pub fn open_dir(path: &Path, way: Way) -> Result<Dir, Fault> {
    find(path, way, Last::Follow)?.open_dir()
}

/// What stands in the regular file at `path`, when that is at most `largest` bytes.
pub fn read_file(path: &Path, way: Way, us: Us, largest: u64) -> Result<(Vec<u8>, Meta), Fault> {
    let (file, meta) = find_for(path, way, Last::Follow, us)?.open_file()?;
    let mut content = Vec::new();
    file.take(largest + 1).read_to_end(&mut content)?;
    match content.len() as u64 > largest {
        true => Err(io::Error::other(format!("it has more than {largest} bytes")).into()),
        false => Ok((content, meta)),
    }
}

/// Why a path may not be trusted; `Ok(None)`: only root and we can change it and the way to it.
pub fn untrusted_reason(path: &Path) -> io::Result<Option<Untrusted>> {
    let judged = find(path, Way::Trusted, Last::Follow).and_then(|place| place.judge_as_it_stands());
    match judged {
        Ok(()) => Ok(None),
        Err(Fault::Untrusted(untrusted)) => Ok(Some(untrusted)),
        Err(Fault::Io(e)) => Err(e),
    }
}

/// A path that is being resolved.
struct Walk {
    way: Way,
    us: Us,
    /// From `/` down: the name of each directory, and whether it was judged.
    open: Vec<(OsString, Dir, bool)>,
    /// What is still to go, the next one last.
    ahead: Vec<OsString>,
    links: u32,
    volume: Option<PathBuf>,
    is_ours_alone: bool,
}

/// As many links as the kernel follows (path_resolution(7)).
pub const MOST_LINKS: u32 = 40;

impl Walk {
    fn begin(path: &Path, way: Way, us: Us) -> io::Result<Self> {
        let root = Dir::root()?;
        let ahead = steps(&std::path::absolute(path)?);
        let open = vec![(OsString::new(), root, false)];
        Ok(Self { way, us, open, ahead, links: 0, volume: None, is_ours_alone: true })
    }

    fn walk_to_the_end(mut self, last: Last, makes: bool) -> Result<Place, Fault> {
        loop {
            let Some(name) = self.ahead.pop() else { return self.end(OsStr::new("."), false) };
            if name == ".." {
                self.open.truncate((self.open.len() - 1).max(1));
                continue;
            }
            self.judge()?;
            let is_last = self.ahead.is_empty();
            match self.dir().look(&name)?.map(|meta| meta.kind) {
                Some(Kind::Link) if is_last && last == Last::Stay => return self.end(&name, false),
                Some(Kind::Link) if is_last && last == Last::Written && self.is_among_descriptors()? => {
                    return self.end(&name, true);
                }
                Some(Kind::Link) => self.follow(&name)?,
                Some(Kind::Dir) if !is_last => self.enter(name)?,
                None if !is_last && makes => {
                    make_dir(self.dir(), &name, self.way)?;
                    self.enter(name)?;
                }
                None if !is_last => return Err(Errno::NOENT.into()),
                Some(Kind::File | Kind::Other) if !is_last => return Err(Errno::NOTDIR.into()),
                Some(Kind::Dir | Kind::File | Kind::Other) | None => return self.end(&name, false),
            }
        }
    }

    fn dir(&self) -> &Dir {
        let (_, dir, _) = &self.open[self.open.len() - 1]; // never empty: `/` stays
        dir
    }

    /// The path of the directory that the walk is in.
    fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.open.iter().skip(1).map(|(name, ..)| name));
        path
    }

    fn enter(&mut self, name: OsString) -> io::Result<()> {
        let child = self.dir().pass(&name)?;
        self.open.push((name, child, false));
        Ok(())
    }

    /// Follows a link: its owner and its text are those of one inode, whatever has the name by then.
    fn follow(&mut self, name: &OsStr) -> Result<(), Fault> {
        let link = self.dir().hold(name)?;
        let meta = Meta::from(rustix::fs::fstat(&link)?);
        if meta.kind != Kind::Link {
            return Err(created::replaced().into());
        }
        if let Some(writer) = trust::link(meta.uid, self.us) {
            return Err(Fault::Untrusted(Untrusted::new(&self.path().join(name), writer)));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let text = rustix::fs::readlinkat(&link, c"", Vec::new())?;
        if text.as_bytes().starts_with(b"/") {
            self.open.truncate(1);
        }
        self.ahead.extend(steps(Path::new(OsStr::from_bytes(text.as_bytes()))));
        Ok(())
    }

    /// Whether the walk is in `/proc/PID/fd`.
    fn is_among_descriptors(&self) -> io::Result<bool> {
        const PROC: i128 = 0x9fa0; // PROC_SUPER_MAGIC of statfs(2)
        if self.open.last().is_none_or(|(name, ..)| name != "fd") {
            return Ok(false);
        }
        Ok(i128::from(rustix::fs::fstatfs(self.dir())?.f_type) == PROC)
    }

    /// Judges the directory that the walk is in, once.
    fn judge(&mut self) -> Result<(), Fault> {
        let at = self.open.len() - 1;
        if self.open[at].2 {
            return Ok(());
        }
        let above = at.checked_sub(1).map(|above| &self.open[above].1);
        match judge(self.dir(), above, Role::OnTheWay, self.way, self.us)? {
            Judged::Ours => {}
            Judged::Shared => self.volume = Some(self.path()),
            Judged::Writable(_) if self.way == Way::Any => self.is_ours_alone = false,
            Judged::Writable(writer) => return Err(Fault::Untrusted(Untrusted::new(&self.path(), writer))),
        }
        self.open[at].2 = true;
        Ok(())
    }

    fn end(mut self, name: &OsStr, is_kernels: bool) -> Result<Place, Fault> {
        let path = if name == "." { self.path() } else { self.path().join(name) };
        let (way, us, volume, is_ours_alone) = (self.way, self.us, self.volume.take(), self.is_ours_alone);
        let Some((_, dir, _)) = self.open.pop() else { return Err(Errno::NOENT.into()) };
        let meta = dir.look(name)?;
        Ok(Place { dir, name: name.to_owned(), path, meta, volume, is_ours_alone, is_kernels, way, us })
    }
}

/// The steps of a path, the first one last.
pub fn steps(path: &Path) -> Vec<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

/// What a descriptor comes to.
enum Judged {
    Ours,
    /// Others may write it, as a volume that is shared.
    Shared,
    Writable(trust::Writer),
}

/// Judges what is open; `above` is the directory that it was found in.
fn judge(file: impl AsFd, above: Option<&Dir>, role: Role, way: Way, us: Us) -> Result<Judged, Fault> {
    let meta: Meta = rustix::fs::fstat(&file).map_err(io::Error::from)?.into();
    let mut facts = Facts::default();
    if meta.mode & 0o020 != 0 {
        match xattr::get(&file, xattr::ACL.as_ref()) {
            Ok(acl) => facts.acl = acl.unwrap_or_default(),
            // What may be entered and not read does not show its ACL: the bit may be somebody's.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::BADF) => {
                return Ok(Judged::Writable(trust::Writer::Others));
            }
            Err(e) => return Err(e.into()),
        }
    }
    if role == Role::Itself && meta.kind == Kind::Dir {
        facts.default_acl = match xattr::get(&file, xattr::DEFAULT_ACL.as_ref()) {
            // What we may not read we take nothing from: only whose it is matters.
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
    /// Whether nothing is there.
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

/// For those who only pass the sentence on.
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

mod place;
pub use place::{judge_as_it_stands, judge_names};

#[cfg(test)]
mod tests;
