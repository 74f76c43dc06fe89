//! How a release becomes live. Every activation is idempotent, so rolling back is activating the previous release, and a
//! crash is healed by doing it again.

mod apply;
pub mod compare;
mod copy;
mod diff;
pub mod install;
pub mod limit;
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
use crate::store::state::Found;
use crate::store::{Release, Staging};
use crate::sys::fs::Dir;

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
    local: PathBuf,
    options: sync::Options,
}

impl Activation {
    /// The activation of `mode` for `local`, with the store at `store`.
    pub fn new(mode: ActivationMode, local: &Path, store: &Path, preserve: &[PathBuf], behaviour: Behaviour) -> Self {
        match mode {
            ActivationMode::Symlink => Self::Symlink(symlink::Symlink::new(local, store)),
            ActivationMode::InPlace => Self::InPlace(InPlace {
                local: local.to_owned(),
                options: sync::Options { preserve: preserve.to_vec() },
            }),
            ActivationMode::Install => Self::Install(install::Install::new(store, behaviour)),
        }
    }

    /// What stands at `<local>` now.
    pub fn standing(&self) -> Result<Standing> {
        match self {
            Self::Symlink(link) => link.standing(),
            Self::InPlace(in_place) => symlink::standing(&in_place.local, None),
            Self::Install(_) => Ok(Standing::Absent), // <local> is not used
        }
    }

    /// Makes `release` live, whatever an earlier attempt left.
    pub fn activate(&self, release: &Release, limit: Limit) -> Result<()> {
        match self {
            Self::Symlink(link) => link.activate(&release.id),
            Self::InPlace(in_place) => in_place.make_like(&release.path, limit, sync::mirror),
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
                in_place.examine(&release.path, limit).context(cannot)
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
            Self::InPlace(in_place) => in_place.make_like(&release.path, limit, sync::put_back),
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
            Self::InPlace(in_place) => in_place.repair(&release.path, limit),
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
                compare_at(top, &release.path, manifest, Except::default(), tell)
            }
            Self::InPlace(in_place) => match symlink::standing(&in_place.local, None)? {
                Standing::Empty | Standing::Directory => {
                    let except = Except { names: &in_place.options.preserve, strangers: true };
                    compare_at(&in_place.local, &in_place.local, manifest, except, tell)
                }
                standing => {
                    tell(&in_place.local, astray(standing, "a directory"));
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
                _ => "it does not point to it".to_owned(),
            },
            Self::InPlace(in_place) if !in_place.local.exists() => "it is gone".to_owned(),
            Self::InPlace(in_place) => {
                let from = Dir::open(&release.path).context(|| format!("cannot open {}", release.path.display()))?;
                match sync::lacks(&from, &in_place.open()?, &in_place.options, Limit::SIGNALS)? {
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
    at: &Path,
    manifest: &Manifest,
    except: Except<'_>,
    tell: &mut Tell<'_>,
) -> Result<u64> {
    let cannot = || format!("cannot verify {}", at.display());
    let top = Dir::open(at).context(cannot)?;
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
    /// Opens the live directory, and nothing that somebody put in its place since the check looked at it.
    fn open(&self) -> Result<Dir> {
        let local = self.local.display();
        if self.local.is_symlink() {
            return Err(Error::failed(format!(
                "{local} has become a link: it is a link that is not followed, move it away"
            )));
        }
        Dir::open_itself(&self.local).context(|| format!("cannot open {local}"))
    }

    /// Does what makes the live directory like `release`.
    fn make_like(&self, release: &Path, limit: Limit, what: Sync) -> Result<()> {
        if !self.local.exists() {
            crate::store::make_dirs(&self.local)?;
        }
        let from = Dir::open(release).context(|| format!("cannot open {}", release.display()))?;
        let done =
            what(&from, &self.open()?, &self.options, limit).context(|| format!("at {}", self.local.display()))?;
        log::debug!("in-place: {done}");
        Ok(())
    }

    fn examine(&self, release: &Path, limit: Limit) -> Result<()> {
        if !self.local.exists() {
            return Ok(());
        }
        let from = Dir::open(release).context(|| format!("cannot open {}", release.display()))?;
        let live = self.open()?;
        sync::examine(&from, &live, &self.options, limit).context(|| format!("at {}", self.local.display()))
    }

    fn withdraw(&self, found: &Found, limit: Limit) -> Result<()> {
        if !self.local.exists() {
            return Ok(());
        }
        sync::clear(&self.open()?, &self.options, limit)?;
        if *found == Found::Absent {
            // Something preserved may be in it: then it stays.
            match std::fs::remove_dir(&self.local) {
                Err(e) if e.kind() != std::io::ErrorKind::DirectoryNotEmpty => {
                    return Err(e).context(|| format!("cannot remove {}", self.local.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn repair(&self, release: &Path, limit: Limit) -> Result<Option<String>> {
        let missing = !self.local.exists();
        if missing {
            crate::store::make_dirs(&self.local)?;
        }
        let from = Dir::open(release).context(|| format!("cannot open {}", release.display()))?;
        let restored = sync::restore(&from, &self.open()?, &self.options, limit)?;
        Ok(match restored {
            _ if missing => Some(format!("{} was gone", self.local.display())),
            apply::Changes { first: Some(first), written, .. } => {
                let (local, first) = (self.local.display(), first.display());
                Some(match written {
                    1 => format!("1 entry of {local} was missing ({first})"),
                    more => format!("{more} entries of {local} were missing, the first {first}"),
                })
            }
            _ => None,
        })
    }
}
