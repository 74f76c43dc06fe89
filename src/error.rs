//! The one error type. A message is a chain `cannot <verb> <object>: cause: cause` on one line, in lower case, without
//! a full stop, with a remedy if there is one. A [`Kind`] exists only if a caller branches on it: for the exit code,
//! for a retry, for a hold.

use std::fmt;
use std::time::Duration;

/// The kind of an error, for callers to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The attempt failed; the live release stays live. Exit 1.
    Failed,
    /// The input itself is bad (corrupt, against the policy, not matching its signature): fetching the same bytes again
    /// cannot help. Exit 1.
    Refused,
    /// The source replaced the revision while it was being fetched: poll again. Exit 1 if that never ends.
    Superseded,
    /// The source cannot answer now; it may have sent a time to retry. Exit 1.
    Unavailable {
        /// The delay requested by the source.
        retry_after: Option<Duration>,
    },
    /// Rolling back failed: the live tree may be neither the old nor the new release. Exit 3.
    InDoubt,
    /// The command line is wrong. Exit 64.
    Usage,
    /// Another process holds the lock. Exit 75.
    Locked,
    /// The configuration is wrong. Exit 78.
    Config,
    /// A signal requested a stop. Exit 128 + n.
    Stopped(i32),
}

impl Kind {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
            Self::Unavailable { .. } => "unavailable",
            Self::InDoubt => "in-doubt",
            Self::Usage => "usage",
            Self::Locked => "locked",
            Self::Config => "config",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Parses [`Kind::word`]; the word has neither a delay nor a signal number.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Failed,
            Self::Refused,
            Self::Superseded,
            Self::Unavailable { retry_after: None },
            Self::InDoubt,
            Self::Usage,
            Self::Locked,
            Self::Config,
            Self::Stopped(0),
        ];
        all.into_iter().find(|kind| kind.word() == word)
    }

    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Refused | Self::Superseded | Self::Unavailable { .. } => 1,
            Self::InDoubt => 3,
            Self::Usage => 64,
            Self::Locked => 75,
            Self::Config => 78,
            Self::Stopped(signal) => u8::try_from(128 + signal).unwrap_or(255),
        }
    }
}

/// An error: its kind, and the line to print.
///
/// In a box: a result is moved at every `?`, and each moves one word.
#[derive(Debug)]
pub struct Error(Box<Failure>);

#[derive(Debug)]
struct Failure {
    kind: Kind,
    text: String,
    /// The file, place or archive that the cause is about.
    origin: Option<String>,
    /// The length of what follows the origin: the end of the text.
    cause: usize,
}

/// Shorthand of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self(Box::new(Failure { kind, text: text.into(), origin: None, cause: 0 }))
    }

    /// An attempt that failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Kind::Failed, text)
    }

    /// Input that is refused.
    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, text)
    }

    /// A mistake in the configuration.
    pub fn config(text: impl Into<String>) -> Self {
        Self::new(Kind::Config, text)
    }

    /// A mistake in the value that is configured at `origin`.
    pub fn value(origin: &str, why: impl fmt::Display) -> Self {
        Self::config(why.to_string()).about(origin, "")
    }

    /// Puts the file or entry `origin` in front of the message, after the verb that failed.
    pub fn about(mut self, origin: &str, cannot: &str) -> Self {
        self.0.cause = self.0.text.len();
        self.0.text = format!("{cannot}{origin}: {}", self.0.text);
        self.0.origin = Some(origin.to_owned());
        self
    }

    /// The message without its origin, and without the words before it.
    pub fn cause(&self) -> &str {
        let start = self.0.origin.as_ref().map_or(0, |_| self.0.text.len() - self.0.cause);
        &self.0.text[start..]
    }

    /// The file, entry or value that [`Error::value`] or [`Error::about`] has recorded.
    pub fn origin(&self) -> Option<&str> {
        self.0.origin.as_deref()
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The process exit code.
    pub fn exit_code(&self) -> u8 {
        self.0.kind.exit_code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for Error {}

/// Adds context to an error, one part a layer: `cannot read /x: permission denied`.
pub trait Context<T> {
    /// Puts `what` in front of the message. The kind stays, also of an [`Error`] that was converted to an I/O error;
    /// any other error becomes [`Kind::Failed`].
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|mut e| {
            e.0.text = format!("{}: {}", what(), e.0.text);
            e
        })
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| {
            let ours = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
            Error::new(ours.map_or(Kind::Failed, Error::kind), format!("{}: {}", what(), plain(&e)))
        })
    }
}

/// Lets I/O code pass on that it was stopped: [`Context`] restores the kind.
impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        Self::other(e)
    }
}

impl<T> Context<T> for std::result::Result<T, rustix::io::Errno> {
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(std::io::Error::from).with_context(what)
    }
}

/// The text of an I/O error as part of a sentence: in lower case, and without `(os error N)`, which does not help an
/// operator.
pub fn plain(e: &std::io::Error) -> String {
    let mut text = e.to_string();
    text.truncate(text.find(" (os error ").unwrap_or(text.len()));
    let is_word = text.chars().nth(1).is_some_and(char::is_lowercase); // `I/O error` stays
    if let Some(first) = text.get_mut(..1).filter(|_| is_word) {
        first.make_ascii_lowercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Context, Error, Kind, plain};
    use rustix::io::Errno;

    #[test]
    fn an_error_of_ours_comes_through_io_with_its_kind() {
        let stopped = Error::new(Kind::Stopped(15), "stopped by SIGTERM");
        let error = Err::<(), _>(std::io::Error::from(stopped)).with_context(|| "cannot copy").unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Stopped(15), "cannot copy: stopped by SIGTERM"));
    }

    #[test]
    fn causes_read_as_parts_of_a_sentence() {
        for (errno, text) in [(Errno::NOENT, "no such file or directory"), (Errno::NOSPC, "no space left on device")] {
            assert_eq!(plain(&errno.into()), text);
        }
        assert!(
            ["I/O error", "Input/output error".to_lowercase().as_str()].contains(&plain(&Errno::IO.into()).as_str())
        );
        assert_eq!(plain(&std::io::Error::other("Über")), "Über");
        assert_eq!(plain(&std::io::Error::other("")), "");
    }
}
