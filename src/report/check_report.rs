//! The result of a check, for its caller: the daemon, a command, or the parent of the worker that made the check.

use crate::error::{Error, Kind, Result};
use crate::outcome::Outcome;
use crate::store::state::{Record, State};
use crate::sys::log::Facts;

/// How long a repeated error is not logged again, in seconds.
pub const QUIET: u64 = 3600;

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The outcome, in one word.
    pub outcome: Outcome,
    /// The live release if nothing changed; else the reason.
    pub text: String,
    /// The release that `text` is about, and its revision, for programs that read the log; empty: none.
    pub release: String,
    pub revision: String,
    /// Whether the `status` file of the store has it.
    pub is_recorded: bool,
    /// Whether an earlier check had the same result and reported it.
    pub is_repeated: bool,
    /// Whether an earlier check logged it less than an hour ago.
    pub is_told: bool,
    /// Whether the store has pruned releases to remove.
    pub has_pruned: bool,
    /// Whether a bundle of roots had to be parsed: see [`crate::http::roots`].
    pub has_parsed_roots: bool,
}

impl CheckReport {
    /// A report that is not yet in the status of a store.
    pub fn new(outcome: Outcome, text: String) -> Self {
        let (release, revision) = (String::new(), String::new());
        Self {
            outcome,
            text,
            release,
            revision,
            is_recorded: false,
            is_repeated: false,
            is_told: false,
            has_pruned: false,
            has_parsed_roots: false,
        }
    }

    /// The facts of the log line about it.
    pub fn facts(&self) -> Facts<'_> {
        Facts { outcome: Some(self.outcome.word()), release: Some(&self.release), revision: Some(&self.revision) }
    }

    /// The report of a check that ended with `result` and left `state`. `reason`: why the release is on hold, or why a
    /// rollback failed.
    pub fn of(result: &Result<Outcome>, state: &State, reason: Option<&str>) -> Self {
        // Nothing new, and nothing live: possible only in a section that records the bundle deployer.py installed.
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
        let about = match result {
            Ok(Outcome::Unchanged | Outcome::Deployed | Outcome::Adopted) => state.current.as_ref(),
            Ok(Outcome::OnHold | Outcome::Blocked) => state.target.as_ref(),
            Ok(Outcome::RolledBack | Outcome::Failed(_)) | Err(_) => None,
        };
        let (release, revision) =
            about.map(|about| (about.release.to_string(), about.revision.as_str().to_owned())).unwrap_or_default();
        Self { is_recorded: true, release, revision, ..Self::new(outcome_of(result), text) }
    }

    /// The report of a check that failed before it opened a store, or without a report of its own.
    pub fn of_error(e: &Error) -> Self {
        Self::new(Outcome::Failed(e.kind()), e.to_string())
    }

    /// The report of a worker that ended without one.
    pub fn failed(text: String) -> Self {
        Self::new(Outcome::Failed(Kind::Failed), text)
    }

    /// The report as bytes, for the parent process, the text last. `is_told` is left out: the parent knows it.
    pub fn print(&self) -> Vec<u8> {
        let Self { outcome, is_recorded, is_repeated, is_told: _, has_pruned, text, release, revision, .. } = self;
        let (code, roots) = (outcome.exit_code(), self.has_parsed_roots);
        format!("{outcome}\n{code}\n{is_recorded}\n{is_repeated}\n{has_pruned}\n{roots}\n{release}\n{revision}\n{text}")
            .into_bytes()
    }

    /// Parses the output of [`CheckReport::print`]; the text may be truncated.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.splitn(9, '\n');
        let (word, code) = (parts.next()?, parts.next()?.parse::<u8>().ok()?);
        let outcome = match Outcome::parse(word)? {
            Outcome::Failed(Kind::Stopped(_)) => Outcome::Failed(Kind::Stopped(i32::from(code).saturating_sub(128))),
            outcome => outcome,
        };
        let mut is_true = || Some(parts.next()? == "true");
        let (is_recorded, is_repeated, has_pruned, has_parsed_roots) = (is_true()?, is_true()?, is_true()?, is_true()?);
        let (release, revision) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let report = Self::new(outcome, parts.next()?.to_owned());
        Some(Self { is_recorded, is_repeated, has_pruned, has_parsed_roots, release, revision, ..report })
    }
}

/// The outcome of a check.
pub fn outcome_of(result: &Result<Outcome>) -> Outcome {
    match result {
        Ok(outcome) => *outcome,
        Err(e) => Outcome::Failed(e.kind()),
    }
}

/// The name of a release in reports.
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
            let (release, revision) = ("abc".to_owned(), text.replace('\n', ""));
            let report = CheckReport::new(outcome, text.to_owned());
            let one = CheckReport { is_recorded, has_pruned: !is_recorded, release, revision, ..report };
            assert_eq!(CheckReport::parse(&one.print()), Some(one));
        }
        for broken in [
            "",
            "unchanged",
            "unchanged\n0\ntrue\nfalse\nfalse\nfalse\n\n",
            "unchanged\nx\ntrue\nfalse\ntrue\ntrue\n\n\ny",
            "x\n0\ntrue\nfalse\ntrue\ntrue\n\n\ny",
        ] {
            assert_eq!(CheckReport::parse(broken.as_bytes()), None, "{broken}");
        }
    }
}
