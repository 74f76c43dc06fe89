//! `repo-deploy verify --repair`: restores the content of the live release, then makes the live tree like it; no hook
//! runs. Damaged files are fetched again if the source still has the same revision. Each file is replaced by a rename,
//! so no process reads a half-written one, and a repeated run finishes an interrupted one. A signal takes effect
//! between two files: ^C works on a tree of a million files.

use super::verify::{Seen, differences, live, no_differences, nothing_live, painted};
use crate::activate::limit::Limit;
use crate::activate::locations;
use crate::activate::sync::{self, Options};
use crate::config::Settings;
use crate::console;
use crate::deploy::failure::in_the_way;
use crate::deploy::{Deployment, turn};
use crate::error::{Context, Error, Kind, Result};
use crate::model::Revision;
use crate::package;
use crate::report::check_report;
use crate::report::hold::Hold;
use crate::store::manifest::{self, Manifest};
use crate::store::state::{Phase, Record};
use crate::store::{Recorded, Release, Staging, StoreView};
use crate::sys::clock::Deadline;
use crate::sys::fs::set_owner_and_mode;
use crate::sys::log;
use crate::sys::signal;
use crate::sys::sort::sort;

/// Repairs all differences and prints them. The exit code is 0 if no difference is left.
pub fn repair(settings: &Settings, prefix: &str) -> Result<u8> {
    is_there(settings)?;
    let mut deployment = Deployment::open(settings, Some(turn(settings)))?;
    if let Some(doubt) = &deployment.doubt {
        return Err(Error::new(Kind::InDoubt, format!("cannot repair: {doubt}; the next check settles it")));
    }
    if deployment.state.phase != Phase::Idle {
        deployment.take_over_live_directory()?; // else the next check would refuse the directory
    }
    in_the_way(&deployment.state)?;
    let current = live(&deployment.state)?.clone();
    deployment.close_ledger();
    let release = deployment.release(&current.release)?;
    if manifest::is_damaged(&deployment.store, &release.id) {
        let (_, manifest) = deployment
            .fetch_again(&current, None)
            .with_context(|| format!("the manifest of release {} is damaged", release.id))?;
        deployment.store.keep_manifest(&release.id, &manifest)?;
        log::info!("made the manifest of release {} anew, which was damaged", release.id);
    } else if manifest::read(&deployment.store, &release.id).is_none() {
        log::warn!("release {} has no manifest: it is taken as it is, and gets one", release.id);
    }
    let manifest = deployment.manifest(&release)?;
    let look = |d: &Deployment<'_>| Seen::look(&d.activation, d.state.mode, &release, Some(&manifest));
    let before = look(&deployment)?;
    let name = check_report::named(&current);
    if before.count == 0 {
        drop(deployment); // a slow reader of the output must not hold the lock
        console::print(&format!("{prefix}{name}: {}\n", no_differences(before.names)))?;
        return Ok(0);
    }
    deployment.take_over_live_directory()?;
    let mended = deployment.fix_metadata(&current, &release, &manifest);
    if let Err(e) = &mended
        && matches!(e.kind(), Kind::Stopped(_))
    {
        return mended.map(|()| 1);
    }
    let after = look(&deployment)?;
    let mut left: Vec<&str> = after.text.lines().collect();
    sort(&mut left, &mut Ord::cmp);
    let mut text = String::new();
    // An unprinted difference may be one of these.
    let told = before.text.lines().filter(|_| after.untold == 0);
    for line in told.filter(|line| left.binary_search(line).is_err()) {
        text.push_str("repaired: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&after.text);
    text.push_str(&after.rest());
    drop(deployment); // see above
    let what = match after.count {
        0 => format!("{}, all repaired", differences(before.count)),
        count => format!("{} left of {}", differences(count), before.count),
    };
    console::print(&format!("{}{prefix}{name}: {what}\n", painted(text)))?;
    mended?;
    Ok(u8::from(after.count > 0))
}

/// Fails if the live release is gone: there is nothing to repair from.
fn is_there(settings: &Settings) -> Result<()> {
    let store = StoreView::open(&locations::locate(settings)?.store)?;
    let state = match store.recorded()? {
        Recorded::State(state) => state,
        Recorded::Nothing => return Err(nothing_live()), // without creating a store
        Recorded::Foreign(_) | Recorded::Unreadable(_) => return Ok(()), // reported under the lock
    };
    match state.current.map(|current| store.release_at(&current.release)) {
        Some(release) if !release.is_there()? => {
            let (id, root) = (release.id, store.root().display());
            Err(Error::failed(format!(
                "cannot repair: release {id} is gone from {root}: repo-deploy -f fetches it again"
            )))
        }
        _ => Ok(()),
    }
}

impl Deployment<'_> {
    /// Accepts another directory at `<local>` as the live one, and keeps its content as a release.
    fn take_over_live_directory(&mut self) -> Result<()> {
        let Some(why) = self.activation.stranger()? else { return Ok(()) };
        log::warn!("{} is {why}: taking it, as --repair says", self.settings.local.display());
        self.activation.accept()?;
        self.keep_copy()?;
        self.state.live_dir = self.activation.live_dir();
        self.store.record(&self.state)
    }

    /// Repairs the release as far as possible without the source, then fetches its missing content, then repairs the
    /// live tree.
    fn fix_metadata(&mut self, current: &Record, release: &Release, manifest: &Manifest) -> Result<()> {
        let cannot = || format!("cannot repair release {}", release.id);
        let top = release.open().with_context(cannot)?;
        let mut lacking = None;
        in_order(&mut || {
            if let Some(mode) = release.mode() {
                set_owner_and_mode(&top, None, mode).and_then(|()| top.sync()).with_context(cannot)?;
            }
            lacking = sync::fix_metadata(&top, manifest, Limit::SIGNALS).with_context(cannot)?;
            Ok(())
        })?;
        let whole = match &lacking {
            Some(first) => {
                let damage = format!("{} is damaged", release.path.join(first).display());
                Some(self.fetch_again(current, Some(manifest)).with_context(|| damage)?.0)
            }
            None => None,
        };
        in_order(&mut || {
            if let Some(whole) = &whole {
                sync::mirror(whole.dir(), &top, &Options::default(), Limit::SIGNALS).with_context(cannot)?;
            }
            self.ready_live_dir()?;
            self.activation.put_back(&self.store, release, Limit::SIGNALS)
        })
    }

    /// Fetches the live release again, if the source still has it.
    fn fetch_again(&mut self, current: &Record, expected: Option<&Manifest>) -> Result<(Staging, Manifest)> {
        if current.release.is_adopted() {
            return Err(Error::failed("it is the copy of what was found there, and nobody else has that"));
        }
        let remote = self.settings.remote.identity();
        self.status.hold_off(&remote)?;
        // The time spent on comparing does not count against the source.
        let deadline = Deadline::after(self.settings.timeout);
        self.context.deadline = deadline;
        let Some(offer) = self.context.source.offer_like(&current.revision, deadline)? else {
            return Err(Error::failed(format!("{} has nothing", self.settings.remote)));
        };
        if let Some(revision) = offer.revision.clone() {
            self.is_the_same(current, &revision, current.proof.as_deref())?;
        }
        let download = self.places.download();
        let artifact = self.context.source.fetch(offer, &download, deadline)?;
        let (revision, validators) = (artifact.revision.clone(), artifact.validators.clone());
        let seal = self.source.seal(&self.settings.remote, &self.settings.trust, deadline)?;
        let verified = package::verify(artifact, &seal, &self.demands, None, deadline)?;
        self.is_the_same(current, &revision, verified.proof())?;
        let (staging, manifest, _) = self.unpack_staging(&verified, &self.source, &validators)?;
        download.discard();
        if !expected.map_or(Ok(true), |expected| expected.is_same(&manifest))? {
            let text = format!("{} has another content now under the same revision {revision}", self.settings.remote);
            return Err(Error::refused(text));
        }
        Ok((staging, manifest))
    }

    /// Fails unless this revision with this proof is the live release.
    fn is_the_same(&self, current: &Record, revision: &Revision, proof: Option<&str>) -> Result<()> {
        if self.is_release(&current.release, revision, proof) {
            return Ok(());
        }
        let remote = &self.settings.remote;
        let why = if *revision == current.revision {
            "the configuration says another remote, owner, strip-components or proof than when it was deployed"
                .to_owned()
        } else {
            format!("{remote} has revision {revision} by now, not {}", current.revision)
        };
        let advice = if self.is_kept_back(revision) {
            "it is on hold: repo-deploy retry deploys it, rollback RELEASE goes to another"
        } else {
            "repo-deploy -f deploys what it has, rollback goes back to the release before"
        };
        Err(Error::failed(format!("{why}: {advice}")))
    }

    /// Whether the next check would not try this revision.
    fn is_kept_back(&self, revision: &Revision) -> bool {
        let state = &self.state;
        if state.withdrawal(&self.id_of(revision, None), revision).is_some() {
            return true;
        }
        let failed = state.target.as_ref().filter(|target| self.is_of(target, revision));
        failed.zip(state.failure.as_ref()).is_some_and(|(target, failure)| {
            failure.release == target.release && Hold::after(failure, self.settings, &self.demands) != Hold::None
        })
    }
}

/// Runs `what`, which a signal may end, and reports the signal after its cleanup.
fn in_order(what: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let region = signal::defer();
    let done = what();
    match region.close() {
        Some(signal) => {
            let text = format!(
                "stopped by signal {signal}: what was repaired is right, and verify --repair again goes on with it"
            );
            Err(Error::new(Kind::Stopped(signal), text))
        }
        None => done,
    }
}
