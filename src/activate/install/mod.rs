//! Makes a release live by installing it: its appspec maps its files to paths on the host, with permissions. Before the
//! first change the whole plan is made, and the ledger of the store records each entry that is in the way or will be
//! replaced. So rolling back restores the state before the deployment, and a run after a crash completes either.
//!
//! Running the scripts, and deciding after a failure, is left to other modules.

mod apply;
pub mod bundle;
mod conflicts;
pub mod copies;
mod default_acl;
mod live;
mod path_name;
mod permissions;
mod plan;
mod preview;
pub mod scripts;
mod selinux;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::apply::{Apply, Way};
use self::bundle::Installable;
use self::live::Live;
use self::plan::Plan;
use super::apply::Changes;
use super::compare::Tell;
use super::limit::Limit;
use super::problems::refusal;
use crate::appspec::{Behaviour, Problem};
use crate::config::owner::Accounts;
use crate::console::Progress;
use crate::error::{Context, Error, Kind, Result};
use crate::model::ReleaseId;
use crate::store::ledger::{Before, KEPT, Ledger, Stage};
use crate::store::{Release, Store};
use crate::sys::fs::Dir;
use crate::sys::log;

/// Installs releases of the store at `root`.
#[derive(Debug)]
pub struct Install {
    root: PathBuf,
    /// The default for existing files that no deployment installed.
    behaviour: Behaviour,
}

impl Install {
    /// An installation from the store at `store`; `behaviour` is the default for an appspec that sets none.
    pub fn new(store: &Path, behaviour: Behaviour) -> Self {
        // Resolved like destinations, so that the two can be compared.
        Self { root: std::fs::canonicalize(store).unwrap_or_else(|_| store.to_owned()), behaviour }
    }

    /// Resolves every change that installing `release` would make, and changes nothing. The error lists all conflicts.
    pub fn examine(&self, release: &Release, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        let host = Host::look(&self.root)?;
        let (_, idle) = self.resolve(release, &ledger, &mut host.live(limit))?;
        self.read(release)?.oddities(&idle).iter().for_each(|line| log::warn!("{line}"));
        Ok(())
    }

    /// Records the entries at the paths where `release` will be installed, before its scripts run.
    pub fn prepare(&self, store: &Store, release: &Release, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        match &ledger.target {
            // An interrupted run recorded them, and scripts may have changed the host since.
            Some((_, target)) if *target == release.id => Ok(()),
            _ => self.settle(store, release, ledger, Stage::Preparing, limit).map(drop),
        }
    }

    /// Installs `release`, whatever state an earlier attempt left.
    pub fn activate(&self, store: &Store, release: &Release, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        let again = ledger.target == Some((Stage::Installing, release.id.clone()));
        let ledger = if again { ledger } else { self.settle(store, release, ledger, Stage::Installing, limit)? };
        let done = self.apply(store, &ledger, Way::Forward, again, limit)?;
        log::info!("{}: {done}", self.read(release)?.destinations());
        Ok(())
    }

    /// Restores the entries from before the deployment.
    pub fn revert(&self, store: &Store, limit: Limit) -> Result<()> {
        let ledger = Ledger::read(&self.root)?;
        match ledger.target {
            Some(_) => self.apply(store, &ledger, Way::Back, true, limit).map(drop),
            None => Ok(()), // interrupted before the ledger was written, and so before the first change
        }
    }

    /// Passes each difference from the installed state to `tell`, by full path. Returns the number of paths.
    pub fn differences(&self, tell: &mut Tell<'_>) -> Result<u64> {
        let ledger = self.closed()?;
        let host = Host::look(&self.root)?;
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

    /// Restores every path to its installed state.
    pub fn put_back(&self, store: &Store, limit: Limit) -> Result<()> {
        let ledger = self.closed()?;
        self.apply(store, &ledger, Way::Back, true, limit).map(drop)
    }

    /// The ledger; fails while a deployment is open.
    fn closed(&self) -> Result<Ledger> {
        let ledger = Ledger::read(&self.root)?;
        match ledger.target {
            None => Ok(ledger),
            Some(_) => Err(Error::new(Kind::InDoubt, "the last deployment is not closed: the next check does that")),
        }
    }

    /// Closes the ledger of a finished deployment: `current` is live.
    pub fn close_ledger(&self, store: &Store, current: Option<&ReleaseId>) -> Result<()> {
        let copies = match std::fs::read_dir(self.root.join(KEPT)) {
            Err(e) if e.kind() == ErrorKind::NotFound => 0,
            entries => entries.with_context(|| "cannot list the copies of replaced files")?.count(),
        };
        if Ledger::is_closed(&self.root, copies)? {
            return Ok(());
        }
        let mut ledger = Ledger::read(&self.root)?;
        let Some((_, target)) = ledger.target.take() else { return self.forget_copies(store, &ledger) };
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
        store.record_ledger(&ledger)?;
        self.forget_copies(store, &ledger)
    }

    fn read(&self, release: &Release) -> Result<Installable> {
        Installable::read(&self.root.join("releases").join(&release.id))
    }

    /// The plan for installing `release`, and the entries of `permissions` that match nothing.
    fn resolve(&self, release: &Release, ledger: &Ledger, live: &mut Live<'_>) -> Result<(Plan, Vec<Problem>)> {
        let mut problems = Vec::new();
        let resolved = self.judge(&self.read(release)?, ledger, live, &mut problems)?;
        if problems.is_empty() { Ok(resolved) } else { Err(refusal(&problems)) }
    }

    /// The same for any bundle; conflicts are added to `problems`.
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

    fn settle(&self, store: &Store, release: &Release, ledger: Ledger, stage: Stage, limit: Limit) -> Result<Ledger> {
        let host = Host::open(store, &self.root)?;
        let mut live = host.live(limit);
        let (plan, _) = self.resolve(release, &ledger, &mut live)?; // `examine` has warned about idle entries
        let ledger = conflicts::settle(ledger, plan, &mut live, (stage, release.id.clone()))?;
        host.kept.sync().with_context(|| format!("cannot sync {}", self.root.join(KEPT).display()))?;
        store.record_ledger(&ledger)?;
        Ok(ledger)
    }

    fn apply(&self, store: &Store, ledger: &Ledger, way: Way, again: bool, limit: Limit) -> Result<Changes> {
        let host = Host::open(store, &self.root)?;
        let done = Apply::new(host.live(limit), &self.root).run(ledger, way, again)?;
        log::debug!("install: {done}");
        Ok(done)
    }

    /// Removes copies that the ledger does not refer to.
    fn forget_copies(&self, store: &Store, ledger: &Ledger) -> Result<()> {
        let host = Host::open(store, &self.root)?;
        let needed = ledger.copies();
        for name in host.kept.names().with_context(|| "cannot list the copies of replaced files")? {
            if !needed.contains(Path::new(&name)) {
                host.kept.unlink(&name).with_context(|| format!("cannot remove the copy {}", name.display()))?;
            }
        }
        Ok(())
    }
}

/// The open directories of an installation.
struct Host {
    top: Dir,
    store: Dir,
    kept: Dir,
}

impl Host {
    /// Opens them for changes, with the directory of copies.
    fn open(store: &Store, root: &Path) -> Result<Self> {
        store.make_kept()?;
        let host = Self::look(root)?;
        let kept = host.store.child(KEPT.as_ref()).with_context(|| format!("cannot open {}", root.display()))?;
        Ok(Self { kept, ..host })
    }

    /// Opens them for reading: no copy is made.
    fn look(root: &Path) -> Result<Self> {
        let open = |path: &Path| Dir::open(path).with_context(|| format!("cannot open {}", path.display()));
        Ok(Self { top: open(Path::new("/"))?, store: open(root)?, kept: open(root)? })
    }

    fn live(&self, limit: Limit) -> Live<'_> {
        Live::new(&self.top, &self.store, &self.kept, limit)
    }
}
