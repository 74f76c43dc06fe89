//! Walks over a directory tree, by descriptors, through no link, across no mount.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::copy::next_data;
use super::limit::Limit;
use crate::artifact::{Span, Texts};
use crate::console::Progress;
use crate::error::{Context, Error, Result};
use crate::store::Release;
use crate::store::manifest::{Manifest, Rows, What};
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta};
use crate::sys::sort::sort;

/// The deepest nesting of directories.
pub(super) const MAX_DEPTH: usize = 200;

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the top.
    pub path: PathBuf,
    /// Its metadata.
    pub meta: Meta,
    /// A link's target.
    pub target: Option<OsString>,
    /// Whether another file system is mounted here; its content is not listed.
    pub mount: bool,
}

/// The last component of a path.
pub(super) fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Takes an entry and the open directory that it lies in.
pub type Found<'a> = dyn FnMut(&Dir, Entry) -> Result<()> + 'a;

/// The same, with the position of its name among the names read.
type Named<'a> = dyn FnMut(&Dir, Entry, Span) -> Result<()> + 'a;

/// Passes every entry below `top` to `found` with its open directory: parents before their children, siblings in byte
/// order, without `skip` and anything below it. Memory holds the names of open directories only.
pub fn walk(top: &Dir, skip: &[PathBuf], limit: Limit, found: &mut Found<'_>) -> Result<()> {
    Walk { keeps_names: false, ..Walk::new(skip, limit) }
        .over_all(top, &mut |dir, entry, _| found(dir, entry))
        .map(drop)
}

/// A walk over a tree.
pub(super) struct Walk<'a> {
    skip: &'a [PathBuf],
    limit: Limit,
    /// Matches names to leave out, with everything below them.
    is_left_out: fn(&OsStr) -> bool,
    keeps_names: bool,
    device: u64,
    names: Texts,
}

impl<'a> Walk<'a> {
    /// A walk that keeps all names.
    pub(super) fn new(skip: &'a [PathBuf], limit: Limit) -> Self {
        Self { skip, limit, is_left_out: |_| false, keeps_names: true, device: 0, names: Texts::default() }
    }

    /// The same without names that match `is_left_out`, nor anything below them.
    pub(super) fn without(self, is_left_out: fn(&OsStr) -> bool) -> Self {
        Self { is_left_out, ..self }
    }

    /// Walks over the tree below `top`, and returns the names kept.
    pub(super) fn over_all(mut self, top: &Dir, found: &mut Named<'_>) -> Result<Texts> {
        self.device = top.meta().with_context(|| "cannot examine a tree")?.dev;
        let names = self.list(top).with_context(|| "cannot read the top of a tree")?;
        self.walk(top, &names, Path::new(""), found)?;
        Ok(self.names)
    }

    /// The names in a directory, in byte order.
    fn list(&mut self, dir: &Dir) -> io::Result<Vec<Span>> {
        let (names, mut list) = (&mut self.names, Some(Vec::new()));
        dir.each_name(&mut |name| {
            match (names.push(name.as_bytes()), &mut list) {
                (Some(name), Some(list)) => list.push(name),
                _ => list = None,
            }
            list.is_some()
        })?;
        let mut list = list.ok_or_else(|| io::Error::other("names are longer than 4 GiB together"))?;
        sort(&mut list, &mut |a, b| names.get(*a).cmp(names.get(*b)));
        Ok(list)
    }

    fn walk(&mut self, dir: &Dir, names: &[Span], at: &Path, found: &mut Named<'_>) -> Result<()> {
        for span in names {
            self.limit.ask()?;
            let name = OsStr::from_bytes(self.names.get(*span)).to_owned();
            let path = at.join(&name);
            if (self.is_left_out)(&name) || self.skip.contains(&path) {
                continue;
            }
            // An application may have removed the entry in the meantime.
            let examine = || format!("cannot examine {}", path.display());
            let Some((meta, is_mount)) = dir.look_for_mount(&name).with_context(examine)? else { continue };
            // overlayfs may show a file with the device of its layer, a directory never.
            let is_elsewhere = meta.kind == Kind::Dir && meta.dev != self.device;
            let mount = is_elsewhere || is_mount;
            let (mut target, mut child, before) = (None, None, self.names.mark());
            let opened = match meta.kind {
                Kind::Link => dir.read_link(&name).map(|text| target = Some(text)),
                Kind::Dir if !mount => {
                    dir.child(&name).and_then(|dir| self.list(&dir).map(|names| child = Some((dir, names))))
                }
                Kind::Dir | Kind::File | Kind::Other => Ok(()),
            };
            match opened {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.with_context(|| format!("cannot read {}", path.display()))?,
            }
            found(dir, Entry { path: path.clone(), meta, target, mount }, *span)?;
            if let Some((child, names)) = child {
                if path.components().count() > MAX_DEPTH {
                    return Err(too_deep(&path));
                }
                self.walk(&child, &names, &path, found)?;
            }
            if !self.keeps_names {
                self.names.truncate(before);
            }
        }
        Ok(())
    }
}

/// The manifest of the tree below `top`. Reads every file; FIFOs, sockets and devices are left out.
pub fn manifest(top: &Dir, limit: Limit) -> Result<Manifest> {
    manifest_without(top, &[], limit)
}

/// The manifest of what is in a release.
pub fn of_release(release: &Release, limit: Limit) -> Result<Manifest> {
    let cannot = || format!("cannot read release {}", release.id);
    release.open().with_context(cannot).and_then(|top| manifest(&top, limit).with_context(cannot))
}

/// The same without `skip` and anything below it.
pub fn manifest_without(top: &Dir, skip: &[PathBuf], limit: Limit) -> Result<Manifest> {
    let (mut rows, mut sums) = (Rows::default(), Sums::new("reading", None, limit));
    walk(top, skip, limit, &mut |dir, Entry { path, meta: Meta { kind, mode, size, .. }, target, .. }| {
        let what = match kind {
            Kind::Dir => What::Dir { mode },
            Kind::Link => What::Link { target: target.unwrap_or_default() },
            Kind::Other => return Ok(()),
            Kind::File => {
                let crc = sums.of(dir, name(&path), size).with_context(|| format!("cannot read {}", path.display()))?;
                What::File { mode, size, crc }
            }
        };
        rows.push(path.as_os_str().as_bytes(), &what)
    })?;
    Ok(rows.into())
}

/// Computes checksums of files, and shows the progress.
pub(super) struct Sums {
    buffer: Vec<u8>,
    progress: Progress,
    limit: Limit,
}

impl Sums {
    /// `verb` as in "reading", and the bytes of all files when they are known.
    pub(super) fn new(verb: &'static str, total: Option<u64>, limit: Limit) -> Self {
        Self { buffer: vec![0; 64 * 1024], progress: Progress::start(verb, total), limit }
    }

    /// The CRC-32 of the file `name` in `dir`, expected to have `size` bytes; meaningless if it has more by now.
    pub(super) fn of(&mut self, dir: &Dir, name: &OsStr, size: u64) -> io::Result<u32> {
        let mut file = dir.open_file(name)?;
        let (mut crc, mut at) = (Crc::new(), 0);
        // A sparse file may have a tebibyte of holes between a few gigabytes of data.
        if size >= LARGE && sysfs::meta(&file).is_ok_and(|meta| meta.size == size && meta.allocated < size) {
            while let Some(data) = next_data(&file, at, size).unwrap_or_default() {
                add_zeros(&mut crc, data.start.saturating_sub(at));
                file.seek(SeekFrom::Start(data.start))?;
                self.add((&file).take(data.end.saturating_sub(data.start)), &mut crc)?;
                at = data.end;
            }
            file.seek(SeekFrom::Start(at))?;
            if next_data(&file, at, size).is_ok() {
                add_zeros(&mut crc, size.saturating_sub(at));
                at = file.seek(SeekFrom::Start(size))?;
            }
        }
        // At most one byte more: another process may append as fast as this one reads.
        self.add(file.take(size.saturating_sub(at).saturating_add(1)), &mut crc)?;
        Ok(crc.sum())
    }

    fn add(&mut self, mut from: impl Read, crc: &mut Crc) -> io::Result<()> {
        loop {
            self.limit.ask()?;
            match from.read(&mut self.buffer)? {
                0 => return Ok(()),
                got => {
                    crc.update(&self.buffer[..got]);
                    self.progress.advance(got as u64);
                }
            }
        }
    }
}

/// Files of fewer bytes are not searched for holes.
const LARGE: u64 = 1 << 20;

/// Adds `count` zeros without reading them: each round doubles the length of the run.
fn add_zeros(crc: &mut Crc, mut count: u64) {
    let mut run = Crc::new();
    run.update(&[0]);
    while count > 0 {
        if count & 1 == 1 {
            crc.combine(&run);
        }
        let mut twice = Crc::new();
        twice.combine(&run);
        twice.combine(&run);
        (run, count) = (twice, count >> 1);
    }
}

/// The error for a tree that would use up descriptors and stack: a user with write access can nest it arbitrarily deep.
fn too_deep(path: &Path) -> Error {
    let top: PathBuf = path.components().take(3).collect();
    Error::failed(format!("what is in {} is more than {MAX_DEPTH} directories deep", top.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_file_with_holes_is_that_of_its_bytes() {
        for count in [0, 1, 2, 3, 1000, 65_537] {
            let (mut known, mut crc) = (Crc::new(), Crc::new());
            known.update(b"before");
            known.update(&vec![0; count]);
            crc.update(b"before");
            add_zeros(&mut crc, count as u64);
            assert_eq!(crc.sum(), known.sum(), "{count}");
        }
        let path = std::env::temp_dir().join(sysfs::unique_name("repo-deploy-sums-").unwrap());
        std::fs::create_dir(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        for pieces in [vec![], vec![0], vec![2 << 20], vec![5, 3 << 20, (9 << 20) - 3]] {
            let size = 9 << 20;
            let (mut bytes, mut file) = (vec![0; size], std::fs::File::create(path.join("f")).unwrap());
            file.set_len(size as u64).unwrap();
            for at in pieces {
                bytes[at..at + 3].copy_from_slice(b"abc");
                file.seek(SeekFrom::Start(at as u64)).unwrap();
                std::io::Write::write_all(&mut file, b"abc").unwrap();
            }
            let mut known = Crc::new();
            known.update(&bytes);
            let mut sums = Sums::new("reading", None, Limit::SIGNALS);
            assert_eq!(sums.of(&dir, "f".as_ref(), size as u64).unwrap(), known.sum());
        }
        std::fs::remove_dir_all(path).unwrap();
    }
}
