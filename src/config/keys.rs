//! Every key of the configuration in one table: its name, default and purpose. The parser, the environment and `--help`
//! are made from it; the format of a value is defined where it is parsed (`Settings`).

use self::Name::*;
use super::syntax;

/// A key, checked by the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table says what each is for")]
pub enum Name {
    Remote,
    Local,
    Schedule,
    Splay,
    Id,
    Cache,
    StateDir,
    Store,
    PreHooks,
    PostHooks,
    LogFile,
    LogFormat,
    Activation,
    Appspec,
    IgnoreStopFailure,
    Keep,
    Preserve,
    Symlinks,
    Owner,
    StripComponents,
    MaxDownload,
    MaxUnpacked,
    MaxFiles,
    MaxNames,
    Timeout,
    HookTimeout,
    ConnectTimeout,
    StallTimeout,
    MaxAttempts,
    HttpHeader,
    HttpUser,
    HttpPassword,
    HttpPasswordFile,
    Netrc,
    CaFile,
    Delta,
    ArchiveSeed,
    AwsAccessKey,
    AwsSecretKey,
    AwsSessionToken,
    AwsProfile,
    AwsRegion,
    S3Endpoint,
    S3PathStyle,
    StatusFile,
    MetricsFile,
    NotifyUrl,
    Submodules,
    SshKey,
    SshKnownHosts,
    SshStrict,
    VerifyCommit,
    Sha256,
    Sha256Url,
    VerifyKey,
    SignatureUrl,
    AllowDowngrade,
    S3Bucket,
    TargetFileKey,
    LastFetchTime,
    InstallationInProgress,
}

/// A row of the table.
#[derive(Debug)]
pub struct Key {
    /// Its identifier.
    pub name: Name,
    /// Its spelling; `_` for `-` and upper case are accepted too.
    pub text: &'static str,
    /// The name of its value in help texts.
    pub value: &'static str,
    /// Its default; empty: none.
    pub default: &'static str,
    /// Its purpose, in a few words.
    pub help: &'static str,
    /// Its value is a secret.
    pub secret: bool,
    /// It may be given several times.
    pub repeated: bool,
}

const fn key(name: Name, text: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, text, value, default, help, secret: false, repeated: false }
}

impl Key {
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn repeated(self) -> Self {
        Self { repeated: true, ..self }
    }
}

/// The table, in the order of [`Name`].
pub const KEYS: &[Key] = &[
    key(Remote, "remote", "URL", "", "archive (https, http, s3, file), directory or git; git: URL.git[/PATH][#REF]"),
    key(Local, "local", "DIR", "/var/deploy/current", "the live tree"),
    key(Schedule, "schedule", "EXPR", "* * * * *", "when to check; not used with -f"),
    key(Splay, "splay", "DURATION", "0", "delay each check by a share of it, by host"),
    key(Id, "id", "NAME", "", "name of the deployment; else the section or \"default\""),
    key(Cache, "cache", "DIR", "", "downloads, which may be lost; else CACHE_DIRECTORY, /var/cache/repo-deploy"),
    key(StateDir, "state-dir", "DIR", "", "stores of live directories; else STATE_DIRECTORY, /var/lib/repo-deploy"),
    key(Store, "store", "DIR", "", "releases and state of this one; else beside a link, or state-dir/ID"),
    key(PreHooks, "pre-hooks", "DIR", "/etc/repo-deploy/pre-update.d", "programs that may block a release"),
    key(PostHooks, "post-hooks", "DIR", "/etc/repo-deploy/post-update.d", "programs that may roll a release back"),
    key(LogFile, "log-file", "FILE", "", "append the log to it, instead of standard error"),
    key(LogFormat, "log-format", "text|json", "text", "json: an object a line; the fields are in operations"),
    key(Activation, "activation", "auto|symlink|in-place|install", "auto", "how a release becomes live"),
    key(Appspec, "appspec", "auto|yes|no", "auto", "yes: as activation = install"),
    key(IgnoreStopFailure, "ignore-stop-failure", "yes|no", "no", "go on when ApplicationStop fails"),
    key(Keep, "keep", "N", "5", "releases kept"),
    key(Preserve, "preserve", "PATHS", "", "paths below local that in-place never touches"),
    key(Symlinks, "symlinks", "inside|refuse|any", "inside", "links that a release may contain"),
    key(Owner, "owner", "USER[:GROUP]", "", "owner of the files of a release"),
    key(StripComponents, "strip-components", "N", "0", "leading directories cut from names"),
    key(MaxDownload, "max-download", "SIZE", "4G", "bytes of an archive"),
    key(MaxUnpacked, "max-unpacked", "SIZE", "16G", "bytes of a release"),
    key(MaxFiles, "max-files", "N", "200000", "files, directories and links of a release"),
    key(MaxNames, "max-names", "SIZE", "64M", "bytes of names and link texts"),
    key(Timeout, "timeout", "DURATION", "600", "one whole check"),
    key(HookTimeout, "hook-timeout", "DURATION", "300", "one hook"),
    key(ConnectTimeout, "connect-timeout", "DURATION", "10", "one connection"),
    key(StallTimeout, "stall-timeout", "DURATION", "30", "the longest silence of a server"),
    key(MaxAttempts, "max-attempts", "N", "0", "tries of a failed revision; 0: no limit"),
    key(HttpHeader, "http-header", "NAME: VALUE", "", "sent to the remote; may be repeated").secret().repeated(),
    key(HttpUser, "http-user", "USER", "", "for basic authentication"),
    key(HttpPassword, "http-password", "PASSWORD", "", "the password for it").secret(),
    key(HttpPasswordFile, "http-password-file", "FILE", "", "a file that holds the password"),
    key(Netrc, "netrc", "FILE", "", "users and passwords by host"),
    key(CaFile, "ca-file", "FILE", "", "PEM certificates, added to the built-in roots"),
    key(Delta, "delta", "auto|off", "auto", "auto: only the changed parts of a ZIP are fetched, http and S3"),
    key(ArchiveSeed, "archive-seed", "yes|no", "yes", "keep the archive of the live release in the cache for that"),
    key(AwsAccessKey, "aws-access-key", "ID", "", "access key; else one that the AWS tools find"),
    key(AwsSecretKey, "aws-secret-key", "KEY", "", "the secret of the access key").secret(),
    key(AwsSessionToken, "aws-session-token", "TOKEN", "", "the token of a temporary access key").secret(),
    key(AwsProfile, "aws-profile", "NAME", "", "a profile in ~/.aws"),
    key(AwsRegion, "aws-region", "NAME", "", "else AWS_REGION, the profile's, us-east-1"),
    key(S3Endpoint, "s3-endpoint", "URL", "", "an S3 other than Amazon's"),
    key(S3PathStyle, "s3-path-style", "auto|yes|no", "auto", "the bucket in the path of the URL"),
    key(StatusFile, "status-file", "FILE", "", "JSON after every check"),
    key(MetricsFile, "metrics-file", "FILE", "", "Prometheus text after every check"),
    key(NotifyUrl, "notify-url", "URL", "", "POST each change as JSON to it").secret(),
    key(Submodules, "submodules", "yes|no", "yes", "fetch those of a git repository too"),
    key(SshKey, "ssh-key", "FILE", "", "private key for git by ssh; else one that ssh finds"),
    key(SshKnownHosts, "ssh-known-hosts", "FILE", "", "keys of hosts; else those that ssh finds"),
    key(SshStrict, "ssh-strict", "yes|no", "yes", "no: the key of an unknown host is accepted once, and remembered"),
    key(VerifyCommit, "verify-commit", "FILE", "", "allowed signers of ssh: other commits are refused"),
    key(Sha256, "sha256", "HEX", "", "SHA-256 of the one archive that may be deployed"),
    key(Sha256Url, "sha256-url", "URL", "", "a list of sums that has to name the archive"),
    key(VerifyKey, "verify-key", "KEYS", "", "minisign public keys, or files: one of them has to have signed"),
    key(SignatureUrl, "signature-url", "URL", "", "the signature; else the remote's with .minisig"),
    key(AllowDowngrade, "allow-downgrade", "yes|no", "no", "accept a lower signed version"),
    key(S3Bucket, "s3-bucket", "BUCKET", "", "with target-file-key: a CodeDeploy bundle to install"),
    key(TargetFileKey, "target-file-key", "KEY", "", "the bundle's key in the bucket"),
    key(LastFetchTime, "last-fetch-time", "TIME", "", "kept by repo-deploy: when the installed bundle was uploaded"),
    key(InstallationInProgress, "installation-in-progress", "true|false", "false", "kept by repo-deploy"),
];

const _: () = {
    let mut row = 0;
    while row < KEYS.len() {
        assert!(KEYS[row].name as usize == row, "the rows stand in the order of the names");
        row += 1;
    }
    assert!(KEYS.len() == Name::InstallationInProgress as usize + 1, "every name has its row");
};

/// The subjects of the table, each with its first key; a subject ends where the next one begins.
pub const SUBJECTS: &[(&str, Name)] = &[
    ("deployment", Remote),
    ("places", Cache),
    ("hooks and log", PreHooks),
    ("releases", Activation),
    ("limits", MaxDownload),
    ("http", HttpHeader),
    ("S3", AwsAccessKey),
    ("reports", StatusFile),
    ("git", Submodules),
    ("proof", Sha256),
    ("config.ini of CodeDeploy bundles, instead of remote", S3Bucket),
];

/// Other spellings of keys.
pub const ALIASES: &[(&str, Name)] =
    &[("repository", Remote), ("directory", Local), ("profile-name", AwsProfile), ("target-key-file", TargetFileKey)];

/// Variables that the program has always read, besides `REPO_DEPLOY_<KEY>`.
pub const VARIABLES: &[(&str, Name)] =
    &[("REMOTE_REPOSITORY", Remote), ("LOCAL_REPOSITORY", Local), ("UPDATE_SCHEDULE", Schedule)];

/// The prefix of environment variables for keys.
pub const PREFIX: &str = "REPO_DEPLOY_";

impl Name {
    /// Its row in the table.
    pub fn key(self) -> &'static Key {
        &KEYS[self as usize]
    }
}

/// The key with this spelling in a file: `Http_User`, `repository`.
pub fn find(text: &str) -> Option<&'static Key> {
    let text = syntax::normal(text);
    KEYS.iter().find(|key| key.text == text).or_else(|| named(ALIASES, &text))
}

/// The key that an environment variable sets: `REPO_DEPLOY_HTTP_USER`, `REMOTE_REPOSITORY`.
pub fn of_variable(variable: &str) -> Option<&'static Key> {
    match variable.strip_prefix(PREFIX) {
        Some(name) if !name.bytes().any(|b| b.is_ascii_lowercase() || b == b'-') => find(name),
        Some(_) => None,
        None => named(VARIABLES, variable),
    }
}

fn named(names: &[(&str, Name)], text: &str) -> Option<&'static Key> {
    names.iter().find(|(name, _)| *name == text).map(|(_, name)| name.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_every_way_to_write_them() {
        for (text, name) in [
            ("remote", Some(Remote)),
            ("Repository", Some(Remote)),
            ("PRE_HOOKS", Some(PreHooks)),
            ("directory", Some(Local)),
            ("profile_name", Some(AwsProfile)),
            ("remot", None),
            ("", None),
        ] {
            assert_eq!(find(text).map(|k| k.name), name, "{text}");
        }
        for (variable, name) in [
            ("REPO_DEPLOY_MAX_FILES", Some(MaxFiles)),
            ("REPO_DEPLOY_REPOSITORY", Some(Remote)),
            ("REMOTE_REPOSITORY", Some(Remote)),
            ("LOCAL_REPOSITORY", Some(Local)),
            ("UPDATE_SCHEDULE", Some(Schedule)),
            ("REPO_DEPLOY_keep", None),
            ("REPO_DEPLOY_MAX-FILES", None),
            ("KEEP", None),
        ] {
            assert_eq!(of_variable(variable).map(|k| k.name), name, "{variable}");
        }
    }

    #[test]
    fn the_page_has_the_defaults_of_the_table() {
        let page = include_str!("../../docs/configuration.md");
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let Key { text, default, .. } = key;
            let rows = [format!("- **`{text}`** ({default})"), format!("- **`{text}`** (`{default}`)")];
            assert!(rows.iter().any(|row| page.contains(row)), "{rows:?}");
        }
    }

    #[test]
    fn every_key_is_found_by_its_variable() {
        for key in KEYS {
            let variable = format!("{PREFIX}{}", key.text.to_uppercase().replace('-', "_"));
            assert_eq!(of_variable(&variable).map(|k| k.text), Some(key.text), "{variable}");
            assert!(of_variable(&variable.to_lowercase().replace("repo_deploy_", PREFIX)).is_none(), "{variable}");
        }
    }

    #[test]
    fn rows_are_normal_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for text in KEYS.iter().map(|key| key.text).chain(ALIASES.iter().map(|(alias, _)| *alias)) {
            assert_eq!(syntax::normal(text), text);
            assert!(seen.insert(text), "{text} twice");
        }
        for key in KEYS {
            assert!(!key.help.is_empty() && !key.value.is_empty());
        }
    }
}
