//! The live tree is a link into `releases/`, swapped by one rename: whoever resolves it sees the old or the new release,
//! complete, at every instant.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Standing;
use crate::error::{Context, Error, Result, plain};
use crate::model::ReleaseId;
use crate::store::make_dirs;
use crate::store::state::Found;
use crate::sys::fs::{Dir, unique_name};

/// The link at `<local>`.
#[derive(Debug)]
pub struct Symlink {
    local: PathBuf,
    store: PathBuf,
}

impl Symlink {
    /// A link at `local` into the store at `store`.
    pub fn new(local: &Path, store: &Path) -> Self {
        Self { local: local.to_owned(), store: store.to_owned() }
    }

    /// Where it is.
    pub fn local(&self) -> &Path {
        &self.local
    }

    /// What stands at `<local>`.
    pub fn standing(&self) -> Result<Standing> {
        standing(&self.local, Some(&self.store.join("releases")))
    }

    /// Points the link to `release`, durably.
    pub fn activate(&self, release: &ReleaseId) -> Result<()> {
        if self.standing()? == Standing::Release(release.clone()) {
            // A crash may have come between the rename and its sync.
            return self.sync_parent();
        }
        self.point_to(self.text(release).as_os_str())
    }

    /// Puts back what a first deployment found.
    pub fn withdraw(&self, found: &Found) -> Result<()> {
        if let Found::Link(target) = found {
            return self.point_to(target);
        }
        match fs::symlink_metadata(&self.local) {
            Ok(meta) if meta.is_symlink() => {
                fs::remove_file(&self.local).context(|| format!("cannot remove {}", self.local.display()))?;
            }
            _ => {} // it was never made
        }
        if *found == Found::Empty && !self.local.exists() {
            make_dirs(&self.local)?;
        }
        self.sync_parent()
    }

    /// Points the link to `release` again when it does not; tells what stood there.
    pub fn repair(&self, release: &ReleaseId) -> Result<Option<String>> {
        let local = self.local.display();
        let was = match self.standing()? {
            Standing::Release(live) if live == *release => return Ok(None),
            Standing::Absent => format!("{local} was gone"),
            Standing::Release(other) => format!("{local} pointed to release {other}"),
            Standing::Link(target) => format!("{local} pointed to {}", target.to_string_lossy()),
            Standing::Empty => format!("{local} was an empty directory"),
            Standing::Directory | Standing::Other => {
                return Err(Error::config(format!(
                    "{local} is no link any more, somebody put something else there: move it away, and the next check puts the link back; or say activation = in-place"
                )));
            }
        };
        self.point_to(self.text(release).as_os_str())?;
        Ok(Some(was))
    }

    /// The link's text: relative where store and link lie side by side, so that one shared volume may be mounted anywhere.
    fn text(&self, release: &ReleaseId) -> PathBuf {
        let base = match (self.store.parent(), self.store.file_name()) {
            (Some(parent), Some(name)) if Some(parent) == self.local.parent() => Path::new(name),
            _ => self.store.as_path(),
        };
        base.join("releases").join(release)
    }

    /// Makes the link under a name that nothing has and renames it over the old one: a fixed name would wedge the next
    /// start after a kill between the two calls.
    fn point_to(&self, target: &OsStr) -> Result<()> {
        let parent = self.parent()?;
        make_dirs(parent)?;
        let made = self.link_from(&self.store.join("partial"), target);
        match made {
            // The store lies on another file system: make the link beside <local>.
            Err(e) if e.kind() == ErrorKind::CrossesDevices => self.link_from(parent, target),
            made => made,
        }
        .map_err(|e| match e.kind() {
            ErrorKind::ResourceBusy => {
                std::io::Error::other("it is a mount point: say activation = in-place, or unmount it")
            }
            _ => e,
        })
        .context(|| format!("cannot link {} to {}", self.local.display(), target.to_string_lossy()))?;
        self.sync_parent()
    }

    fn link_from(&self, dir: &Path, target: &OsStr) -> std::io::Result<()> {
        let temporary = dir.join(unique_name(".repo-deploy-")?);
        std::os::unix::fs::symlink(target, &temporary)?;
        let renamed = match fs::rename(&temporary, &self.local) {
            // An empty directory gives way; one with content does not, and stays.
            Err(e) if e.kind() == ErrorKind::IsADirectory => {
                fs::remove_dir(&self.local).and_then(|()| fs::rename(&temporary, &self.local))
            }
            renamed => renamed,
        };
        if renamed.is_err()
            && let Err(e) = fs::remove_file(&temporary)
        {
            log::warn!("cannot remove {}: {}", temporary.display(), plain(&e));
        }
        renamed
    }

    fn parent(&self) -> Result<&Path> {
        self.local.parent().ok_or_else(|| Error::config("local is /"))
    }

    fn sync_parent(&self) -> Result<()> {
        let parent = self.parent()?;
        Dir::open(parent).and_then(|d| d.sync()).context(|| format!("cannot sync {}", parent.display()))
    }
}

/// What stands at `local`; a link is a release's only when it points into `releases` and the release is there.
pub fn standing(local: &Path, releases: Option<&Path>) -> Result<Standing> {
    let examine = || format!("cannot examine {}", local.display());
    let meta = match fs::symlink_metadata(local) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Standing::Absent),
        Err(e) => return Err(e).context(examine),
    };
    if meta.is_symlink() {
        let text = fs::read_link(local).context(examine)?.into_os_string();
        let release = releases.and_then(|releases| points_to(local, &text, releases));
        return Ok(release.map_or(Standing::Link(text), Standing::Release));
    }
    if meta.is_dir() {
        let mut entries = fs::read_dir(local).context(examine)?;
        return Ok(if entries.next().is_none() { Standing::Empty } else { Standing::Directory });
    }
    Ok(Standing::Other)
}

/// The release that the link `local` with this text leads to, when it is complete.
fn points_to(local: &Path, text: &OsString, releases: &Path) -> Option<ReleaseId> {
    let target = local.parent()?.join(text);
    let id = target.file_name()?.to_str().and_then(ReleaseId::parse)?;
    let dir = fs::canonicalize(target.parent()?).ok()?;
    (dir == fs::canonicalize(releases).ok()? && target.is_dir()).then_some(id)
}
