//! Deployments of other configuration files. Their stores in the same `state-dir` name their `<local>`; one inside our
//! `<local>` would be deleted as an entry that no release has.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::activate::locations::Places;
use crate::config::{Settings, apart};
use crate::error::{self, Context, Error, Result};
use crate::model::ActivationMode;
use crate::store::state::{Phase, State};
use crate::store::{Location, Recorded, StoreView};
use crate::sys::fs::{Dir, Kind, Meta};

/// Refuses to keep a directory in sync that contains another deployment.
pub fn refuse_to_swallow(settings: &Settings, places: &Places) -> Result<()> {
    let Some(above) = settings.state_dir.path.as_deref().filter(|_| places.mode == ActivationMode::InPlace) else {
        return Ok(());
    };
    for (root, state) in stores_in(above, &places.store)? {
        if !is_swallowed(settings, &state) {
            continue;
        }
        return Err(Error::config(format!(
            "cannot use local = {}: it contains the local {} of another deployment, whose store is {}: what no release has is \
             removed there: move it, or name it in preserve; or remove that store, where the deployment is no more",
            settings.local.display(),
            state.local.display(),
            root.display()
        )));
    }
    Ok(())
}

/// The other stores in `above` that have a state, with that state. Stores of other users are skipped.
fn stores_in(above: &Path, ours: &Location) -> Result<Vec<(PathBuf, State)>> {
    let us = rustix::process::geteuid().as_raw();
    let list = || -> std::io::Result<Vec<OsString>> {
        let dir = Dir::open(above)?;
        let is_store = |meta: Meta| meta.kind == Kind::Dir && meta.uid == us;
        let mut names = Vec::new();
        for name in dir.names()? {
            names.extend(dir.look(&name)?.is_some_and(is_store).then_some(name));
        }
        Ok(names)
    };
    let names = match list() {
        // A directory that this process may not read has no stores of this user.
        Err(e) if [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&e.kind()) => return Ok(Vec::new()),
        names => names.with_context(|| format!("cannot read the state-dir {}", above.display()))?,
    };
    let mut states = Vec::new();
    for path in names.iter().map(|name| above.join(name)).filter(|path| *path != ours.path) {
        let store = match StoreView::open(&Location { path: path.clone(), ..ours.clone() }) {
            Err(e) if e.kind() == error::Kind::Config => continue, // an untrusted store is ignored
            store => store?,
        };
        if let Recorded::State(state) = store.recorded()? {
            states.push((path, *state));
        }
    }
    Ok(states)
}

/// Whether the `<local>` of another deployment exists inside ours, where a deployment would delete it.
fn is_swallowed(settings: &Settings, other: &State) -> bool {
    let is_used = other.current.is_some() || other.phase != Phase::Idle;
    if !is_used || other.mode == ActivationMode::Install || other.local.symlink_metadata().is_err() {
        return false;
    }
    let Some(below) = apart::lies_in(&settings.local, &other.local) else { return false };
    let is_kept = settings.preserve.iter().any(|kept| below.starts_with(kept));
    !is_kept && !below.as_os_str().is_empty() // empty: this deployment, which has another id by now
}
