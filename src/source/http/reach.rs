//! Which addresses a redirect may lead to. A stranger's server must not make us ask this host, its neighbours on the
//! link or the cloud's metadata service in our name, unless the configured remote is at such a place itself. Judged are
//! the addresses a name resolves to, and only those judged are connected to; through a proxy, which resolves by itself,
//! only a literal address and `localhost` can be judged.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use url::{Host, Url};

use super::retry::Fault;
use crate::error::{Error, Result, plain};

/// A kind of place that a redirect alone does not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This host.
    Loopback,
    /// The link this host is on.
    LinkLocal,
    /// Where clouds keep credentials for whoever asks.
    Metadata,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
        }
    }
}

/// What a client may reach: the places where the configured remote itself is, as its addresses showed them.
#[derive(Debug, Default)]
pub(super) struct Reach(RefCell<Vec<Place>>);

impl Reach {
    /// Where `url` is. The origin's own places are noted; other addresses are judged, and only good ones come out.
    pub(super) fn addresses(&self, url: &Url, at_origin: bool) -> Result<Vec<SocketAddr>, Fault> {
        let mut addresses = resolve(url)?;
        if at_origin {
            self.0.borrow_mut().extend(addresses.iter().filter_map(|a| place(a.ip())));
            return Ok(addresses);
        }
        let mut refused = None;
        addresses.retain(|address| match place(address.ip()) {
            Some(place) if !self.is_home(place) => {
                refused = Some((place, address.ip()));
                false
            }
            _ => true,
        });
        match refused {
            Some((place, ip)) if addresses.is_empty() => Err(out_of_reach(place, &format!(" ({ip})")).into()),
            _ => Ok(addresses),
        }
    }

    /// The same as far as it can be judged where a proxy resolves.
    pub(super) fn check_as_written(&self, url: &Url, at_origin: bool) -> Result<()> {
        match url.host().and_then(|host| place_as_written(&host)) {
            Some(place) if !at_origin && !self.is_home(place) => Err(out_of_reach(place, "")),
            _ => Ok(()),
        }
    }

    fn is_home(&self, place: Place) -> bool {
        self.0.borrow().contains(&place)
    }
}

fn out_of_reach(place: Place, ip: &str) -> Error {
    let name = place.name();
    Error::failed(format!("a redirect may not lead to a {name} address{ip} unless remote itself is at one"))
}

/// The addresses of a URL's host. Blocks for as long as libc takes: a limit would need a thread.
pub(super) fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Fault> {
    let port = url.port_or_known_default().unwrap_or_default();
    match url.host() {
        Some(Host::Ipv4(v4)) => Ok(vec![(v4, port).into()]),
        Some(Host::Ipv6(v6)) => Ok(vec![(v6, port).into()]),
        Some(Host::Domain(name)) => match (name, port).to_socket_addrs() {
            Ok(found) => Ok(found.collect()),
            Err(e) => Err(Fault::transient(format!("cannot find the address of {name}: {}", reason(&e)))),
        },
        None => Err(Error::failed("its URL has no host").into()),
    }
}

/// What getaddrinfo said, without what std puts in front of it.
fn reason(error: &std::io::Error) -> String {
    let text = plain(error);
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase();
    match text.as_str() {
        // EAI_AGAIN, in musl's words and in glibc's.
        "try again" | "temporary failure in name resolution" => {
            "no name server answers (look at /etc/resolv.conf)".to_owned()
        }
        _ => text,
    }
}

/// The kind of place an address is; `None`: an ordinary one.
fn place(address: IpAddr) -> Option<Place> {
    match address {
        IpAddr::V4(v4) => place_v4(v4),
        IpAddr::V6(v6) => place_v6(v6),
    }
}

/// The kind of place that can be told from the host as it is written.
pub(super) fn place_as_written(host: &Host<&str>) -> Option<Place> {
    match host {
        Host::Ipv4(v4) => place_v4(*v4),
        Host::Ipv6(v6) => place_v6(*v6),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            if name == "localhost" || name.ends_with(".localhost") {
                return Some(Place::Loopback);
            }
            (name == "metadata.google.internal").then_some(Place::Metadata)
        }
    }
}

fn place_v4(address: Ipv4Addr) -> Option<Place> {
    match address.octets() {
        // AWS, Azure and Google; AWS's containers; Alibaba; Oracle; Azure's wire server.
        [169, 254, 169, 254]
        | [169, 254, 170, 2 | 23]
        | [100, 100, 100, 200]
        | [192, 0, 0, 192]
        | [168, 63, 129, 16] => Some(Place::Metadata),
        [169, 254, ..] => Some(Place::LinkLocal),
        // 0.0.0.0/8 connects to this host.
        [127 | 0, ..] => Some(Place::Loopback),
        _ => None,
    }
}

fn place_v6(address: Ipv6Addr) -> Option<Place> {
    if let Some(v4) = embedded_v4(address) {
        return place_v4(v4);
    }
    match address.segments() {
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] => Some(Place::Metadata),
        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Some(Place::Metadata),
        [0xfe80..=0xfebf, ..] => Some(Place::LinkLocal),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some(Place::Loopback),
        _ => None,
    }
}

/// The IPv4 address that a mapped, NAT64 or 6to4 address ends up at.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, _, _, _, _, _] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_table() {
        for (address, expected) in [
            ("127.0.0.1", Some(Place::Loopback)),
            ("127.8.9.10", Some(Place::Loopback)),
            ("0.0.0.0", Some(Place::Loopback)),
            ("169.254.1.1", Some(Place::LinkLocal)),
            ("169.254.169.254", Some(Place::Metadata)),
            ("169.254.170.2", Some(Place::Metadata)),
            ("100.100.100.200", Some(Place::Metadata)),
            ("168.63.129.16", Some(Place::Metadata)),
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("100.100.100.201", None),
            ("93.184.216.34", None),
            ("::1", Some(Place::Loopback)),
            ("::", Some(Place::Loopback)),
            ("::ffff:127.0.0.1", Some(Place::Loopback)),
            ("::127.0.0.1", Some(Place::Loopback)),
            ("64:ff9b::a9fe:a9fe", Some(Place::Metadata)),
            ("2002:7f00:1::", Some(Place::Loopback)),
            ("fe80::1", Some(Place::LinkLocal)),
            ("febf::1", Some(Place::LinkLocal)),
            ("fec0::1", None),
            ("fd00:ec2::254", Some(Place::Metadata)),
            ("fd00:ec2::253", None),
            ("fd00::2", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(place(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_redirect_reaches_a_place_only_when_the_remote_is_at_one() {
        let url = |text: &str| Url::parse(text).unwrap();
        let reach = Reach::default();
        for place in ["http://127.0.0.1/", "http://localhost/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/"]
        {
            assert!(reach.addresses(&url(place), false).unwrap_err().error.to_string().contains("may not lead to a"));
            assert!(reach.check_as_written(&url(place), false).is_err(), "{place}");
        }
        assert!(reach.addresses(&url("http://192.0.2.1/"), false).is_ok());
        assert!(reach.addresses(&url("http://127.0.0.1/"), true).is_ok());
        assert!(reach.addresses(&url("http://[::1]:8/"), false).is_ok());
        assert!(reach.addresses(&url("http://169.254.169.254/"), false).is_err());
    }

    #[test]
    fn a_name_server_that_is_silent_is_told_from_a_name_that_is_unknown() {
        let said = |text: &str| reason(&std::io::Error::other(format!("failed to lookup address information: {text}")));
        for text in ["Try again", "Temporary failure in name resolution"] {
            assert_eq!(said(text), "no name server answers (look at /etc/resolv.conf)");
        }
        assert_eq!(said("Name does not resolve"), "name does not resolve");
    }

    #[test]
    fn written_hosts() {
        for (host, expected) in [
            ("localhost", Some(Place::Loopback)),
            ("LOCALHOST.", Some(Place::Loopback)),
            ("a.localhost", Some(Place::Loopback)),
            ("metadata.google.internal", Some(Place::Metadata)),
            ("notlocalhost", None),
            ("example.org", None),
        ] {
            assert_eq!(place_as_written(&Host::Domain(host)), expected, "{host}");
        }
        assert_eq!(place_as_written(&Host::Ipv4(Ipv4Addr::LOCALHOST)), Some(Place::Loopback));
        assert_eq!(place_as_written(&Host::Ipv6(Ipv6Addr::LOCALHOST)), Some(Place::Loopback));
    }
}
