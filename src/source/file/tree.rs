//! Walks a directory on this host in a fixed order: names sorted by their bytes, a directory before its entries. Its
//! stamps tell whether it has to be read; its revision is a hash of names, kinds, link targets, contents, executable
//! bits and read access.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::stamps::Stamps;
use crate::artifact::{Access, EntrySum};
use crate::model::hex;
use crate::sys::acl;
use crate::sys::clock::Deadline;
use crate::sys::fs::{Dir, Kind, Meta};

/// How deep directories may be nested. The policy may allow fewer levels in a deployment.
const MAX_DEPTH: usize = 200;

/// One entry of the walk.
struct Entry<'a> {
    dir: &'a Dir,
    path: &'a Path,
    name: &'a OsStr,
    meta: Meta,
    /// The users that can read the entry, given the directories above it.
    access: Access,
}

/// Called for each entry.
type Take<'a> = dyn FnMut(Entry<'_>) -> io::Result<()> + 'a;

/// Calls `take` for each entry below `dir`. `at` is the path of `dir`, and `reach` the users that may enter it.
fn walk(dir: &Dir, at: &Path, reach: Access, depth: usize, take: &mut Take<'_>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("it is more than {MAX_DEPTH} directories deep")));
    }
    for name in dir.names()? {
        let Some(meta) = dir.look(&name)? else { continue };
        let path = at.join(&name);
        let mode = acl::mode_of_entry(dir, &name, &meta)?;
        let access = reach.min(match meta.kind {
            Kind::Dir => Access::of_dir(mode),
            Kind::File => Access::of_file(mode),
            Kind::Link | Kind::Other => Access::All,
        });
        take(Entry { dir, path: &path, name: &name, meta, access })?;
        if meta.kind == Kind::Dir {
            walk(&dir.child(&name)?, &path, reach.min(Access::through_dir(mode)), depth + 1, take)?;
        }
    }
    Ok(())
}

/// A new hash for a directory that `reach` may enter. Access for all users adds nothing to the hash.
fn begin(reach: Access) -> Sha256 {
    let mut hash = Sha256::new();
    if reach != Access::All {
        hash.update(format!("{reach:?}"));
    }
    hash
}

/// Feeds the name, the kind and `mode` of an entry to `hash`.
fn add(hash: &mut Sha256, entry: &Entry<'_>, mode: u32) {
    hash.update((entry.path.as_os_str().len() as u64).to_le_bytes());
    hash.update(entry.path.as_os_str().as_bytes());
    hash.update(format!("{:?} {mode:o}", entry.meta.kind));
}

/// The users that can reach entries of `dir`; `meta` is its metadata.
fn reach(dir: &Dir, meta: &Meta) -> io::Result<Access> {
    Ok(Access::through_dir(acl::mode_of_group(dir, meta.mode)?))
}

/// Adds the stamps of all entries below `dir` to `stamps`; `meta` is the metadata of `dir`.
pub(super) fn look(dir: &Dir, meta: &Meta, stamps: &mut Stamps) -> io::Result<()> {
    let reach = reach(dir, meta)?;
    let mut hash = begin(reach);
    walk(dir, Path::new(""), reach, 0, &mut |entry| {
        add(&mut hash, &entry, entry.meta.mode);
        // The mode does not contain the ACL.
        hash.update([entry.access as u8]);
        let Meta { kind, size, mtime, ctime, ino, .. } = entry.meta;
        match kind {
            Kind::Dir => {}
            Kind::Link => add_link(&mut hash, &entry).map(|_| ())?,
            Kind::File | Kind::Other => {
                stamps.add_time(&entry.meta, entry.meta.dev == meta.dev);
                // The inode too: a file renamed over another may have the same size and time.
                hash.update(format!("{size} {mtime:?} {ctime:?} {ino}"));
            }
        }
        Ok(())
    })?;
    stamps.add_tree(hash);
    Ok(())
}

/// Feeds the target of a link to `hash`.
fn add_link(hash: &mut Sha256, entry: &Entry<'_>) -> io::Result<OsString> {
    let target = entry.dir.read_link(entry.name)?;
    hash.update((target.len() as u64).to_le_bytes());
    hash.update(target.as_bytes());
    Ok(target)
}

/// Reads all files of a tree.
pub(super) struct Contents {
    /// How many bytes may still be read.
    left: u64,
    buffer: Vec<u8>,
    deadline: Deadline,
}

impl Contents {
    /// Reads at most `most` bytes.
    pub(super) fn new(most: u64, deadline: Deadline) -> Self {
        Self { left: most, buffer: vec![0; 128 * 1024], deadline }
    }

    /// Returns a hash of the content of `dir`, independent of its path, and the sums of its files and links. If there
    /// are more bytes than may be deployed, the rest is not read, the sums are `None`, and the hash includes `stamps`
    /// instead.
    pub(super) fn read(&mut self, dir: &Dir, stamps: &Stamps) -> io::Result<(String, Option<Vec<u32>>)> {
        let reach = reach(dir, &dir.meta()?)?;
        let mut hash = begin(reach);
        let mut sums = Some(Vec::new());
        walk(dir, Path::new(""), reach, 0, &mut |entry| {
            let is_program = entry.meta.mode & 0o111 != 0;
            // 0 keeps the hash of a tree that all users can read as it was in earlier versions.
            let restricted = match entry.access {
                Access::All => 0,
                Access::Group => 4,
                Access::Owner => 2,
            };
            add(&mut hash, &entry, u32::from(is_program) | restricted);
            let path = entry.path.as_os_str().as_bytes();
            match entry.meta.kind {
                Kind::Dir | Kind::Other => {} // anything else is refused, and never opened
                Kind::Link => {
                    let mut sum = EntrySum::new(path, false, Access::All);
                    sum.update(add_link(&mut hash, &entry)?.as_bytes());
                    sums.iter_mut().for_each(|sums| sums.push(sum.finish()));
                }
                Kind::File => {
                    hash.update(entry.meta.size.to_le_bytes());
                    if let Some(known) = &mut sums {
                        let mut sum = EntrySum::new(path, is_program, entry.access);
                        if self.read_file(entry.dir.open_file(entry.name)?, &mut hash, &mut sum)? {
                            known.push(sum.finish());
                        } else {
                            sums = None;
                        }
                    }
                }
            }
            Ok(())
        })?;
        if sums.is_none() {
            hash.update(stamps.text());
        }
        Ok((hex(&hash.finalize()[..16]), sums))
    }

    /// Feeds a file to `hash` and `sum`. False if it exceeds the bytes that may still be read.
    fn read_file(&mut self, mut file: File, hash: &mut Sha256, sum: &mut EntrySum) -> io::Result<bool> {
        loop {
            let got = file.read(&mut self.buffer)?;
            if got == 0 {
                return Ok(true);
            }
            if self.deadline.has_passed() {
                return Err(io::Error::other("the timeout was over before it was read"));
            }
            let Some(left) = self.left.checked_sub(got as u64) else { return Ok(false) };
            self.left = left;
            hash.update(&self.buffer[..got]);
            sum.update(&self.buffer[..got]);
        }
    }
}
