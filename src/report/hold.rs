//! How long a failed revision is on hold; used by the check and by the status.

use crate::config::Settings;
use crate::model::{ReleaseId, Revision};
use crate::package::Demands;
use crate::remote::Remote;
use crate::store::state::{Failure, FailureKind};
use crate::sys::clock::now;

/// How long a refused archive is on hold while the source still offers it, in seconds.
const REFUSED_FOR: u64 = 3600;

/// How long a failed revision is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The next check tries it again.
    None,
    /// Until that time; or until its signature, its checksums or the configured policy change.
    Until(u64),
    /// Until the source has another revision.
    ForGood,
}

impl Hold {
    /// The hold of a revision that failed under `settings`, with the proofs that `demands` requires.
    pub fn after(failure: &Failure, settings: &Settings, demands: &Demands) -> Self {
        let limit = settings.max_attempts;
        match failure.kind {
            FailureKind::Refused => {
                let is_recent = now().abs_diff(failure.when) < REFUSED_FOR;
                let is_same = failure.policy == policy(settings, demands);
                if is_same && is_recent { Self::Until(failure.when.saturating_add(REFUSED_FOR)) } else { Self::None }
            }
            FailureKind::Blocked | FailureKind::Reverted if limit > 0 && failure.count >= limit => Self::ForGood,
            FailureKind::Blocked | FailureKind::Reverted => Self::None,
        }
    }
}

/// A fingerprint of the settings that may cause a refusal.
pub fn policy(settings: &Settings, demands: &Demands) -> String {
    let Settings { layout, max_download, trust, .. } = settings;
    let places = [&trust.signature, &trust.sums].map(|place| place.as_ref().map(Remote::identity));
    let text = format!("{layout:?} {max_download} {} {demands:?} {places:?}", env!("CARGO_PKG_VERSION"));
    ReleaseId::of(&text, &Revision::new(""), "").to_string()
}
