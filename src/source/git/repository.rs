//! The bare repository in the cache. It can be discarded at any time: one that is not exactly as this program made it,
//! or has grown too large, is made anew. The caller holds the lock of the deployment, so a git lock in it is stale.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result, plain};
use crate::sys::fs::unique_name;
use crate::sys::log;

/// How many packs are allowed: each fetch adds one or two, and git searches all of them.
const PACKS: usize = 100;
/// How many times larger than the largest pack all packs together may be, and how many bytes more.
const TIMES: u64 = 3;
const SPARE: u64 = 64 << 20;

/// The name prefix of discarded repositories.
const OLD: &str = "old-";

/// A bare repository that this program made.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    path: PathBuf,
    /// Made by this check, so making it anew would not cure an error.
    pub(super) is_fresh: bool,
    /// It only has the objects needed, not all objects of the remote.
    pub(super) is_partial: bool,
}

/// The purpose of a repository. A different purpose needs a new repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    /// The remote, without credentials.
    pub(super) remote: &'a str,
    /// Whether only the contents that are deployed are fetched.
    pub(super) is_partial: bool,
    /// A commit; the length of its name determines the hash algorithm.
    pub(super) commit: &'a str,
}

impl Repository {
    /// Opens the repository in `home`, or makes it if it is missing, has another purpose or is not usable.
    pub(super) fn open(home: &Path, purpose: Purpose<'_>) -> Result<Self> {
        let path = home.join("repository");
        let config = config(purpose);
        let repository = Self { path, is_fresh: false, is_partial: purpose.is_partial };
        match repository.complaint(&config) {
            None => Ok(repository),
            Some(why) => {
                log::debug!("making the repository {} anew: {why}", repository.path.display());
                repository.remake(&config)
            }
        }
    }

    /// Whether `home` has a complete repository of the same remote.
    pub(super) fn is_whole(home: &Path, purpose: Purpose<'_>) -> bool {
        let config = config(Purpose { is_partial: false, ..purpose });
        fs::read_to_string(home.join("repository/config")).is_ok_and(|there| there == config)
    }

    /// The path of the repository.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the repository away and removes it. A git left by a killed process then has no repository to write to; a
    /// directory that cannot be removed now is removed at the next call.
    pub(super) fn discard(&self) -> Result<()> {
        let what = || format!("cannot remove {}", self.path.display());
        let home = self.path.parent().unwrap_or(&self.path);
        let away = home.join(unique_name(OLD).with_context(what)?);
        match fs::rename(&self.path, &away) {
            // A directory in a lower layer of overlayfs cannot be renamed.
            Err(e) if e.kind() == ErrorKind::CrossesDevices => fs::remove_dir_all(&self.path).with_context(what)?,
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).with_context(what),
            _ => {}
        }
        for entry in fs::read_dir(home).with_context(what)? {
            let entry = entry.with_context(what)?;
            if !entry.file_name().as_encoded_bytes().starts_with(OLD.as_bytes()) {
                continue;
            }
            let path = entry.path();
            let is_dir = entry.file_type().with_context(what)?.is_dir();
            if let Err(e) = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) } {
                log::debug!("{} stays until the next time: {}", path.display(), plain(&e));
            }
        }
        Ok(())
    }

    /// Whether the object `name` has been fetched completely.
    pub(super) fn has(&self, name: &str) -> bool {
        fs::read_to_string(self.path.join(reference(name))).is_ok_and(|there| there.trim_end() == name)
    }

    /// An unlinked file, as standard input of a program.
    pub(super) fn input(&self, text: &[u8]) -> Result<fs::File> {
        use std::io::Seek;
        let path = self.path.join("input");
        let what = || format!("cannot write {}", path.display());
        let mut file =
            fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).with_context(what)?;
        fs::remove_file(&path).with_context(what)?;
        file.write_all(text).with_context(what)?;
        file.rewind().with_context(what)?;
        Ok(file)
    }

    /// Why the repository cannot be used; `None` if it can.
    fn complaint(&self, config: &str) -> Option<String> {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Some("it is no directory".to_owned()),
            Err(_) => return Some("there is none".to_owned()),
        }
        if fs::read_to_string(self.path.join("config")).ok().as_deref() != Some(config) {
            return Some("it is another one's".to_owned());
        }
        // These change how git works, and this program makes none of them.
        for foreign in
            ["hooks", "worktrees", "modules", "config.worktree", "info/attributes", "objects/info/alternates"]
        {
            if fs::symlink_metadata(self.path.join(foreign)).is_ok() {
                return Some(format!("it has {foreign}"));
            }
        }
        let packs = match self.packs() {
            Ok(packs) => packs,
            Err(e) => return Some(plain(&e)),
        };
        let (sum, largest) = (packs.iter().sum::<u64>(), packs.iter().copied().max().unwrap_or(0));
        (packs.len() > PACKS || sum > largest.saturating_mul(TIMES).saturating_add(SPARE))
            .then(|| format!("it has grown to {} packs, {sum} bytes", packs.len()))
    }

    /// The size of all packs. No git may be running in the repository.
    pub(super) fn bytes(&self) -> Result<u64> {
        let packs = self.packs().with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(packs.iter().sum())
    }

    /// The sizes of all packs. Removes files left by a killed fetch.
    fn packs(&self) -> std::io::Result<Vec<u64>> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(self.path.join("objects/pack"))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b"tmp_") {
                fs::remove_file(entry.path())?;
            } else if name.as_encoded_bytes().ends_with(b".pack") {
                packs.push(entry.metadata()?.len());
            }
        }
        Ok(packs)
    }

    /// Makes the repository without `git init`: its templates may contain hooks, and it takes another process.
    fn remake(&self, config: &str) -> Result<Self> {
        self.discard()?;
        let what = || format!("cannot make the repository {}", self.path.display());
        for dir in ["objects/pack", "objects/info", "refs/heads"] {
            fs::create_dir_all(self.path.join(dir)).with_context(what)?;
        }
        fs::write(self.path.join("HEAD"), "ref: refs/heads/none\n").with_context(what)?;
        // Written last: with it the repository is complete.
        fs::write(self.path.join("config"), config).with_context(what)?;
        Ok(Self { is_fresh: true, ..self.clone() })
    }
}

/// The ref that protects the object `name` from garbage collection.
pub(super) fn reference(name: &str) -> String {
    format!("refs/deploy/{name}")
}

fn config(purpose: Purpose<'_>) -> String {
    let Purpose { remote, is_partial, commit } = purpose;
    let remote = remote.escape_debug();
    let is_sha256 = commit.len() == 64;
    let version = u8::from(is_partial || is_sha256);
    let mut text =
        format!("# made by repo-deploy for {remote}\n[core]\n\trepositoryformatversion = {version}\n\tbare = true\n");
    if is_partial || is_sha256 {
        text += "[extensions]\n";
    }
    if is_sha256 {
        text += "\tobjectformat = sha256\n";
    }
    if is_partial {
        text += "\tpartialclone = origin\n[remote \"origin\"]\n\tpromisor = true\n\tpartialclonefilter = blob:none\n";
    }
    text
}
