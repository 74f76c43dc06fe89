//! Gets credentials from their source.

use super::credential_source::CredentialSource;
use super::credentials::Found;
use super::endpoint::Place;
use super::environment::Environment;
use super::process;
use super::sts::Sts;
use crate::config::Http;
use crate::error::{Error, Result};
use crate::sys::clock::Deadline;

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
