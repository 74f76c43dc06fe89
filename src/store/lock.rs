//! The lock of a store, taken at once or in turn.

use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;

use super::directory::{Location, Recorded, StoreView};
use crate::error::{Context, Error, Kind, Result, plain};
use crate::sys;
use crate::sys::fs as sysfs;
use crate::sys::log;

/// Its file name in the store.
const LOCK: &str = "lock";

/// Takes the lock of a store, at once or in turn within `most`.
pub(super) fn lock(store: &StoreView, location: &Location, most: Option<Duration>) -> Result<File> {
    let path = &store.root().join(LOCK);
    let file = store.dir().and_then(|dir| dir.open_or_create(LOCK.as_ref())).map_err(|e| {
        // EACCES or EPERM: the store belongs to root, and another user runs this.
        let is_denied = e.kind() == ErrorKind::PermissionDenied;
        let hint =
            if is_denied { format!(": run as root, or {} names another place", location.key) } else { String::new() };
        Error::failed(format!("cannot open {}: {}{hint}", path.display(), plain(&e)))
    })?;
    let cannot = || format!("cannot lock {}", path.display());
    if sysfs::try_lock(&file).with_context(cannot)? {
        return Ok(file);
    }
    let path = path.display();
    let then = match most {
        None => "the next check comes by itself".to_owned(),
        Some(most) => {
            wait_is_sane(store, &file)?;
            let holder = sys::lock::holder(&file).map_or_else(String::new, |pid| format!(", process {pid},"));
            let most = most.as_secs();
            log::info!(
                "waiting for another repo-deploy{holder} that is at work: it holds {path}; for {most} s at most"
            );
            if sys::lock::lock_in_turn(&file, Duration::from_secs(most)).with_context(cannot)? {
                return Ok(file);
            }
            format!("waited for {most} s, try again when it is done")
        }
    };
    Err(Error::new(Kind::Locked, format!("another repo-deploy is at work: it holds {path}; {then}")))
}

/// Fails if waiting for the holder of the lock cannot help.
fn wait_is_sane(store: &StoreView, lock: &File) -> Result<()> {
    let why = match store.recorded()? {
        Recorded::Foreign(format) => {
            format!("it is of another version, whose state has the format {format}; run that version's program")
        }
        _ if sys::lock::holder(lock).is_some_and(sys::lock::is_ancestor) => {
            "this is one of its hooks, which it waits for; a hook says no by a code other than 0".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Locked, format!("another repo-deploy is at work in {}: {why}", store.root().display())))
}

impl StoreView {
    /// Whether another process holds the lock.
    pub fn is_locked(&self) -> Result<bool> {
        let cannot = || format!("cannot look at {}", self.root().join(LOCK).display());
        let file = match self.dir().and_then(|dir| dir.open_file(LOCK.as_ref())) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            file => file.with_context(cannot)?,
        };
        Ok(!sysfs::try_lock(&file).with_context(cannot)?) // for this moment only
    }

    /// Takes the lock if the store has one; the returned file holds it until dropped.
    pub fn try_lock(&self, location: &Location) -> Result<Option<File>> {
        match self.dir().and_then(|dir| dir.look(LOCK.as_ref())) {
            Ok(Some(_)) => lock(self, location, None).map(Some),
            Ok(None) => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot look at {}", self.root().display())),
        }
    }
}
