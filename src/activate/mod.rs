//! Makes a release the live tree. Every activation is idempotent: rolling back activates the previous release, and a
//! run after a crash activates the release again.

mod apply;
pub mod compare;
mod copy;
mod diff;
mod entries;
mod in_place;
pub mod install;
pub mod limit;
mod live_tree;
pub mod local;
pub mod locations;
mod parents;
mod problems;
pub mod symlink;
pub mod sync;
pub mod tree;

use std::path::{Path, PathBuf};

use self::compare::{Except, Tell, compare_at};
use self::in_place::InPlace;
use self::limit::Limit;
pub use self::live_tree::LiveTree;
use self::live_tree::wrong_target;
use crate::appspec::Behaviour;
use crate::error::{Context, Error, Result};
use crate::model::{ActivationMode, ReleaseId};
use crate::store::manifest::Manifest;
use crate::store::state::{Found, LiveDirectory};
use crate::store::{Release, Staging, Store, StoreView};
use crate::sys::fs::Dir;

/// The activation of a deployment, by mode. What makes or leaves a release live takes the locked store.
#[derive(Debug)]
pub enum Activation {
    /// A link that is swapped.
    Symlink(symlink::Symlink),
    /// A directory that is kept in sync.
    InPlace(InPlace),
    /// Files installed over the host, as an appspec says.
    Install(install::Install),
}

/// The parameters of [`Activation::new`].
#[derive(Debug)]
pub struct Setup<'a> {
    /// How releases become live.
    pub mode: ActivationMode,
    /// `<local>`.
    pub local: &'a Path,
    /// The store with the releases.
    pub store: &'a StoreView,
    /// Paths that an in-place deployment never touches.
    pub preserve: Vec<PathBuf>,
    /// The default for files at a destination that no deployment installed.
    pub behaviour: Behaviour,
    /// The live directory recorded by an earlier check.
    pub live_dir: Option<LiveDirectory>,
    /// Whether the store is in `<local>`.
    pub is_store_in_local: bool,
}

impl Activation {
    /// The activation of a deployment.
    pub fn new(setup: Setup<'_>) -> Self {
        let Setup { mode, local, store, preserve, behaviour, live_dir, is_store_in_local } = setup;
        match mode {
            ActivationMode::Symlink => Self::Symlink(symlink::Symlink::new(local, store)),
            ActivationMode::InPlace => {
                let inside = is_store_in_local.then_some(store);
                Self::InPlace(InPlace::new(local, preserve, live_dir, inside))
            }
            ActivationMode::Install => Self::Install(install::Install::new(store.root(), behaviour)),
        }
    }

    fn in_place(&self) -> Option<&InPlace> {
        match self {
            Self::InPlace(in_place) => Some(in_place),
            Self::Symlink(_) | Self::Install(_) => None,
        }
    }

    /// The identity of the live directory, to notice a replacement.
    pub fn live_dir(&self) -> Option<LiveDirectory> {
        self.in_place().and_then(InPlace::live_dir)
    }

    /// Creates the live directory if it is missing; returns whether it did.
    pub fn make_live_dir(&self) -> Result<bool> {
        self.in_place().map_or(Ok(false), InPlace::make_dir)
    }

    /// Fails if the entry at `<local>` is not the live directory any more.
    pub fn refuse_another(&self) -> Result<()> {
        self.in_place().map_or(Ok(()), InPlace::refuse_another)
    }

    /// The reason why the directory at `<local>` is not the live directory, if it is another one with content.
    pub fn stranger(&self) -> Result<Option<String>> {
        self.in_place().map_or(Ok(None), InPlace::stranger)
    }

    /// Accepts the directory at `<local>` as the live directory.
    pub fn accept(&self) -> Result<()> {
        self.in_place().map_or(Ok(()), InPlace::accept)
    }

    /// Examines the entry at `<local>`.
    pub fn standing(&self) -> Result<LiveTree> {
        match self {
            Self::Symlink(link) => link.standing(),
            Self::InPlace(in_place) => in_place.standing(),
            Self::Install(_) => Ok(LiveTree::Absent), // <local> is not used
        }
    }

    /// Makes `release` live, whatever state an earlier attempt left.
    pub fn activate(&self, store: &Store, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.activate(store, &release.id),
            Self::InPlace(in_place) => in_place.make_like(release, limit, sync::mirror),
            Self::Install(install) => install.activate(store, release, limit),
        }
        .with_context(|| format!("cannot activate release {}", release.id))
    }

    /// Fails if `release` cannot be made live; changes nothing. The error lists all conflicts.
    pub fn examine(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(_) => Ok(()),
            Self::InPlace(in_place) => {
                let cannot = || format!("cannot activate release {}", release.id);
                in_place.examine(release, limit).with_context(cannot)
            }
            Self::Install(install) => {
                install.examine(release, limit).with_context(|| format!("cannot install release {}", release.id))
            }
        }
    }

    /// Prepares the tree unpacked into `staging` for publishing. Returns its manifest, which was `unpacked` before.
    pub fn finish_staging(&self, staging: &Staging, unpacked: Manifest, limit: Limit) -> Result<Manifest> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(unpacked),
            Self::Install(_) => {
                install::bundle::make_scripts_executable(staging.path())?;
                tree::manifest(staging.dir(), limit)
            }
        }
    }

    /// Records the data that rolling back needs, once the state says that `release` is being activated.
    pub fn prepare(&self, store: &Store, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(()),
            Self::Install(install) => install
                .prepare(store, release, limit)
                .with_context(|| format!("cannot prepare for release {}", release.id)),
        }
    }

    /// Makes `release` live again, which was live before the deployment. Conflicting entries stay.
    pub fn reactivate(&self, store: &Store, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.activate(store, &release.id),
            Self::InPlace(in_place) => in_place.make_like(release, limit, sync::put_back),
            Self::Install(install) => install.revert(store, limit),
        }
        .with_context(|| format!("cannot go back to release {}", release.id))
    }

    /// Removes the rollback data of a finished deployment; `current` is live.
    pub fn close_ledger(&self, store: &Store, current: Option<&ReleaseId>) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(()),
            Self::Install(install) => install.close_ledger(store, current).with_context(|| "cannot close the ledger"),
        }
    }

    /// Restores the entry that was at `<local>` before the first deployment.
    pub fn withdraw(&self, store: &Store, found: &Found, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.withdraw(store, found),
            Self::InPlace(in_place) => in_place.withdraw(found, limit),
            Self::Install(install) => install.revert(store, limit),
        }
        .with_context(|| "cannot withdraw the first release")
    }

    /// Restores the missing parts of the live `release`: the link, or entries of the directory. Returns a description
    /// of the damage.
    pub fn repair(&self, store: &Store, release: &Release, limit: Limit) -> Result<Option<String>> {
        match self {
            Self::Symlink(link) => link.repair(store, &release.id),
            Self::InPlace(in_place) => in_place.repair(release, limit),
            Self::Install(_) => Ok(None), // destinations belong to the application too
        }
        .with_context(|| "cannot repair the live tree")
    }

    /// Passes the differences between the live tree and `manifest`, the manifest of `release`, to `tell`, as full
    /// paths. With a link, the release itself is compared. Returns the number of names.
    pub fn differences(&self, release: &Release, manifest: &Manifest, tell: &mut Tell<'_>) -> Result<u64> {
        match self {
            Self::Symlink(link) => {
                let top = match link.standing()? {
                    LiveTree::Release(live) if live == release.id => link.local(),
                    standing => {
                        tell(link.local(), wrong_target(standing, "a link"));
                        &release.path
                    }
                };
                compare_at(top, release.open(), manifest, Except::default(), tell)
            }
            Self::InPlace(in_place) => in_place.differences(manifest, tell),
            Self::Install(install) => install.differences(tell),
        }
    }

    /// Brings the live tree back to `release`, which is complete and was live all the time.
    pub fn put_back(&self, store: &Store, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.repair(store, &release.id).map(drop),
            Self::InPlace(_) => self.activate(store, release, limit),
            Self::Install(install) => install.put_back(store, limit),
        }
        .with_context(|| "cannot repair the live tree")
    }

    /// A description of the damage that [`Self::repair`] would repair, if any.
    pub fn drift(&self, release: &Release) -> Result<Option<String>> {
        let text = match self {
            Self::Symlink(link) => match link.standing()? {
                LiveTree::Release(live) if live == release.id => return Ok(None),
                LiveTree::Release(_)
                | LiveTree::Absent
                | LiveTree::Link(_)
                | LiveTree::Empty
                | LiveTree::Directory
                | LiveTree::Other => "it does not point to it".to_owned(),
            },
            Self::InPlace(in_place) => return in_place.drift(release),
            Self::Install(_) => return Ok(None),
        };
        Ok(Some(text))
    }

    /// The manifest of the tree at `<local>` before the first deployment, without preserved entries.
    pub fn found(&self) -> Result<Manifest> {
        self.in_place().map_or_else(|| Ok(Manifest::default()), InPlace::found)
    }

    /// Copies the tree at `<local>` into `staging`, with modes, owners and times.
    pub fn keep_found(&self, staging: &Dir, limit: Limit) -> Result<Manifest> {
        let in_place = self.in_place().ok_or_else(|| Error::failed("only in-place keeps what it found"))?;
        in_place.keep_found(staging, limit)
    }
}
