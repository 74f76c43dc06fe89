//! Outlets for lines. A slow reader is waited for, but not past the deadline in force, not after a stop signal, and not
//! longer than [`PATIENCE`] without progress. After that, lines are dropped at once and counted, until one is taken
//! again.

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::time::Duration;

use log::Level;

use super::line;
use crate::error::plain;
use crate::sys::clock::Deadline;
use crate::sys::signal;
use crate::sys::stderr::Sink;

/// The longest time that a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest wait without checking for signals.
const LOOK: Duration = Duration::from_millis(50);

/// The deadline in force.
static LIMIT: Mutex<Option<Deadline>> = Mutex::new(None);

/// While one lives, no line waits past its deadline. Nests: the innermost one is in force.
#[must_use = "the limit ends where this is dropped"]
#[derive(Debug)]
pub struct Limit(Option<Deadline>);

/// From now on no line waits past `deadline`.
pub fn limit(deadline: Deadline) -> Limit {
    Limit(set_limit(Some(deadline)))
}

impl Drop for Limit {
    fn drop(&mut self) {
        set_limit(self.0);
    }
}

/// Sets the deadline in force, and returns the former one.
pub(super) fn set_limit(deadline: Option<Deadline>) -> Option<Deadline> {
    LIMIT.lock().ok().and_then(|mut limit| std::mem::replace(&mut *limit, deadline))
}

/// The time by which the next piece of a line must be taken.
fn patience() -> Deadline {
    let limit = LIMIT.lock().ok().and_then(|limit| *limit);
    limit.map_or_else(|| Deadline::after(PATIENCE), |limit| limit.at_most(PATIENCE))
}

/// A destination of lines, and the state of earlier ones.
#[derive(Debug)]
pub(super) struct Outlet {
    sink: Sink,
    /// journald reads it, and has times of its own.
    pub(super) is_journal: bool,
    /// The last line lacks its end.
    is_torn: bool,
    /// The number of lines dropped since the last one that was taken, and the reason.
    missing: Option<(u64, String)>,
}

impl Outlet {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink, is_journal: false, is_torn: false, missing: None }
    }

    /// Sets whether journald reads it.
    pub(super) fn read_by_journal(self, is_journal: bool) -> Self {
        Self { is_journal, ..self }
    }

    /// Writes lines, all of them or an error: then they count as one dropped line.
    pub(super) fn deliver(&mut self, lines: &str) -> io::Result<()> {
        self.own_up();
        let result = self.write(lines.as_bytes(), self.missing.is_none());
        if let Err(e) = &result {
            let (count, _) = self.missing.take().unwrap_or_default();
            let is_unread = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            self.missing = Some((count + 1, if is_unread { "nobody read them".to_owned() } else { plain(e) }));
        }
        result
    }

    /// Forgets dropped lines, in a worker: they are its parent's.
    pub(super) fn forget(&mut self) {
        self.missing = None;
    }

    /// Shows a text that may be lost.
    pub(super) fn show(&mut self, text: &str) {
        let _ = self.write(text.as_bytes(), false); // the next one comes soon
    }

    /// Reports the number of dropped lines, if the report is taken.
    pub(super) fn own_up(&mut self) {
        let Some((count, why)) = &self.missing else { return };
        let lines = if *count == 1 { "line was" } else { "lines were" };
        let notice =
            line::with_record(Level::Warn, line::OURSELVES, &format!("{count} {lines} dropped: {why}")).concat();
        let notice = line::formed(&notice, self.is_journal, "");
        if self.write(notice.as_bytes(), false).is_ok() {
            self.missing = None;
        }
    }

    fn write(&mut self, bytes: &[u8], waits: bool) -> io::Result<()> {
        let whole = if self.is_torn { [b"\n", bytes].concat() } else { bytes.to_vec() }; // a record begins its own line
        let (mut rest, mut limit) = (&whole[..], patience());
        let may_wait = |limit: Deadline| waits && !limit.has_passed() && signal::pending().is_none();
        while !rest.is_empty() {
            let error = match self.sink.write_now(rest) {
                Ok(0) => io::Error::from(ErrorKind::WriteZero),
                Ok(taken) => {
                    (rest, limit) = (&rest[taken..], patience());
                    continue;
                }
                Err(e) => e,
            };
            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) || !may_wait(limit) {
                self.is_torn = whole[..whole.len() - rest.len()].last().map_or(self.is_torn, |last| *last != b'\n');
                return Err(error);
            }
            self.sink.has_room_within(limit.remaining().min(LOOK))?;
        }
        self.is_torn = false;
        Ok(())
    }
}
