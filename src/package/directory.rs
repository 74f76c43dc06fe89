//! A directory of this host as an artifact: looked through first, then copied, both with openat and through no link.
//! Hard links become files of their own. What is no file, directory or link is refused by its name and never opened. What
//! others may not read or reach there, they may not read in the copy. The copy is made of what the revision was made of,
//! to the byte: anything else is an error, and the source is polled again.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use super::names::shown;
use super::policy::{Kind, Listing, Plan};
use super::writer::{Trail, Writer, split};
use super::{Unpacked, in_time, is_something};
use crate::artifact::{Access, EntrySum, Folder};
use crate::error::{Context, Error, Kind as Cause, Result};
use crate::model::Layout;
use crate::sys::clock::Deadline;
use crate::sys::fs::{self, Dir};

/// Bytes that are copied at once.
const BUFFER: usize = 128 * 1024;

/// What an entry of the directory is. A directory comes before what is in it.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: Kind,
    access: Access,
    size: u64,
}

/// What a member is expected to be when it is copied.
#[derive(Clone, Copy, Debug)]
struct Expected {
    size: u64,
    /// `None`: a directory, or nobody has read it before.
    sum: Option<u32>,
    access: Access,
}

/// Lays a copy of `source` out in `staging`.
pub(super) fn unpack(source: &Folder, staging: Option<&Dir>, layout: &Layout, deadline: Deadline) -> Result<Unpacked> {
    let mut listing = Listing::new(layout, 0);
    let (mut expected, mut private) = (Vec::new(), 0);
    let mut sums = source.sums.as_ref().map(|sums| sums.iter().copied());
    let access = Access::through_dir(source.dir.meta().context(|| "cannot examine it")?.mode);
    list(&source.dir, &mut Vec::new(), access, deadline, &mut |name, found| {
        let Found { kind, access, size } = found;
        let sum = match (kind, &mut sums) {
            (Kind::File | Kind::Program | Kind::Link, Some(sums)) => Some(sums.next().ok_or_else(|| gone(name))?),
            (Kind::Dir, _) | (_, None) => None,
        };
        if let Some(index) = listing.add(name, kind, size)? {
            listing.restrict(index, access);
            expected.push(Expected { size, sum, access });
            private += u64::from(access != Access::All);
        }
        Ok(())
    })?;
    if sums.is_some_and(|mut sums| sums.next().is_some()) {
        return Err(changed());
    }
    let plan = listing.check()?;
    is_something(&plan, layout)?;
    if private > 0 {
        log::info!("others may not read {private} of its entries there, and cannot read them in the release");
    }
    let writer = Writer::new(&plan, staging, layout, deadline)?;
    copy(&source.dir, &plan, &expected, writer)
}

/// Takes a full name and what it names.
type Take<'a> = dyn FnMut(&[u8], Found) -> Result<()> + 'a;

/// Passes everything below `dir`, which stands at `path` and which `reach` may enter, on to `take`.
fn list(dir: &Dir, path: &mut Vec<u8>, reach: Access, deadline: Deadline, take: &mut Take<'_>) -> Result<()> {
    let above = path.len();
    for name in dir.names().context(|| format!("cannot list {}", place(path)))? {
        in_time(deadline)?;
        if above > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let meta = dir.look(&name).context(|| format!("cannot look at {}", shown(path)))?.ok_or_else(|| gone(path))?;
        match meta.kind {
            fs::Kind::File => {
                let (kind, access) = (Kind::file(meta.mode), reach.min(Access::of_file(meta.mode)));
                take(path, Found { kind, access, size: meta.size })?;
            }
            fs::Kind::Link => take(path, Found { kind: Kind::Link, access: Access::All, size: 0 })?,
            fs::Kind::Dir => {
                // The policy limits the depth, and with it this recursion.
                let access = reach.min(Access::of_dir(meta.mode));
                take(path, Found { kind: Kind::Dir, access, size: 0 })?;
                let child = dir.child(&name).context(|| format!("cannot open {}", shown(path)))?;
                list(&child, path, reach.min(Access::through_dir(meta.mode)), deadline, take)?;
            }
            fs::Kind::Other => {
                let name = shown(path);
                return Err(Error::refused(format!("member {name}: it is a FIFO, a socket or a device")));
            }
        }
        path.truncate(above);
    }
    Ok(())
}

fn copy(source: &Dir, plan: &Plan, expected: &[Expected], mut writer: Writer<'_>) -> Result<Unpacked> {
    let mut trail = Trail::default();
    let mut buffer = vec![0; BUFFER];
    let mut links = Vec::new();
    for (index, expected) in (0..).zip(expected) {
        match plan.kind(index) {
            Kind::Dir => writer.dir(index)?,
            Kind::Link => links.push((index, expected)),
            kind @ (Kind::File | Kind::Program) => {
                let (parent, name) = split(plan.name(index));
                let cannot = || format!("cannot open {}", shown(plan.name(index)));
                let dir = trail.enter(source, parent, |dir, name| dir.child(name)).context(cannot)?;
                let mut file = dir.open_file(name).context(cannot)?;
                let meta = fs::meta(&file).context(cannot)?;
                let is_private_now = Access::of_file(meta.mode) < expected.access;
                if meta.kind != fs::Kind::File || meta.size != expected.size || is_private_now {
                    return Err(gone(plan.name(index)));
                }
                let mut sum = EntrySum::new(plan.name(index), kind == Kind::Program, expected.access);
                writer.file(index, |write| {
                    transfer(&mut file, expected.size, &mut buffer, &mut |bytes| {
                        sum.update(bytes);
                        write(bytes)
                    })
                })?;
                expected.check(&sum, plan.name(index))?;
            }
        }
    }
    for (index, expected) in links {
        let (parent, name) = split(plan.name(index));
        let cannot = || format!("cannot read the link {}", shown(plan.name(index)));
        let dir = trail.enter(source, parent, |dir, name| dir.child(name)).context(cannot)?;
        let text = dir.read_link(name).context(cannot)?;
        let mut sum = EntrySum::new(plan.name(index), false, expected.access);
        sum.update(text.as_bytes());
        expected.check(&sum, plan.name(index))?;
        writer.link(index, text.as_bytes())?;
    }
    writer.finish()
}

impl Expected {
    fn check(&self, sum: &EntrySum, name: &[u8]) -> Result<()> {
        if self.sum.is_some_and(|expected| expected != sum.finish()) { Err(gone(name)) } else { Ok(()) }
    }
}

/// Copies exactly `size` bytes.
fn transfer(
    file: &mut impl Read,
    size: u64,
    buffer: &mut [u8],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut left = size;
    loop {
        let read = match file.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.context(|| "cannot read it")?,
        };
        left = left.checked_sub(read as u64).ok_or_else(changed)?;
        match (read, left) {
            (0, 0) => return Ok(()),
            (0, _) => return Err(changed()),
            _ => write(&buffer[..read])?,
        }
    }
}

fn changed() -> Error {
    Error::new(Cause::Superseded, "it changed while it was copied")
}

fn gone(name: &[u8]) -> Error {
    Error::new(Cause::Superseded, format!("member {}: {}", shown(name), changed()))
}

fn place(path: &[u8]) -> String {
    if path.is_empty() { "it".into() } else { shown(path) }
}
