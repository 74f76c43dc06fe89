//! The releases of a store: in the making, whole, and on their way out. A name in `releases/` is complete and durable.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};
use super::{Store, cannot_make, is_there, remove, unique};
use crate::error::{Context, Error, Result, plain};
use crate::model::ReleaseId;
use crate::sys::fs::{self as sysfs, Dir};

/// The mode of a release that is being removed where it stands, and is none any more: no release has it otherwise.
const DOOMED: u32 = 0o1700;

/// A release in the making. Removed when dropped, unless [`Staging::publish`] made it a release.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    dir: Dir,
}

/// A complete, durable, immutable tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub id: ReleaseId,
    /// Its directory.
    pub path: PathBuf,
}

impl Store {
    /// A fresh, empty directory for a release in the making.
    pub fn staging(&self) -> Result<Staging> {
        let path = self.partial().join(unique("release-")?);
        fs::DirBuilder::new().mode(0o700).create(&path).context(|| cannot_make(&path))?;
        let dir = Dir::open(&path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Staging { path, dir })
    }

    /// The release `id`, when the store has it.
    pub fn release(&self, id: &ReleaseId) -> Result<Option<Release>> {
        let path = self.releases_dir().join(id);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => Ok((!is_doomed(&meta, id)).then(|| Release { id: id.clone(), path })),
            Ok(_) => Err(Error::failed(format!("{} is no directory: move it away", path.display()))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(|| format!("cannot examine {}", path.display())),
        }
    }

    /// Removes the release `id`, when it is there.
    pub fn discard(&self, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.release(id)? else { return Ok(()) };
        // Out of releases/ by one rename first: a name in there is always complete.
        let away = self.partial().join(unique("pruned-")?);
        let cannot = || format!("cannot remove {}", release.path.display());
        match fs::rename(&release.path, &away) {
            // A directory of an image's lower layer is not renamed.
            Err(e) if e.kind() == ErrorKind::CrossesDevices => doom(&release.path).context(cannot)?,
            renamed => renamed.context(cannot)?,
        }
        remove(&manifest::path(&self.root, id)).context(|| format!("cannot remove the manifest of release {id}"))?;
        remove(&away).context(|| format!("cannot remove {}", away.display()))
    }

    /// All releases, the newest first.
    pub fn releases(&self) -> Result<Vec<Release>> {
        releases(&self.root)
    }

    /// Removes releases until `keep` are left, the oldest first; `needed` are never removed and count. A copy of what was
    /// found at `<local>` is never removed either: nobody else has it.
    pub fn prune(&self, keep: usize, needed: &[&ReleaseId]) -> Result<()> {
        let distinct: BTreeSet<_> = needed.iter().collect(); // a candidate may be the previous release
        let (mut kept, mut removed) = (distinct.len(), 0_usize);
        for (release, _) in entries(&self.root)?.iter().filter(|(_, is_doomed)| *is_doomed) {
            remove(&release.path).context(|| format!("cannot remove {}", release.path.display()))?;
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
        if removed > 0 {
            let releases = self.releases_dir();
            Dir::open(&releases).and_then(|d| d.sync()).context(|| format!("cannot sync {}", releases.display()))?;
        }
        self.forget_manifests()
    }

    /// Removes manifests whose release is gone: a run was killed between the two.
    fn forget_manifests(&self) -> Result<()> {
        let dir = self.root.join(manifest::DIR);
        for entry in fs::read_dir(&dir).context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry.context(|| format!("cannot read {}", dir.display()))?;
            let path = entry.path();
            if !is_there(&self.releases_dir().join(entry.file_name()))? {
                remove(&path).context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl Release {
    /// Where the release `id` of the store at `root` is, if it is there.
    pub fn at(root: &Path, id: &ReleaseId) -> Self {
        Self { id: id.clone(), path: root.join("releases").join(id) }
    }

    /// Whether it is.
    pub fn is_there(&self) -> Result<bool> {
        is_there(&self.path)
    }

    /// The mode that its directory should have; what was adopted has the one that it was found with.
    pub fn mode(&self) -> Option<u32> {
        (!self.id.is_adopted()).then_some(0o755)
    }
}

impl Staging {
    /// The empty directory to fill.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the release `id`: everything in it on disk first, then what it is made of, then the name.
    pub fn publish(self, store: &Store, id: &ReleaseId, manifest: &Manifest) -> Result<Release> {
        let path = store.releases_dir().join(id);
        store.keep_manifest(id, manifest)?;
        let publish = || -> std::io::Result<()> {
            sync_tree(&self.dir)?;
            match fs::symlink_metadata(&path) {
                Ok(meta) if is_doomed(&meta, id) => remove(&path)?,
                _ => {} // what else may be there is not removed: the rename says so
            }
            fs::rename(&self.path, &path)?;
            Dir::open(&store.releases_dir())?.sync()
        };
        publish().context(|| format!("cannot publish {}", path.display()))?;
        std::mem::forget(self); // it is a release now
        Ok(Release { id: id.clone(), path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(e) = remove(&self.path) {
            log::warn!("cannot remove {}: {}; the next start will", self.path.display(), plain(&e));
        }
    }
}

/// The releases in the store at `root`, the newest first.
pub fn releases(root: &Path) -> Result<Vec<Release>> {
    let whole = |(release, is_doomed): (Release, bool)| (!is_doomed).then_some(release);
    Ok(entries(root)?.into_iter().filter_map(whole).collect())
}

/// What has the name of a release, the newest first, and whether it is being removed.
fn entries(root: &Path) -> Result<Vec<(Release, bool)>> {
    let dir = root.join("releases");
    let mut found = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context(|| format!("cannot read {}", dir.display())),
    };
    for entry in entries {
        let entry = entry.context(|| format!("cannot read {}", dir.display()))?;
        let meta = entry.metadata().context(|| format!("cannot examine {}", entry.path().display()))?;
        let id = entry.file_name().to_str().and_then(ReleaseId::parse);
        if let (Some(id), true) = (id, meta.is_dir()) {
            // Unpacking set it, and nothing writes to the top directory afterwards. A copy of the store keeps it.
            let is_doomed = is_doomed(&meta, &id);
            found.push(((meta.mtime(), meta.mtime_nsec()), Release { id, path: entry.path() }, is_doomed));
        }
    }
    found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    Ok(found.into_iter().map(|(_, release, is_doomed)| (release, is_doomed)).collect())
}

fn is_doomed(meta: &fs::Metadata, id: &ReleaseId) -> bool {
    meta.mode() & 0o7777 == DOOMED && !id.is_adopted() // that has the mode it was found with
}

/// Removes a release where it stands. From the first step on it is none, also after a power cut.
fn doom(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(DOOMED))?;
    Dir::open(path)?.sync()?;
    fs::remove_dir_all(path)
}

/// Waits until a tree is on disk: each file, then each directory after what is in it.
fn sync_tree(dir: &Dir) -> std::io::Result<()> {
    for name in dir.names()? {
        sync_entry(dir, &name)?;
    }
    dir.sync()
}

fn sync_entry(dir: &Dir, name: &OsStr) -> std::io::Result<()> {
    match dir.look(name)?.map(|m| m.kind) {
        Some(sysfs::Kind::Dir) => sync_tree(&dir.child(name)?),
        Some(sysfs::Kind::File) => dir.open_file(name)?.sync_all(),
        _ => Ok(()), // a link's text is its directory's business
    }
}
