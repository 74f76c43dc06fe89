//! `repo-deploy seed [ARCHIVE --revision R]`: makes a release live when an image is built, under the revision that the
//! source gives it, with the same verification, policy and writer as a deployment; no hook runs. Fails if another
//! release is live.
//!
//! The next seed undoes an interrupted one. If a check comes first, it resumes it like any deployment, hooks included.

use std::path::Path;
use std::time::Instant;

use crate::activate::locations;
use crate::artifact::{CacheFile, Sidecars};
use crate::config::Settings;
use crate::deploy::failure::{cut_off, in_doubt, way_back_failed};
use crate::deploy::{Deployment, turn};
use crate::error::{Context, Error, Kind, Result};
use crate::model::{Reason, Validators};
use crate::outcome::Outcome;
use crate::package;
use crate::remote::Remote;
use crate::report::check_report::{CheckReport, named};
use crate::source::file::FileSource;
use crate::source::parse_revision::PinnedRevision;
use crate::source::{Poll, Source};
use crate::store::state::{Phase, Record};
use crate::sys::clock::{Deadline, now};
use crate::sys::log;

/// The release to make live.
#[derive(Debug)]
pub struct Seed<'a> {
    /// `None`: the archive of the remote.
    archive: Option<&'a Path>,
    /// The revision that the remote gives the archive.
    revision: Option<&'a str>,
}

impl<'a> Seed<'a> {
    /// Reads the operands of the command line.
    pub fn new(operands: &'a [String], revision: Option<&'a str>, sections: &[Settings]) -> Result<Self> {
        let archive = operands.first().map(Path::new);
        let misused = |why: &str| Err(Error::new(Kind::Usage, format!("cannot seed {why}")));
        let is_told = |settings: &Settings| settings.remote.is_read_in_place(); // the bytes give the hash
        match (archive, revision) {
            (None, Some(_)) => misused("with --revision alone: it says what the remote calls an ARCHIVE at hand"),
            (Some(_), _) if sections.len() > 1 => misused("several sections with one ARCHIVE: choose one"),
            (Some(_), None) if !sections.iter().all(is_told) => misused(
                "an ARCHIVE without --revision: what the remote calls it (its ETag, its commit) does not stand in it, and the first check would deploy it again",
            ),
            _ => Ok(Self { archive, revision }),
        }
    }

    /// Makes the release live for one deployment.
    pub fn run(&self, settings: &Settings) -> CheckReport {
        // The build of an image is no news to be notified of.
        let quiet = Settings { notify: None, ..settings.clone() };
        let opened = self.look(settings).and_then(|it| Ok((it, Deployment::open(&quiet, Some(turn(settings)))?)));
        match opened {
            Ok((recalled, mut deployment)) => {
                let started = Instant::now(); // without the wait for the lock
                let result = deployment.seed(self.archive, recalled);
                deployment.end(result, started)
            }
            Err(e) => CheckReport::of_error(&e),
        }
    }

    /// Fails if seeding is impossible, before anything is written; returns the revision that the remote gives the
    /// archive.
    fn look(&self, settings: &Settings) -> Result<Option<PinnedRevision>> {
        if settings.is_installed() {
            return Err(Error::config(
                "cannot seed with activation = install: its scripts would not run, and files without them are half an installation: build the image with repo-deploy -f, or install at the first start",
            ));
        }
        let (Some(archive), Some(text)) = (self.archive, self.revision) else { return Ok(None) };
        Source::new(settings, &locations::locate(settings)?.cache)?.recall(text, archive).map(Some)
    }
}

impl Deployment<'_> {
    fn seed(&mut self, archive: Option<&Path>, recalled: Option<PinnedRevision>) -> Result<Outcome> {
        self.reset_interrupted()?;
        let found = match archive {
            Some(archive) => self.unpack_archive(archive, recalled)?,
            None => self.obtain()?,
        };
        match (found, self.live().cloned()) {
            (Some(record), None) => self.with_signals_deferred(|deployment| deployment.make_live(record)),
            (None, Some(live)) => {
                log::info!("{} is live already", named(&live));
                Ok(Outcome::Unchanged)
            }
            (Some(_), Some(live)) => Err(Error::failed(format!(
                "cannot seed: {} is live already, and this is another one: repo-deploy -f deploys what is new",
                named(&live)
            ))),
            (None, None) => {
                Err(Error::failed(self.findings.hold_reason.take().unwrap_or_else(|| "there is nothing".to_owned())))
            }
        }
    }

    /// Makes sure that nothing prevents a seed; undoes an interrupted one.
    fn reset_interrupted(&mut self) -> Result<()> {
        if self.doubt.is_some() {
            return Err(Error::failed("only a deployment settles that: repo-deploy -f"));
        }
        match self.state.phase {
            Phase::Idle => self.recover().map(|_| ()), // while idle, this makes no deployment
            Phase::Activating if self.live().is_none() => {
                log::info!("the last deployment was cut off: beginning anew");
                self.take_back()
            }
            Phase::Activating | Phase::Reverting => {
                Err(Error::failed("cannot seed: a deployment was cut off here; repo-deploy -f goes on with it"))
            }
        }
    }

    /// The live release. An adopted one does not count.
    fn live(&self) -> Option<&Record> {
        self.state.current.as_ref().filter(|current| !current.release.is_adopted())
    }

    /// Makes a release of the archive at `archive`; `None`: it is live.
    fn unpack_archive(&mut self, archive: &Path, recalled: Option<PinnedRevision>) -> Result<Option<Record>> {
        let download = self.places.download();
        let taken = self.lay_out_given(archive, recalled, &download);
        download.discard();
        taken
    }

    fn lay_out_given(
        &mut self,
        archive: &Path,
        recalled: Option<PinnedRevision>,
        download: &CacheFile,
    ) -> Result<Option<Record>> {
        let mut given = Source::File(FileSource::new(archive, self.settings));
        let Poll::Changed(offer) = given.poll(None, self.deadline)? else { return Ok(None) };
        let artifact = given.fetch(offer, download, self.deadline)?;
        let seen = artifact.validators.clone();
        let (revision, validators) = recalled.unwrap_or_else(|| (artifact.revision.clone(), Validators::default()));
        let release = self.id_of(&revision, None);
        let mut record = Record { release, revision, validators, since: now(), proof: None };
        if let Some(live) = self.live() {
            let is_it = self.is_of(live, &live.revision) && live.revision.as_str() == record.revision.as_str();
            return Ok((!is_it).then_some(record));
        }
        let seal = self.seal_of(&given, archive)?;
        let verified = package::verify(artifact, &seal, &self.demands, self.state.version.as_deref(), self.deadline)?;
        self.note_version(verified.version());
        self.save()?;
        record.proof = verified.proof().map(str::to_owned);
        record.release = self.id_of(&record.revision, verified.proof());
        // The release is not live, and may have come from another archive of the same name.
        self.store.discard(&record.release)?;
        self.unpack_release(&verified, &record, &given, &seen)?;
        Ok(Some(record))
    }

    /// The signature and checksums of the archive: a signature file beside it comes before the one of the remote, which
    /// may be out of reach.
    fn seal_of(&self, given: &Source, archive: &Path) -> Result<Sidecars> {
        let mut trust = self.settings.trust.clone();
        let (sums, theirs) = (trust.sums.take(), trust.signature.take());
        let beside = Remote::File(archive.to_owned());
        let mut own = None;
        if theirs.is_some() {
            trust.signature = beside.with_suffix(".minisig");
            own = given.seal(&beside, &trust, self.deadline)?.signature.filter(|paper| paper.content.is_some());
        }
        (trust.sums, trust.signature) = (sums, theirs.filter(|_| own.is_none()));
        let seal = self.source.seal(&self.settings.remote, &trust, self.deadline);
        let seal = seal.with_context(|| format!("cannot prove {}", archive.display()))?;
        Ok(Sidecars { signature: own.or(seal.signature), ..seal })
    }

    /// Makes `target` live as a deployment does, but without hooks.
    fn make_live(&mut self, target: Record) -> Result<Outcome> {
        self.begin_attempt(Reason::Seed, Some(target.clone()));
        let release = self.release(&target.release)?;
        (self.state.target, self.state.attempt) = (Some(target), 1);
        let begun = self.begin()?;
        let done = self.ready_live_dir().and_then(|_| self.activation.activate(&self.store, &release, self.limit()));
        let Err(e) = done.and_then(|()| self.same_live_dir()) else { return self.commit(begun) };
        if let Kind::Stopped(signal) = e.kind() {
            return Err(cut_off(signal)); // a rollback would be stopped too
        }
        self.take_back().and(Err(e))
    }

    /// Undoes an interrupted or failed seed.
    fn take_back(&mut self) -> Result<()> {
        self.context.deadline = Deadline::after(self.settings.timeout); // as in every rollback
        match self.state.current.as_ref().map(|before| self.release(&before.release)).transpose()? {
            Some(before) => {
                self.ready_live_dir().and_then(|_| self.activation.reactivate(&self.store, &before, self.limit()))
            }
            None => self.activation.withdraw(&self.store, &self.state.found, self.limit()),
        }
        .map_err(way_back_failed)?;
        (self.state.phase, self.state.attempt, self.state.target) = (Phase::Idle, 0, None);
        self.store.record(&self.state).map_err(in_doubt)
    }
}
