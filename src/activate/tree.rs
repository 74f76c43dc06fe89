//! What a directory holds, as a list: read by descriptors, through no link, across no mount.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::apply::name;
use crate::console::Progress;
use crate::error::{Context, Error, Result};
use crate::store::manifest::{Manifest, Rows, What};
use crate::sys::fs::{Dir, Kind, Meta};

/// How many directories may lie in each other.
const MAX_DEPTH: usize = 200;

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the top.
    pub path: PathBuf,
    /// What it is.
    pub meta: Meta,
    /// A link's text.
    pub target: Option<OsString>,
    /// Another file system is mounted here; what is in it is not listed.
    pub mount: bool,
}

/// All entries below a directory: parents before their children, siblings in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub Vec<Entry>);

impl Tree {
    /// Lists what is below `top`, leaving out `skip` and what is below them.
    pub fn read(top: &Dir, skip: &[PathBuf]) -> Result<Self> {
        let mut tree = Self::default();
        walk(top, skip, &mut |_, entry| {
            tree.0.push(entry);
            Ok(())
        })?;
        Ok(tree)
    }

    /// The entry at `path`.
    pub fn find(&self, path: &Path) -> Option<&Entry> {
        // Sorted by components, as Path's order is.
        self.0.binary_search_by(|entry| entry.path.as_path().cmp(path)).ok().map(|at| &self.0[at])
    }
}

/// Passes on what is below `top` and the open directory that each lies in, parents before their children, siblings in byte
/// order; leaves out `skip` and what is below them.
pub fn walk(top: &Dir, skip: &[PathBuf], found: &mut Found<'_>) -> Result<()> {
    let device = top.meta().context(|| "cannot examine a tree")?.dev;
    let names = top.names().context(|| "cannot read the top of a tree")?;
    walk_dir(top, names, Path::new(""), device, skip, found)
}

/// Takes an entry and the open directory that it lies in.
pub type Found<'a> = dyn FnMut(&Dir, Entry) -> Result<()> + 'a;

fn walk_dir(
    dir: &Dir,
    names: Vec<OsString>,
    at: &Path,
    device: u64,
    skip: &[PathBuf],
    found: &mut Found<'_>,
) -> Result<()> {
    for name in names {
        let path = at.join(&name);
        if skip.contains(&path) {
            continue;
        }
        // A name may be gone by now: an application works in there.
        let Some(meta) = dir.look(&name).context(|| format!("cannot examine {}", path.display()))? else {
            continue;
        };
        let examine = || format!("cannot examine {}", path.display());
        // An overlay's files may show the device of their layer; its directories never do.
        let is_elsewhere = meta.kind == Kind::Dir && meta.dev != device;
        let mount = is_elsewhere || dir.is_mount(&name).context(examine)?;
        let (mut target, mut child) = (None, None);
        let opened = match meta.kind {
            Kind::Link => dir.read_link(&name).map(|text| target = Some(text)),
            Kind::Dir if !mount => dir.child(&name).and_then(|dir| dir.names().map(|names| child = Some((dir, names)))),
            _ => Ok(()),
        };
        match opened {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.context(|| format!("cannot read {}", path.display()))?,
        }
        found(dir, Entry { path: path.clone(), meta, target, mount })?;
        if let Some((child, names)) = child {
            if path.components().count() > MAX_DEPTH {
                return Err(too_deep(&path));
            }
            walk_dir(&child, names, &path, device, skip, found)?;
        }
    }
    Ok(())
}

/// What the tree below `top` is made of: reads every file in it. What is no file, directory or link is left out.
pub fn manifest(top: &Dir) -> Result<Manifest> {
    manifest_without(top, &[])
}

/// The same without `skip` and what is below them.
pub fn manifest_without(top: &Dir, skip: &[PathBuf]) -> Result<Manifest> {
    let (mut rows, mut sums) = (Rows::default(), Sums::new("reading", None));
    walk(top, skip, &mut |dir, Entry { path, meta: Meta { kind, mode, size, .. }, target, .. }| {
        let what = match kind {
            Kind::Dir => What::Dir { mode },
            Kind::Link => What::Link { target: target.unwrap_or_default() },
            Kind::Other => return Ok(()),
            Kind::File => {
                let crc = sums.of(dir, name(&path), size).context(|| format!("cannot read {}", path.display()))?;
                What::File { mode, size, crc }
            }
        };
        rows.push(path.as_os_str().as_bytes(), &what)
    })?;
    Ok(rows.into())
}

/// Adds files up, and shows how far it is.
pub(super) struct Sums {
    buffer: Vec<u8>,
    progress: Progress,
}

impl Sums {
    /// `verb` as in "reading", and the bytes of all files when they are known.
    pub(super) fn new(verb: &'static str, total: Option<u64>) -> Self {
        Self { buffer: vec![0; 64 * 1024], progress: Progress::start(verb, total) }
    }

    /// The CRC-32 of the file `name` in `dir`, which has `size` bytes; of no sense when it has more by now.
    pub(super) fn of(&mut self, dir: &Dir, name: &OsStr, size: u64) -> io::Result<u32> {
        // Somebody may write it as fast as it is read.
        let mut file = dir.open_file(name)?.take(size.saturating_add(1));
        let mut crc = Crc::new();
        loop {
            match file.read(&mut self.buffer)? {
                0 => return Ok(crc.sum()),
                got => {
                    crc.update(&self.buffer[..got]);
                    self.progress.advance(got as u64);
                }
            }
        }
    }
}

/// A refusal of what would use up descriptors and stack; whoever may write into a tree can make it as deep as he likes.
fn too_deep(path: &Path) -> Error {
    let top: PathBuf = path.components().take(3).collect();
    Error::failed(format!("what is in {} is more than {MAX_DEPTH} directories deep", top.display()))
}
