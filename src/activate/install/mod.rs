//! A release becomes live by being installed: its appspec says which of its files go where on the host, and with which
//! permissions. Before the first change everything is resolved, and whatever stands in the way or is replaced is in the
//! ledger of the store; so the way back ends where the deployment began, and a crash is healed by doing it again.
//!
//! Left to others: the scripts, and what becomes of a deployment that fails.

mod apply;
pub mod bundle;
mod conflicts;
pub mod copies;
mod default_acl;
mod live;
mod permissions;
mod plan;
mod preview;
pub mod scripts;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::apply::{Apply, Way};
use self::bundle::Installable;
use self::live::Live;
use self::plan::Plan;
use super::apply::Changes;
use super::compare::Tell;
use super::limit::Limit;
use super::refusal;
use crate::appspec::{Behaviour, Problem};
use crate::config::owner::Accounts;
use crate::console::Progress;
use crate::error::{Context, Error, Kind, Result};
use crate::model::ReleaseId;
use crate::store::Release;
use crate::store::ledger::{Before, KEPT, Ledger, Stage};
use crate::sys::created;
use crate::sys::fs::Dir;

/// Installs releases of the store at `root`.
#[derive(Debug)]
pub struct Install {
    root: PathBuf,
    /// What holds where an appspec says nothing about files of others.
    behaviour: Behaviour,
}

impl Install {
    /// An installation from the store at `store`; `behaviour` holds where an appspec names none.
    pub fn new(store: &Path, behaviour: Behaviour) -> Self {
        // As destinations are, so that the two can be compared.
        Self { root: std::fs::canonicalize(store).unwrap_or_else(|_| store.to_owned()), behaviour }
    }

    /// Resolves everything that installing `release` would do, and does nothing. What is in the way is the error: every
    /// problem at once.
    pub fn examine(&self, release: &Release, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        let host = Host::open(&self.root)?;
        let (_, idle) = self.resolve(release, &ledger, &mut host.live(limit))?;
        self.read(release)?.oddities(&idle).iter().for_each(|line| log::warn!("{line}"));
        Ok(())
    }

    /// Remembers what stands where `release` will be installed, before its scripts run.
    pub fn prepare(&self, release: &Release, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        match &ledger.target {
            // A run that was cut off did it, and scripts may have changed things since.
            Some((_, target)) if *target == release.id => Ok(()),
            _ => self.settle(release, ledger, Stage::Preparing, limit).map(drop),
        }
    }

    /// Installs `release`, whatever an earlier attempt left.
    pub fn activate(&self, release: &Release, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        let again = ledger.target == Some((Stage::Installing, release.id.clone()));
        let ledger = if again { ledger } else { self.settle(release, ledger, Stage::Installing, limit)? };
        let done = self.apply(&ledger, Way::Forward, again, limit)?;
        log::info!("{}: {done}", self.read(release)?.destinations());
        Ok(())
    }

    /// Puts back what was there when the deployment began.
    pub fn revert(&self, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        match ledger.target {
            Some(_) => self.apply(&ledger, Way::Back, true, limit).map(drop),
            None => Ok(()), // cut off before anything was remembered, and so before anything was changed
        }
    }

    /// Tells what is not as it was installed, by whole paths. Gives the number of paths.
    pub fn differences(&self, tell: &mut Tell<'_>) -> Result<u64> {
        let ledger = self.closed()?;
        let host = Host::open(&self.root)?;
        let (mut live, mut count) = (host.live(Limit::SIGNALS), 0);
        let mut progress = Progress::start("verifying", None);
        for (path, row) in &ledger.rows {
            let Some(image) = &row.have else { continue };
            count += 1;
            let found = live.difference(path, image, &mut progress)?;
            found.into_iter().for_each(|difference| tell(&Path::new("/").join(path), difference));
        }
        Ok(count)
    }

    /// Brings every path back to what was installed there.
    pub fn put_back(&self, limit: Limit) -> Result<()> {
        let ledger = self.closed()?;
        self.apply(&ledger, Way::Back, true, limit).map(drop)
    }

    /// The ledger, when no deployment is open.
    fn closed(&self) -> Result<Ledger> {
        let ledger = Ledger::read(&self.root)?;
        match ledger.target {
            None => Ok(ledger),
            Some(_) => Err(Error::new(Kind::InDoubt, "the last deployment is not closed: the next check does that")),
        }
    }

    /// Closes the ledger of a deployment that is over: `current` is live.
    pub fn close_ledger(&self, current: Option<&ReleaseId>) -> Result<()> {
        let copies = match std::fs::read_dir(self.root.join(KEPT)) {
            Err(e) if e.kind() == ErrorKind::NotFound => 0,
            entries => entries.with_context(|| "cannot list the copies of replaced files")?.count(),
        };
        if Ledger::is_closed(&self.root, copies)? {
            return Ok(());
        }
        let mut ledger = Ledger::read(&self.root)?;
        let Some((_, target)) = ledger.target.take() else { return self.forget_copies(&ledger) };
        let is_committed = current == Some(&target);
        for row in ledger.rows.values_mut() {
            if is_committed {
                row.have = row.want.take();
            }
            (row.want, row.before) = (None, Before::Same);
        }
        ledger.rows.retain(|_, row| row.have.is_some());
        if is_committed {
            ledger.installed = Some(target);
        }
        ledger.record(&self.root)?;
        self.forget_copies(&ledger)
    }

    fn read(&self, release: &Release) -> Result<Installable> {
        Installable::read(&self.root.join("releases").join(&release.id))
    }

    /// What installing `release` comes to, and the entries of `permissions` that are for nothing in it.
    fn resolve(&self, release: &Release, ledger: &Ledger, live: &mut Live<'_>) -> Result<(Plan, Vec<Problem>)> {
        let mut problems = Vec::new();
        let resolved = self.judge(&self.read(release)?, ledger, live, &mut problems)?;
        if problems.is_empty() { Ok(resolved) } else { Err(refusal(&problems)) }
    }

    /// The same for any bundle; what is in the way are `problems`.
    fn judge(
        &self,
        bundle: &Installable,
        ledger: &Ledger,
        live: &mut Live<'_>,
        problems: &mut Vec<String>,
    ) -> Result<(Plan, Vec<Problem>)> {
        let accounts = Accounts::read().map_err(Error::failed)?;
        let appspec = &bundle.appspec;
        let missing = bundle::missing(appspec, &bundle.root);
        let strangers = bundle::strangers(appspec, &accounts);
        let faults = scripts::faults(appspec, &bundle.root);
        problems.extend(missing.iter().chain(&strangers).chain(&faults).map(|problem| bundle.line(problem)));
        let mut plan = plan::gather(bundle, &self.root, &missing, problems)?;
        conflicts::judge(&mut plan, ledger, live, appspec.behaviour.unwrap_or(self.behaviour), problems)?;
        let idle = permissions::apply(bundle, &accounts, &mut plan, problems);
        default_acl::hand_down(&mut plan, live)?;
        Ok((plan, idle))
    }

    fn settle(&self, release: &Release, ledger: Ledger, stage: Stage, limit: Limit) -> Result<Ledger> {
        let host = Host::open(&self.root)?;
        let mut live = host.live(limit);
        let (plan, _) = self.resolve(release, &ledger, &mut live)?; // what is idle was told of beforehand
        let ledger = conflicts::settle(ledger, plan, &mut live, (stage, release.id.clone()))?;
        host.kept.sync().with_context(|| format!("cannot sync {}", self.root.join(KEPT).display()))?;
        ledger.record(&self.root)?;
        Ok(ledger)
    }

    fn apply(&self, ledger: &Ledger, way: Way, again: bool, limit: Limit) -> Result<Changes> {
        let host = Host::open(&self.root)?;
        let done = Apply::new(host.live(limit), &self.root).run(ledger, way, again)?;
        log::debug!("install: {done}");
        Ok(done)
    }

    /// Removes copies that nothing can need any more.
    fn forget_copies(&self, ledger: &Ledger) -> Result<()> {
        let host = Host::open(&self.root)?;
        let needed = ledger.copies();
        for name in host.kept.names().with_context(|| "cannot list the copies of replaced files")? {
            if !needed.contains(Path::new(&name)) {
                host.kept.unlink(&name).with_context(|| format!("cannot remove the copy {}", name.display()))?;
            }
        }
        Ok(())
    }
}

/// What is open while one looks or works.
struct Host {
    top: Dir,
    store: Dir,
    kept: Dir,
}

impl Host {
    fn open(root: &Path) -> Result<Self> {
        let open = || -> std::io::Result<Self> {
            let (top, store) = (Dir::open(Path::new("/"))?, Dir::open(root)?);
            match created::make_own_dir(&store, KEPT.as_ref(), 0o700) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            let kept = store.child(KEPT.as_ref())?;
            Ok(Self { top, store, kept })
        };
        open().with_context(|| format!("cannot open {}", root.display()))
    }

    fn live(&self, limit: Limit) -> Live<'_> {
        Live::new(&self.top, &self.store, &self.kept, limit)
    }
}

/// How messages call a path of the ledger. A stranger's name stays on one line.
fn shown(path: &Path) -> String {
    format!("/{}", path.display().to_string().escape_debug())
}
