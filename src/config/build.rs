//! Builds settings from raw values: each one is parsed, bounded, and checked against the others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bundle;
use super::file::{Configuration, DEFAULT};
use super::keys::Name;
use super::layers::{RawSettings, Value};
use super::owner::Accounts;
use super::secret::Secret;
use super::seen::Seen;
use super::settings::{Aws, DEFAULT_ID, Git, Http, Settings};
use super::standard_dirs::{self, Directory, Standard};
use super::timing::Timing;
use super::trust::{self, Trust};
use super::value::{self, Why};
use super::{apart, paths};
use crate::error::{Error, Result};
use crate::model::{ActivationMode, Layout, Links, Owner};
use crate::remote::Remote;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// The settings of a section, checked.
pub fn settings(
    given: &RawSettings,
    section: Option<&str>,
    file: Option<&Configuration>,
    environment: &[(OsString, OsString)],
) -> Result<Settings> {
    let timing = timing(given, section, environment)?;
    let remote = remote(given, section, file)?;
    let seen = Seen::default();
    let settings = Settings {
        id: timing.id.clone(),
        timing,
        trust: trust(given, &remote)?,
        remote,
        local: given.need(Name::Local, |text| place(text, &seen))?,
        cache: directory(given, Name::Cache, &standard_dirs::CACHE, environment, &seen)?,
        state_dir: directory(given, Name::StateDir, &standard_dirs::STATE, environment, &seen)?,
        store: given.read(Name::Store, |text| place(text, &seen))?,
        pre_hooks: given.need(Name::PreHooks, paths::absolute)?,
        post_hooks: given.need(Name::PostHooks, paths::absolute)?,
        log_file: log_file(given)?,
        is_json_log: given.need(Name::LogFormat, |text| value::word(text, &[("text", false), ("json", true)]))?,
        activation: activation(given)?,
        ignore_stop_failure: given.need(Name::IgnoreStopFailure, |text| value::word(text, &YES_NO))?,
        keep: given.need(Name::Keep, |text| small(text, 2, 10_000))?,
        preserve: given.read(Name::Preserve, paths::below)?.unwrap_or_default(),
        layout: layout(given)?,
        max_download: given.need(Name::MaxDownload, value::size)?,
        delta: given.need(Name::Delta, |text| value::word(text, &[("auto", true), ("off", false)]))?,
        archive_seed: given.need(Name::ArchiveSeed, |text| value::word(text, &YES_NO))?,
        timeout: given.need(Name::Timeout, |text| value::time(text, WEEK))?,
        hook_timeout: given.need(Name::HookTimeout, |text| value::time(text, WEEK))?,
        max_attempts: given.need(Name::MaxAttempts, |text| small(text, 0, 1_000_000))?,
        status_file: given.read(Name::StatusFile, paths::absolute)?,
        metrics_file: given.read(Name::MetricsFile, paths::absolute)?,
        notify: given.read(Name::NotifyUrl, value::web)?,
        http: http(given)?,
        aws: aws(given)?,
        git: git(given)?,
        bundle: None,
    };
    if given.is_whole() {
        keep_apart(given, &settings, file, &seen)?;
    }
    credentials_agree(given, &settings)?;
    Ok(settings)
}

/// The id of the deployment, and its schedule.
pub fn timing(given: &RawSettings, section: Option<&str>, environment: &[(OsString, OsString)]) -> Result<Timing> {
    let id = given.read(Name::Id, value::id)?;
    let id = id.unwrap_or_else(|| section.map_or_else(|| DEFAULT_ID.to_owned(), value::id_of_section));
    let missing = || Error::config("cannot find a value of schedule");
    let splay =
        given.need(Name::Splay, |text| if text == "0" { Ok(Duration::ZERO) } else { value::time(text, DAY) })?;
    Ok(Timing::new(id, given.get(Name::Schedule)?.ok_or_else(missing)?, splay, environment))
}

/// A placeholder for an unknown remote; it is never polled.
const UNKNOWN: &str = "https://localhost/";

/// Whether the remote is known, and not the placeholder.
fn knows_remote(given: &RawSettings) -> bool {
    given.knows(&[Name::Remote, Name::S3Bucket, Name::TargetFileKey])
}

fn remote(given: &RawSettings, section: Option<&str>, file: Option<&Configuration>) -> Result<Remote> {
    if let Some(bundle) = bundle::remote(given)? {
        return Ok(bundle);
    }
    if !knows_remote(given) {
        return Remote::parse(UNKNOWN).map_err(|e| Error::config(e.to_string())); // dependent settings go unchecked
    }
    if let Some(value) = given.get(Name::Remote)? {
        // Its error names the remote already.
        return Remote::parse(&value.text).map_err(|e| Error::value(&value.origin, e));
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

const YES_NO: [(&str, bool); 2] = [("no", false), ("yes", true)];

/// `activation`, combined with `appspec`.
fn activation(given: &RawSettings) -> Result<Option<ActivationMode>> {
    let mode = given.need(Name::Activation, |text| {
        let [symlink, in_place, install] = ActivationMode::ALL.map(Some);
        value::word(text, &[("auto", None), ("symlink", symlink), ("in-place", in_place), ("install", install)])
    })?;
    let appspec = given
        .need(Name::Appspec, |text| value::word(text, &[("auto", None), ("yes", Some(true)), ("no", Some(false))]))?;
    match (appspec, mode) {
        _ if !given.knows(&[Name::Activation, Name::Appspec]) => Ok(mode),
        // A bucket and a key, given as for deployer.py, name a bundle.
        (None, None) if bundle::remote(given)?.is_some() => Ok(Some(ActivationMode::Install)),
        (None, mode) => Ok(mode),
        (Some(true), None | Some(ActivationMode::Install)) => Ok(Some(ActivationMode::Install)),
        (Some(false), Some(ActivationMode::Install)) => {
            Err(complaint(given, Name::Appspec, "activation = install needs one: keep one of the two")?)
        }
        (Some(false), mode) => Ok(mode),
        (Some(true), Some(mode)) => {
            Err(complaint(given, Name::Appspec, format!("activation = {mode} uses none: keep one of the two"))?)
        }
    }
}

/// `log-file`; for a section of deployer.py the default is its log.
fn log_file(given: &RawSettings) -> Result<Option<PathBuf>> {
    if given.is_given(Name::LogFile) || bundle::remote(given)?.is_none() {
        return given.read(Name::LogFile, paths::absolute);
    }
    paths::absolute(bundle::LOG).map(Some).map_err(Error::config)
}

/// A directory that may hold files of other programs too.
fn directory(
    given: &RawSettings,
    name: Name,
    standard: &Standard,
    environment: &[(OsString, OsString)],
    seen: &Seen,
) -> Result<Directory> {
    let path = given.read(name, |text| unless(paths::absolute(text)?, |path| paths::refused_cache(path, seen)))?;
    let is_given = path.is_some();
    let lacks = standard_dirs::lacks_home(environment);
    Ok(Directory { path: path.or_else(|| standard.find(environment)), is_given, lacks })
}

fn layout(given: &RawSettings) -> Result<Layout> {
    Ok(Layout {
        symlinks: given.need(Name::Symlinks, |text| {
            value::word(text, &[("inside", Links::Inside), ("refuse", Links::Refuse), ("any", Links::Any)])
        })?,
        owner: given.read(Name::Owner, who)?,
        strip_components: given.need(Name::StripComponents, |text| small(text, 0, 64))?,
        max_unpacked: given.need(Name::MaxUnpacked, value::size)?,
        max_files: given.need(Name::MaxFiles, |text| value::number(text, 1, 100_000_000))?,
        max_names: given.need(Name::MaxNames, value::size)?,
    })
}

fn http(given: &RawSettings) -> Result<Http> {
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
        password_file: given.read(Name::HttpPasswordFile, paths::absolute)?,
        netrc: given.read(Name::Netrc, paths::absolute)?,
        ca_file: given.read(Name::CaFile, paths::absolute)?,
        is_fixed: false,
    })
}

fn aws(given: &RawSettings) -> Result<Aws> {
    let plain = |text: &str| match text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("it takes letters, digits and signs, without blanks".to_owned()),
    };
    let secret = |text: &str| plain(text).map(Secret::new);
    let aws = Aws {
        access_key: given.read(Name::AwsAccessKey, plain)?,
        secret_key: given.read(Name::AwsSecretKey, secret)?,
        session_token: given.read(Name::AwsSessionToken, secret)?,
        profile: given.read(Name::AwsProfile, |text| Ok(text.to_owned()))?,
        region: given.read(Name::AwsRegion, value::region)?,
        endpoint: given.read(Name::S3Endpoint, value::endpoint)?,
        path_style: given.need(Name::S3PathStyle, |text| {
            value::word(text, &[("auto", None), ("yes", Some(true)), ("no", Some(false))])
        })?,
    };
    for (there, name, lacking, other) in [
        (aws.access_key.is_some(), Name::AwsAccessKey, aws.secret_key.is_none(), "aws-secret-key"),
        (aws.secret_key.is_some(), Name::AwsSecretKey, aws.access_key.is_none(), "aws-access-key"),
        (aws.session_token.is_some(), Name::AwsSessionToken, aws.access_key.is_none(), "aws-access-key"),
    ] {
        if there && lacking && given.knows(&[Name::AwsAccessKey, Name::AwsSecretKey]) {
            return Err(complaint(given, name, format!("there is no {other} that it belongs to"))?);
        }
    }
    Ok(aws)
}

fn git(given: &RawSettings) -> Result<Git> {
    let whether = |text: &str| value::word(text, &[("yes", true), ("no", false)]);
    // ssh expands these characters in file names, and so would a shell.
    let for_ssh = |text: &str| match text.contains(['"', '\'', '\\', '$', '%', '~']) {
        true => Err("ssh cannot take a path with quotes, a backslash, $, % or ~".to_owned()),
        false => paths::absolute(text),
    };
    Ok(Git {
        submodules: given.need(Name::Submodules, whether)?,
        key: given.read(Name::SshKey, for_ssh)?,
        known_hosts: given.read(Name::SshKnownHosts, for_ssh)?,
        strict: given.need(Name::SshStrict, whether)?,
        signers: given.read(Name::VerifyCommit, paths::absolute)?,
    })
}

fn trust(given: &RawSettings, remote: &Remote) -> Result<Trust> {
    if !remote.is_archive() {
        for name in [Name::Sha256, Name::Sha256Url, Name::VerifyKey, Name::SignatureUrl] {
            if given.get(name)?.is_some() {
                let why =
                    "it is for archives, and the remote is a git repository: verify-commit says who may sign commits";
                return Err(complaint(given, name, why)?);
            }
        }
    }
    let beside = |name| if knows_remote(given) { given.read(name, |text| remote.beside(text)) } else { Ok(None) };
    let mut trust = Trust {
        sha256: given.read(Name::Sha256, trust::sha256)?,
        sums: beside(Name::Sha256Url)?,
        keys: given.read(Name::VerifyKey, trust::keys)?.unwrap_or_default(),
        signature: beside(Name::SignatureUrl)?,
        allow_downgrade: given.need(Name::AllowDowngrade, |text| value::word(text, &[("yes", true), ("no", false)]))?,
    };
    if trust.keys.is_empty() && trust.signature.is_some() && given.knows(&[Name::VerifyKey]) {
        return Err(complaint(given, Name::SignatureUrl, "there is no verify-key that it belongs to")?);
    }
    if !trust.keys.is_empty() && trust.signature.is_none() {
        trust.signature = remote.with_suffix(".minisig");
    }
    Ok(trust)
}

/// Checks that no path that is replaced, cleared or written contains files that the deployment needs.
fn keep_apart(given: &RawSettings, settings: &Settings, file: Option<&Configuration>, seen: &Seen) -> Result<()> {
    let file = file.and_then(|file| std::path::absolute(&file.name).ok());
    match apart::clash(&[settings], 1, file.as_deref(), seen) {
        Some(clash) => Err(complaint(given, clash.key, clash.why)?),
        None => Ok(()),
    }
}

/// Checks that deployments do not share paths that must be separate. The first `running` of them run together; existing
/// paths of the others must not be lost either.
pub fn keep_each_other_apart(all: &[&Settings], running: usize) -> Result<()> {
    let same =
        |what: &str| Error::config(format!("two of the sections that run together have {what}: give each its own"));
    for (n, one) in all.iter().take(running).enumerate() {
        for other in &all[..n] {
            if one.id == other.id {
                return Err(same(&format!("id = {}", one.id)));
            }
            // An installation does not use `local`.
            if one.local == other.local && !one.is_installed() && !other.is_installed() {
                return Err(same(&format!("local = {}", one.local.display())));
            }
            if let Some(store) = one.store.as_ref().filter(|_| one.store == other.store) {
                return Err(same(&format!("store = {}", store.display())));
            }
        }
    }
    let [_, _, ..] = all else { return Ok(()) }; // each was checked by itself
    match apart::clash(all, running, None, &Seen::default()) {
        Some(apart::Clash { section, key, why }) => {
            let (id, key) = (&all[section].id, key.key().text);
            Err(Error::config(format!("cannot use {key} of [{id}]: {why}")))
        }
        None => Ok(()),
    }
}

/// Checks that credentials are given in one way only.
fn credentials_agree(given: &RawSettings, settings: &Settings) -> Result<()> {
    let http = &settings.http;
    if http.password.is_some() && http.password_file.is_some() {
        return Err(complaint(given, Name::HttpPassword, "there is an http-password-file too: keep one of them")?);
    }
    let in_url = settings.remote.has_user();
    let has_password = http.password.is_some() || http.password_file.is_some();
    if has_password && http.user.is_none() && !in_url && given.knows(&[Name::HttpUser]) && knows_remote(given) {
        let name = if http.password.is_some() { Name::HttpPassword } else { Name::HttpPasswordFile };
        return Err(complaint(given, name, "there is no http-user that it belongs to")?);
    }
    if http.user.is_some() && http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        return Err(complaint(given, Name::HttpUser, "an http-header sets Authorization too: keep one of them")?);
    }
    Ok(())
}

/// The error about the value in force for `name`.
pub(super) fn complaint(given: &RawSettings, name: Name, why: impl std::fmt::Display) -> Result<Error> {
    Ok(match given.get(name)? {
        Some(value) => value.bad(why),
        None => Error::config(format!("cannot use {}: {why}", name.key().text)),
    })
}

fn place(text: &str, seen: &Seen) -> Result<PathBuf, Why> {
    unless(paths::absolute(text)?, |path| paths::refused(path, seen))
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
    Accounts::read()?.owner(text)
}

impl RawSettings {
    /// Parses the value of a key that may be absent.
    pub(super) fn read<T>(&self, name: Name, meaning: impl FnOnce(&str) -> Result<T, Why>) -> Result<Option<T>> {
        self.get(name)?.map(|value| meaning(&value.text).map_err(|why| value.bad(why))).transpose()
    }

    /// Parses the value of a key that has a default.
    pub(super) fn need<T>(&self, name: Name, meaning: impl FnOnce(&str) -> Result<T, Why>) -> Result<T> {
        self.read(name, meaning)?.ok_or_else(|| Error::config(format!("cannot find a value of {}", name.key().text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(values: &[(Name, &str)]) -> Result<Settings> {
        let mut given = RawSettings::default();
        let arguments: Vec<_> = values.iter().map(|(n, v)| (format!("--{}", n.key().text), *n, (*v).into())).collect();
        given.add_arguments(&arguments)?;
        settings(&given, None, None, &[])
    }

    #[test]
    fn defaults_are_those_of_the_table_and_can_be_used() {
        let settings = build(&[(Name::Remote, "https://h/a.zip")]).unwrap();
        assert_eq!(settings.id, "default");
        assert_eq!(settings.local, Path::new("/var/deploy/current"));
        assert_eq!((settings.keep, settings.max_attempts), (5, 0));
        assert_eq!((settings.max_download, settings.layout), (4 << 30, Layout::default()));
        assert_eq!((settings.timeout.as_secs(), settings.hook_timeout.as_secs()), (600, 300));
        assert_eq!((settings.activation, settings.store, settings.log_file), (None, None, None));
    }

    #[test]
    fn values_are_held_against_their_bounds_and_each_other() {
        use Name::*;
        let https = (Remote, "https://h/a.zip");
        for (values, expected) in [
            (
                vec![],
                "cannot find a remote: give --remote URL, or remote = URL in /etc/repo-deploy/repo-deploy.cfg, or REMOTE_REPOSITORY in the environment",
            ),
            (vec![https, (Keep, "1")], "--keep: cannot use keep = 1: it takes a whole number from 2 to 10000"),
            (
                vec![https, (Activation, "inplace")],
                "--activation: cannot use activation = inplace: it takes auto, symlink, in-place, install; did you mean in-place?",
            ),
            (vec![https, (Timeout, "0")], "--timeout: cannot use timeout = 0: "),
            (vec![https, (MaxFiles, "0")], "--max-files: cannot use max-files = 0: "),
            (vec![https, (StripComponents, "65")], "--strip-components: cannot use strip-components = 65: "),
            (
                vec![https, (Owner, "no-such-user")],
                "--owner: cannot use owner = no-such-user: /etc/passwd has no user no-such-user",
            ),
            (vec![https, (Id, "../x")], "--id: cannot use id = ../x: "),
            (vec![https, (Schedule, "")], "--schedule: cannot use schedule = (empty): "),
            (vec![https, (Cache, "/")], "--cache: cannot use cache = /: "),
            (
                vec![https, (Local, "/srv/c/x"), (Cache, "/srv/c")],
                "--local: cannot use local = /srv/c/x: it is inside the cache /srv/c",
            ),
            (
                vec![https, (Cache, "/var/deploy/current/c")],
                "default: cannot use local = /var/deploy/current: it contains the cache",
            ),
            (vec![https, (Store, "/srv/s"), (Local, "/srv/s")], "--local: cannot use local = /srv/s: it is the store"),
            (vec![https, (Store, "/usr/lib")], "--store: cannot use store = /usr/lib: "),
            (
                vec![(Remote, "/srv/a/x.zip"), (Local, "/srv/a")],
                "--local: cannot use local = /srv/a: it contains the remote",
            ),
            (
                vec![(Remote, "/srv/a"), (Local, "/srv/a/x")],
                "--local: cannot use local = /srv/a/x: it is inside the remote",
            ),
            (
                vec![(Remote, "/srv/a"), (Cache, "/srv/a/x")],
                "--cache: cannot use cache = /srv/a/x: it is inside the remote",
            ),
            (vec![(Remote, "ftp://h/")], "--remote: the scheme ftp is unknown: use https, http, s3, ssh, git or file"),
            (vec![https, (HttpPassword, "p")], "--http-password: cannot use http-password: there is no http-user"),
            (
                vec![https, (HttpUser, "u"), (HttpPassword, "p"), (HttpPasswordFile, "/f")],
                "--http-password: cannot use http-password: there is an http-password-file too",
            ),
            (
                vec![https, (AwsSecretKey, "k")],
                "--aws-secret-key: cannot use aws-secret-key: there is no aws-access-key",
            ),
            (
                vec![https, (AwsAccessKey, "a")],
                "--aws-access-key: cannot use aws-access-key = a: there is no aws-secret-key",
            ),
            (
                vec![https, (AwsSessionToken, "t")],
                "--aws-session-token: cannot use aws-session-token: there is no aws-ac",
            ),
            (vec![https, (AwsRegion, "eu.west")], "--aws-region: cannot use aws-region = eu.west: it takes the name"),
            (vec![https, (S3PathStyle, "maybe")], "--s3-path-style: cannot use s3-path-style = maybe: it takes auto, "),
            (
                vec![https, (S3Endpoint, "minio:9000")],
                "--s3-endpoint: cannot use s3-endpoint = minio:9000: it takes http",
            ),
            (vec![https, (S3Endpoint, "https://u:p@h")], "--s3-endpoint: cannot use s3-endpoint: it takes http"),
            (
                vec![https, (S3Endpoint, "https://h/x?y")],
                "--s3-endpoint: cannot use s3-endpoint = https://h/x?y: it takes ",
            ),
            (vec![https, (HttpUser, "u:p")], "--http-user: cannot use http-user: a user has no colon"),
            (
                vec![https, (HttpUser, "u"), (HttpHeader, "authorization: x")],
                "--http-user: cannot use http-user: an http-header sets Authorization too",
            ),
        ] {
            let error = build(&values).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}\n{expected}");
            assert_eq!(error.exit_code(), 78);
        }
        build(&[(Remote, "https://u@h/a.zip"), (HttpPassword, "p")]).unwrap();
        build(&[(Remote, "/srv/a.zip"), (Local, "/srv/a")]).unwrap();
    }

    #[test]
    fn secrets_are_not_seen_in_settings_or_errors() {
        use Name::*;
        let settings = build(&[
            (Remote, "https://u:hunter2@h/a.zip?k=hunter2"),
            (HttpPassword, "hunter2"),
            (HttpHeader, "X-Token: hunter2"),
            (AwsAccessKey, "AKIA"),
            (AwsSecretKey, "hunter2"),
            (AwsSessionToken, "hunter2"),
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
        assert_eq!(settings.http.headers[0].1.reveal(), "hunter2");
        for bad in ["https://u:hunter2@", "u:hunter2@h/a.zip", "file://u:hunter2@h/a", "hunter2@h", "s4://u:hunter2@h"]
        {
            let error = build(&[(Remote, bad)]).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
