//! Settings: the configuration of a deployment, every value checked once and for all. Precedence: argument, file,
//! environment, default. No value is guessed: one that cannot be used is an error with its place and a right value.

pub mod apart;
mod build;
pub mod bundle;
mod file;
pub mod keys;
pub mod layers;
mod list;
pub mod owner;
mod paths;
mod standard_dirs;
pub mod suggest;
mod syntax;
mod timing;
mod trust;
pub mod validate;
mod value;
pub mod write_back;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use self::layers::RawSettings;
pub use self::list::list;
pub use self::standard_dirs::Directory;
pub use self::timing::Timing;
pub use self::trust::{KeyId, PublicKey, Trust};
use crate::error::Result;
use crate::model::{ActivationMode, Layout};
use crate::remote::Remote;

/// The name of a deployment that has no other.
pub const DEFAULT_ID: &str = "default";

/// A secret text: its `Debug` and `Display` are dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The settings of one deployment, every value checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `id`: the section's name, or `default`.
    pub id: String,
    /// `remote`.
    pub remote: Remote,
    /// `local`, absolute.
    pub local: PathBuf,
    /// `cache`: its content may be lost.
    pub cache: Directory,
    /// `state-dir`: stores of live directories and of installations.
    pub state_dir: Directory,
    /// `store`, absolute; `None`: beside `local` (symlink), in it (a mount point), or in `state_dir`.
    pub store: Option<PathBuf>,
    /// `pre-hooks`.
    pub pre_hooks: PathBuf,
    /// `post-hooks`.
    pub post_hooks: PathBuf,
    /// `log-file`, absolute; `None`: standard error.
    pub log_file: Option<PathBuf>,
    /// `activation`; `None`: auto.
    pub activation: Option<ActivationMode>,
    /// `ignore-stop-failure`: a release that fails to stop does not keep the next one from going live.
    pub ignore_stop_failure: bool,
    /// `keep`, at least 2.
    pub keep: usize,
    /// `preserve`: relative paths under `local` that in-place never touches.
    pub preserve: Vec<PathBuf>,
    /// How a release is laid out, and its limits.
    pub layout: Layout,
    /// `schedule`, unparsed: [`Timing::schedule`] parses it. With `-f` neither it nor its zone is used.
    #[allow(dead_code, reason = "for a loop to go by; -f does not")]
    pub timing: Timing,
    /// `max-download`, bytes.
    pub max_download: u64,
    /// `timeout` of one whole check.
    pub timeout: Duration,
    /// `hook-timeout`.
    pub hook_timeout: Duration,
    /// `max-attempts`; 0: no limit.
    pub max_attempts: u32,
    /// `splay`: the longest delay of a check after its time.
    pub splay: Duration,
    /// `status-file`, absolute.
    pub status_file: Option<PathBuf>,
    /// `metrics-file`, absolute.
    pub metrics_file: Option<PathBuf>,
    /// `notify-url`: an http or https URL.
    pub notify: Option<Secret>,
    /// Settings of an HTTP source.
    pub http: Http,
    /// Settings of an S3 source.
    pub aws: Aws,
    /// Settings of a git source.
    pub git: Git,
    /// The proofs that an archive needs.
    pub trust: Trust,
    /// The part of a section with `s3_bucket` that is kept in its file.
    pub bundle: Option<bundle::Bundle>,
}

impl Settings {
    /// Whether releases are installed by their appspec, and `local` is not used.
    pub fn is_installed(&self) -> bool {
        self.activation == Some(ActivationMode::Install)
    }
}

/// Settings of a git source besides its remote.
#[derive(Clone, Debug)]
pub struct Git {
    /// `submodules`.
    pub submodules: bool,
    /// `ssh-key`, absolute.
    pub key: Option<PathBuf>,
    /// `ssh-known-hosts`, absolute.
    pub known_hosts: Option<PathBuf>,
    /// `ssh-strict`: an unknown host is refused.
    pub strict: bool,
    /// `verify-commit`: ssh's file of allowed signers.
    pub signers: Option<PathBuf>,
}

/// Settings of an HTTP source besides its URL.
#[derive(Clone, Debug)]
pub struct Http {
    /// `connect-timeout`.
    pub connect_timeout: Duration,
    /// `stall-timeout`: the longest time without data in a response.
    pub stall_timeout: Duration,
    /// `http-header`, in order: name, value. Sent to the configured origin only.
    pub headers: Vec<(String, Secret)>,
    /// `http-user`.
    pub user: Option<String>,
    /// `http-password`.
    pub password: Option<Secret>,
    /// `http-password-file`: read again at every check.
    pub password_file: Option<PathBuf>,
    /// `netrc`: a file, read again at every check.
    pub netrc: Option<PathBuf>,
    /// `ca-file`, PEM: added to the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// Whether the limits are built in: messages then name no key, since none would change them.
    pub is_fixed: bool,
}

impl Http {
    /// Settings with built-in limits, not the operator's.
    pub fn fixed(connect_timeout: Duration, stall_timeout: Duration) -> Self {
        Self { is_fixed: true, ..Self::limited(connect_timeout, stall_timeout) }
    }

    /// Settings with these limits and nothing else.
    pub fn limited(connect_timeout: Duration, stall_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            stall_timeout,
            headers: Vec::new(),
            user: None,
            password: None,
            password_file: None,
            netrc: None,
            ca_file: None,
            is_fixed: false,
        }
    }
}

/// The part of the command line that concerns the configuration.
#[derive(Debug, Default)]
pub struct Request {
    /// `-c`.
    pub file: Option<PathBuf>,
    /// `--config-section`, each of them; `all` means every section.
    pub sections: Vec<String>,
    /// Options that correspond to keys, in order.
    pub arguments: Vec<layers::Argument>,
}

/// Reads the file and the environment, and checks everything: one deployment for each selected section. `warnings`
/// receives remarks, whether or not loading succeeds.
///
/// `recall` is asked for a remote that is not given, if the command can use a remembered one; the settings passed to it
/// hold a placeholder for the remote.
pub fn load(
    request: &Request,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
    recall: Option<Recall<'_>>,
) -> Result<Vec<Settings>> {
    let mut all = Vec::new();
    let file = each(request, environment, warnings, &mut |given, section, file| {
        let remembered = recall.map(|recall| remembered(given, section, file, environment, recall)).transpose()?;
        let given = remembered.as_ref().and_then(Option::as_ref).unwrap_or(given);
        let mut settings = build::settings(given, section, file, environment)?; // its error names the sections itself
        if bundle::remote(given)?.is_some() {
            settings.bundle = Some(bundle::notes(given, request, file, section)?);
        }
        all.push(settings);
        Ok(())
    })?;
    let others = file.map_or_else(Vec::new, |file| others(&file, environment, &all));
    build::keep_each_other_apart(&all.iter().chain(&others).collect::<Vec<_>>(), all.len())?;
    bundle::refuse_overrides(request, &all)?;
    Ok(all)
}

/// Returns the remembered remote of a deployment.
pub type Recall<'a> = &'a dyn Fn(&Settings) -> Result<Option<String>>;

/// The given values and the remembered remote; `None`: a remote is given, or none is remembered.
fn remembered(
    given: &RawSettings,
    section: Option<&str>,
    file: Option<&file::Configuration>,
    environment: &[(OsString, OsString)],
    recall: Recall<'_>,
) -> Result<Option<RawSettings>> {
    let mut without = given.clone();
    if given.is_given(keys::Name::S3Bucket) || !without.do_without(keys::Name::Remote) {
        return Ok(None);
    }
    let Some(remote) = recall(&build::settings(&without, section, file, environment)?)? else { return Ok(None) };
    let mut with = given.clone();
    with.remember(keys::Name::Remote, remote);
    Ok(Some(with))
}

/// The other deployments of the file, which do not run now, as far as they can be read.
fn others(file: &file::Configuration, environment: &[(OsString, OsString)], running: &[Settings]) -> Vec<Settings> {
    let read = |section: &String| {
        let (mut given, mut unsaid) = (RawSettings::default(), Vec::new());
        given.add_file(&file.name, &file.doc, Some(section), &mut unsaid);
        given.add_environment(environment, &mut unsaid).ok()?;
        build::settings(&given, Some(section), Some(file), environment).ok()
    };
    let all = file.doc.sections().iter().filter_map(read);
    all.filter(|one| running.iter().all(|running| running.id != one.id)).collect()
}

/// Only the schedules of the deployments: a command that asks for nothing else does not need a remote.
pub fn timings(
    request: &Request,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
) -> Result<Vec<Timing>> {
    let mut all = Vec::new();
    each(request, environment, warnings, &mut |given, section, _| {
        all.push(build::timing(given, section, environment)?);
        Ok(())
    })?;
    Ok(all)
}

/// Processes the values of a section.
type Make<'a> = &'a mut dyn FnMut(&RawSettings, Option<&str>, Option<&file::Configuration>) -> Result<()>;

/// Calls `make` with the values of each selected section. Returns the file that has them, if there is one.
fn each(
    request: &Request,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
    make: Make<'_>,
) -> Result<Option<file::Configuration>> {
    let file = match file::read(request.file.as_deref()) {
        Err(_) if bundle::is_whole(request) && request.file.as_deref().is_some_and(file::is_missing) => None,
        read => read?,
    };
    let made = bundle::section(request, file.as_ref());
    let sections = match &file {
        _ if made.is_some() => vec![made.as_deref()],
        Some(file) => file.choose(&request.sections)?,
        None => file::no_section(&request.sections)?,
    };
    warnings.extend(file.as_ref().and_then(file::Configuration::exposed_secrets));
    for section in sections {
        let (mut given, mut said) = (RawSettings::default(), Vec::new());
        given.add_arguments(&request.arguments)?;
        if let Some(file) = &file {
            given.add_file(&file.name, &file.doc, section, &mut said);
        }
        let made = given.add_environment(environment, &mut said).and_then(|()| make(&given, section, file.as_ref()));
        if made.is_ok() {
            said.extend(file.as_ref().filter(|_| section.is_none()).and_then(|file| file.unused_sections()));
        }
        said.retain(|warning| !warnings.contains(warning)); // a warning about all sections is given once
        warnings.extend(said);
        made?;
    }
    Ok(file)
}

/// Parses the URL of an S3 endpoint, as for `s3-endpoint`; the error names a right value.
pub fn endpoint(text: &str) -> Result<url::Url, String> {
    value::endpoint(text)
}

/// Whether a text can be the name of a region.
pub fn is_region(text: &str) -> bool {
    value::region(text).is_ok()
}

/// Settings of an S3 source besides bucket and key.
#[derive(Clone, Debug, Default)]
pub struct Aws {
    /// `aws-access-key`.
    pub access_key: Option<String>,
    /// `aws-secret-key`.
    pub secret_key: Option<Secret>,
    /// `aws-session-token`.
    pub session_token: Option<Secret>,
    /// `aws-profile`, also `profile_name`.
    pub profile: Option<String>,
    /// `aws-region`.
    pub region: Option<String>,
    /// `s3-endpoint`.
    pub endpoint: Option<url::Url>,
    /// `s3-path-style`; `None`: auto.
    pub path_style: Option<bool>,
}
