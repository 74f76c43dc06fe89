//! Opens a store: judges its path; to write it, also takes its lock and creates missing parts.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::directory::{Location, Store, StoreView};
use super::lock::lock;
use super::open_dirs::{MANIFESTS, OpenDirs, PARTIAL};
use super::releases;
use crate::error::{Error, Result, plain};
use crate::sys::fs::Dir;
use crate::sys::resolve::{self, Fault, Last, Place, Way};

impl Store {
    /// Opens the store at `location`, creating missing parts, and takes its lock: at once, or in turn within `most`.
    /// `known` is the same store, if it is open already.
    pub fn open(location: &Location, known: Option<StoreView>, most: Option<Duration>) -> Result<Self> {
        let (view, is_new) = match known.filter(|view| view.dir.is_some()) {
            Some(view) => (view, false),
            None => make(location)?,
        };
        let store = Self { _lock: lock(&view, location, most)?, view, is_new, has_pruned: Cell::new(false) };
        store.make("releases", 0o755)?;
        store.make(MANIFESTS, 0o700)?;
        store.make(PARTIAL, 0o700)?;
        store.empty_partial()?;
        Ok(store)
    }
}

/// Opens the directory of the store at `location`, and makes it if it is missing: then it is new.
fn make(location: &Location) -> Result<(StoreView, bool)> {
    let root = location.path.clone();
    let is_new = !root.exists();
    let place = resolve::make_dirs(&root, location.way).map_err(|fault| location.refusal(fault, &root))?;
    let (dir, subs) = open(&place, location)?;
    Ok((StoreView { root, dir: Some(Rc::new(dir)), subs: Rc::new(subs), volume: place.volume }, is_new))
}

impl StoreView {
    /// Opens the store at `location` for reading, without its lock. It need not exist.
    pub fn open(location: &Location) -> Result<Self> {
        let (opened, volume) = match resolve::find(&location.path, location.way, Last::Follow) {
            Ok(place) if place.meta.is_some() => (Some(open(&place, location)?), place.volume),
            Ok(place) => (None, place.volume),
            Err(fault) if fault.is_missing() => (None, None),
            Err(fault) => return Err(location.refusal(fault, &location.path)),
        };
        let (dir, subs) = opened.map_or_else(Default::default, |(dir, subs)| (Some(Rc::new(dir)), subs));
        Ok(Self { root: location.path.clone(), dir, subs: Rc::new(subs), volume })
    }
}

impl Location {
    /// The error for a store that cannot be used: of the configuration if another user can change the store.
    fn refusal(&self, fault: Fault, top: &Path) -> Error {
        let (path, key) = (self.path.display(), self.key);
        match fault {
            Fault::Untrusted(why) => {
                let why = why.within(top);
                let volume = if self.way == Way::Shared { " (in a shared volume a directory of it)" } else { "" };
                Error::config(format!(
                    "the store {path} cannot be trusted: {why}; or {key} names another place{volume}"
                ))
            }
            Fault::Io(e) => {
                Error::failed(format!("cannot open the store {path}: {}; {key} names another place", plain(&e)))
            }
        }
    }
}

/// Opens the store found at `place`, and the directories in it; fails if another user may have made part of it.
fn open(place: &Place, location: &Location) -> Result<(Dir, OpenDirs)> {
    let subs = OpenDirs::default();
    let judged = place.open_own_dir(&mut |name, dir| subs.keep(name, dir)).and_then(|dir| {
        releases::judge(&dir, &subs, &place.path, location.owner)?;
        Ok(dir)
    });
    let dir = judged.map_err(|fault| location.refusal(fault, &place.path))?;
    Ok((dir, subs))
}
