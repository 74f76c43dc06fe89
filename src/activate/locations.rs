//! The locations of the parts of a deployment, and the choice of an activation mode for `auto`.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;

use super::local::Local;
use crate::artifact::CacheFile;
use crate::config::{DEFAULT_ID, Settings};
use crate::error::{Error, Result};
use crate::model::{ActivationMode, OUR_DIR, hex};
use crate::store::state::{Phase, State};
use crate::store::{Location, Recorded, StoreView};
use crate::sys::fs::{Kind, Meta, can_be_made};
use crate::sys::resolve::Way;

/// The locations of the parts of a deployment, and its activation mode.
#[derive(Clone, Debug)]
pub struct Places {
    /// How releases become live.
    pub mode: ActivationMode,
    /// The store.
    pub store: Location,
    /// Whether the store is in the live directory, which is then the top of a mount: a restarted container finds it
    /// there.
    pub is_store_in_local: bool,
    /// This deployment's cache directory. It may be lost.
    pub cache: PathBuf,
    /// The store, if it was opened to find it.
    pub found: Option<StoreView>,
}

impl Places {
    /// The cache file of a download. The name has a hash of the store's path, so that two deployments with the same id
    /// do not share it.
    pub fn download(&self) -> CacheFile {
        self.cached("download")
    }

    /// The beginning of the names of cache files that hold archives of releases.
    pub fn seed(&self) -> CacheFile {
        self.cached("seed")
    }

    fn cached(&self, kind: &str) -> CacheFile {
        let hash = hex(&Sha256::digest(self.store.path.as_os_str().as_bytes())[..4]);
        CacheFile::new(self.cache.clone(), format!("{kind}-{hash}"))
    }

    /// The paths that an in-place deployment never touches: those of the configuration, and its own.
    pub fn preserve(&self, settings: &Settings) -> Vec<PathBuf> {
        let mut preserve = settings.preserve.clone();
        if self.is_store_in_local {
            // ext4 creates `lost+found` at the top of each file system.
            preserve.extend([OUR_DIR, "lost+found"].map(PathBuf::from));
        }
        preserve
    }
}

/// A warning for a live directory that all users may write: a release that was verified may have been changed since.
/// Volumes are left to their platform.
pub fn open_to_all(settings: &Settings, mode: ActivationMode) -> Result<Option<String>> {
    let local = Local::new(&settings.local);
    let is_open = |meta: Meta| meta.kind == Kind::Dir && meta.mode & 0o1002 == 0o002;
    if mode != ActivationMode::InPlace || !local.meta()?.is_some_and(is_open) || local.is_mount_top()? {
        return Ok(None);
    }
    let path = settings.local.display();
    Ok(Some(format!("everybody may write the live directory {path}, and so change what is deployed: chmod o-w {path}")))
}

/// Locates the store. `auto` keeps its mode: that of an existing store, else the one for the entry at `<local>`.
pub fn locate(settings: &Settings) -> Result<Places> {
    if let Some(mode) = settings.activation {
        return place(settings, mode);
    }
    for mode in [ActivationMode::InPlace, ActivationMode::Symlink] {
        // A store that cannot be there is not; one that is used is checked again when it is opened.
        let Ok(places) = place(settings, mode) else { continue };
        if !is_something(&places.store.path) {
            continue;
        }
        let Ok(store) = StoreView::open(&places.store) else { continue };
        if let Recorded::State(state) = store.recorded()?
            && state.mode == mode
            && state.local == settings.local
            && state.current.is_some()
        {
            return Ok(Places { found: Some(store), ..places });
        }
    }
    let is_dir = Local::new(&settings.local).is_dir()?;
    place(settings, if is_dir { ActivationMode::InPlace } else { ActivationMode::Symlink })
}

fn place(settings: &Settings, mode: ActivationMode) -> Result<Places> {
    let (store, is_store_in_local) = store(settings, mode)?;
    // Like the files in it: nothing is executed from there.
    let inside = || store.path.join("cache");
    let cache = match &settings.cache.path {
        Some(cache) if settings.cache.is_given || can_be_made(&cache.join(&settings.id)) => cache.join(&settings.id),
        Some(_) | None => inside(),
    };
    Ok(Places { mode, store, is_store_in_local, cache, found: None })
}

/// The directory of the store: beside `<local>` for a link, so that one shared volume holds both; in the live directory
/// if that is the top of a mount; else in the state directory.
fn store(settings: &Settings, mode: ActivationMode) -> Result<(Location, bool)> {
    // Scripts of an installation are executed from the store.
    let way = if mode == ActivationMode::Install { Way::Trusted } else { Way::Shared };
    let owner = settings.layout.owner;
    let at = |path: PathBuf, key| Location { path, way, key, owner };
    if let Some(store) = &settings.store {
        return Ok((at(store.clone(), "store"), false));
    }
    match mode {
        ActivationMode::Symlink => {
            let name = settings.local.file_name().ok_or_else(|| Error::config("local has no name: it ends in .."))?;
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(".deploy");
            Ok((at(settings.local.with_file_name(hidden), "store"), false))
        }
        // Most live trees are links: this is asked first, because it costs least.
        ActivationMode::InPlace
            if settings.local.symlink_metadata().is_ok_and(|meta| meta.is_dir())
                && Local::new(&settings.local).is_mount_top()? =>
        {
            Ok((at(settings.local.join(OUR_DIR), "store"), true))
        }
        ActivationMode::InPlace | ActivationMode::Install => {
            let dir = settings.state_dir.path.as_ref().ok_or_else(|| no_state_dir(settings.state_dir.lacks))?;
            let usual = at(dir.join(&settings.id), "state-dir");
            let is_unnamed = mode == ActivationMode::InPlace && settings.id == DEFAULT_ID;
            let other = is_unnamed.then(|| at(dir.join(of_local(settings)), "state-dir"));
            Ok((other.filter(|other| is_taken(&usual, other, settings)).unwrap_or(usual), false))
        }
    }
}

/// The name of the store of a live directory without an id of its own, if another live directory has the default one.
fn of_local(settings: &Settings) -> String {
    let hash = hex(&Sha256::digest(settings.local.as_os_str().as_bytes())[..4]);
    format!("{}-{hash}", settings.id)
}

/// Whether the store `usual` belongs to another live directory. `other` is used once it exists.
fn is_taken(usual: &Location, other: &Location, settings: &Settings) -> bool {
    if is_something(&other.path) {
        return true;
    }
    if !is_something(&usual.path) {
        return false;
    }
    let recorded = StoreView::open(usual).and_then(|store| store.recorded());
    matches!(recorded, Ok(Recorded::State(state)) if state.local != settings.local)
}

/// Whether anything is at `path`: a store that is used is looked at more closely.
fn is_something(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn no_state_dir(why: &str) -> Error {
    Error::config(format!("cannot find a place for releases and state: {why}: state-dir names one"))
}

/// Refuses a change between `install` and another mode: only the old store records the installed files, which would all
/// stay.
pub fn refuse_to_change_ways(state: &State, mode: ActivationMode, root: &Path) -> Result<()> {
    let is_used = state.current.is_some() || state.phase != Phase::Idle;
    let changes = (state.mode == ActivationMode::Install) != (mode == ActivationMode::Install);
    if is_used && changes {
        return Err(Error::config(format!(
            "the store {} was made with activation = {}, and cannot go on with {mode}: give this deployment an id or a store of its own",
            root.display(),
            state.mode
        )));
    }
    Ok(())
}
