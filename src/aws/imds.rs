//! The instance metadata service, version 2 only: a token by PUT, then requests with it, never through a proxy. If no
//! service answers, which takes two seconds, or the instance has no role, the link counts as not configured.

use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::answer::Fields;
use super::credentials::Found;
use super::environment::Environment;
use super::web::{self, web_url};
use crate::config::{Http, Secret, is_region};
use crate::error::{Context, Error, Kind, Result};
use crate::http::client::{Ask, Client};
use crate::http::message::Headers;
use crate::http::retry::{RequestError, check_stop};
use crate::sys::clock::Deadline;
use crate::sys::log;

/// The limit for a connection, and for the response to the first request. Both are tried twice, as is a request that
/// got a server error.
const MOMENT: Duration = Duration::from_secs(1);
const TRIES: u32 = 2;
/// The limit for further responses, once the service has answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// The lifetime of a token: six hours, the maximum.
const TTL: &str = "21600";

/// The address of the service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Service {
    url: Url,
}

/// A session with a token.
pub(super) struct Session<'a> {
    service: &'a Service,
    token: Secret,
    deadline: Deadline,
}

impl Service {
    /// The address in the environment, else the default; `None` if the service is disabled.
    pub(super) fn of(env: &Environment) -> Result<Option<Self>> {
        if env.is_true("AWS_EC2_METADATA_DISABLED") {
            return Ok(None);
        }
        let mode = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").map(|mode| mode.to_ascii_lowercase());
        let url = match (env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"), mode.as_deref()) {
            (Some(text), _) => web_url(&text),
            (None, Some("ipv6")) => web_url("http://[fd00:ec2::254]"),
            (None, None | Some("ipv4")) => web_url("http://169.254.169.254"),
            (None, Some(_)) => {
                return Err(Error::failed("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6"));
            }
        };
        let bad = || Error::failed("AWS_EC2_METADATA_SERVICE_ENDPOINT is no http(s) URL");
        url.map(|url| Some(Self { url })).ok_or_else(bad)
    }

    /// The credentials of the instance's role, or why there are none.
    pub(super) fn credentials(&self, deadline: Deadline) -> Result<Found> {
        let what = || "cannot get credentials from the instance metadata service".to_owned();
        match self.session(deadline).with_context(what)? {
            Ok(mut session) => session.credentials().with_context(what),
            Err(why) => Ok(Err(why)),
        }
    }

    /// The region of the instance.
    pub(super) fn region(&self, deadline: Deadline) -> Result<Option<String>> {
        let what = || "cannot get the region from the instance metadata service".to_owned();
        let Ok(mut session) = self.session(deadline).with_context(what)? else { return Ok(None) };
        let reply = session.get("placement/region").with_context(what)?;
        let region = reply.text.trim();
        Ok((reply.status == 200 && is_region(region)).then(|| region.to_owned()))
    }

    /// Gets a token, or the reason why there is none: no service answers, or it gives no token.
    fn session(&self, deadline: Deadline) -> Result<Result<Session<'_>, String>> {
        let host = self.url.host_str().unwrap_or_default();
        let ttl = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
        let headers = vec![(ttl, HeaderValue::from_static(TTL))];
        let ask = Ask { method: Method::PUT, headers: &headers, body: Some(b"") };
        let reply = match self.ask("api/token", &ask, MOMENT, deadline) {
            Ok(reply) => reply,
            Err(fault) if fault.is_transient() => {
                log::debug!("no instance metadata service: {}", fault.error);
                // With a hop limit of 1, the response does not reach a container.
                let hint = "from within a container that takes a hop limit of 2";
                return Ok(Err(format!("no instance metadata service answers at {host}; {hint}")));
            }
            Err(fault) => return Err(fault.error),
        };
        match reply.status {
            200 => Ok(Ok(Session { service: self, token: Secret::new(reply.text.trim()), deadline })),
            // Disabled for this instance, or another kind of server.
            status @ 403..=405 => Ok(Err(format!("the instance metadata service at {host} gives no token: {status}"))),
            status => Err(Error::failed(format!("it answered {status} instead of a token"))),
        }
    }

    fn ask(&self, path: &str, ask: &Ask<'_>, stall: Duration, deadline: Deadline) -> Result<web::Reply, RequestError> {
        let text = format!("{}/latest/{path}", self.url.as_str().trim_end_matches('/'));
        let url = Url::parse(&text).map_err(|_| Error::failed("a role with a name that no URL has"))?;
        let http = Http::fixed(MOMENT, stall);
        let client = Client::direct(url, http.clone(), web::nobody());
        let mut tries = 1;
        loop {
            check_stop()?;
            let reply = web::once(&client, &http, ask, deadline);
            let is_passing = match &reply {
                Ok(reply) => reply.status >= 500,
                Err(fault) => fault.is_transient(),
            };
            if !is_passing || tries >= TRIES {
                return reply;
            }
            tries += 1;
        }
    }
}

impl Session<'_> {
    fn credentials(&mut self) -> Result<Found> {
        let list = self.get("iam/security-credentials/")?;
        let role = list.text.lines().map(str::trim).find(|line| !line.is_empty());
        let role = match (list.status, role) {
            (200, Some(role)) => role.to_owned(),
            (200 | 404, _) => {
                return Ok(Err("the instance has no role".to_owned()));
            }
            (status, _) => return Err(Error::failed(format!("it answered {status} instead of the name of a role"))),
        };
        let shown = web::quoted(&role, Some(&self.token));
        let reply = self.get(&format!("iam/security-credentials/{role}"))?;
        if reply.status != 200 {
            return Err(Error::failed(format!("it answered {} for role {shown}", reply.status)));
        }
        let fields = Fields::parse(&reply.text)?;
        if let Some(code) = fields.get("Code").filter(|code| *code != "Success") {
            return Err(Error::failed(format!(
                "it has no credentials for role {shown}: {}",
                web::quoted(code, Some(&self.token))
            )));
        }
        fields.credentials("Token", &format!("role {shown} of the instance (IMDSv2)")).map(Ok)
    }

    /// Sends a request with the token, and once more with a new one if it has expired.
    fn get(&mut self, path: &str) -> Result<web::Reply> {
        let reply = self.get_once(path)?;
        if reply.status != 401 {
            return Ok(reply);
        }
        match self.service.session(self.deadline)? {
            Ok(session) => self.token = session.token,
            Err(why) => return Err(Error::new(Kind::Unavailable { retry_after: None }, why)),
        }
        self.get_once(path)
    }

    fn get_once(&self, path: &str) -> Result<web::Reply> {
        let headers: Headers = vec![web::secret_header("x-aws-ec2-metadata-token", &self.token)?];
        let ask = Ask { method: Method::GET, headers: &headers, body: None };
        let reply = self.service.ask(&format!("meta-data/{path}"), &ask, PATIENCE, self.deadline);
        reply.map_err(|fault| fault.error)
    }
}

#[cfg(test)]
mod tests {
    use crate::aws::imds::*;
    use crate::aws::tests::Place;

    #[test]
    fn where_the_service_is() {
        let place = Place::new();
        let (endpoint, mode) = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
        for (variables, expected) in [
            (&[][..], Ok(Some("http://169.254.169.254/"))),
            (&[(mode, "IPv6")][..], Ok(Some("http://[fd00:ec2::254]/"))),
            (&[(mode, "ipv4")], Ok(Some("http://169.254.169.254/"))),
            (&[(mode, "IPv6"), (endpoint, "http://127.0.0.1:1338/")], Ok(Some("http://127.0.0.1:1338/"))),
            (&[("AWS_EC2_METADATA_DISABLED", "TRUE")], Ok(None)),
            (&[("AWS_EC2_METADATA_DISABLED", "false")], Ok(Some("http://169.254.169.254/"))),
            (&[(mode, "IPX")], Err("neither IPv4 nor IPv6")),
            (&[(endpoint, "nowhere")], Err("no http(s) URL")),
        ] {
            match (Service::of(&place.env(variables)), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got.as_ref().map(|s| s.url.as_str()), expected, "{variables:?}"),
                (Err(got), Err(words)) => assert!(got.to_string().contains(words), "{got}"),
                (got, _) => panic!("{variables:?}: {got:?}"),
            }
        }
    }
}
