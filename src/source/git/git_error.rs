//! The reason why a call of git failed, by its remedy.

use crate::error::Error;
use crate::http::retry::RequestError;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum GitError {
    /// A known cause: the remote, the network, or this host.
    Request(RequestError),
    /// The server sends only commits that a ref names.
    Unadvertised(Error),
    /// The cache may be broken.
    Cache(Error),
    /// The server supports partial clones, but does not send the missing objects.
    Parts(Error),
}

impl From<Error> for GitError {
    fn from(error: Error) -> Self {
        Self::Request(error.into())
    }
}

impl From<RequestError> for GitError {
    fn from(fault: RequestError) -> Self {
        Self::Request(fault)
    }
}

impl GitError {
    /// The error to report.
    pub(super) fn error(self) -> Error {
        match self {
            Self::Request(fault) => fault.error,
            Self::Unadvertised(error) | Self::Cache(error) | Self::Parts(error) => error,
        }
    }
}
