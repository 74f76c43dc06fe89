//! Compares a tree with its manifest: names, kinds, modes, sizes, link targets, content. Changes nothing. Only files
//! are opened, and memory use does not grow with the tree.

use std::path::{Path, PathBuf};

use super::limit::Limit;
use super::tree::{Entry, Sums, name, walk};
use crate::error::{Context, Result, plain};
use crate::store::manifest::{Item, Manifest, What};
use crate::sys::fs::{Dir, Kind};

/// The difference between an entry and the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The entry is missing.
    Missing,
    /// The entry is not in the manifest.
    Added,
    /// A description: `mode 0600, not 0644`.
    Changed(String),
    /// The entry cannot be read, and the reason.
    Unreadable(String),
}

/// Takes a path below the top and its difference.
pub type Tell<'a> = dyn FnMut(&Path, Difference) + 'a;

impl Difference {
    /// A line about `path`; a name with control characters stays on one line.
    pub fn line(&self, path: &Path) -> String {
        let path = path.display().to_string();
        let path = path.escape_debug();
        match self {
            Self::Missing => format!("missing {path}\n"),
            Self::Added => format!("added {path}\n"),
            Self::Changed(what) => format!("changed {path}: {}\n", what.escape_debug()),
            Self::Unreadable(why) => format!("unreadable {path}: {why}\n"),
        }
    }
}

/// Entries to leave out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Except<'a> {
    /// Paths, with everything below them.
    pub names: &'a [PathBuf],
    /// Mounts, FIFOs, sockets and devices at names that the manifest lacks: no update touches those.
    pub strangers: bool,
}

/// Compares the directory `top` with `manifest`; messages call it `shown`.
pub fn compare_at(
    shown: &Path,
    top: std::io::Result<Dir>,
    manifest: &Manifest,
    except: Except<'_>,
    tell: &mut Tell<'_>,
) -> Result<u64> {
    let cannot = || format!("cannot verify {}", shown.display());
    let top = top.with_context(cannot)?;
    compare(&top, manifest, except, &mut |path, what| tell(&shown.join(path), what)).with_context(cannot)
}

/// Passes the differences between the tree below `top` and `want` to `tell`, in order. Returns the number of names
/// compared. An operator runs it by hand: only a signal ends it early.
fn compare(top: &Dir, want: &Manifest, except: Except<'_>, tell: &mut Tell<'_>) -> Result<u64> {
    let Except { names: skip, strangers } = except;
    let is_meant = |item: &Item| !skip.iter().any(|path| item.path.starts_with(path));
    let (mut count, mut bytes, mut failed) = (0, 0, None);
    for item in want.items() {
        let item = item?;
        if is_meant(&item) {
            count += 1;
            bytes += if let What::File { size, .. } = item.what { size } else { 0 };
        }
    }
    let mut sums = Sums::new("verifying", Some(bytes), Limit::SIGNALS);
    // If the tree can no longer be read, the differences so far are void: the caller gets the error alone.
    let readable = want.items().map_while(|item| item.map_err(|e| failed = Some(e)).ok());
    let mut items = readable.filter(is_meant).peekable();
    walk(top, skip, Limit::SIGNALS, &mut |dir, entry| {
        while let Some(item) = items.next_if(|item| item.path < entry.path) {
            tell(&item.path, Difference::Missing);
        }
        let is_stranger = entry.mount || entry.meta.kind == Kind::Other;
        if strangers && is_stranger && items.peek().is_none_or(|item| item.path != entry.path) {
            return Ok(());
        }
        if entry.mount {
            while items.next_if(|item| item.path.starts_with(&entry.path)).is_some() {} // not compared
            tell(&entry.path, Difference::Changed("another file system is mounted there".to_owned()));
            return Ok(());
        }
        let found = match items.next_if(|item| item.path == entry.path) {
            Some(item) => held_against(dir, &entry, &item.what, &mut sums),
            None => Some(Difference::Added),
        };
        found.into_iter().for_each(|difference| tell(&entry.path, difference));
        Ok(())
    })?;
    items.for_each(|item| tell(&item.path, Difference::Missing));
    failed.map_or(Ok(count), Err)
}

/// The difference of `entry` in `dir`, if any.
fn held_against(dir: &Dir, entry: &Entry, want: &What, sums: &mut Sums) -> Option<Difference> {
    let meta = &entry.meta;
    let mut words = Vec::new();
    let mode = match want {
        What::File { mode, size, crc } => {
            if meta.kind != Kind::File {
                return Some(other_kind(meta.kind, Kind::File));
            }
            if meta.size != *size {
                words.push(other_size(meta.size, *size));
            } else {
                match sums.of(dir, name(&entry.path), *size) {
                    Ok(sum) if sum == *crc => {}
                    Ok(_) => words.push(CONTENT.to_owned()),
                    Err(e) => return Some(Difference::Unreadable(plain(&e))),
                }
            }
            *mode
        }
        What::Dir { mode } if meta.kind == Kind::Dir => *mode,
        What::Dir { .. } => return Some(other_kind(meta.kind, Kind::Dir)),
        What::Link { .. } if meta.kind != Kind::Link => return Some(other_kind(meta.kind, Kind::Link)),
        What::Link { target } => {
            let text = entry.target.clone().unwrap_or_default();
            let is_same = text == *target;
            return (!is_same).then(|| Difference::Changed(other_text(Path::new(&text), Path::new(target))));
        }
    };
    if meta.mode != mode {
        words.push(other_mode(meta.mode, mode));
    }
    (!words.is_empty()).then(|| Difference::Changed(words.join("; ")))
}

/// The word for a file of equal size and other content.
pub(super) const CONTENT: &str = "content";

pub(super) fn other_kind(is: Kind, not: Kind) -> Difference {
    let word = |kind| match kind {
        Kind::File => "a file",
        Kind::Dir => "a directory",
        Kind::Link => "a link",
        Kind::Other => "a FIFO, socket or device",
    };
    Difference::Changed(format!("{}, not {}", word(is), word(not)))
}

pub(super) fn other_size(is: u64, not: u64) -> String {
    format!("size {is}, not {not}")
}

/// `mode 0600, not 0644`.
pub fn other_mode(is: u32, not: u32) -> String {
    format!("mode {is:04o}, not {not:04o}")
}

pub(super) fn other_text(is: &Path, not: &Path) -> String {
    format!("leads to {}, not {}", is.display(), not.display())
}
