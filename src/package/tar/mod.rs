//! tar archives, plain or gzipped. A tar has no directory, so it is read twice: once to the very end, which checks the
//! structure, every checksum and the whole policy before the first byte is written; then again to write. The result is
//! that of other readers: hard links become copies, sparse files get their holes back, a volume label is ignored.
//! Devices, FIFOs and members about which readers disagree are refused.

mod gzip;
pub(super) mod header;
mod input;
mod pax;
mod sparse;
mod stream;
mod walk;

use std::fs::File;

use self::walk::{Member, Walk, What};
use super::names::stripped;
use super::policy::{Kind, Listing, Plan};
use super::sniff::Compression;
use super::unpacked::{Unpacked, is_something};
use super::writer::Writer;
use crate::error::{Context, Error, Kind as Cause, Result};
use crate::model::Layout;
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// Unpacks the archive into `staging`.
pub(super) fn unpack(
    file: &File,
    compression: Compression,
    staging: Option<&Dir>,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Unpacked> {
    let plan = list(Walk::new(file, compression, deadline)?, layout)?;
    is_something(&plan, layout)?;
    let writer = Writer::new(&plan, staging, layout, deadline)?;
    write(Walk::new(file, compression, deadline)?, &plan, layout, writer)
}

fn list(mut walk: Walk<'_>, layout: &Layout) -> Result<Plan> {
    let mut listing = Listing::new(layout, 0);
    while let Some(member) = walk.next()? {
        match member.what {
            What::HardLink => {
                listing.add_hard_link(&member.name, &member.target)?;
            }
            What::New(kind) => {
                let size = if kind == Kind::Link { member.target.len() as u64 } else { member.size };
                if listing.add(&member.name, kind, size)?.is_some() {
                    listing.keep_size(size);
                }
            }
        }
        walk.skip(&member).with_context(|| member.named())?;
    }
    listing.check()
}

fn write(mut walk: Walk<'_>, plan: &Plan, layout: &Layout, mut writer: Writer<'_>) -> Result<Unpacked> {
    let (mut index, mut left) = (0, plan.bytes);
    while let Some(member) = walk.next()? {
        let is_itself = member.what == What::HardLink && member.name == member.target;
        if is_itself || stripped(&member.name, layout.strip_components).is_none() {
            walk.skip(&member)?;
            continue;
        }
        if !is_planned(plan, index, &member) {
            return Err(changed());
        }
        left = left.checked_sub(member.size).ok_or_else(changed)?;
        match member.what {
            What::New(Kind::Dir) => {
                writer.dir(index)?;
                walk.skip(&member)?;
            }
            What::New(Kind::Link) => writer.link(index, |keep| keep(&member.target))?,
            What::New(Kind::File | Kind::Program) => writer.file(index, None, |write| walk.content(&member, write))?,
            What::HardLink => {
                let size = writer.copy(index)?;
                left = left.checked_sub(size).ok_or_else(changed)?;
            }
        }
        index += 1;
    }
    if index as usize != plan.len() {
        return Err(changed());
    }
    writer.finish()
}

/// Whether `member` is the member `index` of the plan.
fn is_planned(plan: &Plan, index: u32, member: &Member) -> bool {
    let is_here = (index as usize) < plan.len() && plan.name(index) == member.name;
    let original = if is_here { plan.original(index) } else { None };
    is_here
        && match member.what {
            What::New(kind) => original.is_none() && plan.kind(index) == kind,
            What::HardLink => original.is_some_and(|original| plan.name(original) == member.target),
        }
}

fn changed() -> Error {
    Error::new(Cause::Superseded, "it changed while it was read")
}
