//! `repo-deploy seed [ARCHIVE --revision R]`: at the build of an image a release is put in place with what the source calls
//! it, through the same checks, the same policy and the same writer as any other; no hook runs. Only where nothing is live.
//!
//! A seed that is cut off is taken back by the next one. When a check comes first, it goes on with it as with any
//! deployment, hooks and all.

use std::path::Path;
use std::time::Instant;

use crate::activate::locations;
use crate::artifact::{CacheFile, Sidecars};
use crate::config::Settings;
use crate::deploy::{Deployment, cut_off, in_doubt, turn, way_back_failed};
use crate::error::{Context, Error, Kind, Result};
use crate::model::{Reason, Validators};
use crate::outcome::Outcome;
use crate::package;
use crate::remote::Remote;
use crate::report::check_report::{CheckReport, named};
use crate::source::PinnedRevision;
use crate::source::file::FileSource;
use crate::source::{Poll, Source};
use crate::store::state::{Phase, Record};
use crate::sys::clock::{Deadline, now};

/// What is to be made live.
#[derive(Debug)]
pub struct Seed<'a> {
    /// `None`: what the remote has.
    archive: Option<&'a Path>,
    /// What the remote calls it.
    revision: Option<&'a str>,
}

impl<'a> Seed<'a> {
    /// Reads what the command line says.
    pub fn new(operands: &'a [String], revision: Option<&'a str>, sections: &[Settings]) -> Result<Self> {
        let archive = operands.first().map(Path::new);
        let misused = |why: &str| Err(Error::new(Kind::Usage, format!("cannot seed {why}")));
        let is_told = |settings: &Settings| matches!(settings.remote, Remote::File(_)); // a hash, which the bytes have
        match (archive, revision) {
            (None, Some(_)) => misused("with --revision alone: it says what the remote calls an ARCHIVE at hand"),
            (Some(_), _) if sections.len() > 1 => misused("several sections with one ARCHIVE: choose one"),
            (Some(_), None) if !sections.iter().all(is_told) => misused(
                "an ARCHIVE without --revision: what the remote calls it (its ETag, its commit) does not stand in it, and the first check would deploy it again",
            ),
            _ => Ok(Self { archive, revision }),
        }
    }

    /// Makes it live for a deployment.
    pub fn run(&self, settings: &Settings) -> CheckReport {
        // An image is no machine that somebody waits for.
        let quiet = Settings { notify: None, ..settings.clone() };
        let opened = self.look(settings).and_then(|it| Ok((it, Deployment::open(&quiet, Some(turn(settings)))?)));
        match opened {
            Ok((recalled, mut deployment)) => {
                let started = Instant::now(); // whom it waited for has a time of its own
                let result = deployment.seed(self.archive, recalled);
                deployment.end(result, started)
            }
            Err(e) => CheckReport::of_error(&e),
        }
    }

    /// Whether it can be done at all, before anything is written; what the remote calls the archive.
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
            (None, None) => Err(Error::failed(self.why.take().unwrap_or_else(|| "there is nothing".to_owned()))),
        }
    }

    /// Whether there is room for a seed. One that was cut off is taken back.
    fn reset_interrupted(&mut self) -> Result<()> {
        if self.doubt.is_some() {
            return Err(Error::failed("only a deployment settles that: repo-deploy -f"));
        }
        match self.state.phase {
            Phase::Idle => self.recover().map(|_| ()), // while idle that is no deployment
            Phase::Activating if self.live().is_none() => {
                log::info!("the last deployment was cut off: beginning anew");
                self.take_back()
            }
            Phase::Activating | Phase::Reverting => {
                Err(Error::failed("cannot seed: a deployment was cut off here; repo-deploy -f goes on with it"))
            }
        }
    }

    /// The live release. What somebody else had put there is none.
    fn live(&self) -> Option<&Record> {
        self.state.current.as_ref().filter(|current| !current.release.is_adopted())
    }

    /// The release of what lies at `archive`; `None`: it is live.
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
        self.note_version(verified.version())?;
        record.proof = verified.proof().map(str::to_owned);
        record.release = self.id_of(&record.revision, verified.proof());
        // It is not live, and may have come from another archive of the same name.
        self.store.discard(&record.release)?;
        self.unpack_release(&verified, &record, &given, &seen)?;
        Ok(Some(record))
    }

    /// What lies beside the archive: a signature of its own before that of the remote, which may be out of reach.
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

    /// From nothing to `target`, as a deployment goes, and nobody is asked.
    fn make_live(&mut self, target: Record) -> Result<Outcome> {
        self.begin_attempt(Reason::Seed, Some(target.clone()));
        let release = self.release(&target.release)?;
        (self.state.target, self.state.attempt) = (Some(target), 1);
        let begun = self.begin()?;
        let done = self.ready_live_dir().and_then(|_| self.activation.activate(&release, self.limit()));
        let Err(e) = done.and_then(|()| self.same_live_dir()) else { return self.commit(begun) };
        if let Kind::Stopped(signal) = e.kind() {
            return Err(cut_off(signal)); // a way back would be stopped too
        }
        self.take_back().and(Err(e))
    }

    /// Undoes what a seed has begun.
    fn take_back(&mut self) -> Result<()> {
        self.deadline = Deadline::after(self.settings.timeout); // as on every way back
        match self.state.current.as_ref().map(|before| self.release(&before.release)).transpose()? {
            Some(before) => self.ready_live_dir().and_then(|_| self.activation.reactivate(&before, self.limit())),
            None => self.activation.withdraw(&self.state.found, self.limit()),
        }
        .map_err(way_back_failed)?;
        (self.state.phase, self.state.attempt, self.state.target) = (Phase::Idle, 0, None);
        self.store.record(&self.state).map_err(in_doubt)
    }
}
