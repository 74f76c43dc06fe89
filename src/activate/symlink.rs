//! The live tree is a link into `releases/`, replaced by one rename: at every instant it resolves to the old or the new
//! release, complete.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::live_tree::LiveTree;
use super::local::Local;
use crate::error::{Context, Error, Result, plain};
use crate::model::ReleaseId;
use crate::store::state::Found;
use crate::store::{Store, StoreView};
use crate::sys::fs::{Dir, Kind, unique_name};
use crate::sys::resolve::{self, Place, Way};
use crate::sys::trust::{self, Us};

/// The link at `<local>`.
#[derive(Debug)]
pub struct Symlink {
    local: Local,
    /// Prefix of the link's target.
    base: PathBuf,
    /// The store, and its `releases/`.
    store: Option<Rc<Dir>>,
    releases: Option<Rc<Dir>>,
}

impl Symlink {
    /// A link at `local` into `store`.
    pub fn new(local: &Path, store: &StoreView) -> Self {
        // Relative if store and link are in the same directory, so that one shared volume may be mounted anywhere.
        let base = match (store.root().parent(), store.root().file_name()) {
            (Some(parent), Some(name)) if Some(parent) == local.parent() => PathBuf::from(name),
            _ => store.root().to_owned(),
        };
        Self { local: Local::new(local), base, store: store.dir().ok().cloned(), releases: store.releases_dir().ok() }
    }

    /// The path of the link.
    pub fn local(&self) -> &Path {
        self.local.path()
    }

    /// Examines the entry at `<local>`. A link counts as a release's only if the release exists and no other user owns
    /// the link.
    pub fn standing(&self) -> Result<LiveTree> {
        let Some(place) = self.local.place()? else { return Ok(LiveTree::Absent) };
        let Some(meta) = place.meta else { return Ok(LiveTree::Absent) };
        let examine = || format!("cannot examine {}", self.local().display());
        Ok(match meta.kind {
            Kind::Link => {
                let text = place.dir.read_link(&place.name).with_context(examine)?;
                let is_ours = trust::link(meta.uid, Us::with(None)).is_none();
                let release = if is_ours { self.leads_to(&text, &place) } else { None };
                release.map_or(LiveTree::Link(text), LiveTree::Release)
            }
            Kind::Dir if self.local.is_empty(&self.local.open()?, &[])? => LiveTree::Empty,
            Kind::Dir => LiveTree::Directory,
            Kind::File | Kind::Other => LiveTree::Other,
        })
    }

    /// The release that a link with this target leads to, if it exists.
    fn leads_to(&self, text: &OsStr, place: &Place) -> Option<ReleaseId> {
        let target = self.local().parent()?.join(text);
        let (name, releases) = (target.file_name()?, self.releases.as_ref()?);
        let id = name.to_str().and_then(ReleaseId::parse)?;
        let is_there = releases.look(name).ok()?.is_some_and(|meta| meta.kind == Kind::Dir);
        let inode = |dir: &Dir| Some(dir.meta().ok()?.inode());
        let is_same = if self.base.is_relative() && self.text(&id).as_os_str() == text {
            // As this program makes it beside its store.
            place.dir.look(self.base.as_os_str()).ok()??.inode() == inode(self.store.as_ref()?)?
        } else {
            // A relative one without links is found from here.
            let dir = match place.dir.descend(Path::new(text).parent()?) {
                Ok(dir) => dir,
                Err(_) => resolve::open_dir(target.parent()?, Way::Any).ok()?,
            };
            inode(&dir)? == inode(releases)?
        };
        (is_same && is_there).then_some(id)
    }

    /// Points the link to `release`, durably.
    pub fn activate(&self, store: &Store, release: &ReleaseId) -> Result<()> {
        if self.standing()? == LiveTree::Release(release.clone()) {
            // An earlier run may have crashed between the rename and its sync.
            return self.sync(&self.local.make_place()?);
        }
        self.point_to(store, self.text(release).as_os_str())
    }

    /// Restores the entry that the first deployment found.
    pub fn withdraw(&self, store: &Store, found: &Found) -> Result<()> {
        if let Found::Link(target) = found {
            return self.point_to(store, target);
        }
        let place = self.local.make_place()?;
        let is = |kind: Kind| place.meta.is_some_and(|meta| meta.kind == kind);
        if is(Kind::Link) {
            place.dir.unlink(&place.name).with_context(|| format!("cannot remove {}", self.local().display()))?;
        } // else it was never made
        if *found == Found::Empty && (place.meta.is_none() || is(Kind::Link)) {
            self.local.make_dir()?;
        }
        self.sync(&place)
    }

    /// Points the link to `release` if it does not; returns a description of the former entry.
    pub fn repair(&self, store: &Store, release: &ReleaseId) -> Result<Option<String>> {
        let local = self.local().display();
        let was = match self.standing()? {
            LiveTree::Release(live) if live == *release => return Ok(None),
            LiveTree::Absent => format!("{local} was gone"),
            LiveTree::Release(other) => format!("{local} pointed to release {other}"),
            LiveTree::Link(target) => format!("{local} pointed to {}", target.to_string_lossy()),
            LiveTree::Empty => format!("{local} was an empty directory"),
            LiveTree::Directory | LiveTree::Other => {
                return Err(Error::config(format!(
                    "{local} is no link any more: something else was put there: move it away, and the next check puts the link back; or say activation = in-place"
                )));
            }
        };
        self.point_to(store, self.text(release).as_os_str())?;
        Ok(Some(was))
    }

    /// The link's target.
    fn text(&self, release: &ReleaseId) -> PathBuf {
        self.base.join("releases").join(release)
    }

    /// Creates the link under a unique name and renames it over the old one. A fixed name would still be taken after a
    /// kill between the two calls, and block the next start.
    fn point_to(&self, store: &Store, target: &OsStr) -> Result<()> {
        let place = self.local.make_place()?;
        match store.partial().and_then(|partial| link_from(&partial, target, &place)) {
            // The store is on another file system: create the link beside <local>.
            Err(e) if e.kind() == ErrorKind::CrossesDevices => link_from(&place.dir, target, &place),
            made => made,
        }
        .map_err(|e| match e.kind() {
            ErrorKind::ResourceBusy => {
                io::Error::other("it is a mount point: say activation = in-place, or unmount it")
            }
            _ => e,
        })
        .with_context(|| format!("cannot link {} to {}", self.local().display(), target.to_string_lossy()))?;
        self.sync(&place)
    }

    fn sync(&self, place: &Place) -> Result<()> {
        place.dir.sync().with_context(|| format!("cannot sync the directory of {}", self.local().display()))
    }
}

/// Creates the link in `dir`, and renames it to `place`.
fn link_from(dir: &Dir, target: &OsStr, place: &Place) -> io::Result<()> {
    let temporary: OsString = unique_name(".repo-deploy-")?;
    dir.symlink(target, &temporary)?;
    let renamed = match dir.rename(&temporary, &place.dir, &place.name) {
        // rename(2) of a link does not replace a directory. An empty one is removed; one with content stays.
        Err(e) if e.kind() == ErrorKind::IsADirectory => {
            place.dir.remove_dir(&place.name).and_then(|()| dir.rename(&temporary, &place.dir, &place.name))
        }
        renamed => renamed,
    };
    if renamed.is_err()
        && let Err(e) = dir.unlink(&temporary)
    {
        log::warn!("cannot remove {} beside {}: {}", temporary.display(), place.path.display(), plain(&e));
    }
    renamed
}
