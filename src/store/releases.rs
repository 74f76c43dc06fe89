//! The releases of a store: being unpacked, published, and being removed. A name in `releases/` is complete and
//! durable.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use super::directory::{PRUNED, Store, StoreView, cannot_make, unique};
use super::manifest::{self, Extent, Manifest};
use super::open_dirs::{MANIFESTS, OpenDirs, PARTIAL, RELEASES};
use crate::error::{Context, Error, Result, plain};
use crate::model::{Owner, ReleaseId};
use crate::sys::durable::{self, Rest};
use crate::sys::fs::{Dir, Kind, Meta};
use crate::sys::log;
use crate::sys::resolve::{self, Fault};
use crate::sys::sort::sort;
use crate::sys::trust::Us;

/// The mode that marks a release as being removed in place, and so not a release any more: no other release has it.
const DOOMED: u32 = 0o1700;

/// A release to clone files from.
#[derive(Debug)]
pub struct Original {
    /// Its tree.
    pub top: Dir,
    /// Its entries when it was published.
    pub manifest: Manifest,
    /// When it was published: a ctime from then on is that of a change since.
    pub published: (i64, i64),
}

/// A release being unpacked. Removed when dropped, unless [`Staging::publish`] made it a release.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    name: OsString,
    dir: Dir,
    partial: Rc<Dir>,
}

/// A complete, durable, immutable tree.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its name.
    pub id: ReleaseId,
    /// Its directory, for hooks and messages; [`Release::open`] opens it.
    pub path: PathBuf,
    store: Option<Rc<Dir>>,
}

impl StoreView {
    /// The release `id`, if the store has it.
    pub fn release(&self, id: &ReleaseId) -> Result<Option<Release>> {
        let release = self.release_at(id);
        let found = self.releases_dir().and_then(|releases| releases.look(name(id)));
        match found {
            Ok(Some(meta)) if meta.kind == Kind::Dir => Ok((!is_doomed(&meta, id)).then_some(release)),
            Ok(Some(_)) => Err(Error::failed(format!("{} is no directory: move it away", release.path.display()))),
            Ok(None) => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot examine {}", release.path.display())),
        }
    }

    /// The release `id`, which need not exist.
    pub fn release_at(&self, id: &ReleaseId) -> Release {
        let path = self.root().join(RELEASES).join(id);
        Release { id: id.clone(), path, store: self.dir().ok().cloned() }
    }

    /// Opens the directory of releases.
    pub fn releases_dir(&self) -> io::Result<Rc<Dir>> {
        self.sub(RELEASES)
    }

    /// The release `id`, to clone files from; `None` without a valid manifest.
    pub fn original(&self, id: &ReleaseId) -> Option<Original> {
        // Written once its tree was complete, by this program only: no other user may enter the directory.
        let manifest = self.sub(MANIFESTS).and_then(|dir| dir.look(name(id))).ok()??;
        let top = self.release_at(id).open().ok()?;
        Some(Original { top, manifest: manifest::read(self, id)?, published: manifest.mtime })
    }

    /// All releases, the newest first.
    pub fn releases(&self) -> Result<Vec<Release>> {
        let whole = |(release, is_doomed): (Release, bool)| (!is_doomed).then_some(release);
        Ok(self.entries()?.into_iter().filter_map(whole).collect())
    }

    /// All entries with the name of a release, the newest first, and whether each is being removed.
    fn entries(&self) -> Result<Vec<(Release, bool)>> {
        let list = || -> io::Result<Vec<(ReleaseId, Meta)>> {
            let releases = self.releases_dir()?;
            let mut found = Vec::new();
            for name in releases.names()? {
                let Some(id) = name.to_str().and_then(ReleaseId::parse) else { continue };
                if let Some(meta) = releases.look(&name)?.filter(|meta| meta.kind == Kind::Dir) {
                    found.push((id, meta));
                }
            }
            Ok(found)
        };
        let mut found = match list() {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            found => found.with_context(|| self.cannot_list())?,
        };
        // Unpacking sets the time, and nothing writes to the top directory afterwards. A copy of the store keeps it.
        sort(&mut found, &mut |a, b| b.1.mtime.cmp(&a.1.mtime).then_with(|| a.0.cmp(&b.0)));
        Ok(found.into_iter().map(|(id, meta)| (self.release_at(&id), is_doomed(&meta, &id))).collect())
    }

    fn cannot_list(&self) -> String {
        format!("cannot read {}", self.root().join(RELEASES).display())
    }
}

impl Store {
    /// Creates an empty directory for a new release.
    pub fn staging(&self) -> Result<Staging> {
        let name = unique("release-")?;
        let path = self.root().join(PARTIAL).join(&name);
        let make = || -> io::Result<(Dir, Rc<Dir>)> {
            let partial = self.sub(PARTIAL)?;
            Ok((partial.make_child(&name, None, 0o700)?, partial))
        };
        let (dir, partial) = make().with_context(|| cannot_make(&path))?;
        Ok(Staging { path, name, dir, partial })
    }

    /// Removes the release `id`, if it exists: it is gone, and its content will be, by
    /// [`remove_pruned`](super::StoreView::remove_pruned).
    pub fn discard(&self, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.release(id)? else { return Ok(()) };
        let away = unique(PRUNED)?;
        let discard = || -> io::Result<()> {
            let (releases, partial) = (self.releases_dir()?, self.sub(PARTIAL)?);
            // First moved out of releases/ by one rename: a name there is always complete.
            match releases.rename(name(id), &partial, &away) {
                // A directory of a lower image layer cannot be renamed.
                Err(e) if e.kind() == ErrorKind::CrossesDevices => doom(&releases, name(id))?,
                renamed => {
                    renamed?;
                    self.has_pruned.set(true);
                }
            }
            self.sub(MANIFESTS)?.remove_all(name(id))
        };
        discard().with_context(|| format!("cannot remove {}", release.path.display()))
    }

    /// Removes releases until `keep` are left, the oldest first. Releases in `needed` count, but are never removed; nor
    /// is an adopted tree, which is the only copy.
    pub fn prune(&self, keep: usize, needed: &[&ReleaseId]) -> Result<()> {
        // A candidate may be the previous release.
        let distinct = needed.iter().enumerate().filter(|(n, id)| !needed[..*n].contains(id)).count();
        let (mut kept, mut removed) = (distinct, 0_usize);
        for (release, _) in self.entries()?.iter().filter(|(_, is_doomed)| *is_doomed) {
            let removed = self.releases_dir().and_then(|releases| releases.remove_all(name(&release.id)));
            removed.with_context(|| format!("cannot remove {}", release.path.display()))?;
        }
        for release in self.releases()? {
            if needed.contains(&&release.id) || release.id.is_adopted() {
                continue;
            }
            if kept < keep {
                kept += 1;
                continue;
            }
            self.discard(&release.id)?;
            removed += 1;
            log::debug!("pruned release {}", release.id);
        }
        let releases = self.releases_dir().with_context(|| self.cannot_list())?;
        if removed > 0 {
            releases.sync().with_context(|| format!("cannot sync {}", self.root().join(RELEASES).display()))?;
        }
        self.forget_manifests(&releases).with_context(|| "cannot remove the manifests of releases that are gone")
    }

    /// Removes manifests without a release: a run was killed between the two removals.
    fn forget_manifests(&self, releases: &Dir) -> io::Result<()> {
        let manifests = self.sub(MANIFESTS)?;
        for name in manifests.names()? {
            if releases.look(&name)?.is_none() {
                manifests.remove_all(&name)?;
            }
        }
        Ok(())
    }
}

/// Fails if another user may have made a release of the store in `dir`, at `path`. Each release must belong to this
/// process's user or to `owner`, or have a manifest of this process's user: then it was given to a former owner, or
/// adopted.
pub(super) fn judge(dir: &Dir, subs: &OpenDirs, path: &Path, owner: Option<Owner>) -> Result<(), Fault> {
    let sub = |name: &str| match subs.open(dir, name) {
        Ok(dir) => Ok(Some(dir)),
        // A user who may not read it may not read the state either.
        Err(e) if [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&e.kind()) => Ok(None),
        Err(e) => Err(Fault::Io(e)),
    };
    let Some(manifests) = sub(MANIFESTS)? else { return Ok(()) };
    resolve::judge_names(&manifests, &path.join(MANIFESTS), Us::with(None), &mut |_, _| ())?;
    let Some(releases) = sub(RELEASES)? else { return Ok(()) };
    let us = Us::with(owner.map(|owner| (owner.uid, owner.gid)));
    for name in releases.names()? {
        let path = path.join(RELEASES).join(&name);
        match resolve::judge_dir(&releases, &name, &path, us) {
            Err(Fault::Untrusted(why)) if manifests.look(&name)?.is_none() => return Err(Fault::Untrusted(why)),
            Err(Fault::Io(e)) if e.kind() != ErrorKind::NotFound => return Err(Fault::Io(e)),
            _ => {}
        }
    }
    Ok(())
}

fn name(id: &ReleaseId) -> &OsStr {
    OsStr::new(id.as_str())
}

impl Release {
    /// Opens its directory.
    pub fn open(&self) -> io::Result<Dir> {
        self.store.as_ref().ok_or(ErrorKind::NotFound)?.child(RELEASES.as_ref())?.child(name(&self.id))
    }

    /// Whether it exists.
    pub fn is_there(&self) -> Result<bool> {
        match self.open() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).with_context(|| format!("cannot examine {}", self.path.display())),
        }
    }

    /// The mode that its directory must have; `None` for an adopted tree, which keeps its own.
    pub fn mode(&self) -> Option<u32> {
        (!self.id.is_adopted()).then_some(0o755)
    }
}

impl Staging {
    /// The empty directory to fill.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the release `id`: writes its manifest, syncs that with its content, then renames it to its name.
    pub fn publish(self, store: &Store, id: &ReleaseId, manifest: &Manifest) -> Result<Release> {
        let release = store.release_at(id);
        store.write_manifest(id, manifest, false)?;
        let Extent { entries, bytes, .. } = manifest.extent()?;
        let publish = || -> io::Result<()> {
            let started = Instant::now();
            let rest = durable::sync(&self.dir, entries, bytes)?;
            if rest != Rest::Nothing {
                sync_tree(&self.dir, rest)?;
                let manifests = store.sub(MANIFESTS)?;
                rest.finish_file(&manifests.open_file(name(id))?)?;
                rest.finish_dir(&manifests)?;
            }
            let s = if entries == 1 { "y" } else { "ies" };
            log::debug!("synced {entries} entr{s} {rest} in {} ms", started.elapsed().as_millis());
            let releases = store.releases_dir()?;
            match releases.look(name(id))? {
                Some(meta) if is_doomed(&meta, id) => releases.remove_all(name(id))?,
                _ => {} // another entry is not removed: the rename fails
            }
            self.partial.rename(&self.name, &releases, name(id))?;
            releases.sync()
        };
        publish().with_context(|| format!("cannot publish {}", release.path.display()))?;
        std::mem::forget(self); // published: not to be removed
        Ok(release)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(e) = self.partial.remove_all(&self.name) {
            log::warn!("cannot remove {}: {}; the next start will", self.path.display(), plain(&e));
        }
    }
}

fn is_doomed(meta: &Meta, id: &ReleaseId) -> bool {
    meta.mode == DOOMED && !id.is_adopted() // an adopted tree keeps its own mode
}

/// Removes a release in place. From the first step on it is no release, even after a power failure.
fn doom(releases: &Dir, name: &OsStr) -> io::Result<()> {
    releases.set_dir_mode(name, DOOMED)?;
    releases.child(name)?.sync()?;
    releases.remove_all(name)
}

/// Makes a tree durable: each directory after its entries.
fn sync_tree(dir: &Dir, rest: Rest) -> io::Result<()> {
    for name in dir.names()? {
        match dir.look(&name)?.map(|meta| meta.kind) {
            Some(Kind::Dir) => sync_tree(&dir.child(&name)?, rest)?,
            Some(Kind::File) => rest.finish_file(&dir.open_file(&name)?)?,
            Some(Kind::Link | Kind::Other) | None => {} // a link is synced with its directory
        }
    }
    rest.finish_dir(dir)
}
