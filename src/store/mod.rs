//! Releases, state and lock of one deployment. A name in `releases/` is complete and durable; half-made things lie in
//! `partial/` and vanish when the store is opened. Whoever has a [`Store`] holds its lock.

pub mod history;
pub mod ledger;
mod lines;
mod lock;
pub mod manifest;
mod releases;
pub mod state;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::model::ReleaseId;
use crate::sys::fs::{self as sysfs, Dir};
pub use lock::is_locked;
use lock::lock;
use manifest::Manifest;
pub use releases::{Release, Staging};
use state::State;

/// An open store; its lock is held while this lives. [`Store::look`] opens one that can only be read.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    lock: Option<File>,
}

/// What the state file says.
#[derive(Debug)]
pub enum Recorded {
    /// There is none.
    Nothing,
    /// One whole version.
    State(Box<State>),
    /// One that another version of this program wrote, in this format.
    Foreign(String),
    /// Something that is no state, and why.
    Unreadable(String),
}

impl Store {
    /// Opens the store at `root`, making what is missing, and takes its lock: at once, or in its turn within `most`.
    pub fn open(root: &Path, most: Option<Duration>) -> Result<Self> {
        make_dirs(root)?;
        check_trust(root)?;
        let lock = lock(root, most)?;
        let store = Self { root: root.to_owned(), lock: Some(lock) };
        store.make("releases", 0o755)?;
        store.make(manifest::DIR, 0o700)?;
        store.make("partial", 0o700)?;
        store.empty_partial()?;
        Ok(store)
    }

    /// The store at `root` to look at: there need be none, nobody is kept out, and nothing of it is written.
    pub fn look(root: &Path) -> Result<Self> {
        if root.exists() {
            check_trust(root)?;
        }
        Ok(Self { root: root.to_owned(), lock: None })
    }

    /// Whether it is open only to be looked at.
    pub fn is_only_read(&self) -> bool {
        self.lock.is_none()
    }

    /// Keeps others out of the store at `root`, where there is one, until what is returned is dropped.
    pub fn keep_out(root: &Path) -> Result<Option<File>> {
        if root.join("lock").exists() { lock(root, None).map(Some) } else { Ok(None) }
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory in it, made when missing.
    fn make(&self, name: &str, mode: u32) -> Result<PathBuf> {
        let path = self.root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Error::failed(format!("{} is no directory: move it away", path.display()))),
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).context(|| format!("cannot examine {}", path.display()));
            }
            Err(_) => {
                fs::DirBuilder::new().mode(mode).create(&path).context(|| cannot_make(&path))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context(|| cannot_make(&path))?;
            }
        }
        Ok(path)
    }

    /// An empty directory of ours: what the hooks of a first deployment see as the previous one.
    pub fn nothing(&self) -> Result<PathBuf> {
        self.make("empty", 0o755)
    }

    fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    fn releases_dir(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Removes what a killed run left. Only under the lock, when nobody makes anything.
    fn empty_partial(&self) -> Result<()> {
        let partial = self.partial();
        for entry in fs::read_dir(&partial).context(|| format!("cannot read {}", partial.display()))? {
            let path = entry.context(|| format!("cannot read {}", partial.display()))?.path();
            remove(&path).context(|| format!("cannot remove the left-over {}", path.display()))?;
        }
        Ok(())
    }

    /// What the state file says.
    pub fn recorded(&self) -> Result<Recorded> {
        read_state(&self.root)
    }

    /// Replaces the state, durably: when this returns, it survives a power cut.
    pub fn record(&self, state: &State) -> Result<()> {
        self.replace("state", state.print().as_bytes(), true).context(|| "cannot write the state")
    }

    /// Replaces a file in the store by `content`, atomically.
    pub fn replace(&self, name: &str, content: &[u8], durably: bool) -> Result<()> {
        self.check_writable(name)?;
        replace(&self.root, name, content, durably)
    }

    fn check_writable(&self, name: &str) -> Result<()> {
        if self.is_only_read() {
            return Err(Error::failed(format!("cannot replace {name} in {}: it is only read", self.root.display())));
        }
        Ok(())
    }

    /// Replaces a file in the store that everybody may read by what `fill` writes, atomically; not durably.
    pub fn replace_public(&self, name: &str, fill: &mut Fill<'_>) -> Result<PathBuf> {
        put(&self.root, name, fill, 0o644, false)?;
        Ok(self.root.join(name))
    }

    /// Writes down what the release `id` is made of, durably.
    pub fn keep_manifest(&self, id: &ReleaseId, manifest: &Manifest) -> Result<()> {
        let name = format!("{}/{id}", manifest::DIR);
        self.check_writable(&name)?;
        put(&self.root, &name, &mut |file| manifest.write(file), 0o600, true)
    }
}

/// Replaces a file of the store at `root` by `content`, atomically; for whoever has its lock.
fn replace(root: &Path, name: &str, content: &[u8], durably: bool) -> Result<()> {
    let fill = &mut |file: &mut File| file.write_all(content).context(|| "cannot write it");
    put(root, name, fill, 0o600, durably)
}

/// Writes what a file is to hold.
pub type Fill<'a> = dyn FnMut(&mut File) -> Result<()> + 'a;

fn put(root: &Path, name: &str, fill: &mut Fill<'_>, mode: u32, durably: bool) -> Result<()> {
    let to = root.join(name);
    let from = root.join("partial").join(unique("")?);
    let cannot = || format!("cannot replace {}", to.display());
    let finish = |file: &File| -> std::io::Result<()> {
        if mode != 0o600 {
            sysfs::set_owner_and_mode(file, None, mode)?; // whatever the umask
        }
        if durably {
            file.sync_all()?;
        }
        fs::rename(&from, &to)?;
        if durably {
            Dir::open(to.parent().unwrap_or(root))?.sync()?;
        }
        Ok(())
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&from).context(cannot);
    let result = made.and_then(|mut file| {
        fill(&mut file).context(cannot)?;
        finish(&file).context(cannot)
    });
    if result.is_err() {
        let _ = fs::remove_file(&from); // it may not be there; if it stays, the next start removes it
    }
    result
}

/// What the state file of the store at `root` says; needs no lock, because the file is always one whole version.
pub fn read_state(root: &Path) -> Result<Recorded> {
    let path = root.join("state");
    match fs::read(&path) {
        Ok(text) => Ok(match (State::parse(&text), state::foreign_format(&text)) {
            (Ok(state), _) => Recorded::State(Box::new(state)),
            (Err(_), Some(format)) => Recorded::Foreign(format),
            (Err(reason), None) => Recorded::Unreadable(reason),
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Recorded::Nothing),
        Err(e) => Err(e).context(|| format!("cannot read {}", path.display())),
    }
}

/// Makes `path` and what is missing above it, 0755 whatever the umask.
pub fn make_dirs(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()), // another process was faster
        made => made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755))),
    }
    .context(|| cannot_make(path))
}

fn cannot_make(path: &Path) -> String {
    format!("cannot make the directory {}", path.display())
}

fn unique(prefix: &str) -> Result<std::ffi::OsString> {
    sysfs::unique_name(prefix).context(|| "cannot get random bytes")
}

fn check_trust(root: &Path) -> Result<()> {
    match crate::sys::trust::distrust(root).context(|| format!("cannot examine {}", root.display()))? {
        Some(reason) => Err(Error::config(format!("the store {} cannot be trusted: {reason}", root.display()))),
        None => Ok(()),
    }
}

/// Whether something stands at `path`; not to know is no answer.
fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context(|| format!("cannot examine {}", path.display())),
    }
}

/// Removes a file, a link or a whole tree.
fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
