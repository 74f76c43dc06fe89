//! What one check came to, for its caller: the daemon, a command, or the parent of the worker that made the check.

use crate::error::{Error, Kind, Result};
use crate::outcome::Outcome;
use crate::store::state::{Record, State};

/// How long an error that stays the same is not told again, in seconds.
pub const QUIET: u64 = 3600;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// In one word.
    pub outcome: Outcome,
    /// The live release when nothing changed; else the reason.
    pub text: String,
    /// The `status` file of the store has it.
    pub is_recorded: bool,
    /// An earlier check came to the same, and said so.
    pub is_repeated: bool,
    /// It did so less than an hour ago.
    pub is_told: bool,
}

impl CheckReport {
    /// An outcome that no store knows yet.
    pub fn new(outcome: Outcome, text: String) -> Self {
        Self { outcome, text, is_recorded: false, is_repeated: false, is_told: false }
    }

    /// The report of a check that ended with `result` and left `state`. `reason`: why the release is on hold, or at what a
    /// rollback failed.
    pub fn of(result: &Result<Outcome>, state: &State, reason: Option<&str>) -> Self {
        // Nothing new although nothing is live: only a section that says what was installed before us has that.
        let before = || "nothing newer than last_fetch_time says, and nothing of ours is installed yet".to_owned();
        let failure = || state.failure.as_ref().map(|f| f.why.clone()).unwrap_or_default();
        let text = match result {
            Ok(Outcome::Unchanged | Outcome::Deployed | Outcome::Adopted) => {
                state.current.as_ref().map_or_else(before, named)
            }
            Ok(Outcome::OnHold | Outcome::RolledBack) => reason.map_or_else(failure, str::to_owned),
            Ok(Outcome::Blocked | Outcome::Failed(_)) => failure(),
            Err(e) => e.to_string(),
        };
        Self { is_recorded: true, ..Self::new(outcome_of(result), text) }
    }

    /// The report of a check that failed before it had a store, or without an end of its own.
    pub fn of_error(e: &Error) -> Self {
        Self::new(Outcome::Failed(e.kind()), e.to_string())
    }

    /// A check that came to no end of its own.
    pub fn failed(text: String) -> Self {
        Self::new(Outcome::Failed(Kind::Failed), text)
    }

    /// As bytes, for another process: the text last. Whether it was logged the parent knows by itself.
    pub fn print(&self) -> Vec<u8> {
        let Self { outcome, is_recorded, is_repeated, is_told: _, text } = self;
        format!("{outcome}\n{}\n{is_recorded}\n{is_repeated}\n{text}", outcome.exit_code()).into_bytes()
    }

    /// Reads [`CheckReport::print`] back; a text that was cut is as good as a whole one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.splitn(5, '\n');
        let (word, code) = (parts.next()?, parts.next()?.parse::<u8>().ok()?);
        let outcome = match Outcome::parse(word)? {
            Outcome::Failed(Kind::Stopped(_)) => Outcome::Failed(Kind::Stopped(i32::from(code).saturating_sub(128))),
            outcome => outcome,
        };
        let (is_recorded, is_repeated) = (parts.next()? == "true", parts.next()? == "true");
        Some(Self { is_recorded, is_repeated, ..Self::new(outcome, parts.next()?.to_owned()) })
    }
}

/// The outcome of a check.
pub fn outcome_of(result: &Result<Outcome>) -> Outcome {
    match result {
        Ok(outcome) => *outcome,
        Err(e) => Outcome::Failed(e.kind()),
    }
}

/// How reports call a release.
pub fn named(r: &Record) -> String {
    match r.revision.as_str() {
        "" => format!("release {}", r.release),
        _ => format!("release {}, revision {}", r.release, r.revision),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_passes_through_a_pipe() {
        for (outcome, text, is_recorded) in [
            (Outcome::Unchanged, "", true),
            (Outcome::Failed(Kind::Config), "a\nb\n", false),
            (Outcome::Failed(Kind::Stopped(15)), "stopped", false),
            (Outcome::RolledBack, "ü: x", true),
        ] {
            let one = CheckReport { is_recorded, ..CheckReport::new(outcome, text.to_owned()) };
            assert_eq!(CheckReport::parse(&one.print()), Some(one));
        }
        for broken in
            ["", "unchanged", "unchanged\n0\ntrue\nfalse", "unchanged\nx\ntrue\nfalse\ny", "x\n0\ntrue\nfalse\ny"]
        {
            assert_eq!(CheckReport::parse(broken.as_bytes()), None, "{broken}");
        }
    }
}
