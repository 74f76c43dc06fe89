//! Where the parts of a deployment lie, and which way of activation `auto` means.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::Settings;
use crate::error::{Error, Result, plain};
use crate::model::{ActivationMode, hex};
use crate::store::state::{Phase, State};
use crate::store::{Recorded, make_dirs, read_state};

/// The store of a deployment, and how it makes releases live.
#[derive(Debug)]
pub struct Places {
    /// How releases become live.
    pub mode: ActivationMode,
    /// The store's directory.
    pub store: PathBuf,
}

/// Finds the store. `auto` stays what it was: an existing store decides, then what stands at `<local>`.
pub fn locate(settings: &Settings) -> Result<Places> {
    let place = |mode| Ok(Places { mode, store: store(settings, mode)? });
    if let Some(mode) = settings.activation {
        return place(mode);
    }
    for mode in [ActivationMode::InPlace, ActivationMode::Symlink] {
        if let Recorded::State(state) = read_state(&store(settings, mode)?)?
            && state.mode == mode
            && state.local == settings.local
            && state.current.is_some()
        {
            return place(mode);
        }
    }
    match fs::symlink_metadata(&settings.local) {
        Ok(meta) if meta.is_dir() => place(ActivationMode::InPlace),
        _ => place(ActivationMode::Symlink),
    }
}

/// The store's directory: beside `<local>` for a link, so that one shared volume holds both; in the cache otherwise.
fn store(settings: &Settings, mode: ActivationMode) -> Result<PathBuf> {
    if let Some(store) = &settings.store {
        return Ok(store.clone());
    }
    match mode {
        ActivationMode::InPlace | ActivationMode::Install => Ok(settings.cache.join(&settings.id).join("store")),
        ActivationMode::Symlink => {
            let name = settings.local.file_name().ok_or_else(|| Error::config("local has no name: it ends in .."))?;
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(".deploy");
            Ok(settings.local.with_file_name(hidden))
        }
    }
}

/// What an appspec has installed is known to its own store only: another way would leave it all behind.
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

/// Where a download lies until its release is published, and is found again after a crash. Two deployments with the same
/// id have different stores, so they do not meet here.
pub fn download(settings: &Settings, store: &Path) -> Result<PathBuf> {
    let dir = settings.cache.join(&settings.id);
    make_dirs(&dir)?;
    match crate::sys::resolve::distrust(&dir) {
        Ok(None) => {}
        Ok(Some(reason)) => {
            return Err(Error::config(format!("the cache {} cannot be trusted: {reason}", dir.display())));
        }
        Err(e) => return Err(Error::failed(format!("cannot examine {}: {}", dir.display(), plain(&e)))),
    }
    download_at(settings, store)
}

/// The same, where nothing is written yet.
pub fn download_at(settings: &Settings, store: &Path) -> Result<PathBuf> {
    let hash = hex(&Sha256::digest(store.as_os_str().as_bytes())[..4]);
    Ok(settings.cache.join(&settings.id).join(format!("download-{hash}")))
}

/// Removes a download and what is beside it under the same name.
pub fn discard(download: &Path) {
    let mut beside = download.as_os_str().to_owned();
    beside.push(".meta");
    for path in [download, Path::new(&beside)] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => log::warn!("cannot remove {}: {}", path.display(), plain(&e)),
            _ => {}
        }
    }
}
