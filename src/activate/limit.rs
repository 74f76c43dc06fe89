//! Ends an activation early: at the deadline of the check, or after a signal noted while signals were deferred. Asked
//! in every loop that grows with a tree, and inside large files.

use crate::error::{Error, Kind, Result};
use crate::sys::clock::Deadline;
use crate::sys::signal;

/// The time limit of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    deadline: Option<Deadline>,
    obeys_signals: bool,
}

impl Limit {
    /// Until a signal requests a stop.
    pub const SIGNALS: Self = Self { deadline: None, obeys_signals: true };
    /// No limit, for a cleanup after another limit has passed.
    pub(super) const NONE: Self = Self { deadline: None, obeys_signals: false };

    /// Until the deadline passes or a signal requests a stop.
    pub fn at(deadline: Deadline) -> Self {
        Self { deadline: Some(deadline), obeys_signals: true }
    }

    /// Fails once it is over: [`Kind::Stopped`] after a signal, [`Kind::Failed`] after the deadline.
    pub fn ask(self) -> Result<()> {
        if let Some(by) = signal::pending().filter(|_| self.obeys_signals) {
            return Err(Error::new(Kind::Stopped(by), format!("stopped by {}", signal::describe(by))));
        }
        match self.deadline {
            Some(deadline) if deadline.has_passed() => Err(Error::failed("the whole check took longer than timeout")),
            _ => Ok(()),
        }
    }
}
