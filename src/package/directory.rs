//! A directory of this host as an artifact: examined first, then copied, both with openat and through no link. Hard
//! links become separate files. An entry that is no file, directory or link is refused by its name and never opened.
//! Entries that other users may not read or reach there, they may not read in the copy. The copy must match the entries
//! that the revision was computed from, byte by byte; otherwise the source is polled again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::names::shown;
use super::policy::{Kind, Listing, Plan, too_many};
use super::trail::{Trail, split};
use super::transfer::{changed, in_time, transfer};
use super::unpacked::{Unpacked, is_something};
use super::writer::Writer;
use crate::artifact::{Access, EntrySum, Folder};
use crate::error::{Context, Error, Kind as Cause, Result};
use crate::model::Layout;
use crate::store::manifest::Budget;
use crate::sys::acl;
use crate::sys::clock::Deadline;
use crate::sys::fs::{self, Dir};
use crate::sys::log;

/// The number of bytes that are copied at once.
const BUFFER: usize = 128 * 1024;

/// The kind of an entry of the directory. A directory comes before its content.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: Kind,
    access: Access,
    size: u64,
}

/// The properties that a member must still have when it is copied.
#[derive(Clone, Copy, Debug)]
struct Expected {
    size: u64,
    /// `None`: a directory, or an entry that was not read before.
    sum: Option<u32>,
    access: Access,
}

/// Unpacks a copy of `source` into `staging`.
pub(super) fn unpack(source: &Folder, staging: Option<&Dir>, layout: &Layout, deadline: Deadline) -> Result<Unpacked> {
    let mut listing = Listing::new(layout, 0);
    let (mut expected, mut private) = (Vec::new(), 0);
    let mut sums = source.sums.as_ref().map(|sums| sums.iter().copied());
    let what = || "cannot examine it";
    let mode = acl::mode_of_group(&source.dir, source.dir.meta().with_context(what)?.mode).with_context(what)?;
    let access = Access::through_dir(mode);
    let mut room = Room { names: 0, budget: Budget::new(layout.max_names), layout, deadline };
    list(&source.dir, &mut Vec::new(), access, &mut room, &mut |name, found| {
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

/// Receives the full name and the kind of an entry.
type Take<'a> = dyn FnMut(&[u8], Found) -> Result<()> + 'a;

/// Limits the names that are read ahead, in all directories that are open at once: no more than the policy allows.
struct Room<'a> {
    names: u64,
    budget: Budget,
    layout: &'a Layout,
    deadline: Deadline,
}

impl Room<'_> {
    /// The names in `dir`, whose path is `path`.
    fn names(&mut self, dir: &Dir, path: &[u8]) -> Result<Vec<OsString>> {
        let mut refused = None;
        let names = dir.names_while(&mut |name| {
            self.names += 1;
            let taken = self.budget.take(name.len() as u64);
            let taken = taken.with_context(|| {
                format!("member {}", shown(Path::new(OsStr::from_bytes(path)).join(name).as_os_str().as_bytes()))
            });
            refused = if self.names > self.layout.max_files { Some(too_many(self.layout)) } else { taken.err() };
            refused.is_none()
        });
        let names = names.with_context(|| format!("cannot list {}", place(path)))?;
        refused.map_or(Ok(names), Err)
    }

    /// Returns the share of a name that is being examined, and so no longer read ahead.
    fn give_back(&mut self, name: &OsStr) {
        self.names = self.names.saturating_sub(1);
        self.budget.give_back(name.len() as u64);
    }
}

/// Calls `take` for every entry below `dir`, whose path is `path` and which `reach` may enter.
fn list(dir: &Dir, path: &mut Vec<u8>, reach: Access, room: &mut Room<'_>, take: &mut Take<'_>) -> Result<()> {
    let above = path.len();
    for name in room.names(dir, path)? {
        room.give_back(&name);
        in_time(room.deadline)?;
        if above > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let meta =
            dir.look(&name).with_context(|| format!("cannot look at {}", shown(path)))?.ok_or_else(|| gone(path))?;
        let mode = acl::mode_of_entry(dir, &name, &meta).with_context(|| format!("cannot look at {}", shown(path)))?;
        match meta.kind {
            fs::Kind::File => {
                let (kind, access) = (Kind::file(meta.mode), reach.min(Access::of_file(mode)));
                take(path, Found { kind, access, size: meta.size })?;
            }
            fs::Kind::Link => take(path, Found { kind: Kind::Link, access: Access::All, size: meta.size })?,
            fs::Kind::Dir => {
                // The policy limits the depth, and with it this recursion.
                let access = reach.min(Access::of_dir(mode));
                take(path, Found { kind: Kind::Dir, access, size: 0 })?;
                let child = dir.child(&name).with_context(|| format!("cannot open {}", shown(path)))?;
                list(&child, path, reach.min(Access::through_dir(mode)), room, take)?;
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
    for (index, expected) in (0..).zip(expected) {
        match plan.kind(index) {
            Kind::Dir => writer.dir(index)?,
            Kind::Link => {
                let (parent, name) = split(plan.name(index));
                let cannot = || format!("cannot read the link {}", shown(plan.name(index)));
                let dir = trail.enter(source, parent, |dir, name| dir.child(name)).with_context(cannot)?;
                let text = dir.read_link(name).with_context(cannot)?;
                let mut sum = EntrySum::new(plan.name(index), false, expected.access);
                sum.update(text.as_bytes());
                expected.check(&sum, plan.name(index))?;
                writer.link(index, |keep| keep(text.as_bytes()))?;
            }
            kind @ (Kind::File | Kind::Program) => {
                let (parent, name) = split(plan.name(index));
                let cannot = || format!("cannot open {}", shown(plan.name(index)));
                let dir = trail.enter(source, parent, |dir, name| dir.child(name)).with_context(cannot)?;
                let mut file = dir.open_file(name).with_context(cannot)?;
                let meta = fs::meta(&file).with_context(cannot)?;
                let mode = acl::mode_of_group(&file, meta.mode).with_context(cannot)?;
                let is_private_now = Access::of_file(mode) < expected.access;
                if meta.kind != fs::Kind::File || meta.size != expected.size || is_private_now {
                    return Err(gone(plan.name(index)));
                }
                let mut sum = EntrySum::new(plan.name(index), kind == Kind::Program, expected.access);
                writer.file(index, None, |write| {
                    transfer(&mut file, expected.size, &mut buffer, &mut |bytes| {
                        sum.update(bytes);
                        write(bytes)
                    })
                })?;
                expected.check(&sum, plan.name(index))?;
            }
        }
    }
    writer.finish()
}

impl Expected {
    fn check(&self, sum: &EntrySum, name: &[u8]) -> Result<()> {
        if self.sum.is_some_and(|expected| expected != sum.finish()) { Err(gone(name)) } else { Ok(()) }
    }
}

fn gone(name: &[u8]) -> Error {
    Error::new(Cause::Superseded, format!("member {}: {}", shown(name), changed()))
}

fn place(path: &[u8]) -> String {
    if path.is_empty() { "it".into() } else { shown(path) }
}
