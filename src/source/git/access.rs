//! Credentials and trust for a git remote: user and password as for HTTP, ssh key, known hosts, roots. Files are read,
//! or passed to git, anew at every check. Passwords and keys are only for the configured host; a submodule on another
//! host is fetched without credentials.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::command::Access;
use crate::config::{Secret, Settings};
use crate::error::{Context, Error, Result};
use crate::http::auth::{UserInfo, load};
use crate::http::secret_file;
use crate::http::warn_once;
use crate::remote::place::Place;
use crate::sys::fs::open_file;
use crate::sys::resolve::untrusted_reason;

/// Where distributions keep the trusted roots in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Access to `place`; `configured` is the place in the operator's settings. `home` opens the cache directory.
pub(super) fn to<'a>(
    place: &Place,
    configured: &Place,
    settings: &Settings,
    home: impl FnOnce() -> Result<&'a Path>,
) -> Result<Access> {
    let is_ours = place.is_beside(configured);
    match place {
        Place::Http(url) => {
            let mut access = Access::default();
            if is_ours {
                // A submodule on the same host gets its parent's credentials.
                let Place::Http(origin) = configured else { return Err(Error::failed("no origin")) };
                let host = url.host_str().unwrap_or_default();
                let user = UserInfo::of(origin)?;
                let credentials = load(&user, host, &settings.http)?;
                warn_once(credentials.warnings);
                access.whose = credentials.whose;
                for (name, value) in &credentials.headers {
                    let text = value.to_str().map_err(|_| Error::config(format!("http-header {name} is no text")))?;
                    access.secrets.push(Secret::new(text.rsplit(' ').next().unwrap_or(text)));
                    access.config.push(("http.extraHeader", format!("{name}: {text}")));
                }
                access.secrets.extend(origin.password().map(Secret::new));
                access.secrets.extend(settings.http.password.clone());
            }
            if url.scheme() == "https" {
                access.environment.extend(roots(settings, home)?.map(|file| ("GIT_SSL_CAINFO", file.into())));
            }
            Ok(access)
        }
        Place::Ssh(..) => {
            let whose = match settings.git.key.as_deref().filter(|_| is_ours) {
                Some(key) => format!("the key {}", key.display()),
                None => "the keys that ssh finds itself (ssh-key names one)".to_owned(),
            };
            let command = ssh(settings, is_ours)?;
            let environment = vec![("GIT_SSH_COMMAND", command), ("GIT_SSH_VARIANT", "ssh".into())];
            Ok(Access { environment, whose: Some(whose), ..Access::default() })
        }
        Place::Daemon(_) | Place::Local(_) => Ok(Access::default()),
    }
}

/// The ssh command, which git runs through a shell: no prompts, no forwarding, only known hosts.
pub(super) fn ssh(settings: &Settings, is_ours: bool) -> Result<OsString> {
    let (git, http) = (&settings.git, &settings.http);
    let strict = if git.strict { "yes" } else { "accept-new" };
    let mut command = format!(
        "ssh -o BatchMode=yes -o StrictHostKeyChecking={strict} -o ClearAllForwardings=yes -o ForwardAgent=no \
         -o ForwardX11=no -o PermitLocalCommand=no -o ConnectTimeout={} -o ServerAliveInterval={} \
         -o ServerAliveCountMax=1",
        http.connect_timeout.as_secs().max(1),
        http.stall_timeout.as_secs().max(1)
    );
    if let Some(file) = &git.known_hosts {
        check(file, "ssh-known-hosts", git.strict)?;
        command += &format!(" -o GlobalKnownHostsFile=/dev/null -o 'UserKnownHostsFile=\"{}\"'", file.display());
    }
    if let Some(key) = git.key.as_ref().filter(|_| is_ours) {
        check(key, "ssh-key", true)?;
        command += &format!(" -o IdentitiesOnly=yes -o 'IdentityFile=\"{}\"'", key.display());
    }
    Ok(command.into())
}

/// A file that decides which keys are trusted must not be writable by other users, and ssh does not say clearly that it
/// cannot read one.
pub(super) fn check(file: &Path, key: &str, must_exist: bool) -> Result<()> {
    let what = || format!("cannot use {key} {}", file.display());
    match untrusted_reason(file) {
        Ok(None) => open_file(file).map(drop).with_context(what),
        Ok(Some(why)) => Err(Error::failed(why.to_string())).with_context(what),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(()),
        Err(e) => Err(e).with_context(what),
    }
}

/// Writes one file with the system's roots and those of `ca-file` and SSL_CERT_FILE, since git takes only one file.
/// `None` if neither is set: then git uses the system's roots.
fn roots<'a>(settings: &Settings, home: impl FnOnce() -> Result<&'a Path>) -> Result<Option<PathBuf>> {
    let env = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let ours = [("ca-file", settings.http.ca_file.clone()), ("SSL_CERT_FILE", env)];
    if ours.iter().all(|(_, path)| path.is_none()) {
        return Ok(None);
    }
    let mut bundle = Vec::new();
    if let Some(system) = BUNDLES.iter().map(Path::new).find(|path| path.is_file()) {
        bundle.extend(secret_file::read("the roots of the system in", system)?);
    }
    for (key, path) in ours.iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
        bundle.push(b'\n');
        bundle.extend(secret_file::read(key, path)?);
    }
    let home = home()?;
    let file = home.join("roots.pem");
    let what = || format!("cannot write {}", file.display());
    if std::fs::read(&file).is_ok_and(|there| there == bundle) {
        return Ok(Some(file));
    }
    let new = home.join("roots.new");
    std::fs::write(&new, &bundle).with_context(what)?;
    std::fs::rename(&new, &file).with_context(what)?;
    Ok(Some(file))
}
