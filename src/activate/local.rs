//! `<local>`, resolved anew at each step, through no link of another user, and by descriptors: no other user can
//! redirect it between the examination and the change.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::sys::created;
use crate::sys::fs::{Dir, Kind, Meta};
use crate::sys::resolve::{self, Fault, Last, Place, Way};

/// The live path.
#[derive(Clone, Debug)]
pub struct Local {
    path: PathBuf,
}

impl Local {
    /// The path of the configuration.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The path as configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its location, with its directory open. `None`: the directory does not exist.
    pub fn place(&self) -> Result<Option<Place>> {
        match resolve::find(&self.path, Way::Any, Last::Stay) {
            Ok(place) => Ok(Some(place)),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(self.refusal(fault)),
        }
    }

    /// The same, creating missing directories above it.
    pub fn make_place(&self) -> Result<Place> {
        let (Some(above), Some(_)) = (self.path.parent(), self.path.file_name()) else {
            return Err(Error::config("local is /"));
        };
        let made = resolve::make_dirs(above, Way::Any).and_then(|_| resolve::find(&self.path, Way::Any, Last::Stay));
        made.map_err(|fault| self.refusal(fault))
    }

    /// The metadata of the entry, if any.
    pub fn meta(&self) -> Result<Option<Meta>> {
        Ok(self.place()?.and_then(|place| place.meta))
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> Result<bool> {
        Ok(self.meta()?.is_some_and(|meta| meta.kind == Kind::Dir))
    }

    /// Whether it is a directory that something is mounted on.
    pub fn is_mount_top(&self) -> Result<bool> {
        let Some(place) = self.place()?.filter(|place| place.meta.is_some_and(|meta| meta.kind == Kind::Dir)) else {
            return Ok(false);
        };
        place.dir.is_mount(&place.name).with_context(|| format!("cannot examine {}", self.path.display()))
    }

    /// Opens the directory at `<local>`; fails if a link has replaced it.
    pub fn open(&self) -> Result<Dir> {
        let cannot = || format!("cannot open {}", self.path.display());
        let place = self.place()?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).with_context(cannot)?;
        if place.meta.is_some_and(|meta| meta.kind == Kind::Link) {
            return Err(Error::failed(format!(
                "{} has become a link: it is a link that is not followed, move it away",
                self.path.display()
            )));
        }
        place.dir.child(&place.name).with_context(cannot)
    }

    /// Creates the directory if there is no entry; returns whether it did.
    pub fn make_dir(&self) -> Result<bool> {
        let place = self.make_place()?;
        let made = match place.meta {
            Some(_) => Ok(false),
            None => created::make_dir(&place.dir, &place.name, None, 0o755).map(|_| true),
        };
        made.with_context(|| format!("cannot make the directory {}", self.path.display()))
    }

    /// Whether `dir`, the open `<local>`, has no entries except `except`.
    pub fn is_empty(&self, dir: &Dir, except: &[PathBuf]) -> Result<bool> {
        let mut is_empty = true;
        let read = dir.each_name(&mut |name| {
            is_empty = except.iter().any(|path| path.as_os_str() == name);
            is_empty
        });
        read.with_context(|| format!("cannot read {}", self.path.display())).map(|()| is_empty)
    }

    fn refusal(&self, fault: Fault) -> Error {
        let path = self.path.display();
        match fault {
            Fault::Untrusted(why) => {
                Error::config(format!("cannot use local = {path}: {why}; or local names the place without that link"))
            }
            Fault::Io(e) => Error::failed(format!("cannot examine {path}: {}", crate::error::plain(&e))),
        }
    }
}
