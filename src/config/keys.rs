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
    Id,
    Cache,
    StateDir,
    Store,
    PreHooks,
    PostHooks,
    LogFile,
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
    AwsAccessKey,
    AwsSecretKey,
    AwsSessionToken,
    AwsProfile,
    AwsRegion,
    S3Endpoint,
    S3PathStyle,
    Splay,
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
    /// Another spelling.
    pub alias: Option<&'static str>,
    /// A variable that the program has always read, besides `REPO_DEPLOY_<KEY>`.
    pub variable: Option<&'static str>,
    /// Its value is a secret.
    pub secret: bool,
    /// It may be given several times.
    pub repeated: bool,
}

const fn key(name: Name, text: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, text, value, default, help, alias: None, variable: None, secret: false, repeated: false }
}

impl Key {
    const fn or(self, alias: &'static str, variable: &'static str) -> Self {
        self.alias(alias).variable(variable)
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn repeated(self) -> Self {
        Self { repeated: true, ..self }
    }
}

/// The table, in the order of [`Name`].
pub const KEYS: &[Key] = &[
    key(
        Remote,
        "remote",
        "URL",
        "",
        "a ZIP or tar.gz: https://, http://, s3://, file:// or a path; a directory; or git: URL.git[/PATH][#REF]",
    )
    .or("repository", "REMOTE_REPOSITORY"),
    key(Local, "local", "DIR", "/var/deploy/current", "the live tree").or("directory", "LOCAL_REPOSITORY"),
    key(Schedule, "schedule", "EXPR", "* * * * *", "when to check; unused with -f").variable("UPDATE_SCHEDULE"),
    key(Id, "id", "NAME", "", "name of the deployment; else the section or \"default\""),
    key(Cache, "cache", "DIR", "", "downloads, which may be lost; else CACHE_DIRECTORY, /var/cache/repo-deploy"),
    key(StateDir, "state-dir", "DIR", "", "stores of live directories; else STATE_DIRECTORY, /var/lib/repo-deploy"),
    key(Store, "store", "DIR", "", "releases and state of this one; else beside a link, or state-dir/ID"),
    key(PreHooks, "pre-hooks", "DIR", "/etc/repo-deploy/pre-update.d", "programs that may block"),
    key(PostHooks, "post-hooks", "DIR", "/etc/repo-deploy/post-update.d", "programs that may revert"),
    key(LogFile, "log-file", "FILE", "", "append the log there, not to standard error"),
    key(Activation, "activation", "MODE", "auto", "auto, symlink, in-place, install"),
    key(Appspec, "appspec", "WHEN", "auto", "yes: as activation = install; no, auto"),
    key(IgnoreStopFailure, "ignore-stop-failure", "WHETHER", "no", "go on when ApplicationStop fails"),
    key(Keep, "keep", "N", "5", "releases kept"),
    key(Preserve, "preserve", "PATHS", "", "below local, never touched by in-place"),
    key(Symlinks, "symlinks", "WHICH", "inside", "links of a release: inside, refuse, any"),
    key(Owner, "owner", "USER[:GROUP]", "", "who owns what is unpacked"),
    key(StripComponents, "strip-components", "N", "0", "leading directories cut from names"),
    key(MaxDownload, "max-download", "SIZE", "4G", "bytes of an archive"),
    key(MaxUnpacked, "max-unpacked", "SIZE", "16G", "bytes of a release"),
    key(MaxFiles, "max-files", "N", "200000", "files, directories and links"),
    key(MaxNames, "max-names", "SIZE", "64M", "bytes of names and link texts"),
    key(Timeout, "timeout", "TIME", "600", "one whole check"),
    key(HookTimeout, "hook-timeout", "TIME", "300", "one hook"),
    key(ConnectTimeout, "connect-timeout", "TIME", "10", "one connection"),
    key(StallTimeout, "stall-timeout", "TIME", "30", "the longest silence of a server"),
    key(MaxAttempts, "max-attempts", "N", "0", "tries of a failed revision; 0: no limit"),
    key(HttpHeader, "http-header", "NAME: VALUE", "", "sent to the remote; may be repeated").secret().repeated(),
    key(HttpUser, "http-user", "USER", "", "for basic authentication"),
    key(HttpPassword, "http-password", "PASSWORD", "", "its password").secret(),
    key(HttpPasswordFile, "http-password-file", "FILE", "", "a file that holds it"),
    key(Netrc, "netrc", "FILE", "", "a file of users and passwords by host"),
    key(CaFile, "ca-file", "FILE", "", "PEM, added to the built-in roots"),
    key(AwsAccessKey, "aws-access-key", "ID", "", "for S3; else as the AWS tools find them"),
    key(AwsSecretKey, "aws-secret-key", "KEY", "", "its secret").secret(),
    key(AwsSessionToken, "aws-session-token", "TOKEN", "", "its token, when it is temporary").secret(),
    key(AwsProfile, "aws-profile", "NAME", "", "a profile in ~/.aws").alias("profile-name"),
    key(AwsRegion, "aws-region", "NAME", "", "else AWS_REGION, the profile's, us-east-1"),
    key(S3Endpoint, "s3-endpoint", "URL", "", "an S3 other than Amazon's"),
    key(S3PathStyle, "s3-path-style", "WHEN", "auto", "the bucket in the path: yes, no, auto"),
    key(Splay, "splay", "TIME", "0", "a share of it, by host, after each time"),
    key(StatusFile, "status-file", "FILE", "", "JSON after every check"),
    key(MetricsFile, "metrics-file", "FILE", "", "Prometheus text after every check"),
    key(NotifyUrl, "notify-url", "URL", "", "gets a POST of news as JSON").secret(),
    key(Submodules, "submodules", "WHETHER", "yes", "those of a git repository too: yes, no"),
    key(SshKey, "ssh-key", "FILE", "", "for git by ssh; else what ssh finds itself"),
    key(SshKnownHosts, "ssh-known-hosts", "FILE", "", "the keys of hosts; else what ssh finds itself"),
    key(SshStrict, "ssh-strict", "WHETHER", "yes", "no: a host that is not known is believed once"),
    key(VerifyCommit, "verify-commit", "FILE", "", "who may sign commits: ssh's allowed signers"),
    key(Sha256, "sha256", "HEX", "", "of the one archive that may be deployed"),
    key(Sha256Url, "sha256-url", "URL", "", "a list of sums that has to name the archive"),
    key(VerifyKey, "verify-key", "KEYS", "", "minisign public keys, or files: any may have signed"),
    key(SignatureUrl, "signature-url", "URL", "", "the signature; else the remote's with .minisig"),
    key(AllowDowngrade, "allow-downgrade", "WHEN", "no", "to a lower signed version: yes, no"),
    key(S3Bucket, "s3-bucket", "BUCKET", "", "with target-file-key: a CodeDeploy bundle to install"),
    key(TargetFileKey, "target-file-key", "KEY", "", "its key in the bucket").alias("target-key-file"),
    key(LastFetchTime, "last-fetch-time", "TIME", "", "kept by us: when the installed bundle was uploaded"),
    key(InstallationInProgress, "installation-in-progress", "WHEN", "false", "kept by us: true, false"),
];

const _: () = {
    let mut row = 0;
    while row < KEYS.len() {
        assert!(KEYS[row].name as usize == row, "the rows stand in the order of the names");
        row += 1;
    }
    assert!(KEYS.len() == Name::InstallationInProgress as usize + 1, "every name has its row");
};

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
    KEYS.iter().find(|k| k.text == text || k.alias == Some(&text))
}

/// The key that an environment variable sets: `REPO_DEPLOY_HTTP_USER`, `REMOTE_REPOSITORY`.
pub fn of_variable(variable: &str) -> Option<&'static Key> {
    match variable.strip_prefix(PREFIX) {
        Some(name) if !name.bytes().any(|b| b.is_ascii_lowercase() || b == b'-') => find(name),
        Some(_) => None,
        None => KEYS.iter().find(|k| k.variable == Some(variable)),
    }
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
        for key in KEYS {
            for text in std::iter::once(key.text).chain(key.alias) {
                assert_eq!(syntax::normal(text), text);
                assert!(seen.insert(text), "{text} twice");
            }
            assert!(!key.help.is_empty() && !key.value.is_empty());
        }
    }
}
