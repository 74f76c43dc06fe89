//! A git remote, and its cache directory.

use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::command::Git;
use crate::artifact::cache_dir;
use crate::config::Settings;
use crate::error::{Context, Error, Result};
use crate::model::hex;
use crate::remote::git::GitRemote;
use crate::sys::created;
use crate::sys::fs::Dir;

/// A git remote.
#[derive(Debug)]
pub struct GitSource {
    pub(super) remote: GitRemote,
    /// The remote, for messages.
    pub(super) name: String,
    pub(super) git: Git,
    pub(super) settings: Settings,
    home: PathBuf,
    /// The open `home`, from its first use on.
    open: OnceCell<Home>,
}

/// An open directory, and a path that is valid as long as it is open.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    _dir: Dir,
}

impl GitSource {
    /// A source of `remote`. Fails without a git in PATH; sends no request yet.
    pub fn new(remote: &GitRemote, settings: &Settings, cache: &Path) -> Result<Self> {
        let name = remote.to_string();
        let git = Git::find(&name, settings.http.stall_timeout)?;
        // Two deployments with one id differ in `local` or `store`, so each gets its own directory.
        let mut hash = Sha256::new();
        hash.update(settings.local.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(settings.store.as_deref().unwrap_or(Path::new("")).as_os_str().as_bytes());
        let home = cache.join(format!("git-{}", hex(&hash.finalize()[..4])));
        Ok(Self { remote: remote.clone(), name, git, settings: settings.clone(), home, open: OnceCell::new() })
    }

    /// Opens this source's cache directory, which other users cannot enter.
    pub(super) fn home(&self) -> Result<&Path> {
        if let Some(home) = self.open.get() {
            return Ok(&home.path);
        }
        let (above, is_shared) = cache_dir(self.home.parent().unwrap_or(&self.home))?;
        let name = self.home.file_name().unwrap_or_default();
        let open = || match created::make_own_dir(&above, name, 0o700) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => above.child(name),
        };
        let dir = open().with_context(|| format!("cannot make {}", self.home.display()))?;
        // If other users can rename a directory on the path, git and this process use the descriptor instead.
        let path = if is_shared { dir.by_descriptor() } else { self.home.clone() };
        if !path.is_dir() {
            return Err(Error::config(format!(
                "cannot use the cache {}: others may write the volume, and git needs /proc there: mount it, or cache names another place",
                self.home.display()
            )));
        }
        Ok(&self.open.get_or_init(|| Home { path, _dir: dir }).path)
    }
}
