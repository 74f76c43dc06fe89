//! Environment variables of this process that hold its secrets. Hooks that run as the same user keep them, since they
//! can read everything this process can; a script that runs as another user does not get them.

use std::ffi::OsString;

use crate::config::keys;

/// The names of these variables.
pub fn in_environment() -> Vec<OsString> {
    let all = std::env::vars_os().map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    all.filter(|(name, value)| is_secret(&name.to_string_lossy(), value)).map(|(name, _)| name).collect()
}

/// Whether a variable may hold a secret: one that sets a secret key, or a URL, which may contain a password or a
/// signature; a variable that the AWS tools read; a proxy with a password; the socket of the ssh agent.
fn is_secret(name: &str, value: &str) -> bool {
    let of_key = keys::of_variable(name).is_some_and(|key| {
        key.secret || key.value.starts_with("URL") || key.text.starts_with("aws-") || key.text == "http-user"
    });
    let of_proxy = name.to_ascii_lowercase().ends_with("_proxy") && value.contains('@');
    of_key || of_proxy || name.starts_with("AWS_") || name == "SSH_AUTH_SOCK"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_read_as_a_secret_is_known() {
        for name in [
            "REMOTE_REPOSITORY",
            "REPO_DEPLOY_REMOTE",
            "REPO_DEPLOY_REPOSITORY",
            "REPO_DEPLOY_HTTP_USER",
            "REPO_DEPLOY_HTTP_PASSWORD",
            "REPO_DEPLOY_HTTP_HEADER",
            "REPO_DEPLOY_AWS_ACCESS_KEY",
            "REPO_DEPLOY_AWS_SECRET_KEY",
            "REPO_DEPLOY_AWS_SESSION_TOKEN",
            "REPO_DEPLOY_NOTIFY_URL",
            "REPO_DEPLOY_SHA256_URL",
            "REPO_DEPLOY_SIGNATURE_URL",
            "REPO_DEPLOY_S3_ENDPOINT",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "SSH_AUTH_SOCK",
        ] {
            assert!(is_secret(name, "x"), "{name}");
        }
        for name in ["http_proxy", "HTTPS_PROXY", "all_proxy", "ftp_proxy"] {
            assert!(is_secret(name, "http://user:secret@proxy:3128"), "{name}");
            assert!(!is_secret(name, "http://proxy:3128"), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "TZ",
            "no_proxy",
            "LOCAL_REPOSITORY",
            "REPO_DEPLOY_LOCAL",
            "REPO_DEPLOY_TIMEOUT",
            "APP_KEY",
        ] {
            assert!(!is_secret(name, "x"), "{name}");
        }
    }
}
