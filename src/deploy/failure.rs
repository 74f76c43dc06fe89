//! The errors of the engine: a deployment that was cut off, a live tree in doubt, a state of another version.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::store::state::{Phase, State};

/// A state of another version.
pub fn foreign(root: &Path, format: &str) -> Error {
    Error::config(format!(
        "the state in {} has the format {format}, which this version does not know: a newer repo-deploy wrote it; run that one",
        root.display()
    ))
}

/// Refuses to inspect or repair a live tree that is between two releases.
pub fn in_the_way(state: &State) -> Result<()> {
    match state.phase {
        Phase::Idle => Ok(()),
        phase => {
            let text = format!("the last deployment was cut off, {phase}: the next check (repo-deploy -f) finishes it");
            Err(Error::new(Kind::InDoubt, text))
        }
    }
}

/// A signal during a deployment: either release may be live.
pub fn cut_off(signal: i32) -> Error {
    let text = format!("stopped by signal {signal} in the middle of a deployment; the next start goes on with it");
    Error::new(Kind::Stopped(signal), text)
}

/// The error of a failed rollback. A signal ends a rollback too, and the next start resumes it. A configuration error,
/// which only the operator can fix, is passed on unchanged.
pub fn way_back_failed(e: Error) -> Error {
    match e.kind() {
        Kind::Stopped(signal) => cut_off(signal),
        Kind::Config => e,
        Kind::Failed
        | Kind::Refused
        | Kind::Superseded
        | Kind::Unavailable { .. }
        | Kind::InDoubt
        | Kind::Usage
        | Kind::Locked => in_doubt(e),
    }
}

/// A signal that came while nothing live was changing.
pub fn stopped(signal: i32) -> Error {
    Error::new(Kind::Stopped(signal), format!("stopped by signal {signal}"))
}

/// The live tree may be neither old nor new.
pub fn in_doubt(e: Error) -> Error {
    Error::new(Kind::InDoubt, format!("the live tree is in doubt, the next check tries to settle it: {e}"))
}
