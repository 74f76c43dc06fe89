//! How a release becomes live. Every activation is idempotent, so rolling back is activating the previous release, and a
//! crash is healed by doing it again.

mod apply;
pub mod compare;
mod copy;
mod diff;
mod entries;
pub mod install;
pub mod limit;
pub mod local;
mod parents;
pub mod symlink;
pub mod sync;
pub mod tree;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use self::compare::{Difference, Except, Tell};
use self::limit::Limit;
use self::local::Local;
use crate::appspec::Behaviour;
use crate::error::{Context, Error, Result};
use crate::model::{ActivationMode, ReleaseId};
use crate::store::manifest::Manifest;
use crate::store::state::{Found, LiveDirectory};
use crate::store::{Release, Staging, Store};
use crate::sys::fs::{Dir, Kind};

/// What stands at `<local>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
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
    InPlace(InPlace),
    /// Files over the host, as an appspec says.
    Install(install::Install),
}

/// A real directory that is kept in sync with the live release.
#[derive(Debug)]
pub struct InPlace {
    local: Local,
    options: sync::Options,
    /// The directory that an earlier check kept in sync; `None`: any is fine.
    known: RefCell<Option<LiveDirectory>>,
    /// It is told from others by what lies in it.
    is_marked: bool,
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
            ActivationMode::InPlace => Self::InPlace(InPlace {
                local: Local::new(local),
                options: sync::Options { preserve },
                known: RefCell::new(live_dir.filter(|_| !is_store_in_local)),
                is_marked: is_store_in_local,
            }),
            ActivationMode::Install => Self::Install(install::Install::new(store.root(), behaviour)),
        }
    }

    /// What tells the directory that is kept in sync from another one that somebody puts in its place.
    pub fn live_dir(&self) -> Result<Option<LiveDirectory>> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(None),
            Self::InPlace(in_place) if in_place.is_marked => Ok(None),
            Self::InPlace(in_place) => Ok(in_place.local.identity()?.map(LiveDirectory::now)),
        }
    }

    /// Why what stands at `<local>` is another directory than the one that was kept in sync; it has content.
    pub fn stranger(&self) -> Result<Option<String>> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(None),
            Self::InPlace(in_place) => in_place.stranger(),
        }
    }

    /// From now on it is the one that is meant.
    pub fn accept(&self) {
        match self {
            Self::Symlink(_) | Self::Install(_) => {}
            Self::InPlace(in_place) => *in_place.known.borrow_mut() = None,
        }
    }

    /// What stands at `<local>` now.
    pub fn standing(&self) -> Result<Standing> {
        match self {
            Self::Symlink(link) => link.standing(),
            Self::InPlace(in_place) => in_place.standing(),
            Self::Install(_) => Ok(Standing::Absent), // <local> is not used
        }
    }

    /// Makes `release` live, whatever an earlier attempt left.
    pub fn activate(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.activate(&release.id),
            Self::InPlace(in_place) => in_place.make_like(release, limit, sync::mirror),
            Self::Install(install) => install.activate(release, limit),
        }
        .context(|| format!("cannot activate release {}", release.id))
    }

    /// Whether `release` can be made live, before anything is touched. Everything that is in the way is the error.
    pub fn examine(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(_) => Ok(()),
            Self::InPlace(in_place) => {
                let cannot = || format!("cannot activate release {}", release.id);
                in_place.examine(release, limit).context(cannot)
            }
            Self::Install(install) => {
                install.examine(release, limit).context(|| format!("cannot install release {}", release.id))
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
                install.prepare(release, limit).context(|| format!("cannot prepare for release {}", release.id))
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
        .context(|| format!("cannot go back to release {}", release.id))
    }

    /// Forgets what only a deployment that is over needed; `current` is live.
    pub fn tidy(&self, current: Option<&ReleaseId>) -> Result<()> {
        match self {
            Self::Symlink(_) | Self::InPlace(_) => Ok(()),
            Self::Install(install) => install.tidy(current).context(|| "cannot close the ledger"),
        }
    }

    /// Puts back what stood at `<local>` before the first deployment.
    pub fn withdraw(&self, found: &Found, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.withdraw(found),
            Self::InPlace(in_place) => in_place.withdraw(found, limit),
            Self::Install(install) => install.revert(limit),
        }
        .context(|| "cannot withdraw the first release")
    }

    /// Puts back what is missing of the live `release`: the link, or entries of the directory. Tells what it was.
    pub fn repair(&self, release: &Release, limit: Limit) -> Result<Option<String>> {
        match self {
            Self::Symlink(link) => link.repair(&release.id),
            Self::InPlace(in_place) => in_place.repair(release, limit),
            Self::Install(_) => Ok(None), // destinations belong to the application too
        }
        .context(|| "cannot repair the live tree")
    }

    /// Tells what of the live tree is not as `release`, which is made of `manifest`, would have it; `tell` takes whole paths. The
    /// release itself is looked at where it is the live tree. Gives the number of names.
    pub fn differences(&self, release: &Release, manifest: &Manifest, tell: &mut Tell<'_>) -> Result<u64> {
        match self {
            Self::Symlink(link) => {
                let top = match link.standing()? {
                    Standing::Release(live) if live == release.id => link.local(),
                    standing => {
                        tell(link.local(), astray(standing, "a link"));
                        &release.path
                    }
                };
                compare_at(top, release.open(), manifest, Except::default(), tell)
            }
            Self::InPlace(in_place) => match in_place.standing()? {
                Standing::Empty | Standing::Directory => {
                    let except = Except { names: &in_place.options.preserve, strangers: true };
                    let (top, mut is_like) = (in_place.local.open()?, true);
                    let count = compare_at(in_place.path(), Ok(top), manifest, except, &mut |path, difference| {
                        is_like = false;
                        tell(path, difference);
                    })?;
                    if let Some(why) = in_place.stranger()?.filter(|_| !is_like) {
                        tell(in_place.path(), Difference::Changed(why));
                    }
                    Ok(count)
                }
                standing => {
                    tell(in_place.path(), astray(standing, "a directory"));
                    Ok(1)
                }
            },
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
        .context(|| "cannot repair the live tree")
    }

    /// Whether there is something to [`Self::repair`], in words.
    pub fn drift(&self, release: &Release) -> Result<Option<String>> {
        let text = match self {
            Self::Symlink(link) => match link.standing()? {
                Standing::Release(live) if live == release.id => return Ok(None),
                Standing::Release(_)
                | Standing::Absent
                | Standing::Link(_)
                | Standing::Empty
                | Standing::Directory
                | Standing::Other => "it does not point to it".to_owned(),
            },
            Self::InPlace(in_place) if in_place.local.meta()?.is_none() => "it is gone".to_owned(),
            Self::InPlace(in_place) => {
                let limit = Limit::SIGNALS;
                match sync::lacks(&open(release)?, &in_place.open_for(release, limit)?, &in_place.options, limit)? {
                    Some(path) => format!("it lacks {}", path.display()),
                    None => return Ok(None),
                }
            }
            Self::Install(_) => return Ok(None),
        };
        Ok(Some(text))
    }

    /// What stands at `<local>` and is ours to change, before there is a release of it.
    pub fn found(&self) -> Result<Manifest> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Ok(Manifest::default()),
            Self::InPlace(in_place) => {
                tree::manifest_without(&in_place.open()?, &in_place.options.preserve, Limit::SIGNALS)
            }
        }
    }

    /// Copies what stands at `<local>` into `staging`, with modes, owners and times.
    pub fn keep_found(&self, staging: &Dir, limit: Limit) -> Result<Manifest> {
        match self {
            Self::Symlink(_) | Self::Install(_) => Err(Error::failed("only in-place keeps what it found")),
            Self::InPlace(in_place) => {
                let live = in_place.open()?;
                sync::copy_tree(&live, staging, &in_place.options, limit)?;
                tree::manifest(staging, limit)
            }
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
    let top = top.context(cannot)?;
    compare::compare(&top, manifest, except, &mut |path, what| tell(&shown.join(path), what)).context(cannot)
}

/// [`sync::mirror`], or [`sync::put_back`].
type Sync = fn(&Dir, &Dir, &sync::Options, Limit) -> Result<apply::Changes>;

/// What stands at `<local>` instead of what should.
fn astray(standing: Standing, not: &str) -> Difference {
    Difference::Changed(match standing {
        Standing::Absent => return Difference::Missing,
        Standing::Release(other) => format!("leads to release {other}"),
        Standing::Link(target) => format!("leads to {}", target.display()),
        Standing::Empty | Standing::Directory => format!("a directory, not {not}"),
        Standing::Other => format!("neither a link nor a directory, not {not}"),
    })
}

fn open(release: &Release) -> Result<Dir> {
    release.open().context(|| format!("cannot open {}", release.path.display()))
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

impl InPlace {
    fn path(&self) -> &Path {
        self.local.path()
    }

    fn standing(&self) -> Result<Standing> {
        let Some(meta) = self.local.meta()? else { return Ok(Standing::Absent) };
        Ok(match meta.kind {
            Kind::Link => Standing::Link(std::ffi::OsString::new()),
            Kind::Dir if self.local.is_empty(&self.ours())? => Standing::Empty,
            Kind::Dir => Standing::Directory,
            Kind::File | Kind::Other => Standing::Other,
        })
    }

    /// What of ours may lie in a directory that is empty otherwise.
    fn ours(&self) -> Vec<PathBuf> {
        if self.is_marked { self.options.preserve.clone() } else { Vec::new() }
    }

    /// Opens the live directory, when it is the one that was kept in sync; an empty one takes its place.
    fn open(&self) -> Result<Dir> {
        if let Some(why) = self.stranger()? {
            let local = self.path().display();
            return Err(Error::config(format!(
                "drift: {local} is {why}; nothing in it is touched: put the right one back, or `repo-deploy verify --repair` takes this one and keeps a copy of what is in it"
            )));
        }
        let dir = self.local.open()?;
        if self.known.borrow().is_some() {
            *self.known.borrow_mut() = self.local.identity()?.map(LiveDirectory::now);
        }
        Ok(dir)
    }

    /// The same while `release` is live: a directory that has just what that has is a copy of the one that was, in another image
    /// or out of a backup.
    fn open_for(&self, release: &Release, limit: Limit) -> Result<Dir> {
        if self.stranger()?.is_some() && sync::is_like(&open(release)?, &self.local.open()?, &self.options, limit)? {
            *self.known.borrow_mut() = None;
        }
        self.open()
    }

    fn stranger(&self) -> Result<Option<String>> {
        let known = self.known.borrow();
        let (Some(known), Some(now)) = (&*known, self.local.identity()?.map(LiveDirectory::now)) else {
            return Ok(None);
        };
        if now.is(known) || self.local.is_empty(&[])? {
            return Ok(None);
        }
        let (is, was) = (now.identity, known.identity);
        Ok(Some(format!(
            "another directory (inode {} of device {}) than the one that was deployed to (inode {} of device {}), and not empty",
            is.inode, is.device, was.inode, was.device
        )))
    }

    /// Does what makes the live directory like `release`.
    fn make_like(&self, release: &Release, limit: Limit, what: Sync) -> Result<()> {
        self.local.make_dir()?;
        let done = what(&open(release)?, &self.open()?, &self.options, limit)
            .context(|| format!("at {}", self.path().display()))?;
        log::debug!("in-place: {done}");
        Ok(())
    }

    fn examine(&self, release: &Release, limit: Limit) -> Result<()> {
        if self.local.meta()?.is_none() {
            return Ok(());
        }
        let (from, live) = (open(release)?, self.open()?);
        sync::examine(&from, &live, &self.options, limit).context(|| format!("at {}", self.path().display()))
    }

    fn withdraw(&self, found: &Found, limit: Limit) -> Result<()> {
        if self.local.meta()?.is_none() {
            return Ok(());
        }
        sync::clear(&self.open()?, &self.options, limit)?;
        if *found == Found::Absent {
            let place = self.local.make_place()?;
            // Something preserved may be in it: then it stays.
            match place.dir.remove_dir(&place.name) {
                Err(e) if e.kind() != std::io::ErrorKind::DirectoryNotEmpty => {
                    return Err(e).context(|| format!("cannot remove {}", self.path().display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn repair(&self, release: &Release, limit: Limit) -> Result<Option<String>> {
        let missing = self.local.meta()?.is_none();
        self.local.make_dir()?;
        let restored = sync::restore(&open(release)?, &self.open_for(release, limit)?, &self.options, limit)?;
        Ok(match restored {
            _ if missing => Some(format!("{} was gone", self.path().display())),
            apply::Changes { first: Some(first), written, .. } => {
                let (local, first) = (self.path().display(), first.display());
                Some(match written {
                    1 => format!("1 entry of {local} was missing ({first})"),
                    more => format!("{more} entries of {local} were missing, the first {first}"),
                })
            }
            _ => None,
        })
    }
}
