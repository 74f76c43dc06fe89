//! The chain of credentials for AWS, in the order that AWS users know, and the region. The first configured link is
//! used and not combined with others; a link with an error fails:
//! 1. the configuration's keys;
//! 2. the profile in `aws-profile` (`shared_files`, `profile`, `process`, `sts`);
//! 3. `~deploy/.amazon/account-key`, `~/.amazon/account-key` (`account_key`);
//! 4. without `aws-profile`: AWS_ACCESS_KEY_ID etc., web identity, the profile AWS_PROFILE or `default`;
//! 5. the container's endpoint (`container`), the instance's role (`imds`), or no credentials.
//!
//! `endpoint` determines the hosts of S3 and STS. Files and variables are read at every request; credentials from a
//! service or program are kept until five minutes before they expire.

mod account_key;
mod answer;
mod container;
mod credential_source;
mod credentials;
pub mod endpoint;
mod environment;
mod files;
mod imds;
mod process;
mod profile;
mod profile_file;
mod provider;
#[cfg(test)]
mod sdk_tests;
mod shared_files;
mod sigv4;
mod static_keys;
mod sts;
#[cfg(test)]
mod tests;
mod web;
pub mod xml;

use std::time::Duration;

use self::credential_source::CredentialSource;
pub(super) use self::credentials::Credentials;
use self::credentials::Found;
use self::endpoint::{Place, Service};
use self::environment::Environment;
use self::provider::ProviderContext;
use self::shared_files::SharedFiles;
pub use self::web::CA_BUNDLE;
use crate::config::{Aws, Http, is_region};
use crate::error::{Error, Kind, Result};
use crate::sys::clock::{self, Deadline};
use crate::sys::log;

/// How many seconds before their expiry credentials are renewed.
const EARLY: u64 = 300;
/// How many seconds credentials from a service or program are kept if they have no expiry time.
const KEPT: u64 = 900;
/// How many seconds an instance without a role, or no instance at all, is not asked again.
const ABSENT: u64 = 60;
/// How many seconds to wait after a failed renewal while the old credentials are valid.
const RETRY_AFTER_FAILURE: u64 = 30;
/// The region of STS if none is configured.
const REGION: &str = "us-east-1";

/// The chain. It keeps temporary credentials until five minutes before they expire.
#[derive(Debug)]
pub(super) struct Chain {
    aws: Aws,
    http: Http,
    env: Environment,
    kept: Option<Kept>,
    /// The region from the metadata service, which does not change.
    instance_region: Option<String>,
    /// The credentials last logged, to log them only when they change.
    said: String,
}

#[derive(Debug)]
struct Kept {
    recipe: CredentialSource,
    /// The credentials, or that there are none.
    found: Found,
    /// When to get them anew, in seconds since 1970.
    until: u64,
}

/// When to get credentials anew.
fn until(found: &Found, now: u64) -> u64 {
    match found {
        Ok(keys) => keys.expires.map_or(now + KEPT, |expires| expires.saturating_sub(EARLY)),
        Err(_) => now + ABSENT,
    }
}

impl Chain {
    /// A chain with the operator's settings.
    pub(super) fn new(aws: &Aws) -> Self {
        let http = Http::limited(Duration::from_secs(10), Duration::from_secs(30));
        Self {
            aws: aws.clone(),
            http,
            env: Environment::of_process(),
            kept: None,
            instance_region: None,
            said: String::new(),
        }
    }

    /// Sets limits and roots (`ca-file`) of the deployment, for STS.
    pub(super) fn with_http(mut self, http: &Http) -> Self {
        let Http { connect_timeout, stall_timeout, ca_file, .. } = http.clone();
        self.http = Http { ca_file, ..Http::limited(connect_timeout, stall_timeout) };
        self
    }

    /// The first credentials of the chain, or the reason why there are none: public buckets need none.
    pub(super) fn credentials(&mut self, deadline: Deadline) -> Result<Found> {
        let recipe = self.recipe()?;
        let found = self.follow(recipe, deadline)?;
        let whose = match &found {
            Ok(keys) => keys.whose.clone(),
            Err(why) => format!("none: {why}"),
        };
        if self.said != whose {
            log::debug!("AWS credentials: {whose}");
            self.said = whose;
        }
        Ok(found)
    }

    /// Reads the files for credentials and region, without any request.
    pub(super) fn check_files(&self) -> Result<()> {
        self.recipe()?;
        self.region_as_configured().map(drop)
    }

    fn follow(&mut self, recipe: Option<CredentialSource>, deadline: Deadline) -> Result<Found> {
        let kept = self.kept.take();
        let Some(recipe) = recipe else {
            return Ok(Err("AWS_EC2_METADATA_DISABLED keeps the instance from being asked".to_owned()));
        };
        if let CredentialSource::Keys(keys) = recipe {
            return Ok(Ok(keys));
        }
        let now = clock::now();
        let kept = match kept.filter(|kept| kept.recipe == recipe) {
            Some(kept) if now < kept.until => {
                return Ok(self.kept.insert(kept).found.clone());
            }
            kept => kept,
        };
        let region = self.region_as_configured()?.unwrap_or_else(|| REGION.to_owned());
        let sts = self.place(Service::Sts)?;
        let found = recipe.follow(&ProviderContext { env: &self.env, http: &self.http, region, sts, deadline });
        let (found, until) = match (found, kept.and_then(|kept| kept.found.ok())) {
            (Ok(found), _) => {
                let until = until(&found, now);
                (found, until)
            }
            (Err(e), Some(old)) if !matches!(e.kind(), Kind::Stopped(_)) && is_good(&old, now) => {
                log::warn!("{e}; going on with what is left of those it gave before");
                (Ok(old), now + RETRY_AFTER_FAILURE)
            }
            (Err(e), _) => return Err(e),
        };
        if let Ok(keys) = &found {
            check_expiry(keys, &recipe, now)?;
        }
        Ok(self.kept.insert(Kept { recipe, found, until }).found.clone())
    }

    /// Discards credentials that the server refused; the next call gets new ones.
    pub(super) fn refused(&mut self) {
        self.kept = None;
    }

    /// The region from the operator, the environment, the profile or the instance.
    pub(super) fn region(&mut self, deadline: Deadline) -> Result<Option<String>> {
        if let Some(region) = self.region_as_configured()? {
            return Ok(Some(region));
        }
        // Only an instance that provides the credentials is asked: elsewhere, the attempt takes two seconds.
        let recipe = self.recipe()?;
        let Some(service) = recipe.as_ref().and_then(CredentialSource::service).cloned() else { return Ok(None) };
        if self.instance_region.is_none() && self.follow(recipe, deadline)?.is_ok() {
            self.instance_region = service.region(deadline)?;
        }
        Ok(self.instance_region.clone())
    }

    fn region_as_configured(&self) -> Result<Option<String>> {
        let named = self.aws.region.clone().map(|region| (region, "aws-region".to_owned()));
        let variable = |name: &str| self.env.get(name).map(|region| (region, name.to_owned()));
        let named = named.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let named = match named {
            Some(named) => Some(named),
            None => {
                let (files, name) = (SharedFiles::read(&self.env)?, self.profile());
                let of_profile = files.profile(&name).and_then(|profile| profile.get("region"));
                of_profile.map(|region| (region.to_owned(), format!("region of profile {name}")))
            }
        };
        match named {
            Some((region, _)) if is_region(&region) => Ok(Some(region)),
            Some((region, place)) => Err(Error::config(format!("{place} {region:?} is no region like eu-west-1"))),
            None => Ok(None),
        }
    }

    /// The place of a service, from the environment and the profile. With keys but no profile in the configuration,
    /// `~/.aws` is not read.
    pub(super) fn place(&self, service: Service) -> Result<Place> {
        if self.aws.access_key.is_some() && self.aws.profile.is_none() {
            return self.place_without_profile(service);
        }
        let (files, name) = (SharedFiles::read(&self.env)?, self.profile());
        Place::of(service, &self.env, files.profile(&name))
    }

    /// The place of a service, without reading files.
    pub(super) fn place_without_profile(&self, service: Service) -> Result<Place> {
        Place::of(service, &self.env, None)
    }

    fn profile(&self) -> String {
        let asked = self.aws.profile.clone().or_else(|| self.env.get("AWS_PROFILE"));
        asked.or_else(|| self.env.get("AWS_DEFAULT_PROFILE")).unwrap_or_else(|| "default".to_owned())
    }

    /// The first configured link.
    fn recipe(&self) -> Result<Option<CredentialSource>> {
        if let Some(keys) = static_keys::configured(&self.aws)? {
            return Ok(Some(CredentialSource::Keys(keys)));
        }
        if self.aws.profile.is_some()
            && let Some(recipe) = self.shared()?
        {
            return Ok(Some(recipe));
        }
        if let Some(keys) = account_key::find(&self.env)? {
            return Ok(Some(CredentialSource::Keys(keys)));
        }
        // A configured profile takes precedence over keys that happen to be in the environment.
        if self.aws.profile.is_none() {
            if let Some(keys) = static_keys::env_keys(&self.env)? {
                return Ok(Some(CredentialSource::Keys(keys)));
            }
            if let Some(role) = static_keys::web_identity(&self.env)? {
                return Ok(Some(CredentialSource::WebIdentity(role)));
            }
            if let Some(recipe) = self.shared()? {
                return Ok(Some(recipe));
            }
        }
        if let Some(container) = container::recipe(&self.env)? {
            return Ok(Some(CredentialSource::Container(container)));
        }
        Ok(imds::Service::of(&self.env)?.map(CredentialSource::Instance))
    }

    fn shared(&self) -> Result<Option<CredentialSource>> {
        let (files, name) = (SharedFiles::read(&self.env)?, self.profile());
        // The profile `default` may be missing.
        let is_asked = self.aws.profile.is_some() || name != "default";
        if files.profile(&name).is_none() && !is_asked {
            return Ok(None);
        }
        profile::recipe(&files, &name, &self.env)
    }
}

/// Whether credentials are valid for another ten seconds.
fn is_good(credentials: &Credentials, now: u64) -> bool {
    credentials.expires.is_none_or(|expires| now + 10 < expires)
}

/// Fails for new credentials that have expired. Those of the container or instance are only logged and used: its
/// service returns old ones if it cannot get new ones, and AWS accepts them beyond their expiry time.
fn check_expiry(credentials: &Credentials, recipe: &CredentialSource, now: u64) -> Result<()> {
    let Some(expires) = credentials.expires.filter(|_| !is_good(credentials, now)) else { return Ok(()) };
    let text = format!("the credentials of {} have expired at {}", credentials.whose, clock::rfc3339(expires));
    if matches!(recipe, CredentialSource::Container(_) | CredentialSource::Instance(_)) {
        log::warn!("{text}, as whoever gave them says; trying them");
        return Ok(());
    }
    Err(Error::failed(format!("cannot use what was just given: {text}; is the clock right?")))
}
