//! Credentials for an HTTP server, from the first of these that is configured; they are not combined:
//! 1. an `Authorization` among `http-header`;
//! 2. user and password in the remote's URL, percent-decoded;
//! 3. a user from the URL or from `http-user`, with `http-password`, `http-password-file` or the password in `netrc`;
//! 4. the entry of `netrc` for the host, or its `default`.
//!
//! Files are read at every check. The client sends the credentials to the configured origin only.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::header::{self, HeaderName, HeaderValue};
use url::Url;

use super::message::Headers;
use super::netrc::{self, Login};
use super::{percent_decoded, secret_file};
use crate::config::{Http, Secret};
use crate::error::{Error, Result};

/// Credentials, as headers.
#[derive(Debug)]
pub struct Credentials {
    /// User and source of the credentials, for messages; `None` without credentials.
    pub whose: Option<String>,
    /// Headers to add to a request to the origin.
    pub headers: Headers,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// User and password in a URL.
#[derive(Clone, Debug, Default)]
pub struct UserInfo {
    user: Option<String>,
    password: Option<Secret>,
}

impl UserInfo {
    /// Takes user and password from a URL.
    pub fn of(url: &Url) -> Result<Self> {
        let decoded = |text: &str| {
            String::from_utf8(percent_decoded(text)).map_err(|_| Error::config("the user in the URL is not UTF-8"))
        };
        let user = (!url.username().is_empty()).then(|| decoded(url.username())).transpose()?;
        let password = url.password().map(|p| decoded(p).map(Secret::new)).transpose()?;
        Ok(Self { user, password })
    }
}

/// The `http-header` entries. Fails for a header that this program sets itself.
pub fn extra_headers(http: &Http) -> Result<Headers> {
    let mut headers = Headers::new();
    for (name, value) in &http.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let key = parsed.map_err(|_| Error::config(format!("http-header {name:?} is no name of a header")))?;
        if is_ours(&key) {
            return Err(Error::config(format!("http-header {key} cannot be set: repo-deploy sets it itself")));
        }
        let mut value = HeaderValue::from_str(value.reveal())
            .map_err(|_| Error::config(format!("http-header {key} has a value that no header can have")))?;
        value.set_sensitive(true);
        headers.push((key, value));
    }
    Ok(headers)
}

fn is_ours(name: &HeaderName) -> bool {
    const CONDITIONAL: [HeaderName; 6] = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ];
    const FRAMING: [HeaderName; 8] = [
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::EXPECT,
        header::UPGRADE,
        header::TE,
        header::PROXY_AUTHORIZATION,
    ];
    CONDITIONAL.contains(name) || FRAMING.contains(name)
}

/// Reads the credentials for `host`.
pub fn load(in_url: &UserInfo, host: &str, http: &Http) -> Result<Credentials> {
    let mut headers = extra_headers(http)?;
    let mut warnings = Vec::new();
    if headers.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
        return Ok(Credentials { whose: Some("http-header Authorization".to_owned()), headers, warnings });
    }
    let Some((login, origin)) = login(in_url, host, http, &mut warnings)? else {
        return Ok(Credentials { whose: None, headers, warnings });
    };
    let pair = BASE64_STANDARD.encode(format!("{}:{}", login.user, login.password.reveal()));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
        .map_err(|_| Error::failed("cannot put user and password into a header"))?;
    value.set_sensitive(true);
    headers.push((header::AUTHORIZATION, value));
    Ok(Credentials { whose: Some(format!("user {:?} from {origin}", login.user)), headers, warnings })
}

fn login(url: &UserInfo, host: &str, http: &Http, warnings: &mut Vec<String>) -> Result<Option<(Login, String)>> {
    let (user, origin) = match (&url.user, &http.user) {
        (Some(user), _) => (Some(user.clone()), "the remote's URL"),
        (None, _) if url.password.is_some() => (Some(String::new()), "the remote's URL"),
        (None, Some(user)) => (Some(user.clone()), "http-user"),
        (None, None) => (None, "http-password"),
    };
    if let (Some(user), Some(password)) = (&user, &url.password) {
        return Ok(Some((Login { user: user.clone(), password: password.clone() }, origin.to_owned())));
    }
    if let Some(password) = password(http, warnings)? {
        return Ok(Some((Login { user: user.unwrap_or_default(), password }, origin.to_owned())));
    }
    if let Some(path) = &http.netrc {
        let (text, warning) = secret_file::read_secret("netrc", path)?;
        warnings.extend(warning);
        let found = netrc::find(&text, host, user.as_deref())
            .map_err(|e| Error::failed(format!("cannot read netrc {}: {e}", path.display())))?;
        if let Some(login) = found {
            return Ok(Some((login, format!("netrc {}", path.display()))));
        }
    }
    // Some servers take a user without a password as a token.
    Ok(user.map(|user| (Login { user, password: Secret::new("") }, origin.to_owned())))
}

fn password(http: &Http, warnings: &mut Vec<String>) -> Result<Option<Secret>> {
    if let Some(password) = &http.password {
        return Ok(Some(password.clone()));
    }
    let Some(path) = &http.password_file else { return Ok(None) };
    let (text, warning) = secret_file::read_secret("http-password-file", path)?;
    warnings.extend(warning);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(Secret::new(line.strip_suffix('\r').unwrap_or(line))))
}

#[cfg(test)]
mod tests {
    use crate::http::auth::*;
    use std::time::Duration;

    fn http() -> Http {
        Http::limited(Duration::from_secs(1), Duration::from_secs(1))
    }

    fn sent(url: &str, http: &Http) -> Option<String> {
        let info = UserInfo::of(&Url::parse(url).unwrap()).unwrap();
        let credentials = load(&info, "host", http).unwrap();
        let found = credentials.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION);
        assert_eq!(found.is_some(), credentials.whose.is_some());
        let value = found?.1.to_str().unwrap().to_owned();
        Some(match value.strip_prefix("Basic ") {
            Some(pair) => String::from_utf8(BASE64_STANDARD.decode(pair).unwrap()).unwrap(),
            None => value,
        })
    }

    #[test]
    fn precedence() {
        let secret = |s: &str| Some(Secret::new(s));
        let user = |u: &str| Http { user: Some(u.to_owned()), ..http() };
        let bearer = vec![("authorization".to_owned(), Secret::new("Bearer t"))];
        for (url, http, expected) in [
            ("http://host/", http(), None),
            ("http://u:p@host/", http(), Some("u:p")),
            ("http://u%40x:p%3a%25@host/", http(), Some("u@x:p:%")),
            ("http://token@host/", http(), Some("token:")),
            ("http://:p@host/", http(), Some(":p")),
            ("http://host/", user("v"), Some("v:")),
            ("http://host/", Http { password: secret("q"), ..user("v") }, Some("v:q")),
            ("http://host/", Http { password: secret("q"), ..http() }, Some(":q")),
            ("http://u@host/", Http { password: secret("q"), ..user("v") }, Some("u:q")),
            ("http://u:p@host/", Http { password: secret("q"), ..user("v") }, Some("u:p")),
            ("http://u:p@host/", Http { headers: bearer, ..user("v") }, Some("Bearer t")),
        ] {
            assert_eq!(sent(url, &http).as_deref(), expected, "{url} {http:?}");
        }
    }

    #[test]
    fn headers_that_are_ours_are_refused_by_name() {
        for (name, value, words) in [
            ("Range", "bytes=0-", "cannot be set"),
            ("if-none-match", "*", "cannot be set"),
            ("Accept-Encoding", "gzip", "cannot be set"),
            ("bad name", "x", "no name of a header"),
            ("X-Token", "hunter2\r\nX-Evil: 1", "no header can have"),
        ] {
            let http = Http { headers: vec![(name.to_owned(), Secret::new(value))], ..http() };
            let error = extra_headers(&http).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{name}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let http = Http { user: Some("u".to_owned()), password: Some(Secret::new("hunter2")), ..http() };
        let shown = format!("{:?}", load(&UserInfo::default(), "host", &http).unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains(&BASE64_STANDARD.encode("u:hunter2")), "{shown}");
    }
}
