//! Holds a tree against the manifest of what it should be: names, kinds, modes, sizes, link texts, content. Changes nothing;
//! what is no file is not opened, and memory does not grow with the tree.

use std::path::{Path, PathBuf};

use super::limit::Limit;
use super::parents::name;
use super::tree::{Entry, Sums, walk};
use crate::error::{Result, plain};
use crate::store::manifest::{Item, Manifest, What};
use crate::sys::fs::{Dir, Kind};

/// What may be wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It should be there.
    Missing,
    /// It should not be there.
    Added,
    /// In words: `mode 0600, not 0644`.
    Changed(String),
    /// Nobody can tell, and why.
    Unreadable(String),
}

/// Takes a path below the top, and what is wrong with it.
pub type Tell<'a> = dyn FnMut(&Path, Difference) + 'a;

impl Difference {
    /// As a line about `path`. A stranger's name stays on one line.
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

/// What is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Except<'a> {
    /// Names, and what is below them.
    pub names: &'a [PathBuf],
    /// Others' mounts, FIFOs, sockets and devices, where the tree is to have nothing: no update touches those.
    pub strangers: bool,
}

/// Tells how what lies below `top` differs from `want`, in order. Gives the number of names that were held against each other.
/// It is asked for by hand: only a signal ends it before it is over.
pub fn compare(top: &Dir, want: &Manifest, except: Except<'_>, tell: &mut Tell<'_>) -> Result<u64> {
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
    // When the tree can no longer be read, the differences so far are worth nothing: the caller gets the error alone.
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
            while items.next_if(|item| item.path.starts_with(&entry.path)).is_some() {} // nobody looks in there
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

/// What is wrong with `entry`, which lies in `dir`.
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

/// What differs in a file of the same size.
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
