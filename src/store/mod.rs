//! Releases, state and lock of one deployment. A name in `releases/` is complete and durable; half-made things lie in
//! `partial/` and vanish when the store is opened. Whoever has a [`Store`] holds its lock.

pub mod history;
pub mod ledger;
mod lines;
pub mod manifest;
pub mod state;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Error, Kind, Result, plain};
use crate::model::ReleaseId;
use crate::sys;
use crate::sys::fs::{self as sysfs, Dir};
use manifest::Manifest;
use state::State;

/// The mode of a release that is being removed where it stands, and is none any more: no release has it otherwise.
const DOOMED: u32 = 0o1700;

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

/// A release in the making. Removed when dropped, unless [`Staging::publish`] made it a release.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    dir: Dir,
}

/// A complete, durable, immutable tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub id: ReleaseId,
    /// Its directory.
    pub path: PathBuf,
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
        if self.is_only_read() {
            return Err(Error::failed(format!("cannot replace {name} in {}: it is only read", self.root.display())));
        }
        replace(&self.root, name, content, durably)
    }

    /// Replaces a file in the store that everybody may read, atomically; not durably.
    pub fn replace_public(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        put(&self.root, name, content, 0o644, false)?;
        Ok(self.root.join(name))
    }

    /// A fresh, empty directory for a release in the making.
    pub fn staging(&self) -> Result<Staging> {
        let path = self.partial().join(unique("release-")?);
        fs::DirBuilder::new().mode(0o700).create(&path).context(|| cannot_make(&path))?;
        let dir = Dir::open(&path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Staging { path, dir })
    }

    /// The release `id`, when the store has it.
    pub fn release(&self, id: &ReleaseId) -> Result<Option<Release>> {
        let path = self.releases_dir().join(id);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => Ok((!is_doomed(&meta, id)).then(|| Release { id: id.clone(), path })),
            Ok(_) => Err(Error::failed(format!("{} is no directory: move it away", path.display()))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(|| format!("cannot examine {}", path.display())),
        }
    }

    /// Removes the release `id`, when it is there.
    pub fn discard(&self, id: &ReleaseId) -> Result<()> {
        let Some(release) = self.release(id)? else { return Ok(()) };
        // Out of releases/ by one rename first: a name in there is always complete.
        let away = self.partial().join(unique("pruned-")?);
        let cannot = || format!("cannot remove {}", release.path.display());
        match fs::rename(&release.path, &away) {
            // A directory of an image's lower layer is not renamed.
            Err(e) if e.kind() == ErrorKind::CrossesDevices => doom(&release.path).context(cannot)?,
            renamed => renamed.context(cannot)?,
        }
        remove(&manifest::path(&self.root, id)).context(|| format!("cannot remove the manifest of release {id}"))?;
        remove(&away).context(|| format!("cannot remove {}", away.display()))
    }

    /// Writes down what the release `id` is made of, durably.
    pub fn keep_manifest(&self, id: &ReleaseId, manifest: &Manifest) -> Result<()> {
        self.replace(&format!("{}/{id}", manifest::DIR), manifest.print().as_bytes(), true)
    }

    /// Removes manifests whose release is gone: a run was killed between the two.
    fn forget_manifests(&self) -> Result<()> {
        let dir = self.root.join(manifest::DIR);
        for entry in fs::read_dir(&dir).context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry.context(|| format!("cannot read {}", dir.display()))?;
            let path = entry.path();
            if !is_there(&self.releases_dir().join(entry.file_name()))? {
                remove(&path).context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// All releases, the newest first.
    pub fn releases(&self) -> Result<Vec<Release>> {
        releases(&self.root)
    }

    /// Removes releases until `keep` are left, the oldest first; `needed` are never removed and count. A copy of what was
    /// found at `<local>` is never removed either: nobody else has it.
    pub fn prune(&self, keep: usize, needed: &[&ReleaseId]) -> Result<()> {
        let distinct: BTreeSet<_> = needed.iter().collect(); // a candidate may be the previous release
        let (mut kept, mut removed) = (distinct.len(), 0_usize);
        for (release, _) in entries(&self.root)?.iter().filter(|(_, is_doomed)| *is_doomed) {
            remove(&release.path).context(|| format!("cannot remove {}", release.path.display()))?;
        }
        for release in self.releases()? {
            if needed.contains(&&release.id) || release.id.is_adopted() {
                continue;
            }
            if kept < keep {
                kept += 1;
                continue;
            }
            self.discard(&release.id)?;
            removed += 1;
            log::debug!("pruned release {}", release.id);
        }
        if removed > 0 {
            let releases = self.releases_dir();
            Dir::open(&releases).and_then(|d| d.sync()).context(|| format!("cannot sync {}", releases.display()))?;
        }
        self.forget_manifests()
    }
}

impl Release {
    /// Where the release `id` of the store at `root` is, if it is there.
    pub fn at(root: &Path, id: &ReleaseId) -> Self {
        Self { id: id.clone(), path: root.join("releases").join(id) }
    }

    /// Whether it is.
    pub fn is_there(&self) -> Result<bool> {
        is_there(&self.path)
    }

    /// The mode that its directory should have; what was adopted has the one that it was found with.
    pub fn mode(&self) -> Option<u32> {
        (!self.id.is_adopted()).then_some(0o755)
    }
}

impl Staging {
    /// The empty directory to fill.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the release `id`: everything in it on disk first, then what it is made of, then the name.
    pub fn publish(self, store: &Store, id: &ReleaseId, manifest: &Manifest) -> Result<Release> {
        let path = store.releases_dir().join(id);
        store.keep_manifest(id, manifest)?;
        let publish = || -> std::io::Result<()> {
            sync_tree(&self.dir)?;
            match fs::symlink_metadata(&path) {
                Ok(meta) if is_doomed(&meta, id) => remove(&path)?,
                _ => {} // what else may be there is not removed: the rename says so
            }
            fs::rename(&self.path, &path)?;
            Dir::open(&store.releases_dir())?.sync()
        };
        publish().context(|| format!("cannot publish {}", path.display()))?;
        std::mem::forget(self); // it is a release now
        Ok(Release { id: id.clone(), path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(e) = remove(&self.path) {
            log::warn!("cannot remove {}: {}; the next start will", self.path.display(), plain(&e));
        }
    }
}

/// Replaces a file of the store at `root` by `content`, atomically; for whoever has its lock.
fn replace(root: &Path, name: &str, content: &[u8], durably: bool) -> Result<()> {
    put(root, name, content, 0o600, durably)
}

fn put(root: &Path, name: &str, content: &[u8], mode: u32, durably: bool) -> Result<()> {
    let to = root.join(name);
    let from = root.join("partial").join(unique("")?);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&from)?;
        file.write_all(content)?;
        if mode != 0o600 {
            sysfs::set_owner_and_mode(&file, None, mode)?; // whatever the umask
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
    let result = write().context(|| format!("cannot replace {}", to.display()));
    if result.is_err() {
        let _ = fs::remove_file(&from); // it may not be there; if it stays, the next start removes it
    }
    result
}

/// The releases in the store at `root`, the newest first.
pub fn releases(root: &Path) -> Result<Vec<Release>> {
    let whole = |(release, is_doomed): (Release, bool)| (!is_doomed).then_some(release);
    Ok(entries(root)?.into_iter().filter_map(whole).collect())
}

/// What has the name of a release, the newest first, and whether it is being removed.
fn entries(root: &Path) -> Result<Vec<(Release, bool)>> {
    let dir = root.join("releases");
    let mut found = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context(|| format!("cannot read {}", dir.display())),
    };
    for entry in entries {
        let entry = entry.context(|| format!("cannot read {}", dir.display()))?;
        let meta = entry.metadata().context(|| format!("cannot examine {}", entry.path().display()))?;
        let id = entry.file_name().to_str().and_then(ReleaseId::parse);
        if let (Some(id), true) = (id, meta.is_dir()) {
            // Unpacking set it, and nothing writes to the top directory afterwards. A copy of the store keeps it.
            let is_doomed = is_doomed(&meta, &id);
            found.push(((meta.mtime(), meta.mtime_nsec()), Release { id, path: entry.path() }, is_doomed));
        }
    }
    found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    Ok(found.into_iter().map(|(_, release, is_doomed)| (release, is_doomed)).collect())
}

fn is_doomed(meta: &fs::Metadata, id: &ReleaseId) -> bool {
    meta.mode() & 0o7777 == DOOMED && !id.is_adopted() // that has the mode it was found with
}

/// Removes a release where it stands. From the first step on it is none, also after a power cut.
fn doom(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(DOOMED))?;
    Dir::open(path)?.sync()?;
    fs::remove_dir_all(path)
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

fn lock(root: &Path, most: Option<Duration>) -> Result<File> {
    let path = &root.join("lock");
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(|e| {
            // EACCES and EPERM: a store of root's, and somebody else asks.
            let is_denied = e.kind() == ErrorKind::PermissionDenied;
            let hint = if is_denied { ": run as root, or give --local and --cache places of your own" } else { "" };
            Error::failed(format!("cannot open {}: {}{hint}", path.display(), plain(&e)))
        })?;
    let cannot = || format!("cannot lock {}", path.display());
    if sysfs::try_lock(&file).context(cannot)? {
        return Ok(file);
    }
    let path = path.display();
    let then = match most {
        None => "the next check comes by itself".to_owned(),
        Some(most) => {
            wait_is_sane(root, &file)?;
            let holder = sys::lock::holder(&file).map_or_else(String::new, |pid| format!(", process {pid},"));
            let most = most.as_secs();
            log::info!(
                "waiting for another repo-deploy{holder} that is at work: it holds {path}; for {most} s at most"
            );
            if sys::lock::lock_in_turn(&file, Duration::from_secs(most)).context(cannot)? {
                return Ok(file);
            }
            format!("waited for {most} s, try again when it is done")
        }
    };
    Err(Error::new(Kind::Locked, format!("another repo-deploy is at work: it holds {path}; {then}")))
}

/// Whether it helps to wait for whoever holds the lock of the store at `root`.
fn wait_is_sane(root: &Path, lock: &File) -> Result<()> {
    let why = match read_state(root)? {
        Recorded::Foreign(format) => {
            format!("it is of another version, whose state has the format {format}; run that version's program")
        }
        _ if sys::lock::holder(lock).is_some_and(sys::lock::is_ancestor) => {
            "this is one of its hooks, which it waits for; a hook says no by a code other than 0".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Locked, format!("another repo-deploy is at work in {}: {why}", root.display())))
}

/// Whether somebody is at work on the store at `root`.
pub fn is_locked(root: &Path) -> Result<bool> {
    let path = root.join("lock");
    let cannot = || format!("cannot look at {}", path.display());
    let file = File::open(&path).context(cannot)?;
    Ok(!sysfs::try_lock(&file).context(cannot)?) // for this moment only
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

/// Waits until a tree is on disk: each file, then each directory after what is in it.
fn sync_tree(dir: &Dir) -> std::io::Result<()> {
    for name in dir.names()? {
        sync_entry(dir, &name)?;
    }
    dir.sync()
}

fn sync_entry(dir: &Dir, name: &OsStr) -> std::io::Result<()> {
    match dir.look(name)?.map(|m| m.kind) {
        Some(sysfs::Kind::Dir) => sync_tree(&dir.child(name)?),
        Some(sysfs::Kind::File) => dir.open_file(name)?.sync_all(),
        _ => Ok(()), // a link's text is its directory's business
    }
}
