//! How credentials are got: what the chain found, as a value. Two equal recipes give the same credentials, so what came
//! of one is good until it expires or until the recipe is another: a file or a variable has changed.

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

/// One way to credentials.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CredentialSource {
    /// They are here.
    Keys(Credentials),
    /// A program prints them.
    Process { command: String, whose: String },
    /// STS gives them for a token.
    WebIdentity(WebIdentity),
    /// STS gives them to somebody who has others.
    Role(Role),
    /// An agent beside the container gives them.
    Container(Container),
    /// The instance gives them.
    Instance(Service),
}

/// A role by a token that a file has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WebIdentity {
    pub(super) arn: String,
    /// The session's name.
    pub(super) session: Option<String>,
    pub(super) file: PathBuf,
    /// For messages.
    pub(super) whose: String,
}

/// A role by other credentials.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Role {
    pub(super) arn: String,
    /// The session's name.
    pub(super) session: Option<String>,
    pub(super) external_id: Option<String>,
    /// Seconds.
    pub(super) duration: Option<u32>,
    /// Who assumes it.
    pub(super) base: Box<CredentialSource>,
    /// For messages.
    pub(super) whose: String,
}

/// What getting them needs.
pub(super) struct ProviderContext<'a> {
    pub(super) env: &'a Environment,
    pub(super) http: &'a Http,
    /// Whose STS is asked, and where that is.
    pub(super) region: String,
    pub(super) sts: Place,
    pub(super) deadline: Deadline,
}

impl CredentialSource {
    /// The metadata service at the end of it.
    pub(super) fn service(&self) -> Option<&Service> {
        match self {
            Self::Instance(service) => Some(service),
            Self::Role(role) => role.base.service(),
            _ => None,
        }
    }

    /// Gets them; only the instance may have none.
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
