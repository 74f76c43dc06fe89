//! Settings out of what was given: each value read, bounded, and held against the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{Configuration, DEFAULT};
use super::given::{Given, Value};
use super::keys::Name;
use super::value::{self, Why};
use super::{Http, Secret, Settings, owner, places};
use crate::error::{Error, Result};
use crate::model::{ActivationMode, Layout, Links, Owner};
use crate::remote::Remote;

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Everything, checked.
pub fn settings(given: &Given, section: Option<&str>, file: Option<&Configuration>) -> Result<Settings> {
    given.need(Name::Schedule, |_| Ok(()))?; // anything but nothing, as long as this version checks once
    let settings = Settings {
        id: given
            .read(Name::Id, value::id)?
            .unwrap_or_else(|| section.map_or_else(|| "default".to_owned(), value::id_of_section)),
        remote: remote(given, section, file)?,
        local: given.need(Name::Local, place)?,
        cache: given.need(Name::Cache, |text| unless(places::absolute(text)?, places::refused_cache))?,
        store: given.read(Name::Store, place)?,
        pre_hooks: given.need(Name::PreHooks, places::absolute)?,
        post_hooks: given.need(Name::PostHooks, places::absolute)?,
        log_file: given.read(Name::LogFile, places::absolute)?,
        activation: given.need(Name::Activation, |text| {
            let modes = [ActivationMode::Symlink, ActivationMode::InPlace].map(Some);
            value::word(text, &[("auto", None), ("symlink", modes[0]), ("in-place", modes[1])])
        })?,
        keep: given.need(Name::Keep, |text| small(text, 2, 10_000))?,
        preserve: given.read(Name::Preserve, places::below)?.unwrap_or_default(),
        layout: layout(given)?,
        max_download: given.need(Name::MaxDownload, value::size)?,
        timeout: given.need(Name::Timeout, |text| value::time(text, WEEK))?,
        hook_timeout: given.need(Name::HookTimeout, |text| value::time(text, WEEK))?,
        max_attempts: given.need(Name::MaxAttempts, |text| small(text, 0, 1_000_000))?,
        http: http(given)?,
    };
    keep_apart(given, &settings)?;
    credentials_agree(given, &settings)?;
    Ok(settings)
}

fn remote(given: &Given, section: Option<&str>, file: Option<&Configuration>) -> Result<Remote> {
    if let Some(remote) = given.read(Name::Remote, |text| Remote::parse(text).map_err(|e| e.to_string()))? {
        return Ok(remote);
    }
    let name = file.map_or(DEFAULT, |file| &file.name);
    let elsewhere = match (file, section) {
        (Some(file), None) if !file.doc.sections().is_empty() => {
            format!(" ({}: --config-section chooses one)", file.sections())
        }
        (Some(_), Some(section)) => format!(", before its sections or in [{section}]"),
        _ => String::new(),
    };
    Err(Error::config(format!(
        "cannot find a remote: give --remote URL, or remote = URL in {name}{elsewhere}, or REMOTE_REPOSITORY in the environment"
    )))
}

fn layout(given: &Given) -> Result<Layout> {
    Ok(Layout {
        symlinks: given
            .need(Name::Symlinks, |text| value::word(text, &[("inside", Links::Inside), ("refuse", Links::Refuse)]))?,
        owner: given.read(Name::Owner, who)?,
        strip_components: given.need(Name::StripComponents, |text| small(text, 0, 64))?,
        max_unpacked: given.need(Name::MaxUnpacked, value::size)?,
        max_files: given.need(Name::MaxFiles, |text| value::number(text, 1, 100_000_000))?,
    })
}

fn http(given: &Given) -> Result<Http> {
    let header = |given: &Value| {
        let (name, text) = value::header(&given.text).map_err(|why| given.bad(why))?;
        Ok((name, Secret::new(text)))
    };
    Ok(Http {
        connect_timeout: given.need(Name::ConnectTimeout, |text| value::time(text, HOUR))?,
        stall_timeout: given.need(Name::StallTimeout, |text| value::time(text, HOUR))?,
        headers: given.all(Name::HttpHeader).into_iter().map(header).collect::<Result<_>>()?,
        user: given.read(Name::HttpUser, user)?,
        password: given.read(Name::HttpPassword, |text| Ok(Secret::new(text)))?,
        password_file: given.read(Name::HttpPasswordFile, places::absolute)?,
        netrc: given.read(Name::Netrc, places::absolute)?,
        ca_file: given.read(Name::CaFile, places::absolute)?,
    })
}

/// The live tree, the store, the cache and a source on this host do not lie in one another.
fn keep_apart(given: &Given, settings: &Settings) -> Result<()> {
    let source = places::of_remote(&settings.remote);
    let others = [(Some(&*settings.cache), "cache"), (settings.store.as_deref(), "store"), (source, "remote")];
    for (other, what) in others {
        if let Some(why) = other.and_then(|other| places::overlap(&settings.local, other, what)) {
            return Err(complaint(given, Name::Local, why)?);
        }
    }
    for (place, name) in [(Some(&*settings.cache), Name::Cache), (settings.store.as_deref(), Name::Store)] {
        if let (Some(place), Some(source)) = (place, source)
            && places::is_inside(place, source)
        {
            return Err(complaint(given, name, format!("it is inside the remote {}", source.display()))?);
        }
    }
    Ok(())
}

/// One way to say who we are, not two.
fn credentials_agree(given: &Given, settings: &Settings) -> Result<()> {
    let http = &settings.http;
    if http.password.is_some() && http.password_file.is_some() {
        return Err(complaint(given, Name::HttpPassword, "there is an http-password-file too: keep one of them")?);
    }
    let in_url = matches!(&settings.remote, Remote::Http(url) if !url.username().is_empty());
    if (http.password.is_some() || http.password_file.is_some()) && http.user.is_none() && !in_url {
        let name = if http.password.is_some() { Name::HttpPassword } else { Name::HttpPasswordFile };
        return Err(complaint(given, name, "there is no http-user that it belongs to")?);
    }
    if http.user.is_some() && http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        return Err(complaint(given, Name::HttpUser, "an http-header sets Authorization too: keep one of them")?);
    }
    Ok(())
}

/// The error about the value that counts for `name`.
fn complaint(given: &Given, name: Name, why: impl std::fmt::Display) -> Result<Error> {
    Ok(match given.get(name)? {
        Some(value) => value.bad(why),
        None => Error::config(format!("cannot use {}: {why}", name.key().text)),
    })
}

fn place(text: &str) -> Result<PathBuf, Why> {
    unless(places::absolute(text)?, places::refused)
}

fn unless(path: PathBuf, refused: impl FnOnce(&Path) -> Option<String>) -> Result<PathBuf, Why> {
    refused(&path).map_or(Ok(path), Err)
}

fn small<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, Why> {
    T::try_from(value::number(text, least, most)?).map_err(|_| format!("it takes a number up to {most}"))
}

/// A user of basic authentication: the colon would end it (RFC 7617).
fn user(text: &str) -> Result<String, Why> {
    if text.contains(':') {
        Err("a user has no colon: the password is http-password".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn who(text: &str) -> Result<Owner, Why> {
    let read = |path: &str| {
        std::fs::read(path)
            .map(|content| String::from_utf8_lossy(&content).into_owned())
            .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(String::new()) } else { Err(e) })
            .map_err(|e| format!("cannot read {path}: {}", crate::error::plain(&e)))
    };
    owner::parse(text, &read("/etc/passwd")?, &read("/etc/group")?)
}

impl Given {
    /// The value of a key that may be absent.
    fn read<T>(&self, name: Name, meaning: impl FnOnce(&str) -> Result<T, Why>) -> Result<Option<T>> {
        self.get(name)?.map(|value| meaning(&value.text).map_err(|why| value.bad(why))).transpose()
    }

    /// The value of a key that has a default.
    fn need<T>(&self, name: Name, meaning: impl FnOnce(&str) -> Result<T, Why>) -> Result<T> {
        self.read(name, meaning)?.ok_or_else(|| Error::config(format!("cannot find a value of {}", name.key().text)))
    }
}
