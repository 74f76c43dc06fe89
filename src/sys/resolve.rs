//! Resolves paths of the configuration one component at a time from an open `/`. Each step is judged on the descriptor
//! that is then used, so that the opened file is the judged one. A link is followed only when root, this process's user
//! or the trusted user owns it: the owner of a link decides where it leads.
//!
//! Not decided here: the purpose of a path, and the sentence around an error.

mod judge;
mod passed;
mod place;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use self::judge::{Judged, judge};
use self::passed::Step;
use super::created;
use super::fs::{Dir, Kind, Meta};
use super::trust::{self, Role, Untrusted, Us};

pub use self::judge::{Fault, Way};
pub use self::passed::{forget, remember};
pub use self::place::{Place, judge_dir, judge_names};

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// The path means the target of the link.
    Follow,
    /// As `Follow`, for writing: `/proc/self/fd/1`, a link of the kernel, means the open file, whatever its text.
    Written,
    /// The path means the link itself.
    Stay,
}

/// Resolves `path` as this process's user.
pub fn find(path: &Path, way: Way, last: Last) -> Result<Place, Fault> {
    find_for(path, way, last, Us::with(None))
}

/// The same with a trusted user in `us`.
pub fn find_for(path: &Path, way: Way, last: Last, us: Us) -> Result<Place, Fault> {
    Walk::begin(path, way, us)?.walk_to_the_end(last, false)
}

/// Resolves the directory `path` as one on the way, and makes its missing parts with mode 0755, whatever the umask.
pub fn make_dirs(path: &Path, way: Way) -> Result<Place, Fault> {
    let place = Walk::begin(path, way, Us::with(None))?.walk_to_the_end(Last::Follow, true)?;
    if place.meta.is_some() {
        return Ok(place);
    }
    make_dir(&place.dir, &place.name, way)?;
    let meta = place.dir.look(&place.name)?;
    Ok(Place { meta, ..place })
}

/// Makes a directory, unless another process is faster. On a way that must be trusted it is this process's alone;
/// elsewhere it inherits the default ACL of its parent.
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

/// Opens the directory at `path`; a link at the end is followed like those before it.
pub fn open_dir(path: &Path, way: Way) -> Result<Dir, Fault> {
    find(path, way, Last::Follow)?.open_dir()
}

/// Reads the regular file at `path`, of at most `largest` bytes; a larger file is an error.
pub fn read_file(path: &Path, way: Way, us: Us, largest: u64) -> Result<(Vec<u8>, Meta), Fault> {
    let (file, meta) = find_for(path, way, Last::Follow, us)?.open_file()?;
    Ok((read_at_most(file, largest)?, meta))
}

/// Reads all of an open file, of at most `largest` bytes; a larger file is an error.
pub fn read_at_most(file: impl Read, largest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(largest + 1).read_to_end(&mut content)?;
    match content.len() as u64 > largest {
        true => Err(io::Error::other(format!("it has more than {largest} bytes"))),
        false => Ok(content),
    }
}

/// Why a path may not be trusted; `Ok(None)`: only root and this process's user can change it and the way to it.
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
    /// From `/` down.
    open: Vec<Step>,
    /// The steps that remain, the next one last.
    ahead: Vec<OsString>,
    links: u32,
    volume: Option<PathBuf>,
    is_ours_alone: bool,
}

/// As many links as the kernel follows (path_resolution(7)).
pub const MOST_LINKS: u32 = 40;

impl Walk {
    fn begin(path: &Path, way: Way, us: Us) -> io::Result<Self> {
        let mut ahead = steps(&std::path::absolute(path)?);
        let mut open = passed::begin(&mut ahead);
        if open.is_empty() {
            open.push(Step::new(OsString::new(), Dir::root()?));
        }
        Ok(Self { way, us, open, ahead, links: 0, volume: None, is_ours_alone: true })
    }

    fn walk_to_the_end(mut self, last: Last, makes: bool) -> Result<Place, Fault> {
        loop {
            let Some(name) = self.ahead.pop() else {
                let meta = self.dir().look(OsStr::new("."))?;
                return self.end(OsStr::new("."), meta, false);
            };
            if name == ".." {
                self.open.truncate((self.open.len() - 1).max(1));
                continue;
            }
            self.judge()?;
            let is_last = self.ahead.is_empty();
            // Most steps are directories: only where one is not, it is looked at.
            if !is_last && self.enter(&name).is_ok() {
                continue;
            }
            let meta = self.dir().look(&name)?;
            match meta.map(|meta| meta.kind) {
                Some(Kind::Link) if is_last && last == Last::Stay => return self.end(&name, meta, false),
                Some(Kind::Link) if is_last && last == Last::Written && self.is_among_descriptors()? => {
                    return self.end(&name, meta, true);
                }
                Some(Kind::Link) => self.follow(&name)?,
                Some(Kind::Dir) if !is_last => self.enter(&name)?,
                None if !is_last && makes => {
                    make_dir(self.dir(), &name, self.way)?;
                    self.enter(&name)?;
                }
                None if !is_last => return Err(Errno::NOENT.into()),
                Some(Kind::File | Kind::Other) if !is_last => return Err(Errno::NOTDIR.into()),
                Some(Kind::Dir | Kind::File | Kind::Other) | None => return self.end(&name, meta, false),
            }
        }
    }

    fn dir(&self) -> &Dir {
        &self.open[self.open.len() - 1].dir // never empty: `/` stays
    }

    /// The path of the directory that the walk is in.
    fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.open.iter().skip(1).map(|step| &step.name));
        path
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let child = self.dir().pass(name)?;
        self.open.push(Step::new(name.to_owned(), child));
        Ok(())
    }

    /// Follows a link. Owner and text are read from one open inode, even if the name is replaced meanwhile.
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
        if self.open.last().is_none_or(|step| step.name != "fd") {
            return Ok(false);
        }
        Ok(i128::from(rustix::fs::fstatfs(self.dir())?.f_type) == PROC)
    }

    /// Judges the directory that the walk is in, once.
    fn judge(&mut self) -> Result<(), Fault> {
        let at = self.open.len() - 1;
        if self.open[at].is_judged {
            return Ok(());
        }
        let above = at.checked_sub(1).map(|above| &*self.open[above].dir);
        match judge(self.dir(), above, Role::OnTheWay, self.way, self.us)? {
            Judged::Ours => self.open[at].is_ours = !self.us.has_friend(),
            Judged::Shared => self.volume = Some(self.path()),
            Judged::Writable(_) if self.way == Way::Any => self.is_ours_alone = false,
            Judged::Writable(writer) => return Err(Fault::Untrusted(Untrusted::new(&self.path(), writer))),
        }
        self.open[at].is_judged = true;
        Ok(())
    }

    fn end(mut self, name: &OsStr, meta: Option<Meta>, is_kernels: bool) -> Result<Place, Fault> {
        let path = if name == "." { self.path() } else { self.path().join(name) };
        let (way, us, volume, is_ours_alone) = (self.way, self.us, self.volume.take(), self.is_ours_alone);
        passed::end(&self.open);
        let Some(Step { dir, .. }) = self.open.pop() else { return Err(Errno::NOENT.into()) };
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

#[cfg(test)]
mod tests;
