//! The route of a request: direct, forwarded by a proxy, or tunnelled through one. The environment decides, as in curl:
//! `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, the lower-case spelling first. `HTTP_PROXY` is ignored if
//! `REQUEST_METHOD` is set (a CGI's client can write it). Requests to loopback and link-local addresses and to clouds'
//! metadata services never go through a proxy. A plain request is forwarded with an absolute URL; https, and plain http
//! if the proxy itself uses TLS, goes through CONNECT.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::{Host, Url};

use super::address_policy::places_as_written;
use super::percent_decoded;
use crate::config::Secret;
use crate::error::{Error, Result};

/// The proxies in the environment.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Secret>,
    https: Option<Secret>,
    bypass: Vec<Bypass>,
}

/// The route of a request.
#[derive(Debug)]
pub(super) enum Route {
    /// To the server.
    Direct,
    /// Sends the absolute URL to the proxy.
    Forward(Proxy),
    /// Asks the proxy for a connection with CONNECT.
    Tunnel(Proxy),
}

/// A proxy and its credentials.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Scheme, host and port only.
    pub(super) url: Url,
    /// The complete URL, for ureq.
    pub(super) full: Secret,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

impl Proxies {
    /// Reads the environment through `get`.
    pub(super) fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let any = |names: &[&str]| names.iter().find_map(|name| get(name).filter(|value| !value.trim().is_empty()));
        let secret = |value: Option<String>| value.map(|v| Secret::new(v.trim()));
        let cgi = get("REQUEST_METHOD").is_some();
        let http: &[&str] = if cgi { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] };
        let all = any(&["all_proxy", "ALL_PROXY"]);
        Self {
            http: secret(any(http).or_else(|| all.clone())),
            https: secret(any(&["https_proxy", "HTTPS_PROXY"]).or(all)),
            bypass: any(&["no_proxy", "NO_PROXY"]).map_or_else(Vec::new, |list| bypass(&list)),
        }
    }

    /// The route to `url`.
    pub(super) fn route(&self, url: &Url) -> Result<Route> {
        let configured = if url.scheme() == "https" { &self.https } else { &self.http };
        let (Some(proxy), Some(host)) = (configured, url.host()) else { return Ok(Route::Direct) };
        let port = url.port_or_known_default().unwrap_or_default();
        if !places_as_written(&host).is_empty() || self.bypass.iter().any(|b| b.covers(&host, port)) {
            return Ok(Route::Direct);
        }
        let proxy = Proxy::parse(proxy, url.scheme())?;
        Ok(if url.scheme() == "https" || proxy.url.scheme() == "https" {
            Route::Tunnel(proxy)
        } else {
            Route::Forward(proxy)
        })
    }
}

impl Proxy {
    fn parse(configured: &Secret, scheme: &str) -> Result<Self> {
        // The value is never shown, since any part of a malformed one may be a password.
        let bad = |what: &str| Error::failed(format!("the proxy for {scheme} in the environment {what}"));
        let text = configured.reveal();
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let full = Url::parse(&text).map_err(|_| bad("is no URL"))?;
        if !matches!(full.scheme(), "http" | "https") {
            return Err(bad(&format!("is a {} proxy: use http:// or https://, or no_proxy", full.scheme())));
        }
        let host = full.host_str().ok_or_else(|| bad("has no host"))?;
        let port = full.port_or_known_default().unwrap_or_default();
        let url = Url::parse(&format!("{}://{host}:{port}/", full.scheme())).map_err(|_| bad("is no URL"))?;
        let authorization = (!full.username().is_empty() || full.password().is_some()).then(|| {
            let user = percent_decoded(full.username());
            let pair = [&user[..], b":", &percent_decoded(full.password().unwrap_or_default())].concat();
            Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        });
        Ok(Self { url, full: Secret::new(full.as_str()), authorization })
    }

    /// Host and port, for messages.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or_default())
    }
}

/// One entry of `no_proxy`.
#[derive(Debug, PartialEq, Eq)]
enum Bypass {
    All,
    /// A name and all names below it, or one address; with a port, only at this port.
    Host(String, Option<u16>),
    /// An address, and how many of its leading bits are compared.
    Net(IpAddr, u32),
}

fn bypass(list: &str) -> Vec<Bypass> {
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).map(str::trim).filter(|e| !e.is_empty());
    entries.filter_map(Bypass::parse).collect()
}

impl Bypass {
    /// `None` if the entry cannot match any host.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((net, bits)) = entry.split_once('/') {
            let net: IpAddr = net.trim_matches(['[', ']']).parse().ok()?;
            let bits: u32 = bits.parse().ok()?;
            return (bits <= if net.is_ipv4() { 32 } else { 128 }).then_some(Self::Net(net, bits));
        }
        // The colons of `::1` separate no port.
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if entry.parse::<IpAddr>().is_err() && !port.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (entry, None),
        };
        let host = host.trim_matches(['[', ']']).trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
        (!host.is_empty()).then(|| Self::Host(host.to_ascii_lowercase(), port))
    }

    fn covers(&self, host: &Host<&str>, port: u16) -> bool {
        let address = match host {
            Host::Ipv4(v4) => Some(IpAddr::V4(*v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(*v6)),
            Host::Domain(_) => None,
        };
        match (self, address) {
            (Self::All, _) => true,
            (Self::Net(net, bits), Some(address)) => is_within(address, *net, *bits),
            (Self::Net(..), None) => false,
            (Self::Host(_, Some(p)), _) if *p != port => false,
            (Self::Host(entry, _), Some(address)) => entry.parse() == Ok(address),
            (Self::Host(entry, _), None) => {
                let name = host.to_string().trim_end_matches('.').to_ascii_lowercase();
                name.strip_suffix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

fn is_within(address: IpAddr, net: IpAddr, bits: u32) -> bool {
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::http::proxy::*;

    fn route(env: &[(&str, &str)], url: &str) -> String {
        let proxies = Proxies::from_env(|name| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()));
        match proxies.route(&Url::parse(url).unwrap()) {
            Ok(Route::Direct) => "direct".to_owned(),
            Ok(Route::Forward(proxy)) => format!("forward {}", proxy.name()),
            Ok(Route::Tunnel(proxy)) => format!("tunnel {}", proxy.name()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn route_table() {
        let (h, s, all) = (("http_proxy", "http://p:1"), ("https_proxy", "http://q:2"), ("ALL_PROXY", "r:3"));
        let cgi = ("REQUEST_METHOD", "GET");
        for (env, url, expected) in [
            (&[][..], "http://a/", "direct"),
            (&[h][..], "http://a/", "forward p:1"),
            (&[h], "https://a/", "direct"),
            (&[h, s], "https://a/", "tunnel q:2"),
            (&[h, s, all], "https://a/", "tunnel q:2"),
            (&[all], "http://a/", "forward r:3"),
            (&[all], "https://a/", "tunnel r:3"),
            (&[("HTTP_PROXY", "p")], "http://a/", "forward p:80"),
            (&[("HTTP_PROXY", "p"), cgi], "http://a/", "direct"),
            (&[("HTTP_PROXY", "p"), cgi, all], "http://a/", "forward r:3"),
            (&[h, ("HTTP_PROXY", "z:9")], "http://a/", "forward p:1"),
            (&[("http_proxy", ""), all], "http://a/", "forward r:3"),
            (&[("http_proxy", "https://p")], "http://a/", "tunnel p:443"),
            (&[h, s], "http://127.0.0.1:80/", "direct"),
            (&[h, s], "http://[::1]/", "direct"),
            (&[h, s], "https://localhost/", "direct"),
            (&[h, s], "http://169.254.169.254/", "direct"),
            (&[("http_proxy", "socks5://u:secret@p")], "http://a/", "socks5 proxy"),
            (&[("http_proxy", "http://u:secret@[bad")], "http://a/", "is no URL"),
        ] {
            let got = route(env, url);
            assert!(got.contains(expected) && !got.contains("secret"), "{env:?} {url}: {got}");
        }
    }

    #[test]
    fn no_proxy_table() {
        for (list, url, bypassed) in [
            ("a.example", "http://a.example/", true),
            ("a.example", "http://x.a.example/", true),
            ("a.example", "http://xa.example/", false),
            (".a.example", "http://x.a.example/", true),
            (".a.example", "http://a.example/", true),
            ("*.a.example", "http://x.a.example/", true),
            ("A.Example", "http://a.example/", true),
            ("a.example", "http://a.example./", true),
            ("a.example:8080", "http://a.example:8080/", true),
            ("a.example:8080", "http://a.example/", false),
            ("b, a.example", "http://a.example/", true),
            ("b a.example", "http://a.example/", true),
            ("*", "http://a/", true),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.0.0.0/8", "http://ten.example/", false),
            ("0.0.0.0/0", "http://11.1.2.3/", true),
            ("10.0.0.1/32", "http://10.0.0.1/", true),
            ("10.0.0.1/33", "http://10.0.0.1/", false),
            ("10.0.0.1", "http://10.0.0.1:99/", true),
            ("10.0.0.1:99", "http://10.0.0.1:99/", true),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("fd00::1", "http://[fd00::1]/", true),
            ("[fd00::1]:8080", "http://[fd00::1]:8080/", true),
            ("[fd00::1]:8080", "http://[fd00::1]/", false),
            ("", "http://a/", false),
            (",,", "http://a/", false),
            (":80", "http://a/", false),
        ] {
            let env = [("http_proxy", "p:1"), ("no_proxy", list)];
            assert_eq!(route(&env, url) == "direct", bypassed, "{list:?} {url}");
        }
    }

    #[test]
    fn credentials_of_a_proxy_are_percent_decoded() {
        let proxy = Proxy::parse(&Secret::new("http://us%40er:p%3Aw%25@p:3128"), "http").unwrap();
        let expected = format!("Basic {}", BASE64_STANDARD.encode("us@er:p:w%"));
        assert_eq!(proxy.authorization.unwrap().reveal(), expected);
        assert_eq!(proxy.url.as_str(), "http://p:3128/");
        assert!(Proxy::parse(&Secret::new("p:3128"), "http").unwrap().authorization.is_none());
    }
}
