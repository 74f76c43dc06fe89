//! What a check learns for its report.

use std::time::Instant;

use crate::error::{Kind, Result};
use crate::model::{Reason, ReleaseId};
use crate::outcome::Outcome;
use crate::report::check_report::{CheckReport, outcome_of};
use crate::store::history::Entry;
use crate::store::state::{Record, State};
use crate::sys::clock::now;

/// What a check learns for its report; no decision about the live tree needs it.
#[derive(Debug, Default)]
pub struct Findings {
    /// The deployment that the check makes or tries, if there is one.
    pub attempt: Option<Attempt>,
    /// The reason why the revision of the source is not tried, if so; or why a rollback failed.
    pub hold_reason: Option<String>,
    /// Bytes of archives that were read from the source.
    pub fetched: u64,
    /// A signal that arrived while the live tree was changing: the step was finished, and the process ends now.
    pub stop: Option<i32>,
}

/// The deployment that a check makes or tries.
#[derive(Debug)]
pub struct Attempt {
    pub reason: Reason,
    pub record: Option<Record>,
    from: Option<ReleaseId>,
    /// When the deployment began.
    pub since: Instant,
}

impl Attempt {
    /// A deployment of `record`, as far as it is known, that begins now on top of `state`.
    pub fn begin(reason: Reason, record: Option<Record>, state: &State) -> Self {
        let from = state.current.as_ref().map(|current| current.release.clone());
        Self { reason, record, from, since: Instant::now() }
    }

    /// The history entry of the check that ended with `result` and left `state`. A stopped check gets none: the next
    /// start resumes it, or it has changed nothing.
    pub fn entry(self, state: &State, result: &Result<Outcome>, report: &CheckReport) -> Option<Entry> {
        let Self { reason, record, from, .. } = self;
        let (record, why) = match result {
            Ok(Outcome::Unchanged | Outcome::OnHold) => return None,
            Err(e) if matches!(e.kind(), Kind::Stopped(_)) => return None,
            Ok(Outcome::Deployed) => (state.current.clone(), String::new()),
            Ok(Outcome::Blocked | Outcome::RolledBack | Outcome::Adopted | Outcome::Failed(_)) | Err(_) => {
                (record, report.text.clone())
            }
        };
        let reason = reason.to_string();
        Some(Entry { reason, record, from, why, ..Entry::new(now(), outcome_of(result)) })
    }
}
