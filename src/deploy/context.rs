//! What a check is given. Polling changes the source, and a rollback gets a deadline of its own; nothing else changes.

use super::hooks;
use crate::activate::Activation;
use crate::activate::limit::Limit;
use crate::activate::locations::Places;
use crate::artifact::Sidecars;
use crate::config::Settings;
use crate::console;
use crate::error::{Error, Kind, Result};
use crate::model::{ActivationMode, ReleaseId, Revision, Validators};
use crate::package::Demands;
use crate::source::Source;
use crate::store::state::{Failure, Record};
use crate::store::{Release, StoreView};
use crate::sys::clock::{Deadline, now};

/// The parts of a deployment, whatever its state is.
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub places: Places,
    pub store: StoreView,
    pub activation: Activation,
    pub source: Source,
    /// The proofs that `trust` requires of an archive.
    pub demands: Demands,
    pub deadline: Deadline,
    /// The hook directories that existed when the check began, with their hooks.
    pub hooks: Vec<hooks::Before>,
    /// Limits how long a log line may wait for its reader.
    pub(super) _limit: console::Limit,
}

impl Context<'_> {
    /// The error for a `<local>` that cannot be deployed to.
    pub fn refusal(&self, why: &str) -> Error {
        Error::config(format!("cannot deploy to {}: {why}", self.settings.local.display()))
    }

    /// ` at <local>`, in the modes that change `<local>`.
    pub fn at(&self) -> String {
        match self.places.mode {
            ActivationMode::Install => String::new(),
            ActivationMode::Symlink | ActivationMode::InPlace => format!(" at {}", self.settings.local.display()),
        }
    }

    /// The time limit of an activation.
    pub fn limit(&self) -> Limit {
        Limit::at(self.deadline)
    }

    pub fn release(&self, id: &ReleaseId) -> Result<Release> {
        self.store.release(id)?.ok_or_else(|| {
            Error::new(Kind::InDoubt, format!("release {id} is gone from {}", self.store.root().display()))
        })
    }

    /// The signature and checksum file that the source has for its archive.
    pub fn seal(&self) -> Result<Sidecars> {
        self.source.seal(&self.settings.remote, &self.settings.trust, self.deadline)
    }

    /// Whether the signature or checksum file differs from the one with which the archive was refused.
    pub fn has_new_seal(&self, failure: &Failure) -> Result<bool> {
        let Some(before) = &failure.seal else { return Ok(false) };
        Ok(self.seal()?.fingerprint() != *before)
    }

    /// The record of a revision whose archive is not verified.
    pub fn unproven(&self, revision: Revision, validators: Validators) -> Record {
        Record { release: self.id_of(&revision, None), revision, validators, since: now(), proof: None }
    }

    /// Whether a record is of this revision of this source in this layout, and its proof meets the present `trust`. The
    /// record of a refused archive has no proof, and nothing was unpacked for it.
    pub fn is_of(&self, record: &Record, revision: &Revision) -> bool {
        let proof = record.proof.as_deref();
        self.is_release(&record.release, revision, proof) && (proof.is_none() || self.demands.is_met_by(proof))
    }

    /// Whether `release` is of this revision. The id of a seeded release may come from the bare name of its revision,
    /// without the validators that identify its content.
    pub fn is_release(&self, release: &ReleaseId, revision: &Revision, proof: Option<&str>) -> bool {
        let bare = Revision::new(revision.as_str());
        *release == self.id_of(revision, proof) || *release == self.id_of(&bare, proof)
    }

    /// The release id of a revision with its proof: a verified release never shares its id with an unverified one.
    pub fn id_of(&self, revision: &Revision, proof: Option<&str>) -> ReleaseId {
        let mut layout = self.settings.layout.identity();
        match proof {
            Some(proof) => layout.push_str(&format!(" {proof}")),
            None if self.demands.is_some() => layout.push_str(" unproven"),
            None => {}
        }
        ReleaseId::of(&self.settings.remote.identity(), revision, &layout)
    }
}
