//! How a release becomes live. Every activation is idempotent, so rolling back is activating the previous release, and a
//! crash is healed by doing it again.

mod apply;
pub mod compare;
mod copy;
mod diff;
mod entries;
mod in_place;
pub mod install;
pub mod limit;
pub mod local;
pub mod locations;
mod parents;
pub mod symlink;
pub mod sync;
pub mod tree;

use std::path::{Path, PathBuf};

use self::compare::{Difference, Except, Tell};
use self::limit::Limit;
use crate::appspec::Behaviour;
use crate::error::{Context, Error, Result};
use crate::model::{ActivationMode, ReleaseId};
use crate::store::manifest::Manifest;
use crate::store::state::{Found, LiveDirectory};
use crate::store::{Release, Staging, Store};
use crate::sys::fs::Dir;

/// What stands at `<local>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveTree {
    /// Nothing.
    Absent,
    /// Our link, to this release.
    Release(ReleaseId),
    /// Another link: not ours, or to a release that is gone.
    Link(std::ffi::OsString),
    /// An empty directory.
    Empty,
    /// A directory with content.
    Directory,
    /// A file, a device.
    Other,
}

/// The way a deployment makes releases live.
#[derive(Debug)]
pub enum Activation {
    /// A link that is swapped.
    Symlink(symlink::Symlink),
    /// A directory that is kept in sync.
    InPlace(in_place::InPlace),
    /// Files over the host, as an appspec says.
    Install(install::Install),
}

/// What an activation is made from.
#[derive(Debug)]
pub struct Setup<'a> {
    /// How releases become live.
    pub mode: ActivationMode,
    /// `<local>`.
    pub local: &'a Path,
    /// Where releases lie.
    pub store: &'a Store,
    /// What an in-place deployment keeps away from.
    pub preserve: Vec<PathBuf>,
    /// What an installation does with files of others.
    pub behaviour: Behaviour,
    /// The directory that an earlier check kept in sync.
    pub live_dir: Option<LiveDirectory>,
    /// The store lies in `<local>`.
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
                Self::InPlace(in_place::InPlace::new(local, preserve, live_dir, inside))
            }
            ActivationMode::Install => Self::Install(install::Install::new(store.root(), behaviour)),
        }
    }

    /// What tells the directory that is kept in sync from another one that somebody puts in its place.
    pub fn live_dir(&self) -> Option<LiveDirectory> {
        match self {
            Self::Symlink(_) | Self::Install(_) => None,
            Self::InPlace(in_place) => in_place.live_dir(),
        }
    }

    /// Makes the directory that is kept in sync where there is none; whether it did.
    pub fn make_live_dir(&self) -> Result<bool> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(false),
            Self::InPlace(in_place) => in_place.make_dir(),
        }
    }

    /// An error where something else than what is kept in sync stands at `<local>` by now.
    pub fn refuse_another(&self) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(()),
            Self::InPlace(in_place) => in_place.refuse_another(),
        }
    }

    /// Why what stands at `<local>` is another directory than the one that was kept in sync; it has content.
    pub fn stranger(&self) -> Result<Option<String>> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(None),
            Self::InPlace(in_place) => in_place.stranger(),
        }
    }

    /// From now on what stands at `<local>` is the one that is meant.
    pub fn accept(&self) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(()),
            Self::InPlace(in_place) => in_place.accept(),
        }
    }

    /// What stands at `<local>` now.
    pub fn standing(&self) -> Result<LiveTree> {
        match self {
            Self::Symlink(link) => link.standing(),
            Self::InPlace(in_place) => in_place.standing(),
            Self::Install(_) => Ok(LiveTree::Absent), // <local> is not used
        }
    }

    /// Makes `release` live, whatever an earlier attempt left.
    pub fn activate(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.activate(&release.id),
            Self::InPlace(in_place) => in_place.make_like(release, limit, sync::mirror),
            Self::Install(install) => install.activate(release, limit),
        }
        .with_context(|| format!("cannot activate release {}", release.id))
    }

    /// Whether `release` can be made live, before anything is touched. Everything that is in the way is the error.
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

    /// Readies what was unpacked into `staging` for becoming a release. Gives what that is made of, `unpacked` before.
    pub fn finish_staging(&self, staging: &Staging, unpacked: Manifest, limit: Limit) -> Result<Manifest> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(unpacked),
            Self::Install(_) => {
                install::bundle::make_scripts_executable(staging.path())?;
                tree::manifest(staging.dir(), limit)
            }
        }
    }

    /// Remembers what the way back needs, once the state says that `release` is being activated.
    pub fn prepare(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(()),
            Self::Install(install) => {
                install.prepare(release, limit).with_context(|| format!("cannot prepare for release {}", release.id))
            }
        }
    }

    /// Makes `release` live again, which was before the deployment. What is in its way by now stays.
    pub fn reactivate(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.activate(&release.id),
            Self::InPlace(in_place) => in_place.make_like(release, limit, sync::put_back),
            Self::Install(install) => install.revert(limit),
        }
        .with_context(|| format!("cannot go back to release {}", release.id))
    }

    /// Forgets what only a deployment that is over needed; `current` is live.
    pub fn close_ledger(&self, current: Option<&ReleaseId>) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(()),
            Self::Install(install) => install.close_ledger(current).with_context(|| "cannot close the ledger"),
        }
    }

    /// Puts back what stood at `<local>` before the first deployment.
    pub fn withdraw(&self, found: &Found, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.withdraw(found),
            Self::InPlace(in_place) => in_place.withdraw(found, limit),
            Self::Install(install) => install.revert(limit),
        }
        .with_context(|| "cannot withdraw the first release")
    }

    /// Puts back what is missing of the live `release`: the link, or entries of the directory. Tells what it was.
    pub fn repair(&self, release: &Release, limit: Limit) -> Result<Option<String>> {
        match self {
            Self::Symlink(link) => link.repair(&release.id),
            Self::InPlace(in_place) => in_place.repair(release, limit),
            Self::Install(_) => Ok(None), // destinations belong to the application too
        }
        .with_context(|| "cannot repair the live tree")
    }

    /// Tells what of the live tree is not as `release`, which is made of `manifest`, would have it; `tell` takes whole paths. The
    /// release itself is looked at where it is the live tree. Gives the number of names.
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

    /// Makes the live tree what `release` has, which is whole and was live all the time.
    pub fn put_back(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.repair(&release.id).map(drop),
            Self::InPlace(_) => self.activate(release, limit),
            Self::Install(install) => install.put_back(limit),
        }
        .with_context(|| "cannot repair the live tree")
    }

    /// Whether there is something to [`Self::repair`], in words.
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

    /// What stands at `<local>` and is ours to change, before there is a release of it.
    pub fn found(&self) -> Result<Manifest> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(Manifest::default()),
            Self::InPlace(in_place) => in_place.found(),
        }
    }

    /// Copies what stands at `<local>` into `staging`, with modes, owners and times.
    pub fn keep_found(&self, staging: &Dir, limit: Limit) -> Result<Manifest> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Err(Error::failed("only in-place keeps what it found")),
            Self::InPlace(in_place) => in_place.keep_found(staging, limit),
        }
    }
}

/// Compares what lies in the directory `at`, and tells of it as `shown`.
pub fn compare_at(
    shown: &Path,
    top: std::io::Result<Dir>,
    manifest: &Manifest,
    except: Except<'_>,
    tell: &mut Tell<'_>,
) -> Result<u64> {
    let cannot = || format!("cannot verify {}", shown.display());
    let top = top.with_context(cannot)?;
    compare::compare(&top, manifest, except, &mut |path, what| tell(&shown.join(path), what)).with_context(cannot)
}

/// What stands at `<local>` instead of what should.
fn wrong_target(standing: LiveTree, not: &str) -> Difference {
    Difference::Changed(match standing {
        LiveTree::Absent => return Difference::Missing,
        LiveTree::Release(other) => format!("leads to release {other}"),
        LiveTree::Link(target) => format!("leads to {}", target.display()),
        LiveTree::Empty | LiveTree::Directory => format!("a directory, not {not}"),
        LiveTree::Other => format!("neither a link nor a directory, not {not}"),
    })
}

fn open(release: &Release) -> Result<Dir> {
    release.open().with_context(|| format!("cannot open {}", release.path.display()))
}

/// One error out of many problems: with more than one, each has a line of its own before it.
fn refusal(problems: &[String]) -> Error {
    let [first, more @ ..] = problems else { return Error::refused("nothing is wrong") };
    if more.is_empty() {
        return Error::refused(first.as_str());
    }
    problems.iter().for_each(|problem| log::error!("{problem}"));
    Error::refused(format!("{first} (and {} more, above)", more.len()))
}
