//! Sources of credentials, as values. Equal sources give the same credentials, so credentials are kept until they
//! expire, or until a change of a file or variable leads to another source.

use std::path::PathBuf;

use super::container::Container;
use super::credentials::Credentials;
use super::imds::Service;

/// A source of credentials.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CredentialSource {
    /// Static keys.
    Keys(Credentials),
    /// A program that prints credentials.
    Process { command: String, whose: String },
    /// A role, from STS for a web identity token.
    WebIdentity(WebIdentity),
    /// A role, from STS for other credentials.
    Role(Role),
    /// The credentials endpoint of a container.
    Container(Container),
    /// The instance metadata service.
    Instance(Service),
}

/// A role, assumed with a token in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WebIdentity {
    pub(super) arn: String,
    /// The name of the session.
    pub(super) session: Option<String>,
    pub(super) file: PathBuf,
    /// The name, for messages.
    pub(super) whose: String,
}

/// A role, assumed with other credentials.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Role {
    pub(super) arn: String,
    /// The name of the session.
    pub(super) session: Option<String>,
    pub(super) external_id: Option<String>,
    /// The duration of the session, in seconds.
    pub(super) duration: Option<u32>,
    /// The credentials that assume the role.
    pub(super) base: Box<CredentialSource>,
    /// The name, for messages.
    pub(super) whose: String,
}

impl CredentialSource {
    /// The metadata service, if it is the origin of the credentials.
    pub(super) fn service(&self) -> Option<&Service> {
        match self {
            Self::Instance(service) => Some(service),
            Self::Role(role) => role.base.service(),
            _ => None,
        }
    }
}
