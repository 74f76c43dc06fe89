//! What is at the paths of a configuration, each looked at once: most of them share their directories.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Spot};
use crate::sys::mounts::Mounts;
use crate::sys::resolve::{MOST_LINKS, steps};

/// A cache of looked-up paths.
#[derive(Debug, Default)]
pub struct Seen {
    /// `None`: nothing is there, or it cannot be seen.
    spots: RefCell<BTreeMap<OsString, Option<Spot>>>,
    mounts: OnceCell<Mounts>,
}

impl Seen {
    /// What is at `path`; a link is not followed.
    pub fn look(&self, path: &Path) -> Option<Spot> {
        if let Some(seen) = self.spots.borrow().get(path.as_os_str()) {
            return *seen;
        }
        let seen = fs::spot(path).ok();
        self.spots.borrow_mut().insert(path.as_os_str().to_owned(), seen);
        seen
    }

    /// The mounts that this process sees.
    pub fn mounts(&self) -> &Mounts {
        self.mounts.get_or_init(Mounts::read)
    }

    /// Resolves a path. Links are followed even if their target does not exist, since a write through the link creates it.
    /// A part that cannot be read stays as written: its use will fail.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        let mut ahead: Vec<OsString> = steps(path);
        while let Some(step) = ahead.pop() {
            if step == ".." {
                at.pop();
                continue;
            }
            at.push(&step);
            if self.look(&at).is_none_or(|spot| !spot.is_link) {
                continue;
            }
            let Ok(text) = std::fs::read_link(&at) else { continue };
            links += 1;
            if links > MOST_LINKS {
                break;
            }
            at.pop();
            if text.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(steps(&text));
        }
        at.extend(ahead.into_iter().rev());
        at
    }

    /// Resolves a path except for its last name: the live tree may be a link, and its own place is the one to check.
    pub fn stands(&self, path: &Path) -> PathBuf {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => self.resolve(parent).join(name),
            _ => PathBuf::from("/"),
        }
    }
}
