//! A real directory that is kept in sync with the live release.
//!
//! The directory is identified by its inode, not by its path, from the first time it is examined. Another directory put
//! in its place, during a check or between two, is neither emptied nor filled.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::compare::{Difference, Except, Tell, compare_at};
use super::limit::Limit;
use super::live_tree::{LiveTree, wrong_target};
use super::local::Local;
use super::{apply, sync, tree};
use crate::error::{Context, Error, Result};
use crate::store::manifest::Manifest;
use crate::store::state::{Found, LiveDirectory};
use crate::store::{Release, StoreView};
use crate::sys::fs::{Dir, Identity, Kind};
use crate::sys::log;

/// Makes the directory at `<local>` like a release.
#[derive(Debug)]
pub struct InPlace {
    local: Local,
    options: sync::Options,
    meant: RefCell<Meant>,
    /// The store in the directory, with its name there. It identifies the directory, so that nothing is recorded in the
    /// state.
    store: Option<(OsString, Rc<Dir>)>,
}

/// The identity that the live directory must have. An empty directory may always take its place: it has no data to
/// lose.
#[derive(Clone, Debug)]
enum Meant {
    /// Any directory: none examined yet.
    Any,
    /// Only an empty directory: there was none at first.
    Empty,
    /// This directory.
    This(LiveDirectory),
}

/// [`sync::mirror`], or [`sync::put_back`].
type Sync = fn(&Dir, &Dir, &sync::Options, Limit) -> Result<apply::Changes>;

impl InPlace {
    /// `inside`: the store, if it is in the directory.
    pub(super) fn new(
        local: &Path,
        preserve: Vec<PathBuf>,
        known: Option<LiveDirectory>,
        inside: Option<&StoreView>,
    ) -> Self {
        let meant = known.filter(|_| inside.is_none()).map_or(Meant::Any, Meant::This);
        let named = |store: &StoreView| Some((store.root().file_name()?.to_owned(), Rc::clone(store.dir().ok()?)));
        Self {
            local: Local::new(local),
            options: sync::Options { preserve },
            meant: RefCell::new(meant),
            store: inside.and_then(named),
        }
    }

    fn path(&self) -> &Path {
        self.local.path()
    }

    /// The identity of the live directory, to be recorded in the state.
    pub(super) fn live_dir(&self) -> Option<LiveDirectory> {
        match &*self.meant.borrow() {
            Meant::This(known) if self.store.is_none() => Some(known.clone()),
            Meant::This(_) | Meant::Any | Meant::Empty => None,
        }
    }

    pub(super) fn standing(&self) -> Result<LiveTree> {
        let kind = self.local.meta()?.map(|meta| meta.kind);
        Ok(match kind {
            None => {
                self.meant.replace_with(|meant| match meant {
                    Meant::Any => Meant::Empty,
                    Meant::Empty | Meant::This(_) => meant.clone(),
                });
                LiveTree::Absent
            }
            Some(Kind::Link) => LiveTree::Link(OsString::new()),
            Some(Kind::Dir) => {
                let dir = self.local.open()?;
                self.stranger_in(&dir)?; // takes the identity of a first directory
                if self.is_empty(&dir)? { LiveTree::Empty } else { LiveTree::Directory }
            }
            Some(Kind::File | Kind::Other) => LiveTree::Other,
        })
    }

    /// Whether the directory is empty apart from the store and, with it, preserved names.
    fn is_empty(&self, dir: &Dir) -> Result<bool> {
        let ours = if self.store.is_some() { &*self.options.preserve } else { &[] };
        self.local.is_empty(dir, ours)
    }

    /// The reason why the directory at `<local>` is not the live directory.
    pub(super) fn stranger(&self) -> Result<Option<String>> {
        if self.local.is_dir()? { self.stranger_in(&self.local.open()?) } else { Ok(None) }
    }

    /// The same for an open directory, which becomes the live directory if it may.
    fn stranger_in(&self, dir: &Dir) -> Result<Option<String>> {
        let now = self.identity(dir)?;
        let Identity { device, inode, .. } = now.identity;
        let is = format!("another directory (inode {inode} of device {device}) than");
        if !self.has_store(dir)? {
            return Ok(Some(format!("{is} the one that the store lies in")));
        }
        let meant = self.meant.borrow().clone();
        match meant {
            Meant::This(known) if now.is(&known) => {}
            Meant::Any => {}
            Meant::Empty | Meant::This(_) if self.is_empty(dir)? => {}
            Meant::Empty => return Ok(Some(format!("{is} an empty one, which came in the middle of this check"))),
            Meant::This(LiveDirectory { identity: Identity { device, inode, .. }, .. }) => {
                let was = format!("the one that was deployed to (inode {inode} of device {device})");
                return Ok(Some(format!("{is} {was}, and not empty")));
            }
        }
        self.meant.replace(Meant::This(now));
        Ok(None)
    }

    fn has_store(&self, dir: &Dir) -> Result<bool> {
        let Some((name, store)) = &self.store else { return Ok(true) };
        let is_it = || io::Result::Ok(dir.look(name)?.map(|meta| meta.inode()) == Some(store.meta()?.inode()));
        is_it().with_context(|| format!("cannot examine {}", self.path().join(name).display()))
    }

    fn identity(&self, dir: &Dir) -> Result<LiveDirectory> {
        let identity = Identity::of(dir).with_context(|| format!("cannot examine {}", self.path().display()))?;
        Ok(LiveDirectory::now(identity))
    }

    /// Accepts the directory at `<local>` as the live directory.
    pub(super) fn accept(&self) -> Result<()> {
        let now = self.identity(&self.local.open()?)?;
        self.meant.replace(Meant::This(now));
        Ok(())
    }

    /// Fails if the entry at `<local>` is not the live directory. A missing entry is fine.
    pub(super) fn refuse_another(&self) -> Result<()> {
        match self.local.meta()?.map(|meta| meta.kind) {
            None => Ok(()),
            Some(Kind::Dir) => self.open().map(drop),
            Some(Kind::Link | Kind::File | Kind::Other) => Err(Error::config(format!(
                "drift: {} is no directory any more: put the directory back that was deployed to",
                self.path().display()
            ))),
        }
    }

    /// Opens the live directory.
    fn open(&self) -> Result<Dir> {
        let dir = self.local.open()?;
        self.judge(&dir).map(|()| dir)
    }

    fn judge(&self, dir: &Dir) -> Result<()> {
        let Some(why) = self.stranger_in(dir)? else { return Ok(()) };
        let local = self.path().display();
        Err(Error::config(format!(
            "drift: {local} is {why}; nothing in it is touched: put the right one back, or move this one away, or `repo-deploy verify --repair` takes this one and keeps a copy of what is in it"
        )))
    }

    /// Opens the directory while `release` is live. A directory with exactly the content of the release is accepted: a
    /// copy of the live directory in another image, or restored from a backup.
    fn open_for(&self, release: &Release, limit: Limit) -> Result<Dir> {
        let dir = self.local.open()?;
        if self.stranger_in(&dir)?.is_some() && sync::is_like(&open(release)?, &dir, &self.options, limit)? {
            self.meant.replace(Meant::This(self.identity(&dir)?));
        }
        self.judge(&dir).map(|()| dir)
    }

    /// Creates the directory if it is missing; returns whether it did.
    pub(super) fn make_dir(&self) -> Result<bool> {
        let is_new = self.local.make_dir()?;
        // Accepts a replacement while it is still empty; opening another one fails later.
        self.stranger().map(|_| is_new)
    }

    /// Makes the live directory like `release`, by `what`.
    pub(super) fn make_like(&self, release: &Release, limit: Limit, what: Sync) -> Result<()> {
        let done = what(&open(release)?, &self.open()?, &self.options, limit)
            .with_context(|| format!("at {}", self.path().display()))?;
        log::debug!("in-place: {done}");
        Ok(())
    }

    pub(super) fn examine(&self, release: &Release, limit: Limit) -> Result<()> {
        if self.local.meta()?.is_none() {
            return Ok(());
        }
        let (from, live) = (open(release)?, self.open()?);
        sync::examine(&from, &live, &self.options, limit).with_context(|| format!("at {}", self.path().display()))
    }

    pub(super) fn withdraw(&self, found: &Found, limit: Limit) -> Result<()> {
        if self.local.meta()?.is_none() {
            return Ok(());
        }
        sync::clear(&self.open()?, &self.options, limit)?;
        if *found == Found::Absent {
            let place = self.local.make_place()?;
            // It stays if it holds a preserved entry.
            match place.dir.remove_dir(&place.name) {
                Err(e) if e.kind() != ErrorKind::DirectoryNotEmpty => {
                    return Err(e).with_context(|| format!("cannot remove {}", self.path().display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn repair(&self, release: &Release, limit: Limit) -> Result<Option<String>> {
        let restored = sync::restore(&open(release)?, &self.open_for(release, limit)?, &self.options, limit)?;
        let apply::Changes { first: Some(first), written, .. } = restored else { return Ok(None) };
        let (local, first) = (self.path().display(), first.display());
        Ok(Some(match written {
            1 => format!("1 entry of {local} was missing ({first})"),
            more => format!("{more} entries of {local} were missing, the first {first}"),
        }))
    }

    /// A description of the damage that [`Self::repair`] would repair, if any.
    pub(super) fn drift(&self, release: &Release) -> Result<Option<String>> {
        if self.local.meta()?.is_none() {
            return Ok(Some("it is gone".to_owned()));
        }
        let limit = Limit::SIGNALS;
        let lacks = sync::lacks(&open(release)?, &self.open_for(release, limit)?, &self.options, limit)?;
        Ok(lacks.map(|path| format!("it lacks {}", path.display())))
    }

    pub(super) fn differences(&self, manifest: &Manifest, tell: &mut Tell<'_>) -> Result<u64> {
        match self.standing()? {
            LiveTree::Empty | LiveTree::Directory => {}
            standing => {
                tell(self.path(), wrong_target(standing, "a directory"));
                return Ok(1);
            }
        }
        let dir = self.local.open()?;
        let except = Except { names: &self.options.preserve, strangers: true };
        let stranger = self.stranger_in(&dir)?;
        let mut is_like = true;
        let count = compare_at(self.path(), Ok(dir), manifest, except, &mut |path, difference| {
            is_like = false;
            tell(path, difference);
        })?;
        if let Some(why) = stranger.filter(|_| !is_like) {
            tell(self.path(), Difference::Changed(why));
        }
        Ok(count)
    }

    /// The manifest of the directory before the first deployment, without preserved entries.
    pub(super) fn found(&self) -> Result<Manifest> {
        tree::manifest_without(&self.open()?, &self.options.preserve, Limit::SIGNALS)
    }

    /// Copies the directory into `staging`, with modes, owners and times.
    pub(super) fn keep_found(&self, staging: &Dir, limit: Limit) -> Result<Manifest> {
        sync::copy_tree(&self.open()?, staging, &self.options, limit)?;
        tree::manifest(staging, limit)
    }
}

fn open(release: &Release) -> Result<Dir> {
    release.open().with_context(|| format!("cannot open {}", release.path.display()))
}
