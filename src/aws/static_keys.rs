//! Credentials in the configuration and in variables: a pair of keys, or the name of a token file. If half of a pair is
//! missing, it is an error; the next link is not used.

use super::credential_source::WebIdentity;
use super::credentials::Credentials;
use super::environment::Environment;
use crate::config::{Aws, Secret};
use crate::error::{Context, Error, Result};

/// The keys in the configuration.
pub(super) fn configured(aws: &Aws) -> Result<Option<Credentials>> {
    let Aws { access_key, secret_key, session_token, .. } = aws;
    match (access_key, secret_key) {
        (Some(id), Some(secret)) => {
            let token = session_token.as_ref().map(Secret::reveal);
            let keys = Credentials::checked(id, secret.reveal(), token, None, "aws-access-key");
            keys.map(Some).map_err(|e| Error::config(format!("cannot use aws-access-key and aws-secret-key: {e}")))
        }
        (Some(_), None) => Err(Error::config("aws-access-key stands without aws-secret-key: set both or none")),
        (None, Some(_)) => Err(Error::config("aws-secret-key stands without aws-access-key: set both or none")),
        (None, None) if session_token.is_some() => {
            Err(Error::config("aws-session-token stands without aws-access-key and aws-secret-key"))
        }
        (None, None) => Ok(None),
    }
}

/// AWS_ACCESS_KEY_ID and the related variables.
pub(super) fn env_keys(env: &Environment) -> Result<Option<Credentials>> {
    const WHOSE: &str = "AWS_ACCESS_KEY_ID in the environment";
    match (env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            Credentials::checked(&id, &secret, env.get("AWS_SESSION_TOKEN").as_deref(), None, WHOSE)
                .with_context(|| format!("cannot use {WHOSE}"))
                .map(Some)
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::failed("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => Err(Error::failed("AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID")),
    }
}

/// AWS_WEB_IDENTITY_TOKEN_FILE and the related variables.
pub(super) fn web_identity(env: &Environment) -> Result<Option<WebIdentity>> {
    let Some(file) = env.path("AWS_WEB_IDENTITY_TOKEN_FILE") else { return Ok(None) };
    let arn = env.get("AWS_ROLE_ARN").ok_or_else(|| {
        Error::failed("AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, the role that the token is for")
    })?;
    let whose = format!("role {arn} by the web identity token {}", file.display());
    Ok(Some(WebIdentity { arn, session: env.get("AWS_ROLE_SESSION_NAME"), file, whose }))
}
