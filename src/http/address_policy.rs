//! Which addresses a redirect may lead to. A server must not make this process send requests to this host, to its
//! neighbours on the link or to the cloud's metadata service, unless the configured remote itself is at such an
//! address. The addresses that a name resolves to are checked, and only checked ones are connected to. A proxy resolves
//! names itself, so these cannot be checked: hosts that are visibly of such a class (`places_as_written`, used by
//! [`super::proxy`]) never go through a proxy, but are resolved and checked here.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use url::{Host, Url};

use super::retry::RequestError;
use crate::error::{Error, plain};

/// A class of addresses that a redirect may not lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressClass {
    /// This host.
    Loopback,
    /// The link of this host.
    LinkLocal,
    /// Where clouds give credentials to any process on the host.
    Metadata,
}

impl AddressClass {
    fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
        }
    }
}

/// The classes that a client may reach: those of the configured remote, as its addresses showed.
#[derive(Debug, Default)]
pub(super) struct AddressPolicy(RefCell<Vec<AddressClass>>);

impl AddressPolicy {
    /// The addresses of `url`. At the origin, their classes are recorded; elsewhere, only allowed addresses are
    /// returned.
    pub(super) fn addresses(&self, url: &Url, at_origin: bool) -> Result<Vec<SocketAddr>, RequestError> {
        let mut addresses = resolve(url)?;
        if at_origin {
            self.0.borrow_mut().extend(addresses.iter().flat_map(|a| places(a.ip())));
            return Ok(addresses);
        }
        let mut refused = None;
        addresses.retain(|address| match self.strange(places(address.ip())) {
            Some(place) => {
                refused = Some((place, address.ip()));
                false
            }
            None => true,
        });
        match refused {
            Some((place, ip)) if addresses.is_empty() => Err(out_of_reach(place, ip).into()),
            _ => Ok(addresses),
        }
    }

    /// The first of `places` that the configured remote is not in.
    fn strange(&self, places: Vec<AddressClass>) -> Option<AddressClass> {
        places.into_iter().find(|place| !self.0.borrow().contains(place))
    }
}

fn out_of_reach(place: AddressClass, ip: IpAddr) -> Error {
    let name = place.name();
    Error::failed(format!("a redirect may not lead to a {name} address ({ip}) unless remote itself is at one"))
}

/// Resolves a URL's host. Blocks as long as libc does: a time limit would need a thread.
pub(super) fn resolve(url: &Url) -> Result<Vec<SocketAddr>, RequestError> {
    let port = url.port_or_known_default().unwrap_or_default();
    match url.host() {
        Some(Host::Ipv4(v4)) => Ok(vec![(v4, port).into()]),
        Some(Host::Ipv6(v6)) => Ok(vec![(v6, port).into()]),
        Some(Host::Domain(name)) => match (name, port).to_socket_addrs() {
            Ok(found) => Ok(found.collect()),
            Err(e) => Err(RequestError::transient(format!("cannot find the address of {name}: {}", reason(&e)))),
        },
        None => Err(Error::failed("its URL has no host").into()),
    }
}

/// The message of getaddrinfo, without std's prefix.
fn reason(error: &std::io::Error) -> String {
    let text = plain(error);
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase();
    match text.as_str() {
        // EAI_AGAIN, as musl and glibc spell it.
        "try again" | "temporary failure in name resolution" => {
            "no name server answers (look at /etc/resolv.conf)".to_owned()
        }
        _ => text,
    }
}

/// The classes of an address and of every IPv4 address embedded in it. Empty for an ordinary address.
fn places(address: IpAddr) -> Vec<AddressClass> {
    match address {
        IpAddr::V4(v4) => place_v4(v4).into_iter().collect(),
        IpAddr::V6(v6) => place_v6(v6).into_iter().chain(embedded_v4(v6).into_iter().filter_map(place_v4)).collect(),
    }
}

/// Names of metadata services: Google's, AWS's, Tencent's, IBM's. A proxy would resolve them to its own.
const METADATA_NAMES: [&str; 7] = [
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data.ec2.internal",
    "instance-data",
    "metadata.tencentyun.com",
    "api.metadata.cloud.ibm.com",
];

/// The classes that a host's text alone shows.
pub(super) fn places_as_written(host: &Host<&str>) -> Vec<AddressClass> {
    match host {
        Host::Ipv4(v4) => places((*v4).into()),
        Host::Ipv6(v6) => places((*v6).into()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let is_here = name == "localhost" || name.ends_with(".localhost");
            let place = if is_here { Some(AddressClass::Loopback) } else { None };
            let is_metadata = METADATA_NAMES.contains(&name.as_str());
            place.or(is_metadata.then_some(AddressClass::Metadata)).into_iter().collect()
        }
    }
}

fn place_v4(address: Ipv4Addr) -> Option<AddressClass> {
    match address.octets() {
        // Nearly all clouds; AWS's containers; Tencent; Scaleway; Alibaba; Oracle; Azure's wire server.
        [169, 254, 169, 254]
        | [169, 254, 170, 2 | 23]
        | [169, 254, 0, 23]
        | [169, 254, 10, 10]
        | [169, 254, 42, 42]
        | [100, 100, 100, 200]
        | [192, 0, 0, 192]
        | [168, 63, 129, 16] => Some(AddressClass::Metadata),
        [169, 254, ..] => Some(AddressClass::LinkLocal),
        // 0.0.0.0/8 connects to this host.
        [127 | 0, ..] => Some(AddressClass::Loopback),
        _ => None,
    }
}

fn place_v6(address: Ipv6Addr) -> Option<AddressClass> {
    match address.segments() {
        // AWS and its containers; Google; Oracle; Scaleway; Akamai; Alibaba; OpenStack.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
        | [0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]
        | [0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200]
        | [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe] => Some(AddressClass::Metadata),
        [0xfe80..=0xfebf, ..] => Some(AddressClass::LinkLocal),
        _ => None, // :: and ::1 are 0.0.0.0 and 0.0.0.1, which are this host
    }
}

/// The IPv4 addresses that an IPv6 address may lead to: for a prefix of unknown length, one for each length.
fn embedded_v4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // Compatible and mapped (RFC 4291, section 2.5.5), translated (RFC 2765, section 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![last],
        // NAT64 with the well-known prefix (RFC 6052, section 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        // NAT64 with a local prefix (RFC 8215) of 48, 56, 64 or 96 bits (RFC 6052, section 2.2). Read with a wrong
        // length, an ordinary address starts with a zero.
        [0x64, 0xff9b, 1, ..] => {
            let read = [at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last];
            read.into_iter().filter(|v4| v4.octets()[0] != 0).collect()
        }
        // 6to4 (RFC 3056, section 2).
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        // Teredo: the server, and the client with inverted bits (RFC 4380, section 4).
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from(!u32::from(last))],
        // ISATAP, with any prefix (RFC 5214, section 6.1).
        [_, _, _, _, local, 0x5efe, ..] if local & !0x300 == 0 => vec![last],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::http::address_policy::*;

    #[test]
    fn place_table() {
        use AddressClass::{LinkLocal, Loopback, Metadata};
        for (address, expected) in [
            ("127.0.0.1", Some(Loopback)),
            ("127.8.9.10", Some(Loopback)),
            ("0.0.0.0", Some(Loopback)),
            ("169.254.1.1", Some(LinkLocal)),
            ("169.254.169.254", Some(Metadata)),
            ("169.254.170.2", Some(Metadata)),
            ("169.254.170.23", Some(Metadata)),
            ("169.254.0.23", Some(Metadata)),
            ("169.254.10.10", Some(Metadata)),
            ("169.254.42.42", Some(Metadata)),
            ("100.100.100.200", Some(Metadata)),
            ("192.0.0.192", Some(Metadata)),
            ("168.63.129.16", Some(Metadata)),
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("100.100.100.201", None),
            ("93.184.216.34", None),
            ("::1", Some(Loopback)),
            ("::", Some(Loopback)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("fec0::1", None),
            ("fe80::a9fe:a9fe", Some(Metadata)),
            ("fd00:ec2::254", Some(Metadata)),
            ("fd00:ec2::23", Some(Metadata)),
            ("fd00:ec2::253", None),
            ("fd20:ce::254", Some(Metadata)),
            ("fd00:c1::a9fe:a9fe", Some(Metadata)),
            ("fd00:42::42", Some(Metadata)),
            ("fd00:a9fe:a9fe::1", Some(Metadata)),
            ("fd00:100::100:200", Some(Metadata)),
            ("fd00::2", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(places(address.parse().unwrap()).first().copied(), expected, "{address}");
        }
    }

    #[test]
    fn an_address_that_carries_one_of_ipv4_is_judged_by_that_one() {
        for (address, carried) in [
            // RFC 4291, section 2.5.5.1 and 2.5.5.2; RFC 2765, section 2.1.
            ("::127.0.0.1", "127.0.0.1"),
            ("::ffff:169.254.169.254", "169.254.169.254"),
            ("::ffff:93.184.216.34", "93.184.216.34"),
            ("::ffff:0:127.0.0.1", "127.0.0.1"),
            ("::ffff:0:93.184.216.34", "93.184.216.34"),
            // RFC 6052, section 2.1.
            ("64:ff9b::127.0.0.1", "127.0.0.1"),
            ("64:ff9b::93.184.216.34", "93.184.216.34"),
            // RFC 8215, with the positions of RFC 6052, section 2.2, for prefixes of 96, 64, 56 and 48 bits.
            ("64:ff9b:1::169.254.169.254", "169.254.169.254"),
            ("64:ff9b:1::93.184.216.34", "93.184.216.34"),
            ("64:ff9b:1:7::127.0.0.1", "127.0.0.1"),
            ("64:ff9b:1:ab:a9:fea9:fe00:0", "169.254.169.254"),
            ("64:ff9b:1:ab:5d:b8d8:2200:0", "93.184.216.34"),
            ("64:ff9b:1:aba9:fe:a9fe::", "169.254.169.254"),
            ("64:ff9b:1:a9fe:a9:fe00::", "169.254.169.254"),
            ("64:ff9b:1:5db8:d8:2200::", "93.184.216.34"),
            ("64:ff9b:1:7f00:0:100:1:1", "127.0.0.1"), // with any suffix
            // RFC 3056, section 2; RFC 4380, section 4; RFC 5214, section 6.1.
            ("2002:7f00:1::", "127.0.0.1"),
            ("2002:5db8:d822::1", "93.184.216.34"),
            ("2001:0:5db8:d822:0:0:80ff:fffe", "127.0.0.1"), // the client
            ("2001:0:a9fe:a9fe::a247:27dd", "169.254.169.254"), // the server
            ("2001:0:5db8:d822::a247:27dd", "93.184.216.34"),
            ("2001:db8::5efe:127.0.0.1", "127.0.0.1"),
            ("2001:db8::200:5efe:169.254.169.254", "169.254.169.254"),
            ("2001:db8::200:5efe:93.184.216.34", "93.184.216.34"),
        ] {
            let expected = place_v4(carried.parse().unwrap());
            assert_eq!(places(address.parse().unwrap()).first().copied(), expected, "{address}");
        }
        for address in ["64:ff9b:2::127.0.0.1", "2001:1::80ff:fffe", "2001:db8::5eff:127.0.0.1", "2001:db8::127.0.0.1"]
        {
            assert_eq!(places(address.parse().unwrap()), [], "{address}");
        }
    }

    #[test]
    fn the_remote_at_one_place_opens_no_other_of_the_same_address() {
        let reach = AddressPolicy::default();
        let at = |host: &str| Url::parse(&format!("http://[{host}]/")).unwrap();
        assert!(reach.addresses(&at("fe80::1"), true).is_ok());
        assert!(reach.addresses(&at("fe80::2"), false).is_ok());
        assert!(reach.addresses(&at("fe80::5efe:127.0.0.1"), false).is_err());
    }

    #[test]
    fn a_redirect_reaches_a_place_only_when_the_remote_is_at_one() {
        let url = |text: &str| Url::parse(text).unwrap();
        let reach = AddressPolicy::default();
        for place in ["http://127.0.0.1/", "http://localhost/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/"]
        {
            assert!(reach.addresses(&url(place), false).unwrap_err().error.to_string().contains("may not lead to a"));
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
            ("localhost", Some(AddressClass::Loopback)),
            ("LOCALHOST.", Some(AddressClass::Loopback)),
            ("a.localhost", Some(AddressClass::Loopback)),
            ("metadata.google.internal", Some(AddressClass::Metadata)),
            ("Metadata.goog.", Some(AddressClass::Metadata)),
            ("instance-data", Some(AddressClass::Metadata)),
            ("metadata.example.org", None),
            ("notlocalhost", None),
            ("example.org", None),
        ] {
            assert_eq!(places_as_written(&Host::Domain(host)).first().copied(), expected, "{host}");
        }
        assert_eq!(places_as_written(&Host::Ipv4(Ipv4Addr::LOCALHOST)), [AddressClass::Loopback]);
        assert_eq!(places_as_written(&Host::Ipv6(Ipv6Addr::LOCALHOST)), [AddressClass::Loopback]);
    }
}
