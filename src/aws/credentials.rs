//! Keys for signatures, or the reason why there are none.

use std::fmt::Display;

use crate::config::Secret;
use crate::error::{Error, Result};

/// Keys for signatures.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// The access key ID, which is not secret.
    pub access_key: String,
    /// The secret key.
    pub secret_key: Secret,
    /// The session token of temporary credentials.
    pub token: Option<Secret>,
    /// The expiry time in seconds since 1970; `None` for permanent keys.
    pub expires: Option<u64>,
    /// Name and source, for messages: `profile web in /root/.aws/credentials`.
    pub whose: String,
}

/// Credentials, or the reason why none are configured, which is no error.
pub(super) type Found = std::result::Result<Credentials, String>;

impl Credentials {
    /// Fails for keys with characters that a header cannot have.
    pub(super) fn checked(
        id: &str,
        secret: &str,
        token: Option<&str>,
        expires: Option<u64>,
        whose: impl Display,
    ) -> Result<Self> {
        for (what, text) in [("access key", id), ("secret key", secret), ("session token", token.unwrap_or("-"))] {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::failed(format!("its {what} has characters that no key has, or none")));
            }
        }
        let (access_key, secret_key) = (id.to_owned(), Secret::new(secret));
        Ok(Self { access_key, secret_key, token: token.map(Secret::new), expires, whose: whose.to_string() })
    }
}
