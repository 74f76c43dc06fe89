//! The bare repository in the cache: nothing in it is worth keeping. Whatever is not exactly as we made it, or grew too
//! large, is thrown away and made anew; whoever calls holds the lock of the deployment, so a lock in it is a dead one's.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result, plain};
use crate::sys::fs::unique_name;

/// How many packs there may be: each fetch brings one or two, and git looks into all of them.
const PACKS: usize = 100;
/// How much more than its largest pack they may have together.
const TIMES: u64 = 3;
const SPARE: u64 = 64 << 20;

/// How the names begin of what was thrown away.
const OLD: &str = "old-";

/// A bare repository that is as we made it.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    path: PathBuf,
    /// It was made by this check: what is wrong with it is not its age.
    pub(super) is_fresh: bool,
    /// It has what it needs of its remote, not everything.
    pub(super) is_partial: bool,
}

/// What a repository is for: a change of it makes another repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    /// The remote, without credentials.
    pub(super) remote: &'a str,
    /// Whether contents are fetched only for what is deployed.
    pub(super) is_partial: bool,
    /// A commit, whose length tells the kind of hashes.
    pub(super) commit: &'a str,
}

impl Repository {
    /// The repository in `home`, made where there is none that is ours and fit.
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

    /// Whether the repository in `home` has everything of the same remote.
    pub(super) fn is_whole(home: &Path, purpose: Purpose<'_>) -> bool {
        let config = config(Purpose { is_partial: false, ..purpose });
        fs::read_to_string(home.join("repository/config")).is_ok_and(|there| there == config)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Throws it away: out of the way at once, so that a git that a killed one of us left behind finds nothing to write
    /// to, and what cannot be removed yet is removed the next time.
    pub(super) fn discard(&self) -> Result<()> {
        let what = || format!("cannot remove {}", self.path.display());
        let home = self.path.parent().unwrap_or(&self.path);
        let away = home.join(unique_name(OLD).with_context(what)?);
        match fs::rename(&self.path, &away) {
            // A directory of an image's lower layer is not renamed.
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

    /// Whether a fetch of the object `name` has come to its end before.
    pub(super) fn has(&self, name: &str) -> bool {
        fs::read_to_string(self.path.join(reference(name))).is_ok_and(|there| there.trim_end() == name)
    }

    /// A file without a name, to be given to a program as its input.
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

    /// Why it is not what we want; `None`: it is.
    fn complaint(&self, config: &str) -> Option<String> {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Some("it is no directory".to_owned()),
            Err(_) => return Some("there is none".to_owned()),
        }
        if fs::read_to_string(self.path.join("config")).ok().as_deref() != Some(config) {
            return Some("it is another one's".to_owned());
        }
        // What can change what git does. We make none of these.
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

    /// Bytes of all its packs; only while no git is at work on it.
    pub(super) fn bytes(&self) -> Result<u64> {
        let packs = self.packs().with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(packs.iter().sum())
    }

    /// The sizes of its packs. What a fetch that was killed left is removed.
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

    /// By hand: templates may hold hooks, and it saves a process.
    fn remake(&self, config: &str) -> Result<Self> {
        self.discard()?;
        let what = || format!("cannot make the repository {}", self.path.display());
        for dir in ["objects/pack", "objects/info", "refs/heads"] {
            fs::create_dir_all(self.path.join(dir)).with_context(what)?;
        }
        fs::write(self.path.join("HEAD"), "ref: refs/heads/none\n").with_context(what)?;
        // Last: with it the repository is whole.
        fs::write(self.path.join("config"), config).with_context(what)?;
        Ok(Self { is_fresh: true, ..self.clone() })
    }
}

/// Where the object `name` is kept from being forgotten.
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
