//! Until when a revision that failed is on hold. One answer, by which the check goes and of which the status tells.

use crate::config::Settings;
use crate::model::{ReleaseId, Revision};
use crate::package::Demands;
use crate::remote::Remote;
use crate::store::state::{Failure, FailureKind};
use crate::sys::clock::now;

/// How long a refused archive is on hold while the source still offers it, in seconds.
const REFUSED_FOR: u64 = 3600;

/// How long it is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The next check tries it again.
    None,
    /// Until then; or until something else lies beside it, or the configuration asks for something else.
    Until(u64),
    /// Until the source has another revision.
    ForGood,
}

impl Hold {
    /// For a revision that failed under `settings`, of which archives have to meet `demands`.
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

/// A fingerprint of what may refuse an archive.
pub fn policy(settings: &Settings, demands: &Demands) -> String {
    let Settings { layout, max_download, trust, .. } = settings;
    let places = [&trust.signature, &trust.sums].map(|place| place.as_ref().map(Remote::identity));
    let text = format!("{layout:?} {max_download} {} {demands:?} {places:?}", env!("CARGO_PKG_VERSION"));
    ReleaseId::of(&text, &Revision::new(""), "").to_string()
}
