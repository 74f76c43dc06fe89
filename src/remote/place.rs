//! The location of a git repository: the URL of a remote or a submodule, without path and ref. A text that git or ssh
//! could take for an option, a command or another transport is refused here, before any program gets it.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::redacted::redacted;

/// The location of a repository. Its `Display` has no credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// Over http or https; user and password may be in it.
    Http(Url),
    /// By ssh.
    Ssh(Host, Spelling),
    /// From a git daemon.
    Daemon(Host),
    /// On this host, absolute.
    Local(PathBuf),
}

/// A host and a path on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The user, if given.
    pub user: Option<String>,
    /// A name or an address, IPv6 in brackets.
    pub name: String,
    /// The port, if given.
    pub port: Option<u16>,
    /// The path of the repository.
    pub path: String,
}

/// The spelling of an ssh remote: the path of the short form starts at the user's home, that of a URL at the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `user@host:path`.
    Short,
    /// `ssh://host/path`.
    Full,
}

/// Why a text is no location.
pub(super) type Why = String;

impl Place {
    /// Parses the URL of a repository, without path and ref, as in a remote or a submodule.
    pub fn parse(text: &str) -> Result<Self, Why> {
        check_text(text)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text.starts_with('/') {
                true => Ok(Self::Local(local(text)?)),
                false => short(text),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "https" | "git+https" => http("https", rest),
            "http" | "git+http" => http("http", rest),
            "ssh" | "git+ssh" | "ssh+git" => Ok(Self::Ssh(host(rest, true)?, Spelling::Full)),
            "git" => Ok(Self::Daemon(host(rest, false)?)),
            "file" => Ok(Self::Local(local(rest.strip_prefix("localhost").unwrap_or(rest))?)),
            other => Err(format!("git over {other}:// is not known here: use https, ssh, git or file")),
        }
    }

    /// The transport by git's name, which git is then allowed to use.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Http(url) if url.scheme() == "http" => "http",
            Self::Http(_) => "https",
            Self::Ssh(..) => "ssh",
            Self::Daemon(_) => "git",
            Self::Local(_) => "file",
        }
    }

    /// The URL for git: without user and password of http, which are passed separately.
    pub fn for_git(&self) -> String {
        match self {
            Self::Http(url) => {
                let (origin, path) = (url.origin().ascii_serialization(), url.path());
                format!("{origin}{path}")
            }
            _ => self.to_string(),
        }
    }

    /// Whether both are on one host over one transport: credentials of one then apply to the other.
    pub fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(a), Self::Http(b)) => a.origin() == b.origin(),
            (Self::Ssh(a, _), Self::Ssh(b, _)) | (Self::Daemon(a), Self::Daemon(b)) => {
                a.name.eq_ignore_ascii_case(&b.name) && a.port == b.port
            }
            (Self::Local(_), Self::Local(_)) => true,
            _ => false,
        }
    }

    /// The location of a submodule; its URL is relative to this repository if it starts with `./` or `../`.
    pub fn submodule(&self, text: &str) -> Result<Self, Why> {
        if !(text.starts_with("./") || text.starts_with("../") || text == "." || text == "..") {
            return Self::parse(text);
        }
        check_text(text)?;
        let mut at = match self {
            Self::Http(url) => url.path().to_owned(),
            Self::Ssh(host, _) | Self::Daemon(host) => host.path.clone(),
            Self::Local(path) => path.to_str().ok_or("its parent's path is not UTF-8")?.to_owned(),
        };
        at.truncate(at.trim_end_matches('/').len());
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => {
                    let up = at.rfind('/').or((!at.is_empty()).then_some(0));
                    at.truncate(up.ok_or("it leads above the root of its parent's host")?);
                }
                name => {
                    if !at.is_empty() || !matches!(self, Self::Ssh(_, Spelling::Short)) {
                        at.push('/');
                    }
                    at.push_str(name);
                }
            }
        }
        Ok(match self {
            Self::Http(url) => {
                let mut url = url.clone();
                url.set_path(&plain_path(&at)?);
                Self::Http(url)
            }
            Self::Ssh(host, spelling) => Self::Ssh(Host { path: plain_path(&at)?, ..host.clone() }, *spelling),
            Self::Daemon(host) => Self::Daemon(Host { path: plain_path(&at)?, ..host.clone() }),
            Self::Local(_) => Self::Local(local(&at)?),
        })
    }
}

pub(super) fn split_short(text: &str) -> Option<(&str, &str)> {
    match text.find('[') {
        Some(open) if !text[..open].contains([':', '/']) => {
            let close = open + text[open..].find(']')?;
            Some((&text[..=close], text[close + 1..].strip_prefix(':')?))
        }
        _ => text.split_once(':'),
    }
}

/// `ext::command` and any other `helper::address`: git would run a program for it.
pub(super) fn is_foreign(text: &str) -> bool {
    let word = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_')).count();
    text[word..].starts_with("::")
}

fn check_text(text: &str) -> Result<(), Why> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.starts_with('-') {
        return Err("it begins with -, which git would take for an option".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character in it".to_owned());
    }
    if is_foreign(text) {
        return Err("addresses with :: make git run a program: use https, ssh, git or file".to_owned());
    }
    Ok(())
}

/// The path of a repository at a host.
fn plain_path(path: &str) -> Result<String, Why> {
    let name = path.trim_start_matches('/');
    if name.is_empty() {
        return Err("the path of the repository is missing".to_owned());
    }
    // ssh passes it to a shell on the host, between quotes that git adds.
    if path.starts_with('-') || name.starts_with('-') {
        return Err("the path of the repository begins with -".to_owned());
    }
    if path.split('/').any(|part| part == "..") {
        return Err("the path of the repository has .. as a component".to_owned());
    }
    Ok(path.to_owned())
}

fn local(path: &str) -> Result<PathBuf, Why> {
    if !path.starts_with('/') {
        return Err("a repository on this host needs an absolute path: file:///path".to_owned());
    }
    Ok(Path::new(&plain_path(path)?).components().collect())
}

fn http(scheme: &str, rest: &str) -> Result<Place, Why> {
    let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|e| format!("it is no URL: {e}"))?;
    if url.host_str().is_none_or(|host| host.is_empty() || host.starts_with('-')) {
        return Err("it has no host".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("git's URLs have neither a query nor a fragment".to_owned());
    }
    let raw = rest.split_once('/').map_or("", |(_, path)| path);
    if raw.split('/').any(|part| matches!(part.to_ascii_lowercase().as_str(), ".." | "%2e%2e" | ".%2e" | "%2e.")) {
        return Err("the path of the repository has .. as a component".to_owned());
    }
    plain_path(url.path())?;
    Ok(Place::Http(url))
}

/// `[user@]host[:port]/path`.
fn host(rest: &str, has_user: bool) -> Result<Host, Why> {
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    if user.is_some() && !has_user {
        return Err("git:// knows no users".to_owned());
    }
    let port_at = place.rfind(':').filter(|at| !place[*at..].contains(']'));
    let (name, port) = match port_at {
        Some(at) => {
            let port = place[at + 1..].parse().ok().filter(|port| *port > 0);
            (&place[..at], Some(port.ok_or("its port is none")?))
        }
        None => (place, None),
    };
    Ok(Host { user: user.map(check_user).transpose()?, name: check_host(name)?, port, path: plain_path(path)? })
}

/// `[user@]host:path`.
fn short(text: &str) -> Result<Place, Why> {
    let (authority, path) = split_short(text)
        .filter(|(host, _)| !host.contains('/'))
        .ok_or("it is neither a URL nor user@host:path nor an absolute path")?;
    let (user, name) = match authority.rsplit_once('@') {
        Some((user, name)) => (Some(check_user(user)?), name),
        None => (None, authority),
    };
    let host = Host { user, name: check_host(name)?, port: None, path: plain_path(path)? };
    Ok(Place::Ssh(host, Spelling::Short))
}

fn check_user(user: &str) -> Result<String, Why> {
    if user.contains(':') {
        return Err("ssh takes no password from a URL: use ssh-key".to_owned());
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'~');
    match !user.is_empty() && user.bytes().all(fits) && !user.starts_with('-') {
        true => Ok(user.to_owned()),
        false => Err("its user is none".to_owned()),
    }
}

fn check_host(name: &str) -> Result<String, Why> {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !name.is_empty() && name.len() <= 253 && name.bytes().all(fits) && !name.starts_with(['-', '.'])
        }
    };
    if fits { Ok(name.to_owned()) } else { Err("its host is none".to_owned()) }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&redacted(url)),
            Self::Ssh(host, Spelling::Short) => write!(f, "{host}:{}", host.path),
            Self::Ssh(host, Spelling::Full) => write!(f, "ssh://{host}{}", host.path),
            Self::Daemon(host) => write!(f, "git://{host}{}", host.path),
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
