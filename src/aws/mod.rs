//! Who we are to AWS: the chain of credentials, in the order AWS users know, and the region. The first link that names
//! somebody is used, whole; one that is not configured is passed over, one that is broken is an error:
//! 1. the configuration's keys;
//! 2. the profile that was asked for (`shared_files`, `profile`, `process`, `sts`);
//! 3. `~deploy/.amazon/account-key`, `~/.amazon/account-key` (`account_key`);
//! 4. where no profile was asked for: AWS_ACCESS_KEY_ID and friends, web identity, the profile AWS_PROFILE or `default`;
//! 5. the container's endpoint (`container`), the instance's role (`imds`), nobody.
//!
//! Where S3 and STS are is `endpoint`'s. Files and variables are read at every question; what had to be asked for is kept
//! until five minutes before it expires.

mod account_key;
mod answer;
mod container;
mod credential_source;
pub mod endpoint;
mod environment;
mod files;
mod imds;
mod process;
mod profile;
mod profile_file;
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

use std::fmt::Display;
use std::time::Duration;

use self::credential_source::{CredentialSource, ProviderContext};
use self::endpoint::{Place, Service};
use self::environment::Environment;
use self::shared_files::SharedFiles;
use crate::config::{Aws, Http, Secret, is_region};
use crate::error::{Error, Kind, Result};
use crate::sys::clock::{self, Deadline};

/// How long before they expire credentials are got anew.
const EARLY: u64 = 300;
/// How long credentials that had to be asked for are kept when they do not say.
const KEPT: u64 = 900;
/// How long an instance that has no role, or is none, is not asked again.
const ABSENT: u64 = 60;
/// How long whoever fails to give new ones is on hold while the old ones are good.
const RETRY_AFTER_FAILURE: u64 = 30;
/// Names roots that are believed besides the others, wherever AWS is asked.
pub(super) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// Whose STS is asked where nothing names a region.
const REGION: &str = "us-east-1";

/// Keys to sign with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Credentials {
    /// The access key's id: no secret.
    pub(super) access_key: String,
    /// The secret key.
    pub(super) secret_key: Secret,
    /// The session token of temporary keys.
    pub(super) token: Option<Secret>,
    /// Until when they are good, in seconds since 1970; `None`: until somebody changes them.
    pub(super) expires: Option<u64>,
    /// Who that is and where it comes from, for messages: `profile web in /root/.aws/credentials`.
    pub(super) whose: String,
}

/// Keys, or why there are none: it is no error where nobody has any.
type Found = std::result::Result<Credentials, String>;

impl Credentials {
    /// Keys that a header can have.
    fn checked(id: &str, secret: &str, token: Option<&str>, expires: Option<u64>, whose: impl Display) -> Result<Self> {
        for (what, text) in [("access key", id), ("secret key", secret), ("session token", token.unwrap_or("-"))] {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::failed(format!("its {what} has characters that no key has, or none")));
            }
        }
        let (access_key, secret_key) = (id.to_owned(), Secret::new(secret));
        Ok(Self { access_key, secret_key, token: token.map(Secret::new), expires, whose: whose.to_string() })
    }
}

/// The chain: remembers temporary credentials until five minutes before they expire.
#[derive(Debug)]
pub(super) struct Chain {
    aws: Aws,
    http: Http,
    env: Environment,
    kept: Option<Kept>,
    /// What the metadata service said: an instance does not move.
    instance_region: Option<String>,
    /// Whom the log has named last: requests ask often.
    said: String,
}

#[derive(Debug)]
struct Kept {
    recipe: CredentialSource,
    /// That there are none is not asked again and again either.
    found: Found,
    /// When they are got anew, in seconds since 1970.
    until: u64,
}

/// When what was given is got anew.
fn until(found: &Found, now: u64) -> u64 {
    match found {
        Ok(keys) => keys.expires.map_or(now + KEPT, |expires| expires.saturating_sub(EARLY)),
        Err(_) => now + ABSENT,
    }
}

impl Chain {
    /// A chain that begins with what the operator configured.
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

    /// The same with the limits and the roots (`ca-file`) of the deployment, for STS.
    pub(super) fn with_http(mut self, http: &Http) -> Self {
        let Http { connect_timeout, stall_timeout, ca_file, .. } = http.clone();
        self.http = Http { ca_file, ..Http::limited(connect_timeout, stall_timeout) };
        self
    }

    /// The first credentials that the chain has, or why it has none at all: public buckets need none.
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

    /// Reads the files that say who asks, and where; nobody is asked.
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

    /// The server does not take them (any longer): the next question gets them anew.
    pub(super) fn refused(&mut self) {
        self.kept = None;
    }

    /// The region that the operator, the environment, the profile or the instance names.
    pub(super) fn region(&mut self, deadline: Deadline) -> Result<Option<String>> {
        if let Some(region) = self.region_as_configured()? {
            return Ok(Some(region));
        }
        // Only an instance that gives us credentials is asked: elsewhere the question costs two seconds.
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

    /// Where a service is, by the environment and the profile. Who has keys of his own and asks for no profile does not
    /// depend on what stands in `~/.aws`.
    pub(super) fn place(&self, service: Service) -> Result<Place> {
        if self.aws.access_key.is_some() && self.aws.profile.is_none() {
            return self.place_without_profile(service);
        }
        let (files, name) = (SharedFiles::read(&self.env)?, self.profile());
        Place::of(service, &self.env, files.profile(&name))
    }

    /// The same without a look into files.
    pub(super) fn place_without_profile(&self, service: Service) -> Result<Place> {
        Place::of(service, &self.env, None)
    }

    fn profile(&self) -> String {
        let asked = self.aws.profile.clone().or_else(|| self.env.get("AWS_PROFILE"));
        asked.or_else(|| self.env.get("AWS_DEFAULT_PROFILE")).unwrap_or_else(|| "default".to_owned())
    }

    /// The first link that names somebody.
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
        // Who asks for a profile does not mean the keys that happen to stand in the environment.
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
        // `default` is the one that nobody needs to have asked for.
        let is_asked = self.aws.profile.is_some() || name != "default";
        if files.profile(&name).is_none() && !is_asked {
            return Ok(None);
        }
        profile::recipe(&files, &name, &self.env)
    }
}

/// Whether credentials can still sign a request or two.
fn is_good(credentials: &Credentials, now: u64) -> bool {
    credentials.expires.is_none_or(|expires| now + 10 < expires)
}

/// Fresh credentials that have expired. Those of the machine are tried all the same: its service hands out old ones when it
/// cannot get new ones, and they work for longer than they say.
fn check_expiry(credentials: &Credentials, recipe: &CredentialSource, now: u64) -> Result<()> {
    let Some(expires) = credentials.expires.filter(|_| !is_good(credentials, now)) else { return Ok(()) };
    let text = format!("the credentials of {} have expired at {}", credentials.whose, clock::rfc3339(expires));
    if matches!(recipe, CredentialSource::Container(_) | CredentialSource::Instance(_)) {
        log::warn!("{text}, as whoever gave them says; trying them");
        return Ok(());
    }
    Err(Error::failed(format!("cannot use what was just given: {text}; is the clock right?")))
}
