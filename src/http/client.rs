//! Requests to an origin, through proxies, redirects and retries, for all sources over HTTP. The source decides on the
//! headers, and interprets the response. Credentials and the operator's headers are only sent to the configured origin
//! (scheme, host and port); conditions and ranges are sent at every hop. There are no cookies.
//!
//! Each exchange has its own connection, except the parts of one archive: a waiting daemon holds none, as idle memory
//! matters more than a handshake.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use ureq::Agent;
use ureq::http::header::{self, HeaderValue};
use ureq::http::{Method, Request, StatusCode, Version};
use url::Url;

use super::address_policy::{AddressPolicy, resolve};
use super::connector::Wiring;
use super::message::{Answer, Headers, Incoming};
use super::proxy::{Proxies, Route};
use super::redirect::{self, RedirectChain};
use super::request_error::{fault_of_head, out_of_time};
use super::response_policy::{Http as Plain, ResponsePolicy};
use super::retry::{RequestError, RetryBudget, check_stop};
use super::roots::Roots;
use super::{status, tls};
use crate::artifact::TAIL;
use crate::config::{Http, Secret};
use crate::error::{Error, Result};
use crate::remote::redacted;
use crate::sys::clock::Deadline;
use crate::sys::log;

/// The credentials of requests.
pub struct Caller {
    /// The credentials' name, for messages; `None` without credentials.
    pub whose: Option<String>,
    /// Returns the headers to add to a request to the origin: constant credentials, or a signature over the URL and the
    /// other headers. Called for every try.
    #[allow(clippy::type_complexity, reason = "its two arguments are what is signed")]
    pub sign: Box<dyn Fn(&Url, &Headers) -> Result<Headers>>,
}

/// A client of one URL, for one check.
pub struct Client {
    url: Url,
    http: Http,
    caller: Caller,
    dialect: Box<dyn ResponsePolicy>,
    /// The variable that names a file of additional roots.
    bundle: Option<&'static str>,
    /// See [`Client::aside`].
    is_aside: bool,
    /// Nothing will be deployed: the ends of archives suffice, and downloads are kept for a later run.
    is_ahead: bool,
    /// See [`Client::asking_for_end`].
    end: Option<u64>,
    proxies: Proxies,
    tls: OnceCell<Arc<ClientConfig>>,
    reach: AddressPolicy,
    /// See [`Client::get_in_a_row`].
    kept: OnceCell<Agent>,
}

/// A request, without the URL and the headers that the caller adds.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: Method,
    /// The headers, including conditions and ranges.
    pub headers: &'a Headers,
    /// The body.
    pub body: Option<&'a [u8]>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&redacted(&self.url)).finish()
    }
}

impl Client {
    /// A client of `url`, which has neither userinfo nor a fragment.
    pub fn new(url: Url, http: Http, caller: Caller) -> Self {
        let proxies = Proxies::from_env(|name| std::env::var(name).ok());
        let (dialect, tls, reach) = (Box::new(Plain), OnceCell::new(), AddressPolicy::default());
        Self {
            url,
            http,
            caller,
            dialect,
            bundle: None,
            is_aside: false,
            is_ahead: false,
            end: None,
            proxies,
            tls,
            reach,
            kept: OnceCell::new(),
        }
    }

    /// Interprets responses by `dialect`.
    pub fn speaking(self, dialect: impl ResponsePolicy + 'static) -> Self {
        Self { dialect: Box::new(dialect), ..self }
    }

    /// Also trusts the roots in the file that `variable` names.
    pub fn trusting(self, variable: &'static str) -> Self {
        Self { bundle: Some(variable), ..self }
    }

    /// For a request after the end of a deployment: it is sent despite a stop signal, and only its origin is logged.
    pub fn aside(self) -> Self {
        Self { is_aside: true, ..self }
    }

    /// Sets whether nothing will be deployed.
    pub fn looking_ahead(self, is_ahead: bool) -> Self {
        Self { is_ahead, ..self }
    }

    /// Sets the number of bytes at the end of an archive that a poll asks for instead of all of it, because the rest may
    /// not be needed.
    pub fn asking_for_end(self, end: Option<u64>) -> Self {
        Self { end, ..self }
    }

    /// The number of bytes at the end of an archive that a poll asks for; `None`: it asks for the whole archive.
    pub fn end(&self) -> Option<u64> {
        if self.is_ahead { Some(TAIL) } else { self.end }
    }

    /// Whether nothing will be deployed.
    pub fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// The policy that interprets responses.
    pub fn dialect(&self) -> &dyn ResponsePolicy {
        &*self.dialect
    }

    /// A client that ignores the proxies in the environment, for services of the machine itself.
    pub fn direct(url: Url, http: Http, caller: Caller) -> Self {
        Self { proxies: Proxies::default(), ..Self::new(url, http, caller) }
    }

    /// The complete URL, which may contain secrets.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL for messages.
    pub fn name(&self) -> String {
        redacted(&self.url)
    }

    /// The origin, to which credentials may be sent.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The error for an unexpected response.
    pub fn refusal(&self, answer: Answer) -> Error {
        self.dialect.refusal(answer, &self.url, self.caller.whose.as_deref())
    }

    /// The limits of an exchange.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Sends a GET with the headers `ask`, follows redirects, and retries after transient failures.
    pub fn get(&self, ask: &Headers, patience: &mut RetryBudget) -> Result<Answer> {
        self.try_get(ask, patience, false)
    }

    /// The same, one of several in a row: where the server lets them, they have one connection to the origin, and cost a
    /// handshake once.
    pub fn get_in_a_row(&self, ask: &Headers, patience: &mut RetryBudget) -> Result<Answer> {
        self.try_get(ask, patience, true)
    }

    fn try_get(&self, ask: &Headers, patience: &mut RetryBudget, in_a_row: bool) -> Result<Answer> {
        loop {
            match self.send(ask, patience.deadline(), in_a_row) {
                Ok(answer) => return Ok(answer),
                Err(fault) => patience.after(fault, &self.name())?,
            }
        }
    }

    /// One try, including redirects.
    fn send(&self, headers: &Headers, deadline: Deadline, in_a_row: bool) -> Result<Answer, RequestError> {
        let ask = &Ask { method: Method::GET, headers, body: None };
        let mut trail = RedirectChain::new(self.url.clone());
        loop {
            let answer = self.exchange(trail.here(), ask, deadline, in_a_row);
            let answer = answer.and_then(|a| status::passing(&a).map_or(Ok(a), Err));
            let answer = answer.map_err(|fault| match trail.name() {
                Some(place) => fault.at(&place),
                None => fault,
            })?;
            if !self.dialect.is_redirected() || !redirect::is_redirect(answer.status.as_u16()) {
                return Ok(answer);
            }
            trail.follow(answer.headers.get(header::LOCATION).map(HeaderValue::as_bytes))?;
        }
    }

    /// One try with any method. A redirect is returned as it is, and no status is an error.
    pub fn call(&self, ask: &Ask<'_>, deadline: Deadline) -> Result<Answer, RequestError> {
        self.exchange(&self.url, ask, deadline, false)
    }

    /// Sends one request and reads the head of the response.
    fn exchange(&self, url: &Url, ask: &Ask<'_>, deadline: Deadline, in_a_row: bool) -> Result<Answer, RequestError> {
        if !self.is_aside {
            check_stop()?;
        }
        let at_origin = url.origin() == self.url.origin();
        let route = self.proxies.route(url)?;
        let total = deadline.remaining();
        if total.is_zero() {
            return Err(out_of_time().into());
        }
        let request = self.request(url, ask, &route, at_origin)?;
        // A proxy knows its clients by the connection.
        let is_kept = in_a_row && at_origin && matches!(route, Route::Direct);
        let agent = match self.kept.get().filter(|_| is_kept) {
            Some(agent) => agent.clone(),
            None => self.wiring(url, &route, at_origin, total)?.agent(is_kept),
        };
        let host = match &route {
            Route::Direct => url.host_str().unwrap_or_default().to_owned(),
            Route::Forward(proxy) | Route::Tunnel(proxy) => format!("the proxy {}", proxy.name()),
        };
        let name = if self.is_aside { self.origin() } else { redacted(url) };
        log::debug!("{} {name} from {host}", ask.method);
        let response = match ask.body {
            None if is_kept => {
                let agent = self.kept.get_or_init(|| agent);
                agent.run(agent.configure_request(request).timeout_global(Some(total)).build())
            }
            None => agent.run(request),
            Some(body) => agent.run(request.map(|()| body)),
        };
        let response = response.map_err(|e| fault_of_head(e, url, &host, &self.http))?;
        let (head, body) = response.into_parts();
        let (http10, body) = (head.version == Version::HTTP_10, Incoming { body, host, is_gzip: false });
        // 203 is a 200 that a proxy may have changed.
        let is_ok = head.status == StatusCode::NON_AUTHORITATIVE_INFORMATION;
        let status = if is_ok { StatusCode::OK } else { head.status };
        Ok(Answer { status, headers: head.headers, body, at_origin, http10 })
    }

    fn request(&self, url: &Url, ask: &Ask<'_>, route: &Route, at_origin: bool) -> Result<Request<()>> {
        let mut request = Request::builder().method(&ask.method).uri(url.as_str());
        let signed = if at_origin { (self.caller.sign)(url, ask.headers)? } else { Headers::new() };
        for (name, value) in ask.headers.iter().cloned().chain(signed) {
            request = request.header(name, value);
        }
        if let Route::Forward(proxy) = route
            && let Some(authorization) = &proxy.authorization
        {
            request = request.header(header::PROXY_AUTHORIZATION, sensitive(authorization)?);
        }
        request.body(()).map_err(|e| Error::failed(format!("its URL cannot be asked for: {e}")))
    }

    fn wiring(&self, url: &Url, route: &Route, at_origin: bool, total: Duration) -> Result<Wiring, RequestError> {
        let (addresses, tunnel, absolute) = match route {
            Route::Direct => (self.reach.addresses(url, at_origin)?, None, None),
            Route::Forward(proxy) => {
                let origin = url.origin().ascii_serialization();
                (resolve(&proxy.url)?, None, Some(origin))
            }
            Route::Tunnel(proxy) => {
                let tunnel = ureq::Proxy::new(proxy.full.reveal())
                    .map_err(|_| Error::failed(format!("the proxy {} is no URL", proxy.name())))?;
                (resolve(&proxy.url)?, Some(tunnel), None)
            }
        };
        let secure = |route: &Route| matches!(route, Route::Tunnel(proxy) if proxy.url.scheme() == "https");
        let tls = (url.scheme() == "https" || secure(route)).then(|| self.tls()).transpose()?;
        let Http { connect_timeout: connect, stall_timeout: stall, .. } = self.http;
        Ok(Wiring { addresses, tunnel, absolute, tls, connect, stall, total })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = tls::config(Roots::open(self.http.ca_file.as_deref(), self.bundle)?)?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}

fn sensitive(secret: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.reveal()).map_err(|e| Error::failed(e.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}
