//! The directory of a store: its files, read and replaced atomically.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::ledger::{self, KEPT, Ledger};
use super::open_dirs::{OpenDirs, PARTIAL};
use super::state::{self, State};
use crate::console::progress::size;
use crate::error::{Context, Error, Result};
use crate::model::Owner;
use crate::sys::created;
use crate::sys::fs::{self as sysfs, Dir, Kind};
use crate::sys::resolve::Way;

/// A store that is only read: it has no method that writes.
///
/// All entries are reached from the open directory, through no link: another user of a shared volume may replace the
/// directory, but not the one that was checked.
#[derive(Clone, Debug)]
pub struct StoreView {
    pub(super) root: PathBuf,
    /// `None`: it does not exist yet.
    pub(super) dir: Option<Rc<Dir>>,
    pub(super) subs: Rc<OpenDirs>,
    /// The shared volume that contains it.
    pub(super) volume: Option<PathBuf>,
}

/// A store that may be written: it holds the lock while it lives.
#[derive(Debug)]
pub struct Store {
    pub(super) view: StoreView,
    /// Whether it was just created.
    pub(super) is_new: bool,
    /// Whether it has pruned releases that are to be removed.
    pub(super) has_pruned: Cell<bool>,
    pub(super) _lock: File,
}

impl Deref for Store {
    type Target = StoreView;

    fn deref(&self) -> &StoreView {
        &self.view
    }
}

/// The location of a store, and the trust that its path needs.
#[derive(Clone, Debug)]
pub struct Location {
    /// Its directory.
    pub path: PathBuf,
    /// The check of its path. Scripts are executed from the store of an installation: no other user may be able to
    /// redirect its path.
    pub way: Way,
    /// The configuration key that moves it.
    pub key: &'static str,
    /// The user and group that own releases.
    pub owner: Option<Owner>,
}

/// The content of the state file.
#[derive(Debug)]
pub enum Recorded {
    /// No state file.
    Nothing,
    /// A valid state.
    State(Box<State>),
    /// A state in this format, written by another version of this program.
    Foreign(String),
    /// No valid state, and the reason.
    Unreadable(String),
}

impl StoreView {
    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its directory, open.
    pub fn dir(&self) -> io::Result<&Rc<Dir>> {
        self.dir.as_ref().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// A directory in it, open.
    pub(super) fn sub(&self, name: &str) -> io::Result<Rc<Dir>> {
        self.subs.open(self.dir()?, name)
    }

    /// Reads the state. Needs no lock, because the file is replaced atomically.
    pub fn recorded(&self) -> Result<Recorded> {
        let Some(text) = self.read("state")? else { return Ok(Recorded::Nothing) };
        Ok(match (State::parse(&text), state::foreign_format(&text)) {
            (Ok(state), _) => Recorded::State(Box::new(state)),
            (Err(_), Some(format)) => Recorded::Foreign(format),
            (Err(reason), None) => Recorded::Unreadable(reason),
        })
    }

    /// Reads one of its files; `None`: it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = || -> io::Result<Vec<u8>> { sysfs::read_whole(&self.dir()?.open_file(name.as_ref())?) };
        match read() {
            Ok(content) => Ok(Some(content)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", self.root.join(name).display())),
        }
    }
}

impl StoreView {
    /// Removes the releases that were pruned. Needs no lock, because nothing refers to them any more: neither the next
    /// check nor a signal waits for it. A run that is cut off leaves the rest to the next one.
    pub fn remove_pruned(&self) -> Result<()> {
        let remove = || -> io::Result<()> {
            let partial = self.sub(PARTIAL)?;
            partial.names()?.iter().filter(|name| is_pruned(name)).try_for_each(|name| partial.remove_all(name))
        };
        remove().with_context(|| format!("cannot remove pruned releases in {}", self.root.join(PARTIAL).display()))
    }
}

impl Store {
    /// The shared volume that contains it, and whether the store was just created.
    pub fn volume(&self) -> Option<(&Path, bool)> {
        self.volume.as_deref().map(|volume| (volume, self.is_new))
    }

    /// Creates a directory in it if it is missing.
    pub(super) fn make(&self, name: &str, mode: u32) -> Result<PathBuf> {
        let path = self.root.join(name);
        let make = || -> io::Result<()> {
            match self.sub(name) {
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    created::make_own_dir(self.dir()?, OsStr::new(name), mode).map(drop)
                }
                Err(e) => match self.dir()?.look(OsStr::new(name))?.map(|meta| meta.kind) {
                    Some(Kind::File | Kind::Link | Kind::Other) => {
                        Err(io::Error::other("something else is there: move it away"))
                    }
                    Some(Kind::Dir) | None => Err(e),
                },
                Ok(_) => Ok(()),
            }
        };
        make().with_context(|| cannot_make(&path))?;
        Ok(path)
    }

    /// An empty directory, which the hooks of a first deployment see as the previous release.
    pub fn nothing(&self) -> Result<PathBuf> {
        self.make("empty", 0o755)
    }

    /// Makes the directory for copies of files that an installation replaces.
    pub fn make_kept(&self) -> Result<()> {
        self.make(KEPT, 0o700).map(drop)
    }

    /// The directory for unfinished files, open.
    pub fn partial(&self) -> io::Result<Rc<Dir>> {
        self.sub(PARTIAL)
    }

    /// Whether there are pruned releases to remove: see [`StoreView::remove_pruned`].
    pub fn has_pruned(&self) -> bool {
        self.has_pruned.get()
    }

    /// Removes leftovers of a killed run, except pruned releases, which may be large: the end of the check removes them.
    /// Only under the lock, when no other process creates files there.
    pub(super) fn empty_partial(&self) -> Result<()> {
        let empty = || -> io::Result<()> {
            let partial = self.sub(PARTIAL)?;
            for name in partial.names()? {
                match is_pruned(&name) {
                    true => self.has_pruned.set(true),
                    false => partial.remove_all(&name)?,
                }
            }
            Ok(())
        };
        empty().with_context(|| format!("cannot remove what is left in {}", self.root.join(PARTIAL).display()))
    }

    /// Replaces the state, durably: when this returns, it survives a power cut.
    pub fn record(&self, state: &State) -> Result<()> {
        self.replace("state", state.print().as_bytes(), true).with_context(|| "cannot write the state")
    }

    /// Replaces the ledger, durably.
    pub fn record_ledger(&self, ledger: &Ledger) -> Result<()> {
        self.replace(ledger::FILE, ledger.print().as_bytes(), true)
    }

    /// Replaces a file in the store by `content`, atomically.
    pub fn replace(&self, name: &str, content: &[u8], durably: bool) -> Result<()> {
        self.put(name, &mut |file| file.write_all(content).with_context(|| "cannot write it"), 0o600, durably)
    }

    /// Replaces a world-readable file in the store by the output of `fill`, atomically; not durably.
    pub fn replace_public(&self, name: &str, fill: &mut Fill<'_>) -> Result<PathBuf> {
        self.put(name, fill, 0o644, false)?;
        Ok(self.root.join(name))
    }

    pub(super) fn put(&self, name: &str, fill: &mut Fill<'_>, mode: u32, durably: bool) -> Result<()> {
        let cannot = || format!("cannot replace {}", self.root.join(name).display());
        put(self, name, fill, mode, durably).with_context(cannot)
    }
}

/// The prefix of a release that was pruned, in the directory for unfinished files.
pub(super) const PRUNED: &str = "pruned-";

fn is_pruned(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PRUNED.as_bytes())
}

/// Writes the content of a file.
pub type Fill<'a> = dyn FnMut(&mut File) -> Result<()> + 'a;

/// Replaces a file of `store` by the output of `fill`, atomically. The caller holds the lock.
fn put(store: &StoreView, name: &str, fill: &mut Fill<'_>, mode: u32, durably: bool) -> Result<()> {
    let open = || -> io::Result<_> {
        let (to, name) = match name.split_once('/') {
            Some((sub, name)) => (store.sub(sub)?, name),
            None => (store.dir()?.clone(), name),
        };
        let (partial, new) = (store.sub(PARTIAL)?, sysfs::unique_name("")?);
        Ok((to, name, partial.create(&new)?, partial, new))
    };
    let (to, name, mut file, partial, new) = open().with_context(|| "cannot make a new one")?;
    let finish = |file: &File| -> io::Result<()> {
        if mode != 0o600 {
            sysfs::set_owner_and_mode(file, None, mode)?; // whatever the umask
        }
        if durably {
            file.sync_all()?;
        }
        partial.rename(&new, &to, name.as_ref())?;
        if durably { to.sync() } else { Ok(()) }
    };
    fill(&mut file).and_then(|()| finish(&file).with_context(|| "cannot write it")).inspect_err(|_| {
        let _ = partial.unlink(&new); // it may not exist; else the next start removes it
    })
}

/// Fails if the file system of `place`, a directory of a store, lacks room for `space` bytes and `count` more names.
pub fn check_room(space: u64, count: u64, place: &Dir) -> Result<()> {
    let (bytes, inodes) = sysfs::room(place).with_context(|| "cannot ask for free space")?;
    let short = if space > bytes {
        format!("{}, and {}", size(space), size(bytes))
    } else if let Some(free) = inodes.filter(|free| count > *free) {
        format!("{count} inodes, and {free}")
    } else {
        return Ok(());
    };
    Err(Error::failed(format!(
        "it needs {short} are free on the store's file system: store or state-dir names another place"
    )))
}

/// What fails, for messages.
pub(super) fn cannot_make(path: &Path) -> String {
    format!("cannot make the directory {}", path.display())
}

/// A new name.
pub(super) fn unique(prefix: &str) -> Result<std::ffi::OsString> {
    sysfs::unique_name(prefix).with_context(|| "cannot get random bytes")
}
