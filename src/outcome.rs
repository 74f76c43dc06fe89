//! The outcome of a check: one closed set. The log, the status file, the history, metrics, notifications, JSON, the
//! pipe of the worker and the exit code are derived from it, and a new variant does not compile until each handles it.

use crate::error::Kind;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The source offers the live revision.
    Unchanged,
    /// The offered revision is on hold: not tried for now.
    OnHold,
    /// Another release is live, and its post hooks passed.
    Deployed,
    /// A pre hook failed; the live tree was not touched.
    Blocked,
    /// A post hook failed, and the previous release is live again.
    RolledBack,
    /// The tree at `<local>` became a release. In the history only: a deployment follows.
    Adopted,
    /// The check failed.
    Failed(Kind),
}

/// The severity of an outcome, for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Neither good nor bad.
    Neutral,
    /// The operator should look at it.
    Doubtful,
    /// It failed.
    Bad,
}

impl Outcome {
    /// All outcomes that count as failures, in the order of the metrics.
    pub const FAILURES: [Self; 9] = [
        Self::Blocked,
        Self::Failed(Kind::Config),
        Self::Failed(Kind::Failed),
        Self::Failed(Kind::InDoubt),
        Self::Failed(Kind::Locked),
        Self::Failed(Kind::Refused),
        Self::RolledBack,
        Self::Failed(Kind::Superseded),
        Self::Failed(Kind::Unavailable { retry_after: None }),
    ];

    /// Its name in files, JSON and notifications.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::OnHold => "on-hold",
            Self::Deployed => "deployed",
            Self::Blocked => "blocked",
            Self::RolledBack => "rolled-back",
            Self::Adopted => "adopted",
            Self::Failed(kind) => kind.word(),
        }
    }

    /// Parses [`Outcome::word`]. The word has neither a signal number nor a delay.
    pub fn parse(word: &str) -> Option<Self> {
        let plain = [Self::Unchanged, Self::OnHold, Self::Deployed, Self::Blocked, Self::RolledBack, Self::Adopted];
        plain.into_iter().find(|outcome| outcome.word() == word).or_else(|| Kind::parse(word).map(Self::Failed))
    }

    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unchanged | Self::OnHold | Self::Deployed | Self::Adopted => 0,
            Self::RolledBack => 1,
            Self::Blocked => 2,
            Self::Failed(kind) => kind.exit_code(),
        }
    }

    /// Its severity.
    pub fn severity(self) -> Severity {
        match self {
            Self::Unchanged | Self::Deployed => Severity::Good,
            Self::Adopted | Self::Failed(Kind::Stopped(_)) => Severity::Neutral,
            Self::OnHold | Self::Blocked | Self::Failed(Kind::InDoubt) => Severity::Doubtful,
            Self::RolledBack
            | Self::Failed(
                Kind::Failed
                | Kind::Refused
                | Kind::Superseded
                | Kind::Unavailable { .. }
                | Kind::Usage
                | Kind::Locked
                | Kind::Config,
            ) => Severity::Bad,
        }
    }

    /// Whether it is a success. On hold is one: it was reported before.
    pub fn is_success(self) -> bool {
        self.exit_code() == 0
    }

    /// Whether it counts as a failure: a requested stop does not.
    pub fn is_failure(self) -> bool {
        self.exit_code() != 0 && !self.is_stop()
    }

    /// Whether a signal ended it.
    pub fn is_stop(self) -> bool {
        match self {
            Self::Failed(Kind::Stopped(_)) => true,
            Self::Failed(_)
            | Self::Unchanged
            | Self::OnHold
            | Self::Deployed
            | Self::Blocked
            | Self::RolledBack
            | Self::Adopted => false,
        }
    }

    /// Whether the check failed with an error that the log has not shown yet.
    pub fn is_error(self) -> bool {
        match self {
            Self::Failed(_) => !self.is_stop(),
            Self::Unchanged | Self::OnHold | Self::Deployed | Self::Blocked | Self::RolledBack | Self::Adopted => false,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_differ() {
        let mut all = vec![Outcome::Unchanged, Outcome::OnHold, Outcome::Deployed, Outcome::Adopted];
        all.extend(Outcome::FAILURES);
        all.extend([Kind::Usage, Kind::Stopped(15)].map(Outcome::Failed));
        for outcome in &all {
            let read = Outcome::parse(outcome.word()).unwrap();
            assert_eq!(read.word(), outcome.word());
            assert_eq!(read.is_failure(), outcome.is_failure());
            assert_eq!(all.iter().filter(|other| other.word() == outcome.word()).count(), 1, "{outcome}");
        }
        assert!(Outcome::FAILURES.iter().all(|outcome| outcome.is_failure()));
        assert_eq!(Outcome::parse("left"), None);
    }
}
