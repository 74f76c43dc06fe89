//! The settings of a deployment, by subject.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::standard_dirs::Directory;
use super::timing::Timing;
use super::trust::Trust;
use crate::model::{ActivationMode, Layout};
use crate::remote::Remote;

/// The name of a deployment that has no other.
pub const DEFAULT_ID: &str = "default";

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
    /// `log-format`: a record is a JSON object.
    pub is_json_log: bool,
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
    /// `schedule` and `splay`, unparsed: [`Timing::schedule`] parses it. With `-f` neither it nor its zone is used.
    pub timing: Timing,
    /// `max-download`, bytes.
    pub max_download: u64,
    /// `delta`: only the changed parts of a ZIP are fetched, if the seed and the server allow it.
    pub delta: bool,
    /// `archive-seed`: the archive of the live release stays in the cache.
    pub archive_seed: bool,
    /// `timeout` of one whole check.
    pub timeout: Duration,
    /// `hook-timeout`.
    pub hook_timeout: Duration,
    /// `max-attempts`; 0: no limit.
    pub max_attempts: u32,
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
    pub bundle: Option<Bundle>,
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

/// The values of a section with `s3_bucket` besides its remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The file that keeps its state; `None`: all values came from options and the environment.
    pub file: Option<PathBuf>,
    /// The section in it; `None`: before the first one.
    pub section: Option<String>,
    /// `last_fetch_time`: the upload time of the bundle installed last, in seconds since 1970.
    pub fetched: Option<u64>,
    /// `installation_in_progress`.
    pub in_progress: bool,
    /// The log is the default one.
    pub is_log_usual: bool,
    /// The overrides of the command line, to be written back: keys and values.
    pub overrides: Vec<(&'static str, String)>,
}
