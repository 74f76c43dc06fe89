//! Sources of credentials, as values. Equal sources give the same credentials, so credentials are kept until they
//! expire, or until a change of a file or variable leads to another source.

use std::path::PathBuf;

use super::container::Container;
use super::endpoint::Place;
use super::environment::Environment;
use super::imds::Service;
use super::sts::Sts;
use super::{Credentials, Found, process};
use crate::config::Http;
use crate::error::{Error, Result};
use crate::sys::clock::Deadline;

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

/// Parameters for getting credentials.
pub(super) struct ProviderContext<'a> {
    pub(super) env: &'a Environment,
    pub(super) http: &'a Http,
    /// The region and the place of STS.
    pub(super) region: String,
    pub(super) sts: Place,
    pub(super) deadline: Deadline,
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

    /// Gets the credentials. Only the metadata service may have none.
    pub(super) fn follow(&self, kitchen: &ProviderContext<'_>) -> Result<Found> {
        let ProviderContext { env, http, region, sts, deadline } = kitchen;
        let sts = || Sts::of(region, sts, http);
        match self {
            Self::Keys(keys) => Ok(Ok(keys.clone())),
            Self::Process { command, whose } => process::run(command, whose, env, *deadline).map(Ok),
            Self::WebIdentity(role) => sts()?.web_identity(role, *deadline).map(Ok),
            Self::Container(container) => container.ask(http, *deadline).map(Ok),
            Self::Instance(service) => service.credentials(*deadline),
            Self::Role(role) => match role.base.follow(kitchen)? {
                Ok(base) => sts()?.assume(role, &base, *deadline).map(Ok),
                Err(why) => Err(Error::failed(format!("cannot get credentials of {}: {why}", role.whose))),
            },
        }
    }
}
