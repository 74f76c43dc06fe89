//! What to do so that one tree becomes like another: pure, and all of it known before the first change.

use std::path::{Path, PathBuf};

use super::tree::{Entry, Tree};
use crate::error::{Error, Result};
use crate::sys::fs::Kind;

/// What to do so that the one tree becomes like the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Files and links that make way for a directory.
    pub clear: Vec<&'a Entry>,
    /// Directories to make, parents first.
    pub make: Vec<&'a Entry>,
    /// Files to write and links to make.
    pub put: Vec<&'a Entry>,
    /// Directories that make way for a file or link of `put`.
    pub aside: Vec<&'a Entry>,
    /// Entries that only lack the mode or the owner.
    pub adjust: Vec<&'a Entry>,
    /// Entries to remove, children first.
    pub remove: Vec<&'a Entry>,
}

/// Compares two trees. `same` tells whether two files have the same content.
pub fn diff<'a>(
    want: &'a Tree,
    have: &'a Tree,
    preserve: &[PathBuf],
    mut same: impl FnMut(&Entry, &Entry) -> Result<bool>,
) -> Result<Plan<'a>> {
    let mut plan = Plan::default();
    let is_copied = |entry: &&Entry| entry.meta.kind != Kind::Other && !entry.mount;
    for wanted in want.0.iter().filter(is_copied) {
        let Some(present) = have.find(&wanted.path) else {
            match wanted.meta.kind {
                Kind::Dir => plan.make.push(wanted),
                _ => plan.put.push(wanted),
            }
            continue;
        };
        if present.meta.kind == Kind::Other || present.mount {
            let what = if present.mount { "another file system is mounted" } else { "a FIFO, socket or device is" };
            return Err(Error::failed(format!(
                "{what} at {}, where the release has something: move it away, or name it in preserve",
                wanted.path.display()
            )));
        }
        if let Some(kept) = leads_to_preserved(present, preserve).filter(|_| wanted.target != present.target) {
            return Err(Error::failed(format!(
                "{0} is a link, {1} behind it must stay, and the release has something else there: name {0} in preserve",
                present.path.display(),
                kept.display()
            )));
        }
        match (wanted.meta.kind, present.meta.kind) {
            (Kind::Dir, Kind::Dir) => {}
            (Kind::Dir, _) => {
                plan.clear.push(present);
                plan.make.push(wanted);
                continue;
            }
            (_, Kind::Dir) => {
                refuse_to_move(present, have, preserve)?;
                plan.aside.push(present);
                plan.put.push(wanted);
                continue;
            }
            (Kind::File, Kind::File) if same(wanted, present)? => {}
            (Kind::Link, Kind::Link) if wanted.target == present.target => continue,
            _ => {
                plan.put.push(wanted);
                continue;
            }
        }
        let (w, p) = (&wanted.meta, &present.meta);
        if (w.mode, w.uid, w.gid) != (p.mode, p.uid, p.gid) {
            // Another name of the same file may lie outside, where nothing may change: this one gets a file of its own.
            let is_shared = p.kind == Kind::File && p.links > 1;
            if is_shared { plan.put.push(wanted) } else { plan.adjust.push(wanted) }
        }
    }
    let is_ours_to_remove = |entry: &&Entry| {
        entry.meta.kind != Kind::Other
            && !entry.mount
            && leads_to_preserved(entry, preserve).is_none()
            && want.find(&entry.path).is_none_or(|w| !is_copied(&w))
            && !plan.aside.iter().any(|moved| entry.path.starts_with(&moved.path))
    };
    plan.remove = have.0.iter().rev().filter(is_ours_to_remove).collect();
    Ok(plan)
}

/// What is preserved behind `entry`, when that is a link: without the link nobody finds it any more.
fn leads_to_preserved<'p>(entry: &Entry, preserve: &'p [PathBuf]) -> Option<&'p PathBuf> {
    preserve.iter().find(|path| entry.meta.kind == Kind::Link && path.starts_with(&entry.path))
}

/// A directory can make way for a file only when all that is in it may go.
fn refuse_to_move(dir: &Entry, have: &Tree, preserve: &[PathBuf]) -> Result<()> {
    let inside = |path: &Path| path.starts_with(&dir.path);
    let blocker = preserve.iter().map(PathBuf::as_path).find(|p| inside(p)).or_else(|| {
        have.0.iter().find(|e| inside(&e.path) && (e.mount || e.meta.kind == Kind::Other)).map(|e| e.path.as_path())
    });
    match blocker {
        None => Ok(()),
        Some(path) => Err(Error::failed(format!(
            "the release has a file where the directory {} is, and {} in it must stay",
            dir.path.display(),
            path.display()
        ))),
    }
}
