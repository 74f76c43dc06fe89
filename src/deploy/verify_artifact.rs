//! Verifies a fetched archive before it is unpacked: its signature and checksum file are fetched after it. On a
//! mismatch, the archive was replaced meanwhile, and is polled again; or its signature is not there yet, and every
//! check looks for it without fetching the archive again; or the archive is bad, and is on hold.

use super::check::Check;
use crate::artifact::Artifact;
use crate::error::{Error, Kind, Result};
use crate::model::Known;
use crate::package::{self, Verified};
use crate::store::state::{FailureKind, Record};

/// The fingerprint of signature files that could not be fetched: any later fingerprint differs from it.
const UNKNOWN: &str = "unknown";

impl Check<'_> {
    /// Verifies the artifact against the configured `trust`; `record` is the release it would become.
    pub fn verify_artifact(&mut self, artifact: Artifact, record: &Record) -> Result<Verified> {
        let seal = match self.seal() {
            Ok(seal) => seal,
            Err(e) if matches!(e.kind(), Kind::Stopped(_)) => return Err(e),
            Err(e) => return self.refuse_unverified(record, e, UNKNOWN),
        };
        match package::verify(artifact, &seal, &self.demands, self.state.version.as_deref(), self.deadline) {
            Ok(verified) => {
                self.note_version(verified.version());
                Ok(verified)
            }
            Err(e) if e.kind() == Kind::Refused => {
                if let Some(e) = self.refused_delta(&e) {
                    return Err(e);
                }
                let fetched = Known { revision: &record.revision, validators: &record.validators };
                if self.context.source.has_replaced(fetched, self.deadline)? {
                    return Err(Error::new(
                        Kind::Superseded,
                        format!("{} was replaced meanwhile ({e})", self.settings.remote),
                    ));
                }
                self.refuse_unverified(record, e, &seal.fingerprint())
            }
            Err(e) => Err(e),
        }
    }

    /// Records an archive that `seal` does not prove, and fails.
    fn refuse_unverified(&mut self, record: &Record, e: Error, seal: &str) -> Result<Verified> {
        self.places.download().discard();
        self.state.target = Some(record.clone());
        self.count_failure(record, FailureKind::Refused, &e.to_string());
        let trust = &self.settings.trust;
        let has_seal = trust.signature.is_some() || trust.sums.is_some();
        if let Some(failure) = self.state.failure.as_mut().filter(|_| has_seal) {
            failure.seal = Some(seal.to_owned());
        }
        self.state.attempt = 0;
        self.is_changed = true;
        Err(e)
    }

    /// Takes the version that the next one must not be lower than; to be saved before anything is unpacked.
    pub fn note_version(&mut self, version: Option<&str>) {
        // With `allow-downgrade`, this archive sets the new minimum, even if it names no version.
        let highest = version.or(self.state.version.as_deref().filter(|_| !self.settings.trust.allow_downgrade));
        if highest == self.state.version.as_deref() {
            return;
        }
        self.state.version = highest.map(str::to_owned);
        // An earlier candidate may have a lower version.
        (self.state.target, self.state.failure) = (None, None);
        self.is_changed = true;
    }
}
