//! Deployments of other configuration files, which this one knows nothing of but that their stores lie in the same `state-dir`
//! and say what their `<local>` is: one that lies in ours would be cleared away as what no release has.

use std::path::{Path, PathBuf};

use super::places::Places;
use crate::config::{Settings, apart};
use crate::error::{Context, Error, Result};
use crate::model::ActivationMode;
use crate::store::state::{Phase, State};
use crate::store::{Location, Recorded, Store};
use crate::sys::fs::Dir;

/// Refuses to keep a directory in sync that holds another deployment.
pub(super) fn refuse_to_swallow(settings: &Settings, places: &Places) -> Result<()> {
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

/// The other stores in `above` that say something, and what.
fn stores_in(above: &Path, ours: &Location) -> Result<Vec<(PathBuf, State)>> {
    let names = match Dir::open(above).and_then(|dir| dir.names()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.context(|| format!("cannot read the state-dir {}", above.display()))?,
    };
    let at = |name| Location { path: above.join(name), ..ours.clone() };
    let others = names.into_iter().map(at).filter(|other| other.path != ours.path);
    // What cannot be read, or is not ours, deploys nothing here.
    let read = |other: Location| match Store::look(&other).and_then(|store| store.recorded()) {
        Ok(Recorded::State(state)) => Some((other.path, *state)),
        Ok(Recorded::Nothing | Recorded::Foreign(_) | Recorded::Unreadable(_)) | Err(_) => None,
    };
    Ok(others.filter_map(read).collect())
}

/// Whether something is at the `<local>` of another deployment, and that lies in ours, where a deployment clears it away.
fn is_swallowed(settings: &Settings, other: &State) -> bool {
    let is_used = other.current.is_some() || other.phase != Phase::Idle;
    if !is_used || other.mode == ActivationMode::Install || other.local.symlink_metadata().is_err() {
        return false;
    }
    let Some(below) = apart::lies_in(&settings.local, &other.local) else { return false };
    let is_kept = settings.preserve.iter().any(|kept| below.starts_with(kept));
    !is_kept && !below.as_os_str().is_empty() // else it is this one, which has another id by now
}
