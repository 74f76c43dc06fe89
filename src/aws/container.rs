//! The credentials endpoint of ECS and EKS: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, or _FULL_URI if its host may get
//! the token: over https, on this host, or at one of the agents' own addresses.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::Method;
use url::{Host, Url};

use super::answer::Fields;
use super::credentials::Credentials;
use super::environment::Environment;
use super::files::read_token;
use super::web::{self, CA_BUNDLE, web_url};
use crate::config::{Http, Secret};
use crate::error::{Context, Error, Result};
use crate::http::client::{Ask, Client};
use crate::http::message::Headers;
use crate::sys::clock::Deadline;

/// The endpoint, and the token for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Container {
    url: Url,
    token: Option<Token>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Given(Secret),
    /// Read for each request, since it is renewed before it expires.
    File(PathBuf),
}

/// The endpoint in the variables; `None` if they are not set.
pub(super) fn recipe(env: &Environment) -> Result<Option<Container>> {
    let url = match (env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        (Some(path), _) => relative(&path)?,
        (None, Some(text)) => full(&text)?,
        (None, None) => return Ok(None),
    };
    let file = env.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(Token::File);
    let given = || env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|text| Token::Given(Secret::new(text)));
    Ok(Some(Container { url, token: file.or_else(given) }))
}

fn relative(path: &str) -> Result<Url> {
    let url = path.starts_with('/').then(|| Url::parse(&format!("http://169.254.170.2{path}")).ok()).flatten();
    let is_home = |url: &Url| url.host_str() == Some("169.254.170.2") && url.port().is_none();
    let bad = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path: it begins with /";
    url.filter(is_home).ok_or_else(|| Error::failed(bad))
}

fn full(text: &str) -> Result<Url> {
    const NAME: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let url = web_url(text).ok_or_else(|| Error::failed(format!("{NAME} is no http(s) URL")))?;
    if url.scheme() == "https" || url.host().is_some_and(|host| is_trusted(&host)) {
        return Ok(url);
    }
    let host = url.host_str().unwrap_or_default();
    let allowed = "https, loopback, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23]";
    Err(Error::failed(format!("{NAME} leads to {host} over http: only {allowed} may have its token")))
}

fn is_trusted(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(v4) => v4.is_loopback() || matches!(v4.octets(), [169, 254, 170, 2 | 23]),
        Host::Ipv6(v6) => v6.is_loopback() || IpAddr::V6(*v6) == IpAddr::from([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),
    }
}

impl Container {
    /// Requests credentials.
    pub(super) fn ask(&self, http: &Http, deadline: Deadline) -> Result<Credentials> {
        let host = self.url.host_str().unwrap_or_default();
        let what = || format!("cannot get credentials from the container endpoint {host}");
        self.exchange(http, deadline).with_context(what)
    }

    fn exchange(&self, http: &Http, deadline: Deadline) -> Result<Credentials> {
        let token = match &self.token {
            Some(Token::Given(token)) => Some(token.clone()),
            Some(Token::File(path)) => Some(read_token("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)?),
            None => None,
        };
        let headers: Headers = match &token {
            Some(token) => vec![web::secret_header("authorization", token)?],
            None => Headers::new(),
        };
        let is_near = self.url.host().is_some_and(|host| is_trusted(&host));
        // An agent on this machine answers quickly, or has failed.
        let near = Http::fixed(Duration::from_secs(2), Duration::from_secs(10));
        let http = if is_near { &near } else { http };
        let make = if is_near { Client::direct } else { Client::new };
        let client = make(self.url.clone(), http.clone(), web::nobody()).trusting(CA_BUNDLE);
        let ask = Ask { method: Method::GET, headers: &headers, body: None };
        let reply = web::patiently(&client, http, &ask, deadline)?;
        if reply.status != 200 {
            let fields = Fields::parse(&reply.text).ok();
            let why =
                fields.as_ref().and_then(|fields| fields.get("message")).map(|text| web::quoted(text, token.as_ref()));
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            let hint = if token.is_some() { "" } else { "; asked without a token" };
            return Err(Error::failed(format!("it answered {}{why}{hint}", reply.status)));
        }
        let fields = Fields::parse(&reply.text)?;
        let role = fields
            .get("RoleArn")
            .map_or_else(|| "the role".to_owned(), |arn| format!("role {}", web::quoted(arn, token.as_ref())));
        fields.credentials("Token", &format!("{role} of the container"))
    }
}

#[cfg(test)]
mod tests {
    use crate::aws::container::*;
    use crate::aws::tests::Place;

    #[test]
    fn where_a_token_may_go() {
        let place = Place::new();
        let ask = |name: &str, value: &str| recipe(&place.env(&[(name, value)]));
        assert_eq!(recipe(&place.env(&[])).unwrap(), None);
        for (uri, url) in
            [("/v2/x?id=1", "http://169.254.170.2/v2/x?id=1"), ("//evil/x", "http://169.254.170.2//evil/x")]
        {
            let got = ask("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", uri).unwrap().unwrap();
            assert_eq!(got.url.as_str(), url);
        }
        for uri in ["v2", "@evil/x", ":99/x"] {
            assert!(ask("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", uri).is_err(), "{uri}");
        }
        for (uri, is_allowed) in [
            ("https://elsewhere.example/x", true),
            ("http://127.0.0.1:80/x", true),
            ("http://127.9.9.9/x", true),
            ("http://localhost:5/x", true),
            ("http://[::1]/x", true),
            ("http://169.254.170.2/x", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://169.254.169.254/x", false),
            ("http://[fd00:ec2::254]/x", false),
            ("http://10.0.0.1/x", false),
            ("http://localhost.evil.example/x", false),
            ("http://127.0.0.1.evil.example/x", false),
            ("http://user:hunter2@127.0.0.1/x", false),
            ("ftp://127.0.0.1/x", false),
            ("nonsense", false),
        ] {
            let got = ask("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri);
            assert_eq!(got.is_ok(), is_allowed, "{uri}");
            assert!(got.err().is_none_or(|e| !e.to_string().contains("hunter2")));
        }
    }

    #[test]
    fn the_token_file_comes_before_the_token() {
        let place = Place::new();
        let uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/");
        let (file, token) =
            (("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/t"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s"));
        let got = |variables: &[(&str, &str)]| recipe(&place.env(variables)).unwrap().unwrap().token;
        assert_eq!(got(&[uri]), None);
        assert_eq!(got(&[uri, token]), Some(Token::Given(Secret::new("s"))));
        assert_eq!(got(&[uri, token, file]), Some(Token::File("/t".into())));
    }
}
