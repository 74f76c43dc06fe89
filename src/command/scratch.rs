//! A directory for unpacking archives that are only examined and never become a release.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result, plain};
use crate::sys::created;
use crate::sys::fs::{Dir, unique_name};

/// A private directory; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    dir: Dir,
}

impl Scratch {
    /// Creates one in the directory for temporary files; its name contains `what`.
    pub fn new(what: &str) -> Result<Self> {
        let above = std::env::temp_dir();
        let name = unique_name(&format!("repo-deploy-{what}-")).with_context(|| "cannot make a name")?;
        let make = || created::make_own_dir(&Dir::open(&above)?, &name, 0o700);
        let path = above.join(&name);
        let dir = make().with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, dir })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.path) {
            log::warn!("cannot remove {}: {}", self.path.display(), plain(&e));
        }
    }
}
