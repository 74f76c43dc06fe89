//! A directory of this host as an artifact: looked through first, then copied, both with openat and through no link.
//! Hard links become files of their own. What is no file, directory or link is refused by its name and never opened. A
//! file that changes between the two passes is noticed by its size; whether the directory as a whole held still is the
//! source's business.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::names::shown;
use super::policy::{Kind, Listing, Plan, too_many};
use super::writer::{Trail, Writer, split};
use super::{Unpacked, in_time, is_something};
use crate::error::{Context, Error, Kind as Cause, Result};
use crate::model::Layout;
use crate::store::manifest::Budget;
use crate::sys::clock::Deadline;
use crate::sys::fs::{self, Dir};

/// Bytes that are copied at once.
const BUFFER: usize = 128 * 1024;

/// Lays a copy of `source` out in `staging`.
pub(super) fn unpack(source: &Dir, staging: Option<&Dir>, layout: &Layout, deadline: Deadline) -> Result<Unpacked> {
    let mut listing = Listing::new(layout, 0);
    let mut sizes = Vec::new();
    let mut room = Room { names: 0, budget: Budget::new(layout.max_names), layout };
    list(source, &mut Vec::new(), &mut room, deadline, &mut |name, kind, size| {
        if listing.add(name, kind, size)?.is_some() {
            sizes.push(size);
        }
        Ok(())
    })?;
    let plan = listing.check()?;
    is_something(&plan, layout)?;
    let writer = Writer::new(&plan, staging, layout, deadline)?;
    copy(source, &plan, &sizes, writer)
}

/// Takes a full name, what it names and how many bytes it has.
type Found<'a> = dyn FnMut(&[u8], Kind, u64) -> Result<()> + 'a;

/// What may be read ahead of directories, in all that are open at once: no more names than the policy would take.
struct Room<'a> {
    names: u64,
    budget: Budget,
    layout: &'a Layout,
}

impl Room<'_> {
    /// The names in `dir`, which stands at `path`.
    fn names(&mut self, dir: &Dir, path: &[u8]) -> Result<Vec<OsString>> {
        let mut refused = None;
        let names = dir.names_while(&mut |name| {
            self.names += 1;
            let taken = self.budget.take(name.len() as u64);
            let taken = taken.context(|| {
                format!("member {}", shown(Path::new(OsStr::from_bytes(path)).join(name).as_os_str().as_bytes()))
            });
            refused = if self.names > self.layout.max_files { Some(too_many(self.layout)) } else { taken.err() };
            refused.is_none()
        });
        let names = names.context(|| format!("cannot list {}", place(path)))?;
        refused.map_or(Ok(names), Err)
    }

    /// A name that is looked at is none that was read ahead.
    fn give_back(&mut self, name: &OsStr) {
        self.names = self.names.saturating_sub(1);
        self.budget.give_back(name.len() as u64);
    }
}

/// Tells `found` of everything below `dir`, which stands at `path`, a directory before what is in it.
fn list(dir: &Dir, path: &mut Vec<u8>, room: &mut Room<'_>, deadline: Deadline, found: &mut Found<'_>) -> Result<()> {
    let above = path.len();
    for name in room.names(dir, path)? {
        room.give_back(&name);
        in_time(deadline)?;
        if above > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let meta = dir.look(&name).context(|| format!("cannot look at {}", shown(path)))?.ok_or_else(|| gone(path))?;
        match meta.kind {
            fs::Kind::File => found(path, Kind::file(meta.mode), meta.size)?,
            fs::Kind::Link => found(path, Kind::Link, meta.size)?,
            fs::Kind::Dir => {
                // The policy limits the depth, and with it this recursion.
                found(path, Kind::Dir, 0)?;
                let child = dir.child(&name).context(|| format!("cannot open {}", shown(path)))?;
                list(&child, path, room, deadline, found)?;
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

fn copy(source: &Dir, plan: &Plan, sizes: &[u64], mut writer: Writer<'_>) -> Result<Unpacked> {
    let mut trail = Trail::default();
    let mut buffer = vec![0; BUFFER];
    for (index, size) in (0..).zip(sizes) {
        match plan.kind(index) {
            Kind::Dir => writer.dir(index)?,
            Kind::Link => {
                let (parent, name) = split(plan.name(index));
                let cannot = || format!("cannot read the link {}", shown(plan.name(index)));
                let dir = trail.enter(source, parent, |dir, name| dir.child(name)).context(cannot)?;
                let text = dir.read_link(name).context(cannot)?;
                writer.link(index, |keep| keep(text.as_bytes()))?;
            }
            Kind::File | Kind::Program => {
                let (parent, name) = split(plan.name(index));
                let cannot = || format!("cannot open {}", shown(plan.name(index)));
                let dir = trail.enter(source, parent, |dir, name| dir.child(name)).context(cannot)?;
                let mut file = dir.open_file(name).context(cannot)?;
                let meta = fs::meta(&file).context(cannot)?;
                if meta.kind != fs::Kind::File || meta.size != *size {
                    return Err(gone(plan.name(index)));
                }
                writer.file(index, |write| transfer(&mut file, *size, &mut buffer, write))?;
            }
        }
    }
    writer.finish()
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
