//! What ends an activation before it is over: the deadline of the check, and a signal that was noted in a deferred region.
//! Asked in every loop that grows with a tree, and inside one large file.

use crate::error::{Error, Kind, Result};
use crate::sys::clock::Deadline;
use crate::sys::signal;

/// How long something may go on.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    deadline: Option<Deadline>,
    obeys_signals: bool,
}

impl Limit {
    /// Until a signal asks us to stop.
    pub const SIGNALS: Self = Self { deadline: None, obeys_signals: true };
    /// For ever: what makes good what was begun when a limit is over.
    pub(super) const NONE: Self = Self { deadline: None, obeys_signals: false };

    /// Until the deadline passes, or a signal asks us to stop.
    pub fn at(deadline: Deadline) -> Self {
        Self { deadline: Some(deadline), obeys_signals: true }
    }

    /// An error when it is over: [`Kind::Stopped`] by a signal, [`Kind::Failed`] by the deadline.
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
