//! The directories in a store that every check uses, open.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::io;
use std::rc::Rc;

use crate::sys::fs::Dir;

/// The releases.
pub(super) const RELEASES: &str = "releases";
/// What each release had when it was published.
pub(super) const MANIFESTS: &str = "manifests";
/// Unfinished files.
pub(super) const PARTIAL: &str = "partial";

/// These directories, since each was judged or first used.
#[derive(Debug, Default)]
pub(super) struct OpenDirs([OnceCell<Rc<Dir>>; 3]);

impl OpenDirs {
    const NAMES: [&'static str; 3] = [RELEASES, MANIFESTS, PARTIAL];

    /// Keeps the directory `name`, if it is one of them.
    pub(super) fn keep(&self, name: &OsStr, dir: Dir) {
        if let Some(at) = Self::NAMES.iter().position(|known| *known == name) {
            self.0[at].get_or_init(|| Rc::new(dir));
        }
    }

    /// The directory `name` of `store`, open.
    pub(super) fn open(&self, store: &Dir, name: &str) -> io::Result<Rc<Dir>> {
        let open = || store.child(name.as_ref()).map(Rc::new);
        let Some(at) = Self::NAMES.iter().position(|known| *known == name) else { return open() };
        match self.0[at].get() {
            Some(dir) => Ok(dir.clone()),
            None => open().map(|dir| self.0[at].get_or_init(|| dir).clone()),
        }
    }
}
